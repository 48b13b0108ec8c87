//! Workloads: sums over the pods of each.

use super::{
    Id, Index,
    pods::{Asker, Phase},
    strings::{Live, Strings, Sym},
};
use crate::inventory::{Allocation, AllocationState, Kind, Owner, Workload};

/// How often each of a few things occurs.
#[derive(Debug, Default)]
struct Tally(Vec<(Sym, u32)>);

impl Tally {
    fn add(&mut self, sym: Sym) {
        if let Some((_, count)) = self.0.iter_mut().find(|(known, _)| *known == sym) {
            *count += 1;
        } else {
            // Most have one entry only.
            if self.0.len() == self.0.capacity() && self.0.len() < 4 {
                self.0.reserve_exact(1);
            }
            self.0.push((sym, 1));
        }
    }

    fn subtract(&mut self, sym: Sym) {
        if let Some(at) = self.0.iter().position(|(known, _)| *known == sym) {
            self.0[at].1 -= 1;
            if self.0[at].1 == 0 {
                self.0.swap_remove(at);
            }
        }
    }

    fn names(&self, strings: &Strings) -> Vec<String> {
        let mut names: Vec<String> = self
            .0
            .iter()
            .map(|(sym, _)| strings.get(*sym).to_owned())
            .collect();
        names.sort_unstable();
        names
    }
}

/// What one pod adds to its workload.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Share {
    counts: bool,
    running: bool,
    pub(super) waiting: bool,
    gpus: u32,
    cores: u32,
    memory_mib: u64,
    node: Option<Sym>,
    vendors: Box<[Sym]>,
}

impl Share {
    /// Of a pod with what it holds.
    pub(super) fn of(asker: &Asker, allocations: &[Allocation], strings: &mut Strings) -> Self {
        if asker.phase == Phase::Ended || allocations.is_empty() {
            return Self::default();
        }
        let mut share = Self {
            counts: true,
            running: asker.phase == Phase::Running,
            node: asker.node,
            ..Self::default()
        };
        let mut vendors: Vec<Sym> = Vec::new();
        let mut devices: Vec<&str> = Vec::new();
        for allocation in allocations {
            let vendor = strings.intern(&allocation.vendor);
            if !vendors.contains(&vendor) {
                vendors.push(vendor);
            }
            let state = allocation.state;
            share.waiting |= matches!(state, Some(AllocationState::Pending | AllocationState::Stuck));
            if !allocation.held {
                continue;
            }
            match allocation.gpu.as_deref().or(allocation.uuid.as_deref()) {
                Some(device) if devices.contains(&device) => {}
                Some(device) => {
                    devices.push(device);
                    share.gpus += 1;
                }
                // Which devices is not known, but how many.
                None => share.gpus += allocation.requested.count.unwrap_or(1),
            }
            share.memory_mib += allocation.memory_mib.unwrap_or(0);
            share.cores += allocation.cores.unwrap_or(0);
        }
        vendors.sort_unstable();
        share.vendors = vendors.into();
        share
    }

    pub(super) fn mark(&self, live: &mut Live) {
        self.vendors
            .iter()
            .chain(&self.node)
            .for_each(|sym| live.mark(*sym));
    }
}

/// One workload.
#[derive(Debug)]
pub(super) struct WorkloadEntry {
    namespace: Sym,
    api_version: Sym,
    kind: Sym,
    name: Sym,
    /// Pods that belong to it, ended ones too.
    members: u32,
    pods: u32,
    running: u32,
    waiting: u32,
    gpus: u32,
    cores: u32,
    memory_mib: u64,
    nodes: Tally,
    vendors: Tally,
}

impl WorkloadEntry {
    pub(super) fn owner(&self, strings: &Strings) -> Owner {
        Owner {
            api_version: strings.get(self.api_version).to_owned(),
            kind: strings.get(self.kind).to_owned(),
            name: strings.get(self.name).to_owned(),
        }
    }

    /// The record.
    pub(super) fn render(&self, strings: &Strings) -> Workload {
        Workload {
            namespace: strings.get(self.namespace).to_owned(),
            owner: self.owner(strings),
            pods: self.pods,
            running: self.running,
            waiting: self.waiting,
            gpus: self.gpus,
            memory_mib: self.memory_mib,
            cores: self.cores,
            nodes: self.nodes.names(strings),
            vendors: self.vendors.names(strings),
        }
    }

