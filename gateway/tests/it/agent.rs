//! A small agent: enrols, connects, and answers instead of an API server.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures::{FutureExt as _, future::BoxFuture};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use kantaloupe_proto::{
    PROTOCOL_VERSION,
    agent_api::{CHALLENGE_PATH, ChallengeResponse, ENROLL_PATH, EnrollResponse, TUNNEL_PATH},
    assertion::{Claims, SessionKind, sign},
    headers,
    pb::{
        DrainRequest, DrainResponse, HelloRequest, HelloResponse, OpenDataRequest, OpenDataResponse,
        agent_service_server::{AgentService, AgentServiceServer},
        inventory_service_server::InventoryServiceServer,
    },
};
use kantaloupe_tunnel::{
    carrier::{BoxCarrier, websocket},
    link::{self, DialError, Dialer, Link},
    session::{self, Kind},
    upgrade,
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tower::ServiceExt as _;

use super::{
    client::{Body, BoxError, Client, Testbed, empty, text, whole},
    feed::Feed,
};

pub(crate) const UID: &str = "5f0c1d2e-0000-4000-8000-000000000001";

/// An enrolled agent.
#[derive(Clone)]
pub(crate) struct Agent {
    pub(crate) client: Client,
    pub(crate) key: Arc<Ed25519KeyPair>,
    pub(crate) identity: EnrollResponse,
}

/// A connected agent; dropping it cuts its sessions.
pub(crate) struct Connected {
    _control: AbortOnDropHandle<()>,
    data: Arc<Data>,
    /// What Drain asked for.
    pub(crate) drained: Arc<Mutex<Vec<DrainRequest>>>,
}

/// The body of an enrolment request.
pub(crate) fn enrollment(token: &str, key: &Ed25519KeyPair, now: i64) -> Value {
    json!({
        "token": token,
        "publicKey": STANDARD.encode(key.public_key()),
        "clusterUid": UID,
        "agentVersion": "0.1.0",
        "time": now,
    })
}

pub(crate) fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// A cluster with its agent enrolled.
pub(crate) async fn enrolled(testbed: &Testbed, name: &str) -> Agent {
    let (_, token) = testbed.cluster(name).await;
    Agent::enroll(&testbed.client, &token).await
}

/// A cluster with its agent connected.
pub(crate) async fn connected(testbed: &Testbed, name: &str) -> (Agent, Connected) {
    let agent = enrolled(testbed, name).await;
    let connected = agent.connect().await;
    testbed.wait_for(name, "connected").await;
    (agent, connected)
}

impl Agent {
    pub(crate) async fn enroll(client: &Client, token: &str) -> Self {
        let key = Ed25519KeyPair::generate().unwrap();
        let (status, answer) = client
            .call(Method::POST, ENROLL_PATH, enrollment(token, &key, now()))
            .await;
        assert_eq!(status, 200, "{answer}");
        let identity = serde_json::from_value(answer).unwrap();
        Self {
            client: client.clone(),
            key: Arc::new(key),
            identity,
        }
    }

    /// The claims that this agent makes, with a fresh nonce to be filled in.
    pub(crate) fn claims(&self, tunnel_id: &str, session: SessionKind) -> Claims {
        Claims {
            key_id: self.identity.key_id.clone(),
            cluster_id: self.identity.cluster_id.clone(),
            cluster_uid: UID.to_owned(),
            audience: self.identity.audience.clone(),
            nonce: String::new(),
            issued_at: now(),
            tunnel_id: tunnel_id.to_owned(),
            session,
            instance: "kantaloupe-agent-0".to_owned(),
        }
    }

    /// Asks for a nonce, lets `alter` change the claims, and asks for the upgrade on the same connection.
    pub(crate) async fn upgrade(
        &self,
        tunnel_id: &str,
        session: SessionKind,
        alter: impl FnOnce(&mut Claims) + Send,
    ) -> Result<(Response<Incoming>, websocket::Key), BoxError> {
        let io = TokioIo::new(self.client.connect("http/1.1").await?);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await?;
        tokio::spawn(connection.with_upgrades());
        let challenge = sender
            .send_request(self.client.request(Method::GET, CHALLENGE_PATH, empty()))
            .await?;
        let (_, _, body) = whole(challenge).await;
        let challenge: ChallengeResponse = serde_json::from_slice(&body)?;
        let mut claims = self.claims(tunnel_id, session);
        claims.nonce = challenge.nonce;
        alter(&mut claims);
        let mut request = self.client.request(Method::GET, TUNNEL_PATH, empty());
        let key = websocket::client_headers(request.headers_mut());
        request
            .headers_mut()
            .insert("authorization", sign(&claims, &self.key).parse()?);
        sender.ready().await?;
        Ok((sender.send_request(request).await?, key))
    }

    /// The status and problem code of an upgrade with altered claims.
    pub(crate) async fn refused(&self, alter: impl FnOnce(&mut Claims) + Send) -> (StatusCode, String) {
        let (response, _) = self.upgrade("t-1", SessionKind::Data, alter).await.unwrap();
        let (status, _, body) = whole(response).await;
        let problem: Value = serde_json::from_slice(&body).unwrap_or_default();
        (status, problem["code"].as_str().unwrap_or_default().to_owned())
    }

    /// Opens the control session of a tunnel; the data session follows when the gateway asks for it.
    pub(crate) async fn connect(&self) -> Connected {
        self.connect_for(None).await
    }

    /// The same, with something else than an API server on its data sessions.
    #[allow(dead_code, reason = "the hostile agents use it")]
    pub(crate) async fn connect_serving(&self, serve: Serve) -> Connected {
        self.connect_as(None, None, serve).await
    }

    /// What opens links for a session of a tunnel.
    #[allow(dead_code, reason = "the hostile agents use it")]
    pub(crate) fn dialer(&self, tunnel_id: &str, session: SessionKind) -> Arc<dyn Dialer> {
        Arc::new(SessionDialer {
            agent: self.clone(),
            tunnel_id: tunnel_id.to_owned(),
            session,
            nonce: Mutex::default(),
        })
    }

    /// The same, of an agent with an inventory.
    pub(crate) async fn connect_with(&self, feed: Feed) -> Connected {
        self.connect_as(None, Some(feed), serve()).await
    }

    /// The same; with `refusal` the agent opens no data session.
    pub(crate) async fn connect_for(&self, refusal: Option<&'static str>) -> Connected {
        self.connect_as(refusal, None, serve()).await
    }

    async fn connect_as(&self, refusal: Option<&'static str>, feed: Option<Feed>, serve: Serve) -> Connected {
        let tunnel_id = uuid::Uuid::new_v4().to_string();
        let drained = Arc::new(Mutex::new(Vec::new()));
        let data = Arc::new(Data {
            dialer: SessionDialer {
                agent: self.clone(),
                tunnel_id: tunnel_id.clone(),
                session: SessionKind::Data,
                nonce: Mutex::default(),
            },
            refusal,
            sessions: Mutex::default(),
            opened: AtomicUsize::new(0),
            leave: CancellationToken::new(),
            serve,
        });
        let dialer = SessionDialer {
            agent: self.clone(),
            tunnel_id,
            session: SessionKind::Control,
            nonce: Mutex::default(),
        };
        let link = link::open(Arc::new(dialer), link::Config::default())
            .await
            .unwrap();
        let control = Control {
            drained: Arc::clone(&drained),
            data: Arc::clone(&data),
        };
        let mut routes = tonic::service::Routes::new(AgentServiceServer::new(control));
        if let Some(feed) = feed {
            routes = routes.add_service(InventoryServiceServer::new(feed));
        }
        let routes = routes.prepare();
        let service = service_fn(move |request: Request<Incoming>| {
            routes.clone().oneshot(request.map(tonic::body::Body::new))
        });
        let leave = data.leave.clone();
        let control = tokio::spawn(async move {
            let _ = session::serve(link, Kind::Control, service, leave).await;
        });
        Connected {
            _control: AbortOnDropHandle::new(control),
            drained,
            data,
        }
    }
}

/// The data sessions of a tunnel.
pub(crate) struct Data {
    dialer: SessionDialer,
    refusal: Option<&'static str>,
    sessions: Mutex<JoinSet<()>>,
    opened: AtomicUsize,
    leave: CancellationToken,
    serve: Serve,
}

/// What an agent does with the link of a data session, until it takes its leave.
pub(crate) type Serve = Arc<dyn Fn(Link, CancellationToken) -> BoxFuture<'static, ()> + Send + Sync>;

/// Serves as an agent does.
fn serve() -> Serve {
    Arc::new(|link, leave| {
        async move {
            let _ = session::serve(link, Kind::Data, service_fn(api_server), leave).await;
        }
        .boxed()
    })
}

impl Data {
    async fn open(&self, nonce: String) -> Result<(), tonic::Status> {
        if let Some(refusal) = self.refusal {
            return Err(tonic::Status::unavailable(refusal));
        }
        *self.dialer.nonce.lock() = Some(nonce);
        let link = link::open(Arc::new(self.dialer.clone()), link::Config::default())
            .await
            .unwrap();
        self.opened.fetch_add(1, Relaxed);
        self.sessions.lock().spawn((self.serve)(link, self.leave.clone()));
        Ok(())
    }
}

impl Connected {
    /// Says GOAWAY on every session, as an agent does that stops.
    pub(crate) fn leave(&self) {
        self.data.leave.cancel();
    }

    /// Data sessions so far.
    pub(crate) fn opened(&self) -> usize {
        self.data.opened.load(Relaxed)
    }
}

struct SessionDialer {
    agent: Agent,
    tunnel_id: String,
    session: SessionKind,
    nonce: Mutex<Option<String>>,
}

impl Clone for SessionDialer {
    fn clone(&self) -> Self {
        Self {
            agent: self.agent.clone(),
            tunnel_id: self.tunnel_id.clone(),
            session: self.session,
            nonce: Mutex::new(self.nonce.lock().clone()),
        }
    }
}

impl Dialer for SessionDialer {
    fn dial(&self) -> BoxFuture<'_, Result<BoxCarrier, DialError>> {
        async {
            let dial = async {
                let given = self.nonce.lock().take();
                let own = |claims: &mut Claims| claims.nonce = given.unwrap_or_else(|| claims.nonce.clone());
                let (response, key) = self.agent.upgrade(&self.tunnel_id, self.session, own).await?;
                websocket::check_response(&response, &key)?;
                let io = TokioIo::new(hyper::upgrade::on(response).await?);
                Ok::<_, BoxError>(websocket::client(io))
            };
            dial.await.map_err(|source| DialError { retry: true, source })
        }
        .boxed()
    }
}

