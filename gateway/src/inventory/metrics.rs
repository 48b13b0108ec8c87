//! What is counted of inventories.

use std::fmt::{self, Write as _};

use kantaloupe_gpu::inventory::Kind;
use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use super::intake::Rejection;

impl EncodeLabelValue for Rejection {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        encoder.write_str(self.as_str())
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct KindName(Kind);

impl EncodeLabelValue for KindName {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        write!(encoder, "{}", self.0)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ReasonLabel {
    reason: Rejection,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct KindLabel {
    kind: KindName,
}

/// The families.
#[derive(Clone, Debug)]
pub(crate) struct InventoryMetrics {
    /// Inventories that are up to date by an open stream.
    pub(crate) live: Gauge,
    records: Family<KindLabel, Gauge>,
    pub(crate) updates: Counter,
    pub(crate) snapshots: Counter,
    pub(crate) changes: Counter,
    rejected: Family<ReasonLabel, Counter>,
    pub(crate) broken: Counter,
    pub(crate) store_failures: Counter,
    /// From the arrival of a part to its commit.
    pub(crate) apply_seconds: Histogram,
    /// Event streams of users.
    pub(crate) listeners: Gauge,
    pub(crate) resyncs: Counter,
}

impl Default for InventoryMetrics {
    fn default() -> Self {
        Self {
            live: Gauge::default(),
            records: Family::default(),
            updates: Counter::default(),
            snapshots: Counter::default(),
            changes: Counter::default(),
            rejected: Family::default(),
            broken: Counter::default(),
            store_failures: Counter::default(),
            // From one small commit to a disk that does not keep up.
            apply_seconds: Histogram::new([0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0]),
            listeners: Gauge::default(),
            resyncs: Counter::default(),
        }
    }
}

impl InventoryMetrics {
    /// Puts every family into a registry.
    pub(crate) fn register(&self, registry: &mut Registry) {
        let r = registry.sub_registry_with_prefix("kantaloupe_gateway_inventory");
        r.register(
            "live",
            "Clusters whose inventory is up to date by an open stream",
            self.live.clone(),
        );
        r.register(
            "records",
            "Records in the store, by kind; counted once a minute",
            self.records.clone(),
        );
        r.register("updates", "Parts of changes stored", self.updates.clone());
        r.register("snapshots", "Snapshots begun", self.snapshots.clone());
        r.register(
            "changes",
            "Records that changed, came or went",
            self.changes.clone(),
        );
        r.register(
            "rejected",
            "Records of agents that were not taken, by reason",
            self.rejected.clone(),
        );
        r.register(
            "broken",
            "Streams given up because of what the agent sent",
            self.broken.clone(),
        );
        r.register(
            "store_failures",
            "Transactions of inventories that failed",
            self.store_failures.clone(),
        );
        r.register(
            "apply_seconds",
            "Time from the arrival of a part to its commit",
            self.apply_seconds.clone(),
        );
        r.register("listeners", "Event streams of users", self.listeners.clone());
        r.register(
            "resyncs",
            "Events streams that were too slow and lost events",
            self.resyncs.clone(),
        );
    }

    /// Counts a record that was not taken.
    pub(super) fn reject(&self, reason: Rejection) {
        self.rejected.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// Sets the number of records of a kind.
    pub(super) fn count(&self, kind: Kind, records: i64) {
        let label = KindLabel { kind: KindName(kind) };
        self.records.get_or_create(&label).set(records);
    }
}
