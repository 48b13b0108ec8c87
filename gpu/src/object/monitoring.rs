//! Objects of the Prometheus Operator and of the VictoriaMetrics Operator.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::{Deserialize, de::IgnoredAny};

use super::labels::LabelSelector;
use super::{Condition, ObjectMeta, resource};

/// A Prometheus.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as in the API")]
pub struct Prometheus {
    pub metadata: ObjectMeta,
    pub spec: PrometheusSpec,
    pub status: PrometheusStatus,
}

resource!(
    Prometheus,
    NamespaceResourceScope,
    "monitoring.coreos.com",
    "v1",
    "Prometheus",
    "prometheuses"
);

/// A PrometheusAgent: it scrapes and forwards, and answers no queries.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as in the API")]
pub struct PrometheusAgent {
    pub metadata: ObjectMeta,
    pub spec: PrometheusSpec,
    pub status: PrometheusStatus,
}

resource!(
    PrometheusAgent,
    NamespaceResourceScope,
    "monitoring.coreos.com",
    "v1alpha1",
    "PrometheusAgent",
    "prometheusagents"
);

/// `spec` of both. An absent selector of objects selects none; an absent selector of namespaces means the own one.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "as in the API")]
pub struct PrometheusSpec {
    pub image: Option<String>,
    pub version: Option<String>,
    pub replicas: Option<u32>,
    pub service_monitor_selector: Option<LabelSelector>,
    pub service_monitor_namespace_selector: Option<LabelSelector>,
    pub pod_monitor_selector: Option<LabelSelector>,
    pub pod_monitor_namespace_selector: Option<LabelSelector>,
    pub probe_selector: Option<LabelSelector>,
    pub scrape_config_selector: Option<LabelSelector>,
    /// Monitors reach their own namespace only, whatever their namespaceSelector says.
    pub ignore_namespace_selectors: bool,
    /// Path under which it answers, `/` if there is none.
    pub route_prefix: Option<String>,
    /// Name of its port, `web` if there is none.
    pub port_name: Option<String>,
    pub web: Option<Web>,
}

/// Settings of Prometheus' web server.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Web {
    pub tls_config: Option<IgnoredAny>,
}

/// `status` of both.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "as in the API")]
pub struct PrometheusStatus {
    pub available_replicas: Option<u32>,
    pub conditions: Vec<Condition>,
}

/// A ServiceMonitor.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as in the API")]
pub struct ServiceMonitor {
    pub metadata: ObjectMeta,
    pub spec: MonitorSpec,
}

resource!(
    ServiceMonitor,
    NamespaceResourceScope,
    "monitoring.coreos.com",
    "v1",
    "ServiceMonitor",
    "servicemonitors"
);

/// A PodMonitor.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as in the API")]
pub struct PodMonitor {
    pub metadata: ObjectMeta,
    pub spec: MonitorSpec,
}

resource!(
    PodMonitor,
    NamespaceResourceScope,
    "monitoring.coreos.com",
    "v1",
    "PodMonitor",
    "podmonitors"
);

/// A VMServiceScrape: what the VictoriaMetrics Operator has instead of ServiceMonitors, and makes of them.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as in the API")]
pub struct VmServiceScrape {
    pub metadata: ObjectMeta,
    pub spec: MonitorSpec,
}

resource!(
    VmServiceScrape,
    NamespaceResourceScope,
    "operator.victoriametrics.com",
    "v1beta1",
    "VMServiceScrape",
    "vmservicescrapes"
);

/// `spec` of all three.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "as in the API")]
pub struct MonitorSpec {
    pub selector: LabelSelector,
    pub namespace_selector: NamespaceSelector,
    #[serde(alias = "podMetricsEndpoints")]
    pub endpoints: Vec<Endpoint>,
}

/// Which namespaces a monitor looks for its Services in: its own unless it says otherwise.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "as in the API")]
pub struct NamespaceSelector {
    pub any: bool,
    pub match_names: Vec<String>,
}

/// One endpoint of a monitor.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Endpoint {
    /// Name of the Service's port, or of the pod's for a PodMonitor.
    pub port: Option<String>,
    /// Port of the pod, by name or number.
    pub target_port: Option<IntOrString>,
    /// Port of the pod, by number (PodMonitor).
    pub port_number: Option<i32>,
}

/// A VMAgent.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as in the API")]
pub struct VmAgent {
    pub metadata: ObjectMeta,
    pub spec: VmAgentSpec,
}

resource!(
    VmAgent,
    NamespaceResourceScope,
    "operator.victoriametrics.com",
    "v1beta1",
    "VMAgent",
    "vmagents"
);

/// `spec` of a VMAgent.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "as in the API")]
pub struct VmAgentSpec {
    pub image: VmImage,
    pub select_all_by_default: bool,
    pub service_scrape_selector: Option<LabelSelector>,
    pub service_scrape_namespace_selector: Option<LabelSelector>,
}

/// `image` of the VictoriaMetrics Operator's objects.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as in the API")]
pub struct VmImage {
    pub tag: Option<String>,
}

/// A VMSingle.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as in the API")]
pub struct VmSingle {
    pub metadata: ObjectMeta,
    pub spec: VmSpec,
    pub status: VmStatus,
}

resource!(
    VmSingle,
    NamespaceResourceScope,
    "operator.victoriametrics.com",
    "v1beta1",
    "VMSingle",
    "vmsingles"
);

/// A VMCluster.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as in the API")]
pub struct VmCluster {
    pub metadata: ObjectMeta,
    pub spec: VmSpec,
    pub status: VmStatus,
}

resource!(
    VmCluster,
    NamespaceResourceScope,
    "operator.victoriametrics.com",
    "v1beta1",
    "VMCluster",
    "vmclusters"
);

/// `spec` of both.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "as in the API")]
pub struct VmSpec {
    pub image: VmImage,
    pub cluster_version: Option<String>,
    /// VMCluster: what answers queries, if there is one.
    pub vmselect: Option<IgnoredAny>,
}

/// `status` of both.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "as in the API")]
pub struct VmStatus {
    pub update_status: Option<String>,
}
