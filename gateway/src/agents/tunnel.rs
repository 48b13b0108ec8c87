//! A tunnel: the control session of one agent, from `Hello` to the end, and the data session beside it.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use http::Uri;
use kantaloupe_proto::{
    PROTOCOL_VERSION,
    pb::{
        DrainRequest, HelloRequest, HelloResponse, agent_service_client::AgentServiceClient,
        inventory_service_client::InventoryServiceClient,
    },
};
use kantaloupe_tunnel::session::{Calls, ORIGIN};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tonic::codec::CompressionEncoding;

use super::data::Data;
use crate::{
    app::App,
    directory::{AgentInfo, Cluster},
    inventory,
    registry::Registration,
};

/// Longest wait for the answer to a call on the control session. It is small and never behind bulk, so that only a
/// dead agent needs longer; a link that resumes in between takes a few seconds.
const CALL: Duration = Duration::from_secs(10);

/// Characters kept of what an agent says of itself.
const MAX_TEXT: usize = 128;

/// Which tunnel of a cluster a session belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TunnelKey {
    pub(crate) key_id: String,
    pub(crate) tunnel_id: String,
}

/// A tunnel that is ready.
#[derive(Debug)]
pub(crate) struct Tunnel {
    /// For logs.
    pub(crate) id: String,
    pub(super) key: TunnelKey,
    pub(super) control: ClientEnd,
    pub(super) data: Data,
}

/// A session's client; ends the session when dropped.
pub(super) struct ClientEnd(pub(super) Calls);

impl std::fmt::Debug for ClientEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ClientEnd").field(&self.0.is_closed()).finish()
    }
}

/// Why a tunnel never got ready.
#[derive(Debug, thiserror::Error)]
enum HelloError {
    #[error("the agent did not answer Hello within {CALL:?}")]
    Timeout,
    #[error("the agent refused Hello: {0}")]
    Refused(Box<tonic::Status>),
    #[error("the agent speaks protocol version {0}, this gateway {PROTOCOL_VERSION} (KTA-VER-001)")]
    Version(u32),
    #[error("the agent runs in cluster {0}, not in the one that enrolled (KTA-AUTH-005)")]
    OtherCluster(String),
}

impl Tunnel {
    /// The agent's inventory; messages of more than `largest` bytes, after decompression, end a call.
    pub(crate) fn inventory(&self, largest: usize) -> InventoryServiceClient<Calls> {
        InventoryServiceClient::with_origin(self.control.0.clone(), Uri::from_static(ORIGIN))
            .accept_compressed(CompressionEncoding::Gzip)
            .max_decoding_message_size(largest)
    }

    /// Since when the control session has had no connection.
    pub(crate) fn control_down_since(&self) -> Option<Instant> {
        self.control.0.down_since()
    }

    /// Waits until the control session is over.
    pub(crate) async fn control_closed(&self) {
        self.control.0.closed().await;
    }

    /// Since when a link under the tunnel has had no connection.
    pub(crate) fn down_since(&self) -> Option<Instant> {
        self.data.down_since().or_else(|| self.control.0.down_since())
    }

    /// Whether the agent has not yet taken its leave.
    pub(crate) fn is_open(&self) -> bool {
        !self.control.0.is_closed()
    }

    /// Ends both sessions and every stream on them, now.
    pub(crate) fn close(&self) {
        self.control.0.close();
        self.data.close();
    }

    /// Asks the agent to open another tunnel, after `reconnect_after`, and to close this one when it is idle.
    pub(crate) async fn drain(&self, reason: &str, reconnect_after: Duration) {
        let reconnect_after_ms = u32::try_from(reconnect_after.as_millis()).unwrap_or(u32::MAX);
        let request = DrainRequest {
            reason: reason.to_owned(),
            reconnect_after_ms,
        };
        match timeout(CALL, grpc(&self.control.0).drain(request)).await {
            Ok(Ok(_)) => {}
            Ok(Err(status)) => tracing::debug!(tunnel = %self.id, %status, "agent refused Drain"),
            Err(_) => tracing::debug!(tunnel = %self.id, "agent did not answer Drain"),
        }
    }
}

/// The agent's own service.
pub(super) fn grpc(control: &Calls) -> AgentServiceClient<Calls> {
    AgentServiceClient::with_origin(control.clone(), Uri::from_static(ORIGIN))
}

