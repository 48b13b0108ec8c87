//! The second port: health and metrics, plain HTTP, for the machine that the gateway runs on.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::State,
    response::{IntoResponse as _, Response},
    routing::get,
};
use http::{HeaderValue, Request, StatusCode, header};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::{encoding::text::encode, registry::Registry};
use tokio::{
    net::TcpListener,
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;
use tracing::Instrument as _;

use crate::app::App;

/// Probes and scrapers. More at once is a mistake or an attack.
const MAX_CONNECTIONS: usize = 64;
/// A client that has sent no request head by then is no probe. It is also how long a connection may be idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// One connection's whole life, so that one that never reads goes too. Scrapers reconnect.
const CONNECTION_LIFETIME: Duration = Duration::from_mins(5);
/// After a failed accept (out of file descriptors), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const OPENMETRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

#[derive(Clone)]
struct Admin {
    app: Arc<App>,
    registry: Arc<Registry>,
}

/// Serves until the gateway is gone.
pub(crate) async fn serve(app: Arc<App>, registry: Registry, listener: TcpListener) {
    let stop = app.stop.hard.clone();
    let router = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(Admin {
            app,
            registry: Arc::new(registry),
        });
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (socket, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "admin port: accept failed");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
            tracing::debug!(%peer, "admin port: too many connections");
            continue;
        };
        let (router, stop) = (router.clone(), stop.clone());
        let connection = async move {
            let service = service_fn(move |request: Request<Incoming>| router.clone().oneshot(request));
            let serving = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .serve_connection(TokioIo::new(socket), service);
            tokio::select! {
                () = stop.cancelled() => {}
                // How a scraper hangs up is its own matter.
                _ = timeout(CONNECTION_LIFETIME, serving) => {}
            }
            drop(slot);
        };
        connections.spawn(connection.instrument(tracing::debug_span!("admin", %peer)));
    }
}

/// Not ready while draining, so that balancers send new connections elsewhere.
async fn readyz(State(admin): State<Admin>) -> Response {
    if admin.app.stop.drain.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, "draining\n").into_response();
    }
    "ok\n".into_response()
}

async fn metrics(State(admin): State<Admin>) -> Response {
    let mut text = String::new();
    if encode(&mut text, &admin.registry).is_err() {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    ([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response()
}
