//! Cross-checks: what a pod's records say against what its node says.

use jiff::{SignedDuration, Timestamp};

use super::{
    Id, Index, Watched,
    nodes::NodeEntry,
    pods::{Asker, Phase},
    strings::Sym,
};
use crate::{
    findings::{self, Stale},
    inventory::{Allocation, AllocationState, Finding, Gpu, Used},
    lifecycle,
};

/// Longer than this an allocation does not take: HAMi gives up its lock of the node then.
const STUCK_AFTER: SignedDuration = SignedDuration::from_mins(5);
/// A missing right.
const FORBIDDEN: &str = "KTA-K8S-004";

/// What a pod holds after all checks.
#[derive(Debug, Default)]
pub(super) struct Resolved {
    pub(super) allocations: Vec<Allocation>,
    pub(super) findings: Vec<Finding>,
    /// When it has to be looked at again, in seconds; 0 is never.
    pub(super) deadline: i64,
}

impl Index {
    /// Checks a pod against the node that it names.
    pub(super) fn resolve(&self, asker: &Asker, home: Option<&NodeEntry>, now: Timestamp) -> Resolved {
        let mut resolved = Resolved {
            allocations: asker.allocations.get(&self.strings),
            findings: asker
                .findings
                .as_ref()
                .map(|findings| findings.get(&self.strings))
                .unwrap_or_default(),
            deadline: 0,
        };
        let workload = asker.workload.and_then(|id| self.workloads.get(&id));
        let owner = workload.map(|workload| workload.owner(&self.strings));
        let mut stale: Option<(Stale, &Allocation)> = None;
        let mut unaccounted = None;
        let mut stuck = None;
        for allocation in &mut resolved.allocations {
            allocation.workload.clone_from(&owner);
            let verdict = self.judge(asker, allocation, home, now);
            if let Some(state) = verdict.state {
                allocation.state = Some(state);
                allocation.held = state.holds();
            }
            if verdict.device_plugin {
                allocation.source = Some("devicePlugin".to_owned());
            }
            if let Some(deadline) = verdict.deadline
                && (resolved.deadline == 0 || deadline < resolved.deadline)
            {
                resolved.deadline = deadline;
            }
            match allocation.state {
                Some(AllocationState::Unaccounted) if home.is_some_and(|home| home.node.is_some()) => {
                    unaccounted.get_or_insert(&*allocation);
                }
                Some(AllocationState::Stuck) => {
                    stuck.get_or_insert(&*allocation);
                }
                _ => {}
            }
            if let Some(why) = verdict.stale {
                stale.get_or_insert((why, &*allocation));
            }
        }
        let found = [
            stale.map(|(why, allocation)| findings::stale(allocation, why)),
            unaccounted.map(findings::unaccounted),
            stuck.map(|allocation| findings::stuck(allocation, now)),
        ];
        for finding in found.into_iter().flatten() {
            let id = finding.id();
            if !resolved.findings.iter().any(|known| known.id() == id) {
                resolved.findings.push(finding);
            }
        }
        resolved
    }

