//! Objects of a list of which some may be odd.

use std::borrow::Cow;

use kantaloupe_gpu::object::ObjectMeta;
use kube::Resource;
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::value::RawValue;

/// An object, or why it cannot be read: one odd object must not end the list or the watch that it is in.
///
/// kube's own guard reads every object into a tree first, which takes several times as long as reading the few fields that are
/// wanted.
#[derive(Debug, Clone)]
pub(super) struct Guarded<T>(pub(super) Result<T, Odd>);

/// An object that cannot be read.
#[derive(Debug, Clone)]
pub(super) struct Odd {
    pub(super) metadata: ObjectMeta,
    pub(super) error: String,
}

#[derive(Deserialize)]
struct Named {
    metadata: NamedMeta,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NamedMeta {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Guarded<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let error = match serde_json::from_str(raw.get()) {
            Ok(object) => return Ok(Self(Ok(object))),
            Err(error) => error,
        };
        let named: Named = serde_json::from_str(raw.get()).map_err(serde::de::Error::custom)?;
        Ok(Self(Err(Odd {
            metadata: ObjectMeta {
                name: named.metadata.name,
                namespace: named.metadata.namespace,
                uid: named.metadata.uid,
                resource_version: named.metadata.resource_version,
                ..ObjectMeta::default()
            },
            error: error.to_string(),
        })))
    }
}

impl<T: Resource> Resource for Guarded<T> {
    type DynamicType = T::DynamicType;
    type Scope = T::Scope;

    fn kind(dt: &T::DynamicType) -> Cow<'_, str> {
        T::kind(dt)
    }
    fn group(dt: &T::DynamicType) -> Cow<'_, str> {
        T::group(dt)
    }
    fn version(dt: &T::DynamicType) -> Cow<'_, str> {
        T::version(dt)
    }
    fn plural(dt: &T::DynamicType) -> Cow<'_, str> {
        T::plural(dt)
    }
    fn meta(&self) -> &ObjectMeta {
        match &self.0 {
            Ok(object) => object.meta(),
            Err(odd) => &odd.metadata,
        }
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        match &mut self.0 {
            Ok(object) => object.meta_mut(),
            Err(odd) => &mut odd.metadata,
        }
    }
    fn metadata_api() -> bool {
        T::metadata_api()
    }
}

#[cfg(test)]
mod tests {
    use kantaloupe_gpu::object::Pod;
    use kube::core::{ObjectList, WatchEvent};

    use super::*;

    const GOOD: &str =
        r#"{"metadata": {"name": "a", "resourceVersion": "1"}, "status": {"phase": "Running"}}"#;
    const ODD: &str =
        r#"{"metadata": {"name": "b", "resourceVersion": "2"}, "status": {"phase": {"not": "text"}}}"#;

    #[test]
    fn one_odd_object_does_not_spoil_a_list() {
        let list = format!(
            r#"{{"kind": "PodList", "apiVersion": "v1", "metadata": {{"resourceVersion": "9"}}, "items": [{ODD}, {GOOD}]}}"#
        );
        let list: ObjectList<Guarded<Pod>> = serde_json::from_str(&list).unwrap();
        let names: Vec<_> = list.items.iter().map(|pod| pod.meta().name.as_deref()).collect();
        assert_eq!(names, [Some("b"), Some("a")]);
        let odd = list.items[0].0.as_ref().unwrap_err();
        assert!(odd.error.contains("invalid type: map"), "{}", odd.error);
        assert_eq!(odd.metadata.resource_version.as_deref(), Some("2"));
        assert!(list.items[1].0.is_ok());
    }

    #[test]
    fn nor_a_watch() {
        for object in [GOOD, ODD] {
            let event = format!(r#"{{"type": "MODIFIED", "object": {object}}}"#);
            let event: WatchEvent<Guarded<Pod>> = serde_json::from_str(&event).unwrap();
            assert!(matches!(event, WatchEvent::Modified(pod) if pod.0.is_ok() == (object == GOOD)));
        }
    }
}