struct Control {
    drained: Arc<Mutex<Vec<DrainRequest>>>,
    data: Arc<Data>,
}

#[tonic::async_trait]
impl AgentService for Control {
    async fn hello(
        &self,
        _: tonic::Request<HelloRequest>,
    ) -> Result<tonic::Response<HelloResponse>, tonic::Status> {
        Ok(tonic::Response::new(HelloResponse {
            agent_version: "0.1.0".to_owned(),
            protocol_version: PROTOCOL_VERSION,
            cluster_uid: UID.to_owned(),
            kubernetes_version: "v1.34.4".to_owned(),
            pod_name: "kantaloupe-agent-0".to_owned(),
            access_profile: "observe".to_owned(),
            access_limits: None,
        }))
    }

    async fn drain(
        &self,
        request: tonic::Request<DrainRequest>,
    ) -> Result<tonic::Response<DrainResponse>, tonic::Status> {
        self.drained.lock().push(request.into_inner());
        Ok(tonic::Response::new(DrainResponse {}))
    }

    async fn open_data(
        &self,
        request: tonic::Request<OpenDataRequest>,
    ) -> Result<tonic::Response<OpenDataResponse>, tonic::Status> {
        self.data.open(request.into_inner().nonce).await?;
        Ok(tonic::Response::new(OpenDataResponse {}))
    }
}

