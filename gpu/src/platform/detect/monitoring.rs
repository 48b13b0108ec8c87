//! Prometheus and VictoriaMetrics.

use super::{component, image_name, is_available, with_image};
use crate::inventory::{Component, ComponentKind};
use crate::object::{LabelSelector, ObjectMeta, PrometheusSpec, PrometheusStatus, VmSpec, VmStatus, label};
use crate::platform::{Objects, helm};

/// Components.
pub(crate) fn components(objects: &Objects) -> Vec<Component> {
    let mut found = Vec::new();
    let operator = objects
        .deployments
        .iter()
        .find_map(|deployment| Some((deployment, with_image(&deployment.spec, "prometheus-operator")?)));
    if let Some((deployment, container)) = operator {
        found.push(component(
            objects,
            ComponentKind::PrometheusOperator,
            &deployment.metadata,
            helm::version(&deployment.metadata, Some(&container.image)),
            Some(is_available(deployment)),
        ));
    }
    for prometheus in &objects.prometheuses {
        let mut server = prometheus_of(
            objects,
            &prometheus.metadata,
            &prometheus.spec,
            &prometheus.status,
        );
        server.facts.insert("mode".to_owned(), "server".to_owned());
        found.push(server);
    }
    for agent in &objects.prometheus_agents {
        let mut agent = prometheus_of(objects, &agent.metadata, &agent.spec, &agent.status);
        agent.facts.insert("mode".to_owned(), "agent".to_owned());
        found.push(agent);
    }
    // Installed without the operator.
    for deployment in &objects.deployments {
        let image = |name| with_image(&deployment.spec, name);
        let (kind, container) = match (
            image("prometheus"),
            image("victoria-metrics").or_else(|| image("vmselect")),
        ) {
            (Some(container), _) => (ComponentKind::Prometheus, container),
            (None, Some(container)) => (ComponentKind::VictoriaMetrics, container),
            (None, None) => continue,
        };
        let version = helm::version(&deployment.metadata, Some(&container.image));
        found.push(component(
            objects,
            kind,
            &deployment.metadata,
            version,
            Some(is_available(deployment)),
        ));
    }
    for single in &objects.vm_singles {
        found.push(victoria(
            objects,
            &single.metadata,
            &single.spec,
            &single.status,
            "single",
        ));
    }
    for cluster in &objects.vm_clusters {
        found.push(victoria(
            objects,
            &cluster.metadata,
            &cluster.spec,
            &cluster.status,
            "cluster",
        ));
    }
    for agent in &objects.vm_agents {
        let version = agent.spec.image.tag.as_deref().map(plain);
        let mut agent = component(
            objects,
            ComponentKind::VictoriaMetrics,
            &agent.metadata,
            version,
            None,
        );
        agent.facts.insert("mode".to_owned(), "agent".to_owned());
        found.push(agent);
    }
    found
}

fn prometheus_of(
    objects: &Objects,
    meta: &ObjectMeta,
    spec: &PrometheusSpec,
    status: &PrometheusStatus,
) -> Component {
    let version = spec
        .version
        .as_deref()
        .or_else(|| spec.image.as_deref().and_then(helm::image_version))
        .map(plain);
    let healthy = status
        .conditions
        .iter()
        .find(|condition| condition.kind == "Available")
        .map(|condition| condition.status == "True")
        .or_else(|| Some(status.available_replicas? >= spec.replicas.unwrap_or(1)));
    let mut found = component(objects, ComponentKind::Prometheus, meta, version, healthy);
    let mut fact = |name: &str, selector: Option<&LabelSelector>| {
        found.facts.insert(
            name.to_owned(),
            selector.map_or_else(|| "none".to_owned(), describe),
        );
    };
    fact("serviceMonitorSelector", spec.service_monitor_selector.as_ref());
    fact("podMonitorSelector", spec.pod_monitor_selector.as_ref());
    found
}

fn victoria(objects: &Objects, meta: &ObjectMeta, spec: &VmSpec, status: &VmStatus, mode: &str) -> Component {
    let version = spec
        .image
        .tag
        .as_deref()
        .or(spec.cluster_version.as_deref())
        .or_else(|| label(meta, "app.kubernetes.io/version"))
        .map(plain);
    let healthy = status
        .update_status
        .as_deref()
        .map(|state| state == "operational");
    let mut found = component(objects, ComponentKind::VictoriaMetrics, meta, version, healthy);
    found.facts.insert("mode".to_owned(), mode.to_owned());
    found
}

fn plain(version: &str) -> String {
    version.strip_prefix('v').unwrap_or(version).to_owned()
}

/// A selector as `kubectl` writes it: `release=prometheus,team in (a,b)`; `all` for an empty one.
pub(crate) fn describe(selector: &LabelSelector) -> String {
    if selector.is_empty() {
        return "all".to_owned();
    }
    let labels = selector
        .match_labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"));
    let expressions = selector.match_expressions.iter().map(|expression| {
        let (key, values) = (&expression.key, expression.values.join(","));
        match expression.operator.as_str() {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "Exists" => key.clone(),
            "DoesNotExist" => format!("!{key}"),
            other => format!("{key} {other} ({values})"),
        }
    });
    labels.chain(expressions).collect::<Vec<_>>().join(",")
}

/// Whether a server that answers queries is installed, as far as objects say.
pub(crate) fn has_server(objects: &Objects) -> bool {
    !objects.prometheuses.is_empty()
        || !objects.vm_singles.is_empty()
        || !objects.vm_clusters.is_empty()
        || objects.deployments.iter().any(|deployment| {
            deployment.spec.template.spec.containers.iter().any(|container| {
                matches!(
                    image_name(&container.image),
                    "prometheus" | "victoria-metrics" | "vmselect"
                )
            })
        })
}