    /// Looks at one allocation; fills in its device.
    fn judge(
        &self,
        asker: &Asker,
        allocation: &mut Allocation,
        home: Option<&NodeEntry>,
        now: Timestamp,
    ) -> Verdict {
        let mut verdict = Verdict::default();
        let state = allocation.state;
        if asker.phase == Phase::Ended {
            verdict.state = Some(AllocationState::Stale);
        }
        let known = home.filter(|home| home.node.is_some());
        if let Some(uuid) = &allocation.uuid {
            let id = Id::of(uuid);
            let found = home.is_some_and(|home| home.gpus.iter().any(|row| row.uuid == id));
            let node = allocation.node.as_deref().filter(|_| found);
            allocation.gpu = node.map(|node| format!("{node}/{uuid}"));
        }
        if !state.is_some_and(AllocationState::holds) && state != Some(AllocationState::Pending) {
            return self.past_the_scheduler(asker, allocation, known, verdict);
        }
        if verdict.state.is_some() {
            return verdict;
        }
        if allocation.uuid.is_none() {
            return self.past_the_scheduler(asker, allocation, known, verdict);
        }
        if !self.is_synced(Watched::Nodes) {
            if allocation.gpu.is_none() {
                allocation.unknown.insert("gpu".into(), FORBIDDEN.into());
            }
        } else if let Some(home) = known {
            if asker.node.is_some() && asker.node != asker.home {
                verdict.stale = Some(Stale::RunsElsewhere(
                    asker
                        .node
                        .map(|node| self.strings.get(node).to_owned())
                        .unwrap_or_default(),
                ));
            } else if allocation.gpu.is_none() {
                match home.unreadable {
                    Some(code) => {
                        let code = self.strings.get(code).to_owned();
                        allocation.unknown.insert("gpu".into(), code.into());
                    }
                    None => verdict.stale = Some(Stale::NotRegistered),
                }
            }
        } else {
            verdict.stale = Some(Stale::NodeGone);
        }
        if verdict.stale.is_some() {
            verdict.state = Some(AllocationState::Stale);
        } else if state == Some(AllocationState::Allocating)
            && asker.phase == Phase::Pending
            && let Some(limit) = allocation
                .since
                .and_then(|since| since.checked_add(STUCK_AFTER).ok())
        {
            if limit <= now {
                verdict.state = Some(AllocationState::Stuck);
            } else {
                // The first whole second that is not before.
                verdict.deadline = Some(limit.as_second() + i64::from(limit.subsec_nanosecond() > 0));
            }
        }
        verdict
    }

    /// A pod that runs with a device that no record names: past HAMi's scheduler on a node of HAMi's, or by a device plugin on another.
    fn past_the_scheduler(
        &self,
        asker: &Asker,
        allocation: &Allocation,
        home: Option<&NodeEntry>,
        mut verdict: Verdict,
    ) -> Verdict {
        let no_record = allocation.uuid.is_none();
        let waits = matches!(
            allocation.state,
            Some(AllocationState::Pending | AllocationState::Unaccounted)
        );
        if !no_record || !waits || asker.phase == Phase::Ended {
            return verdict;
        }
        let placed = asker.node.is_some();
        let vendor = self.strings.find(&allocation.vendor);
        let shared = home.is_some_and(|home| vendor.is_some_and(|vendor| home.shared_by.contains(&vendor)));
        verdict.state = match (placed, shared) {
            (false, _) => Some(AllocationState::Pending),
            (true, true) => Some(lifecycle::unrecorded(allocation, true)),
            (true, false) if home.is_some() => {
                verdict.device_plugin = true;
                Some(lifecycle::unrecorded(allocation, false))
            }
            // The node is not known.
            (true, false) => allocation.state,
        };
        verdict
    }

    /// What is held of each of a node's devices. As HAMi's scheduler counts: containers that run before the others take the place that
    /// those take later, so that a pod counts with the larger of the two.
    pub(super) fn used(&self, entry: &NodeEntry, gpus: &[Gpu], name: Sym, now: Timestamp) -> Vec<Used> {
        let mut sums = vec![Used::default(); gpus.len()];
        let name = self.strings.get(name);
        for slot in &entry.askers {
            let Some(asker) = &self.askers[*slot as usize] else {
                continue;
            };
            let resolved = self.resolve(asker, Some(entry), now);
            let held = |allocation: &&Allocation| allocation.held && allocation.node.as_deref() == Some(name);
            let held = resolved.allocations.iter().filter(held);
            for (id, share) in lifecycle::counted(held) {
                if let Some(place) = gpus.iter().position(|gpu| gpu.id == id) {
                    add(&mut sums[place], &share);
                }
            }
        }
        sums
    }
}

#[derive(Debug, Default)]
struct Verdict {
    /// The state, if it is another than the pod alone tells.
    state: Option<AllocationState>,
    stale: Option<Stale>,
    /// Nothing but the node's device plugin knows which device it is.
    device_plugin: bool,
    deadline: Option<i64>,
}

fn add(sum: &mut Used, share: &Used) {
    sum.slots = sum.slots.saturating_add(share.slots);
    sum.memory_mib = sum.memory_mib.saturating_add(share.memory_mib);
    sum.cores = sum.cores.saturating_add(share.cores);
}
