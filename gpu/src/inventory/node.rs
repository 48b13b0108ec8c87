//! Nodes.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Unknown;

/// One node, with or without devices.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Condition `Ready`.
    pub ready: Option<bool>,
    /// Why it is not ready, from the condition.
    pub not_ready_reason: Option<String>,
    /// Not cordoned.
    pub schedulable: bool,
    /// From `node-role.kubernetes.io/*`.
    pub roles: Vec<String>,
    /// `InternalIP`s.
    pub addresses: Vec<String>,
    /// Of the kubelet.
    pub kubelet_version: Option<String>,
    /// Such as `Ubuntu 22.04.4 LTS`.
    pub os_image: Option<String>,
    /// Such as `5.15.0-105-generic`.
    pub kernel_version: Option<String>,
    /// Such as `amd64`.
    pub architecture: Option<String>,
    /// From `containerRuntimeVersion`.
    pub runtime: Option<NodeRuntime>,
    /// Version of the devices' driver. Unknown on a node with devices is named in `unknown`.
    pub driver_version: Option<String>,
    /// Where the driver's version was read: `label`, `dcgm`, `dra`, `daemonset`.
    pub driver_source: Option<String>,
    /// `node.kubernetes.io/instance-type`.
    pub instance_type: Option<String>,
    /// `topology.kubernetes.io/zone`.
    pub zone: Option<String>,
    /// Allocatable CPU in thousandths.
    pub cpu_millis: Option<u64>,
    /// Allocatable memory, MiB.
    pub memory_mib: Option<u64>,
    /// Devices that are registered here.
    pub gpus: u32,
    /// Vendors of the devices.
    pub vendors: Vec<String>,
    /// Carries the label that lets HAMi's device plugin run (`gpu=on` or the vendor's own).
    pub hami_enabled: bool,
    /// Pods that have not ended.
    pub pods: u32,
    /// Conditions other than `Ready` that are not as they should be, with their messages.
    pub problems: BTreeMap<String, String>,
    /// When it joined.
    pub created_at: Option<Timestamp>,
    /// Fields that could not be determined.
    pub unknown: Unknown,
}

/// `containerd://1.7.27` is `{"name": "containerd", "version": "1.7.27"}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeRuntime {
    /// `containerd`, `docker`, `cri-o`, ...
    pub name: String,
    /// Its version.
    pub version: String,
}
