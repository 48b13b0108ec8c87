//! What GPU clusters are made of besides nodes and pods: HAMi, the GPU Operator, monitoring, the Gateway API. From
//! objects alone follow the components that are installed, and together with what was measured the answers of the checks.
//!
//! ```text
//! objects ──> detect ──> components of the inventory
//!    └──────> Facts (objects, probes, rights, answers of Prometheus) ──> checks ──> outcomes
//! ```

pub mod checks;
mod detect;
pub mod facts;
mod helm;
pub mod scrape;

#[cfg(test)]
pub(crate) mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::inventory::{Component, SourceState};
use crate::node::NodeMark;
use crate::object::workload::Deployment;
use crate::object::{
    ClusterPolicy, ConfigMap, DaemonSet, Definition, Gateway, GatewayClass, Lease, MutatingWebhooks,
    Namespace, NetworkPolicy, Node, NvidiaDriver, PersistentVolume, PodMonitor, Prometheus, PrometheusAgent,
    ReleaseSecret, RuntimeClass, Service, ServiceMonitor, StorageClass, VmAgent, VmCluster, VmServiceScrape,
    VmSingle, label,
};
use crate::vendor::{ConfigError, DEVICE_CONFIG, ResourceNames, VENDORS};

/// How a kind of objects is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// The plural in lower case; unique among the kinds that are read.
    pub name: &'static str,
    /// API group; empty for the core.
    pub group: &'static str,
    /// Version of it.
    pub version: &'static str,
    /// Only objects that these labels select.
    pub selector: Option<&'static str>,
    /// Not read unless the installation allows it; not having the right is no fault.
    pub optional: bool,
}

impl Kind {
    /// The path of the list.
    pub fn path(&self) -> String {
        match self.group {
            "" => format!("/api/{}/{}", self.version, self.name),
            group => format!("/apis/{group}/{}/{}", self.version, self.name),
        }
    }
}

/// What HAMi's chart makes for its scheduler has this label.
const COMPONENT: &str = "app.kubernetes.io/component";
const SCHEDULER: &str = "hami-scheduler";
/// The label as a selector.
pub const HAMI_SCHEDULER: &str = "app.kubernetes.io/component=hami-scheduler";
/// The kind of which only [`Objects::device_configs`] are read.
pub const CONFIG_MAPS: &str = "configmaps";

