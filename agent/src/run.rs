//! Starts the agent's parts and ends them.

#[cfg(test)]
mod tests;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use kantaloupe_checks::{Code, Fault};
use parking_lot::Mutex;
use tokio::time::sleep;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tracing::{Instrument, info, info_span};

use crate::{
    audit::AuditLog,
    config::Config,
    connect::{Backoff, Connector, Context, cluster_uid},
    control_plane::ControlPlane,
    fault::{self, Failure},
    health::{self, Health, Readiness},
    identity::KeyStore,
    inventory::{self, Inventory},
    metrics::Metrics,
    proxy::{Guard, request::Rules, upstream::Upstream},
    service::Facts,
};

/// How often [`Agent::ready`] looks.
const READY_POLL: Duration = Duration::from_millis(10);

/// A running agent. Dropping it ends it at once; cancelling its shutdown token drains it.
pub struct Agent {
    health: Arc<Health>,
    health_address: SocketAddr,
    connector: AbortOnDropHandle<Result<(), Failure>>,
    _watchdog: AbortOnDropHandle<()>,
    _health_server: AbortOnDropHandle<()>,
}

/// Starts an agent for the API server of `kube`; it runs in tasks of the current runtime until `shutdown`.
///
/// Fails on what no waiting can mend: an occupied health port, a CA file that cannot be read, unusable credentials.
pub async fn start(config: Config, kube: kube::Config, shutdown: CancellationToken) -> Result<Agent, Fault> {
    let metrics = Arc::new(Metrics::new());
    let health = Arc::new(Health::new(Arc::clone(&metrics)));
    let control_plane = ControlPlane::new(&config)?;
    let kube = prepared(kube);
    let unusable = |error: &dyn std::fmt::Display| {
        fault::new(
            Code::K8S_001,
            format!("there is no way to the API server: {error}"),
            &kube.cluster_url,
        )
    };
    let upstream = Upstream::new(&kube).map_err(|error| unusable(&error))?;
    let client = kube::Client::try_from(kube.clone()).map_err(|error| unusable(&error))?;
    let pods = inventory::pods_client(kube.clone()).map_err(|error| unusable(&error))?;
    let listener = health::bind(config.health_listen).await?;
    let health_address = listener.local_addr().unwrap_or(config.health_listen);
    info!(address = %health_address, "health checks and metrics");

    let health_server = health::serve(listener, Arc::clone(&health));
    let watchdog = Arc::clone(&health);
    let watchdog = async move { watchdog.watchdog().await };
    let parts = Parts {
        config,
        control_plane,
        upstream,
        client,
        pods,
        metrics,
        health: Arc::clone(&health),
    };
    let connector = connect(parts, shutdown).instrument(info_span!("connect"));
    Ok(Agent {
        health,
        health_address,
        connector: AbortOnDropHandle::new(tokio::spawn(connector)),
        _watchdog: AbortOnDropHandle::new(tokio::spawn(watchdog)),
        _health_server: AbortOnDropHandle::new(tokio::spawn(health_server)),
    })
}

impl Agent {
    /// Where the health checks answer.
    pub fn health_address(&self) -> SocketAddr {
        self.health_address
    }

    /// Whether a tunnel is ready.
    pub fn is_ready(&self) -> bool {
        self.health.is_ready()
    }

    /// Waits until a tunnel is ready.
    pub async fn ready(&self) {
        while !self.is_ready() {
            sleep(READY_POLL).await;
        }
    }

    /// Waits for the end: after shutdown and draining, or with the fault that nothing but a restart can mend.
    pub async fn join(self) -> Result<(), Arc<Fault>> {
        match self.connector.await {
            Ok(result) => result.map_err(|failure| failure.fault),
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_aborted) => Ok(()),
        }
    }
}

struct Parts {
    config: Config,
    control_plane: ControlPlane,
    upstream: Upstream,
    client: kube::Client,
    pods: kube::Client,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
}

/// A proxy repeats nothing and inflates nothing.
fn prepared(mut kube: kube::Config) -> kube::Config {
    kube.default_retry = false;
    kube.disable_compression = true;
    kube
}

async fn connect(parts: Parts, shutdown: CancellationToken) -> Result<(), Failure> {
    let Parts {
        config,
        control_plane,
        upstream,
        client,
        pods,
        metrics,
        health,
    } = parts;
    let uid = tokio::select! {
        biased;
        () = shutdown.cancelled() => return Ok(()),
        uid = read_cluster_uid(&client, &health) => uid,
    };
    info!(cluster_uid = uid, "the cluster's identity");
    let inventory = Inventory::new(client.clone(), pods, metrics.inventory.clone());
    let _watches = AbortOnDropHandle::new(tokio::spawn(inventory.clone().run().in_current_span()));
    let usage = inventory::measure(
        inventory.feed(),
        config.monitoring.clone(),
        client.clone(),
        metrics.prometheus.clone(),
    );
    let _usage = AbortOnDropHandle::new(tokio::spawn(usage.instrument(info_span!("usage"))));
    let config = Arc::new(config);
    let platform = inventory::examine(inventory.feed(), Arc::clone(&config), client.clone());
    let _platform = AbortOnDropHandle::new(tokio::spawn(platform.instrument(info_span!("platform"))));
    let facts = Arc::new(Facts {
        cluster_uid: uid,
        kubernetes_version: Mutex::default(),
        pod_name: config.pod_name.clone(),
        access_profile: config.policy.profile.as_str(),
        access_limits: config.access_limits(),
    });
    let store = KeyStore::new(client.clone(), &config.pod_namespace, &config.secret_name);
    let guard = Arc::new(Guard {
        rules: Rules {
            policy: config.policy.clone(),
            organization: config.organization.clone(),
        },
        audit: Arc::new(AuditLog::new()),
    });
    let context = Arc::new(Context {
        config,
        control_plane,
        upstream,
        guard,
        facts,
        metrics,
        inventory,
    });
    Connector::new(context, store, client, health).run(shutdown).await
}

/// Asks until the API server answers: after a node's restart the agent may be up before it.
async fn read_cluster_uid(client: &kube::Client, health: &Health) -> String {
    let mut backoff = Backoff::new();
    loop {
        match cluster_uid(client).await {
            Ok(uid) => return uid,
            Err(failure) => {
                health.set(Readiness::NotReady(Arc::clone(&failure.fault)));
                let delay = backoff.next(&failure);
                fault::log(&failure, delay);
                sleep(delay).await;
            }
        }
    }
}

/// The API server's address and credentials: of the pod, or of `KUBECONFIG` outside a cluster.
pub async fn infer_kube() -> Result<kube::Config, Fault> {
    kube::Config::infer().await.map_err(|error| {
        let what =
            "the API server's address and credentials are in neither a service account nor a kubeconfig";
        fault::new(Code::K8S_001, what, fault::chain(&error))
    })
}
