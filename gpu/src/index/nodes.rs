//! Nodes and their devices.

use jiff::Timestamp;

use super::{
    Id, Index, Watched,
    cluster::NodeTotals,
    pack::{self, Packed},
    strings::{Live, Strings, Sym},
};
use crate::{
    findings,
    inventory::{Finding, Gpu, GpuSource, Kind, Node, Used},
    node::{NodeFacts, NodeMark},
};

/// What is known of a node, or only by pods that name it.
#[derive(Debug, Default)]
pub(super) struct NodeEntry {
    generation: u8,
    /// The node itself; `None` if only pods or devices name it.
    pub(super) node: Option<Packed>,
    /// Devices that the node's object tells.
    own: Option<Packed>,
    /// Devices that other sources tell, by source.
    pub(super) other: Vec<(Id, Packed)>,
    /// What is wrong by itself.
    findings: Option<Packed>,
    /// What the checks look at.
    mark: Option<Packed>,
    /// All devices, and what is held of each.
    pub(super) gpus: Box<[GpuRow]>,
    /// Vendors whose devices are registered for sharing, so that what runs here without a record went past the scheduler.
    pub(super) shared_by: Box<[Sym]>,
    /// Devices are registered, but not all of it can be read: one that is not found may still be there.
    pub(super) unreadable: Option<Sym>,
    /// Pods on it that have not ended.
    pub(super) pods: u32,
    /// Slots of the pods whose records name it.
    pub(super) askers: Vec<u32>,
    /// Findings that are out.
    out: Box<[Id]>,
    /// What it adds to the cluster's totals.
    pub(super) totals: NodeTotals,
}

/// One device.
#[derive(Debug, Clone)]
pub(super) struct GpuRow {
    /// Of its own identifier.
    pub(super) uuid: Id,
    /// No other device in the world should have it.
    unique: bool,
    pub(super) used: Used,
}

impl NodeEntry {
    pub(super) fn mark(&self, live: &mut Live) {
        let packed = [&self.node, &self.own, &self.findings, &self.mark];
        packed.into_iter().flatten().for_each(|packed| packed.mark(live));
        self.other.iter().for_each(|(_, packed)| packed.mark(live));
        self.shared_by
            .iter()
            .chain(&self.unreadable)
            .for_each(|sym| live.mark(*sym));
        self.totals.mark(live);
    }

    /// All devices, without what is held of them, in the order of `gpus`.
    pub(super) fn merged(&self, strings: &Strings) -> Vec<Gpu> {
        let own: Vec<Gpu> = self.own.as_ref().map(|own| own.get(strings)).unwrap_or_default();
        let other = self
            .other
            .iter()
            .flat_map(|(_, packed)| packed.get::<Vec<Gpu>>(strings));
        merge(own, other)
    }

    fn is_unused(&self) -> bool {
        self.node.is_none()
            && self.pods == 0
            && self.askers.is_empty()
            && self.other.is_empty()
            && self.own.is_none()
    }
}

/// One list of a node's devices out of several. A device that two sources tell is one; what only one of them knows is kept. Devices
/// without identifiers of their own (made of labels or capacity) give way to those of the same vendor that have them.
fn merge(own: Vec<Gpu>, other: impl Iterator<Item = Gpu>) -> Vec<Gpu> {
    let other: Vec<Gpu> = other.collect();
    let anonymous = |gpu: &Gpu| matches!(gpu.source, Some(GpuSource::Labels | GpuSource::Capacity));
    let own = own
        .into_iter()
        .filter(|gpu| !anonymous(gpu) || !other.iter().any(|named| named.vendor == gpu.vendor));
    let mut merged: Vec<Gpu> = Vec::new();
    for gpu in own.collect::<Vec<_>>().into_iter().chain(other.iter().cloned()) {
        match merged.iter_mut().find(|known| known.uuid == gpu.uuid) {
            None => merged.push(gpu),
            Some(known) => {
                known.physical_memory_mib = known.physical_memory_mib.or(gpu.physical_memory_mib);
                known.driver_version = known.driver_version.take().or(gpu.driver_version);
                known.model = known.model.take().or(gpu.model);
                known.index = known.index.or(gpu.index);
                known.numa = known.numa.or(gpu.numa);
            }
        }
    }
    merged
}

