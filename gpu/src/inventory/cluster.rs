//! The cluster as a whole.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Unknown;

/// The one record of its kind.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Cluster {
    /// The API server's `gitVersion`, such as `v1.34.4`.
    pub kubernetes_version: Option<String>,
    /// `generic`, `openshift`, `rke2`, `k3s`, `tanzu`, `eks`, `ack`, `cce`, `gke`.
    pub distribution: Option<String>,
    /// Totals over the records.
    pub counts: Counts,
    /// What is installed of what GPU clusters are made of. A component that is not here was looked for and is not installed,
    /// unless its source is not `ok`.
    pub components: Vec<Component>,
    /// Where the records come from, and whether each source could be read.
    pub sources: Vec<Source>,
    /// Fields that could not be determined.
    pub unknown: Unknown,
}

/// Totals. Pods that ended are not counted in `pods`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Counts {
    pub nodes: u32,
    pub nodes_ready: u32,
    pub gpu_nodes: u32,
    pub gpus: u32,
    pub gpus_healthy: u32,
    /// By model.
    pub models: BTreeMap<String, u32>,
    pub pods: u32,
    pub pods_running: u32,
    /// Pods that ask for devices and have none yet.
    pub pods_waiting: u32,
    /// Schedulable device memory, MiB.
    pub memory_mib: u64,
    /// Held device memory, MiB.
    pub memory_used_mib: u64,
    /// Findings by level.
    pub errors: u32,
    pub warnings: u32,
}

/// What is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum ComponentKind {
    Hami,
    HamiDra,
    Volcano,
    GpuOperator,
    DcgmExporter,
    NvidiaDevicePlugin,
    PrometheusOperator,
    Prometheus,
    VictoriaMetrics,
    GatewayApi,
    Gateway,
    CertManager,
}

/// How a component came into the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "method")]
#[expect(missing_docs, reason = "the names say it")]
pub enum InstalledBy {
    /// A Helm release; chart and version as its labels or its release Secret say.
    Helm {
        release: String,
        chart: Option<String>,
        chart_version: Option<String>,
    },
    /// Another controller, such as an operator or Argo CD.
    Operator { name: String },
    /// Plain manifests, as far as can be seen.
    Manifest,
}

/// One installed component.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Component {
    /// What it is.
    pub kind: ComponentKind,
    /// The name of its main object.
    pub name: String,
    /// Where it runs.
    pub namespace: Option<String>,
    /// Its own version, not the chart's.
    pub version: Option<String>,
    /// How it was installed.
    pub installed_by: Option<InstalledBy>,
    /// Whether it does its duty, as far as its objects say.
    pub healthy: Option<bool>,
    /// More that is worth knowing, such as `{"metrics": "legacy"}`.
    #[serde(default)]
    pub facts: BTreeMap<String, String>,
    /// Fields that could not be determined.
    #[serde(default)]
    pub unknown: Unknown,
}

/// Whether a source could be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SourceState {
    /// Read, and followed.
    Ok,
    /// The API server refuses: a missing right.
    Forbidden,
    /// The API group is not installed.
    Absent,
    /// Not to be reached, or it answers nonsense; what is known of it is old.
    Failing,
}

/// One source of records.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// `nodes`, `pods`, `resourceclaims`, `prometheus`, ...
    pub name: String,
    /// Whether it could be read.
    pub state: SourceState,
    /// Since when it is in this state.
    pub since: Timestamp,
    /// The code of the reason if it is not `ok`.
    pub code: Option<String>,
    /// What the source answered if it is not `ok`.
    pub detail: Option<String>,
}
