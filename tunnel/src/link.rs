//! The resumable link: [`Link`] is a byte stream that outlives the connections under it.
//!
//! ```text
//!   dialing end                                      accepting end
//!   open(dialer) ── New ─────────────────────────>   Acceptor::accept -> Some(Link)
//!        │      <──────────────── Created ───────          │
//!      Link  <── Data, Ack, Ping, Pong, Fin, Close ──>    Link
//!        │            connection breaks                    │
//!    supply task ── Resume ──────────────────────>   Acceptor::accept -> None: handed to the waiting Link
//!        │      <──────────────── Resumed ───────          │
//!      Link  <── what the other has not received ──>      Link
//! ```
//!
//! The link drives its carrier from whichever task polls it: no task, channel or lock on the data path.

mod accept;
mod core;
mod dial;
mod flight;
mod metrics;
mod types;

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicU64, AtomicUsize,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    task::{Context, Poll, Wake, Waker},
};

use bytes::Bytes;
use futures::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::watch,
    time::{Instant, Sleep, sleep_until},
};

pub use accept::{Acceptor, LinkError};
pub use dial::{DialError, Dialer, OpenError, open};
pub use metrics::Metrics;
pub use types::{Config, Dead};

use self::{
    core::Core,
    types::{AttachError, Event},
};
use crate::{
    carrier::{BoxCarrier, blocks::append},
    frame::{Frame, MAX_FRAME},
};

/// Commands that may wait for the link's task. Each resume gives one, and a link is polled at once.
const COMMANDS: usize = 4;
/// What [`Frame::Refused`] says.
pub(crate) mod refusal {
    /// No such link: the accepting end restarted, or the link expired.
    pub(crate) const UNKNOWN: u64 = 1;
    /// The proof is wrong.
    pub(crate) const PROOF: u64 = 2;
    /// A later carrier is there already.
    pub(crate) const STALE: u64 = 3;
    /// The offset cannot be.
    pub(crate) const OFFSET: u64 = 4;
}

enum Command {
    /// A carrier whose peer is authenticated and has named the link.
    Attach {
        carrier: BoxCarrier,
        generation: u64,
        peer_received: u64,
        answer: bool,
    },
    /// The link cannot go on.
    Kill(Dead),
}

/// What other tasks see of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// Since when there has been no carrier, if there is none.
    pub down_since: Option<Instant>,
    /// Generation of the last carrier that was lost.
    pub lost: u64,
    /// The link is over.
    pub ended: Option<Dead>,
}

pub(crate) struct Shared {
    received: AtomicU64,
    /// Asked to end; beside the queue of commands, which may be full.
    close: AtomicBool,
    /// [`Core::fair_frame`], for other tasks.
    frame: AtomicUsize,
    state: watch::Sender<State>,
    /// For the link's task. A channel would take a kilobyte of each link for the few that ever come.
    commands: Mutex<Vec<Command>>,
    /// There are some.
    waiting: AtomicBool,
    both: Arc<Both>,
}

impl Shared {
    /// Gives the link something to do; it comes back if the link is over or has too much to do.
    fn command(&self, command: Command) -> Result<(), Command> {
        let mut commands = self.commands.lock();
        if commands.len() >= COMMANDS || self.state.borrow().ended.is_some() {
            return Err(command);
        }
        commands.push(command);
        self.waiting.store(true, Release);
        drop(commands);
        self.both.wake_by_ref();
        Ok(())
    }

    /// What there is to do. No lock where there is nothing.
    fn take_commands(&self) -> Vec<Command> {
        if !self.waiting.swap(false, Acquire) {
            return Vec::new();
        }
        std::mem::take(&mut *self.commands.lock())
    }
}

/// Watches and ends a link from another task.
#[derive(Clone)]
pub struct Handle(Arc<Shared>);

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Handle").field(&self.state()).finish()
    }
}

