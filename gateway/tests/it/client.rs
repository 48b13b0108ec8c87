//! A gateway for a test, and a client for it.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, combinators::UnsyncBoxBody};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use kantaloupe_gateway::{app::Gateway, config::Config};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;
pub(crate) type Body = UnsyncBoxBody<Bytes, BoxError>;

/// Nothing in these tests takes longer, unless it is broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Testbed {
    pub(crate) gateway: Gateway,
    pub(crate) client: Client,
    pub(crate) dir: TempDir,
}

impl Testbed {
    pub(crate) async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let gateway = Gateway::start(Config::local(dir.path())).await.unwrap();
        let client = Client::admin(&gateway, dir.path());
        Self { gateway, client, dir }
    }

    /// Stops the gateway and starts another one on the same folder and port.
    pub(crate) async fn restart(self) -> Self {
        let Self { gateway, dir, .. } = self;
        let config = Config {
            listen: gateway.addr,
            ..Config::local(dir.path())
        };
        gateway.abort().await;
        let gateway = Gateway::start(config).await.unwrap();
        let client = Client::admin(&gateway, dir.path());
        Self { gateway, client, dir }
    }

    /// Makes a cluster; its id and its enrolment token.
    pub(crate) async fn cluster(&self, name: &str) -> (String, String) {
        let (status, answer) = self
            .client
            .call(Method::POST, "/api/v1/clusters", json!({ "name": name }))
            .await;
        assert_eq!(status, 201, "{answer}");
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        (
            text(&answer["cluster"]["id"]),
            text(&answer["enrollment"]["token"]),
        )
    }

    /// The answer of the admin port, head and all.
    pub(crate) async fn admin(&self, path: &str) -> String {
        let mut tcp = TcpStream::connect(self.gateway.admin_addr).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        tcp.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        tcp.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// Waits until a cluster is in a state.
    pub(crate) async fn wait_for(&self, cluster: &str, state: &str) -> Value {
        let path = format!("/api/v1/clusters/{cluster}");
        let poll = async {
            loop {
                let (_, answer) = self.client.call(Method::GET, &path, Value::Null).await;
                if answer["state"] == state {
                    return answer;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, poll)
            .await
            .unwrap_or_else(|_| panic!("{cluster} is not {state}"))
    }
}

#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) addr: SocketAddr,
    pub(crate) token: String,
    tls: Arc<ClientConfig>,
}

impl Client {
    pub(crate) fn admin(gateway: &Gateway, dir: &Path) -> Self {
        let token = std::fs::read_to_string(dir.join("admin-token"))
            .unwrap()
            .trim()
            .to_owned();
        Self::new(gateway.addr, gateway.own_ca.as_deref().unwrap(), &token)
    }

    /// Of a gateway anywhere, whose certificate this is.
    pub(crate) fn new(addr: SocketAddr, ca: &str, token: &str) -> Self {
        Self {
            addr,
            token: token.to_owned(),
            tls: Arc::new(tls(ca)),
        }
    }

    pub(crate) fn with_token(&self, token: &str) -> Self {
        Self {
            token: token.to_owned(),
            ..self.clone()
        }
    }

    /// A TLS connection that speaks `alpn`.
    pub(crate) async fn connect(&self, alpn: &str) -> std::io::Result<TlsStream<TcpStream>> {
        let mut config = (*self.tls).clone();
        config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
        let tcp = TcpStream::connect(self.addr).await?;
        let name = ServerName::from(self.addr.ip());
        TlsConnector::from(Arc::new(config)).connect(name, tcp).await
    }

    pub(crate) async fn http1(&self) -> http1::SendRequest<Body> {
        let io = TokioIo::new(self.connect("http/1.1").await.unwrap());
        let (sender, connection) = http1::handshake(io).await.unwrap();
        tokio::spawn(connection.with_upgrades());
        sender
    }

    pub(crate) async fn http2(&self) -> http2::SendRequest<Body> {
        let io = TokioIo::new(self.connect("h2").await.unwrap());
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .handshake(io)
            .await
            .unwrap();
        tokio::spawn(connection);
        sender
    }

    /// A request with this client's token.
    pub(crate) fn request(&self, method: Method, path: &str, body: Body) -> Request<Body> {
        Request::builder()
            .method(method)
            .uri(format!("https://{}{path}", self.addr))
            .header("host", self.addr.to_string())
            .header("authorization", format!("Bearer {}", self.token))
            .body(body)
            .unwrap()
    }

    /// One request on a connection of its own; the whole answer.
    pub(crate) async fn exchange(&self, request: Request<Body>) -> (StatusCode, HeaderMap, Bytes) {
        let exchange = async {
            let response = self.http1().await.send_request(request).await.unwrap();
            whole(response).await
        };
        timeout(PATIENCE, exchange).await.unwrap()
    }

    /// A call with a JSON body (or none); status and JSON answer.
    pub(crate) async fn call(&self, method: Method, path: &str, body: Value) -> (StatusCode, Value) {
        let body = if body.is_null() {
            empty()
        } else {
            text(&body.to_string())
        };
        let (status, _, bytes) = self.exchange(self.request(method, path, body)).await;
        (status, serde_json::from_slice(&bytes).unwrap_or_default())
    }
}

pub(crate) async fn whole(response: Response<Incoming>) -> (StatusCode, HeaderMap, Bytes) {
    let (head, body) = response.into_parts();
    (
        head.status,
        head.headers,
        body.collect().await.unwrap().to_bytes(),
    )
}

pub(crate) fn empty() -> Body {
    text("")
}

pub(crate) fn text(text: &str) -> Body {
    Full::new(Bytes::from(text.to_owned()))
        .map_err(|never| match never {})
        .boxed_unsync()
}

fn tls(ca: &str) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap())
        .unwrap();
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}
