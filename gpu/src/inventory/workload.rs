//! Workloads: what pods that ask for devices belong to.

use serde::{Deserialize, Serialize};

/// The object at the top of a pod's chain of controllers, or the pod itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Owner {
    /// Such as `apps/v1`.
    pub api_version: String,
    /// Such as `Deployment`.
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// One workload and what its pods hold.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Workload {
    /// Its namespace.
    pub namespace: String,
    /// The object.
    pub owner: Owner,
    /// Pods of it that ask for devices and have not ended.
    pub pods: u32,
    /// Those that run.
    pub running: u32,
    /// Those that wait for a device.
    pub waiting: u32,
    /// Devices that its pods hold shares of.
    pub gpus: u32,
    /// Held memory, MiB.
    pub memory_mib: u64,
    /// Held cores, summed over vendors' units.
    pub cores: u32,
    /// Nodes that its pods are on.
    pub nodes: Vec<String>,
    /// Vendors of the devices.
    pub vendors: Vec<String>,
}

impl Workload {
    /// `<namespace>/<kind>/<name>`, with the API group where kinds repeat.
    pub fn id(&self) -> String {
        let group = self
            .owner
            .api_version
            .split_once('/')
            .map_or("", |(group, _)| group);
        format!(
            "{}/{}.{group}/{}",
            self.namespace, self.owner.kind, self.owner.name
        )
    }
}
