//! ResourceSlices: devices that drivers publish.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::dra::dra_resource;
use super::{NodeSelector, ObjectMeta, light_meta, null_as_default};

/// Some or all devices of one pool.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as in the API")]
pub struct ResourceSlice {
    #[serde(deserialize_with = "light_meta")]
    pub metadata: ObjectMeta,
    pub spec: ResourceSliceSpec,
}

dra_resource!(
    ResourceSlice,
    ClusterResourceScope,
    "ResourceSlice",
    "resourceslices"
);

/// `spec`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "as in the API")]
pub struct ResourceSliceSpec {
    pub driver: String,
    pub pool: ResourcePool,
    pub node_name: Option<String>,
    pub node_selector: Option<NodeSelector>,
    #[serde(deserialize_with = "null_as_default")]
    pub devices: Vec<SliceDevice>,
}

/// `spec.pool`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "as in the API")]
pub struct ResourcePool {
    pub name: String,
    /// Slices of lower generations are obsolete.
    pub generation: i64,
    /// Slices that the pool has when it is complete.
    pub resource_slice_count: i64,
}

/// One of `spec.devices`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(from = "WireDevice")]
#[expect(missing_docs, reason = "as in the API")]
pub struct SliceDevice {
    pub name: String,
    pub fields: DeviceFields,
}

/// All of a device but its name.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "as in the API")]
pub struct DeviceFields {
    #[serde(deserialize_with = "null_as_default")]
    pub attributes: BTreeMap<String, Attribute>,
    #[serde(deserialize_with = "null_as_default")]
    pub capacity: BTreeMap<String, DeviceCapacity>,
    pub node_name: Option<String>,
    #[serde(deserialize_with = "null_as_default")]
    pub allow_multiple_allocations: bool,
    #[serde(deserialize_with = "null_as_default")]
    pub taints: Vec<DeviceTaint>,
}

/// `v1beta1` has all but the name in `basic`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct WireDevice {
    name: String,
    basic: Option<DeviceFields>,
    #[serde(flatten)]
    fields: DeviceFields,
}

impl From<WireDevice> for SliceDevice {
    fn from(wire: WireDevice) -> Self {
        Self {
            name: wire.name,
            fields: wire.basic.unwrap_or(wire.fields),
        }
    }
}

/// The value of an attribute: one of these.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as in the API")]
pub struct Attribute {
    pub string: Option<String>,
    pub int: Option<i64>,
    pub bool: Option<bool>,
    pub version: Option<String>,
}

/// The amount of something in a device.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct DeviceCapacity {
    /// Kept as written.
    pub value: String,
}

/// Why a device is not, or no longer, to be used.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as in the API")]
pub struct DeviceTaint {
    pub key: String,
    pub value: Option<String>,
    /// `None`, `NoSchedule`, `NoExecute`.
    pub effect: String,
}

impl Attribute {
    /// Any value as text.
    pub fn text(&self) -> Option<String> {
        self.string
            .clone()
            .or_else(|| self.version.clone())
            .or_else(|| self.int.map(|int| int.to_string()))
            .or_else(|| self.bool.map(|bool| bool.to_string()))
    }
}