impl Handle {
    /// Whether the link has a carrier, and whether it is over.
    pub fn state(&self) -> State {
        *self.0.state.borrow()
    }

    /// Largest DATA frame that is fair to other streams on this link now, bytes: small on a slow line that is busy.
    pub fn fair_frame(&self) -> usize {
        self.0.frame.load(Relaxed)
    }

    /// Ends the link at both ends, now. What was written and not yet sent is lost.
    pub fn close(&self) {
        self.0.close.store(true, Relaxed);
        self.0.both.wake_by_ref();
    }

    /// Follows the state.
    pub fn subscribe(&self) -> watch::Receiver<State> {
        self.0.state.subscribe()
    }
}

/// One waker for carrier, timer and commands: any of them may unblock the reader as well as the writer.
#[derive(Default)]
struct Both {
    reader: AtomicWaker,
    writer: AtomicWaker,
}

impl Wake for Both {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.reader.wake();
        self.writer.wake();
    }
}

/// A reliable byte stream over successive carriers. Dropping it closes it at both ends.
pub struct Link {
    core: Core,
    carrier: Option<BoxCarrier>,
    timer: Pin<Box<Sleep>>,
    armed: Option<Instant>,
    need_flush: bool,
    both: Arc<Both>,
    waker: Waker,
    shared: Arc<Shared>,
    /// Ends with the link: the task that supplies carriers, or the entry at the accepting end.
    _guard: Box<dyn Send + Sync>,
}

