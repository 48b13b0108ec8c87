//! The GPU Operator, NVIDIA's own device plugin and the DCGM exporter.

use super::{component, image_name, is_available, is_ready};
use crate::inventory::{Component, ComponentKind};
use crate::object::workload::Deployment;
use crate::object::{ClusterPolicy, DaemonSet, ObjectMeta, TemplateContainer, label};
use crate::platform::{Objects, helm, name};

/// Components.
pub(crate) fn components(objects: &Objects) -> Vec<Component> {
    let mut found: Vec<_> = operator(objects).into_iter().collect();
    for set in dcgm_exporters(objects) {
        let container = dcgm_container(set);
        let version = helm::version(&set.metadata, container.map(|container| container.image.as_str()));
        let mut exporter = component(
            objects,
            ComponentKind::DcgmExporter,
            &set.metadata,
            version,
            Some(is_ready(set)),
        );
        exporter.facts.insert("pods".to_owned(), pods(set));
        found.push(exporter);
    }
    for set in stock_plugins(objects) {
        let image = set.spec.template.spec.containers.first();
        let version = helm::version(&set.metadata, image.map(|container| container.image.as_str()));
        let mut plugin = component(
            objects,
            ComponentKind::NvidiaDevicePlugin,
            &set.metadata,
            version,
            Some(is_ready(set)),
        );
        plugin.facts.insert("pods".to_owned(), pods(set));
        found.push(plugin);
    }
    found
}

fn pods(set: &DaemonSet) -> String {
    format!(
        "{}/{}",
        set.status.number_ready, set.status.desired_number_scheduled
    )
}

/// The operator's Deployment.
pub(crate) fn operator_deployment(objects: &Objects) -> Option<&Deployment> {
    objects.deployments.iter().find(|deployment| {
        let containers = &deployment.spec.template.spec.containers;
        containers
            .iter()
            .any(|container| image_name(&container.image) == "gpu-operator")
            || label(&deployment.metadata, "app.kubernetes.io/component") == Some("gpu-operator")
    })
}

/// The policy that is in force: of several the operator obeys one and calls the others `ignored`.
pub(crate) fn policy(objects: &Objects) -> Option<&ClusterPolicy> {
    let ignored = |policy: &&ClusterPolicy| policy.status.state.as_deref() == Some("ignored");
    objects
        .cluster_policies
        .iter()
        .find(|policy| !ignored(policy))
        .or_else(|| objects.cluster_policies.first())
}

/// The object that Helm installed, for commands.
pub(crate) fn operator_meta(objects: &Objects) -> Option<&ObjectMeta> {
    operator_deployment(objects)
        .map(|deployment| &deployment.metadata)
        .or_else(|| policy(objects).map(|policy| &policy.metadata))
}

/// What a policy's conditions say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PolicyState<'a> {
    Ready,
    /// `Ready=True`, and yet nothing runs: no GPU node, or no labels to tell.
    Idle(&'a str, &'a str),
    NotReady(&'a str, &'a str),
    Unknown,
}

/// Reads the conditions: a policy without GPU nodes calls itself ready.
pub(crate) fn policy_state(policy: &ClusterPolicy) -> PolicyState<'_> {
    let conditions = &policy.status.conditions;
    let held = |kind: &str| {
        conditions
            .iter()
            .find(|condition| condition.kind == kind && condition.status == "True")
    };
    if let Some(ready) = held("Ready") {
        let reason = ready.reason.as_deref().unwrap_or_default();
        let message = ready.message.as_deref().unwrap_or_default();
        return match reason {
            "NoGPUNodes" | "NFDLabelsMissing" => PolicyState::Idle(reason, message),
            _ => PolicyState::Ready,
        };
    }
    if let Some(error) = held("Error") {
        return PolicyState::NotReady(
            error.reason.as_deref().unwrap_or_default(),
            error.message.as_deref().unwrap_or_default(),
        );
    }
    match policy.status.state.as_deref() {
        Some("ready") => PolicyState::Ready,
        Some(state @ ("notReady" | "disabled")) => PolicyState::NotReady(state, ""),
        _ => PolicyState::Unknown,
    }
}

