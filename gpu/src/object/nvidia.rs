//! Objects of the NVIDIA GPU Operator.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Condition, ObjectMeta, resource};

/// A ClusterPolicy: what the operator runs. There is one.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as in the API")]
pub struct ClusterPolicy {
    pub metadata: ObjectMeta,
    pub spec: ClusterPolicySpec,
    pub status: PolicyStatus,
}

resource!(
    ClusterPolicy,
    ClusterResourceScope,
    "nvidia.com",
    "v1",
    "ClusterPolicy",
    "clusterpolicies"
);

/// `spec` of a ClusterPolicy.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "as in the API")]
pub struct ClusterPolicySpec {
    pub device_plugin: Operand,
    pub dcgm_exporter: Operand,
    pub driver: Operand,
    pub toolkit: Operand,
}

/// One operand: absent `enabled` is the operator's default, which is on.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "as in the API")]
pub struct Operand {
    pub enabled: Option<bool>,
    pub version: Option<String>,
    pub use_nvidia_driver_crd: Option<bool>,
    pub service_monitor: MonitorSwitch,
}

impl Operand {
    /// Whether the operator runs it.
    pub fn runs(&self) -> bool {
        self.enabled != Some(false)
    }
}

/// `dcgmExporter.serviceMonitor`: absent `enabled` is off.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "as in the API")]
pub struct MonitorSwitch {
    pub enabled: Option<bool>,
    pub additional_labels: BTreeMap<String, String>,
}

/// `status` of both.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as in the API")]
pub struct PolicyStatus {
    /// `ready`, `notReady`, `ignored`.
    pub state: Option<String>,
    pub namespace: Option<String>,
    pub conditions: Vec<Condition>,
}

/// A NVIDIADriver: drivers for some nodes.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as in the API")]
pub struct NvidiaDriver {
    pub metadata: ObjectMeta,
    pub spec: NvidiaDriverSpec,
    pub status: PolicyStatus,
}

resource!(
    NvidiaDriver,
    ClusterResourceScope,
    "nvidia.com",
    "v1alpha1",
    "NVIDIADriver",
    "nvidiadrivers"
);

/// `spec` of a NVIDIADriver.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "as in the API")]
pub struct NvidiaDriverSpec {
    pub version: Option<String>,
    pub node_selector: BTreeMap<String, String>,
}
