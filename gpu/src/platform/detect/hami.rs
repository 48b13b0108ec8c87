//! HAMi, HAMi-DRA and Volcano.

use super::{component, either_label, image_name, is_available, is_ready, same_namespace, with_image};
use crate::inventory::{Component, ComponentKind};
use crate::object::workload::Deployment;
use crate::object::{DaemonSet, Lease, TemplateContainer, Webhook};
use crate::platform::{Objects, helm, name, namespace};
use crate::version;

/// Label that HAMi's chart gives its parts.
const COMPONENT: &str = "app.kubernetes.io/component";
/// The webhook's name is the same in every release and under every name of the installation.
const WEBHOOK: &str = "vgpu.hami.io";
/// From this version on metrics have other names.
const RENAMED: &str = "2.9";

/// One installation of HAMi, as far as its objects are there.
#[derive(Debug, Clone)]
pub(crate) struct Hami<'a> {
    pub(crate) scheduler: Option<&'a Deployment>,
    /// Those for NVIDIA devices and, with an ending of its own, the one for Ascend.
    pub(crate) plugins: Vec<&'a DaemonSet>,
    pub(crate) webhook: Option<(&'a str, &'a Webhook)>,
    pub(crate) lease: Option<&'a Lease>,
}

/// Which names the metrics have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flavour {
    /// `HostCoreUtilization`, ...: before 2.9.
    Legacy,
    /// `hami_host_gpu_utilization_ratio`, ...
    New,
    /// Both: 2.9 and newer with `--legacy-metrics`.
    Both,
}

impl Flavour {
    /// The word in the inventory.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Legacy => "legacy",
            Self::New => "new",
            Self::Both => "both",
        }
    }
}

impl<'a> Hami<'a> {
    /// Finds it: by the labels of the chart, by the names of containers, and by the webhook.
    pub(crate) fn find(objects: &'a Objects) -> Option<Self> {
        let scheduler = objects.deployments.iter().find(|deployment| {
            either_label(&deployment.metadata, &deployment.spec, COMPONENT) == Some("hami-scheduler")
                || extender(deployment).is_some()
        });
        let plugins: Vec<_> = objects
            .daemon_sets
            .iter()
            .filter(|set| {
                let part = either_label(&set.metadata, &set.spec, COMPONENT);
                let monitor = |container: &TemplateContainer| container.name == "vgpu-monitor";
                matches!(part, Some("hami-device-plugin" | "hami-ascend-device-plugin"))
                    || set.spec.template.spec.containers.iter().any(monitor)
            })
            .collect();
        let webhook = objects.webhooks.iter().find_map(|configuration| {
            let webhook = configuration
                .webhooks
                .iter()
                .find(|webhook| webhook.name == WEBHOOK)?;
            Some((name(&configuration.metadata), webhook))
        });
        if scheduler.is_none() && plugins.is_empty() && webhook.is_none() {
            return None;
        }
        let lease = scheduler.and_then(|scheduler| {
            let called = lease_name(scheduler);
            objects.leases.iter().find(|lease| {
                name(&lease.metadata) == called && same_namespace(&lease.metadata, &scheduler.metadata)
            })
        });
        Some(Self {
            scheduler,
            plugins,
            webhook,
            lease,
        })
    }

    /// The version of the scheduler, else of the device plugin.
    pub(crate) fn version(&self) -> Option<String> {
        self.scheduler
            .and_then(scheduler_version)
            .or_else(|| self.plugins.iter().find_map(|plugin| plugin_version(plugin)))
    }

    /// The names of metrics; `None` if the version is not known and no flag says it.
    pub(crate) fn flavour(&self) -> Option<Flavour> {
        let legacy = self.scheduler.and_then(extender).is_some_and(|extender| {
            extender
                .words()
                .any(|word| matches!(word, "--legacy-metrics" | "--legacy-metrics=true"))
        });
        if legacy {
            return Some(Flavour::Both);
        }
        let renamed = version::at_least(&self.version()?, RENAMED)?;
        Some(if renamed { Flavour::New } else { Flavour::Legacy })
    }

    /// Whether replicas elect a leader: then there is a lease that has to be fresh.
    pub(crate) fn elects(&self) -> bool {
        self.scheduler.is_some_and(|scheduler| {
            let mut words = scheduler
                .spec
                .template
                .spec
                .containers
                .iter()
                .flat_map(TemplateContainer::words);
            words.any(|word| matches!(word, "--leader-elect" | "--leader-elect=true"))
        })
    }
}

/// The container with HAMi's own code.
fn extender(deployment: &Deployment) -> Option<&TemplateContainer> {
    deployment
        .spec
        .template
        .spec
        .containers
        .iter()
        .find(|container| container.name == "vgpu-scheduler-extender")
}

/// What the flags call the lease, else what the scheduler is called.
fn lease_name(deployment: &Deployment) -> &str {
    let flag = |prefix: &str| {
        let containers = &deployment.spec.template.spec.containers;
        containers
            .iter()
            .flat_map(TemplateContainer::words)
            .find_map(|word| word.strip_prefix(prefix))
    };
    flag("--leader-elect-resource-name=")
        .or_else(|| flag("--scheduler-name="))
        .unwrap_or("hami-scheduler")
}