/// What the gateway asks of the agent, answered without an API server.
async fn api_server(request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    if upgrade::is_connect(&request) {
        return Ok(upgraded(request));
    }
    let path = request
        .uri()
        .path()
        .strip_prefix(headers::KUBERNETES_PREFIX)
        .unwrap()
        .to_owned();
    let query = request.uri().query().unwrap_or_default().to_owned();
    Ok(match (&request.method().clone(), path.as_str()) {
        // Shows what arrived.
        (_, path) if path == "/version" || path.ends_with("/pods/shown") => {
            let shown = json!({ "method": request.method().as_str(), "query": query, "headers": shown(request.headers()) });
            let mut response = Response::new(text(&shown.to_string()));
            response
                .headers_mut()
                .insert("content-type", HeaderValue::from_static("application/json"));
            response
        }
        // A watch: one event, and then silence.
        (&Method::GET, path) if path.ends_with("/pods") => {
            let first = futures::stream::once(async { Ok(Frame::data(Bytes::from_static(b"event\n"))) });
            Response::new(stream(futures::StreamExt::chain(
                first,
                futures::stream::pending(),
            )))
        }
        // 64 MiB.
        (&Method::GET, "/api/v1/namespaces/default/pods/big/log") => {
            static CHUNK: [u8; 65536] = [b'x'; 65536];
            let chunks = std::iter::repeat_n(Bytes::from_static(&CHUNK), 1024).map(|c| Ok(Frame::data(c)));
            Response::new(stream(futures::stream::iter(chunks)))
        }
        // Ends with a trailer.
        (&Method::GET, "/api/v1/nodes") => {
            let trailers = HeaderMap::from_iter([(
                http::HeaderName::from_static("x-sum"),
                HeaderValue::from_static("7"),
            )]);
            let frames = [
                Ok(Frame::data(Bytes::from_static(b"nodes"))),
                Ok(Frame::trailers(trailers)),
            ];
            Response::new(stream(futures::stream::iter(frames)))
        }
        // Sends back what it gets, while it gets it.
        (&Method::POST, _) => Response::new(request.into_body().map_err(Into::into).boxed_unsync()),
        _ => {
            let mut response = Response::new(text("no such thing"));
            *response.status_mut() = StatusCode::NOT_FOUND;
            response
        }
    })
}

