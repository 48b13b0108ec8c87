//! The inventory: what is in the cluster, followed while a gateway wants to know it.
//!
//! ```text
//! API server ── watches (one task each) ──┐
//! Prometheus, checks ────────── Feed ─────┴─> Index (kantaloupe-gpu) ── service: snapshot, deltas ──> gateway
//! ```
//!
//! Nothing is watched before the first gateway asks, and so only by the replica that it asks; all that ask share the watches, which
//! end some minutes after the last one left.

pub mod from;
mod guarded;
mod metrics;
mod platform;
mod protobuf;
mod service;
mod source;
#[cfg(test)]
mod tests;
mod usage;
mod watching;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use jiff::Timestamp;
use kantaloupe_checks::{Code, Outcome};
use kantaloupe_gpu::{
    index::{Batch, Change, Cursor, Index, Watched},
    inventory::{Component, ContainerUsage, Finding, GpuUsage, Source, SourceState},
    node::NodeMark,
    platform::{Objects, Read},
};
use parking_lot::Mutex;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};
use tracing::{Instrument, info, info_span};
use uuid::Uuid;

pub(crate) use self::{
    metrics::InventoryMetrics, platform::examine, protobuf::client as pods_client, service::server,
    usage::measure,
};

/// A gateway that restarts, or moves to another tunnel, asks again within seconds; a short outage of the network is over by then too.
const LINGER: Duration = Duration::from_mins(5);
/// A source that fails holds up the first snapshot for no longer: the others are worth having.
const FIRST_SYNC: Duration = Duration::from_mins(1);
/// How often the index looks at what depends on the time.
const TICK: Duration = Duration::from_secs(1);

/// The inventory of this process. Clones share it.
#[derive(Clone)]
pub(crate) struct Inventory(Arc<Shared>);

struct Shared {
    client: kube::Client,
    /// For watches of pods.
    pods: kube::Client,
    metrics: InventoryMetrics,
    state: Mutex<State>,
    /// Counts changes of the index.
    changed: watch::Sender<u64>,
    /// Whether there is a first consistent state.
    synced: watch::Sender<bool>,
    subscribers: watch::Sender<usize>,
    active: watch::Sender<bool>,
}

struct State {
    /// Names this run of the watches; revisions of two runs do not compare.
    epoch: String,
    index: Index,
    /// Sources that have not said yet whether they can be read.
    awaited: BTreeSet<&'static str>,
    started: Instant,
}

/// What other parts of the agent tell the inventory. Clones tell the same one.
#[derive(Clone)]
pub(crate) struct Feed(Arc<Shared>);

/// A reader. While there is one, the cluster is watched.
pub(crate) struct Subscription {
    shared: Arc<Shared>,
    cursor: Cursor,
    epoch: String,
}

impl Inventory {
    /// `pods` follows pods, `client` everything else.
    pub(crate) fn new(client: kube::Client, pods: kube::Client, metrics: InventoryMetrics) -> Self {
        let state = State {
            epoch: new_epoch(),
            index: Index::default(),
            awaited: BTreeSet::new(),
            started: Instant::now(),
        };
        Self(Arc::new(Shared {
            client,
            pods,
            metrics,
            state: Mutex::new(state),
            changed: watch::Sender::new(0),
            synced: watch::Sender::new(false),
            subscribers: watch::Sender::new(0),
            active: watch::Sender::new(false),
        }))
    }

    /// For what is not watched here: live use, and what the checks find.
    pub(crate) fn feed(&self) -> Feed {
        Feed(Arc::clone(&self.0))
    }

    /// Watches the cluster while somebody wants to know; for ever.
    pub(crate) async fn run(self) {
        let shared = self.0;
        let mut subscribers = shared.subscribers.subscribe();
        loop {
            // The sender is in `shared`.
            drop(subscribers.wait_for(|count| *count > 0).await);
            info!("the inventory is wanted: the cluster is watched");
            shared.begin();
            let mut tasks = JoinSet::new();
            source::spawn_all(&shared, &mut tasks);
            tasks.spawn(
                Arc::clone(&shared)
                    .tick()
                    .instrument(info_span!("inventory_tick")),
            );
            unwanted(&mut subscribers).await;
            info!("the inventory is not wanted any more: the watches end");
            tasks.shutdown().await;
            shared.end();
        }
    }

    /// Starts reading after what a gateway knows; with an epoch of another process, or of an earlier run, from the beginning.
    pub(crate) fn subscribe(&self, epoch: &str, revision: u64) -> Subscription {
        self.0.subscribers.send_modify(|count| *count += 1);
        let known = self.0.state.lock().epoch == epoch && revision > 0;
        Subscription {
            shared: Arc::clone(&self.0),
            cursor: if known {
                Cursor::at(revision)
            } else {
                Cursor::nothing()
            },
            epoch: epoch.to_owned(),
        }
    }
}

/// Waits until nobody has wanted to know for [`LINGER`].
async fn unwanted(subscribers: &mut watch::Receiver<usize>) {
    loop {
        drop(subscribers.wait_for(|count| *count == 0).await);
        tokio::select! {
            () = sleep(LINGER) => return,
            _ = subscribers.wait_for(|count| *count > 0) => {}
        }
    }
}

fn new_epoch() -> String {
    Uuid::new_v4().simple().to_string()
}

impl Shared {
    fn begin(&self) {
        let mut state = self.state.lock();
        state.epoch = new_epoch();
        state.index = Index::default();
        state.awaited = source::NAMES.into_iter().collect();
        state.started = Instant::now();
        drop(state);
        self.active.send_replace(true);
    }

