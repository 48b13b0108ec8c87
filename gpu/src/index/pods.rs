//! Pods: a few bytes for each, and what those hold that ask for devices.

use jiff::Timestamp;

use super::{
    Id, Index, PodSeen, Watched,
    owners::Controller,
    pack::Packed,
    strings::{Live, Sym},
    workloads::Share,
};
use crate::inventory::{Allocation, Finding, Kind};

/// No slot.
const NONE: u32 = u32::MAX;

/// `status.phase`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Pending,
    Running,
    /// `Succeeded` or `Failed`.
    Ended,
    Unknown,
}

impl Phase {
    fn of(text: Option<&str>) -> Self {
        match text {
            // The API server sets it; a pod without one was not seen by anybody.
            None | Some("" | "Pending") => Self::Pending,
            Some("Running") => Self::Running,
            Some("Succeeded" | "Failed") => Self::Ended,
            Some(_) => Self::Unknown,
        }
    }
}

/// Any pod.
#[derive(Debug, Clone, Copy)]
pub(super) struct PodRef {
    pub(super) node: Option<Sym>,
    /// Among the askers.
    slot: u32,
    pub(super) phase: Phase,
    generation: u8,
}

/// A pod that asks for devices, or holds some.
#[derive(Debug)]
pub(super) struct Asker {
    /// Where it runs.
    pub(super) node: Option<Sym>,
    pub(super) phase: Phase,
    pub(super) namespace: Sym,
    pub(super) name: Sym,
    pub(super) allocations: Packed,
    pub(super) findings: Option<Packed>,
    pub(super) controller: Option<Controller>,
    /// The node that its records name, or else where it runs.
    pub(super) home: Option<Sym>,
    pub(super) workload: Option<Id>,
    /// What it adds to its workload.
    pub(super) share: Share,
    /// Findings that are out.
    out: Box<[Id]>,
    /// When it has to be looked at again, in seconds; 0 is never.
    deadline: i64,
}

impl Asker {
    pub(super) fn mark(&self, live: &mut Live) {
        self.allocations.mark(live);
        self.findings.iter().for_each(|packed| packed.mark(live));
        self.node.iter().chain(&self.home).for_each(|sym| live.mark(*sym));
        live.mark(self.namespace);
        live.mark(self.name);
        self.controller
            .iter()
            .for_each(|controller| controller.mark(live));
        self.share.mark(live);
    }
}

impl Index {
    pub(super) fn put_pod(&mut self, facts: &PodSeen) {
        let id = Id::of(&facts.uid);
        let node = facts.node.as_deref().filter(|node| !node.is_empty());
        let node = node.map(|node| self.strings.intern(node));
        let phase = Phase::of(facts.phase.as_deref());
        let generation = self.generation(Watched::Pods);
        let before = self.pods.get(&id).copied();
        let slot = before.map_or(NONE, |before| before.slot);
        let asks = !facts.allocations.is_empty() || !facts.findings.is_empty();
        let slot = match (slot, asks) {
            (NONE, false) => NONE,
            (slot, true) => self.put_asker(slot, node, phase, facts),
            (slot, false) => {
                self.drop_asker(slot);
                NONE
            }
        };
        let new = PodRef {
            node,
            slot,
            phase,
            generation,
        };
        self.pods.insert(id, new);
        self.count_pod(before, Some(new));
    }

    pub(super) fn remove_pod(&mut self, id: Id) {
        let Some(pod) = self.pods.remove(&id) else {
            return;
        };
        if pod.slot != NONE {
            self.drop_asker(pod.slot);
        }
        self.count_pod(Some(pod), None);
    }

