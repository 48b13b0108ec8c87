//! Dynamic Resource Allocation: `resource.k8s.io` in the versions `v1`, `v1beta2` and `v1beta1`, which differ little in what is read here.

use std::borrow::Cow;

use super::{ObjectMeta, light_meta};

/// A version of `resource.k8s.io`. Clusters serve one to three of them, depending on their own version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum DraVersion {
    /// Kubernetes 1.34 and later.
    #[default]
    V1,
    /// Kubernetes 1.33 and later.
    V1beta2,
    /// Kubernetes 1.32 and later.
    V1beta1,
}

impl DraVersion {
    /// All of them, the best first.
    pub const ALL: [Self; 3] = [Self::V1, Self::V1beta2, Self::V1beta1];

    /// As in `apiVersion`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V1beta2 => "v1beta2",
            Self::V1beta1 => "v1beta1",
        }
    }
}

/// Says how the API server names a type in the version that it serves.
macro_rules! dra_resource {
    ($type:ty, $scope:ident, $kind:literal, $plural:literal) => {
        impl kube_core::Resource for $type {
            type DynamicType = $crate::object::DraVersion;
            type Scope = kube_core::$scope;

            fn kind(_: &Self::DynamicType) -> std::borrow::Cow<'_, str> {
                $kind.into()
            }
            fn group(_: &Self::DynamicType) -> std::borrow::Cow<'_, str> {
                $crate::object::dra::GROUP
            }
            fn version(version: &Self::DynamicType) -> std::borrow::Cow<'_, str> {
                version.as_str().into()
            }
            fn plural(_: &Self::DynamicType) -> std::borrow::Cow<'_, str> {
                $plural.into()
            }
            fn meta(&self) -> &$crate::object::ObjectMeta {
                &self.metadata
            }
            fn meta_mut(&mut self) -> &mut $crate::object::ObjectMeta {
                &mut self.metadata
            }
        }
    };
}
pub(crate) use dra_resource;

/// The API group.
pub(crate) const GROUP: Cow<'static, str> = Cow::Borrowed("resource.k8s.io");

/// A device class: which devices a request may get.
#[derive(Debug, Clone, Default, serde::Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as in the API")]
pub struct DeviceClass {
    #[serde(deserialize_with = "light_meta")]
    pub metadata: ObjectMeta,
    pub spec: DeviceClassSpec,
}

dra_resource!(DeviceClass, ClusterResourceScope, "DeviceClass", "deviceclasses");

/// `spec` of a device class.
#[derive(Debug, Clone, Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DeviceClassSpec {
    /// The resource under which pods may ask for the class without a claim (Kubernetes 1.34).
    pub extended_resource_name: Option<String>,
}
