//! The registry that collects the metrics of all parts, each of which defines its own families.

use prometheus_client::{encoding::text::encode, metrics::info::Info, registry::Registry};

use kantaloupe_tunnel::link;

use crate::{
    connect::TunnelMetrics, inventory::InventoryMetrics, prometheus::PrometheusMetrics, proxy::ProxyMetrics,
};

/// Content type of [`Metrics::encode`].
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All metrics of the agent.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    pub(crate) tunnel: TunnelMetrics,
    pub(crate) link: link::Metrics,
    pub(crate) proxy: ProxyMetrics,
    pub(crate) inventory: InventoryMetrics,
    pub(crate) prometheus: PrometheusMetrics,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("kantaloupe_agent");
        registry.register(
            "build",
            "Version of the agent",
            Info::new([("version", crate::VERSION)]),
        );
        let tunnel = TunnelMetrics::register(&mut registry);
        let link = link::Metrics::default();
        link.register(&mut registry);
        let proxy = ProxyMetrics::register(&mut registry);
        let inventory = InventoryMetrics::register(&mut registry);
        let prometheus = PrometheusMetrics::register(&mut registry);
        Self {
            registry,
            tunnel,
            link,
            proxy,
            inventory,
            prometheus,
        }
    }

    /// All metrics in OpenMetrics text format.
    pub(crate) fn encode(&self) -> String {
        let mut text = String::new();
        // Writing to a String does not fail.
        let _infallible = encode(&mut text, &self.registry);
        text
    }
}
