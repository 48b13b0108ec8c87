//! HTTP/1.1 over TLS to the gateway, phase by phase, so that each failure names its own cause: name resolution, TCP,
//! TLS, HTTP, and what the gateway itself answers.

mod probe;
#[cfg(test)]
pub(crate) mod tests;

use std::{io, net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    body::Incoming,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use kantaloupe_checks::{Code, Fault};
use kantaloupe_proto::agent_api::{MAX_BODY_BYTES, MAX_HEADER_BYTES, PROBLEM_JSON, Problem};
use kantaloupe_tunnel::carrier::{BoxCarrier, readahead::ReadAhead, socket, websocket};
use rustls::pki_types::ServerName;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    net::TcpStream,
    time::{Instant, error::Elapsed, timeout_at},
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::task::AbortOnDropHandle;
use tracing::{Instrument, debug, debug_span};
use url::{Host, Url};

pub(crate) use probe::{Probed, Step};

use crate::{
    config::Config,
    fault::{self, Failure},
    tls::{self, PinMismatch, TlsSetupError},
};

/// A resolver that has not answered by then will not; cluster DNS tries five search domains of 1 s or so each.
const DNS_TIMEOUT: Duration = Duration::from_secs(5);
/// One address. A lost SYN is sent again after 1 s and 3 s.
const TCP_TIMEOUT: Duration = Duration::from_secs(4);
/// Addresses tried per attempt, so that a name with many dead addresses does not hold up an attempt for minutes.
const MAX_ADDRESSES: usize = 4;
/// Two round trips; generous for a gateway that is starting.
const TLS_TIMEOUT: Duration = Duration::from_secs(6);
/// From request to answer. The gateway answers from memory and one database write.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(8);

/// The gateway, as the configuration names it.
pub(crate) struct ControlPlane {
    /// As in the configuration: what errors name.
    url: Url,
    host: String,
    port: u16,
    server_name: ServerName<'static>,
    /// Value of the Host header.
    authority: HeaderValue,
    /// Path prefix without a trailing slash.
    prefix: String,
    pinned: bool,
    tls: TlsConnector,
}

impl ControlPlane {
    /// Prepares TLS; no connection is made yet.
    pub(crate) fn new(config: &Config) -> Result<Self, Fault> {
        let url = config.url.clone();
        let bad_url = |why: &str| fault::new(Code::CFG_002, why, url.as_str());
        let host = match url.host() {
            // Without the brackets that an IPv6 address has in a URL.
            Some(Host::Ipv6(address)) => address.to_string(),
            Some(host) => host.to_string(),
            None => return Err(bad_url("the URL names no host")),
        };
        let server_name = ServerName::try_from(host.clone())
            .map_err(|_| bad_url("the host is not a DNS name or address"))?;
        let authority = match url.port() {
            Some(port) => format!("{}:{port}", url.host_str().unwrap_or(&host)),
            None => url.host_str().unwrap_or(&host).to_owned(),
        };
        let authority =
            HeaderValue::from_str(&authority).map_err(|_| bad_url("the host cannot be sent in a header"))?;
        let tls = tls::client_config(config.pin, config.ca_file.as_deref()).map_err(|error| {
            let code = match error {
                TlsSetupError::Roots(_) => Code::TLS_001,
                TlsSetupError::Read { .. } | TlsSetupError::Pem { .. } => Code::CFG_001,
            };
            fault::new(code, error.to_string(), "tls.caFile")
        })?;
        Ok(Self {
            port: url.port_or_known_default().unwrap_or(443),
            prefix: url.path().trim_end_matches('/').to_owned(),
            pinned: config.pin.is_some(),
            tls: TlsConnector::from(tls),
            url,
            host,
            server_name,
            authority,
        })
    }

    /// The URL as configured.
    pub(crate) fn url(&self) -> &str {
        self.url.as_str()
    }

    /// Opens a connection that is ready for requests. `budget` covers it and all its requests.
    pub(crate) async fn connect(&self, budget: Duration) -> Result<Connection<'_>, Failure> {
        let deadline = Instant::now() + budget;
        let addresses = self.resolve(deadline).await?;
        let tcp = self.connect_tcp(&addresses, deadline).await?;
        if let Err(error) = socket::tune(&tcp) {
            // Works without; slower or later in noticing a dead peer.
            debug!(%error, "socket options were refused");
        }
        let tls = self.handshake(tcp, deadline).await?;
        self.http(tls, deadline).await
    }

    /// HTTP/1.1 on an open TLS connection.
    async fn http(
        &self,
        tls: TlsStream<ReadAhead<TcpStream>>,
        deadline: Instant,
    ) -> Result<Connection<'_>, Failure> {
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(MAX_HEADER_BYTES)
            .handshake(TokioIo::new(tls))
            .await
            .map_err(|error| Failure::transient(self.no_http(&fault::chain(&error))))?;
        let driver = async move {
            if let Err(error) = connection.with_upgrades().await {
                debug!(%error, "connection to the gateway ended");
            }
        };
        let driver =
            AbortOnDropHandle::new(tokio::spawn(driver.instrument(debug_span!("gateway_connection"))));
        Ok(Connection {
            control_plane: self,
            sender,
            driver,
            deadline,
        })
    }

    async fn resolve(&self, deadline: Instant) -> Result<Vec<SocketAddr>, Failure> {
        let lookup = tokio::net::lookup_host((self.host.as_str(), self.port));
        let lookup = within(DNS_TIMEOUT, deadline, lookup).await;
        let problem = match lookup {
            Ok(Ok(found)) => {
                let addresses: Vec<_> = found.take(MAX_ADDRESSES).collect();
                if !addresses.is_empty() {
                    return Ok(addresses);
                }
                "it has no address".to_owned()
            }
            Ok(Err(error)) => error.to_string(),
            Err(_elapsed) => "no answer in time".to_owned(),
        };
        let what = format!("the name {} cannot be resolved: {problem}", self.host);
        Err(Failure::transient(fault::new(Code::NET_002, what, self.url())))
    }

    async fn connect_tcp(&self, addresses: &[SocketAddr], deadline: Instant) -> Result<TcpStream, Failure> {
        let mut problems = Vec::new();
        for address in addresses {
            match within(TCP_TIMEOUT, deadline, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => problems.push(format!("{address}: {error}")),
                Err(_elapsed) => {
                    problems.push(format!("{address}: no answer in time"));
                }
            }
        }
        let what = format!("no TCP connection to the gateway: {}", problems.join("; "));
        Err(Failure::transient(fault::new(Code::NET_003, what, self.url())))
    }

    async fn handshake(
        &self,
        tcp: TcpStream,
        deadline: Instant,
    ) -> Result<TlsStream<ReadAhead<TcpStream>>, Failure> {
        let handshake = self.tls.connect(self.server_name.clone(), ReadAhead::new(tcp));
        match within(TLS_TIMEOUT, deadline, handshake).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(self.tls_failure(&error)),
            Err(_elapsed) => {
                let what = "the TLS handshake did not end in time";
                Err(Failure::transient(fault::new(Code::TLS_001, what, self.url())))
            }
        }
    }

    fn tls_failure(&self, error: &io::Error) -> Failure {
        if let Some(mismatch) = PinMismatch::in_handshake(error) {
            return Failure::permanent(fault::new(Code::TLS_002, mismatch.to_string(), self.url()));
        }
        match tls::tls_error(error) {
            Some(rustls::Error::InvalidCertificate(reason)) => {
                let what = format!("the gateway's certificate is not trusted: {reason}");
                Failure::transient(fault::new(Code::TLS_001, what, self.url()))
            }
            Some(rustls::Error::InvalidMessage(_)) => {
                let what = "the port answers, but not with TLS: is this the gateway's HTTPS port?";
                Failure::transient(fault::new(Code::TLS_001, what, self.url()))
            }
            _ => {
                let what = format!("the TLS handshake failed: {error}");
                Failure::transient(fault::new(Code::TLS_001, what, self.url()))
            }
        }
    }

    fn no_http(&self, problem: &str) -> Fault {
        fault::new(
            Code::NET_007,
            format!("no HTTP answer from the gateway: {problem}"),
            self.url(),
        )
    }

    fn request(&self, method: Method, path: &str) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::default());
        *request.method_mut() = method;
        *request.uri_mut() = format!("{}{path}", self.prefix)
            .parse()
            .expect("a URL's path and a constant are a path");
        let headers = request.headers_mut();
        headers.insert(header::HOST, self.authority.clone());
        headers.insert(header::USER_AGENT, HeaderValue::from_static(crate::USER_AGENT));
        request
    }

    /// The fault in an answer that is not the wanted one.
    fn refusal(&self, status: StatusCode, content_type: &str, body: &[u8], wanted: &str) -> Failure {
        if content_type.starts_with(PROBLEM_JSON)
            && let Ok(problem) = serde_json::from_slice::<Problem>(body)
        {
            return fault::from_problem(&problem, self.url());
        }
        let kind = if content_type.is_empty() {
            "no content type"
        } else {
            content_type
        };
        let what = format!(
            "answered HTTP {status} ({kind}) instead of {wanted}: is this the gateway's URL, and does \
                            every proxy on the way pass WebSocket upgrades?"
        );
        Failure::transient(fault::new(Code::NET_007, what, self.url()))
    }
}

