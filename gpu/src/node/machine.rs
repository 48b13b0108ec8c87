//! What a node is apart from its devices.

use std::collections::BTreeMap;

use kantaloupe_checks::Code;

use super::labels;
use crate::inventory;
use crate::object::{Condition, Node, label};
use crate::vendor::VENDORS;
use crate::{quantity, report, version};

/// Characters that are kept of a condition's message.
const MAX_MESSAGE: usize = 256;

/// All fields but those that come from devices and pods.
pub(super) fn read(node: &Node) -> inventory::Node {
    let info = &node.status.node_info;
    let text = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
    let allocatable = |name: &str| quantity::parse(node.status.allocatable.get(name)?).ok();
    let ready = condition(node, "Ready");
    let driver_version = labels::driver_version(node);
    let mut read = inventory::Node {
        name: node.metadata.name.clone().unwrap_or_default(),
        uid: node.metadata.uid.clone().unwrap_or_default(),
        ready: ready.map(|condition| condition.status == "True"),
        not_ready_reason: ready.filter(|condition| condition.status != "True").map(describe),
        schedulable: !node.spec.unschedulable,
        roles: roles(node),
        addresses: node
            .status
            .addresses
            .iter()
            .filter(|address| address.kind == "InternalIP")
            .map(|address| address.address.clone())
            .collect(),
        kubelet_version: text(&info.kubelet_version),
        os_image: text(&info.os_image),
        kernel_version: text(&info.kernel_version),
        architecture: text(&info.architecture),
        runtime: version::runtime(&info.container_runtime_version),
        driver_source: driver_version.is_some().then(|| "label".to_owned()),
        driver_version,
        instance_type: label(&node.metadata, "node.kubernetes.io/instance-type").map(str::to_owned),
        zone: label(&node.metadata, "topology.kubernetes.io/zone").map(str::to_owned),
        cpu_millis: allocatable("cpu").and_then(quantity::Quantity::millis),
        memory_mib: allocatable("memory").and_then(quantity::Quantity::mib),
        hami_enabled: VENDORS
            .iter()
            .filter_map(|vendor| vendor.label)
            .any(|(key, value)| label(&node.metadata, key) == Some(value)),
        problems: problems(&node.status.conditions),
        created_at: node.metadata.creation_timestamp.as_ref().map(|time| time.0),
        ..inventory::Node::default()
    };
    for (name, missing, code) in [
        ("ready", read.ready.is_none(), Code::K8S_007),
        ("runtime", read.runtime.is_none(), Code::RT_001),
        ("cpuMillis", read.cpu_millis.is_none(), Code::K8S_007),
        ("memoryMib", read.memory_mib.is_none(), Code::K8S_007),
        ("kubeletVersion", read.kubelet_version.is_none(), Code::K8S_007),
    ] {
        if missing {
            read.unknown.insert(name.into(), code.as_str().into());
        }
    }
    read
}

fn condition<'a>(node: &'a Node, kind: &str) -> Option<&'a Condition> {
    node.status
        .conditions
        .iter()
        .find(|condition| condition.kind == kind)
}

/// `KubeletNotReady: container runtime is down`.
fn describe(condition: &Condition) -> String {
    let reason = condition.reason.as_deref().unwrap_or(&condition.status);
    match condition.message.as_deref().map(str::trim) {
        None | Some("") => reason.to_owned(),
        Some(message) => format!("{reason}: {}", report::cut(message, MAX_MESSAGE)),
    }
}

fn roles(node: &Node) -> Vec<String> {
    let mut roles: Vec<String> = node
        .metadata
        .labels
        .iter()
        .flatten()
        .filter_map(|(key, value)| match key.as_str() {
            // Before Kubernetes 1.16.
            "kubernetes.io/role" => Some(value.clone()),
            _ => key.strip_prefix("node-role.kubernetes.io/").map(str::to_owned),
        })
        .filter(|role| !role.is_empty())
        .collect();
    roles.sort();
    roles.dedup();
    roles
}

