//! The loop that keeps the cluster connected. One async function per state:
//!
//! ```text
//!          ┌──────────── refused, and there is a new token ────────────┐
//!          v                                                           │
//!  ──> enrol ── identity ──> dial ── Hello answered ──> serve ── tunnel lost, or drain asked for ──> dial
//!          │                   │                          │
//!          └───── failure ─────┴──> back off ──> again    └─ SIGTERM: drain, end
//! ```
//!
//! It never gives up: a cluster that was offline for a month comes back by itself. What somebody has to mend first (a
//! revoked identity, a wrong pin) is tried slowly, logged as an error, and keeps the agent unready.

use std::{pin::pin, sync::Arc, time::Duration};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use k8s_openapi::api::core::v1::Namespace;
use kantaloupe_checks::Code;
use kantaloupe_proto::assertion::SessionKind;
use kube::Api;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::{
    config::Config,
    control_plane::ControlPlane,
    enroll::Enroller,
    fault::{self, Failure},
    health::{Health, Readiness},
    identity::{Identity, KeyStore, bounded},
    inventory::Inventory,
    metrics::Metrics,
    proxy::{Guard, upstream::Upstream},
    service::Facts,
    tunnel::{Ended, Tunnel},
};

/// First wait after a failure.
const BACKOFF_MIN: Duration = Duration::from_millis(200);
/// Jitter adds up to as much again, so that waits end at 15 s.
const BACKOFF_MAX: Duration = Duration::from_millis(7_500);
/// Slower than doubling: an agent is back within a few seconds after a gateway that was away for a few.
const BACKOFF_FACTOR: f32 = 1.5;
/// Between attempts when somebody has to change something first.
const PERMANENT_RETRY: Duration = Duration::from_mins(1);

/// How often a waiting agent looks whether there is a new token.
const TOKEN_POLL: Duration = Duration::from_secs(1);
/// Readiness does not wait longer than this for something that is only told.
const VERSION_TIMEOUT: Duration = Duration::from_secs(2);

/// Labels of [`TunnelMetrics::dials`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct DialLabels {
    pub(crate) session: &'static str,
    result: &'static str,
}

impl DialLabels {
    pub(crate) fn new(session: SessionKind, ok: bool) -> Self {
        let session = match session {
            SessionKind::Control => "control",
            SessionKind::Data => "data",
        };
        Self {
            session,
            result: if ok { "ok" } else { "failed" },
        }
    }
}

/// Labels of [`TunnelMetrics::failures`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct FailureLabels {
    code: &'static str,
}

/// What the loop counts.
#[derive(Debug, Default)]
pub(crate) struct TunnelMetrics {
    ready: Gauge,
    opened: Counter,
    failures: Family<FailureLabels, Counter>,
    pub(crate) dials: Family<DialLabels, Counter>,
}

impl TunnelMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let tunnel = registry.sub_registry_with_prefix("tunnel");
        tunnel.register("ready", "1 while a tunnel is ready", metrics.ready.clone());
        tunnel.register("opened", "Tunnels that became ready", metrics.opened.clone());
        tunnel.register(
            "failures",
            "Failed attempts and lost tunnels by code",
            metrics.failures.clone(),
        );
        tunnel.register(
            "dials",
            "Connections dialed, first ones and resumed ones",
            metrics.dials.clone(),
        );
        metrics
    }
}

/// What all tunnels of this process share.
pub(crate) struct Context {
    pub(crate) config: Arc<Config>,
    pub(crate) control_plane: ControlPlane,
    pub(crate) upstream: Upstream,
    pub(crate) guard: Arc<Guard>,
    pub(crate) facts: Arc<Facts>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) inventory: Inventory,
}

/// Reads the UID of the `kube-system` namespace: the identity of the cluster.
pub(crate) async fn cluster_uid(client: &kube::Client) -> Result<String, Failure> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let problem = match bounded(namespaces.get("kube-system")).await {
        Ok(namespace) => match namespace.metadata.uid {
            Some(uid) => return Ok(uid),
            None => "it has no UID".to_owned(),
        },
        Err(error) => error.to_string(),
    };
    let what = format!("the namespace kube-system cannot be read (the agent needs get on it): {problem}");
    Err(Failure::transient(fault::new(
        Code::K8S_001,
        what,
        "the API server",
    )))
}

/// Waits between attempts, growing until [`Backoff::reset`].
pub(crate) struct Backoff(ExponentialBackoff);

