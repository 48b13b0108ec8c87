//! Resident memory: idle, with many streams, with readers that do not read, and of a gateway with many idle agents.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use futures::future::BoxFuture;
use http::{Method, Request};
use http_body_util::BodyExt;
use hyper::{client::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use kantaloupe_proto::{
    agent_api::{CHALLENGE_PATH, ChallengeResponse, ENROLL_PATH, EnrollResponse, TUNNEL_PATH},
    assertion::{self, Claims, SessionKind},
};
use kantaloupe_tunnel::{
    carrier::{BoxCarrier, socket, websocket},
    link::{self, Config, DialError, Dialer},
    session::{self, Body, BoxError, Kind},
};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::{net::TcpStream, time::sleep};
use tokio_util::sync::CancellationToken;

use super::{
    chain::Chain,
    report::{Figure, Report},
};
use crate::{
    processes::Gateway,
    tunnel::{Tls, empty, full, localhost},
    usage::resident,
};

/// Agents of the fleet.
const AGENTS: usize = 2000;
/// Agents that enrol and connect at the same time.
const AT_ONCE: usize = 16;
const STALLED: usize = 40;
const STREAMS: usize = 100;

#[allow(clippy::cast_precision_loss)]
fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// One agent and its gateway.
pub async fn one(report: &mut Report) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let chain = Chain::start(dir.path(), None).await?;
    let (gateway, agent) = (chain.gateway.process.pid(), chain.agent.process.pid());
    sleep(Duration::from_secs(3)).await;
    report.push(Figure::new("agent_rss_idle", "MiB", &[mib(resident(agent)?)]));

    let mut open = vec![];
    for _ in 0..STREAMS {
        let mut connection = chain.tunnel.connect().await?;
        let response = connection.send("GET", "/watch?100000000", empty()).await?;
        open.push((connection, response));
    }
    sleep(Duration::from_secs(2)).await;
    report.push(Figure::new(
        "agent_rss_100_streams",
        "MiB",
        &[mib(resident(agent)?)],
    ));
    drop(open);
    sleep(Duration::from_secs(2)).await;

    let before = resident(gateway)? + resident(agent)?;
    let mut stalled = vec![];
    for _ in 0..STALLED {
        let mut connection = chain.tunnel.connect().await?;
        let response = connection.send("GET", "/bulk?1000000000000", empty()).await?;
        stalled.push((connection, response));
    }
    sleep(Duration::from_secs(10)).await;
    let grown = (resident(gateway)? + resident(agent)?).saturating_sub(before);
    report.push(Figure::new("stalled40_rss_growth", "MiB", &[mib(grown)]));
    let served = chain.tunnel.small(200).await?.len();
    anyhow::ensure!(served == 200, "others are served beside the stalled readers");
    Ok(())
}

/// A gateway with many idle agents, which live in this process.
pub async fn fleet(report: &mut Report) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let tls = Tls::new();
    let gateway = Arc::new(Gateway::start(dir.path(), &tls).await?);
    let pid = gateway.process.pid();
    // The first ones bring what is needed once.
    let mut agents = start_agents(&gateway, 0..50).await?;
    sleep(Duration::from_secs(3)).await;
    let before = resident(pid)?;
    agents.extend(start_agents(&gateway, 50..AGENTS).await?);
    sleep(Duration::from_secs(10)).await;
    let connected = gateway.json(Method::GET, "/api/v1/clusters", None).await?;
    let list = connected
        .as_array()
        .or_else(|| connected["clusters"].as_array())
        .or_else(|| connected["items"].as_array());
    let connected = list
        .context("no list of clusters")?
        .iter()
        .filter(|c| c["state"] == "connected")
        .count();
    anyhow::ensure!(
        connected == AGENTS,
        "{connected} of {AGENTS} agents are connected"
    );
    #[allow(clippy::cast_precision_loss)]
    let each = resident(pid)?.saturating_sub(before) as f64 / (AGENTS - 50) as f64 / 1024.0;
    report.push(Figure::new("gateway_rss_per_idle_agent", "KiB", &[each]));
    Ok(())
}

async fn start_agents(
    gateway: &Arc<Gateway>,
    range: std::ops::Range<usize>,
) -> anyhow::Result<Vec<tokio::task::JoinSet<()>>> {
    let mut started = vec![];
    let all: Vec<usize> = range.collect();
    for chunk in all.chunks(AT_ONCE) {
        let some = chunk.iter().map(|i| agent(gateway.clone(), *i));
        started.extend(futures::future::try_join_all(some).await?);
    }
    Ok(started)
}

