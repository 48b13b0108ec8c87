//! What the agent tells of its queries.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};
use std::time::Duration;

use super::{error::QueryError, round::Round};

/// Labels of a failed round or query.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FailureLabels {
    reason: &'static str,
}

/// Counters and gauges of the queries.
#[derive(Debug, Clone, Default)]
pub struct PrometheusMetrics {
    up: Gauge,
    rounds: Counter,
    failures: Family<FailureLabels, Counter>,
    queries: Counter,
    series: Counter,
    bytes: Counter,
    seconds: Counter<f64, std::sync::atomic::AtomicU64>,
    devices_known: Gauge,
}

impl PrometheusMetrics {
    /// Adds them to a registry.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let sub = registry.sub_registry_with_prefix("prometheus");
        sub.register(
            "up",
            "1 while the cluster's Prometheus answers",
            metrics.up.clone(),
        );
        sub.register(
            "rounds",
            "Rounds of queries that brought something",
            metrics.rounds.clone(),
        );
        sub.register(
            "failures",
            "Failed rounds and queries by reason",
            metrics.failures.clone(),
        );
        sub.register("queries", "Queries asked", metrics.queries.clone());
        sub.register("series", "Series read", metrics.series.clone());
        sub.register_with_unit("answer", "Answers read", Unit::Bytes, metrics.bytes.clone());
        sub.register_with_unit(
            "round",
            "Time that rounds took",
            Unit::Seconds,
            metrics.seconds.clone(),
        );
        sub.register(
            "devices_measured",
            "Devices whose use was known after the last round",
            metrics.devices_known.clone(),
        );
        metrics
    }

    pub(super) fn succeeded(&self, round: &Round, took: Duration) {
        self.up.set(1);
        self.rounds.inc();
        self.queries.inc_by(round.queries as u64);
        self.series.inc_by(round.series as u64);
        self.bytes.inc_by(round.bytes as u64);
        self.seconds.inc_by(took.as_secs_f64());
        let known = round
            .usage
            .gpus
            .iter()
            .filter(|usage| !usage.source.is_empty())
            .count();
        self.devices_known.set(i64::try_from(known).unwrap_or(i64::MAX));
        for (_, error) in &round.failed {
            self.failed_query(error);
        }
    }

    pub(super) fn failed(&self, reason: &'static str) {
        self.up.set(0);
        self.devices_known.set(0);
        self.failures.get_or_create(&FailureLabels { reason }).inc();
    }

    fn failed_query(&self, error: &QueryError) {
        self.failures
            .get_or_create(&FailureLabels { reason: error.kind() })
            .inc();
    }
}
