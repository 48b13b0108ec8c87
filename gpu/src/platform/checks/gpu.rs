//! The GPU Operator and what it runs, and the devices themselves.

use kantaloupe_checks::{Code, Outcome};

use super::nodes::{has_nvidia, nvidia_nodes};
use super::{absent, bad, count, list, not_applicable, pass, unknown, unreadable};
use crate::node::NodeMark;
use crate::object::DaemonSet;
use crate::platform::detect::nvidia::{self, PolicyState};
use crate::platform::facts::Facts;
use crate::platform::{Objects, helm, name, namespace};

/// The label by which a node refuses the operator's device plugin.
pub(crate) const DEPLOY: &str = "nvidia.com/gpu.deploy.device-plugin";

/// The upgrade of the GPU Operator's release that sets `value`.
pub(super) fn upgrade(objects: &Objects, values: &[String]) -> String {
    let release = nvidia::operator_meta(objects).and_then(|meta| helm::helm_release(objects, meta));
    let sets: Vec<_> = values.iter().map(|value| format!("--set {value}")).collect();
    match (release, nvidia::policy(objects)) {
        (Some((release, namespace)), _) => format!(
            "helm upgrade {release} nvidia/gpu-operator -n {namespace} --reuse-values {}",
            sets.join(" ")
        ),
        _ => format!(
            "helm upgrade gpu-operator nvidia/gpu-operator -n gpu-operator --reuse-values {}",
            sets.join(" ")
        ),
    }
}

pub(super) fn stock_plugin(facts: &Facts) -> Outcome {
    let code = Code::GPU_003;
    if let Some(outcome) = unreadable(facts, code, &["nodes", "daemonsets", "clusterpolicies"]) {
        return outcome;
    }
    let objects = &facts.objects;
    let mut nodes = nvidia_nodes(facts).peekable();
    let policy = nvidia::policy(objects);
    // The policy decides for the future, also while nothing runs yet.
    let refused = |node: &NodeMark| node.is_labelled(DEPLOY, "false");
    let by_policy = policy.filter(|policy| policy.spec.device_plugin.runs());
    let by_policy = by_policy.filter(|_| nodes.peek().is_none() || !nodes.all(refused));
    let mut commands = Vec::new();
    let mut seen = Vec::new();
    if let Some(policy) = by_policy {
        seen.push(format!(
            "ClusterPolicy {} has devicePlugin.enabled=true",
            name(&policy.metadata)
        ));
        commands.push(upgrade(objects, &["devicePlugin.enabled=false".to_owned()]));
    }
    let operators =
        |set: &DaemonSet| name(&set.metadata) == "nvidia-device-plugin-daemonset" && policy.is_some();
    for set in nvidia::stock_plugins(objects) {
        if set.status.desired_number_scheduled == 0 {
            continue;
        }
        if operators(set) {
            if by_policy.is_none() {
                let path = helm::path(&set.metadata);
                seen.push(format!(
                    "DaemonSet {path} still runs, though the ClusterPolicy has it off"
                ));
                commands.push(upgrade(objects, &["devicePlugin.enabled=false".to_owned()]));
            }
            continue;
        }
        seen.push(format!("DaemonSet {} runs on its own", helm::path(&set.metadata)));
        commands.push(match helm::helm_release(objects, &set.metadata) {
            Some((release, namespace)) => format!("helm uninstall {release} -n {namespace}"),
            None => format!(
                "kubectl -n {} delete daemonset {}",
                namespace(&set.metadata),
                name(&set.metadata)
            ),
        });
    }
    // Nodes may show it where no object does: a plugin that was started by hand.
    if seen.is_empty() {
        let shown = super::hami::of(facts, code);
        seen.extend(shown.iter().map(|finding| finding.message.clone()));
        commands.extend(shown.iter().map(|finding| {
            format!(
                "kubectl get pods -A -o wide --field-selector spec.nodeName={} | grep device-plugin",
                finding.object.name
            )
        }));
    }
    if seen.is_empty() {
        let how = match policy {
            Some(policy) if policy.spec.device_plugin.runs() => {
                "every GPU node refuses the GPU Operator's by its label"
            }
            Some(_) => "the GPU Operator's is off, and no other runs",
            None if facts.api.is_none() => return unknown(code, "none is among the objects in the files"),
            None => "none runs",
        };
        return pass(code, how);
    }
    commands.dedup();
    let mut outcome = bad(code, seen.join("; "));
    outcome.commands = commands;
    outcome
}

