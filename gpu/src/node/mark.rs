//! What the checks of the platform look at of a node: little enough to be kept for every node of a large cluster.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    inventory::{self, Gpu},
    object::{Labels, Node, label},
    vendor::{self, VENDORS, Vendor},
};

/// Labels by which Node Feature Discovery and the GPU Operator say that a node has NVIDIA's devices.
const NVIDIA_LABELS: [&str; 4] = [
    "nvidia.com/gpu.present",
    "feature.node.kubernetes.io/pci-10de.present",
    "feature.node.kubernetes.io/pci-0302_10de.present",
    "feature.node.kubernetes.io/pci-0300_10de.present",
];

/// A node as the checks see it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeMark {
    /// `metadata.name`.
    pub name: String,
    /// Its condition `Ready` is `True`.
    pub ready: bool,
    /// `spec.unschedulable`.
    pub cordoned: bool,
    /// `status.nodeInfo.containerRuntimeVersion`, as written.
    pub runtime: String,
    /// `metadata.labels`, or those of them that matter to whoever asked.
    pub labels: Labels,
    /// Makers of devices, each with the resource, annotation or label that shows them first.
    pub shows: BTreeMap<String, String>,
    /// The version of the driver that the node tells.
    pub driver: Option<String>,
    /// Number of its devices.
    pub devices: u32,
    /// [`Gpu::id`] of the devices that say they do not work.
    pub sick: Vec<String>,
}

impl NodeMark {
    pub(super) fn of(node: &Node, machine: &inventory::Node, gpus: &[Gpu]) -> Self {
        let mut shows = BTreeMap::new();
        for (vendor, by) in shown(node) {
            shows.entry(vendor.name.to_owned()).or_insert(by);
        }
        let sick = gpus.iter().filter(|gpu| gpu.healthy == Some(false));
        Self {
            name: machine.name.clone(),
            ready: machine.ready == Some(true),
            cordoned: node.spec.unschedulable,
            runtime: node.status.node_info.container_runtime_version.clone(),
            labels: node.metadata.labels.clone().unwrap_or_default(),
            shows,
            driver: machine.driver_version.clone(),
            devices: machine.gpus,
            sick: sick.map(|gpu| gpu.id.clone()).collect(),
        }
    }

    /// Whether it has a label with this value.
    pub fn is_labelled(&self, key: &str, value: &str) -> bool {
        self.labels.get(key).is_some_and(|has| has == value)
    }

    /// Whether it has all of these labels.
    pub fn has_all(&self, labels: &Labels) -> bool {
        labels.iter().all(|(key, value)| self.is_labelled(key, value))
    }
}

/// Vendors whose devices a node shows, and by what.
fn shown(node: &Node) -> Vec<(&'static Vendor, String)> {
    let mut found: Vec<(&'static Vendor, String)> = Vec::new();
    let resources = node.status.capacity.iter().chain(&node.status.allocatable);
    for (resource, amount) in resources {
        if amount == "0" {
            continue;
        }
        let owner = VENDORS.iter().find(|vendor| {
            let counts = std::iter::once(&vendor.resources.count).chain(vendor.resources.count_aliases);
            counts
                .into_iter()
                .any(|count| vendor.matches(count, resource).is_some())
        });
        if let Some(vendor) = owner {
            found.push((vendor, resource.clone()));
        }
    }
    for key in node.metadata.annotations.iter().flatten().map(|(key, _)| key) {
        if let Some((found_vendor, _)) = vendor::by_register(key) {
            found.push((found_vendor.vendor, key.clone()));
        }
    }
    let by_label = NVIDIA_LABELS
        .into_iter()
        .find(|key| label(&node.metadata, key) == Some("true"));
    if let (Some(by_label), Some(nvidia)) = (by_label, vendor::by_name("nvidia")) {
        found.push((nvidia, by_label.to_owned()));
    }
    found
}
