//! Devices that other sources than nodes' objects tell, such as pools of ResourceSlices.

use std::collections::BTreeMap;

use super::{
    Id, Index,
    pack::Packed,
    strings::{Live, Sym},
};
use crate::inventory::{Finding, Gpu};

/// Which nodes a source names, and its findings that are out.
#[derive(Debug, Default)]
pub(super) struct DeviceSource {
    nodes: Vec<Sym>,
    out: Box<[Id]>,
}

impl DeviceSource {
    pub(super) fn mark(&self, live: &mut Live) {
        self.nodes.iter().for_each(|node| live.mark(*node));
    }
}

impl Index {
    pub(super) fn put_devices(&mut self, source: &str, gpus: Vec<Gpu>, found: Vec<Finding>) {
        let id = Id::of(source);
        let before = self.devices.remove(&id).unwrap_or_default();
        let mut by_node: BTreeMap<Sym, Vec<Gpu>> = BTreeMap::new();
        for gpu in gpus {
            let node = self.strings.intern(&gpu.node);
            by_node.entry(node).or_default().push(gpu);
        }
        for node in before.nodes.iter().filter(|node| !by_node.contains_key(node)) {
            self.change_devices(*node, |entry| entry.other.retain(|(other, _)| *other != id));
        }
        let nodes: Vec<Sym> = by_node.keys().copied().collect();
        for (node, gpus) in by_node {
            let packed = Packed::new(&gpus, &mut self.strings);
            let same = self.nodes.get(&node);
            if same.is_some_and(|entry| entry.other.iter().any(|known| *known == (id, packed.clone()))) {
                continue;
            }
            self.change_devices(node, |entry| {
                entry.other.retain(|(other, _)| *other != id);
                entry.other.push((id, packed));
                // The order must not depend on which came first.
                entry.other.sort_unstable_by_key(|(id, _)| *id);
            });
        }
        let out = self.put_findings(&before.out, found);
        if !nodes.is_empty() || !out.is_empty() {
            self.devices.insert(id, DeviceSource { nodes, out });
        }
    }
}