fn operator(objects: &Objects) -> Option<Component> {
    let deployment = operator_deployment(objects);
    let policy = policy(objects);
    let meta = operator_meta(objects)?;
    let image = deployment.and_then(|deployment| {
        let containers = &deployment.spec.template.spec.containers;
        containers
            .iter()
            .find(|container| image_name(&container.image) == "gpu-operator")
    });
    let version = helm::version(meta, image.map(|container| container.image.as_str()));
    let state = policy.map(policy_state);
    let healthy = match state {
        Some(PolicyState::Ready) => Some(deployment.is_none_or(is_available)),
        Some(PolicyState::Idle(..) | PolicyState::NotReady(..)) | None => Some(false),
        Some(PolicyState::Unknown) => None,
    };
    let mut operator = component(objects, ComponentKind::GpuOperator, meta, version, healthy);
    if let Some(policy) = policy {
        let on = |on: bool| if on { "on" } else { "off" }.to_owned();
        let spec = &policy.spec;
        let mut fact = |name: &str, value: String| operator.facts.insert(name.to_owned(), value);
        fact("clusterPolicy", name(&policy.metadata).to_owned());
        fact("devicePlugin", on(spec.device_plugin.runs()));
        fact("dcgmExporter", on(spec.dcgm_exporter.runs()));
        fact(
            "dcgmServiceMonitor",
            on(spec.dcgm_exporter.service_monitor.enabled == Some(true)),
        );
        fact("driver", on(spec.driver.runs()));
        if let (true, Some(version)) = (spec.driver.runs(), &spec.driver.version) {
            fact("driverVersion", version.clone());
        }
        if let Some(PolicyState::Idle(reason, _) | PolicyState::NotReady(reason, _)) = state {
            fact("reason", reason.to_owned());
        }
    }
    for driver in &objects.nvidia_drivers {
        if let Some(version) = &driver.spec.version {
            let key = format!("driverVersion.{}", name(&driver.metadata));
            operator.facts.insert(key, version.clone());
        }
    }
    Some(operator)
}

/// DaemonSets that run the DCGM exporter.
pub(crate) fn dcgm_exporters(objects: &Objects) -> impl Iterator<Item = &DaemonSet> {
    objects
        .daemon_sets
        .iter()
        .filter(|set| dcgm_container(set).is_some())
}

fn dcgm_container(set: &DaemonSet) -> Option<&TemplateContainer> {
    let containers = &set.spec.template.spec.containers;
    containers
        .iter()
        .find(|container| image_name(&container.image) == "dcgm-exporter")
}

/// DaemonSets that run NVIDIA's own device plugin.
pub(crate) fn stock_plugins(objects: &Objects) -> impl Iterator<Item = &DaemonSet> {
    objects.daemon_sets.iter().filter(|set| {
        let containers = &set.spec.template.spec.containers;
        let stock = containers.iter().any(|container| {
            matches!(
                image_name(&container.image),
                "k8s-device-plugin" | "nvidia-device-plugin" | "nvidia-k8s-device-plugin"
            )
        });
        let named = name(&set.metadata) == "nvidia-device-plugin-daemonset"
            || label(&set.metadata, "app.kubernetes.io/name") == Some("nvidia-device-plugin")
            || label(&set.spec.template.metadata, "name") == Some("nvidia-device-plugin-ds");
        // Feature discovery and the MPS daemon of the same project have the same image.
        let other = !containers.is_empty()
            && containers.iter().all(|container| {
                ["feature-discovery", "mps-control"].iter().any(|part| {
                    container.name.contains(part) || container.words().any(|word| word.contains(part))
                })
            });
        (stock || named) && !other && !super::hami::is_hami(set)
    })
}
