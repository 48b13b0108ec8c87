//! Finds what is installed.

pub(crate) mod gateway;
pub(crate) mod hami;
pub(crate) mod monitoring;
pub(crate) mod nvidia;

use std::collections::BTreeMap;

use super::{Objects, helm, name, namespace};
use crate::inventory::{Component, ComponentKind, Unknown};
use crate::object::workload::Deployment;
use crate::object::{DaemonSet, ObjectMeta, TemplateContainer, WorkloadSpec, label};
use kantaloupe_checks::Code;

/// Everything that is found, in the order of the kinds.
pub(crate) fn components(objects: &Objects) -> Vec<Component> {
    let mut found = Vec::new();
    found.extend(hami::components(objects));
    found.extend(nvidia::components(objects));
    found.extend(monitoring::components(objects));
    found.extend(gateway::components(objects));
    found.extend(cert_manager(objects));
    found.sort_by(|a, b| {
        (a.kind, a.namespace.as_deref(), a.name.as_str()).cmp(&(
            b.kind,
            b.namespace.as_deref(),
            b.name.as_str(),
        ))
    });
    found
}

fn cert_manager(objects: &Objects) -> Option<Component> {
    let (deployment, container) = objects.deployments.iter().find_map(|deployment| {
        Some((
            deployment,
            with_image(&deployment.spec, "cert-manager-controller")?,
        ))
    })?;
    let version = helm::version(&deployment.metadata, Some(&container.image));
    Some(component(
        objects,
        ComponentKind::CertManager,
        &deployment.metadata,
        version,
        Some(is_available(deployment)),
    ))
}

/// A component whose main object has this metadata. A version that is not known is named as such.
pub(crate) fn component(
    objects: &Objects,
    kind: ComponentKind,
    meta: &ObjectMeta,
    version: Option<String>,
    healthy: Option<bool>,
) -> Component {
    let mut unknown = Unknown::new();
    if version.is_none() {
        unknown.insert("version".into(), version_code(kind).as_str().into());
    }
    Component {
        kind,
        name: name(meta).to_owned(),
        namespace: meta.namespace.clone(),
        version,
        installed_by: Some(helm::installed_by(objects, meta)),
        healthy,
        facts: BTreeMap::new(),
        unknown,
    }
}

const fn version_code(kind: ComponentKind) -> Code {
    match kind {
        ComponentKind::Hami | ComponentKind::HamiDra | ComponentKind::Volcano => Code::HAMI_005,
        ComponentKind::GpuOperator => Code::GPU_006,
        ComponentKind::DcgmExporter => Code::GPU_004,
        ComponentKind::NvidiaDevicePlugin => Code::GPU_003,
        ComponentKind::PrometheusOperator | ComponentKind::Prometheus | ComponentKind::VictoriaMetrics => {
            Code::MON_002
        }
        ComponentKind::GatewayApi | ComponentKind::Gateway => Code::GW_001,
        ComponentKind::CertManager => Code::HELM_001,
    }
}

/// The first container whose image is called so: the last part of its path, whatever registry it comes from.
pub(crate) fn with_image<'a>(spec: &'a WorkloadSpec, image: &str) -> Option<&'a TemplateContainer> {
    spec.template
        .spec
        .containers
        .iter()
        .find(|container| image_name(&container.image) == image)
}

/// The last part of an image's path, without tag and digest.
pub(crate) fn image_name(image: &str) -> &str {
    let last = image.rsplit('/').next().unwrap_or(image);
    last.split(['@', ':']).next().unwrap_or(last)
}

/// A label of the object or of its pods.
pub(crate) fn either_label<'a>(meta: &'a ObjectMeta, spec: &'a WorkloadSpec, key: &str) -> Option<&'a str> {
    label(meta, key).or_else(|| label(&spec.template.metadata, key))
}

/// Whether a Deployment has as many available replicas as it wants, and wants any.
pub(crate) fn is_available(deployment: &Deployment) -> bool {
    let wanted = deployment.spec.replicas.unwrap_or(1);
    wanted > 0 && deployment.status.available_replicas >= wanted
}

/// Whether all pods of a DaemonSet are ready, and there are any.
pub(crate) fn is_ready(daemon_set: &DaemonSet) -> bool {
    let wanted = daemon_set.status.desired_number_scheduled;
    wanted > 0 && daemon_set.status.number_ready >= wanted
}

/// Whether the pods of two objects live in one namespace.
pub(crate) fn same_namespace(a: &ObjectMeta, b: &ObjectMeta) -> bool {
    namespace(a) == namespace(b)
}
