//! A person or a program at an HTTP API: the gateway's or an API server's.

use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};
use tokio_util::task::AbortOnDropHandle;

/// Longest for one request; a list of everything at scale is the longest.
const REQUEST: Duration = Duration::from_mins(2);

/// One connection: one request at a time.
pub struct Client {
    sender: SendRequest<Full<Bytes>>,
    authorization: String,
    _task: AbortOnDropHandle<()>,
}

impl Client {
    /// Over a connection that is there, with a bearer token.
    pub async fn new(
        io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        token: &str,
    ) -> anyhow::Result<Self> {
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(io)).await?;
        let task = tokio::spawn(async move {
            // Its requests fail with the reason.
            let _ended = connection.await;
        });
        Ok(Self {
            sender,
            authorization: format!("Bearer {token}"),
            _task: AbortOnDropHandle::new(task),
        })
    }

    /// One request; `kind` is its content type if it has a body.
    pub async fn send(
        &mut self,
        method: Method,
        path: &str,
        kind: &str,
        body: impl Into<Bytes>,
    ) -> anyhow::Result<(StatusCode, Bytes)> {
        let body = body.into();
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "localhost")
            .header(header::AUTHORIZATION, &self.authorization);
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, kind);
        }
        self.sender.ready().await?;
        let answer = async {
            let response = self.sender.send_request(request.body(Full::new(body))?).await?;
            let status = response.status();
            anyhow::Ok((status, response.into_body().collect().await?.to_bytes()))
        };
        timeout(REQUEST, answer).await.with_context(|| path.to_owned())?
    }

    /// One request that has to succeed.
    pub async fn ok(&mut self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let kind = if method == Method::PATCH {
            "application/merge-patch+json"
        } else {
            "application/json"
        };
        let text = body.map(Value::to_string).unwrap_or_default();
        let (status, answer) = self.send(method.clone(), path, kind, text).await?;
        ensure!(
            status.is_success(),
            "{method} {path}: {status}: {}",
            String::from_utf8_lossy(&answer)
        );
        Ok(serde_json::from_slice(&answer)?)
    }
}
