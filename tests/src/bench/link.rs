//! What the resumable link costs: the same HTTP/2 session over the same WSS connection, with and without it.

use std::{
    io::{self, IoSlice},
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::Request;
use http_body_util::BodyExt;
use hyper::{client::conn::http2::SendRequest, service::service_fn};
use hyper_util::rt::TokioIo;
use kantaloupe_tunnel::{
    carrier::{BoxCarrier, socket, websocket},
    frame::MAX_FRAME,
    link::Config,
    session::{self, Body, Kind, ORIGIN},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    runtime::Runtime,
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::report::{Figure, Report};
use crate::{
    service,
    tunnel::{Listener, Tls, WssDialer, empty, localhost},
    usage,
};

/// Bytes of one bulk measurement, over all streams.
const BULK: u64 = 512 << 20;
const SMALL: usize = 2000;

/// The agent's end runs on a thread of its own, as it would on a machine of its own.
fn thread() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime")
}

/// Measures and reports.
pub fn run(report: &mut Report, runs: usize) -> anyhow::Result<()> {
    let (agent, gateway) = (thread(), thread());
    let mut with = Samples::default();
    let mut without = Samples::default();
    for run in 0..=runs {
        let keep = run > 0; // the first is for warming up
        let linked = gateway.block_on(linked(&agent))?;
        let sample = gateway.block_on(gateway.spawn(measure(linked)))??;
        let bare = gateway.block_on(bare(&agent))?;
        let base = gateway.block_on(gateway.spawn(measure(bare)))??;
        if keep {
            with.push(sample);
            without.push(base);
        }
    }
    report.push(Figure::new("link_wss_stream1", "MB/s", &with.one).against(&without.one));
    report.push(Figure::new("link_wss_stream8", "MB/s", &with.eight).against(&without.eight));
    report.push(Figure::new("link_wss_get_p50", "us", &with.get).against(&without.get));
    report.push(Figure::new("link_wss_cpu", "s/GB", &with.cpu).against(&without.cpu));
    let ratios: Vec<f64> = with.one.iter().zip(&without.one).map(|(a, b)| a / b).collect();
    let mut cost = Figure::new("link_cost_wss", "ratio", &ratios);
    cost.ratio = Some(cost.value);
    report.push(cost);
    Ok(())
}

/// One side of [`run`] alone, for a profiler.
pub fn profile(with_link: bool) -> anyhow::Result<()> {
    let (agent, gateway) = (thread(), thread());
    let sender = if with_link {
        gateway.block_on(linked(&agent))
    } else {
        gateway.block_on(bare(&agent))
    }?;
    let (one, eight, _, cpu) = gateway.block_on(gateway.spawn(measure(sender)))??;
    println!("one stream {one:.0} MB/s, eight {eight:.0} MB/s, {cpu:.2} CPU s/GB");
    Ok(())
}

#[derive(Default)]
struct Samples {
    one: Vec<f64>,
    eight: Vec<f64>,
    get: Vec<f64>,
    cpu: Vec<f64>,
}

impl Samples {
    fn push(&mut self, (one, eight, get, cpu): (f64, f64, f64, f64)) {
        self.one.push(one);
        self.eight.push(eight);
        self.get.push(get);
        self.cpu.push(cpu);
    }
}

async fn measure(sender: SendRequest<Body>) -> anyhow::Result<(f64, f64, f64, f64)> {
    let before = usage::time(std::process::id())?;
    let one = bulk(&sender, 1).await?;
    let eight = bulk(&sender, 8).await?;
    #[allow(clippy::cast_precision_loss)]
    let cpu = usage::time(std::process::id())?
        .saturating_sub(before)
        .as_secs_f64()
        / (2 * BULK) as f64
        * 1e9;
    let mut times = Vec::with_capacity(SMALL);
    for _ in 0..SMALL {
        let start = Instant::now();
        get(&sender, "/small").await?;
        times.push(start.elapsed());
    }
    times.sort();
    Ok((one, eight, times[SMALL / 2].as_secs_f64() * 1e6, cpu))
}

async fn bulk(sender: &SendRequest<Body>, streams: u64) -> anyhow::Result<f64> {
    let start = Instant::now();
    let path = format!("/bulk?{}", BULK / streams);
    let all = (0..streams).map(|_| get(sender, &path));
    let bytes: u64 = futures::future::try_join_all(all).await?.into_iter().sum();
    anyhow::ensure!(bytes == BULK, "{bytes} bytes instead of {BULK}");
    #[allow(clippy::cast_precision_loss)]
    Ok(bytes as f64 / 1e6 / start.elapsed().as_secs_f64())
}

async fn get(sender: &SendRequest<Body>, path: &str) -> anyhow::Result<u64> {
    let mut sender = sender.clone();
    sender.ready().await?;
    let request = Request::get(format!("{ORIGIN}{path}")).body(empty())?;
    let mut body = sender.send_request(request).await?.into_body();
    let mut n = 0;
    while let Some(frame) = body.frame().await {
        n += frame?.data_ref().map_or(0, |b| b.len() as u64);
    }
    Ok(n)
}

async fn linked(agent: &Runtime) -> anyhow::Result<SendRequest<Body>> {
    let tls = Tls::new();
    let mut listener = Listener::start(&tls, Config::default()).await?;
    let dialer = Arc::new(WssDialer {
        tls,
        to: listener.addr,
    });
    agent.spawn(async move {
        let link = kantaloupe_tunnel::link::open(dialer, Config::default()).await?;
        let drain = CancellationToken::new();
        session::serve(link, Kind::Data, service_fn(service::serve), drain).await?;
        Ok::<_, anyhow::Error>(())
    });
    let link = listener
        .links
        .recv()
        .await
        .ok_or_else(|| anyhow::anyhow!("no link"))?;
    let (sender, connection) = session::http2_client(Kind::Data)
        .handshake(TokioIo::new(link))
        .await?;
    tokio::spawn(async move {
        let _listener = listener;
        let _ = connection.await;
    });
    Ok(sender)
}

async fn bare(agent: &Runtime) -> anyhow::Result<SendRequest<Body>> {
    let tls = Tls::new();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let to: SocketAddr = listener.local_addr()?;
    let connector = tls.connector.clone();
    agent.spawn(async move {
        let tcp = TcpStream::connect(to).await?;
        socket::tune(&tcp)?;
        let carrier = websocket::client(connector.connect(localhost(), tcp).await?);
        let io = Messages {
            carrier,
            received: Bytes::new(),
        };
        session::http2_server(Kind::Data)
            .serve_connection(TokioIo::new(io), service_fn(service::serve))
            .await?;
        Ok::<_, anyhow::Error>(())
    });
    let (tcp, _) = listener.accept().await?;
    socket::tune(&tcp)?;
    let carrier = websocket::server(tls.acceptor.accept(tcp).await?);
    let io = Messages {
        carrier,
        received: Bytes::new(),
    };
    let (sender, connection) = session::http2_client(Kind::Data)
        .handshake(TokioIo::new(io))
        .await?;
    tokio::spawn(connection);
    tokio::time::sleep(Duration::from_millis(10)).await;
    Ok(sender)
}

/// A byte stream over the same carrier as one would write it without a link: a message per write.
struct Messages {
    carrier: BoxCarrier,
    received: Bytes,
}

impl AsyncRead for Messages {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let me = self.get_mut();
        while me.received.is_empty() {
            match ready!(me.carrier.poll_recv(cx))? {
                Some(message) => me.received = message,
                None => return Poll::Ready(Ok(())),
            }
        }
        let n = me.received.len().min(buf.remaining());
        buf.put_slice(&me.received.split_to(n));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Messages {
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
        ready!(me.carrier.poll_ready(cx))?;
        let n = bufs.iter().map(|b| b.len()).sum::<usize>().min(MAX_FRAME);
        let mut message = BytesMut::with_capacity(n);
        for buf in bufs {
            message.extend_from_slice(&buf[..buf.len().min(n - message.len())]);
        }
        me.carrier.start_send(message.freeze())?;
        Poll::Ready(Ok(n))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().carrier.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().carrier.poll_flush(cx)
    }
}
