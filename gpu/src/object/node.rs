//! Nodes.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::quantities::quantities;
use super::{Condition, ObjectMeta, light_meta, null_as_default, resource};

/// A node.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as in the API")]
pub struct Node {
    #[serde(deserialize_with = "light_meta")]
    pub metadata: ObjectMeta,
    pub spec: NodeSpec,
    pub status: NodeStatus,
}

resource!(Node, ClusterResourceScope, "", "v1", "Node", "nodes");

/// `spec`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "as in the API")]
pub struct NodeSpec {
    #[serde(deserialize_with = "null_as_default")]
    pub unschedulable: bool,
    pub provider_id: Option<String>,
}

/// `status`. Quantities are kept as written.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "as in the API")]
pub struct NodeStatus {
    #[serde(deserialize_with = "quantities")]
    pub capacity: BTreeMap<String, String>,
    #[serde(deserialize_with = "quantities")]
    pub allocatable: BTreeMap<String, String>,
    #[serde(deserialize_with = "null_as_default")]
    pub conditions: Vec<Condition>,
    #[serde(deserialize_with = "null_as_default")]
    pub addresses: Vec<NodeAddress>,
    pub node_info: NodeInfo,
}

/// One of `status.addresses`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as in the API")]
pub struct NodeAddress {
    #[serde(rename = "type")]
    pub kind: String,
    pub address: String,
}

/// `status.nodeInfo`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "as in the API")]
pub struct NodeInfo {
    pub architecture: String,
    pub container_runtime_version: String,
    pub kernel_version: String,
    pub kubelet_version: String,
    pub os_image: String,
}
