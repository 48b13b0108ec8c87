//! Accepts connections of users and agents and serves HTTP on them.
//!
//! One loop accepts until it is told to stop; each connection has a task that ends in three ways: by itself, by
//! finishing what is open after `drain`, or at once after `hard`.

use std::{
    convert::Infallible,
    future::Future,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use http::{Request, Response};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use kantaloupe_tunnel::carrier::{blocks::Blocks, readahead::ReadAhead};
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use crate::{
    app::App,
    body::Body,
    io::ServerIo,
    metrics::InFlight,
    route::Routes,
    streams::{Origin, Streams},
};

/// Longest TLS handshake: a few round trips, also over a bad link.
const TLS_HANDSHAKE: Duration = Duration::from_secs(10);
/// Longest wait for a request's head, and for the first request of an HTTP/2 connection. On HTTP/1.1 it is also how long a connection may be idle between requests, so
/// it is longer than the 90 s after which Go's clients close theirs: the server closing first would break requests.
pub(crate) const HEADER_READ: Duration = Duration::from_secs(100);
/// Largest head of a request: room for tokens and cookies.
const MAX_HEADER: u32 = 64 << 10;
/// HTTP/1.1 read and write buffers grow up to this: the largest head, and a few records of bulk. A reader that stalls
/// holds one.
const HTTP1_BUFFER: usize = 96 << 10;
/// HTTP/2 upload windows: one stalled upload holds a stream window, and 32 of them fit into the connection's.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 32 << 20;
/// Frames of uploads; each is one write to the tunnel.
const HTTP2_FRAME: u32 = 64 << 10;
/// kubectl and client-go put everything on one connection: watches, logs and requests.
const HTTP2_STREAMS: u32 = 1000;
/// Bytes of an answer that wait in one stream of HTTP/2.
const HTTP2_SEND_BUFFER: usize = 256 << 10;
/// Users who are gone without a word are noticed after the sum of these.
const HTTP2_PING: Duration = Duration::from_secs(30);
const HTTP2_PONG: Duration = Duration::from_secs(20);
/// Cancelled streams whose late frames arrive count against a limit over the connection's lifetime; the default of
/// 1024 would end a connection whose user cancels often.
const HTTP2_RESETS: usize = 1 << 20;
/// Streams that the user opened and reset before they were looked at.
const HTTP2_PENDING_RESETS: usize = 1024;
/// Connections at once: two per agent plus users. Beyond it new ones are closed, so that memory has a bound.
const MAX_CONNECTIONS: usize = 50_000;
/// Silence before the kernel probes whether the peer is still there.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// Time for revoked streams to end by themselves, before those that cannot are ended with their connection. Below the
/// two seconds within which nothing of a revoked cluster may be open.
const REVOKED_STALLED: Duration = Duration::from_millis(1200);
/// Pause after accepting failed (no file descriptors left): time for connections to end.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Runs hyper's tasks for HTTP/2 streams where they are counted.
#[derive(Clone)]
struct Tracked(TaskTracker);

impl<F> hyper::rt::Executor<F> for Tracked
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn(future.in_current_span());
    }
}

/// Accepts until the gateway drains.
pub(crate) async fn accept(routes: Arc<Routes>, listener: TcpListener, tls: TlsAcceptor) {
    let app = Arc::clone(&routes.app);
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            biased;
            () = app.stop.drain.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (tcp, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
            app.metrics.connections_refused.inc();
            continue;
        };
        let (routes, tls) = (Arc::clone(&routes), tls.clone());
        let connection = async move {
            connection(routes, tls, tcp, peer).await;
            drop(slot);
        };
        app.user_tasks
            .spawn(connection.instrument(tracing::debug_span!("connection", %peer)));
    }
}