impl Link {
    fn new<G: Send + Sync + 'static>(
        carrier: BoxCarrier,
        config: Config,
        peer_window: u64,
        guard: impl FnOnce(&Arc<Shared>) -> G,
    ) -> Self {
        let now = Instant::now();
        let both = Arc::new(Both::default());
        let state = State {
            down_since: None,
            lost: 0,
            ended: None,
        };
        let shared = Arc::new(Shared {
            received: 0.into(),
            close: false.into(),
            frame: usize::MAX.into(),
            state: watch::Sender::new(state),
            commands: Mutex::default(),
            waiting: false.into(),
            both: both.clone(),
        });
        let peer_window = usize::try_from(peer_window).unwrap_or(usize::MAX);
        Self {
            core: Core::new(config, peer_window, now),
            carrier: Some(carrier),
            timer: Box::pin(sleep_until(now)),
            armed: None,
            need_flush: false,
            waker: both.clone().into(),
            both,
            _guard: Box::new(guard(&shared)),
            shared,
        }
    }

    /// A handle for other tasks.
    pub fn handle(&self) -> Handle {
        Handle(self.shared.clone())
    }

    fn lose_carrier(&mut self, now: Instant) {
        if self.carrier.take().is_none() {
            return;
        }
        self.need_flush = false;
        self.core.detach(now);
        let lost = self.core.generation();
        self.shared.received.store(self.core.received(), Relaxed);
        self.shared.state.send_modify(|s| {
            s.lost = lost;
            s.down_since = Some(now);
        });
        self.both.wake_by_ref(); // the next poll arms the expiry timer
    }

    fn end(&mut self, why: Dead) {
        self.core.kill(why);
        self.carrier = None;
        self.both.wake_by_ref();
    }

    /// Commands and timers, at the start of every poll. Returns the poll's time.
    fn begin(&mut self) -> Instant {
        let now = Instant::now();
        for command in self.shared.take_commands() {
            match command {
                Command::Kill(why) => self.end(why),
                Command::Attach {
                    carrier,
                    generation,
                    peer_received,
                    answer,
                } => {
                    self.attach(carrier, generation, peer_received, answer, now);
                }
            }
        }
        if self.shared.close.load(Relaxed) && self.core.dead().is_none() {
            self.say_close();
            self.end(Dead::Dropped);
        }
        if self.armed.is_some_and(|at| now >= at) {
            self.armed = None;
            match self.core.on_timer(now) {
                Some(Event::CarrierDead) => self.lose_carrier(now),
                Some(Event::Expired) => self.both.wake_by_ref(),
                None => {}
            }
        }
        now
    }

    fn attach(
        &mut self,
        carrier: BoxCarrier,
        generation: u64,
        peer_received: u64,
        answer: bool,
        now: Instant,
    ) {
        // The offset is read at the switch itself: until then the old carrier may deliver.
        let first = answer.then(|| Frame::Resumed(self.core.received()).encode());
        match self.core.attach(generation, peer_received, first, now) {
            Ok(()) => {
                // The old carrier, if any, is dropped here; nothing of it is read or written any more.
                self.carrier = Some(carrier);
                self.need_flush = false;
                self.shared.state.send_modify(|s| s.down_since = None);
                self.both.wake_by_ref();
            }
            Err(error) if answer => {
                let code = match error {
                    AttachError::Stale => refusal::STALE,
                    AttachError::Offset => refusal::OFFSET,
                    AttachError::Dead => refusal::UNKNOWN,
                };
                let mut carrier = carrier;
                last_word(&mut carrier, &Frame::Refused(code));
            }
            Err(AttachError::Offset) => self.end(Dead::Protocol("the peer has received what was not sent")),
            Err(_) => {}
        }
    }

    /// Before `Pending` is returned: the timer has to be registered with the shared waker.
    fn arm(&mut self) {
        let Some(deadline) = self.core.deadline() else {
            return;
        };
        // A later deadline is found when the armed one fires: resetting at each poll would cost more.
        if self.armed.is_none_or(|armed| deadline < armed) {
            self.armed = Some(deadline);
            self.timer.as_mut().reset(deadline);
        }
        if self
            .timer
            .as_mut()
            .poll(&mut Context::from_waker(&self.waker))
            .is_ready()
        {
            self.waker.wake_by_ref();
        }
    }

    /// Gives the carrier what it takes.
    fn drive_write(&mut self, now: Instant, flush: bool) {
        let waker = self.waker.clone();
        let cx = &mut Context::from_waker(&waker);
        loop {
            let Some(carrier) = &mut self.carrier else { return };
            match carrier.poll_ready(cx) {
                Poll::Ready(Ok(())) => self.core.set_blocked(false),
                Poll::Ready(Err(_)) => return self.lose_carrier(now),
                Poll::Pending => return self.core.set_blocked(true),
            }
            let Some(message) = self.core.poll_transmit(now) else {
                break;
            };
            debug_assert!(message.len() <= MAX_FRAME, "carriers refuse longer messages");
            if carrier.start_send(message).is_err() {
                return self.lose_carrier(now);
            }
            self.need_flush = true;
        }
        if flush && self.need_flush {
            let Some(carrier) = &mut self.carrier else { return };
            match carrier.poll_flush(cx) {
                Poll::Ready(Ok(())) => self.need_flush = false,
                Poll::Ready(Err(_)) => self.lose_carrier(now),
                Poll::Pending => self.core.set_blocked(true),
            }
        }
    }

    /// Takes one message from the carrier. False: nothing there now.
    fn read_once(&mut self, now: Instant) -> bool {
        let Some(carrier) = &mut self.carrier else {
            return false;
        };
        match carrier.poll_recv(&mut Context::from_waker(&self.waker)) {
            Poll::Ready(Ok(Some(message))) => {
                self.on_message(message, now);
                true
            }
            Poll::Ready(_) => {
                self.lose_carrier(now);
                false
            }
            Poll::Pending => false,
        }
    }

    fn on_message(&mut self, message: Bytes, now: Instant) {
        let result = match Frame::decode(message) {
            Ok(frame) => self.core.on_frame(self.core.generation(), frame, now),
            Err(_) => Err("a message that is not a frame"),
        };
        if let Err(what) = result {
            self.end(Dead::Protocol(what));
        }
        self.shared.frame.store(self.core.fair_frame(), Relaxed);
        if self.core.readable() || self.core.eof() || self.core.dead().is_some() {
            self.both.reader.wake();
        }
    }

    /// A peer that does not get it finds the link unknown at its next resume.
    fn say_close(&mut self) {
        if let Some(carrier) = &mut self.carrier {
            last_word(carrier, &Frame::Close(0));
        }
    }

    fn error(&self) -> Option<io::Error> {
        let dead = self.core.dead()?;
        let kind = match dead {
            Dead::Expired => io::ErrorKind::TimedOut,
            Dead::Protocol(_) => io::ErrorKind::InvalidData,
            _ => io::ErrorKind::ConnectionReset,
        };
        Some(io::Error::new(kind, dead))
    }
}