/// An agent that enrols, connects and answers Hello, without a cluster.
async fn agent(gateway: Arc<Gateway>, i: usize) -> anyhow::Result<tokio::task::JoinSet<()>> {
    let (_, token) = gateway.create_cluster(&format!("fleet-{i}")).await?;
    let key = Ed25519KeyPair::generate().map_err(|_| anyhow::anyhow!("no key"))?;
    let uid = format!("00000000-0000-4000-8000-{i:012}");
    let mut sender = connect(&gateway).await?;
    let public = base64::Engine::encode(
        &base64::engine::general_purpose::STANDARD,
        key.public_key().as_ref(),
    );
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)?
        .as_secs();
    let body =
        json!({"token": token, "publicKey": public, "clusterUid": uid, "agentVersion": "0.1.0", "time": now});
    let request = Request::post(ENROLL_PATH)
        .header("host", "localhost")
        .header("content-type", "application/json")
        .body(full(body.to_string()))?;
    let enrolled: EnrollResponse = ask(&mut sender, request).await?;
    let identity = Arc::new(Identity {
        gateway,
        key,
        uid,
        enrolled,
        tunnel: uuid::Uuid::new_v4().to_string(),
    });
    // Nobody asks for anything, so that the gateway never wants a data session.
    let link = link::open(Arc::new(AgentDialer(identity.clone())), Config::default()).await?;
    let service = tonic::service::Routes::new(
        kantaloupe_proto::pb::agent_service_server::AgentServiceServer::new(Hello(identity.uid.clone())),
    )
    .prepare();
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let mut service = service.clone();
        async move {
            let response = tower::Service::call(&mut service, request.map(tonic::body::Body::new)).await;
            response.map(|r| r.map(|b| b.map_err(BoxError::from).boxed_unsync()) as http::Response<Body>)
        }
    });
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move {
        let _ = session::serve(link, Kind::Control, service, CancellationToken::new()).await;
    });
    Ok(tasks)
}

/// A request that is answered with JSON.
async fn ask<T: DeserializeOwned>(
    sender: &mut http1::SendRequest<Body>,
    request: Request<Body>,
) -> anyhow::Result<T> {
    let answer = sender.send_request(request).await?.into_body().collect().await?;
    Ok(serde_json::from_slice(&answer.to_bytes())?)
}

async fn connect(gateway: &Gateway) -> anyhow::Result<http1::SendRequest<Body>> {
    let tcp = TcpStream::connect(gateway.addr).await?;
    socket::tune(&tcp)?;
    let stream = gateway.tls.connector.connect(localhost(), tcp).await?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection.with_upgrades());
    Ok(sender)
}

struct Identity {
    gateway: Arc<Gateway>,
    key: Ed25519KeyPair,
    uid: String,
    enrolled: EnrollResponse,
    tunnel: String,
}

struct AgentDialer(Arc<Identity>);

impl AgentDialer {
    async fn upgrade(&self) -> anyhow::Result<BoxCarrier> {
        let identity = &self.0;
        let mut sender = connect(&identity.gateway).await?;
        let request = Request::get(CHALLENGE_PATH)
            .header("host", "localhost")
            .body(empty())?;
        let challenge: ChallengeResponse = ask(&mut sender, request).await?;
        let claims = Claims {
            key_id: identity.enrolled.key_id.clone(),
            cluster_id: identity.enrolled.cluster_id.clone(),
            cluster_uid: identity.uid.clone(),
            audience: identity.enrolled.audience.clone(),
            nonce: challenge.nonce,
            issued_at: challenge.time,
            tunnel_id: identity.tunnel.clone(),
            session: SessionKind::Control,
            instance: "bench".into(),
        };
        let mut request = Request::get(TUNNEL_PATH)
            .header("host", "localhost")
            .header("authorization", assertion::sign(&claims, &identity.key))
            .body(empty())?;
        let key = websocket::client_headers(request.headers_mut());
        sender.ready().await?;
        let response = sender.send_request(request).await?;
        websocket::check_response(&response, &key)?;
        Ok(websocket::client(TokioIo::new(
            hyper::upgrade::on(response).await?,
        )))
    }
}

impl Dialer for AgentDialer {
    fn dial(&self) -> BoxFuture<'_, Result<BoxCarrier, DialError>> {
        Box::pin(async move {
            self.upgrade().await.map_err(|e| DialError {
                retry: true,
                source: e.into(),
            })
        })
    }
}

struct Hello(String);

#[tonic::async_trait]
impl kantaloupe_proto::pb::agent_service_server::AgentService for Hello {
    async fn hello(
        &self,
        _: tonic::Request<kantaloupe_proto::pb::HelloRequest>,
    ) -> Result<tonic::Response<kantaloupe_proto::pb::HelloResponse>, tonic::Status> {
        Ok(tonic::Response::new(kantaloupe_proto::pb::HelloResponse {
            agent_version: "0.1.0".into(),
            protocol_version: kantaloupe_proto::PROTOCOL_VERSION,
            cluster_uid: self.0.clone(),
            access_profile: "observe".into(),
            ..Default::default()
        }))
    }

    async fn drain(
        &self,
        _: tonic::Request<kantaloupe_proto::pb::DrainRequest>,
    ) -> Result<tonic::Response<kantaloupe_proto::pb::DrainResponse>, tonic::Status> {
        Ok(tonic::Response::new(kantaloupe_proto::pb::DrainResponse {}))
    }

    async fn open_data(
        &self,
        _: tonic::Request<kantaloupe_proto::pb::OpenDataRequest>,
    ) -> Result<tonic::Response<kantaloupe_proto::pb::OpenDataResponse>, tonic::Status> {
        Err(tonic::Status::unimplemented("these agents have no cluster"))
    }
}
