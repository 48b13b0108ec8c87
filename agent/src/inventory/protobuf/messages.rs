//! Messages of Kubernetes' API, with the fields that the inventory reads: `generated.proto` of `k8s.io/api/core/v1`,
//! `k8s.io/apimachinery/pkg/apis/meta/v1` and `.../pkg/runtime`. Their JSON is that of the API, which leaves out empty texts; Kubernetes'
//! protobuf does not.

#![expect(clippy::struct_field_names, reason = "fields have the API's names")]

use std::collections::BTreeMap;

use jiff::Timestamp;
use kantaloupe_gpu::object::LAST_APPLIED;
use prost::{Message, bytes::Bytes};
use serde::{Serialize, Serializer, ser::SerializeMap};

#[derive(Clone, PartialEq, Message)]
pub(super) struct TypeMeta {
    #[prost(string, tag = "2")]
    pub(super) kind: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Unknown {
    #[prost(message, optional, tag = "1")]
    pub(super) kind: Option<TypeMeta>,
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) raw: Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct RawExtension {
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) raw: Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct WatchEvent {
    #[prost(string, tag = "1")]
    pub(super) kind: String,
    #[prost(message, optional, tag = "2")]
    pub(super) object: Option<RawExtension>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Status {
    #[prost(string, optional, tag = "2")]
    pub(super) status: Option<String>,
    #[prost(string, optional, tag = "3")]
    pub(super) message: Option<String>,
    #[prost(string, optional, tag = "4")]
    pub(super) reason: Option<String>,
    #[prost(int32, optional, tag = "6")]
    pub(super) code: Option<i32>,
}

#[derive(Clone, PartialEq, Message, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Pod {
    #[prost(message, optional, tag = "1")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) metadata: Option<ObjectMeta>,
    #[prost(message, optional, tag = "2")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) spec: Option<PodSpec>,
    #[prost(message, optional, tag = "3")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) status: Option<PodStatus>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Time {
    #[prost(int64, optional, tag = "1")]
    pub(super) seconds: Option<i64>,
}

#[derive(Clone, PartialEq, Message, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ObjectMeta {
    #[prost(string, optional, tag = "1")]
    #[serde(skip_serializing_if = "is_empty")]
    pub(super) name: Option<String>,
    #[prost(string, optional, tag = "3")]
    #[serde(skip_serializing_if = "is_empty")]
    pub(super) namespace: Option<String>,
    #[prost(string, optional, tag = "5")]
    #[serde(skip_serializing_if = "is_empty")]
    pub(super) uid: Option<String>,
    #[prost(string, optional, tag = "6")]
    #[serde(skip_serializing_if = "is_empty")]
    pub(super) resource_version: Option<String>,
    #[prost(message, optional, tag = "8")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) creation_timestamp: Option<Time>,
    #[prost(message, optional, tag = "9")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) deletion_timestamp: Option<Time>,
    #[prost(btree_map = "string, string", tag = "11")]
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) labels: BTreeMap<String, String>,
    #[prost(btree_map = "string, string", tag = "12")]
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) annotations: BTreeMap<String, String>,
    #[prost(message, repeated, tag = "13")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) owner_references: Vec<OwnerReference>,
}

#[derive(Clone, PartialEq, Message, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct OwnerReference {
    #[prost(string, tag = "1")]
    pub(super) kind: String,
    #[prost(string, tag = "3")]
    pub(super) name: String,
    #[prost(string, tag = "4")]
    pub(super) uid: String,
    #[prost(string, tag = "5")]
    pub(super) api_version: String,
    #[prost(bool, optional, tag = "6")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) controller: Option<bool>,
}

#[derive(Clone, PartialEq, Message, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PodSpec {
    #[prost(message, repeated, tag = "2")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) containers: Vec<Container>,
    #[prost(string, optional, tag = "10")]
    #[serde(skip_serializing_if = "is_empty")]
    pub(super) node_name: Option<String>,
    #[prost(string, optional, tag = "19")]
    #[serde(skip_serializing_if = "is_empty")]
    pub(super) scheduler_name: Option<String>,
    #[prost(message, repeated, tag = "20")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) init_containers: Vec<Container>,
    #[prost(message, repeated, tag = "39")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) resource_claims: Vec<PodResourceClaim>,
}

#[derive(Clone, PartialEq, Message, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Container {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, optional, tag = "2")]
    #[serde(skip_serializing_if = "is_empty")]
    pub(super) image: Option<String>,
    #[prost(message, optional, tag = "8")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) resources: Option<Resources>,
    #[prost(string, optional, tag = "24")]
    #[serde(skip_serializing_if = "is_empty")]
    pub(super) restart_policy: Option<String>,
}

#[derive(Clone, PartialEq, Message, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Resources {
    #[prost(btree_map = "string, message", tag = "1")]
    #[serde(serialize_with = "quantities", skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) limits: BTreeMap<String, Quantity>,
    #[prost(btree_map = "string, message", tag = "2")]
    #[serde(serialize_with = "quantities", skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) requests: BTreeMap<String, Quantity>,
    #[prost(message, repeated, tag = "3")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) claims: Vec<ContainerClaim>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Quantity {
    #[prost(string, tag = "1")]
    pub(super) string: String,
}