fn stream(frames: impl futures::Stream<Item = Result<Frame<Bytes>, BoxError>> + Send + 'static) -> Body {
    StreamBody::new(frames).boxed_unsync()
}

fn shown(headers: &HeaderMap) -> Value {
    headers
        .iter()
        .map(|(k, v)| (k.as_str().to_owned(), Value::from(v.to_str().unwrap())))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// An exec that sends back what it gets; one on the pod "denied" is refused, and one on "terminal" shows something in the first of the
/// WebSocket's protocols that are offered.
fn upgraded(mut request: Request<Incoming>) -> Response<Body> {
    let (method, headers) = upgrade::upstream_request(&mut request).unwrap();
    let mut upstream = Response::new(());
    upstream
        .headers_mut()
        .insert("x-method", HeaderValue::from_str(method.as_str()).unwrap());
    let denied = request.uri().path().contains("denied");
    if denied {
        *upstream.status_mut() = StatusCode::FORBIDDEN;
    } else {
        *upstream.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        upstream
            .headers_mut()
            .insert("upgrade", headers["upgrade"].clone());
        upstream
            .headers_mut()
            .insert("connection", HeaderValue::from_static("Upgrade"));
        let terminal = request.uri().path().contains("terminal");
        if let Some(offer) = headers.get("sec-websocket-protocol") {
            let first = offer.to_str().unwrap().split(',').next().unwrap();
            upstream
                .headers_mut()
                .insert("sec-websocket-protocol", first.parse().unwrap());
        }
        tokio::spawn(async move {
            let io = TokioIo::new(hyper::upgrade::on(request).await.unwrap());
            let (mut read, mut write) = tokio::io::split(io);
            if terminal {
                tokio::io::AsyncWriteExt::write_all(&mut write, SHOWN)
                    .await
                    .unwrap();
                let _ = tokio::io::copy(&mut read, &mut tokio::io::sink()).await;
                let _ = tokio::io::AsyncWriteExt::shutdown(&mut write).await;
                return;
            }
            let _ = tokio::io::copy(&mut read, &mut write).await;
            let _ = tokio::io::AsyncWriteExt::shutdown(&mut write).await;
        });
    }
    let head = upgrade::connect_response(&upstream.into_parts().0);
    Response::from_parts(head, if denied { text("not allowed") } else { empty() })
}

/// What the pod "terminal" shows, as a WebSocket has it: `$ hello` on the channel for output.
pub(crate) const SHOWN: &[u8] = b"\x82\x08\x01$ hello";

/// Long enough for anything that happens at once.
pub(crate) const MOMENT: Duration = Duration::from_millis(300);
