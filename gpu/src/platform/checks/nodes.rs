//! Nodes: their state, runtimes, devices and drivers.

use std::collections::{BTreeMap, BTreeSet};

use kantaloupe_checks::{Code, Outcome, Verdict};

use super::{absent, bad, count, list, not_applicable, pass, unknown, unreadable};
use crate::node::NodeMark;
use crate::object::Labels;
use crate::platform::detect::hami::Hami;
use crate::platform::detect::{is_ready, nvidia};
use crate::platform::facts::Facts;
use crate::platform::{Objects, name};
use crate::{vendor, version};

/// The platform's minimum for NVIDIA.
const DRIVER: &str = "440";
/// Container runtimes that the platform supports.
const RUNTIMES: &[&str] = &["containerd", "docker"];

/// Key and value.
type NodeLabel = (String, String);

/// A node that has devices, by whatever shows them.
pub(super) struct GpuNode<'a> {
    pub(super) node: &'a NodeMark,
    pub(super) name: &'a str,
    /// Maker of the devices.
    pub(super) vendor: &'a str,
    /// The label that lets HAMi's device plugin run, and whether the node has it.
    pub(super) label: Option<NodeLabel>,
    pub(super) enabled: bool,
    /// What shows the devices.
    pub(super) shown_by: &'a str,
}

/// Nodes with devices, one entry for each vendor. A label for HAMi alone is a wish, not a device.
pub(super) fn gpu_nodes(facts: &Facts) -> Vec<GpuNode<'_>> {
    let hami = Hami::find(&facts.objects);
    let wanted = nvidia_label(hami.as_ref());
    let mut found = Vec::new();
    for node in &facts.nodes {
        for (vendor, shown_by) in &node.shows {
            let label = if vendor == "nvidia" {
                Some(wanted.clone())
            } else {
                let label = vendor::by_name(vendor).and_then(|vendor| vendor.label);
                label.map(|(key, value)| (key.to_owned(), value.to_owned()))
            };
            let enabled = label
                .as_ref()
                .is_none_or(|(key, value)| node.is_labelled(key, value));
            found.push(GpuNode {
                node,
                name: &node.name,
                vendor,
                label,
                enabled,
                shown_by,
            });
        }
    }
    found
}

/// What HAMi's device plugin for NVIDIA asks of a node: `gpu=on` unless its DaemonSet says otherwise.
fn nvidia_label(hami: Option<&Hami<'_>>) -> NodeLabel {
    let selector = hami.and_then(|hami| {
        let plugin = hami
            .plugins
            .iter()
            .find(|plugin| !name(&plugin.metadata).contains("ascend"))?;
        let selector = &plugin.spec.template.spec.node_selector;
        selector.get_key_value("gpu").or_else(|| {
            selector
                .iter()
                .find(|(key, _)| !key.starts_with("kubernetes.io/"))
        })
    });
    selector.map_or_else(
        || ("gpu".to_owned(), "on".to_owned()),
        |(key, value)| (key.clone(), value.clone()),
    )
}

/// Nodes with NVIDIA devices.
pub(super) fn nvidia_nodes(facts: &Facts) -> impl Iterator<Item = &NodeMark> {
    facts
        .nodes
        .iter()
        .filter(|node| node.shows.contains_key("nvidia"))
}

/// Whether there is one.
pub(super) fn has_nvidia(facts: &Facts) -> bool {
    nvidia_nodes(facts).next().is_some()
}

pub(super) fn ready(facts: &Facts) -> Outcome {
    let code = Code::K8S_007;
    if let Some(outcome) = unreadable(facts, code, &["nodes"]) {
        return outcome;
    }
    let nodes = &facts.nodes;
    let not_ready: Vec<_> = nodes
        .iter()
        .filter(|node| !node.ready)
        .map(|node| node.name.as_str())
        .collect();
    let mut cordoned: Vec<_> = gpu_nodes(facts)
        .into_iter()
        .filter(|node| node.node.cordoned)
        .map(|node| node.name)
        .collect();
    cordoned.dedup();
    if not_ready.is_empty() && cordoned.is_empty() {
        return pass(code, format!("{} ready", count(nodes.len(), "node")));
    }
    let mut parts = Vec::new();
    if !not_ready.is_empty() {
        parts.push(format!("not ready: {}", list(&not_ready)));
    }
    if !cordoned.is_empty() {
        parts.push(format!("GPU nodes that are cordoned: {}", list(&cordoned)));
    }
    let mut outcome = bad(code, parts.join("; "));
    if let Some(node) = not_ready.first() {
        outcome = outcome.command(format!("kubectl describe node {node}"));
    }
    if !cordoned.is_empty() {
        outcome = outcome.command(format!("kubectl uncordon {}", cordoned.join(" ")));
    }
    outcome
}