#[derive(Clone, PartialEq, Message, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ContainerClaim {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, optional, tag = "2")]
    #[serde(skip_serializing_if = "is_empty")]
    pub(super) request: Option<String>,
}

#[derive(Clone, PartialEq, Message, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PodResourceClaim {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, optional, tag = "3")]
    #[serde(skip_serializing_if = "is_empty")]
    pub(super) resource_claim_name: Option<String>,
    #[prost(string, optional, tag = "4")]
    #[serde(skip_serializing_if = "is_empty")]
    pub(super) resource_claim_template_name: Option<String>,
}

#[derive(Clone, PartialEq, Message, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PodStatus {
    #[prost(string, optional, tag = "1")]
    #[serde(skip_serializing_if = "is_empty")]
    pub(super) phase: Option<String>,
    #[prost(message, repeated, tag = "2")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) conditions: Vec<Condition>,
    #[prost(string, optional, tag = "3")]
    #[serde(skip_serializing_if = "is_empty")]
    pub(super) message: Option<String>,
    #[prost(string, optional, tag = "4")]
    #[serde(skip_serializing_if = "is_empty")]
    pub(super) reason: Option<String>,
    #[prost(message, repeated, tag = "8")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) container_statuses: Vec<ContainerStatus>,
    #[prost(message, repeated, tag = "10")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) init_container_statuses: Vec<ContainerStatus>,
    #[prost(message, repeated, tag = "15")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) resource_claim_statuses: Vec<PodResourceClaimStatus>,
    #[prost(message, optional, tag = "18")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) extended_resource_claim_status: Option<ExtendedResourceClaimStatus>,
}

#[derive(Clone, PartialEq, Message, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Condition {
    #[prost(string, tag = "1")]
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[prost(string, tag = "2")]
    pub(super) status: String,
    #[prost(message, optional, tag = "4")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) last_transition_time: Option<Time>,
    #[prost(string, optional, tag = "5")]
    #[serde(skip_serializing_if = "is_empty")]
    pub(super) reason: Option<String>,
    #[prost(string, optional, tag = "6")]
    #[serde(skip_serializing_if = "is_empty")]
    pub(super) message: Option<String>,
}

#[derive(Clone, PartialEq, Message, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ContainerStatus {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(message, optional, tag = "2")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) state: Option<ContainerState>,
    #[prost(message, optional, tag = "3")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) last_state: Option<ContainerState>,
    #[prost(bool, optional, tag = "4")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ready: Option<bool>,
    #[prost(int32, optional, tag = "5")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) restart_count: Option<i32>,
}

#[derive(Clone, PartialEq, Message, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ContainerState {
    #[prost(message, optional, tag = "1")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) waiting: Option<Waiting>,
    #[prost(message, optional, tag = "2")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) running: Option<Running>,
    #[prost(message, optional, tag = "3")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) terminated: Option<Terminated>,
}

#[derive(Clone, PartialEq, Message, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Waiting {
    #[prost(string, optional, tag = "1")]
    #[serde(skip_serializing_if = "is_empty")]
    pub(super) reason: Option<String>,
    #[prost(string, optional, tag = "2")]
    #[serde(skip_serializing_if = "is_empty")]
    pub(super) message: Option<String>,
}

#[derive(Clone, PartialEq, Message, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Running {}

#[derive(Clone, PartialEq, Message, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Terminated {
    #[prost(int32, optional, tag = "1")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) exit_code: Option<i32>,
    #[prost(string, optional, tag = "3")]
    #[serde(skip_serializing_if = "is_empty")]
    pub(super) reason: Option<String>,
    #[prost(string, optional, tag = "4")]
    #[serde(skip_serializing_if = "is_empty")]
    pub(super) message: Option<String>,
}

#[derive(Clone, PartialEq, Message, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PodResourceClaimStatus {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, optional, tag = "2")]
    #[serde(skip_serializing_if = "is_empty")]
    pub(super) resource_claim_name: Option<String>,
}

#[derive(Clone, PartialEq, Message, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ExtendedResourceClaimStatus {
    #[prost(message, repeated, tag = "1")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) request_mappings: Vec<RequestMapping>,
    #[prost(string, tag = "2")]
    pub(super) resource_claim_name: String,
}

#[derive(Clone, PartialEq, Message, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RequestMapping {
    #[prost(string, tag = "1")]
    pub(super) container_name: String,
    #[prost(string, tag = "2")]
    pub(super) resource_name: String,
    #[prost(string, tag = "3")]
    pub(super) request_name: String,
}

impl Pod {
    /// Drops what nobody reads and may be long.
    pub(super) fn lighten(&mut self) {
        if let Some(meta) = &mut self.metadata {
            meta.annotations.remove(LAST_APPLIED);
        }
    }
}

/// As the API writes times: to the second. A time that no calendar has is left out by nobody else either, and comes out as 1970.
impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let time = Timestamp::from_second(self.seconds.unwrap_or_default()).unwrap_or_default();
        time.serialize(serializer)
    }
}

#[expect(clippy::ref_option, reason = "as serde calls it")]
fn is_empty(text: &Option<String>) -> bool {
    text.as_ref().is_none_or(String::is_empty)
}

fn quantities<S: Serializer>(
    quantities: &BTreeMap<String, Quantity>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(quantities.len()))?;
    for (name, quantity) in quantities {
        map.serialize_entry(name, &quantity.string)?;
    }
    map.end()
}