    pub(super) fn sweep_pods(&mut self, generation: u8) {
        let gone = self.pods.iter().filter(|(_, pod)| pod.generation != generation);
        for id in gone.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.remove_pod(id);
        }
    }

    /// Keeps the counts of pods per node and in the cluster.
    fn count_pod(&mut self, before: Option<PodRef>, after: Option<PodRef>) {
        let state = |pod: PodRef| (pod.node, pod.phase);
        if before.map(state) == after.map(state) {
            return;
        }
        for (pod, step) in [(before, -1), (after, 1)] {
            let Some(pod) = pod.filter(|pod| pod.phase != Phase::Ended) else {
                continue;
            };
            self.cluster.count_pod(pod.phase == Phase::Running, step);
            if let Some(node) = pod.node {
                let entry = self.node_entry(node);
                entry.pods = entry.pods.saturating_add_signed(step);
                self.dirty.nodes.insert(node);
            }
        }
        self.dirty.cluster = true;
    }

    fn put_asker(&mut self, slot: u32, node: Option<Sym>, phase: Phase, facts: &PodSeen) -> u32 {
        let recorded = facts
            .allocations
            .iter()
            .find_map(|allocation| allocation.node.as_deref());
        let home = recorded.map(|node| self.strings.intern(node)).or(node);
        let strings = &mut self.strings;
        let mut asker = Box::new(Asker {
            node,
            phase,
            namespace: strings.intern(&facts.namespace),
            name: strings.intern(&facts.name),
            allocations: Packed::new(&facts.allocations, strings),
            findings: (!facts.findings.is_empty()).then(|| Packed::new(&facts.findings, strings)),
            controller: facts
                .controller
                .as_ref()
                .map(|controller| Controller::of(controller, strings)),
            home,
            workload: None,
            share: Share::default(),
            out: Box::default(),
            deadline: 0,
        });
        let slot = if slot == NONE {
            self.free_askers.pop().unwrap_or_else(|| {
                self.askers.push(None);
                u32::try_from(self.askers.len() - 1).expect("fewer than 4 billion pods fit in memory")
            })
        } else {
            slot
        };
        if let Some(before) = self.askers[slot as usize].take() {
            let same = before.allocations == asker.allocations
                && before.findings == asker.findings
                && before.controller == asker.controller
                && (before.node, before.phase, before.home) == (asker.node, asker.phase, asker.home);
            if same {
                self.askers[slot as usize] = Some(before);
                return slot;
            }
            for gone in before.allocations.get::<Vec<Allocation>>(&self.strings) {
                if !facts
                    .allocations
                    .iter()
                    .any(|allocation| allocation.id == gone.id)
                {
                    self.remove_record(Kind::Allocation, &gone.id);
                }
            }
            if before.home != home {
                self.leave_home(slot, before.home);
            }
            asker.workload = before.workload;
            asker.share = before.share;
            asker.out = before.out;
            asker.deadline = before.deadline;
            let known = before.controller == asker.controller;
            self.askers[slot as usize] = Some(asker);
            self.join_workload(slot, known);
            if before.home != home {
                self.enter_home(slot, home);
            }
        } else {
            self.askers[slot as usize] = Some(asker);
            self.enter_home(slot, home);
            self.join_workload(slot, false);
        }
        self.dirty.pods.insert(slot);
        slot
    }

    fn drop_asker(&mut self, slot: u32) {
        let Some(asker) = self.askers[slot as usize].take() else {
            return;
        };
        self.free_askers.push(slot);
        self.dirty.pods.remove(&slot);
        self.deadlines.remove(&(asker.deadline, slot));
        for gone in asker.allocations.get::<Vec<Allocation>>(&self.strings) {
            self.remove_record(Kind::Allocation, &gone.id);
        }
        self.put_findings(&asker.out, Vec::new());
        self.leave_home(slot, asker.home);
        self.leave_workload(asker.workload, &asker.share);
        self.dirty.cluster = true;
    }

    fn enter_home(&mut self, slot: u32, home: Option<Sym>) {
        if let Some(home) = home {
            self.node_entry(home).askers.push(slot);
            self.dirty.nodes.insert(home);
        }
    }

    fn leave_home(&mut self, slot: u32, home: Option<Sym>) {
        if let Some(home) = home {
            self.node_entry(home).askers.retain(|other| *other != slot);
            self.dirty.nodes.insert(home);
        }
    }

    /// Settles what a pod holds.
    pub(super) fn settle_pod(&mut self, slot: u32, now: Timestamp) {
        let Some(mut asker) = self.askers[slot as usize].take() else {
            return;
        };
        let home = asker.home.and_then(|home| self.nodes.get(&home));
        let resolved = self.resolve(&asker, home.map(|entry| &**entry), now);
        let found: Vec<Finding> = resolved.findings;
        for allocation in &resolved.allocations {
            self.put_record(Kind::Allocation, &allocation.id, slot, allocation);
        }
        asker.out = self.put_findings(&std::mem::take(&mut asker.out), found);
        self.deadlines.remove(&(asker.deadline, slot));
        asker.deadline = resolved.deadline;
        if asker.deadline != 0 {
            self.deadlines.insert((asker.deadline, slot));
        }
        let share = Share::of(&asker, &resolved.allocations, &mut self.strings);
        if share != asker.share {
            self.replace_share(asker.workload, &asker.share, &share);
            asker.share = share;
        }
        // Not before it is settled: what it holds now is summed there.
        self.dirty.nodes.extend(asker.home);
        self.askers[slot as usize] = Some(asker);
    }
}
