//! The index: what the cluster's objects amount to, and what changed since a revision.
//!
//! ```text
//! Change ──apply──> inputs (nodes, pods, owners, slices, usage, ...), packed
//!                     │ dirty
//!                   settle: cross-checks, sums, workloads, totals
//!                     │ hash of each record
//!                   journal: revision per record ──changes──> Batch, rendered from the inputs
//! ```
//!
//! A state machine without I/O: changes go in, records come out. Every record has the revision of its last real change; what says the
//! same again gets none. Only inputs are kept, in few bytes; a record is made when it is read. A subscriber that is slow sees the last
//! state of each record and not what was in between.

mod cluster;
mod gather;
mod journal;
mod nodes;
mod owners;
mod pack;
mod pods;
mod read;
mod resolve;
mod strings;
#[cfg(test)]
mod tests;
mod usage;
mod workloads;

use std::{
    collections::{BTreeSet, HashMap, HashSet, hash_map::DefaultHasher},
    hash::Hasher,
};

use jiff::Timestamp;

pub use read::{Batch, Cursor};

use self::{
    cluster::ClusterState,
    journal::{Journal, Key},
    nodes::NodeEntry,
    owners::Owners,
    pack::Packed,
    pods::{Asker, PodRef},
    strings::{Strings, Sym},
    workloads::WorkloadEntry,
};
use crate::{
    inventory::{Allocation, Component, ContainerUsage, Finding, FindingLevel, Gpu, GpuUsage, Kind, Source},
    node::NodeFacts,
    object::{ObjectMeta, OwnerReference, Pod},
};

/// Removals that are remembered. A gateway that was away for longer than it takes to remove so many records gets a snapshot.
const TOMBSTONES: usize = 16_384;
/// Strings that nothing names any more are looked for when there are twice as many as were left last time, and so many more.
const STRINGS_SLACK: usize = 8_192;

/// 128 bits of a hash of a record's or object's id: what tables are keyed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Id(u64, u64);

impl Id {
    fn of(text: &str) -> Self {
        let half = |salt: u8| {
            // Of fixed keys, so that equal ids are equal wherever they are made.
            let mut hasher = DefaultHasher::new();
            hasher.write_u8(salt);
            hasher.write(text.as_bytes());
            hasher.finish()
        };
        Self(half(0), half(1))
    }
}

/// Objects that are listed and watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Watched {
    Nodes,
    Pods,
    ReplicaSets,
    Deployments,
    StatefulSets,
    Jobs,
    ResourceSlices,
    ResourceClaims,
}

impl Watched {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Nodes,
        Self::Pods,
        Self::ReplicaSets,
        Self::Deployments,
        Self::StatefulSets,
        Self::Jobs,
        Self::ResourceSlices,
        Self::ResourceClaims,
    ];

    /// As in the API's paths.
    pub const fn plural(self) -> &'static str {
        match self {
            Self::Nodes => "nodes",
            Self::Pods => "pods",
            Self::ReplicaSets => "replicasets",
            Self::Deployments => "deployments",
            Self::StatefulSets => "statefulsets",
            Self::Jobs => "jobs",
            Self::ResourceSlices => "resourceslices",
            Self::ResourceClaims => "resourceclaims",
        }
    }
}

/// A pod, and what it and its claims, if it has any, tell.
#[derive(Debug, Clone, Default)]
pub struct PodSeen {
    /// `metadata.uid`, or what stands for it.
    pub uid: String,
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `spec.nodeName`.
    pub node: Option<String>,
    /// `status.phase`.
    pub phase: Option<String>,
    /// The controller among `metadata.ownerReferences`.
    pub controller: Option<OwnerReference>,
    /// What it holds of devices or waits for. None if it asks for no device.
    pub allocations: Vec<Allocation>,
    /// What is wrong with it by itself.
    pub findings: Vec<Finding>,
}

impl PodSeen {
    /// Of a pod, without what it holds.
    pub fn of(pod: &Pod) -> Self {
        let meta = &pod.metadata;
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        Self {
            uid: text(&meta.uid),
            namespace: text(&meta.namespace),
            name: text(&meta.name),
            node: pod.spec.node_name.clone(),
            phase: pod.status.phase.clone(),
            controller: owners::controller(meta).cloned(),
            ..Self::default()
        }
    }
}

/// One step of what is known.
#[derive(Debug, Clone)]
pub enum Change {
    /// A node was seen.
    Node(Box<NodeFacts>),
    /// A node went, by name.
    NodeGone(String),
    /// A pod was seen.
    Pod(Box<PodSeen>),
    /// A pod went, by UID.
    PodGone(String),
    /// A ReplicaSet, Deployment, StatefulSet or Job was seen.
    Owner(Watched, Box<ObjectMeta>),
    /// One went, by UID.
    OwnerGone(String),
    /// Devices that a source other than nodes' objects tells, such as a pool of ResourceSlices: name of that source, devices, findings.
    /// None means that it went.
    Devices(String, Vec<Gpu>, Vec<Finding>),
    /// A list begins: what it does not name before [`Change::Synced`] is gone.
    Restart(Watched),
    /// A list is complete.
    Synced(Watched),
    /// The state of a source.
    Source(Source),
    /// All components that were found.
    Components(Vec<Component>),
    /// All results of checks.
    Checks(Vec<kantaloupe_checks::Outcome>),
    /// All live use that is known.
    Usage {
        /// Of devices.
        gpus: Vec<GpuUsage>,
        /// Of containers.
        containers: Vec<ContainerUsage>,
    },
    /// The API server's version, and whose distribution it is. What is `None` stays as it was.
    Platform {
        /// `gitVersion`.
        version: Option<String>,
        /// Such as `k3s`.
        distribution: Option<String>,
    },
}