    pub(super) fn mark(&self, live: &mut Live) {
        for sym in [self.namespace, self.api_version, self.kind, self.name] {
            live.mark(sym);
        }
        let tallies = self.nodes.0.iter().chain(&self.vendors.0);
        tallies.for_each(|(sym, _)| live.mark(*sym));
    }

    fn add(&mut self, share: &Share) {
        self.pods += u32::from(share.counts);
        self.running += u32::from(share.running);
        self.waiting += u32::from(share.waiting);
        self.gpus += share.gpus;
        self.cores += share.cores;
        self.memory_mib += share.memory_mib;
        share.node.into_iter().for_each(|node| self.nodes.add(node));
        share.vendors.iter().for_each(|vendor| self.vendors.add(*vendor));
    }

    fn subtract(&mut self, share: &Share) {
        self.pods -= u32::from(share.counts);
        self.running -= u32::from(share.running);
        self.waiting -= u32::from(share.waiting);
        self.gpus -= share.gpus;
        self.cores -= share.cores;
        self.memory_mib -= share.memory_mib;
        share.node.into_iter().for_each(|node| self.nodes.subtract(node));
        share
            .vendors
            .iter()
            .for_each(|vendor| self.vendors.subtract(*vendor));
    }
}

impl Index {
    /// Puts a pod into the workload at the top of its chain. `stay`: its controller is the same as before, so that a chain that has
    /// become shorter (its workload is being deleted) changes nothing.
    pub(super) fn join_workload(&mut self, slot: u32, stay: bool) {
        let Some(asker) = &self.askers[slot as usize] else {
            return;
        };
        let (controller, namespace, name, before) =
            (asker.controller, asker.namespace, asker.name, asker.workload);
        let (api_version, kind, name) = match controller {
            Some(first) => {
                let top = self.top(first);
                if stay && top == first && before.is_some() {
                    return;
                }
                (top.api_version, top.kind, top.name)
            }
            None => (self.strings.intern("v1"), self.strings.intern("Pod"), name),
        };
        let mut entry = WorkloadEntry {
            namespace,
            api_version,
            kind,
            name,
            members: 1,
            pods: 0,
            running: 0,
            waiting: 0,
            gpus: 0,
            cores: 0,
            memory_mib: 0,
            nodes: Tally::default(),
            vendors: Tally::default(),
        };
        let id = Id::of(&entry.render(&self.strings).id());
        if before == Some(id) {
            return;
        }
        let asker = self.askers[slot as usize].as_mut().expect("it was there above");
        let share = std::mem::take(&mut asker.share);
        asker.workload = Some(id);
        self.dirty.pods.insert(slot);
        self.leave_workload(before, &share);
        if let Some(known) = self.workloads.get_mut(&id) {
            known.members += 1;
            known.add(&share);
        } else {
            entry.add(&share);
            self.workloads.insert(id, Box::new(entry));
        }
        self.cluster.count_waiting(share.waiting, 1);
        self.askers[slot as usize]
            .as_mut()
            .expect("it was there above")
            .share = share;
        self.dirty.workloads.insert(id);
    }

    /// Takes a pod out of its workload, which ends with its last one.
    pub(super) fn leave_workload(&mut self, id: Option<Id>, share: &Share) {
        let Some((id, entry)) = id.and_then(|id| Some((id, self.workloads.get_mut(&id)?))) else {
            return;
        };
        self.cluster.count_waiting(share.waiting, -1);
        entry.subtract(share);
        entry.members -= 1;
        if entry.members == 0 {
            let text = entry.render(&self.strings).id();
            self.workloads.remove(&id);
            self.dirty.workloads.remove(&id);
            self.remove_record(Kind::Workload, &text);
        } else {
            self.dirty.workloads.insert(id);
        }
    }

    pub(super) fn replace_share(&mut self, id: Option<Id>, before: &Share, after: &Share) {
        let Some((id, entry)) = id.and_then(|id| Some((id, self.workloads.get_mut(&id)?))) else {
            return;
        };
        entry.subtract(before);
        entry.add(after);
        self.cluster.count_waiting(before.waiting, -1);
        self.cluster.count_waiting(after.waiting, 1);
        self.dirty.workloads.insert(id);
        self.dirty.cluster = true;
    }

    pub(super) fn settle_workload(&mut self, id: Id) {
        let Some(entry) = self.workloads.get(&id) else {
            return;
        };
        let workload = entry.render(&self.strings);
        // A workload of which every pod has ended is none.
        if entry.pods == 0 {
            self.remove_record(Kind::Workload, &workload.id());
        } else {
            self.put_record(Kind::Workload, &workload.id(), 0, &workload);
        }
    }
}