impl Backoff {
    pub(crate) fn new() -> Self {
        let builder = ExponentialBuilder::new()
            .with_min_delay(BACKOFF_MIN)
            .with_max_delay(BACKOFF_MAX)
            .with_factor(BACKOFF_FACTOR)
            .with_jitter()
            .without_max_times();
        Self(builder.build())
    }

    /// To be called only after proof of life, or a gateway that takes connections and drops them would be hammered.
    fn reset(&mut self) {
        *self = Self::new();
    }

    pub(crate) fn next(&mut self, failure: &Failure) -> Duration {
        if failure.permanent {
            PERMANENT_RETRY
        } else {
            self.0.next().unwrap_or(BACKOFF_MAX)
        }
    }
}

enum State {
    /// With the id of a key that the gateway did not accept.
    Enrol(Option<String>),
    Dial(Identity),
    Serve(Identity, Tunnel),
    BackOff(Failure, Box<Self>),
}

/// The loop.
pub(crate) struct Connector {
    context: Arc<Context>,
    store: KeyStore,
    client: kube::Client,
    health: Arc<Health>,
    backoff: Backoff,
    /// Replaced at the gateway's wish, serving until the next tunnel is ready.
    retiring: Vec<Tunnel>,
    /// Draining.
    finishing: JoinSet<()>,
}

impl Connector {
    pub(crate) fn new(
        context: Arc<Context>,
        store: KeyStore,
        client: kube::Client,
        health: Arc<Health>,
    ) -> Self {
        Self {
            context,
            store,
            client,
            health,
            backoff: Backoff::new(),
            retiring: Vec::new(),
            finishing: JoinSet::new(),
        }
    }

