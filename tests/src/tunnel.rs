//! Both ends of a tunnel in one process: real TCP, TLS, WebSocket, link and HTTP/2; only the HTTP upgrade is left out.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context;
use futures::future::BoxFuture;
use http::{Request, Response};
use hyper::{body::Incoming, service::HttpService};
use kantaloupe_tunnel::{
    carrier::{BoxCarrier, readahead::ReadAhead, socket, websocket},
    link::{self, Acceptor, Config, DialError, Dialer, Link},
    session::{self, Body, BoxError, Client, Kind},
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, pem::PemObject};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

/// A certificate for `localhost`, and clients that trust it.
#[derive(Clone)]
pub struct Tls {
    pub acceptor: TlsAcceptor,
    pub connector: TlsConnector,
    pub cert_pem: String,
    pub key_pem: String,
}

impl Tls {
    pub fn new() -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let made = rcgen::generate_simple_self_signed(["localhost".into(), "127.0.0.1".into()]).unwrap();
        let cert = made.cert.der().clone();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let mut roots = rustls::RootCertStore::empty();
        roots.add(cert.clone()).unwrap();
        let server = rustls::ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert], key)
            .unwrap();
        let client = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self {
            acceptor: Arc::new(server).into(),
            connector: Arc::new(client).into(),
            cert_pem: made.cert.pem(),
            key_pem: made.signing_key.serialize_pem(),
        }
    }

    /// The same client, offering one protocol by ALPN.
    pub fn speaking(&self, protocol: &str) -> TlsConnector {
        let mut config = (**self.connector.config()).clone();
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        Arc::new(config).into()
    }

    /// A client that trusts somebody else's certificate instead; the acceptor is of no use to it.
    pub fn trusting(cert_pem: &str) -> anyhow::Result<Self> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(cert_pem.as_bytes())?)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let client = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            connector: Arc::new(client).into(),
            cert_pem: cert_pem.to_owned(),
            ..Self::new()
        })
    }
}

impl Default for Tls {
    fn default() -> Self {
        Self::new()
    }
}

/// Name that the test certificate is for.
pub fn localhost() -> ServerName<'static> {
    ServerName::try_from("localhost").unwrap()
}

/// Dials WSS carriers to one address.
pub struct WssDialer {
    pub tls: Tls,
    pub to: SocketAddr,
}

impl Dialer for WssDialer {
    fn dial(&self) -> BoxFuture<'_, Result<BoxCarrier, DialError>> {
        Box::pin(async move {
            let dial = async {
                let tcp = TcpStream::connect(self.to).await?;
                socket::tune(&tcp)?;
                self.tls.connector.connect(localhost(), ReadAhead::new(tcp)).await
            };
            let stream = dial.await.map_err(|e| DialError {
                retry: true,
                source: e.into(),
            })?;
            Ok(websocket::client(stream))
        })
    }
}

/// Listens for WSS carriers; new links come out of `links`.
pub struct Listener {
    pub addr: SocketAddr,
    pub links: mpsc::Receiver<Link>,
    pub acceptor: Acceptor,
    _task: AbortOnDropHandle<()>,
}

impl Listener {
    pub async fn start(tls: &Tls, config: Config) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?;
        let acceptor = Acceptor::new(config);
        let (sender, links) = mpsc::channel(16);
        let task = tokio::spawn({
            let (tls, acceptor) = (tls.acceptor.clone(), acceptor.clone());
            async move {
                loop {
                    let Ok((tcp, _)) = listener.accept().await else {
                        continue;
                    };
                    let (tls, acceptor, sender) = (tls.clone(), acceptor.clone(), sender.clone());
                    tokio::spawn(async move {
                        socket::tune(&tcp).ok()?;
                        let carrier = websocket::server(tls.accept(ReadAhead::new(tcp)).await.ok()?);
                        let link = acceptor.accept(carrier, "test").await.ok()??;
                        sender.send(link).await.ok()
                    });
                }
            }
        });
        Ok(Self {
            addr,
            links,
            acceptor,
            _task: AbortOnDropHandle::new(task),
        })
    }
}

/// A session between a service (the agent's end) and a client (the gateway's end).
pub struct Session {
    pub client: Client,
    pub drain: CancellationToken,
    pub listener: Listener,
    pub server: AbortOnDropHandle<()>,
}

impl Session {
    /// The agent's end dials `via` when given (a relay to the address that it gets), else the listener itself.
    pub async fn start<S, F>(kind: Kind, config: Config, service: S, via: F) -> anyhow::Result<Self>
    where
        S: HttpService<Incoming, ResBody = Body> + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
        F: AsyncFnOnce(SocketAddr) -> SocketAddr,
    {
        let tls = Tls::new();
        let mut listener = Listener::start(&tls, config.clone()).await?;
        let to = via(listener.addr).await;
        let dialer = Arc::new(WssDialer { tls, to });
        let (near, far) = tokio::join!(link::open(dialer, config), listener.links.recv());
        let drain = CancellationToken::new();
        let serve = session::serve(near?, kind, service, drain.clone());
        let server = AbortOnDropHandle::new(tokio::spawn(async move {
            let _ = serve.await;
        }));
        let client = Client::handshake(far.context("the listener ended")?, kind).await?;
        Ok(Self {
            client,
            drain,
            listener,
            server,
        })
    }

    pub async fn get(&self, path: &str) -> anyhow::Result<Response<Incoming>> {
        let uri = format!("{}{path}", session::ORIGIN);
        Ok(self.client.request(Request::get(uri).body(empty())?).await?)
    }
}

/// No body.
pub fn empty() -> Body {
    full("")
}

/// A body of known bytes.
pub fn full(bytes: impl Into<bytes::Bytes>) -> Body {
    use http_body_util::BodyExt;
    http_body_util::Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}