/// Sends one small frame before a carrier is dropped, if it takes it at once. A peer that is gone needs none.
fn last_word(carrier: &mut BoxCarrier, frame: &Frame) {
    let mut cx = Context::from_waker(Waker::noop());
    if let Poll::Ready(Ok(())) = carrier.poll_ready(&mut cx)
        && carrier.start_send(frame.encode()).is_ok()
    {
        let _ = carrier.poll_flush(&mut cx);
    }
}

impl AsyncRead for Link {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let me = self.get_mut();
        me.both.reader.register(cx.waker());
        let now = me.begin();
        loop {
            if me.core.readable() {
                me.core.read(buf.remaining(), now, |bytes| append(buf, bytes));
                if me.core.ack_wanted() {
                    me.drive_write(now, true);
                }
                return Poll::Ready(Ok(()));
            }
            if me.core.eof() {
                me.drive_write(now, true);
                return Poll::Ready(Ok(()));
            }
            if let Some(error) = me.error() {
                return Poll::Ready(Err(error));
            }
            if !me.read_once(now) && me.core.dead().is_none() {
                break;
            }
        }
        me.drive_write(now, true);
        me.shared.received.store(me.core.received(), Relaxed);
        me.arm();
        Poll::Pending
    }
}

impl AsyncWrite for Link {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let me = self.get_mut();
        let now = me.begin();
        loop {
            if let Some(error) = me.error() {
                return Poll::Ready(Err(error));
            }
            let taken = me.core.write(bufs);
            if taken > 0 || bufs.iter().all(|b| b.is_empty()) {
                if me.core.has_full_frame() {
                    me.drive_write(now, false);
                }
                return Poll::Ready(Ok(taken));
            }
            // Blocked. Room comes from sending and from acknowledgements, so the carrier has to be read here too:
            // HTTP/2 does not read while it waits to write.
            me.both.writer.register(cx.waker());
            me.drive_write(now, true);
            while me.core.room() == 0 && me.read_once(now) {}
            me.drive_write(now, true);
            if me.core.room() == 0 && me.core.dead().is_none() {
                me.shared.received.store(me.core.received(), Relaxed);
                me.arm();
                return Poll::Pending;
            }
        }
    }

    /// Like a socket's: what was accepted is the link's business, a flush never waits for a carrier.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let me = self.get_mut();
        let now = me.begin();
        if let Some(error) = me.error() {
            return Poll::Ready(Err(error));
        }
        me.drive_write(now, true);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let me = self.get_mut();
        me.both.writer.register(cx.waker());
        let now = me.begin();
        me.core.finish();
        loop {
            me.drive_write(now, true);
            if me.core.fin_acked() || me.core.dead().is_some() {
                return Poll::Ready(Ok(()));
            }
            if !me.read_once(now) {
                break;
            }
        }
        me.arm();
        Poll::Pending
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if self.core.dead().is_none() {
            self.say_close();
        }
        self.core.kill(Dead::Dropped);
        let ended = self.core.dead();
        self.shared.state.send_modify(|s| s.ended = ended);
        // A carrier that came in this moment goes too; later ones are not taken.
        self.shared.commands.lock().clear();
    }
}