/// One connection to the gateway.
pub(crate) struct Connection<'a> {
    control_plane: &'a ControlPlane,
    sender: SendRequest<Full<Bytes>>,
    /// Moves the bytes; ends by itself when the connection is upgraded.
    driver: AbortOnDropHandle<()>,
    deadline: Instant,
}

impl Connection<'_> {
    /// `GET` that answers with JSON.
    pub(crate) async fn get<T: DeserializeOwned>(&mut self, path: &str) -> Result<T, Failure> {
        let request = self.control_plane.request(Method::GET, path);
        self.json(request).await
    }

    /// `POST` of JSON that answers with JSON.
    pub(crate) async fn post<T: DeserializeOwned>(
        &mut self,
        path: &str,
        body: &(impl Serialize + Sync),
    ) -> Result<T, Failure> {
        let mut request = self.control_plane.request(Method::POST, path);
        let json = serde_json::to_vec(body).expect("messages of ours serialize");
        request
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        *request.body_mut() = Full::new(Bytes::from(json));
        self.json(request).await
    }

    /// Turns the connection into a carrier.
    pub(crate) async fn upgrade(
        mut self,
        path: &str,
        authorization: HeaderValue,
    ) -> Result<BoxCarrier, Failure> {
        let mut request = self.control_plane.request(Method::GET, path);
        request.headers_mut().insert(header::AUTHORIZATION, authorization);
        let key = websocket::client_headers(request.headers_mut());
        let response = self.send(request).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(self.read_refusal(response, "101 Switching Protocols").await);
        }
        let no_upgrade = |problem: String| {
            let what = format!("the WebSocket upgrade failed: {problem}");
            Failure::transient(fault::new(Code::NET_007, what, self.control_plane.url()))
        };
        websocket::check_response(&response, &key).map_err(|error| no_upgrade(error.to_string()))?;
        let upgraded = within(RESPONSE_TIMEOUT, self.deadline, hyper::upgrade::on(response)).await;
        // The driver has handed over the socket by now; aborting it closes nothing.
        drop(self.driver);
        match upgraded {
            Ok(Ok(io)) => Ok(websocket::client(TokioIo::new(io))),
            Ok(Err(error)) => Err(no_upgrade(error.to_string())),
            Err(_elapsed) => Err(no_upgrade("the connection was not handed over".to_owned())),
        }
    }

    async fn json<T: DeserializeOwned>(&mut self, request: Request<Full<Bytes>>) -> Result<T, Failure> {
        let response = self.send(request).await?;
        if response.status() != StatusCode::OK {
            return Err(self.read_refusal(response, "200 OK").await);
        }
        let status = response.status();
        let content_type = content_type(&response);
        let body = self.read(response).await?;
        serde_json::from_slice(&body).map_err(|_| {
            self.control_plane
                .refusal(status, &content_type, &body, "an answer of the gateway")
        })
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Failure> {
        let deadline = self.deadline;
        let exchange = async {
            // The connection's task may not have seen yet that the answer before this one is read.
            self.sender.ready().await?;
            self.sender.send_request(request).await
        };
        match within(RESPONSE_TIMEOUT, deadline, exchange).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(Failure::transient(
                self.control_plane.no_http(&fault::chain(&error)),
            )),
            Err(_elapsed) => Err(self.too_slow()),
        }
    }

    async fn read(&self, response: Response<Incoming>) -> Result<Bytes, Failure> {
        let body = Limited::new(response.into_body(), MAX_BODY_BYTES).collect();
        match within(RESPONSE_TIMEOUT, self.deadline, body).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) => Err(Failure::transient(self.control_plane.no_http(&error.to_string()))),
            Err(_elapsed) => Err(self.too_slow()),
        }
    }

    async fn read_refusal(&self, response: Response<Incoming>, wanted: &str) -> Failure {
        let status = response.status();
        let content_type = content_type(&response);
        // A body that is too long or broken is no Problem; the status still tells something.
        let body = self.read(response).await.unwrap_or_default();
        self.control_plane.refusal(status, &content_type, &body, wanted)
    }

    fn too_slow(&self) -> Failure {
        Failure::transient(self.control_plane.no_http("none in time"))
    }
}

/// Awaits a phase for at most `limit`, and not beyond `deadline`.
async fn within<T>(limit: Duration, deadline: Instant, phase: impl Future<Output = T>) -> Result<T, Elapsed> {
    timeout_at(deadline.min(Instant::now() + limit), phase).await
}

fn content_type(response: &Response<Incoming>) -> String {
    let value = response
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    // Printed in errors: bounded, since the peer is not ours where it matters.
    fault::printable(value.unwrap_or_default())
        .chars()
        .take(64)
        .collect()
}
