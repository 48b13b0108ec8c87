//! Deployments, DaemonSets and the Services in front of them.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::Deserialize;

use super::labels::Labels;
use super::{ObjectMeta, resource};

/// A Deployment.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as in the API")]
pub struct Deployment {
    pub metadata: ObjectMeta,
    pub spec: WorkloadSpec,
    pub status: DeploymentStatus,
}

resource!(
    Deployment,
    NamespaceResourceScope,
    "apps",
    "v1",
    "Deployment",
    "deployments"
);

/// `status` of a Deployment.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "as in the API")]
pub struct DeploymentStatus {
    pub available_replicas: u32,
    pub ready_replicas: u32,
}

/// A DaemonSet.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as in the API")]
pub struct DaemonSet {
    pub metadata: ObjectMeta,
    pub spec: WorkloadSpec,
    pub status: DaemonSetStatus,
}

resource!(
    DaemonSet,
    NamespaceResourceScope,
    "apps",
    "v1",
    "DaemonSet",
    "daemonsets"
);

/// `status` of a DaemonSet.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "as in the API")]
pub struct DaemonSetStatus {
    pub desired_number_scheduled: u32,
    pub number_ready: u32,
    pub number_misscheduled: u32,
}

/// `spec` of both.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as in the API")]
pub struct WorkloadSpec {
    /// Of a Deployment; absent is 1.
    pub replicas: Option<u32>,
    pub template: Template,
}

/// `spec.template`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as in the API")]
pub struct Template {
    pub metadata: ObjectMeta,
    pub spec: TemplateSpec,
}

/// `spec.template.spec`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "as in the API")]
pub struct TemplateSpec {
    pub containers: Vec<TemplateContainer>,
    pub node_selector: BTreeMap<String, String>,
    pub runtime_class_name: Option<String>,
}

/// A container of the template.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as in the API")]
pub struct TemplateContainer {
    pub name: String,
    pub image: String,
    pub command: Vec<String>,
    pub args: Vec<String>,
    pub ports: Vec<ContainerPort>,
}

/// A port of a container.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "as in the API")]
pub struct ContainerPort {
    pub name: Option<String>,
    pub container_port: i32,
}

impl TemplateContainer {
    /// Command and arguments as one sequence.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        self.command.iter().chain(&self.args).map(String::as_str)
    }
}

/// A Service.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as in the API")]
pub struct Service {
    pub metadata: ObjectMeta,
    pub spec: ServiceSpec,
}

resource!(Service, NamespaceResourceScope, "", "v1", "Service", "services");

/// `spec` of a Service.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as in the API")]
pub struct ServiceSpec {
    pub selector: Labels,
    pub ports: Vec<ServicePort>,
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// `None` as text for a headless Service.
    #[serde(rename = "clusterIP")]
    pub cluster_ip: Option<String>,
}

/// A port of a Service.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "as in the API")]
pub struct ServicePort {
    /// Absent where there is only one.
    pub name: Option<String>,
    pub port: i32,
    pub target_port: Option<IntOrString>,
}