/// Conditions that are not as they should be. All but a few say with `True` that something is wrong.
fn problems(conditions: &[Condition]) -> BTreeMap<String, String> {
    conditions
        .iter()
        .filter(|condition| condition.kind != "Ready")
        .filter(|condition| {
            let positive = ["Ready", "Healthy", "Available"]
                .iter()
                .any(|ending| condition.kind.ends_with(ending))
                && !condition.kind.ends_with("NotReady");
            condition.status != if positive { "True" } else { "False" }
        })
        .map(|condition| (condition.kind.clone(), describe(condition)))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(value: serde_json::Value) -> Node {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn all_that_a_node_says() {
        let read = read(&node(json!({
            "metadata": {
                "name": "a", "uid": "u", "creationTimestamp": "2025-01-01T00:00:00Z",
                "labels": {
                    "node-role.kubernetes.io/worker": "", "node-role.kubernetes.io/control-plane": "", "kubernetes.io/role": "worker",
                    "topology.kubernetes.io/zone": "z", "node.kubernetes.io/instance-type": "t", "ascend": "on",
                },
            },
            "spec": {"unschedulable": true},
            "status": {
                "allocatable": {"cpu": "7910m", "memory": "16Gi"},
                "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}, {"type": "Hostname", "address": "a"}, {"type": "InternalIP", "address": "fd00::1"}],
                "nodeInfo": {"containerRuntimeVersion": "docker://20.10.17", "kubeletVersion": "v1.31.7", "osImage": "Ubuntu", "kernelVersion": "5.15", "architecture": "arm64"},
                "conditions": [
                    {"type": "Ready", "status": "False", "reason": "KubeletNotReady", "message": "runtime is down"},
                    {"type": "MemoryPressure", "status": "False"},
                    {"type": "DiskPressure", "status": "True", "reason": "KubeletHasDiskPressure"},
                    {"type": "NetworkUnavailable", "status": "Unknown"},
                    {"type": "NvidiaDriverReady", "status": "True"},
                    {"type": "StorageHealthy", "status": "False", "reason": "Bad"},
                ],
            },
        })));
        assert_eq!(read.ready, Some(false));
        assert_eq!(
            read.not_ready_reason.as_deref(),
            Some("KubeletNotReady: runtime is down")
        );
        assert!(!read.schedulable && read.hami_enabled);
        assert_eq!(read.roles, ["control-plane", "worker"]);
        assert_eq!(read.addresses, ["10.0.0.1", "fd00::1"]);
        assert_eq!((read.cpu_millis, read.memory_mib), (Some(7910), Some(16384)));
        assert_eq!(
            (read.zone.as_deref(), read.instance_type.as_deref()),
            (Some("z"), Some("t"))
        );
        assert_eq!(
            read.runtime.map(|runtime| runtime.name).as_deref(),
            Some("docker")
        );
        let problems: Vec<_> = read
            .problems
            .iter()
            .map(|(kind, why)| format!("{kind}={why}"))
            .collect();
        assert_eq!(
            problems,
            [
                "DiskPressure=KubeletHasDiskPressure",
                "NetworkUnavailable=Unknown",
                "StorageHealthy=Bad"
            ]
        );
        assert!(read.unknown.is_empty());
        assert_eq!(read.created_at, Some("2025-01-01T00:00:00Z".parse().unwrap()));
    }

    #[test]
    fn what_an_empty_node_leaves_unknown() {
        let read = read(&node(json!({"status": {"allocatable": {"cpu": "many"}}})));
        assert_eq!((read.ready, read.cpu_millis, read.runtime), (None, None, None));
        let unknown: Vec<_> = read
            .unknown
            .iter()
            .map(|(name, code)| format!("{name}={code}"))
            .collect();
        assert_eq!(
            unknown,
            [
                "cpuMillis=KTA-K8S-007",
                "kubeletVersion=KTA-K8S-007",
                "memoryMib=KTA-K8S-007",
                "ready=KTA-K8S-007",
                "runtime=KTA-RT-001"
            ]
        );
        assert!(read.schedulable && !read.hami_enabled);
    }
}
