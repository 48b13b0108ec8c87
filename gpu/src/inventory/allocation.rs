//! What containers hold of devices.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Owner, Unknown};

/// One container's share of one device, or its request for one that has not been met.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Allocation {
    /// `<pod uid>/<container>/<n>`.
    pub id: String,
    /// Namespace of the pod.
    pub namespace: String,
    /// The pod.
    pub pod: String,
    /// Its UID.
    pub pod_uid: String,
    /// The container, if it is known which one.
    pub container: Option<String>,
    /// What kind of container.
    pub container_kind: Option<ContainerKind>,
    /// How the container was found; `None` if nothing is recorded that had to be matched.
    pub mapping: Option<Mapping>,
    /// The node: the one recorded, or else the one the pod runs on.
    pub node: Option<String>,
    /// [`super::Gpu::id`]; `None` while nothing is allocated or if the device is not recorded.
    pub gpu: Option<String>,
    /// The device's own identifier as recorded. For a MIG device it is that of the card; `facts` tell which one it is.
    pub uuid: Option<String>,
    /// The row of the table of vendors.
    pub vendor: String,
    /// Memory that is allocated, MiB. `None`, and not unknown, where the vendor counts none.
    pub memory_mib: Option<u64>,
    /// Cores that are allocated, in the unit of [`super::Capacity::cores`]. 0 is a share without a limit. `None`, and not unknown,
    /// where the vendor counts none.
    pub cores: Option<u32>,
    /// What was asked for.
    pub requested: Requested,
    /// MIG profile or the vendor's template, such as `1g.10gb` or `vir05_1c_8g`.
    pub profile: Option<String>,
    /// Where it is in its life.
    pub state: Option<AllocationState>,
    /// Whether it counts against the device, as HAMi's scheduler counts: [`crate::lifecycle::counted`] sums up what a pod holds.
    pub held: bool,
    /// Phase of the pod.
    pub phase: Option<String>,
    /// Why it waits or failed, from the pod's conditions or status.
    pub reason: Option<String>,
    /// The workload that the pod belongs to.
    pub workload: Option<Owner>,
    /// When it was allocated, or when the pod was created if nothing is recorded.
    pub since: Option<Timestamp>,
    /// `hami`, `dra`, `volcano`, `devicePlugin`.
    pub source: Option<String>,
    /// More that is recorded, such as `{"priority": "1"}`.
    pub facts: BTreeMap<String, String>,
    /// Fields that could not be determined.
    pub unknown: Unknown,
}

/// What a container asked for, in the vendor's resources.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Requested {
    /// Devices.
    pub count: Option<u32>,
    /// Memory of each, MiB.
    pub memory_mib: Option<u64>,
    /// Memory of each, percent.
    pub memory_percent: Option<u32>,
    /// Cores of each.
    pub cores: Option<u32>,
    /// Models or devices that the pod insists on or refuses, as annotated.
    pub constraints: BTreeMap<String, String>,
}

/// What kind of container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ContainerKind {
    /// Runs to its end before the others.
    Init,
    /// An init container that stays.
    Sidecar,
    /// An ordinary one.
    App,
}

/// How a slot of the record was matched to a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Mapping {
    /// The n-th filled slot belongs to the n-th container that asks.
    Requests,
    /// By position among init and app containers.
    Position,
    /// The claim names it.
    Claim,
    /// Not to be said: the share is the pod's.
    Unknown,
}

/// Where an allocation is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AllocationState {
    /// Asked for; nothing is allocated.
    Pending,
    /// Allocated; the device plugin has not handed all of it out yet.
    Allocating,
    /// Allocating for longer than five minutes while the pod waits.
    Stuck,
    /// In use.
    Active,
    /// In use by a pod that is being deleted.
    Terminating,
    /// A record that holds nothing: the pod has ended, its node is gone, or it runs elsewhere.
    Stale,
    /// The pod runs with a device that no record names: it went past HAMi's scheduler.
    Unaccounted,
    /// The init container has ended. It counts until the pod's other init containers have.
    Finished,
}

impl AllocationState {
    /// Whether an allocation in this state counts against its device, as HAMi's scheduler counts. `Finished` may count as well:
    /// [`Allocation::held`] says.
    pub const fn holds(self) -> bool {
        matches!(
            self,
            Self::Allocating | Self::Stuck | Self::Active | Self::Terminating
        )
    }
}
