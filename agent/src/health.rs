//! Health checks and metrics on a port of their own.
//!
//! `/startupz` the configuration is loaded; `/livez` the runtime still runs tasks (never a matter of the network: a
//! restart does not mend a gateway); `/readyz` a tunnel is ready, or why not, with the code; `/metrics`.

#[cfg(test)]
mod tests;

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use kantaloupe_checks::{Code, Fault};
use parking_lot::Mutex;
use tokio::{
    net::TcpListener,
    sync::Semaphore,
    time::{Instant, interval, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{Instrument, debug, debug_span};

use crate::metrics::Metrics;

/// How often the watchdog's task proves that the runtime runs tasks.
const TICK: Duration = Duration::from_secs(1);
/// Without a tick for this long the process is stuck: many times a tick, so that a busy node is not taken for it.
const STUCK_AFTER: Duration = Duration::from_secs(30);
/// Probes and scrapers: kubelet, Prometheus and a person. More at once is a mistake or an attack.
const MAX_CONNECTIONS: usize = 64;
/// A client that has sent no request head by then is not a probe.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// One connection's whole life. Scrapers reconnect.
const CONNECTION_LIFETIME: Duration = Duration::from_mins(5);
/// After a failed accept (out of file descriptors), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Whether the agent serves its purpose.
#[derive(Clone, Debug)]
pub(crate) enum Readiness {
    /// No tunnel yet, nothing went wrong yet.
    Starting,
    /// A tunnel is ready.
    Ready,
    /// No tunnel; why, in the words for a user.
    NotReady(Arc<Fault>),
    /// SIGTERM came.
    Draining,
}

/// State that the checks answer from; cheap to share.
#[derive(Debug)]
pub(crate) struct Health {
    readiness: Mutex<Readiness>,
    last_tick: Mutex<Instant>,
    metrics: Arc<Metrics>,
}

impl Health {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            readiness: Mutex::new(Readiness::Starting),
            last_tick: Mutex::new(Instant::now()),
            metrics,
        }
    }

    /// Sets the readiness; once draining, nothing makes the agent ready again.
    pub(crate) fn set(&self, readiness: Readiness) {
        let mut current = self.readiness.lock();
        if !matches!(*current, Readiness::Draining) {
            *current = readiness;
        }
    }

    /// Whether a tunnel is ready.
    pub(crate) fn is_ready(&self) -> bool {
        matches!(*self.readiness.lock(), Readiness::Ready)
    }

    /// Proves again and again that the runtime runs tasks. Never returns.
    pub(crate) async fn watchdog(&self) {
        let mut ticks = interval(TICK);
        loop {
            let now = ticks.tick().await;
            *self.last_tick.lock() = now;
        }
    }

    fn answer(&self, method: &Method, path: &str) -> (StatusCode, &'static str, String) {
        const TEXT: &str = "text/plain; charset=utf-8";
        if method != Method::GET && method != Method::HEAD {
            return (StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET\n".to_owned());
        }
        match path {
            "/startupz" => (StatusCode::OK, TEXT, "ok\n".to_owned()),
            "/livez" => {
                let age = self.last_tick.lock().elapsed();
                if age < STUCK_AFTER {
                    (StatusCode::OK, TEXT, "ok\n".to_owned())
                } else {
                    let text = format!("no task has run for {} s\n", age.as_secs());
                    (StatusCode::SERVICE_UNAVAILABLE, TEXT, text)
                }
            }
            "/readyz" => match &*self.readiness.lock() {
                Readiness::Ready => (StatusCode::OK, TEXT, "ok\n".to_owned()),
                Readiness::Starting => (
                    StatusCode::SERVICE_UNAVAILABLE,
                    TEXT,
                    "not connected yet: the first attempt is under way\n".to_owned(),
                ),
                Readiness::NotReady(fault) => (StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("{fault}\n")),
                Readiness::Draining => (StatusCode::SERVICE_UNAVAILABLE, TEXT, "draining\n".to_owned()),
            },
            "/metrics" => (
                StatusCode::OK,
                crate::metrics::CONTENT_TYPE,
                self.metrics.encode(),
            ),
            _ => (
                StatusCode::NOT_FOUND,
                TEXT,
                "paths: /livez /readyz /startupz /metrics\n".to_owned(),
            ),
        }
    }
}

/// Binds the port. Fails with KTA-SRV-007 where it is taken.
pub(crate) async fn bind(address: SocketAddr) -> Result<TcpListener, Fault> {
    TcpListener::bind(address).await.map_err(|error| {
        let what = match error.kind() {
            io::ErrorKind::AddrInUse => "the port for health checks is already in use".to_owned(),
            _ => format!("the port for health checks cannot be opened: {error}"),
        };
        crate::fault::new(Code::SRV_007, what, format!("health.listen {address}"))
    })
}

/// Answers until it is dropped, which ends its connections too.
pub(crate) async fn serve(listener: TcpListener, health: Arc<Health>) {
    let connections = TaskTracker::new();
    let closing = CancellationToken::new();
    let _closed_with_us = closing.clone().drop_guard();
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let accepted = listener.accept().await;
        let (socket, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                debug!(%error, "health port: accept failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
            debug!(%peer, "health port: too many connections");
            continue;
        };
        let health = Arc::clone(&health);
        let closing = closing.clone();
        let connection = async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let (status, kind, text) = health.answer(request.method(), request.uri().path());
                let mut response = Response::new(Full::new(Bytes::from(text)));
                *response.status_mut() = status;
                response
                    .headers_mut()
                    .insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
                async move { Ok::<_, Infallible>(response) }
            });
            let serving = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .serve_connection(TokioIo::new(socket), service);
            tokio::select! {
                () = closing.cancelled() => {}
                result = timeout(CONNECTION_LIFETIME, serving) => {
                    if let Ok(Err(error)) = result {
                        debug!(%error, "health connection ended");
                    }
                }
            }
            drop(slot);
        };
        connections.spawn(connection.instrument(debug_span!("health", %peer)));
    }
}
