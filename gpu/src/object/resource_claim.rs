//! ResourceClaims: what pods ask of drivers, and what they got.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::dra::dra_resource;
use super::quantities::quantities;
use super::{NodeSelector, ObjectMeta, light_meta, null_as_default};

/// A claim.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as in the API")]
pub struct ResourceClaim {
    #[serde(deserialize_with = "light_meta")]
    pub metadata: ObjectMeta,
    pub spec: ResourceClaimSpec,
    pub status: ResourceClaimStatus,
}

dra_resource!(
    ResourceClaim,
    NamespaceResourceScope,
    "ResourceClaim",
    "resourceclaims"
);

/// `spec`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as in the API")]
pub struct ResourceClaimSpec {
    pub devices: DeviceClaim,
}

/// `spec.devices`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as in the API")]
pub struct DeviceClaim {
    #[serde(deserialize_with = "null_as_default")]
    pub requests: Vec<DeviceRequest>,
}

/// One of `spec.devices.requests`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "as in the API")]
pub struct DeviceRequest {
    pub name: String,
    /// Since `v1beta2`; `v1beta1` has its members here.
    pub exactly: Option<ExactRequest>,
    /// Alternatives, the best first.
    #[serde(deserialize_with = "null_as_default")]
    pub first_available: Vec<SubRequest>,
    #[serde(flatten)]
    pub members: ExactRequest,
}

/// `exactly`, or what stands in its place in `v1beta1`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "as in the API")]
pub struct ExactRequest {
    pub device_class_name: String,
    pub allocation_mode: Option<String>,
    pub count: Option<i64>,
    #[serde(deserialize_with = "null_as_default")]
    pub admin_access: bool,
    pub capacity: Option<CapacityRequirements>,
}

/// One of `firstAvailable`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as in the API")]
pub struct SubRequest {
    pub name: String,
    #[serde(flatten)]
    pub members: ExactRequest,
}

/// How much of a device is asked for.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct CapacityRequirements {
    /// Quantities, kept as written.
    #[serde(deserialize_with = "quantities")]
    pub requests: BTreeMap<String, String>,
}

/// `status`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "as in the API")]
pub struct ResourceClaimStatus {
    pub allocation: Option<ClaimAllocation>,
    #[serde(deserialize_with = "null_as_default")]
    pub reserved_for: Vec<ConsumerReference>,
}

/// `status.allocation`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "as in the API")]
pub struct ClaimAllocation {
    pub devices: DeviceAllocation,
    pub node_selector: Option<NodeSelector>,
    pub allocation_timestamp: Option<jiff::Timestamp>,
}

/// `status.allocation.devices`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as in the API")]
pub struct DeviceAllocation {
    #[serde(deserialize_with = "null_as_default")]
    pub results: Vec<DeviceResult>,
}

/// One device that was allocated.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "as in the API")]
pub struct DeviceResult {
    /// The request, or `<request>/<subrequest>`.
    pub request: String,
    pub driver: String,
    pub pool: String,
    pub device: String,
    /// Tells shares of one device apart.
    #[serde(rename = "shareID")]
    pub share_id: Option<String>,
    /// Quantities, kept as written.
    #[serde(deserialize_with = "quantities")]
    pub consumed_capacity: BTreeMap<String, String>,
    /// Monitoring: holds nothing of the device.
    #[serde(deserialize_with = "null_as_default")]
    pub admin_access: bool,
}

/// One of `status.reservedFor`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as in the API")]
pub struct ConsumerReference {
    pub resource: String,
    pub name: String,
    pub uid: String,
}

impl DeviceRequest {
    /// What is asked for: one kind of device, or alternatives.
    pub fn choices(&self) -> Vec<&ExactRequest> {
        match &self.exactly {
            Some(exactly) => vec![exactly],
            None if self.first_available.is_empty() => vec![&self.members],
            None => self
                .first_available
                .iter()
                .map(|request| &request.members)
                .collect(),
        }
    }
}
