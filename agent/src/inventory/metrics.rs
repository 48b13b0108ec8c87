//! What is counted of the inventory.

use std::{sync::atomic::AtomicU64, time::Duration};

use kantaloupe_gpu::inventory::SourceState;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SourceLabels {
    source: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    source: &'static str,
    state: &'static str,
}

/// The families.
#[derive(Clone, Debug, Default)]
pub(crate) struct InventoryMetrics {
    records: Gauge,
    revision: Gauge,
    sync: Gauge<f64, AtomicU64>,
    states: Family<StateLabels, Gauge>,
    restarts: Family<SourceLabels, Counter>,
    odd: Family<SourceLabels, Counter>,
    pub(super) messages: Counter,
    pub(super) bytes: Counter,
}

impl InventoryMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let inventory = registry.sub_registry_with_prefix("inventory");
        inventory.register(
            "records",
            "Records of the inventory; 0 while nobody asks for it",
            metrics.records.clone(),
        );
        inventory.register(
            "revision",
            "Changes of records since the watches began",
            metrics.revision.clone(),
        );
        inventory.register_with_unit(
            "first_sync",
            "From the first question to the first complete state",
            Unit::Seconds,
            metrics.sync.clone(),
        );
        inventory.register(
            "source",
            "1 for the state that a source is in",
            metrics.states.clone(),
        );
        inventory.register(
            "watch_restarts",
            "Watches that were begun anew",
            metrics.restarts.clone(),
        );
        inventory.register(
            "odd_objects",
            "Objects that could not be read",
            metrics.odd.clone(),
        );
        inventory.register("messages", "Messages to gateways", metrics.messages.clone());
        inventory.register_with_unit(
            "sent",
            "Size of messages to gateways before compression",
            Unit::Bytes,
            metrics.bytes.clone(),
        );
        metrics
    }

    pub(super) fn index(&self, records: usize, revision: u64) {
        self.records.set(i64::try_from(records).unwrap_or(i64::MAX));
        self.revision.set(i64::try_from(revision).unwrap_or(i64::MAX));
    }

    pub(super) fn first_sync(&self, took: Duration) {
        self.sync.set(took.as_secs_f64());
    }

    pub(super) fn source(&self, source: &'static str, state: SourceState) {
        for (of, name) in [
            (SourceState::Ok, "ok"),
            (SourceState::Forbidden, "forbidden"),
            (SourceState::Absent, "absent"),
            (SourceState::Failing, "failing"),
        ] {
            let labels = StateLabels { source, state: name };
            self.states.get_or_create(&labels).set((of == state).into());
        }
    }

    pub(super) fn restarted(&self, source: &'static str) {
        self.restarts.get_or_create(&SourceLabels { source }).inc();
    }

    pub(super) fn odd(&self, source: &'static str) {
        self.odd.get_or_create(&SourceLabels { source }).inc();
    }

    /// Nothing is watched any more.
    pub(super) fn forget(&self) {
        self.index(0, 0);
        self.states.clear();
    }
}
