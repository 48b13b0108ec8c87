//! A TCP relay that breaks connections on purpose, or makes them slow and far.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc, watch},
    time::{Instant, sleep, sleep_until},
};
use tokio_util::task::AbortOnDropHandle;

/// How a connection ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cut {
    /// Both ends get a RST.
    Reset,
    /// Only the dialing end learns of it.
    ResetDialer,
    /// Only the accepting end learns of it.
    ResetAcceptor,
    /// The dialing end gets a FIN, the accepting end nothing.
    FinDialer,
    /// Nobody learns of it.
    Blackhole,
}

/// One direction of a slow line that all connections share: FIFO, `rate` bytes/s, one-way `delay`, and a queue of
/// `delay` (twice, the round trip) plus 25 ms.
struct Pipe {
    free: Mutex<Instant>,
    room: Arc<Semaphore>,
    line: Line,
}

/// A slow line.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    /// Bytes per second in each direction.
    pub rate: f64,
    /// One way.
    pub delay: Duration,
}

impl Line {
    /// What a sender may have under way before it blocks: the bandwidth-delay product and 25 ms of queue.
    pub const QUEUE: Duration = Duration::from_millis(25);
}

/// Listens on loopback and forwards to one address.
pub struct Relay {
    /// Where to connect instead.
    pub addr: SocketAddr,
    cuts: watch::Sender<(u64, Option<Cut>)>,
    refuse: watch::Sender<bool>,
    moved: Moved,
    _task: AbortOnDropHandle<()>,
}

/// Bytes so far: from those who connected, and to them.
type Moved = [Arc<AtomicU64>; 2];

impl Relay {
    /// Starts on a free port.
    pub async fn start(to: SocketAddr, line: Option<Line>) -> io::Result<Self> {
        Self::bind("127.0.0.1:0".parse().unwrap(), to, line).await
    }

    /// Starts on `on`.
    pub async fn bind(on: SocketAddr, to: SocketAddr, line: Option<Line>) -> io::Result<Self> {
        let listener = TcpListener::bind(on).await?;
        let addr = listener.local_addr()?;
        let cuts = watch::Sender::new((0, None));
        let refuse = watch::Sender::new(false);
        let pipes = line.map(|line| [Arc::new(Pipe::new(line)), Arc::new(Pipe::new(line))]);
        let moved = Moved::default();
        let task = accept(
            listener,
            to,
            pipes,
            cuts.clone(),
            refuse.subscribe(),
            moved.clone(),
        );
        let task = tokio::spawn(task);
        Ok(Self {
            addr,
            cuts,
            refuse,
            moved,
            _task: AbortOnDropHandle::new(task),
        })
    }

    /// Connections that are there now.
    pub fn connections(&self) -> usize {
        self.cuts.receiver_count()
    }

    /// Bytes that came from those who connected, so far.
    pub fn bytes_up(&self) -> u64 {
        self.moved[0].load(Ordering::Relaxed)
    }

    /// Breaks every connection that is there now; later ones are sound.
    pub fn cut(&self, how: Cut) {
        self.cuts.send_modify(|(n, cut)| (*n, *cut) = (*n + 1, Some(how)));
    }

    /// While true, new connections are reset at once.
    pub fn refuse(&self, on: bool) {
        self.refuse.send_replace(on);
    }
}

async fn accept(
    listener: TcpListener,
    to: SocketAddr,
    pipes: Option<[Arc<Pipe>; 2]>,
    cuts: watch::Sender<(u64, Option<Cut>)>,
    refuse: watch::Receiver<bool>,
    moved: Moved,
) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let Ok((near, _)) = listener.accept().await else {
            continue;
        };
        while connections.try_join_next().is_some() {}
        if *refuse.borrow() {
            let _ = near.set_zero_linger();
            continue;
        }
        let (cuts, pipes, moved) = (cuts.subscribe(), pipes.clone(), moved.clone());
        connections.spawn(async move {
            let Ok(far) = TcpStream::connect(to).await else {
                let _ = near.set_zero_linger();
                return;
            };
            let _ = forward(near, far, pipes, cuts, moved).await;
        });
    }
}

