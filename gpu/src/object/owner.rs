//! Objects that own pods, of which only the metadata is read.

use serde::Deserialize;

use super::{ObjectMeta, light_meta};

macro_rules! owner {
    ($($kind:ident, $group:literal, $plural:literal;)*) => { $(
        #[doc = concat!("The metadata of a ", stringify!($kind), ".")]
        #[derive(Debug, Clone, Default, Deserialize)]
        #[serde(default)]
        pub struct $kind {
            /// As in the API.
            #[serde(deserialize_with = "light_meta")]
            pub metadata: ObjectMeta,
        }

        impl kube_core::Resource for $kind {
            type DynamicType = ();
            type Scope = kube_core::NamespaceResourceScope;

            fn kind((): &()) -> std::borrow::Cow<'_, str> {
                stringify!($kind).into()
            }
            fn group((): &()) -> std::borrow::Cow<'_, str> {
                $group.into()
            }
            fn version((): &()) -> std::borrow::Cow<'_, str> {
                "v1".into()
            }
            fn plural((): &()) -> std::borrow::Cow<'_, str> {
                $plural.into()
            }
            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }
            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
            // The API server sends nothing else then.
            fn metadata_api() -> bool {
                true
            }
        }
    )* };
}

owner! {
    ReplicaSet, "apps", "replicasets";
    Deployment, "apps", "deployments";
    StatefulSet, "apps", "statefulsets";
    Job, "batch", "jobs";
}
