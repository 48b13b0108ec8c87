//! Kubernetes objects, as much of them as is read here: the rest is skipped while parsing, and so never kept.

mod cluster;
pub(crate) mod dra;
mod gateway;
mod labels;
mod meta;
mod monitoring;
mod node;
mod nvidia;
mod owner;
mod pod;
mod quantities;
mod resource_claim;
mod resource_slice;
mod selector;
pub mod workload;

pub use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

pub use cluster::{
    ConfigMap, EgressRule, IpBlock, Lease, LeaseSpec, MutatingWebhooks, Namespace, NetworkPolicy,
    NetworkPolicySpec, Peer, PersistentVolume, PersistentVolumeSpec, PolicyPort, ReleaseData, ReleaseSecret,
    RuntimeClass, StorageClass, Webhook, WebhookClient, WebhookService, namespace_labels,
};
pub use dra::{DeviceClass, DeviceClassSpec, DraVersion};
pub use gateway::{
    Definition, DefinitionSpec, Gateway, GatewayAddress, GatewayClass, GatewayClassSpec, GatewayClassStatus,
    GatewaySpec, GatewayStatus, Listener, ListenerStatus, ObservedCondition,
};
pub use labels::{Expression, LabelSelector, Labels};
pub use meta::LAST_APPLIED;
pub(crate) use meta::light_meta;
pub use monitoring::{
    Endpoint, MonitorSpec, NamespaceSelector, PodMonitor, Prometheus, PrometheusAgent, PrometheusSpec,
    PrometheusStatus, ServiceMonitor, VmAgent, VmAgentSpec, VmCluster, VmImage, VmServiceScrape, VmSingle,
    VmSpec, VmStatus,
};
pub use node::{Node, NodeAddress, NodeInfo, NodeSpec, NodeStatus};
pub use nvidia::{
    ClusterPolicy, ClusterPolicySpec, MonitorSwitch, NvidiaDriver, NvidiaDriverSpec, Operand, PolicyStatus,
};
pub use owner::{Deployment, Job, ReplicaSet, StatefulSet};
pub use pod::{
    Condition, Container, ContainerClaim, ContainerState, ContainerStatus, ExtendedResourceClaimStatus, Pod,
    PodResourceClaim, PodResourceClaimStatus, PodSpec, PodStatus, RequestMapping, Resources,
};

pub use resource_claim::{
    CapacityRequirements, ClaimAllocation, ConsumerReference, DeviceAllocation, DeviceClaim, DeviceRequest,
    DeviceResult, ExactRequest, ResourceClaim, ResourceClaimSpec, ResourceClaimStatus, SubRequest,
};
pub use resource_slice::{
    Attribute, DeviceCapacity, DeviceFields, DeviceTaint, ResourcePool, ResourceSlice, ResourceSliceSpec,
    SliceDevice,
};
pub use selector::{NodeSelector, NodeSelectorRequirement, NodeSelectorTerm};
pub use workload::{
    ContainerPort, DaemonSet, DaemonSetStatus, DeploymentStatus, Service, ServicePort, ServiceSpec, Template,
    TemplateContainer, TemplateSpec, WorkloadSpec,
};

/// Says how the API server names a type, so that it can be listed and watched.
macro_rules! resource {
    ($type:ty, $scope:ident, $group:literal, $version:literal, $kind:literal, $plural:literal) => {
        impl kube_core::Resource for $type {
            type DynamicType = ();
            type Scope = kube_core::$scope;

            fn kind((): &()) -> std::borrow::Cow<'_, str> {
                $kind.into()
            }
            fn group((): &()) -> std::borrow::Cow<'_, str> {
                $group.into()
            }
            fn version((): &()) -> std::borrow::Cow<'_, str> {
                $version.into()
            }
            fn plural((): &()) -> std::borrow::Cow<'_, str> {
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
pub(crate) use resource;

/// Reads `null` as nothing: Go writes it for empty lists and for pointers to nothing.
pub(crate) fn null_as_default<'de, D, T>(value: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + serde::Deserialize<'de>,
{
    Ok(<Option<T> as serde::Deserialize>::deserialize(value)?.unwrap_or_default())
}

/// The value of an annotation.
pub fn annotation<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    meta.annotations.as_ref()?.get(key).map(String::as_str)
}

/// The value of a label.
pub fn label<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    meta.labels.as_ref()?.get(key).map(String::as_str)
}