async fn forward(
    near: TcpStream,
    far: TcpStream,
    pipes: Option<[Arc<Pipe>; 2]>,
    mut cuts: watch::Receiver<(u64, Option<Cut>)>,
    [count_up, count_down]: Moved,
) -> io::Result<()> {
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    if pipes.is_some() {
        // The queue is the line's, not the kernel's.
        for socket in [&near, &far] {
            let socket = socket2::SockRef::from(socket);
            socket.set_send_buffer_size(128 << 10)?;
            socket.set_recv_buffer_size(128 << 10)?;
        }
    }
    let before = cuts.borrow_and_update().0;
    let (near_r, near_w) = near.into_split();
    let (far_r, far_w) = far.into_split();
    let [pipe_up, pipe_down] = pipes.map_or([None, None], |pipes| pipes.map(Some));
    let mut up = Copy::new(near_r, far_w, pipe_up, count_up);
    let mut down = Copy::new(far_r, near_w, pipe_down, count_down);
    let how = tokio::select! {
        cut = cuts.wait_for(|(n, _)| *n != before) => cut.map_err(io::Error::other)?.1,
        // Each direction may end by itself (half-close) while the other goes on.
        ((), ()) = async { tokio::join!(up.run(), down.run()) } => None,
    };
    drop(cuts); // No longer one of `Relay::connections`.
    let near = up.r.reunite(down.w).map_err(io::Error::other)?;
    let far = down.r.reunite(up.w).map_err(io::Error::other)?;
    // Long enough for every timer of a test; the sockets look alive until then.
    let hold = || sleep(Duration::from_mins(1));
    match how {
        Some(Cut::Reset) => {
            near.set_zero_linger()?;
            far.set_zero_linger()?;
        }
        Some(Cut::ResetDialer) => {
            near.set_zero_linger()?;
            drop(near);
            hold().await;
        }
        Some(Cut::ResetAcceptor) => {
            far.set_zero_linger()?;
            drop(far);
            hold().await;
        }
        Some(Cut::FinDialer) => {
            let mut near = near;
            near.shutdown().await?;
            hold().await;
        }
        Some(Cut::Blackhole) => hold().await,
        None => {}
    }
    Ok(())
}

/// One direction of one connection.
struct Copy {
    r: OwnedReadHalf,
    w: OwnedWriteHalf,
    pipe: Option<Arc<Pipe>>,
    count: Arc<AtomicU64>,
}

impl Copy {
    fn new(r: OwnedReadHalf, w: OwnedWriteHalf, pipe: Option<Arc<Pipe>>, count: Arc<AtomicU64>) -> Self {
        Self { r, w, pipe, count }
    }

    async fn run(&mut self) {
        let _ = match self.pipe.clone() {
            None => self.plain().await,
            Some(pipe) => self.slow(&pipe).await,
        };
        let _ = self.w.shutdown().await;
    }

    async fn plain(&mut self) -> io::Result<()> {
        let mut buf = vec![0; 64 << 10];
        loop {
            match self.r.read(&mut buf).await? {
                0 => return Ok(()),
                n => {
                    self.count.fetch_add(n as u64, Ordering::Relaxed);
                    self.w.write_all(&buf[..n]).await?;
                }
            }
        }
    }

    async fn slow(&mut self, pipe: &Pipe) -> io::Result<()> {
        // Bounded by the permits of the line's queue.
        let (sender, mut receiver) = mpsc::channel::<(Instant, Bytes, OwnedSemaphorePermit)>(4096);
        let (r, w, count) = (&mut self.r, &mut self.w, &self.count);
        let enter = async move {
            let mut buf = vec![0; 16 << 10];
            loop {
                let n = r.read(&mut buf).await?;
                if n == 0 {
                    return Ok::<_, io::Error>(());
                }
                count.fetch_add(n as u64, Ordering::Relaxed);
                let (at, permit) = pipe.enter(n).await;
                if sender
                    .send((at, Bytes::copy_from_slice(&buf[..n]), permit))
                    .await
                    .is_err()
                {
                    return Ok(());
                }
            }
        };
        let leave = async {
            while let Some((at, bytes, permit)) = receiver.recv().await {
                sleep_until(at).await;
                w.write_all(&bytes).await?;
                drop(permit);
            }
            Ok(())
        };
        tokio::try_join!(enter, leave).map(|_| ())
    }
}

impl Pipe {
    fn new(line: Line) -> Self {
        let queue = line.rate * (line.delay * 2 + Line::QUEUE).as_secs_f64();
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let room = Arc::new(Semaphore::new(queue as usize));
        Self {
            free: Mutex::new(Instant::now()),
            room,
            line,
        }
    }

    /// When the last of `n` bytes arrives, if they enter the queue now.
    async fn enter(&self, n: usize) -> (Instant, OwnedSemaphorePermit) {
        let permits = u32::try_from(n).unwrap();
        let permit = self.room.clone().acquire_many_owned(permits).await.unwrap();
        let mut free = self.free.lock().await;
        *free = (*free).max(Instant::now()) + Duration::from_secs_f64(f64::from(permits) / self.line.rate);
        (*free + self.line.delay, permit)
    }
}
