//! As much of a gateway as an agent needs: enrolment, challenge, tunnel; and the sessions for the test to use.

use std::{net::SocketAddr, sync::Arc};

use aws_lc_rs::signature::Ed25519KeyPair;
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use kantaloupe_proto::{
    agent_api::{CHALLENGE_PATH, ENROLL_PATH, TUNNEL_PATH},
    assertion::{Claims, SessionKind, Unverified},
    pb::{
        DrainRequest, HelloRequest, HelloResponse, OpenDataRequest, agent_service_client::AgentServiceClient,
    },
    token::{Token, TokenKind},
};
use kantaloupe_tunnel::{
    carrier::websocket,
    link::{self, Acceptor, Link},
    session::{self, Body, Calls, Client, Kind, ORIGIN},
};
use parking_lot::Mutex;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinSet,
};
use tokio_util::task::AbortOnDropHandle;

use super::{Certificate, TlsServer, handler, json as answer, problem, soon};

/// What the gateway knows and how it misbehaves.
#[derive(Default)]
pub(crate) struct State {
    /// The public key of each enrolment, in order.
    pub(crate) keys: Vec<[u8; 32]>,
    /// Ids of the tokens that were used, in order.
    pub(crate) tokens: Vec<String>,
    /// Loses the answers of so many enrolments.
    pub(crate) lose_answers: usize,
    /// Status, code and detail of the answer to an enrolment.
    pub(crate) refuse_enrolment: Option<(u16, &'static str, &'static str)>,
    /// The same for tunnels, for keys that this says yes to.
    pub(crate) refuse_tunnel: Option<(u16, &'static str, &'static str)>,
    pub(crate) refuse_key: Option<String>,
    /// Tunnel requests, refused ones included.
    pub(crate) attempts: usize,
    /// The `Authorization` header of each.
    pub(crate) authorizations: Vec<String>,
}

/// One session of an agent.
pub(crate) struct Session {
    pub(crate) claims: Claims,
    link: Link,
}

impl Session {
    /// For a control session.
    pub(crate) async fn calls(self) -> Calls {
        Calls::handshake(self.link).await.unwrap()
    }

    /// For a data session.
    pub(crate) async fn client(self) -> Client {
        Client::handshake(self.link, Kind::Data).await.unwrap()
    }
}

/// Nonce in wishes for data sessions.
pub(crate) const DATA_NONCE: &str = "nonce-data";

/// A tunnel with a data session.
pub(crate) struct Tunnel {
    pub(crate) id: String,
    pub(crate) claims: Claims,
    pub(crate) control: Calls,
    pub(crate) data: Client,
}

impl Tunnel {
    pub(crate) async fn hello(&self) -> HelloResponse {
        hello(&self.control).await
    }

    pub(crate) async fn ask_to_drain(&self) {
        let mut client = AgentServiceClient::with_origin(self.control.clone(), ORIGIN.parse().unwrap());
        let drain = DrainRequest {
            reason: "test".to_owned(),
            reconnect_after_ms: 1,
        };
        soon(client.drain(drain)).await.unwrap();
    }

    /// `GET` as alice, an administrator.
    pub(crate) async fn get(&self, path: &str) -> Response<Incoming> {
        soon(self.try_get(path)).await.unwrap()
    }

    pub(crate) async fn try_get(&self, path: &str) -> Result<Response<Incoming>, session::Error> {
        let request = Request::get(format!("{ORIGIN}/kubernetes{path}"))
            .header("kantaloupe-user", "alice")
            .header("kantaloupe-role", "admin")
            .header("kantaloupe-request-id", "r-1")
            .body(Empty::new().map_err(|never| match never {}).boxed_unsync())
            .unwrap();
        self.data.request(request).await
    }
}

/// Forwards TCP connections and can cut them all, without a word to either end.
struct Relay {
    address: SocketAddr,
    connections: Arc<Mutex<JoinSet<()>>>,
    _task: AbortOnDropHandle<()>,
}

impl Relay {
    async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections: Arc<Mutex<JoinSet<()>>> = Arc::default();
        let shared = Arc::clone(&connections);
        let task = tokio::spawn(async move {
            loop {
                let (mut near, _) = listener.accept().await.unwrap();
                shared.lock().spawn(async move {
                    let mut far = TcpStream::connect(target).await.unwrap();
                    let _cut = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                });
            }
        });
        Self {
            address,
            connections,
            _task: AbortOnDropHandle::new(task),
        }
    }
}

/// The gateway.
pub(crate) struct Gateway {
    /// Where agents reach it.
    pub(crate) address: SocketAddr,
    relay: Relay,
    acceptor: Arc<Mutex<Acceptor>>,
    _server: TlsServer,
    pub(crate) state: Arc<Mutex<State>>,
    pub(crate) certificate: Certificate,
    sessions: mpsc::Receiver<Session>,
}

impl Gateway {
    pub(crate) async fn start() -> Self {
        super::install_provider();
        let certificate = Certificate::new("localhost");
        let state: Arc<Mutex<State>> = Arc::default();
        let (sender, sessions) = mpsc::channel(64);
        let acceptor = Arc::new(Mutex::new(Acceptor::new(link::Config::default())));
        let shared = Shared {
            state: Arc::clone(&state),
            acceptor: Arc::clone(&acceptor),
            sender,
        };
        let server = TlsServer::start(
            &certificate,
            handler(move |request| respond(shared.clone(), request)),
        )
        .await;
        let relay = Relay::start(server.address).await;
        Self {
            address: relay.address,
            relay,
            acceptor,
            _server: server,
            state,
            certificate,
            sessions,
        }
    }

    /// Cuts every connection.
    pub(crate) fn cut(&self) {
        self.relay.connections.lock().abort_all();
    }