/// One row for each kind: field, type, and what differs from the ordinary.
macro_rules! objects {
    ($($field:ident: $type:ident = $name:literal, $group:literal, $version:literal, $kind:literal
        $(, select $selector:expr)? $(, optional $optional:literal)?;)*) => {
        /// Objects of the platform, and which kinds could be read.
        #[derive(Debug, Clone, Default)]
        pub struct Objects {
            $(#[doc = $kind] pub $field: Vec<$type>,)*
            /// What came of reading each kind. A kind that is not here was not looked for.
            pub read: BTreeMap<&'static str, Read>,
            /// Objects that could not be understood, by kind.
            pub broken: BTreeMap<&'static str, u32>,
        }

        /// The kinds that are read.
        pub const KINDS: &[Kind] = &[$(Kind {
            name: $name,
            group: $group,
            version: $version,
            selector: objects!(@first $($selector)?),
            optional: objects!(@flag $($optional)?),
        },)*];

        impl Objects {
            /// Adds one object, if it is of a kind that is read: whether it was. One that cannot be understood counts as broken.
            pub fn add(&mut self, group: &str, kind: &str, json: &str) -> bool {
                match (group, kind) {
                    $(($group, $kind) => {
                        self.read.insert($name, Read::Ok);
                        match serde_json::from_str(json) {
                            Ok(object) => self.$field.push(object),
                            Err(_) => *self.broken.entry($name).or_default() += 1,
                        }
                        true
                    })*
                    _ => false,
                }
            }

            /// Adds a page of a list; the token of the next page if there is one.
            pub fn add_page(&mut self, kind: &Kind, json: &str) -> Result<Option<String>, serde_json::Error> {
                let page: Page<'_> = serde_json::from_str(json)?;
                match kind.name {
                    $($name => for item in page.items {
                        match serde_json::from_str(item.get()) {
                            Ok(object) => self.$field.push(object),
                            Err(_) => *self.broken.entry($name).or_default() += 1,
                        }
                    },)*
                    _ => {}
                }
                self.read.insert(kind.name, Read::Ok);
                Ok(page.metadata.next.filter(|next| !next.is_empty()))
            }
        }
    };
    (@first) => { None };
    (@first $value:expr) => { Some($value) };
    (@flag) => { false };
    (@flag $value:literal) => { $value };
}

objects! {
    nodes: Node = "nodes", "", "v1", "Node";
    namespaces: Namespace = "namespaces", "", "v1", "Namespace";
    services: Service = "services", "", "v1", "Service";
    persistent_volumes: PersistentVolume = "persistentvolumes", "", "v1", "PersistentVolume";
    releases: ReleaseSecret = "secrets", "", "v1", "Secret", select "owner=helm,status=deployed", optional true;
    config_maps: ConfigMap = "configmaps", "", "v1", "ConfigMap", optional true;
    deployments: Deployment = "deployments", "apps", "v1", "Deployment";
    daemon_sets: DaemonSet = "daemonsets", "apps", "v1", "DaemonSet";
    leases: Lease = "leases", "coordination.k8s.io", "v1", "Lease";
    webhooks: MutatingWebhooks = "mutatingwebhookconfigurations", "admissionregistration.k8s.io", "v1", "MutatingWebhookConfiguration";
    definitions: Definition = "customresourcedefinitions", "apiextensions.k8s.io", "v1", "CustomResourceDefinition";
    storage_classes: StorageClass = "storageclasses", "storage.k8s.io", "v1", "StorageClass";
    runtime_classes: RuntimeClass = "runtimeclasses", "node.k8s.io", "v1", "RuntimeClass";
    network_policies: NetworkPolicy = "networkpolicies", "networking.k8s.io", "v1", "NetworkPolicy";
    cluster_policies: ClusterPolicy = "clusterpolicies", "nvidia.com", "v1", "ClusterPolicy";
    nvidia_drivers: NvidiaDriver = "nvidiadrivers", "nvidia.com", "v1alpha1", "NVIDIADriver";
    prometheuses: Prometheus = "prometheuses", "monitoring.coreos.com", "v1", "Prometheus";
    prometheus_agents: PrometheusAgent = "prometheusagents", "monitoring.coreos.com", "v1alpha1", "PrometheusAgent";
    service_monitors: ServiceMonitor = "servicemonitors", "monitoring.coreos.com", "v1", "ServiceMonitor";
    pod_monitors: PodMonitor = "podmonitors", "monitoring.coreos.com", "v1", "PodMonitor";
    vm_agents: VmAgent = "vmagents", "operator.victoriametrics.com", "v1beta1", "VMAgent";
    vm_singles: VmSingle = "vmsingles", "operator.victoriametrics.com", "v1beta1", "VMSingle";
    vm_clusters: VmCluster = "vmclusters", "operator.victoriametrics.com", "v1beta1", "VMCluster";
    vm_service_scrapes: VmServiceScrape = "vmservicescrapes", "operator.victoriametrics.com", "v1beta1", "VMServiceScrape";
    gateway_classes: GatewayClass = "gatewayclasses", "gateway.networking.k8s.io", "v1", "GatewayClass";
    gateways: Gateway = "gateways", "gateway.networking.k8s.io", "v1", "Gateway";
}

/// What came of reading one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read {
    /// All of its objects are there.
    Ok,
    /// The API server does not have this kind: what it belongs to is not installed.
    Absent,
    /// The API server refuses.
    Forbidden,
    /// No usable answer, and why.
    Failing(String),
}

impl Read {
    /// As the inventory names it.
    pub fn state(&self) -> SourceState {
        match self {
            Self::Ok => SourceState::Ok,
            Self::Absent => SourceState::Absent,
            Self::Forbidden => SourceState::Forbidden,
            Self::Failing(_) => SourceState::Failing,
        }
    }
}

/// A page of a list, as far as it matters here.
#[derive(Deserialize)]
struct Page<'a> {
    #[serde(default)]
    metadata: PageMeta,
    #[serde(borrow, default)]
    items: Vec<&'a RawValue>,
}

#[derive(Default, Deserialize)]
struct PageMeta {
    #[serde(rename = "continue")]
    next: Option<String>,
}

impl Objects {
    /// Why objects of this kind are not known; `None` if they are, also if there are none because the kind does not exist.
    pub fn missing(&self, name: &str) -> Option<String> {
        match self.read.get(name) {
            Some(Read::Ok | Read::Absent) => None,
            Some(Read::Forbidden) => Some(format!("the API server does not let the agent list {name}")),
            Some(Read::Failing(why)) => Some(format!("{name} could not be listed: {why}")),
            None => Some(format!("{name} were not given")),
        }
    }

