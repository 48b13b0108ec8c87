//! As much of an API server as an agent needs to run, with [`crate::service`] behind it, in the process of the test.
//! Benchmarks use a process in Go (`bench/server.rs`), the end-to-end tests of kubectl a real one.

use std::{convert::Infallible, net::SocketAddr, sync::Arc};

use http::{Method, Request, Response};
use http_body_util::BodyExt;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use kantaloupe_tunnel::session::Body;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Mutex};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    service,
    tunnel::{Tls, full},
};

const SECRETS: &str = "/api/v1/namespaces/kantaloupe-system/secrets";

/// A running one; it ends with its handle.
pub struct Upstream {
    pub addr: SocketAddr,
    _task: AbortOnDropHandle<()>,
}

impl Upstream {
    /// HTTP/1.1 over TLS on loopback.
    pub async fn start(tls: &Tls) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?;
        let acceptor = tls.acceptor.clone();
        let secret: Arc<Mutex<Option<Value>>> = Arc::default();
        let task = tokio::spawn(async move {
            loop {
                let Ok((tcp, _)) = listener.accept().await else {
                    continue;
                };
                let (acceptor, secret) = (acceptor.clone(), secret.clone());
                tokio::spawn(async move {
                    tcp.set_nodelay(true).ok()?;
                    let io = TokioIo::new(acceptor.accept(tcp).await.ok()?);
                    let service = service_fn(move |request| answer(secret.clone(), request));
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(io, service)
                        .with_upgrades()
                        .await
                        .ok()
                });
            }
        });
        Ok(Self {
            addr,
            _task: AbortOnDropHandle::new(task),
        })
    }
}

async fn answer(
    store: Arc<Mutex<Option<Value>>>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path();
    let found = match (request.method().clone(), path) {
        (Method::GET, "/api/v1/namespaces/kube-system") => Some(json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": "kube-system", "uid": "00000000-0000-4000-8000-000000000001"}})),
        (Method::GET, "/version") => Some(json!({
            "major": "1", "minor": "34", "gitVersion": "v1.34.4", "gitCommit": "", "gitTreeState": "",
            "buildDate": "", "goVersion": "", "compiler": "", "platform": ""})),
        (Method::GET, path) if path.starts_with(SECRETS) => store.lock().await.clone(),
        (Method::PUT | Method::POST, path) if path.starts_with(SECRETS) => {
            let Ok(body) = request.into_body().collect().await else {
                return Ok(status(400));
            };
            let secret = serde_json::from_slice::<Value>(&body.to_bytes()).ok();
            store.lock().await.clone_from(&secret);
            secret
        }
        _ => return service::serve(request).await,
    };
    Ok(match found {
        Some(value) => {
            let mut response = Response::new(full(value.to_string()));
            let json = http::HeaderValue::from_static("application/json");
            response.headers_mut().insert(http::header::CONTENT_TYPE, json);
            response
        }
        None => status(404),
    })
}

fn status(code: u16) -> Response<Body> {
    let body = json!({"apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code, "message": "no",
        "reason": "NotFound", "metadata": {}});
    let mut response = Response::new(full(body.to_string()));
    *response.status_mut() = http::StatusCode::from_u16(code).unwrap_or_default();
    response
}
