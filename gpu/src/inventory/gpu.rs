//! Devices.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Unknown;

/// One device of any vendor: a card, or what the vendor registers as one.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Gpu {
    /// `<node>/<uuid>`: some vendors' identifiers are unique on their node only.
    pub id: String,
    /// The device's own identifier, such as `GPU-<uuid>`; made of node and index where the vendor registers none.
    pub uuid: String,
    /// The node.
    pub node: String,
    /// Position on the node, as the vendor counts.
    pub index: Option<u32>,
    /// The row of the table of vendors: `nvidia`, `ascend`, `hygon`, ...
    pub vendor: String,
    /// Name of the model without the prefix that HAMi adds, such as `NVIDIA H100 80GB HBM3`.
    pub model: Option<String>,
    /// How it is shared.
    pub mode: Option<Mode>,
    /// What can be given out. Unknown where the vendor does not say.
    pub capacity: Capacity,
    /// What the allocations that hold it add up to.
    pub used: Used,
    /// Memory that is built in, MiB; `capacity.memoryMib` may be scaled.
    pub physical_memory_mib: Option<u64>,
    /// NUMA node.
    pub numa: Option<i32>,
    /// As registered, and only while the node is ready and offers it. `None` where the vendor does not say.
    pub healthy: Option<bool>,
    /// Why it is not healthy.
    pub unhealthy_reason: Option<String>,
    /// An administrator took it out of scheduling (`hami.io/device-cordon`).
    pub cordoned: bool,
    /// The registration is a rest: the node no longer offers the device.
    pub stale: bool,
    /// MIG profiles it can be cut into.
    pub mig_profiles: Vec<String>,
    /// Where it was read.
    pub source: Option<GpuSource>,
    /// Version of its driver, where it is known per device.
    pub driver_version: Option<String>,
    /// More that the vendor registers, such as `{"linkZone": "1"}`.
    pub facts: BTreeMap<String, String>,
    /// Fields that could not be determined.
    pub unknown: Unknown,
}

/// What can be given out of a device.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Capacity {
    /// Containers that may share it.
    pub slots: Option<u32>,
    /// Memory, MiB, as the scheduler counts it.
    pub memory_mib: Option<u64>,
    /// Cores in the vendor's unit: percent of one card for most (100, or more where scaled), AI cores, compute units,
    /// sixteenths, NeuronCores.
    pub cores: Option<u32>,
}

/// What is held of a device.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Used {
    /// Containers that share it.
    pub slots: u32,
    /// MiB.
    pub memory_mib: u64,
    /// In the unit of [`Capacity::cores`].
    pub cores: u32,
}

/// How a device is shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// HAMi's limits inside the container.
    HamiCore,
    /// NVIDIA MIG.
    Mig,
    /// NVIDIA MPS.
    Mps,
    /// The vendor's own slices, such as Ascend templates, sGPU, DRS.
    Slice,
    /// NVIDIA time slicing without limits.
    TimeSlicing,
    /// One container holds all of it.
    Whole,
}

/// Where a device was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum GpuSource {
    /// A registration in the node's annotations: HAMi's or the vendor's.
    Annotation,
    /// Volcano's registration.
    Volcano,
    /// The node's capacity of an extended resource.
    Capacity,
    /// Labels of GPU feature discovery: count and model, no identifiers.
    Labels,
    /// A ResourceSlice.
    Dra,
}