impl Index {
    pub(super) fn put_node(&mut self, facts: &NodeFacts) {
        let generation = self.generation(Watched::Nodes);
        let name = self.strings.intern(&facts.node.name);
        let strings = &mut self.strings;
        let unreadable = facts.node.unknown.get("gpus").map(|code| strings.intern(code));
        let node = Some(Packed::new(&facts.node, strings));
        let own = (!facts.gpus.is_empty()).then(|| Packed::new(&facts.gpus, strings));
        let findings = (!facts.findings.is_empty()).then(|| Packed::new(&facts.findings, strings));
        let mark = Some(Packed::new(&facts.mark, strings));
        let entry = self.nodes.entry(name).or_default();
        entry.generation = generation;
        entry.mark = mark;
        if (&entry.node, &entry.own, &entry.findings) == (&node, &own, &findings) {
            return;
        }
        entry.findings = findings;
        let devices = entry.node.is_none() || entry.own != own || entry.unreadable != unreadable;
        entry.node = node;
        self.dirty.nodes.insert(name);
        if devices {
            self.change_devices(name, |entry| {
                entry.own = own;
                entry.unreadable = unreadable;
            });
        }
    }

    pub(super) fn remove_node(&mut self, name: &str) {
        if let Some(sym) = self.strings.find(name) {
            self.drop_node(sym);
        }
    }

    pub(super) fn sweep_nodes(&mut self, generation: u8) {
        let gone = self.nodes.iter();
        let gone = gone.filter(|(_, entry)| entry.node.is_some() && entry.generation != generation);
        for name in gone.map(|(name, _)| *name).collect::<Vec<_>>() {
            self.drop_node(name);
        }
    }

    fn drop_node(&mut self, name: Sym) {
        let Some(entry) = self.nodes.get_mut(&name) else {
            return;
        };
        if entry.node.take().is_none() {
            return;
        }
        entry.findings = None;
        entry.mark = None;
        let id = self.strings.get(name).to_owned();
        self.remove_record(Kind::Node, &id);
        self.change_devices(name, |entry| {
            entry.own = None;
            entry.unreadable = None;
        });
    }

    /// Changes a node's devices; whoever names them is to be looked at again.
    pub(super) fn change_devices(&mut self, name: Sym, change: impl FnOnce(&mut NodeEntry)) {
        let entry = self.nodes.entry(name).or_default();
        let before = entry.merged(&self.strings);
        change(entry);
        let merged = entry.merged(&self.strings);
        let rows = merged.iter().map(|gpu| {
            let uuid = Id::of(&gpu.uuid);
            let used = entry.gpus.iter().find(|row| row.uuid == uuid);
            GpuRow {
                uuid,
                unique: pack::is_uuid(&gpu.uuid),
                used: used.map(|row| row.used.clone()).unwrap_or_default(),
            }
        });
        entry.gpus = rows.collect();
        let mut shared: Vec<Sym> = Vec::new();
        for gpu in &merged {
            let registered = matches!(gpu.source, Some(GpuSource::Annotation | GpuSource::Volcano));
            let vendor = self.strings.intern(&gpu.vendor);
            if registered && !gpu.stale && !shared.contains(&vendor) {
                shared.push(vendor);
            }
        }
        entry.shared_by = shared.into();
        self.dirty.pods.extend(&entry.askers);
        self.dirty.nodes.insert(name);
        self.dirty.devices = true;
        for gone in before {
            if !merged.iter().any(|gpu| gpu.id == gone.id) {
                self.remove_record(Kind::Gpu, &gone.id);
            }
        }
    }

