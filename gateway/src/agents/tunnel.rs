//! A tunnel: the control and the data session of one agent, from `Hello` to the end.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use http::Uri;
use kantaloupe_proto::{
    PROTOCOL_VERSION,
    pb::{DrainRequest, HelloRequest, HelloResponse, agent_service_client::AgentServiceClient},
};
use kantaloupe_tunnel::session::{Client, Grpc, ORIGIN};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::TunnelKey;
use crate::{
    app::App,
    directory::{AgentInfo, Cluster},
};

/// Longest wait for the answer to a call on the control session. It is small and never behind bulk, so that only a
/// dead agent needs longer; a link that resumes in between takes a few seconds.
const CALL: Duration = Duration::from_secs(10);

/// Characters kept of what an agent says of itself.
const MAX_TEXT: usize = 128;

/// A tunnel that is ready.
#[derive(Debug)]
pub(crate) struct Tunnel {
    /// For logs.
    pub(crate) id: String,
    control: ClientEnd,
    data: ClientEnd,
}

/// A session's client; ends the session when dropped.
pub(crate) struct ClientEnd(Client);

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
    /// The session for users' requests.
    pub(crate) fn data(&self) -> &Client {
        &self.data.0
    }

    /// Since when a link under the tunnel has had no connection.
    pub(crate) fn down_since(&self) -> Option<Instant> {
        self.data.0.down_since().or_else(|| self.control.0.down_since())
    }

    /// Ends both sessions and every stream on them, now.
    pub(crate) fn close(&self) {
        self.control.0.close();
        self.data.0.close();
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

fn grpc(control: &Client) -> AgentServiceClient<Grpc> {
    AgentServiceClient::with_origin(control.grpc(), Uri::from_static(ORIGIN))
}

/// Runs a tunnel whose sessions are both there: greets the agent, registers, waits for the end.
pub(super) async fn run(
    app: Arc<App>,
    cluster: Arc<Cluster>,
    key: TunnelKey,
    enrolled_uid: String,
    peer: SocketAddr,
    control: Client,
    data: Client,
) {
    let tunnel = Arc::new(Tunnel {
        id: key.tunnel_id,
        control: ClientEnd(control),
        data: ClientEnd(data),
    });
    let control = &tunnel.control.0;
    let greeting = tokio::select! {
        biased;
        () = ended(&app.stop.hard, &cluster, &tunnel) => None,
        greeting = hello(control, &enrolled_uid) => Some(greeting),
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
    let info = describe(agent, peer);
    tracing::info!(agent_version = %info.version, pod = %info.pod_name, "tunnel ready");
    let (registration, evicted) = cluster.tunnels.insert(Arc::clone(&tunnel));
    if let Some(evicted) = evicted {
        tracing::info!(evicted = %evicted.id, "too many tunnels; the oldest one ends");
        evicted.close();
    }
    cluster.connected(info, App::now());
    app.journal.changed(&cluster);
    app.metrics.tunnels.inc();

    ended(&app.stop.hard, &cluster, &tunnel).await;

    drop(registration);
    tunnel.close();
    app.metrics.tunnels.dec();
    let last = cluster.disconnected(App::now());
    app.journal.changed(&cluster);
    tracing::info!(last, "tunnel ended");
}

/// Waits for whatever ends a tunnel. Revocation first, so that the log tells the cause and not its effect.
async fn ended(hard: &CancellationToken, cluster: &Cluster, tunnel: &Tunnel) {
    tokio::select! {
        biased;
        () = cluster.cut.cancelled() => tracing::info!("cluster revoked, deleted or enrolled again"),
        () = hard.cancelled() => tracing::debug!("gateway stops"),
        () = tunnel.control.0.closed() => tracing::debug!("control session ended"),
        () = tunnel.data.0.closed() => tracing::debug!("data session ended"),
    }
}

async fn hello(control: &Client, enrolled_uid: &str) -> Result<HelloResponse, HelloError> {
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
        connected_at: jiff::Timestamp::now(),
        remote_addr: peer.ip().to_canonical().to_string(),
    }
}

/// What an agent says goes into logs, JSON and the store: short, and without control characters.
pub(super) fn clipped(text: String) -> String {
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