pub(super) fn runtime(facts: &Facts) -> Outcome {
    let code = Code::RT_001;
    if let Some(outcome) = unreadable(facts, code, &["nodes"]) {
        return outcome;
    }
    let gpu: BTreeSet<&str> = gpu_nodes(facts).iter().map(|node| node.name).collect();
    let mut by_runtime: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    let mut unsupported = Vec::new();
    let mut silent = Vec::new();
    for node in &facts.nodes {
        let (name, text) = (node.name.as_str(), &node.runtime);
        match version::runtime(text) {
            Some(runtime) => {
                if gpu.contains(name) && !RUNTIMES.contains(&runtime.name.as_str()) {
                    unsupported.push(format!("{name} ({text})"));
                }
                by_runtime.entry(text.clone()).or_default().push(name);
            }
            None => silent.push(name),
        }
    }
    let mut outcome = if !unsupported.is_empty() {
        let names: Vec<_> = unsupported
            .iter()
            .filter_map(|text| text.split(' ').next())
            .collect();
        bad(
            code,
            format!("neither containerd nor Docker: {}", list(&unsupported)),
        )
        .command(format!("kubectl cordon {}", names.join(" ")))
    } else if silent.iter().any(|node| gpu.contains(node)) {
        unknown(code, format!("no runtime is reported by {}", list(&silent)))
    } else if gpu.is_empty() && by_runtime.is_empty() {
        unknown(code, "no node reports a runtime")
    } else {
        let kinds: Vec<_> = by_runtime
            .iter()
            .map(|(runtime, nodes)| format!("{runtime} on {}", count(nodes.len(), "node")))
            .collect();
        pass(code, list(&kinds))
    };
    for (runtime, nodes) in &by_runtime {
        outcome = outcome.evidence(runtime.clone(), list(nodes));
    }
    outcome
}

pub(super) fn nvidia_runtime(facts: &Facts) -> Outcome {
    let code = Code::RT_002;
    if let Some(outcome) = unreadable(facts, code, &["nodes", "runtimeclasses", "daemonsets"]) {
        return outcome;
    }
    let objects = &facts.objects;
    if !has_nvidia(facts) {
        return not_applicable(code, "no node has NVIDIA devices");
    }
    let class = objects
        .runtime_classes
        .iter()
        .find(|class| class.handler.starts_with("nvidia"));
    if let Some(class) = class {
        let name = name(&class.metadata);
        return pass(code, format!("RuntimeClass {name}")).evidence("handler", class.handler.clone());
    }
    // A device plugin that is ready has seen devices, and so does any pod on that node.
    let proof = Hami::find(objects).and_then(|hami| {
        let plugin = hami.plugins.iter().find(|plugin| is_ready(plugin))?;
        Some(name(&plugin.metadata).to_owned())
    });
    if let Some(plugin) = proof {
        return pass(
            code,
            format!("no RuntimeClass, but {plugin} sees devices on all of its nodes"),
        );
    }
    absent(
        facts,
        code,
        "no RuntimeClass has the handler nvidia, and no device plugin proves that it is the default runtime",
    )
    .command("kubectl get runtimeclasses")
}