    /// Runs until `shutdown`, then drains. Fails only where there is neither an identity nor a token.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) -> Result<(), Failure> {
        let mut state = State::Enrol(None);
        loop {
            state = match state {
                // Not cut off by `shutdown` as a whole: a ready tunnel is drained and not dropped.
                State::Serve(identity, tunnel) => match self.serve(identity, tunnel, &shutdown).await {
                    Some(next) => next,
                    None => break,
                },
                other => {
                    let stepped = tokio::select! {
                        biased;
                        () = shutdown.cancelled() => break,
                        stepped = self.step(other) => stepped,
                    };
                    stepped?
                }
            };
        }
        self.drain().await;
        Ok(())
    }

    async fn step(&mut self, state: State) -> Result<State, Failure> {
        match state {
            State::Enrol(refused) => self.enrol(refused).await,
            State::Dial(identity) => Ok(self.dial(identity).await),
            State::BackOff(failure, next) => Ok(self.back_off(&failure, *next).await),
            serve @ State::Serve(..) => Ok(serve),
        }
    }

    fn enroller(&self) -> Enroller<'_> {
        Enroller {
            config: &self.context.config,
            control_plane: &self.context.control_plane,
            store: &self.store,
            cluster_uid: &self.context.facts.cluster_uid,
        }
    }

    async fn enrol(&mut self, refused: Option<String>) -> Result<State, Failure> {
        match self.enroller().obtain(refused.as_deref()).await {
            Ok(identity) => Ok(State::Dial(identity)),
            // Not waited for here: an end with a clear message is seen sooner than an agent that never gets ready,
            // and the restart of the pod is the next attempt.
            Err(failure) if failure.fault.code() == Code::CFG_003 => Err(failure),
            Err(failure) => Ok(State::BackOff(failure, Box::new(State::Enrol(refused)))),
        }
    }

    async fn dial(&mut self, identity: Identity) -> State {
        let opened = {
            let version = self.refresh_version();
            let (opened, ()) = tokio::join!(Tunnel::open(&self.context, &identity), version);
            opened
        };
        match opened {
            Ok(tunnel) => {
                info!(
                    tunnel = tunnel.id,
                    cluster = identity.enrolled.cluster_id,
                    "connected"
                );
                self.backoff.reset();
                self.context.metrics.tunnel.opened.inc();
                self.ready(true);
                self.retire();
                State::Serve(identity, tunnel)
            }
            Err(failure) => self.lost(identity, failure),
        }
    }

    /// After a failed dial or a lost tunnel.
    fn lost(&self, identity: Identity, failure: Failure) -> State {
        if !refuses_identity(&failure) {
            return State::BackOff(failure, Box::new(State::Dial(identity)));
        }
        let fresh = self.enroller().fresh_token(&identity.enrolled).is_some();
        let enrol = State::Enrol(Some(identity.enrolled.key_id));
        if fresh {
            enrol
        } else {
            State::BackOff(failure, Box::new(enrol))
        }
    }

    /// `None`: shut down.
    async fn serve(
        &mut self,
        identity: Identity,
        tunnel: Tunnel,
        shutdown: &CancellationToken,
    ) -> Option<State> {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => {
                self.retiring.push(tunnel);
                None
            }
            ended = tunnel.ended() => {
                self.ready(false);
                let failure = tunnel.failure(&self.context, &ended);
                Some(self.lost(identity, failure))
            }
            delay = tunnel.drain_asked() => {
                // It serves on until the next one is ready, but the gateway may end it sooner. The delay holds even
                // then: it is there so that not all agents come back at once.
                let mut pause = pin!(sleep(delay));
                tokio::select! {
                    biased;
                    () = shutdown.cancelled() => {
                        self.retiring.push(tunnel);
                        return None;
                    }
                    () = &mut pause => self.retiring.push(tunnel),
                    ended = tunnel.ended() => {
                        self.ready(false);
                        let fault = tunnel.failure(&self.context, &ended).fault;
                        self.health.set(Readiness::NotReady(fault));
                        tokio::select! {
                            biased;
                            () = shutdown.cancelled() => return None,
                            () = pause => {}
                        }
                    }
                }
                Some(State::Dial(identity))
            }
        }
    }

    async fn back_off(&mut self, failure: &Failure, next: State) -> State {
        let code = failure.fault.code().as_str();
        self.context
            .metrics
            .tunnel
            .failures
            .get_or_create(&FailureLabels { code })
            .inc();
        self.retiring.retain(|tunnel| !tunnel.has_ended());
        if self.retiring.is_empty() {
            self.ready(false);
            self.health.set(Readiness::NotReady(Arc::clone(&failure.fault)));
        }
        let delay = self.backoff.next(failure);
        fault::log(failure, delay);
        if failure.permanent {
            self.wait_for_another_token(delay).await;
        } else {
            sleep(delay).await;
        }
        next
    }

    /// Waits for `delay`, or until the token file changes: then somebody has done what the log asked for.
    async fn wait_for_another_token(&self, delay: Duration) {
        let file = &self.context.config.token_file;
        let before = std::fs::read(file).ok();
        let changed = async {
            while std::fs::read(file).ok() == before {
                sleep(TOKEN_POLL).await;
            }
            info!("the token file changed: trying again");
        };
        // Both ends of the wait lead to the next attempt.
        let _either = timeout(delay, changed).await;
    }

    /// Ends the tunnels that the new one replaces.
    fn retire(&mut self) {
        for tunnel in self.retiring.drain(..) {
            tunnel.drain();
            self.finishing.spawn(async move {
                let how = tunnel.ended().await;
                debug!(tunnel = tunnel.id, %how, "replaced tunnel ended");
            });
        }
        // Collects the ends of earlier ones.
        while self.finishing.try_join_next().is_some() {}
    }

    async fn drain(mut self) {
        self.health.set(Readiness::Draining);
        info!(timeout = ?self.context.config.drain_timeout, "draining");
        for tunnel in self.retiring.drain(..) {
            tunnel.drain();
            self.finishing.spawn(async move {
                let how = tunnel.ended().await;
                if matches!(how, Ended::TimedOut) {
                    info!(tunnel = tunnel.id, "streams were cut: the drain time was over");
                } else {
                    info!(tunnel = tunnel.id, "tunnel closed");
                }
            });
        }
        while self.finishing.join_next().await.is_some() {}
        self.context.metrics.tunnel.ready.set(0);
    }

    fn ready(&self, ready: bool) {
        self.context.metrics.tunnel.ready.set(ready.into());
        if ready {
            self.health.set(Readiness::Ready);
        }
    }

    /// Best effort: an unreadable version is no reason not to connect.
    async fn refresh_version(&self) {
        match timeout(VERSION_TIMEOUT, bounded(self.client.apiserver_version())).await {
            Ok(Ok(version)) => *self.context.facts.kubernetes_version.lock() = version.git_version,
            Ok(Err(error)) => debug!(%error, "the API server's version cannot be read"),
            Err(_elapsed) => debug!("the API server is slow to tell its version"),
        }
    }
}

/// Whether the gateway will not take this key, so that only a new enrolment helps.
fn refuses_identity(failure: &Failure) -> bool {
    failure.permanent && failure.fault.code().area() == "AUTH"
}