/// A finding that is there.
#[derive(Debug)]
struct FindingEntry {
    packed: Packed,
    level: FindingLevel,
}

/// What is to be looked at again before anything is read.
#[derive(Debug, Default)]
struct Dirty {
    /// Slots of askers.
    pods: HashSet<u32>,
    nodes: HashSet<Sym>,
    workloads: HashSet<Id>,
    /// A chain of owners that askers are at the end of changed.
    owners: bool,
    /// Devices came or went.
    devices: bool,
    cluster: bool,
}

/// Lists in progress and done.
#[derive(Debug, Default, Clone, Copy)]
struct Sync {
    /// Objects of an earlier list have another number.
    generation: u8,
    listing: bool,
    synced: bool,
}

/// What the cluster's objects amount to.
#[derive(Debug)]
pub struct Index {
    strings: Strings,
    /// Strings that were named when it was last looked.
    strings_live: usize,
    journal: Journal,
    nodes: HashMap<Sym, Box<NodeEntry>>,
    pods: HashMap<Id, PodRef>,
    /// Pods that ask for devices.
    askers: Vec<Option<Box<Asker>>>,
    free_askers: Vec<u32>,
    /// When a pod has to be looked at again: second, slot.
    deadlines: BTreeSet<(i64, u32)>,
    owners: Owners,
    workloads: HashMap<Id, Box<WorkloadEntry>>,
    findings: HashMap<Id, FindingEntry>,
    /// Devices that are registered by more than one node.
    duplicates: HashMap<Id, Vec<Sym>>,
    /// [`Change::Devices`]: the nodes that each source names.
    devices: HashMap<Id, gather::DeviceSource>,
    /// Records that come whole: usage and checks.
    whole: HashMap<Key, Packed>,
    cluster: ClusterState,
    syncs: [Sync; Watched::ALL.len()],
    dirty: Dirty,
}

impl Default for Index {
    fn default() -> Self {
        Self {
            strings: Strings::default(),
            strings_live: 0,
            journal: Journal::new(TOMBSTONES),
            nodes: HashMap::new(),
            pods: HashMap::new(),
            askers: Vec::new(),
            free_askers: Vec::new(),
            deadlines: BTreeSet::new(),
            owners: Owners::default(),
            workloads: HashMap::new(),
            findings: HashMap::new(),
            duplicates: HashMap::new(),
            devices: HashMap::new(),
            whole: HashMap::new(),
            cluster: ClusterState::default(),
            syncs: [Sync::default(); Watched::ALL.len()],
            dirty: Dirty {
                cluster: true,
                ..Dirty::default()
            },
        }
    }
}