pub(super) fn found(facts: &Facts) -> Outcome {
    let code = Code::GPU_001;
    if let Some(outcome) = unreadable(facts, code, &["nodes"]) {
        return outcome;
    }
    let nodes = gpu_nodes(facts);
    if nodes.is_empty() {
        let total = count(facts.nodes.len(), "node");
        return absent(facts, code, format!("none of {total} shows a device: no extended resource, no registration, no label of Node Feature Discovery"))
            .command("kubectl get nodes -o custom-columns=NAME:.metadata.name,GPU:.status.allocatable.nvidia\\\\.com/gpu");
    }
    let without: Vec<_> = nodes.iter().filter(|node| !node.enabled).collect();
    let mut outcome = if without.is_empty() {
        let makers: BTreeSet<_> = nodes.iter().map(|node| node.vendor).collect();
        let makers: Vec<_> = makers.into_iter().collect();
        pass(
            code,
            format!(
                "{} with devices of {}",
                count(nodes.len(), "node"),
                makers.join(", ")
            ),
        )
    } else {
        let names: Vec<_> = without.iter().map(|node| node.name).collect();
        let mut outcome = bad(code, format!("devices, but no label for HAMi: {}", list(&names)));
        let mut by_label: BTreeMap<(String, String), Vec<&str>> = BTreeMap::new();
        for node in &without {
            if let Some(label) = &node.label {
                by_label.entry(label.clone()).or_default().push(node.name);
            }
        }
        for ((key, value), names) in by_label {
            outcome = outcome.command(format!(
                "kubectl label node {} {key}={value} --overwrite",
                names.join(" ")
            ));
        }
        outcome
    };
    for node in nodes.iter().take(super::NAMES) {
        outcome = outcome.evidence(node.name, format!("{}: {}", node.vendor, node.shown_by));
    }
    outcome
}

pub(super) fn driver(facts: &Facts) -> Outcome {
    let code = Code::GPU_002;
    if let Some(outcome) = unreadable(facts, code, &["nodes"]) {
        return outcome;
    }
    if !has_nvidia(facts) {
        return not_applicable(code, "no node has NVIDIA devices");
    }
    let mut versions: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    let (mut old, mut silent) = (Vec::new(), Vec::new());
    for node in nvidia_nodes(facts) {
        let name = node.name.as_str();
        let found = node
            .driver
            .clone()
            .or_else(|| managed_driver(&facts.objects, node));
        match found
            .as_deref()
            .map(|found| (found, version::at_least(found, DRIVER)))
        {
            Some((found, Some(enough))) => {
                if !enough {
                    old.push(format!("{name} ({found})"));
                }
                versions.entry(found.to_owned()).or_default().push(name);
            }
            Some((_, None)) | None => silent.push(name),
        }
    }
    let mut outcome = if !old.is_empty() {
        bad(code, format!("older than {DRIVER}: {}", list(&old)))
    } else if !silent.is_empty() {
        unknown(code, format!("no version is told of {}", list(&silent)))
    } else {
        let all: Vec<_> = versions.keys().cloned().collect();
        let mixed = if all.len() > 1 { " (mixed)" } else { "" };
        pass(code, format!("{}{mixed}", all.join(", ")))
    };
    if outcome.verdict == Verdict::Fail {
        outcome = outcome.command("kubectl get nodes -L nvidia.com/cuda.driver-version.full");
    }
    for (version, nodes) in &versions {
        outcome = outcome.evidence(version.clone(), list(nodes));
    }
    outcome
}

/// The driver that the GPU Operator installs on a node.
fn managed_driver(objects: &Objects, node: &NodeMark) -> Option<String> {
    let on_node = |selector: &Labels| node.has_all(selector);
    let running = objects.daemon_sets.iter().find_map(|set| {
        let spec = &set.spec.template.spec;
        let driver = spec
            .containers
            .iter()
            .find(|container| container.name == "nvidia-driver-ctr")?;
        on_node(&spec.node_selector).then(|| crate::platform::helm::image_version(&driver.image))?
    });
    if let Some(running) = running {
        return Some(running.to_owned());
    }
    let own = objects
        .nvidia_drivers
        .iter()
        .find(|driver| on_node(&driver.spec.node_selector));
    if let Some(version) = own.and_then(|driver| driver.spec.version.clone()) {
        return Some(version);
    }
    let policy = nvidia::policy(objects)?;
    let driver = &policy.spec.driver;
    (driver.runs() && driver.use_nvidia_driver_crd != Some(true)).then(|| driver.version.clone())?
}