pub(super) fn operator(facts: &Facts) -> Outcome {
    let code = Code::GPU_006;
    if let Some(outcome) = unreadable(
        facts,
        code,
        &["clusterpolicies", "deployments", "nodes", "daemonsets"],
    ) {
        return outcome;
    }
    let objects = &facts.objects;
    if !has_nvidia(facts) {
        return not_applicable(code, "no node has NVIDIA devices");
    }
    let deployment = nvidia::operator_deployment(objects);
    let Some(policy) = nvidia::policy(objects) else {
        if deployment.is_none() && nvidia::dcgm_exporters(objects).next().is_some() {
            return not_applicable(
                code,
                "it is not installed; driver and exporter come by other means",
            );
        }
        let what = match deployment {
            Some(deployment) => format!(
                "{} runs, but there is no ClusterPolicy",
                helm::path(&deployment.metadata)
            ),
            None => "it is not installed, and no DCGM exporter either".to_owned(),
        };
        return absent(facts, code, what).command(
            "helm upgrade --install gpu-operator nvidia/gpu-operator -n gpu-operator --create-namespace \
             --set devicePlugin.enabled=false --set dcgmExporter.serviceMonitor.enabled=true",
        );
    };
    let policy_name = name(&policy.metadata);
    let outcome = match nvidia::policy_state(policy) {
        PolicyState::Ready => pass(code, format!("ClusterPolicy {policy_name} is ready")),
        PolicyState::Idle(reason, message) | PolicyState::NotReady(reason, message) => {
            let message = if message.is_empty() { "no message" } else { message };
            bad(code, format!("ClusterPolicy {policy_name}: {reason} ({message})"))
                .evidence("reason", reason)
                .command(format!("kubectl get clusterpolicy {policy_name} -o yaml"))
        }
        PolicyState::Unknown => unknown(code, format!("ClusterPolicy {policy_name} has no state yet")),
    };
    match deployment.and_then(|deployment| {
        let containers = &deployment.spec.template.spec.containers;
        let image = containers.first().map(|container| container.image.as_str());
        helm::version(&deployment.metadata, image)
    }) {
        Some(version) => outcome.evidence("version", version),
        None => outcome,
    }
}

pub(super) fn dcgm(facts: &Facts) -> Outcome {
    let code = Code::GPU_004;
    if let Some(outcome) = unreadable(facts, code, &["nodes", "daemonsets"]) {
        return outcome;
    }
    let objects = &facts.objects;
    if !has_nvidia(facts) {
        return not_applicable(code, "no node has NVIDIA devices");
    }
    if let Some(policy) = nvidia::policy(objects)
        && !policy.spec.dcgm_exporter.runs()
    {
        let what = format!(
            "ClusterPolicy {} has dcgmExporter.enabled=false",
            name(&policy.metadata)
        );
        return bad(code, what).command(upgrade(objects, &["dcgmExporter.enabled=true".to_owned()]));
    }
    let sets: Vec<_> = nvidia::dcgm_exporters(objects).collect();
    let Some(first) = sets.first() else {
        return absent(facts, code, "no DaemonSet runs the DCGM exporter")
            .command(upgrade(objects, &["dcgmExporter.enabled=true".to_owned()]));
    };
    let path = helm::path(&first.metadata);
    let describe = format!(
        "kubectl -n {} describe daemonset {}",
        namespace(&first.metadata),
        name(&first.metadata)
    );
    let not_ready: Vec<_> = sets
        .iter()
        .filter(|set| set.status.number_ready < set.status.desired_number_scheduled)
        .map(|set| {
            let status = &set.status;
            let path = helm::path(&set.metadata);
            format!(
                "{path} {}/{}",
                status.number_ready, status.desired_number_scheduled
            )
        })
        .collect();
    if !not_ready.is_empty() {
        return bad(code, format!("not all pods are ready: {}", list(&not_ready))).command(describe);
    }
    let covered = |node: &&NodeMark| {
        sets.iter()
            .any(|set| node.has_all(&set.spec.template.spec.node_selector))
    };
    let left_out: Vec<_> = nvidia_nodes(facts)
        .filter(|node| !covered(node))
        .map(|node| node.name.as_str())
        .collect();
    if !left_out.is_empty() {
        let selector = &first.spec.template.spec.node_selector;
        let labels: Vec<_> = selector
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        return absent(facts, code, format!("{path} does not run on {}", list(&left_out))).command(format!(
            "kubectl label node {} {} --overwrite",
            left_out.join(" "),
            labels.join(" ")
        ));
    }
    if first.status.desired_number_scheduled == 0 {
        return bad(code, format!("{path} runs on no node")).command(describe);
    }
    let status = &first.status;
    pass(
        code,
        format!(
            "{path} {}/{}",
            status.number_ready, status.desired_number_scheduled
        ),
    )
}

pub(super) fn devices(facts: &Facts) -> Outcome {
    let code = Code::GPU_005;
    if let Some(outcome) = unreadable(facts, code, &["nodes"]) {
        return outcome;
    }
    if facts.nodes.iter().all(|node| node.shows.is_empty()) {
        return not_applicable(code, "no node has devices");
    }
    // Nothing on a node that is away is healthy; that is said of the node.
    let here = facts.nodes.iter().filter(|node| node.ready);
    let sick: Vec<_> = here.flat_map(|node| &node.sick).map(String::as_str).collect();
    if sick.is_empty() {
        let registered = count(facts.devices(), "registered device");
        return pass(code, format!("{registered}, none unhealthy"));
    }
    let mut outcome = bad(code, format!("unhealthy: {}", list(&sick)));
    if let Some(node) = sick
        .first()
        .and_then(|id| id.split_once('/'))
        .map(|(node, _)| node)
    {
        outcome = outcome.command(format!(
            "kubectl debug node/{node} -it --image=ubuntu -- chroot /host nvidia-smi -q"
        ));
    }
    outcome
}
