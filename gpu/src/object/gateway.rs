//! Objects of the Gateway API, and definitions of resources.

use serde::Deserialize;

use super::{ObjectMeta, resource};

/// A GatewayClass.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as in the API")]
pub struct GatewayClass {
    pub metadata: ObjectMeta,
    pub spec: GatewayClassSpec,
    pub status: GatewayClassStatus,
}

resource!(
    GatewayClass,
    ClusterResourceScope,
    "gateway.networking.k8s.io",
    "v1",
    "GatewayClass",
    "gatewayclasses"
);

/// `spec` of a GatewayClass.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "as in the API")]
pub struct GatewayClassSpec {
    pub controller_name: String,
}

/// `status` of a GatewayClass.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as in the API")]
pub struct GatewayClassStatus {
    pub conditions: Vec<ObservedCondition>,
}

/// A Gateway.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as in the API")]
pub struct Gateway {
    pub metadata: ObjectMeta,
    pub spec: GatewaySpec,
    pub status: GatewayStatus,
}

resource!(
    Gateway,
    NamespaceResourceScope,
    "gateway.networking.k8s.io",
    "v1",
    "Gateway",
    "gateways"
);

/// `spec` of a Gateway.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "as in the API")]
pub struct GatewaySpec {
    pub gateway_class_name: String,
    pub listeners: Vec<Listener>,
}

/// One of `spec.listeners`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as in the API")]
pub struct Listener {
    pub name: String,
    pub port: u16,
    pub protocol: String,
}

/// `status` of a Gateway.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as in the API")]
pub struct GatewayStatus {
    pub addresses: Vec<GatewayAddress>,
    pub conditions: Vec<ObservedCondition>,
    pub listeners: Vec<ListenerStatus>,
}

/// One of `status.addresses`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as in the API")]
pub struct GatewayAddress {
    pub value: String,
}

/// One of `status.listeners`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as in the API")]
pub struct ListenerStatus {
    pub name: String,
    pub conditions: Vec<ObservedCondition>,
}

/// A condition that says which generation of the object it is about.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "as in the API")]
pub struct ObservedCondition {
    #[serde(rename = "type")]
    pub kind: String,
    pub status: String,
    pub reason: Option<String>,
    pub message: Option<String>,
    pub observed_generation: Option<i64>,
}

/// A CustomResourceDefinition.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as in the API")]
pub struct Definition {
    pub metadata: ObjectMeta,
    pub spec: DefinitionSpec,
}

resource!(
    Definition,
    ClusterResourceScope,
    "apiextensions.k8s.io",
    "v1",
    "CustomResourceDefinition",
    "customresourcedefinitions"
);

/// `spec` of a CustomResourceDefinition.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as in the API")]
pub struct DefinitionSpec {
    pub group: String,
}