    /// Settles a node that was looked at, its devices, and what is wrong with them.
    pub(super) fn settle_node(&mut self, name: Sym, now: Timestamp) {
        let Some(mut entry) = self.nodes.remove(&name) else {
            return;
        };
        let mut gpus = entry.merged(&self.strings);
        let used = self.used(&entry, &gpus, name, now);
        for (row, used) in entry.gpus.iter_mut().zip(used) {
            row.used = used;
        }
        let mut found: Vec<Finding> = match &entry.findings {
            Some(findings) => findings.get(&self.strings),
            None => Vec::new(),
        };
        for (gpu, row) in gpus.iter_mut().zip(&entry.gpus) {
            gpu.used = row.used.clone();
            found.extend(findings::oversubscribed(gpu));
            if let Some(nodes) = self.duplicates.get(&row.uuid) {
                let nodes = nodes.iter().map(|node| self.strings.get(*node));
                found.extend(findings::duplicate(gpu, nodes.collect()));
            }
            self.put_record(Kind::Gpu, &gpu.id, name.raw(), gpu);
        }
        let node = entry.render(&self.strings, &gpus);
        if let Some(node) = &node {
            self.put_record(Kind::Node, &node.name, name.raw(), node);
        }
        entry.out = self.put_findings(&std::mem::take(&mut entry.out), found);
        let totals = NodeTotals::of(node.as_ref(), &gpus, &mut self.strings);
        self.cluster.replace_node(&mut entry.totals, totals);
        self.dirty.cluster = true;
        if !entry.is_unused() {
            self.nodes.insert(name, entry);
        }
    }

    /// Finds the devices that several nodes register. Identifiers that are not unique in the world say nothing.
    pub(super) fn find_duplicates(&mut self) {
        let mut seen: std::collections::HashMap<Id, Sym> = std::collections::HashMap::new();
        let mut duplicates: std::collections::HashMap<Id, Vec<Sym>> = std::collections::HashMap::new();
        let mut names: Vec<Sym> = self.nodes.keys().copied().collect();
        names.sort_unstable_by(|a, b| self.strings.get(*a).cmp(self.strings.get(*b)));
        for name in names {
            for row in self.nodes[&name].gpus.iter().filter(|row| row.unique) {
                if let Some(first) = seen.insert(row.uuid, name) {
                    let nodes = duplicates.entry(row.uuid).or_insert_with(|| vec![first]);
                    nodes.push(name);
                }
            }
        }
        let before = std::mem::take(&mut self.duplicates);
        for (uuid, nodes) in before.iter().chain(&duplicates) {
            if before.get(uuid) != duplicates.get(uuid) {
                self.dirty.nodes.extend(nodes);
            }
        }
        self.duplicates = duplicates;
    }

    /// All nodes as the checks see them, by name, with the labels whose keys are wanted.
    pub fn marks(&self, wanted: impl Fn(&str) -> bool) -> Vec<NodeMark> {
        let packed = self.nodes.values().filter_map(|entry| entry.mark.as_ref());
        let mut marks: Vec<NodeMark> = packed
            .map(|packed| {
                let mut mark: NodeMark = packed.get(&self.strings);
                mark.labels.retain(|key, _| wanted(key));
                mark
            })
            .collect();
        marks.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        marks
    }

    /// The entry of a node that a pod or a source of devices names.
    pub(super) fn node_entry(&mut self, name: Sym) -> &mut NodeEntry {
        self.nodes.entry(name).or_default()
    }
}

impl NodeEntry {
    /// The record of the node.
    pub(super) fn render(&self, strings: &Strings, gpus: &[Gpu]) -> Option<Node> {
        let mut node: Node = self.node.as_ref()?.get(strings);
        node.pods = self.pods;
        node.gpus = u32::try_from(gpus.len()).unwrap_or(u32::MAX);
        node.vendors.clear();
        for gpu in gpus {
            if !node.vendors.contains(&gpu.vendor) {
                node.vendors.push(gpu.vendor.clone());
            }
        }
        node.vendors.sort_unstable();
        Some(node)
    }
}
