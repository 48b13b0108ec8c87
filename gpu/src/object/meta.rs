//! Metadata without what nobody here reads.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

use super::{ObjectMeta, OwnerReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// Holds the whole object once more, as it was applied.
pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Light {
    name: Option<String>,
    generate_name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    generation: Option<i64>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
    owner_references: Option<Vec<OwnerReference>>,
    finalizers: Option<Vec<String>>,
}

/// Reads metadata and skips `managedFields`, which is often longer than the rest of the object and is costly to read.
pub(crate) fn light_meta<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    let light = Option::<Light>::deserialize(deserializer)?.unwrap_or_default();
    let mut annotations = light.annotations;
    if let Some(annotations) = &mut annotations {
        annotations.remove(LAST_APPLIED);
    }
    Ok(ObjectMeta {
        name: light.name,
        generate_name: light.generate_name,
        namespace: light.namespace,
        uid: light.uid,
        resource_version: light.resource_version,
        generation: light.generation,
        creation_timestamp: light.creation_timestamp,
        deletion_timestamp: light.deletion_timestamp,
        labels: light.labels,
        annotations,
        owner_references: light.owner_references,
        finalizers: light.finalizers,
        ..ObjectMeta::default()
    })
}

#[cfg(test)]
mod tests {
    use super::LAST_APPLIED;
    use crate::object::{Node, Pod, annotation, label};

    #[test]
    fn metadata_is_read_without_managed_fields() {
        let pod: Pod = serde_json::from_value(serde_json::json!({
            "metadata": {
                "name": "p", "namespace": "n", "uid": "u", "resourceVersion": "7", "labels": {"a": "b"},
                "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}", "c": "d"},
                "creationTimestamp": "2026-11-24T08:00:00Z",
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "x", "controller": true}],
                "managedFields": [{"manager": "kubectl", "fieldsV1": {"f:spec": {}}}],
            },
        }))
        .unwrap();
        let meta = &pod.metadata;
        assert_eq!(
            (meta.name.as_deref(), meta.resource_version.as_deref()),
            (Some("p"), Some("7"))
        );
        assert_eq!(
            (label(meta, "a"), meta.managed_fields.as_ref()),
            (Some("b"), None)
        );
        assert_eq!(annotation(meta, "c"), Some("d"));
        assert_eq!(annotation(meta, LAST_APPLIED), None);
        assert_eq!(meta.owner_references.as_ref().map(Vec::len), Some(1));
        assert!(meta.creation_timestamp.is_some());
        let node: Node = serde_json::from_str(r#"{"metadata": null}"#).unwrap();
        assert_eq!(node.metadata.name, None);
    }
}
