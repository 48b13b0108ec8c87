//! What the gateway counts.

use std::fmt::{self, Write as _};

use kantaloupe_tunnel::link;
use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

/// How a user's request to a cluster ended, as far as its head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Outcome {
    /// The cluster answered 1xx, 2xx or 3xx.
    Ok,
    /// The cluster answered 4xx.
    ClientError,
    /// The cluster answered 5xx.
    ServerError,
    /// No valid token.
    Unauthorized,
    /// Impersonation, path or method.
    Refused,
    /// No such cluster.
    NotFound,
    /// No tunnel.
    Offline,
    /// Too many streams.
    Limited,
    /// The tunnel broke before the answer.
    Broken,
}

// By hand, because the derive macro writes the variants' names as they are, and label values are lower case.
impl EncodeLabelValue for Outcome {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        encoder.write_str(match self {
            Self::Ok => "ok",
            Self::ClientError => "client_error",
            Self::ServerError => "server_error",
            Self::Unauthorized => "unauthorized",
            Self::Refused => "refused",
            Self::NotFound => "not_found",
            Self::Offline => "offline",
            Self::Limited => "limited",
            Self::Broken => "broken",
        })
    }
}

/// How an attempt of an agent ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Attempt {
    Accepted,
    Refused,
    Limited,
    Failed,
}

impl EncodeLabelValue for Attempt {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        encoder.write_str(match self {
            Self::Accepted => "accepted",
            Self::Refused => "refused",
            Self::Limited => "limited",
            Self::Failed => "failed",
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct OutcomeLabel {
    pub(crate) outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct AttemptLabel {
    pub(crate) outcome: Attempt,
}

/// The families.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    pub(crate) requests: Family<OutcomeLabel, Counter>,
    pub(crate) response_head_seconds: Histogram,
    pub(crate) admission_seconds: Histogram,
    pub(crate) streams: Gauge,
    pub(crate) upgrades: Counter,
    pub(crate) evicted_answers: Counter,
    pub(crate) link: link::Metrics,
    pub(crate) tunnels: Gauge,
    pub(crate) tunnel_failures: Counter,
    pub(crate) data_sessions: Gauge,
    pub(crate) data_opens: Family<AttemptLabel, Counter>,
    pub(crate) agent_connects: Family<AttemptLabel, Counter>,
    pub(crate) enrollments: Family<AttemptLabel, Counter>,
    pub(crate) connections: Gauge,
    pub(crate) connections_refused: Counter,
    pub(crate) tls_failures: Counter,
    pub(crate) store_failures: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            requests: Family::default(),
            // From a loopback answer to a slow list over a slow link.
            response_head_seconds: Histogram::new([
                0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
            ]),
            // From two looks into memory and a write into the page cache to a disk that does not keep up.
            admission_seconds: Histogram::new([
                0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.001, 0.01, 0.1, 1.0,
            ]),
            streams: Gauge::default(),
            upgrades: Counter::default(),
            evicted_answers: Counter::default(),
            link: link::Metrics::default(),
            tunnels: Gauge::default(),
            tunnel_failures: Counter::default(),
            data_sessions: Gauge::default(),
            data_opens: Family::default(),
            agent_connects: Family::default(),
            enrollments: Family::default(),
            connections: Gauge::default(),
            connections_refused: Counter::default(),
            tls_failures: Counter::default(),
            store_failures: Counter::default(),
        }
    }
}

impl Metrics {
    /// Puts every family into a registry.
    pub(crate) fn register(&self, registry: &mut Registry) {
        let r = registry.sub_registry_with_prefix("kantaloupe_gateway");
        r.register(
            "requests",
            "Users' requests to clusters, by outcome",
            self.requests.clone(),
        );
        r.register(
            "response_head_seconds",
            "Time from a user's request to the head of the cluster's answer",
            self.response_head_seconds.clone(),
        );
        r.register(
            "admission_seconds",
            "Time from a user's request to its entry in the audit: who asks, whether he may, and writing it down",
            self.admission_seconds.clone(),
        );
        r.register(
            "streams",
            "Users' requests and upgraded streams that are open",
            self.streams.clone(),
        );
        r.register(
            "upgrades",
            "Upgraded streams opened (exec, attach, port-forward)",
            self.upgrades.clone(),
        );
        r.register(
            "evicted_answers",
            "Answers and streams ended because they were not read while others needed their place",
            self.evicted_answers.clone(),
        );
        self.link.register(r);
        r.register("tunnels", "Tunnels that are ready", self.tunnels.clone());
        r.register(
            "tunnel_failures",
            "Tunnels that never got ready",
            self.tunnel_failures.clone(),
        );
        r.register(
            "data_sessions",
            "Data sessions that are open; an idle tunnel has none",
            self.data_sessions.clone(),
        );
        r.register(
            "data_opens",
            "Data sessions asked for, by outcome",
            self.data_opens.clone(),
        );
        r.register(
            "agent_connects",
            "Agents' upgrade requests, by outcome",
            self.agent_connects.clone(),
        );
        r.register(
            "enrollments",
            "Enrolment requests, by outcome",
            self.enrollments.clone(),
        );
        r.register(
            "connections",
            "TLS connections that speak HTTP",
            self.connections.clone(),
        );
        r.register(
            "connections_refused",
            "Connections refused because there are too many",
            self.connections_refused.clone(),
        );
        r.register(
            "tls_failures",
            "TLS handshakes that failed",
            self.tls_failures.clone(),
        );
        r.register(
            "store_failures",
            "Operations of the store that failed",
            self.store_failures.clone(),
        );
    }

    /// Counts a request.
    pub(crate) fn request(&self, outcome: Outcome) {
        self.requests.get_or_create(&OutcomeLabel { outcome }).inc();
    }
}

/// Adds one to a gauge for as long as it lives.
#[derive(Debug)]
pub(crate) struct InFlight(Gauge);

impl InFlight {
    pub(crate) fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_values_are_lower_case() {
        let metrics = Metrics::default();
        metrics.request(Outcome::ClientError);
        let outcome = Attempt::Refused;
        metrics
            .agent_connects
            .get_or_create(&AttemptLabel { outcome })
            .inc();
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "kantaloupe_gateway_requests_total{outcome=\"client_error\"} 1",
            "kantaloupe_gateway_agent_connects_total{outcome=\"refused\"} 1",
        ] {
            assert!(text.contains(line), "{text}");
        }
    }
}
