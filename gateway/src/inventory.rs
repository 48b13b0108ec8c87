//! The clusters' inventories: followed at the agents, kept in the store, handed on to whoever listens.
//!
//! ```text
//!   agent ── Watch ──> follow.rs ──> intake.rs ──> writer.rs ──> store
//!            one per     one task      untrusted     one task      │ committed
//!            cluster     per cluster   parts         for all       ├─> live.rs: how far, how old
//!                                                                  └─> events.rs ──> listeners
//! ```
//!
//! There is no queue that an agent can fill: a part is stored before the next one is taken from its stream, so a slow disk slows
//! the agents down.

pub(crate) mod events;
mod facets;
mod follow;
mod intake;
mod live;
mod metrics;
mod writer;

use std::sync::Arc;

use tokio::sync::{Semaphore, broadcast, mpsc};
use tokio_util::sync::CancellationToken;

pub use self::intake::probe;
use self::{events::Batch, writer::Job};
pub(crate) use self::{
    follow::wake,
    live::{Follower, Inventory, Status, View},
    metrics::InventoryMetrics,
};
use crate::{app::App, directory::Cluster};

/// What all clusters share.
#[derive(Debug)]
pub(crate) struct Hub {
    jobs: mpsc::Sender<Job>,
    /// Changes of all clusters.
    pub(crate) events: broadcast::Sender<Arc<Batch>>,
    /// One permit per listener to all clusters.
    pub(crate) listeners: Arc<Semaphore>,
    pub(crate) metrics: InventoryMetrics,
}

/// The other end of the hub's queue, for [`run`].
#[derive(Debug)]
pub(crate) struct Jobs(mpsc::Receiver<Job>);

impl Hub {
    pub(crate) fn new() -> (Self, Jobs) {
        let (jobs, queue) = mpsc::channel(writer::QUEUE);
        let hub = Self {
            jobs,
            events: broadcast::Sender::new(events::FLEET_BACKLOG),
            listeners: Arc::new(Semaphore::new(events::MAX_LISTENERS)),
            metrics: InventoryMetrics::default(),
        };
        (hub, Jobs(queue))
    }

    /// Whether anybody listens to this cluster.
    fn is_heard(&self, cluster: &Cluster) -> bool {
        cluster.inventory.is_listened_to() || self.events.receiver_count() > 0
    }

    fn publish(&self, cluster: &Cluster, batch: Batch) {
        let batch = Arc::new(batch);
        // An error says that nobody listens.
        cluster.inventory.tell(Arc::clone(&batch));
        let _ = self.events.send(batch);
    }

    /// How far or how old a cluster's inventory is changed.
    fn announce(&self, cluster: &Cluster) {
        self.publish(
            cluster,
            Batch {
                cluster_id: Arc::clone(&cluster.id),
                organization_id: Arc::clone(&cluster.organization_id),
                changes: vec![],
                state: true,
                deleted: false,
            },
        );
    }

    /// A cluster was deleted.
    pub(crate) fn deleted(&self, cluster: &Cluster) {
        self.publish(
            cluster,
            Batch {
                cluster_id: Arc::clone(&cluster.id),
                organization_id: Arc::clone(&cluster.organization_id),
                changes: vec![],
                state: false,
                deleted: true,
            },
        );
    }
}

/// Stores what the followers bring, until `stop`, and then what is left.
pub(crate) async fn run(app: Arc<App>, jobs: Jobs, stop: CancellationToken) {
    writer::run(&app, jobs.0, &stop).await;
}
