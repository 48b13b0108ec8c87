//! What the tests of this crate share: certificates, a TLS server, a Kubernetes API server and a gateway, all on loopback.

pub(crate) mod gateway;
pub(crate) mod kubernetes;

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use kantaloupe_policy::{LocalPolicy, Profile};
use kantaloupe_tunnel::session::Body;
use rcgen::{CertificateParams, KeyPair};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

use crate::{
    audit::AuditLog,
    config::{Config, LogFormat, Monitoring},
    proxy::{Guard, request::Rules},
    tls::Pin,
};

/// Longest wait for something that should happen at once, on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(20);

/// Fails the test where `future` does not end in time.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future)
        .await
        .expect("this should have happened by now")
}

/// Waits until `condition` holds.
pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let waited = timeout(PATIENCE, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("never happened: {what}"));
}

/// As the binary does first.
pub(crate) fn install_provider() {
    // A test before this one may have installed it.
    let _already = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// A self-made certificate with its key.
pub(crate) struct Certificate {
    pub(crate) der: CertificateDer<'static>,
    pub(crate) pem: String,
    key: KeyPair,
}

impl Certificate {
    pub(crate) fn new(name: &str) -> Self {
        Self::with(&CertificateParams::new([name.to_owned()]).unwrap())
    }

    pub(crate) fn expired(name: &str) -> Self {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2019, 1, 1);
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        Self::with(&params)
    }

    fn with(params: &CertificateParams) -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self {
            der: certificate.der().clone(),
            pem: certificate.pem(),
            key,
        }
    }

    pub(crate) fn pin(&self) -> Pin {
        Pin::of(&self.der).unwrap()
    }

    pub(crate) fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.serialize_der()).into()
    }

    pub(crate) fn server_config(&self) -> Arc<ServerConfig> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![self.der.clone()], self.private_key())
            .unwrap();
        Arc::new(config)
    }
}

/// Answers one request.
pub(crate) type Handler = Arc<dyn Fn(Request<Incoming>) -> BoxFuture<'static, Response<Body>> + Send + Sync>;

/// Makes a [`Handler`] of an async function.
pub(crate) fn handler<F, R>(function: F) -> Handler
where
    F: Fn(Request<Incoming>) -> R + Send + Sync + 'static,
    R: Future<Output = Response<Body>> + Send + 'static,
{
    Arc::new(move |request| Box::pin(function(request)))
}

/// Number of the connection that a request came on, in its extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConnectionNumber(pub(crate) usize);

/// An HTTP/1.1 server with TLS. Dropping it cuts its connections.
pub(crate) struct TlsServer {
    pub(crate) address: SocketAddr,
    /// Connections that are open now. An upgraded one counts as closed.
    pub(crate) open: Arc<AtomicUsize>,
    _task: AbortOnDropHandle<()>,
}

impl TlsServer {
    pub(crate) async fn start(certificate: &Certificate, handler: Handler) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), certificate, handler).await
    }

    pub(crate) async fn start_at(address: SocketAddr, certificate: &Certificate, handler: Handler) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = TlsAcceptor::from(certificate.server_config());
        let open: Arc<AtomicUsize> = Arc::default();
        let counter = Arc::clone(&open);
        let task = async move {
            let mut connections = JoinSet::new();
            for number in 0.. {
                let (socket, _) = listener.accept().await.unwrap();
                let (acceptor, handler, open) =
                    (acceptor.clone(), Arc::clone(&handler), Arc::clone(&counter));
                connections.spawn(async move {
                    let Ok(tls) = acceptor.accept(socket).await else {
                        return;
                    };
                    open.fetch_add(1, Ordering::SeqCst);
                    let service = service_fn(move |mut request: Request<Incoming>| {
                        request.extensions_mut().insert(ConnectionNumber(number));
                        let answer = handler(request);
                        async move { Ok::<_, Infallible>(answer.await) }
                    });
                    let serving = http1::Builder::new()
                        .serve_connection(TokioIo::new(tls), service)
                        .with_upgrades();
                    let _peer_left = serving.await;
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        };
        Self {
            address,
            open,
            _task: AbortOnDropHandle::new(tokio::spawn(task)),
        }
    }
}

/// `GET` without TLS; gives status and body.
pub(crate) async fn plain_get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), body.to_owned())
}

/// A body of known bytes.
pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// A JSON answer.
pub(crate) fn json(status: u16, value: &serde_json::Value) -> Response<Body> {
    let mut response = Response::new(full(value.to_string()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
        .headers_mut()
        .insert("content-type", "application/json".parse().unwrap());
    response
}

/// A problem document of the gateway.
pub(crate) fn problem(status: u16, code: &str, detail: &str) -> Response<Body> {
    let mut response = json(
        status,
        &serde_json::json!({
            "type": "about:blank", "title": "no", "status": status, "detail": detail, "code": code, "fix": "do",
        }),
    );
    response
        .headers_mut()
        .insert("content-type", "application/problem+json".parse().unwrap());
    response
}

/// What lets an administrator do everything that the hard rules leave.
pub(crate) fn guard(policy: LocalPolicy) -> Arc<Guard> {
    Arc::new(Guard {
        rules: Rules {
            policy,
            organization: None,
        },
        audit: Arc::new(AuditLog::new()),
    })
}

/// A configuration for a gateway at `address` with this certificate pinned.
pub(crate) fn config(address: SocketAddr, pin: Option<Pin>, token_file: &std::path::Path) -> Config {
    Config {
        url: format!("https://localhost:{}", address.port()).parse().unwrap(),
        pin,
        cluster_id: None,
        token_file: token_file.to_owned(),
        secret_name: "identity".to_owned(),
        ca_file: None,
        monitoring: Monitoring::default(),
        policy: LocalPolicy::new(Profile::Admin),
        organization: None,
        health_listen: "127.0.0.1:0".parse().unwrap(),
        log_format: LogFormat::Json,
        log_level: "info".to_owned(),
        drain_timeout: Duration::from_secs(30),
        pod_name: "agent-0".to_owned(),
        pod_namespace: "kantaloupe-system".to_owned(),
    }
}
