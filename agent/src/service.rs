//! The control session: `AgentService`, what the gateway asks of the agent itself, and `InventoryService`.

use std::{convert::Infallible, sync::Arc, time::Duration};

use http::{Request, Response};
use hyper::body::Incoming;
use kantaloupe_proto::{
    PROTOCOL_VERSION,
    pb::{
        AccessLimits, DrainRequest, DrainResponse, HelloRequest, HelloResponse, OpenDataRequest,
        OpenDataResponse,
        agent_service_server::{AgentService, AgentServiceServer},
    },
};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tonic::{Status, body::Body, service::Routes};
use tower::ServiceExt;
use tracing::{info, warn};

use crate::inventory::{self, Inventory};

/// Requests of this service are a few short fields.
const MAX_MESSAGE: usize = 64 * 1024;
/// The gateway smears reconnects; more than this would be an outage of our own.
const MAX_RECONNECT_DELAY: Duration = Duration::from_mins(1);

/// Wishes for data sessions that wait to be looked at, which happens at once.
const WISHES: usize = 1;

/// What `Hello` tells of this agent.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) cluster_uid: String,
    /// Refreshed before each tunnel; empty when it could not be read.
    pub(crate) kubernetes_version: Mutex<String>,
    pub(crate) pod_name: String,
    pub(crate) access_profile: &'static str,
    pub(crate) access_limits: AccessLimits,
}

/// The gateway's wish for a data session.
#[derive(Debug)]
pub(crate) struct OpenData {
    /// For the first connection's assertion.
    pub(crate) nonce: String,
    /// Gets the cause if there will be none.
    pub(crate) opened: oneshot::Sender<Result<(), String>>,
}

/// What the gateway has said on one tunnel.
#[derive(Clone, Debug)]
pub(crate) struct Signals {
    /// Hello was answered: the tunnel is proven to work.
    pub(crate) hello: CancellationToken,
    /// Drain was asked for: dial another tunnel after this delay, then end this one.
    pub(crate) drain: watch::Sender<Option<Duration>>,
    /// Data sessions to open.
    pub(crate) open_data: mpsc::Sender<OpenData>,
}

impl Signals {
    /// With the other end of `open_data`.
    pub(crate) fn new() -> (Self, mpsc::Receiver<OpenData>) {
        let (open_data, wishes) = mpsc::channel(WISHES);
        let signals = Self {
            hello: CancellationToken::new(),
            drain: watch::Sender::new(None),
            open_data,
        };
        (signals, wishes)
    }
}

struct Service {
    facts: Arc<Facts>,
    signals: Signals,
}

#[tonic::async_trait]
impl AgentService for Service {
    async fn hello(
        &self,
        request: tonic::Request<HelloRequest>,
    ) -> Result<tonic::Response<HelloResponse>, Status> {
        let HelloRequest {
            gateway_version,
            protocol_version,
        } = request.into_inner();
        if protocol_version != PROTOCOL_VERSION {
            warn!(
                gateway_version,
                theirs = protocol_version,
                ours = PROTOCOL_VERSION,
                "the gateway speaks another version of the protocol"
            );
        }
        info!(gateway_version, "hello");
        self.signals.hello.cancel();
        Ok(tonic::Response::new(HelloResponse {
            agent_version: crate::VERSION.to_owned(),
            protocol_version: PROTOCOL_VERSION,
            cluster_uid: self.facts.cluster_uid.clone(),
            kubernetes_version: self.facts.kubernetes_version.lock().clone(),
            pod_name: self.facts.pod_name.clone(),
            access_profile: self.facts.access_profile.to_owned(),
            access_limits: Some(self.facts.access_limits.clone()),
        }))
    }

    async fn drain(
        &self,
        request: tonic::Request<DrainRequest>,
    ) -> Result<tonic::Response<DrainResponse>, Status> {
        let DrainRequest {
            reason,
            reconnect_after_ms,
        } = request.into_inner();
        let delay = Duration::from_millis(reconnect_after_ms.into()).min(MAX_RECONNECT_DELAY);
        info!(reason, ?delay, "the gateway asks for another tunnel");
        self.signals.drain.send_replace(Some(delay));
        Ok(tonic::Response::new(DrainResponse {}))
    }

    async fn open_data(
        &self,
        request: tonic::Request<OpenDataRequest>,
    ) -> Result<tonic::Response<OpenDataResponse>, Status> {
        let OpenDataRequest { nonce } = request.into_inner();
        let over = || Status::unavailable("the agent ends this tunnel");
        let (opened, outcome) = oneshot::channel();
        let wish = OpenData { nonce, opened };
        self.signals.open_data.send(wish).await.map_err(|_| over())?;
        match outcome.await.map_err(|_| over())? {
            Ok(()) => Ok(tonic::Response::new(OpenDataResponse {})),
            Err(cause) => Err(Status::unavailable(cause)),
        }
    }
}

/// The control session's service.
#[derive(Clone)]
pub(crate) struct Control(Routes);

impl Control {
    pub(crate) fn new(facts: Arc<Facts>, signals: Signals, inventory: Inventory) -> Self {
        let server =
            AgentServiceServer::new(Service { facts, signals }).max_decoding_message_size(MAX_MESSAGE);
        let routes = Routes::new(server).add_service(inventory::server(inventory));
        Self(routes.prepare())
    }

    /// Answers one request of the gateway.
    pub(crate) async fn handle(&self, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        self.0.clone().oneshot(request.map(Body::new)).await
    }
}
