//! The second port: health and metrics, plain HTTP, for the machine that the gateway runs on.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    response::{IntoResponse as _, Response},
    routing::get,
};
use http::{HeaderValue, StatusCode, header};
use prometheus_client::{encoding::text::encode, registry::Registry};
use tokio::net::TcpListener;

use crate::app::App;

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
    let served = axum::serve(listener, router).with_graceful_shutdown(async move { stop.cancelled().await });
    if let Err(error) = served.await {
        tracing::error!(%error, "admin port failed");
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