    fn end(&self) {
        self.active.send_replace(false);
        self.synced.send_replace(false);
        let mut state = self.state.lock();
        state.epoch = new_epoch();
        // Its memory is worth more than the chance that somebody asks again.
        state.index = Index::default();
        drop(state);
        self.metrics.forget();
    }

    /// Looks after what depends on the time.
    async fn tick(self: Arc<Self>) {
        let first = Instant::now() + FIRST_SYNC;
        let mut late = std::pin::pin!(sleep_until(first));
        let mut waiting = true;
        loop {
            tokio::select! {
                () = &mut late, if waiting => {
                    waiting = false;
                    self.state.lock().awaited.clear();
                    self.check_synced();
                }
                () = sleep(TICK) => {
                    let mut state = self.state.lock();
                    let due = state.index.tick(Timestamp::now());
                    self.metrics.index(state.index.len(), state.index.revision());
                    drop(state);
                    if due {
                        self.notify();
                    }
                }
            }
        }
    }

    fn apply(&self, change: Change) {
        self.state.lock().index.apply(change);
        self.notify();
    }

    fn notify(&self) {
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Notes whether a source can be read. The first time that every one has an answer there is something to send.
    fn source(&self, name: &'static str, state: SourceState, code: Option<Code>, detail: Option<String>) {
        self.metrics.source(name, state);
        let source = Source {
            name: name.to_owned(),
            state,
            since: Timestamp::now(),
            code: code.map(|code| code.as_str().to_owned()),
            detail,
        };
        let mut locked = self.state.lock();
        locked.index.apply(Change::Source(source));
        if state != SourceState::Failing {
            locked.awaited.remove(name);
        }
        drop(locked);
        self.notify();
        self.check_synced();
    }

    fn check_synced(&self) {
        let state = self.state.lock();
        if !state.awaited.is_empty() || *self.synced.borrow() || !*self.active.borrow() {
            return;
        }
        let took = state.started.elapsed();
        drop(state);
        self.metrics.first_sync(took);
        info!(seconds = took.as_secs_f64(), "the inventory is complete");
        self.synced.send_replace(true);
    }
}

impl Subscription {
    /// What is new, at most `limit` records, as soon as there is something; with the epoch that it belongs to.
    pub(crate) async fn next(&mut self, limit: usize, coalesce: Duration) -> (String, Batch) {
        let mut synced = self.shared.synced.subscribe();
        let mut changed = self.shared.changed.subscribe();
        loop {
            // The senders are in `shared`.
            drop(synced.wait_for(|synced| *synced).await);
            changed.mark_unchanged();
            if let Some(found) = self.poll(limit) {
                return found;
            }
            tokio::select! {
                _ = changed.changed() => {}
                _ = synced.wait_for(|synced| !*synced) => {}
            }
            // Changes come in groups: a pod, its node, its workload.
            sleep(coalesce).await;
        }
    }

    fn poll(&mut self, limit: usize) -> Option<(String, Batch)> {
        let mut state = self.shared.state.lock();
        if self.epoch != state.epoch {
            self.epoch.clone_from(&state.epoch);
            self.cursor = Cursor::nothing();
        }
        let batch = state.index.changes(&mut self.cursor, limit, Timestamp::now());
        drop(state);
        (!batch.is_empty()).then(|| (self.epoch.clone(), batch))
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.shared.subscribers.send_modify(|count| *count -= 1);
    }
}

impl Feed {
    /// All live use that is known.
    pub(crate) fn usage(&self, gpus: Vec<GpuUsage>, containers: Vec<ContainerUsage>) {
        self.tell(Change::Usage { gpus, containers });
    }

    /// All components that were found, all results of checks, and whose distribution the cluster is.
    pub(crate) fn platform(
        &self,
        components: Vec<Component>,
        outcomes: Vec<Outcome>,
        distribution: Option<String>,
    ) {
        self.tell(Change::Components(components));
        self.tell(Change::Checks(outcomes));
        self.tell(Change::Platform {
            version: None,
            distribution,
        });
    }

    /// What is wrong with registrations and allocations, by now.
    fn findings(&self) -> Vec<Finding> {
        self.0.state.lock().index.findings()
    }

    /// Nodes as the checks see them, with the labels that matter beside these objects, and whether they could be read.
    fn nodes(&self, objects: &Objects) -> (Read, Vec<NodeMark>) {
        let index = &self.0.state.lock().index;
        let read = match index.source(Watched::Nodes.plural()) {
            Some(source) => match source.state {
                SourceState::Ok => Read::Ok,
                SourceState::Absent => Read::Absent,
                SourceState::Forbidden => Read::Forbidden,
                SourceState::Failing => Read::Failing(source.detail.clone().unwrap_or_default()),
            },
            None => Read::Failing("not listed yet".to_owned()),
        };
        (read, index.marks(objects.wanted_labels()))
    }

    /// The state of a source, such as `prometheus`.
    pub(crate) fn source(
        &self,
        name: &'static str,
        state: SourceState,
        code: Option<Code>,
        detail: Option<String>,
    ) {
        if *self.0.active.borrow() {
            self.0.source(name, state, code, detail);
        }
    }

    fn tell(&self, change: Change) {
        // What was found out for a run that is over is not of the next one.
        if *self.0.active.borrow() {
            self.0.apply(change);
        }
    }
}