/// The extender's image tells best: charts 2.6.1 and 2.7.1 carry the number of the release before.
pub(crate) fn scheduler_version(deployment: &Deployment) -> Option<String> {
    helm::version(
        &deployment.metadata,
        extender(deployment).map(|container| container.image.as_str()),
    )
}

/// Version of a device plugin.
pub(crate) fn plugin_version(set: &DaemonSet) -> Option<String> {
    let containers = &set.spec.template.spec.containers;
    let plugin = containers
        .iter()
        .find(|container| container.name == "device-plugin")
        .or_else(|| containers.first());
    helm::version(&set.metadata, plugin.map(|container| container.image.as_str()))
}

/// The components.
pub(crate) fn components(objects: &Objects) -> Vec<Component> {
    let mut found: Vec<_> = hami(objects).into_iter().collect();
    let deployments = objects
        .deployments
        .iter()
        .map(|object| (&object.metadata, &object.spec, is_available(object)));
    let daemon_sets = objects
        .daemon_sets
        .iter()
        .map(|object| (&object.metadata, &object.spec, is_ready(object)));
    for (meta, spec, healthy) in deployments.chain(daemon_sets) {
        let kind = spec.template.spec.containers.iter().find_map(|container| {
            let dra = container.image.contains("project-hami/k8s-dra-driver")
                || image_name(&container.image).starts_with("hami-dra");
            let volcano = matches!(
                image_name(&container.image),
                "vc-scheduler" | "volcano-vgpu-device-plugin"
            );
            match (dra, volcano) {
                (true, _) => Some((ComponentKind::HamiDra, container)),
                (_, true) => Some((ComponentKind::Volcano, container)),
                _ => None,
            }
        });
        if let Some((kind, container)) = kind {
            let version = helm::version(meta, Some(&container.image));
            found.push(component(objects, kind, meta, version, Some(healthy)));
        }
    }
    found
}

fn hami(objects: &Objects) -> Option<Component> {
    let hami = Hami::find(objects)?;
    let meta = match (hami.scheduler, hami.plugins.first()) {
        (Some(scheduler), _) => &scheduler.metadata,
        (None, Some(plugin)) => &plugin.metadata,
        (None, None) => return None,
    };
    let webhook = hami.webhook.is_some_and(|(_, webhook)| has_ca(webhook));
    let healthy = hami.scheduler.is_some_and(is_available)
        && hami.plugins.iter().all(|plugin| is_ready(plugin))
        && !hami.plugins.is_empty()
        && (webhook || objects.missing("mutatingwebhookconfigurations").is_some());
    let mut component = component(objects, ComponentKind::Hami, meta, hami.version(), Some(healthy));
    match hami.flavour() {
        Some(flavour) => {
            component
                .facts
                .insert("metrics".to_owned(), flavour.as_str().to_owned());
        }
        None => {
            component.unknown.insert(
                "facts.metrics".into(),
                kantaloupe_checks::Code::HAMI_005.as_str().into(),
            );
        }
    }
    let mut fact = |name: &str, value: String| component.facts.insert(name.to_owned(), value);
    if let Some(scheduler) = hami.scheduler {
        let (ready, wanted) = (
            scheduler.status.available_replicas,
            scheduler.spec.replicas.unwrap_or(1),
        );
        fact("scheduler", format!("{ready}/{wanted}"));
    }
    for plugin in &hami.plugins {
        let status = &plugin.status;
        fact(
            &format!("devicePlugin.{}", name(&plugin.metadata)),
            format!("{}/{}", status.number_ready, status.desired_number_scheduled),
        );
    }
    if objects.missing("mutatingwebhookconfigurations").is_none() {
        let state = match hami.webhook {
            Some((_, webhook)) if has_ca(webhook) => "ok",
            Some(_) => "noCa",
            None => "missing",
        };
        fact("webhook", state.to_owned());
    }
    if let Some(renewed) = hami.lease.and_then(|lease| lease.spec.renew_time) {
        fact("leaseRenewedAt", renewed.to_string());
    }
    Some(component)
}

/// Whether the API server can verify the webhook's certificate.
pub(crate) fn has_ca(webhook: &Webhook) -> bool {
    webhook
        .client_config
        .ca_bundle
        .as_deref()
        .is_some_and(|bundle| !bundle.is_empty())
}

/// Where HAMi lives, for commands.
pub(crate) fn home(objects: &Objects) -> String {
    let found = Hami::find(objects);
    let meta = found.as_ref().and_then(|hami| {
        let scheduler = hami.scheduler.map(|scheduler| &scheduler.metadata);
        scheduler.or_else(|| hami.plugins.first().map(|plugin| &plugin.metadata))
    });
    match meta.map(namespace) {
        Some(namespace) if !namespace.is_empty() => namespace.to_owned(),
        _ => "hami-system".to_owned(),
    }
}

/// A DaemonSet that runs HAMi's code is no stock device plugin, whatever image it is built on.
pub(crate) fn is_hami(set: &DaemonSet) -> bool {
    either_label(&set.metadata, &set.spec, COMPONENT).is_some_and(|part| part.starts_with("hami-"))
        || with_image(&set.spec, "hami").is_some()
}
