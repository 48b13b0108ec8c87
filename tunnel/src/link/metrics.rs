//! What the links of a process count together.

use prometheus_client::{
    metrics::{counter::Counter, histogram::Histogram},
    registry::{Registry, Unit},
};

/// From a machine in the same rack to a line that stands in a queue.
const ROUND_TRIPS: [f64; 10] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 3.0];

/// Counters of links. Clones share them; a process has one, in the [`super::Config`] of all its links.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Connections that took over from a lost one.
    pub(super) resumes: Counter,
    /// Payload bytes sent more than once.
    pub(super) resent: Counter,
    /// Payload bytes received more than once, and dropped.
    pub(super) duplicate: Counter,
    /// Of pings, seconds. A link is pinged when its peer is silent.
    pub(super) round_trip: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            resumes: Counter::default(),
            resent: Counter::default(),
            duplicate: Counter::default(),
            round_trip: Histogram::new(ROUND_TRIPS),
        }
    }
}

impl Metrics {
    /// Adds the families `link_*`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("link");
        registry.register(
            "resumes",
            "Links that went on over another connection",
            self.resumes.clone(),
        );
        registry.register_with_unit(
            "resent",
            "Payload sent again after a connection was lost",
            Unit::Bytes,
            self.resent.clone(),
        );
        registry.register_with_unit(
            "duplicate",
            "Payload received again after a connection was lost, and dropped",
            Unit::Bytes,
            self.duplicate.clone(),
        );
        registry.register_with_unit(
            "round_trip",
            "Round trips of pings on links",
            Unit::Seconds,
            self.round_trip.clone(),
        );
    }
}