    /// The first of these kinds whose objects are not known, and why.
    pub fn first_missing(&self, names: &[&str]) -> Option<String> {
        names.iter().find_map(|name| self.missing(name))
    }

    /// The names that HAMi's configuration gives to resources; its own where there is none.
    pub fn resource_names(&self) -> Result<ResourceNames, ConfigError> {
        let config = self
            .config_maps
            .iter()
            .find_map(|map| map.data.get(DEVICE_CONFIG));
        config.map_or_else(
            || Ok(ResourceNames::default()),
            |config| ResourceNames::from_device_config(config),
        )
    }

    /// Where the configuration of HAMi's resources is: a ConfigMap beside each Deployment of its scheduler, named after it. So it can
    /// be read by its name, for which the right to that one is enough.
    pub fn device_configs(&self) -> impl Iterator<Item = (String, String)> {
        self.deployments.iter().filter_map(|deployment| {
            let meta = &deployment.metadata;
            let component = label(meta, COMPONENT) == Some(SCHEDULER);
            component.then(|| (namespace(meta).to_owned(), format!("{}-device", name(meta))))
        })
    }

    /// Which labels of nodes the checks look at in a cluster with these objects. Nodes have many, and there are many nodes.
    pub fn wanted_labels(&self) -> impl Fn(&str) -> bool {
        let sets = self
            .daemon_sets
            .iter()
            .map(|set| &set.spec.template.spec.node_selector);
        let drivers = self
            .nvidia_drivers
            .iter()
            .map(|driver| &driver.spec.node_selector);
        let selected = sets.chain(drivers).flat_map(BTreeMap::keys).cloned();
        let vendors = VENDORS.iter().filter_map(|vendor| vendor.label);
        let fixed = vendors.map(|(key, _)| key).chain(["gpu", checks::DEPLOY]);
        let keys: BTreeSet<String> = selected.chain(fixed.map(str::to_owned)).collect();
        move |key| {
            keys.contains(key)
                || [OPENSHIFT, EKS, ACK, CCE, GKE]
                    .iter()
                    .any(|prefix| key.starts_with(prefix))
        }
    }

    /// What is installed, in the order of [`crate::inventory::ComponentKind`].
    pub fn components(&self) -> Vec<Component> {
        detect::components(self)
    }
}

/// A distribution without a mark that is known.
pub(crate) const GENERIC: &str = "generic";
/// Prefixes of the labels by which distributions mark their nodes.
const OPENSHIFT: &str = "node.openshift.io/";
const EKS: &str = "eks.amazonaws.com/";
const ACK: &str = "alibabacloud.com/nodepool-id";
const CCE: &str = "cce.cloud.com/";
const GKE: &str = "cloud.google.com/gke-";

/// The name of an object.
fn name(meta: &crate::object::ObjectMeta) -> &str {
    meta.name.as_deref().unwrap_or_default()
}

/// The namespace of an object; empty for one without.
fn namespace(meta: &crate::object::ObjectMeta) -> &str {
    meta.namespace.as_deref().unwrap_or_default()
}

/// `distribution` of the cluster: from the version that the API server reports, its API groups, and marks on nodes.
pub fn distribution(git_version: Option<&str>, groups: &[String], nodes: &[NodeMark]) -> &'static str {
    let version = git_version.unwrap_or_default().to_ascii_lowercase();
    let labelled = |prefix: &str| {
        nodes
            .iter()
            .any(|node| node.labels.keys().any(|key| key.starts_with(prefix)))
    };
    let group = |name: &str| groups.iter().any(|group| group == name);
    // OpenShift reports a plain version; the others mark theirs.
    if group("config.openshift.io") || labelled(OPENSHIFT) {
        "openshift"
    } else if version.contains("+rke2") {
        "rke2"
    } else if version.contains("+k3s") {
        "k3s"
    } else if version.contains("+vmware") || group("run.tanzu.vmware.com") {
        "tanzu"
    } else if version.contains("-eks-") || labelled(EKS) {
        "eks"
    } else if version.contains("-aliyun") || labelled(ACK) {
        "ack"
    } else if version.contains("-cce") || labelled(CCE) {
        "cce"
    } else if version.contains("-gke.") || labelled(GKE) {
        "gke"
    } else {
        GENERIC
    }
}