async fn connection(routes: Arc<Routes>, tls: TlsAcceptor, tcp: TcpStream, peer: SocketAddr) {
    let app = &routes.app;
    if let Err(error) = tune(&tcp) {
        tracing::debug!(%error, "socket options not set");
    }
    let handshake = tokio::select! {
        biased;
        // Nobody waits for an answer yet.
        () = app.stop.drain.cancelled() => return,
        handshake = timeout(TLS_HANDSHAKE, tls.accept(ReadAhead::new(tcp))) => handshake,
    };
    let io = match handshake {
        Ok(Ok(io)) => io,
        Ok(Err(error)) => {
            app.metrics.tls_failures.inc();
            tracing::debug!(%error, "TLS handshake failed");
            return;
        }
        Err(_) => {
            app.metrics.tls_failures.inc();
            tracing::debug!("TLS handshake timed out");
            return;
        }
    };
    let _in_flight = InFlight::new(&app.metrics.connections);
    let origin = Origin {
        peer,
        streams: Arc::default(),
    };
    let http2 = io.get_ref().1.alpn_protocol() == Some(b"h2");
    let io = Blocks::new(io);
    if http2 {
        serve_http2(routes, io, origin).await;
    } else {
        serve_http1(routes, io, origin).await;
    }
}

fn tune(tcp: &TcpStream) -> std::io::Result<()> {
    tcp.set_nodelay(true)?;
    SockRef::from(tcp).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE))
}

async fn serve_http1(routes: Arc<Routes>, io: ServerIo, origin: Origin) {
    let (app, streams) = (Arc::clone(&routes.app), Arc::clone(&origin.streams));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(app.settings.head_timeout)
        .max_header_size(MAX_HEADER as usize)
        .max_buf_size(HTTP1_BUFFER)
        .writev(true)
        .serve_connection(
            TokioIo::new(io),
            service_fn(move |request| answer(Arc::clone(&routes), origin.clone(), request)),
        )
        .with_upgrades();
    drive(&app, &streams, pin!(connection), |connection| {
        connection.graceful_shutdown();
    })
    .await;
}

async fn serve_http2(routes: Arc<Routes>, io: ServerIo, origin: Origin) {
    let (app, streams) = (Arc::clone(&routes.app), Arc::clone(&origin.streams));
    let connection = http2::Builder::new(Tracked(app.user_tasks.clone()))
        .timer(TokioTimer::new())
        .max_header_list_size(MAX_HEADER)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(HTTP2_FRAME)
        .max_concurrent_streams(HTTP2_STREAMS)
        .max_send_buf_size(HTTP2_SEND_BUFFER)
        .max_local_error_reset_streams(HTTP2_RESETS)
        .max_pending_accept_reset_streams(HTTP2_PENDING_RESETS)
        .keep_alive_interval(HTTP2_PING)
        .keep_alive_timeout(HTTP2_PONG)
        .serve_connection(
            TokioIo::new(io),
            service_fn(move |request| answer(Arc::clone(&routes), origin.clone(), request)),
        );
    drive(&app, &streams, pin!(connection), |connection| {
        connection.graceful_shutdown();
    })
    .await;
}

async fn answer(
    routes: Arc<Routes>,
    origin: Origin,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    origin.streams.ask();
    Ok(routes.answer(&origin, request).await)
}

/// Runs a connection to its end: its own, the gateway's, or that of a stream which its user lets stall after it was
/// revoked.
async fn drive<C: Future<Output = hyper::Result<()>>>(
    app: &App,
    streams: &Streams,
    mut connection: Pin<&mut C>,
    finish: impl Fn(Pin<&mut C>),
) {
    let mut revocations = app.revocations.subscribe();
    let mut draining = false;
    let mut look_at = None;
    // hyper itself waits for HTTP/2's preface and first request for ever.
    let first_by = Instant::now() + app.settings.head_timeout;
    let mut waited = false;
    loop {
        tokio::select! {
            biased;
            () = app.stop.hard.cancelled() => return,
            () = app.stop.drain.cancelled(), if !draining => {
                draining = true;
                finish(connection.as_mut());
            }
            () = sleep_until(first_by), if !waited => {
                waited = true;
                if !streams.was_asked() {
                    return tracing::debug!("connection ended: no request came");
                }
            }
            Ok(()) = revocations.changed(), if look_at.is_none() => look_at = Some(Instant::now() + REVOKED_STALLED),
            () = sleep_until(look_at.unwrap_or_else(Instant::now)), if look_at.is_some() => {
                look_at = None;
                if streams.any_revoked() {
                    return tracing::debug!("connection ended: a revoked stream had stalled");
                }
            }
            result = connection.as_mut() => return log_end(result),
        }
    }
}

/// Peers hang up in all kinds of ways; none of them is our error.
fn log_end(result: hyper::Result<()>) {
    if let Err(error) = result {
        tracing::debug!(%error, "connection ended");
    }
}
