//! A gateway in the hands of somebody hostile: it takes in every agent, and then sends whatever a test wants.

use std::{convert::Infallible, net::SocketAddr, sync::Arc};

use anyhow::{Context, ensure};
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use kantaloupe_proto::{
    agent_api::{CHALLENGE_PATH, ENROLL_PATH, TUNNEL_PATH},
    assertion::{SessionKind, Unverified},
    pb::{HelloRequest, OpenDataRequest, agent_service_client::AgentServiceClient},
};
use kantaloupe_tunnel::{
    carrier::websocket,
    link::{self, Acceptor, Link},
    session::{Body, Calls, Client, Kind, ORIGIN},
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::mpsc, time::timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::tunnel::{Tls, full};

/// Longest for an agent to open a session, on a loaded machine.
const SESSION: std::time::Duration = std::time::Duration::from_mins(1);

/// A running one; it ends with its handle.
pub struct HostileGateway {
    pub addr: SocketAddr,
    sessions: mpsc::Receiver<(SessionKind, Link)>,
    _task: AbortOnDropHandle<()>,
}

/// An agent's two sessions.
pub struct Taken {
    pub control: Calls,
    pub data: Client,
}

#[derive(Clone)]
struct Shared {
    /// Of the agent that enrolled last.
    key: Arc<Mutex<Option<[u8; 32]>>>,
    acceptor: Acceptor,
    sender: mpsc::Sender<(SessionKind, Link)>,
}

impl HostileGateway {
    pub async fn start(tls: &Tls) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?;
        let (sender, sessions) = mpsc::channel(8);
        let shared = Shared {
            key: Arc::default(),
            acceptor: Acceptor::new(link::Config::default()),
            sender,
        };
        let tls = tls.acceptor.clone();
        let task = tokio::spawn(async move {
            loop {
                let Ok((tcp, _)) = listener.accept().await else {
                    continue;
                };
                let (tls, shared) = (tls.clone(), shared.clone());
                tokio::spawn(async move {
                    let stream = TokioIo::new(tls.accept(tcp).await.ok()?);
                    let service = service_fn(move |request| {
                        let shared = shared.clone();
                        async move { Ok::<_, Infallible>(answer(&shared, request).await) }
                    });
                    http1::Builder::new()
                        .serve_connection(stream, service)
                        .with_upgrades()
                        .await
                        .ok()
                });
            }
        });
        Ok(Self {
            addr,
            sessions,
            _task: AbortOnDropHandle::new(task),
        })
    }

    /// Waits for an agent, greets it and has it open its data session.
    pub async fn take(&mut self) -> anyhow::Result<Taken> {
        let (kind, control) = self.session().await?;
        ensure!(kind == SessionKind::Control, "the first session is {kind:?}");
        let control = Calls::handshake(control).await?;
        let mut agent = AgentServiceClient::with_origin(control.clone(), ORIGIN.parse()?);
        let hello = HelloRequest {
            gateway_version: "0.0.0".to_owned(),
            protocol_version: kantaloupe_proto::PROTOCOL_VERSION,
        };
        agent.hello(hello).await?;
        let nonce = "nonce".to_owned();
        let (opened, session) = tokio::join!(agent.open_data(OpenDataRequest { nonce }), self.session());
        opened?;
        let (kind, data) = session?;
        ensure!(kind == SessionKind::Data, "the second session is {kind:?}");
        let data = Client::handshake(data, Kind::Data).await?;
        Ok(Taken { control, data })
    }

    async fn session(&mut self) -> anyhow::Result<(SessionKind, Link)> {
        timeout(SESSION, self.sessions.recv())
            .await
            .context("no agent came")?
            .context("the listener ended")
    }
}

async fn answer(shared: &Shared, request: Request<Incoming>) -> Response<Body> {
    let made = match request.uri().path() {
        ENROLL_PATH => enroll(shared, request).await,
        CHALLENGE_PATH => {
            let time = jiff::Timestamp::now().as_second();
            let challenge = json!({"nonce": "nonce", "time": time, "protocolVersion": kantaloupe_proto::PROTOCOL_VERSION});
            Ok(Response::new(full(challenge.to_string())))
        }
        TUNNEL_PATH => tunnel(shared, request),
        path => Err(anyhow::anyhow!("nobody asks for {path}")),
    };
    made.unwrap_or_else(|error| {
        let mut response = Response::new(full(error.to_string()));
        *response.status_mut() = http::StatusCode::BAD_REQUEST;
        response
    })
}

async fn enroll(shared: &Shared, request: Request<Incoming>) -> anyhow::Result<Response<Body>> {
    let body: Value = serde_json::from_slice(&request.into_body().collect().await?.to_bytes())?;
    let key = STANDARD.decode(body["publicKey"].as_str().context("no key")?)?;
    *shared.key.lock() = Some(key.try_into().ok().context("no Ed25519 key")?);
    let enrolled =
        json!({"clusterId": "c-1a2b3c4d", "clusterName": "prod", "keyId": "k-1", "audience": "hostile"});
    Ok(Response::new(full(enrolled.to_string())))
}

fn tunnel(shared: &Shared, mut request: Request<Incoming>) -> anyhow::Result<Response<Body>> {
    let header = request.headers().get("authorization").context("no assertion")?;
    let unverified = Unverified::parse(header.to_str()?)?;
    let key = shared.key.lock().context("nobody enrolled")?;
    let claims = unverified.verify(&key)?;
    let response = websocket::server_response(&request)?;
    let upgrade = hyper::upgrade::on(&mut request);
    let shared = shared.clone();
    tokio::spawn(async move {
        let carrier = websocket::server(TokioIo::new(upgrade.await.ok()?));
        let principal = format!("{}/{:?}", claims.tunnel_id, claims.session);
        let link = shared.acceptor.accept(carrier, &principal).await.ok()??;
        shared.sender.send((claims.session, link)).await.ok()
    });
    Ok(response.map(|()| full("")))
}
