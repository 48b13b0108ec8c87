//! The inventory: records that the agent makes, the gateway keeps and `kantaloupe-agent inventory` prints.
//!
//! Every record is one JSON object (camelCase). A field that could not be determined is `null` and named in `unknown` together with
//! the code of the reason: unknown is never 0. A field that does not apply is `null` and not named there.

mod allocation;
mod cluster;
mod finding;
mod gpu;
mod node;
mod usage;
mod workload;

use std::{borrow::Cow, collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

pub use allocation::{Allocation, AllocationState, ContainerKind, Mapping, Requested};
pub use cluster::{Cluster, Component, ComponentKind, Counts, InstalledBy, Source, SourceState};
pub use finding::{Finding, FindingLevel, ObjectRef};
pub use gpu::{Capacity, Gpu, GpuSource, Mode, Used};
pub use node::{Node, NodeRuntime};
pub use usage::{ContainerUsage, GpuUsage};
pub use workload::{Owner, Workload};

/// Fields that could not be determined, with the code of the reason: `{"driverVersion": "KTA-GPU-002"}`.
pub type Unknown = BTreeMap<Cow<'static, str>, Cow<'static, str>>;

/// The kinds of records, in the order in which they are listed and sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// One [`Cluster`].
    Cluster,
    /// [`Node`]s.
    Node,
    /// [`Gpu`]s: devices of all vendors.
    Gpu,
    /// [`Allocation`]s: what a container holds of a device, or waits for.
    Allocation,
    /// [`Workload`]s that ask for devices.
    Workload,
    /// [`Finding`]s.
    Finding,
    /// Live [`GpuUsage`].
    GpuUsage,
    /// Live [`ContainerUsage`].
    ContainerUsage,
    /// Results of checks: [`kantaloupe_checks::Outcome`].
    Check,
}

/// Names one record in its cluster.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key {
    /// The kind.
    pub kind: Kind,
    /// Unique within the kind.
    pub id: String,
}

/// One record. As JSON it is the object of its type; its kind is told beside it, and [`Record::from_json`] wants to know it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
#[expect(missing_docs, reason = "each names its type")]
pub enum Record {
    Cluster(Box<Cluster>),
    Node(Box<Node>),
    Gpu(Box<Gpu>),
    Allocation(Box<Allocation>),
    Workload(Box<Workload>),
    Finding(Box<Finding>),
    GpuUsage(GpuUsage),
    ContainerUsage(ContainerUsage),
    Check(Box<kantaloupe_checks::Outcome>),
}

impl Record {
    /// Reads a record of a kind.
    pub fn from_json(kind: Kind, json: &[u8]) -> Result<Self, serde_json::Error> {
        Ok(match kind {
            Kind::Cluster => Self::Cluster(serde_json::from_slice(json)?),
            Kind::Node => Self::Node(serde_json::from_slice(json)?),
            Kind::Gpu => Self::Gpu(serde_json::from_slice(json)?),
            Kind::Allocation => Self::Allocation(serde_json::from_slice(json)?),
            Kind::Workload => Self::Workload(serde_json::from_slice(json)?),
            Kind::Finding => Self::Finding(serde_json::from_slice(json)?),
            Kind::GpuUsage => Self::GpuUsage(serde_json::from_slice(json)?),
            Kind::ContainerUsage => Self::ContainerUsage(serde_json::from_slice(json)?),
            Kind::Check => Self::Check(serde_json::from_slice(json)?),
        })
    }

    /// The kind.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Cluster(_) => Kind::Cluster,
            Self::Node(_) => Kind::Node,
            Self::Gpu(_) => Kind::Gpu,
            Self::Allocation(_) => Kind::Allocation,
            Self::Workload(_) => Kind::Workload,
            Self::Finding(_) => Kind::Finding,
            Self::GpuUsage(_) => Kind::GpuUsage,
            Self::ContainerUsage(_) => Kind::ContainerUsage,
            Self::Check(_) => Kind::Check,
        }
    }

    /// Unique within the kind.
    pub fn id(&self) -> Cow<'_, str> {
        match self {
            Self::Cluster(_) => "cluster".into(),
            Self::Node(node) => node.name.as_str().into(),
            Self::Gpu(gpu) => gpu.id.as_str().into(),
            Self::Allocation(allocation) => allocation.id.as_str().into(),
            Self::Workload(workload) => workload.id().into(),
            Self::Finding(finding) => finding.id().into(),
            Self::GpuUsage(usage) => usage.gpu.as_str().into(),
            Self::ContainerUsage(usage) => usage.id().into(),
            Self::Check(outcome) => outcome.code.as_ref().into(),
        }
    }

    /// The name of the record.
    pub fn key(&self) -> Key {
        Key {
            kind: self.kind(),
            id: self.id().into_owned(),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cluster => "cluster",
            Self::Node => "node",
            Self::Gpu => "gpu",
            Self::Allocation => "allocation",
            Self::Workload => "workload",
            Self::Finding => "finding",
            Self::GpuUsage => "gpuUsage",
            Self::ContainerUsage => "containerUsage",
            Self::Check => "check",
        })
    }
}
