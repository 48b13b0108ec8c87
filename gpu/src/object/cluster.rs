//! Objects of the cluster itself.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::Deserialize;
use serde_json::Value;

use super::labels::LabelSelector;
use super::{ObjectMeta, resource};

/// A Namespace.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as in the API")]
pub struct Namespace {
    pub metadata: ObjectMeta,
}

resource!(
    Namespace,
    ClusterResourceScope,
    "",
    "v1",
    "Namespace",
    "namespaces"
);

/// A ConfigMap.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as in the API")]
pub struct ConfigMap {
    pub metadata: ObjectMeta,
    pub data: BTreeMap<String, String>,
}

resource!(
    ConfigMap,
    NamespaceResourceScope,
    "",
    "v1",
    "ConfigMap",
    "configmaps"
);

/// A StorageClass.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as in the API")]
pub struct StorageClass {
    pub metadata: ObjectMeta,
    pub provisioner: String,
}

resource!(
    StorageClass,
    ClusterResourceScope,
    "storage.k8s.io",
    "v1",
    "StorageClass",
    "storageclasses"
);

/// A PersistentVolume.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as in the API")]
pub struct PersistentVolume {
    pub metadata: ObjectMeta,
    pub spec: PersistentVolumeSpec,
}

resource!(
    PersistentVolume,
    ClusterResourceScope,
    "",
    "v1",
    "PersistentVolume",
    "persistentvolumes"
);

/// `spec` of a PersistentVolume.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct PersistentVolumeSpec {
    /// Whether there is one is all that matters.
    pub nfs: Option<Value>,
}

/// A RuntimeClass.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as in the API")]
pub struct RuntimeClass {
    pub metadata: ObjectMeta,
    pub handler: String,
}

resource!(
    RuntimeClass,
    ClusterResourceScope,
    "node.k8s.io",
    "v1",
    "RuntimeClass",
    "runtimeclasses"
);

/// A Lease.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as in the API")]
pub struct Lease {
    pub metadata: ObjectMeta,
    pub spec: LeaseSpec,
}

resource!(
    Lease,
    NamespaceResourceScope,
    "coordination.k8s.io",
    "v1",
    "Lease",
    "leases"
);

/// `spec` of a Lease.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "as in the API")]
pub struct LeaseSpec {
    pub holder_identity: Option<String>,
    pub lease_duration_seconds: Option<i64>,
    pub renew_time: Option<jiff::Timestamp>,
}

/// A MutatingWebhookConfiguration.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as in the API")]
pub struct MutatingWebhooks {
    pub metadata: ObjectMeta,
    pub webhooks: Vec<Webhook>,
}

resource!(
    MutatingWebhooks,
    ClusterResourceScope,
    "admissionregistration.k8s.io",
    "v1",
    "MutatingWebhookConfiguration",
    "mutatingwebhookconfigurations"
);

/// One of `webhooks`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "as in the API")]
pub struct Webhook {
    pub name: String,
    pub client_config: WebhookClient,
    pub failure_policy: Option<String>,
}

/// `clientConfig` of a webhook.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "as in the API")]
pub struct WebhookClient {
    pub ca_bundle: Option<String>,
    pub service: Option<WebhookService>,
}

/// `clientConfig.service` of a webhook.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as in the API")]
pub struct WebhookService {
    pub namespace: String,
    pub name: String,
}

/// A Secret with a Helm release. No other Secret is read, and of this one only what is in the labels and in the metadata
/// of the chart is kept.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as in the API")]
pub struct ReleaseSecret {
    pub metadata: ObjectMeta,
    #[serde(rename = "type")]
    pub kind: String,
    pub data: ReleaseData,
}

resource!(
    ReleaseSecret,
    NamespaceResourceScope,
    "",
    "v1",
    "Secret",
    "secrets"
);

/// `data` of a release Secret.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as in the API")]
pub struct ReleaseData {
    pub release: Option<String>,
}

impl std::fmt::Debug for ReleaseData {
    /// Values of a release may hold passwords.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ReleaseData(hidden)")
    }
}

/// A NetworkPolicy.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as in the API")]
pub struct NetworkPolicy {
    pub metadata: ObjectMeta,
    pub spec: NetworkPolicySpec,
}

resource!(
    NetworkPolicy,
    NamespaceResourceScope,
    "networking.k8s.io",
    "v1",
    "NetworkPolicy",
    "networkpolicies"
);

/// `spec` of a NetworkPolicy.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "as in the API")]
pub struct NetworkPolicySpec {
    pub pod_selector: LabelSelector,
    /// Absent: `Ingress`, and `Egress` if there are egress rules.
    pub policy_types: Vec<String>,
    pub egress: Vec<EgressRule>,
}

/// One of `spec.egress`. No peers is everywhere, no ports is every port.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as in the API")]
pub struct EgressRule {
    pub to: Vec<Peer>,
    pub ports: Vec<PolicyPort>,
}

/// A peer of a rule.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "as in the API")]
pub struct Peer {
    pub ip_block: Option<IpBlock>,
}

/// `ipBlock` of a peer.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as in the API")]
pub struct IpBlock {
    pub cidr: String,
    #[serde(rename = "except")]
    pub but: Vec<String>,
}

/// A port of a rule.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "as in the API")]
pub struct PolicyPort {
    /// Absent is TCP.
    pub protocol: Option<String>,
    pub port: Option<IntOrString>,
    pub end_port: Option<u16>,
}

/// Labels of the namespace, for selectors of namespaces. The API server sets the name as a label.
pub fn namespace_labels<'a>(namespaces: &'a [Namespace], name: &str) -> Option<&'a BTreeMap<String, String>> {
    namespaces
        .iter()
        .find(|namespace| namespace.metadata.name.as_deref() == Some(name))
        .and_then(|namespace| namespace.metadata.labels.as_ref())
}