    /// Cuts every connection and knows no link any more, as after SIGKILL and a start.
    pub(crate) fn restart(&self) {
        *self.acceptor.lock() = Acceptor::new(link::Config::default());
        self.cut();
    }

    /// The next session that an agent opens.
    pub(crate) async fn session(&mut self) -> Session {
        soon(self.sessions.recv()).await.unwrap()
    }

    /// A data session, opened at this gateway's wish.
    pub(crate) async fn data(&mut self, control: &Calls) -> Session {
        let wish = open_data(control);
        let (answer, session) = tokio::join!(wish, self.session());
        answer.unwrap();
        session
    }

    /// The next tunnel, with a data session.
    pub(crate) async fn tunnel(&mut self) -> Tunnel {
        let control = self.session().await;
        assert_eq!(control.claims.session, SessionKind::Control);
        let claims = control.claims.clone();
        let control = control.calls().await;
        let data = self.data(&control).await;
        assert_eq!(data.claims.tunnel_id, claims.tunnel_id);
        Tunnel {
            id: claims.tunnel_id.clone(),
            claims,
            control,
            data: data.client().await,
        }
    }
}

/// Greets an agent.
pub(crate) async fn hello(control: &Calls) -> HelloResponse {
    let mut client = AgentServiceClient::with_origin(control.clone(), ORIGIN.parse().unwrap());
    let hello = HelloRequest {
        gateway_version: "0.0.0".to_owned(),
        protocol_version: 1,
    };
    soon(client.hello(hello)).await.unwrap().into_inner()
}

/// Asks for a data session.
pub(crate) async fn open_data(control: &Calls) -> Result<(), tonic::Status> {
    let mut client = AgentServiceClient::with_origin(control.clone(), ORIGIN.parse().unwrap());
    let wish = OpenDataRequest {
        nonce: DATA_NONCE.to_owned(),
    };
    soon(client.open_data(wish)).await.map(drop)
}

/// A new enrolment token and its text.
pub(crate) fn token() -> (Token, String) {
    let token = Token::generate(TokenKind::Enrollment);
    let text = token.reveal().expose_secret().to_owned();
    (token, text)
}

/// The public half of the key in a Secret of the fake API server.
pub(crate) fn public_key(secret: &Value) -> [u8; 32] {
    use aws_lc_rs::signature::KeyPair;

    let pkcs8 = STANDARD
        .decode(secret["data"]["private-key"].as_str().unwrap())
        .unwrap();
    let pair = Ed25519KeyPair::from_pkcs8(&pkcs8).unwrap();
    pair.public_key().as_ref().try_into().unwrap()
}

#[derive(Clone)]
struct Shared {
    state: Arc<Mutex<State>>,
    acceptor: Arc<Mutex<Acceptor>>,
    sender: mpsc::Sender<Session>,
}

async fn respond(shared: Shared, request: Request<Incoming>) -> Response<Body> {
    match request.uri().path() {
        ENROLL_PATH => enroll(&shared, request).await,
        CHALLENGE_PATH => answer(
            200,
            &json!({"nonce": "nonce-1", "time": jiff::Timestamp::now().as_second(), "protocolVersion": 1}),
        ),
        TUNNEL_PATH => tunnel(shared, request),
        _ => Response::builder()
            .status(404)
            .body(super::full("<html>nothing here</html>"))
            .unwrap(),
    }
}

async fn enroll(shared: &Shared, request: Request<Incoming>) -> Response<Body> {
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let body: Value = serde_json::from_slice(&body).unwrap();
    let token = Token::parse(TokenKind::Enrollment, body["token"].as_str().unwrap()).unwrap();
    let key = STANDARD
        .decode(body["publicKey"].as_str().unwrap())
        .unwrap()
        .try_into()
        .unwrap();
    let mut state = shared.state.lock();
    state.keys.push(key);
    state.tokens.push(token.id);
    if let Some((status, code, detail)) = state.refuse_enrolment {
        return problem(status, code, detail);
    }
    if state.lose_answers > 0 {
        state.lose_answers -= 1;
        return Response::builder()
            .status(502)
            .body(super::full("<html>bad gateway</html>"))
            .unwrap();
    }
    let key_id = format!("k-{}", state.keys.len());
    answer(
        200,
        &json!({"clusterId": "c-1a2b3c4d", "clusterName": "prod", "keyId": key_id, "audience": "test-gateway"}),
    )
}

fn tunnel(shared: Shared, mut request: Request<Incoming>) -> Response<Body> {
    let header = request.headers()["authorization"].to_str().unwrap();
    // Preflight asks without an identity.
    let Ok(unverified) = Unverified::parse(header) else {
        return problem(401, "KTA-AUTH-007", "The request has no assertion");
    };
    let claims = {
        let mut state = shared.state.lock();
        state.attempts += 1;
        state.authorizations.push(header.to_owned());
        let key = *state.keys.last().unwrap();
        let key_id = unverified.key_id().to_owned();
        if let Some((status, code, detail)) = state.refuse_tunnel
            && state.refuse_key.as_ref().is_none_or(|refused| *refused == key_id)
        {
            return problem(status, code, detail);
        }
        unverified.verify(&key).unwrap()
    };
    let response = websocket::server_response(&request).unwrap();
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let Ok(io) = upgrade.await else { return };
        let carrier = websocket::server(TokioIo::new(io));
        let principal = format!("{}/{:?}", claims.tunnel_id, claims.session);
        let acceptor = shared.acceptor.lock().clone();
        let Ok(Some(link)) = acceptor.accept(carrier, &principal).await else {
            return;
        };
        let _test_ended = shared.sender.send(Session { claims, link }).await;
    });
    response.map(|()| super::full(""))
}
