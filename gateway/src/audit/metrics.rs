//! What is counted of the audit.

use std::fmt::{self, Write as _};

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use super::entry::{Decision, Phase};

impl EncodeLabelValue for Phase {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        encoder.write_str(match self {
            Self::Begin => "begin",
            Self::End => "end",
            Self::Event => "event",
        })
    }
}

impl EncodeLabelValue for Decision {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        encoder.write_str(match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct EntryLabel {
    pub(crate) phase: Phase,
    pub(crate) decision: Decision,
}

/// The families.
#[derive(Clone, Debug)]
pub(crate) struct AuditMetrics {
    pub(crate) entries: Family<EntryLabel, Counter>,
    /// Entries that could not be written.
    pub(crate) lost: Counter,
    /// Refusals without a valid token that are only counted in the audit.
    pub(crate) summed: Counter,
    pub(crate) head: Gauge,
    pub(crate) stored: Gauge,
    pub(crate) backlog_bytes: Gauge,
    pub(crate) batches: Counter,
    pub(crate) store_failures: Counter,
    pub(crate) removed: Counter,
    pub(crate) append_seconds: Histogram,
}

impl Default for AuditMetrics {
    fn default() -> Self {
        Self {
            entries: Family::default(),
            lost: Counter::default(),
            summed: Counter::default(),
            head: Gauge::default(),
            stored: Gauge::default(),
            backlog_bytes: Gauge::default(),
            batches: Counter::default(),
            store_failures: Counter::default(),
            removed: Counter::default(),
            // From a write into memory to a disk that does not keep up.
            append_seconds: Histogram::new([0.000_005, 0.000_01, 0.000_025, 0.000_1, 0.001, 0.01, 0.1, 1.0]),
        }
    }
}

impl AuditMetrics {
    /// Puts every family into a registry.
    pub(crate) fn register(&self, registry: &mut Registry) {
        let r = registry.sub_registry_with_prefix("kantaloupe_gateway_audit");
        r.register(
            "entries",
            "Entries written, by phase and decision",
            self.entries.clone(),
        );
        r.register("lost", "Entries that could not be written", self.lost.clone());
        r.register(
            "summed",
            "Refusals without a valid token that were counted in one entry because there were too many",
            self.summed.clone(),
        );
        r.register("head", "Number of the last entry", self.head.clone());
        r.register(
            "stored",
            "Number of the last entry in the database",
            self.stored.clone(),
        );
        r.register(
            "backlog_bytes",
            "Bytes of the journal that are not in the database yet",
            self.backlog_bytes.clone(),
        );
        r.register(
            "batches",
            "Batches of entries brought into the database",
            self.batches.clone(),
        );
        r.register(
            "store_failures",
            "Attempts to bring entries into the database, or to remove old ones, that failed",
            self.store_failures.clone(),
        );
        r.register("removed", "Entries that retention removed", self.removed.clone());
        r.register(
            "append_seconds",
            "Time to write one entry",
            self.append_seconds.clone(),
        );
    }
}
