//! Live use, from the cluster's Prometheus.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Unknown;

/// Live use of one device.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GpuUsage {
    /// [`super::Gpu::id`].
    pub gpu: String,
    /// Time of the oldest sample in it.
    pub at: Option<Timestamp>,
    /// Percent of the device's compute.
    pub utilization: Option<f64>,
    /// Memory in use, MiB.
    pub memory_used_mib: Option<u64>,
    /// Celsius.
    pub temperature: Option<f64>,
    /// Watts.
    pub power: Option<f64>,
    /// The last XID error; 0 is none.
    pub xid: Option<u32>,
    /// The metric families it comes from: `dcgm`, `hami`, `hami-legacy`, `npu`, ...
    pub source: Vec<String>,
    /// Fields that could not be determined.
    pub unknown: Unknown,
}

/// Live use of one device by one container.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerUsage {
    /// Namespace of the pod.
    pub namespace: String,
    /// The pod.
    pub pod: String,
    /// The container.
    pub container: String,
    /// The device's own identifier.
    pub uuid: String,
    /// Time of the oldest sample in it.
    pub at: Option<Timestamp>,
    /// Percent of the device's compute. May exceed 100.
    pub utilization: Option<f64>,
    /// Memory in use, MiB.
    pub memory_used_mib: Option<u64>,
    /// The limit that HAMi enforces, MiB.
    pub memory_limit_mib: Option<u64>,
    /// As in [`GpuUsage::source`].
    pub source: Vec<String>,
    /// Fields that could not be determined.
    pub unknown: Unknown,
}

impl ContainerUsage {
    /// `<namespace>/<pod>/<container>/<uuid>`.
    pub fn id(&self) -> String {
        format!("{}/{}/{}/{}", self.namespace, self.pod, self.container, self.uuid)
    }
}