impl Index {
    /// Takes in a change. Nothing of it can be read before the next [`Index::changes`].
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::Node(facts) => self.put_node(&facts),
            Change::NodeGone(name) => self.remove_node(&name),
            Change::Pod(facts) => self.put_pod(&facts),
            Change::PodGone(uid) => self.remove_pod(Id::of(&uid)),
            Change::Owner(kind, meta) => self.put_owner(kind, &meta),
            Change::OwnerGone(uid) => self.owners.remove(Id::of(&uid)),
            Change::Devices(source, gpus, findings) => self.put_devices(&source, gpus, findings),
            Change::Restart(kind) => {
                let sync = self.sync_mut(kind);
                sync.generation = sync.generation.wrapping_add(1);
                sync.listing = true;
            }
            Change::Synced(kind) => self.synced(kind),
            Change::Source(source) => self.put_source(source),
            Change::Components(components) => self.put_components(components),
            Change::Checks(outcomes) => self.put_checks(&outcomes),
            Change::Usage { gpus, containers } => self.put_usage(&gpus, &containers),
            Change::Platform {
                version,
                distribution,
            } => self.put_platform(version, distribution),
        }
    }

    /// Drops what nothing needs; whether records may have changed only because time went by. To be called about once a second.
    pub fn tick(&mut self, now: Timestamp) -> bool {
        if self.strings.len() > 2 * self.strings_live + STRINGS_SLACK {
            self.collect_strings();
        }
        self.deadlines
            .first()
            .is_some_and(|(second, _)| *second <= now.as_second())
    }

    /// Number of records.
    pub fn len(&self) -> usize {
        self.journal.len()
    }

    /// Whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The last revision that was given to a change.
    pub fn revision(&self) -> u64 {
        self.journal.revision()
    }

    /// Whether a list of this kind was ever complete.
    pub fn is_synced(&self, kind: Watched) -> bool {
        self.syncs[kind as usize].synced
    }

    fn sync_mut(&mut self, kind: Watched) -> &mut Sync {
        &mut self.syncs[kind as usize]
    }

    fn generation(&self, kind: Watched) -> u8 {
        self.syncs[kind as usize].generation
    }

    /// Ends a list: what it did not name is gone.
    fn synced(&mut self, kind: Watched) {
        let sync = self.sync_mut(kind);
        let first = !sync.synced;
        let generation = sync.generation;
        let listed = std::mem::take(&mut sync.listing);
        sync.synced = true;
        if listed {
            match kind {
                Watched::Nodes => self.sweep_nodes(generation),
                Watched::Pods => self.sweep_pods(generation),
                Watched::ResourceSlices | Watched::ResourceClaims => {}
                kind => self.owners.sweep(kind, generation),
            }
        }
        if first && kind == Watched::Nodes {
            // From now on a node that is not there is gone.
            let slots = self.askers.iter().zip(0..);
            let slots = slots.filter_map(|(asker, slot)| asker.is_some().then_some(slot));
            self.dirty.pods.extend(slots);
        }
    }

    /// Brings records up to date with the inputs.
    fn settle(&mut self, now: Timestamp) {
        while let Some(&(second, slot)) = self.deadlines.first()
            && second <= now.as_second()
        {
            self.deadlines.pop_first();
            self.dirty.pods.insert(slot);
        }
        if std::mem::take(&mut self.dirty.owners) {
            self.resolve_owners();
        }
        if std::mem::take(&mut self.dirty.devices) {
            self.find_duplicates();
        }
        for slot in std::mem::take(&mut self.dirty.pods) {
            self.settle_pod(slot, now);
        }
        // In the order of their names, in which those who keep records have them as well.
        let mut nodes: Vec<Sym> = self.dirty.nodes.drain().collect();
        nodes.sort_unstable_by(|a, b| self.strings.get(*a).cmp(self.strings.get(*b)));
        for node in nodes {
            self.settle_node(node, now);
        }
        for workload in std::mem::take(&mut self.dirty.workloads) {
            self.settle_workload(workload);
        }
        if std::mem::take(&mut self.dirty.cluster) {
            self.settle_cluster();
        }
    }

    /// Notes a record's content; the cluster's totals may depend on it.
    fn put_record<T: serde::Serialize>(&mut self, kind: Kind, id: &str, origin: u32, record: &T) -> bool {
        let mut hasher = DefaultHasher::new();
        hasher.write(&pack::bytes(record));
        let key = Key { id: Id::of(id), kind };
        self.journal.put(key, origin, hasher.finish())
    }

    fn remove_record(&mut self, kind: Kind, id: &str) {
        let key = Key { id: Id::of(id), kind };
        self.journal.remove(key, id);
    }

    /// Replaces the findings of one origin; gives their names.
    fn put_findings(&mut self, old: &[Id], new: Vec<Finding>) -> Box<[Id]> {
        let mut ids = Vec::with_capacity(new.len());
        for finding in new {
            let text = finding.id();
            let id = Id::of(&text);
            if ids.contains(&id) {
                continue;
            }
            ids.push(id);
            self.put_record(Kind::Finding, &text, 0, &finding);
            let entry = FindingEntry {
                packed: Packed::new(&finding, &mut self.strings),
                level: finding.level,
            };
            self.cluster.count_finding(entry.level, 1);
            if let Some(before) = self.findings.insert(id, entry) {
                self.cluster.count_finding(before.level, -1);
            }
            self.dirty.cluster = true;
        }
        for id in old.iter().filter(|id| !ids.contains(id)) {
            if let Some(gone) = self.findings.remove(id) {
                let finding: Finding = gone.packed.get(&self.strings);
                self.remove_record(Kind::Finding, &finding.id());
                self.cluster.count_finding(gone.level, -1);
                self.dirty.cluster = true;
            }
        }
        ids.into()
    }

    /// Drops the strings that no row names.
    fn collect_strings(&mut self) {
        let mut live = self.strings.marks();
        for (name, node) in &self.nodes {
            live.mark(*name);
            node.mark(&mut live);
        }
        for pod in self.pods.values() {
            pod.node.into_iter().for_each(|node| live.mark(node));
        }
        self.askers
            .iter()
            .flatten()
            .for_each(|asker| asker.mark(&mut live));
        self.workloads
            .values()
            .for_each(|workload| workload.mark(&mut live));
        self.findings
            .values()
            .for_each(|finding| finding.packed.mark(&mut live));
        self.whole.values().for_each(|packed| packed.mark(&mut live));
        self.devices.values().for_each(|source| source.mark(&mut live));
        self.owners.mark(&mut live);
        self.cluster.mark(&mut live);
        self.duplicates
            .values()
            .flatten()
            .for_each(|node| live.mark(*node));
        self.dirty.nodes.iter().for_each(|node| live.mark(*node));
        self.strings.retain(&live);
        self.strings_live = self.strings.len();
    }
}