/// Runs a tunnel whose control session is there: greets the agent, registers, waits for the end.
pub(super) async fn run(
    app: Arc<App>,
    cluster: Arc<Cluster>,
    key: TunnelKey,
    enrolled_uid: String,
    peer: SocketAddr,
    control: Calls,
) {
    let tunnel = Arc::new(Tunnel {
        id: key.tunnel_id.clone(),
        key,
        control: ClientEnd(control),
        data: Data::default(),
    });
    // Boxed: the tunnel waits for weeks in what follows.
    let greeting = Box::pin(hello(&tunnel.control.0, &enrolled_uid));
    let greeting = tokio::select! {
        biased;
        _ = over(&app.stop.hard, &cluster, &tunnel) => None,
        greeting = greeting => Some(greeting),
    };
    let agent = match greeting {
        Some(Ok(agent)) => agent,
        Some(Err(error)) => {
            tracing::warn!(%error, "tunnel refused");
            app.metrics.tunnel_failures.inc();
            return tunnel.close();
        }
        None => return tunnel.close(),
    };
    let registration = register(&app, &cluster, &tunnel, describe(agent, peer));

    let over = tokio::select! {
        biased;
        over = over(&app.stop.hard, &cluster, &tunnel) => over,
        () = tunnel.data.close_when_idle(app.agents.data_idle) => Over::Cut,
    };

    drop(registration);
    inventory::wake(&app, &cluster);
    app.metrics.tunnels.dec();
    let last = cluster.disconnected(App::now());
    app.journal.changed(&cluster);
    tracing::info!(last, "tunnel ended");
    if matches!(over, Over::ControlEnded) {
        // An agent that drains ends the control session at once, and the data session with its last stream.
        tokio::select! {
            biased;
            () = cluster.cut.cancelled() => {}
            () = app.stop.hard.cancelled() => {}
            () = tunnel.data.ended() => {}
        }
    }
    tunnel.close();
}

/// Lets requests come, and tells all who want to know.
fn register(
    app: &Arc<App>,
    cluster: &Arc<Cluster>,
    tunnel: &Arc<Tunnel>,
    info: AgentInfo,
) -> Registration<Arc<Tunnel>> {
    tracing::info!(agent_version = %info.version, pod = %info.pod_name, "tunnel ready");
    let (registration, evicted) = cluster.tunnels.insert(Arc::clone(tunnel));
    if let Some(evicted) = evicted {
        tracing::info!(evicted = %evicted.id, "too many tunnels; the oldest one ends");
        evicted.close();
    }
    cluster.connected(info, App::now());
    app.journal.changed(cluster);
    app.metrics.tunnels.inc();
    inventory::wake(app, cluster);
    registration
}

/// How a tunnel ended.
enum Over {
    /// Nothing of it shall be left.
    Cut,
    /// The agent ended the control session, or it broke.
    ControlEnded,
}

/// Waits for whatever ends a tunnel. Revocation first, so that the log tells the cause and not its effect.
async fn over(hard: &CancellationToken, cluster: &Cluster, tunnel: &Tunnel) -> Over {
    tokio::select! {
        biased;
        () = cluster.cut.cancelled() => {
            tracing::info!("cluster revoked, deleted or enrolled again");
            Over::Cut
        }
        () = hard.cancelled() => {
            tracing::debug!("gateway stops");
            Over::Cut
        }
        () = tunnel.control.0.closed() => {
            tracing::debug!("control session ended");
            Over::ControlEnded
        }
    }
}

async fn hello(control: &Calls, enrolled_uid: &str) -> Result<HelloResponse, HelloError> {
    let request = HelloRequest {
        gateway_version: env!("CARGO_PKG_VERSION").to_owned(),
        protocol_version: PROTOCOL_VERSION,
    };
    let answer = timeout(CALL, grpc(control).hello(request))
        .await
        .map_err(|_| HelloError::Timeout)?;
    let agent = answer
        .map_err(|status| HelloError::Refused(Box::new(status)))?
        .into_inner();
    if agent.protocol_version != PROTOCOL_VERSION {
        return Err(HelloError::Version(agent.protocol_version));
    }
    if agent.cluster_uid != enrolled_uid {
        return Err(HelloError::OtherCluster(clipped(agent.cluster_uid)));
    }
    Ok(agent)
}

fn describe(agent: HelloResponse, peer: SocketAddr) -> AgentInfo {
    AgentInfo {
        version: clipped(agent.agent_version),
        kubernetes_version: clipped(agent.kubernetes_version),
        pod_name: clipped(agent.pod_name),
        cluster_uid: clipped(agent.cluster_uid),
        access_profile: clipped(agent.access_profile),
        limits: agent.access_limits.map(Into::into),
        connected_at: jiff::Timestamp::now(),
        remote_addr: peer.ip().to_canonical().to_string(),
    }
}

/// What an agent says goes into logs, JSON and the store: short, and without control characters.
pub(crate) fn clipped(text: String) -> String {
    if text.len() <= MAX_TEXT && !text.chars().any(char::is_control) {
        return text;
    }
    text.chars().filter(|c| !c.is_control()).take(MAX_TEXT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_agent_says_is_clipped() {
        assert_eq!(clipped("v1.34.4".to_owned()), "v1.34.4");
        assert_eq!(clipped("a\u{1b}[31m\nb".to_owned()), "a[31mb");
        assert_eq!(clipped("x".repeat(1000)).len(), MAX_TEXT);
    }
}
