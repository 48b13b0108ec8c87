//! Which device a series is about: by its identifier, or by node and position where the exporter knows no identifier that is
//! registered.

#[cfg(test)]
mod tests;

use std::collections::HashMap;

use super::{Sample, labels, names::Exporter};
use crate::inventory::{Gpu, Mode, Node};

/// Prefixes with which Hygon's cards are registered; their exporter leaves them out.
const HYGON_PREFIXES: [&str; 2] = ["DCU-", "HCU-"];

/// The devices of a cluster, as far as joining needs them.
#[derive(Debug, Default)]
pub struct Devices {
    all: Vec<Device>,
    /// Identifiers are compared without case: some vendors' tools print them in capitals. Several devices share one where
    /// the vendor counts anew on each node.
    by_uuid: HashMap<Box<str>, Vec<u32>>,
    by_place: HashMap<(u32, u32), Vec<u32>>,
    nodes: HashMap<Box<str>, u32>,
    addresses: HashMap<Box<str>, u32>,
}

/// One device.
#[derive(Debug)]
pub(super) struct Device {
    pub(super) id: Box<str>,
    pub(super) uuid: Box<str>,
    pub(super) vendor: Box<str>,
    pub(super) mig: bool,
    /// Compute slices that MIG cuts the model into.
    pub(super) slices: u32,
    /// Containers that may share it; with Neuron its cores.
    pub(super) slots: Option<u32>,
    node: u32,
}

impl Devices {
    /// For the devices of an inventory. Nodes help where an exporter tells its address only.
    pub fn new<'a>(
        gpus: impl IntoIterator<Item = &'a Gpu>,
        nodes: impl IntoIterator<Item = &'a Node>,
    ) -> Self {
        let mut devices = Self::default();
        for gpu in gpus {
            devices.add(gpu);
        }
        for node in nodes {
            devices.add_node(node);
        }
        devices
    }

    /// Adds a node. Nodes without devices matter too: a label that names one of them names no other.
    pub fn add_node(&mut self, node: &Node) {
        let number = self.node(&node.name);
        for address in &node.addresses {
            self.addresses.insert(address.as_str().into(), number);
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(super) fn list(&self) -> std::slice::Iter<'_, Device> {
        self.all.iter()
    }

    pub(super) fn get(&self, number: u32) -> &Device {
        &self.all[number as usize]
    }

    fn node(&mut self, name: &str) -> u32 {
        if let Some(number) = self.nodes.get(name) {
            return *number;
        }
        let number = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
        self.nodes.insert(name.into(), number);
        number
    }

    /// Adds a device.
    pub fn add(&mut self, gpu: &Gpu) {
        let Ok(number) = u32::try_from(self.all.len()) else {
            return;
        };
        let node = self.node(&gpu.node);
        let uuid = gpu.uuid.to_ascii_lowercase();
        self.by_uuid.entry(uuid.into()).or_default().push(number);
        if let Some(index) = gpu.index {
            self.by_place.entry((node, index)).or_default().push(number);
        }
        self.all.push(Device {
            id: gpu.id.as_str().into(),
            uuid: gpu.uuid.as_str().into(),
            vendor: gpu.vendor.as_str().into(),
            mig: gpu.mode == Some(Mode::Mig),
            // All models with MIG have 7 slices but the A30.
            slices: match &gpu.model {
                Some(model) if model.split([' ', '-']).any(|word| word == "A30") => 4,
                _ => 7,
            },
            slots: gpu.capacity.slots,
            node,
        });
    }

    /// The device that a sample is about.
    pub(super) fn find(&self, sample: &Sample<'_>, exporter: Exporter) -> Option<u32> {
        let place = self.place(sample);
        let uuid = sample.first(exporter.uuid());
        if let Some(uuid) = uuid {
            let uuid = without_suffix(uuid).to_ascii_lowercase();
            if let Some(found) = self.by_identifier(&uuid, &place, exporter) {
                return Some(found);
            }
            // NVIDIA's identifiers are the same everywhere: one that is not registered is another card.
            if uuid.starts_with("gpu-") || uuid.starts_with("mig-") {
                return None;
            }
        }
        self.by_position(sample, &place, exporter)
    }

    /// Numbers of the nodes that labels name, or else the one whose address was scraped.
    fn place(&self, sample: &Sample<'_>) -> Vec<u32> {
        let named = labels::NODE.iter().filter_map(|label| sample.label(label));
        let mut place: Vec<u32> = named.filter_map(|name| self.nodes.get(name)).copied().collect();
        if place.is_empty()
            && let Some(instance) = sample.label(labels::INSTANCE)
        {
            let host = instance.rsplit_once(':').map_or(instance, |(host, _)| host);
            let host = host.trim_matches(['[', ']']);
            let node = self.addresses.get(host).or_else(|| self.nodes.get(host));
            place.extend(node);
        }
        place
    }

    fn by_identifier(&self, uuid: &str, place: &[u32], exporter: Exporter) -> Option<u32> {
        let mut found = self.by_uuid.get(uuid);
        if found.is_none() && exporter.vendor() == Some("hygon") {
            let mut names = HYGON_PREFIXES
                .iter()
                .map(|prefix| format!("{prefix}{uuid}").to_ascii_lowercase());
            found = names.find_map(|name| self.by_uuid.get(&*name));
        }
        let found = found?;
        let on_node = |number: &&u32| place.contains(&self.get(**number).node);
        match (found.as_slice(), place) {
            ([only], []) => Some(*only),
            _ => found.iter().find(on_node).copied(),
        }
    }

    fn by_position(&self, sample: &Sample<'_>, place: &[u32], exporter: Exporter) -> Option<u32> {
        let mut index: u32 = sample.first(exporter.index())?.parse().ok()?;
        let of_vendor = |number: &u32| {
            exporter
                .vendor()
                .is_none_or(|vendor| *self.get(*number).vendor == *vendor)
        };
        for node in place {
            if exporter == Exporter::Neuron {
                // The position is a core's, and each device has the same number of them.
                let first = self
                    .by_place
                    .get(&(*node, 0))
                    .into_iter()
                    .flatten()
                    .find(|number| of_vendor(number));
                index /= first
                    .and_then(|number| self.get(*number).slots)
                    .filter(|slots| *slots > 0)?;
            }
            let mut there = self
                .by_place
                .get(&(*node, index))
                .into_iter()
                .flatten()
                .filter(|number| of_vendor(number));
            // Two vendors on one node count for themselves: then the position alone says nothing.
            if let (Some(only), None) = (there.next(), there.next()) {
                return Some(*only);
            }
        }
        None
    }
}

/// HAMi up to 2.9 appends the position of the MIG instance: `GPU-...[1-0]`.
fn without_suffix(uuid: &str) -> &str {
    uuid.split('[').next().unwrap_or(uuid)
}
