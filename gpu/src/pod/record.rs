//! From a record in the pod's annotations to allocations.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::extras::{Extras, convert};
use super::notes::Notes;
use super::{CODE, Group, Recorded, Seat, ask, unrecorded};
use crate::allocation::mapping::{self, Placement, place};
use crate::allocation::{Record, Share, mig, parse, quote};
use crate::inventory::{Allocation, AllocationState, ContainerKind, FindingLevel, Mapping};
use crate::lifecycle::{self, Binding, Life};
use crate::object::Pod;
use crate::vendor::Scheme;

/// Where an allocation of an unknown container is listed.
const LAST: usize = usize::MAX;

/// Adds the allocations that a record names, with the index of their seat.
pub(super) fn shares(
    pod: &Pod,
    group: Group<'_>,
    recorded: &Recorded<'_>,
    seats: &[Seat<'_>],
    now: Timestamp,
    allocations: &mut Vec<(usize, Allocation)>,
    notes: &mut Notes,
) {
    let record = parse(recorded.value);
    for fault in &record.faults {
        notes.add(
            "unparsable-allocation",
            FindingLevel::Error,
            format!("annotation {}: {fault}", recorded.key),
            [(recorded.key, recorded.value)],
        );
    }
    let placement = containers(group, recorded, &record, seats);
    if placement.mapping == Mapping::Unknown {
        notes.add(
            "ambiguous-containers",
            FindingLevel::Warning,
            format!(
                "annotation {} has {} slots, {} of them filled; the pod has {} containers, {} of which ask: whose they are cannot be told",
                recorded.key,
                record.slots.len(),
                record.slots.iter().filter(|slot| slot.filled).count(),
                seats.len(),
                seats.iter().filter(|seat| counts(seat, group)).count(),
            ),
            [(recorded.key, recorded.value)],
        );
    }
    let binding = Binding::of(pod, recorded.keys.scheme);
    let life = lifecycle::of_record(pod, &binding, now);
    tell(pod, recorded, &binding, &life, notes);
    let extras = Extras::read(pod, recorded, group.1, &record, notes);
    let draft = Draft {
        pod,
        group,
        recorded,
        binding,
        life,
    };

    for (slot, read) in record.slots.iter().enumerate().filter(|(_, slot)| slot.filled) {
        let seat = placement.seats.get(slot).copied().flatten();
        let at = seat.unwrap_or(LAST);
        let mut base = draft.allocation(seat.and_then(|seat| seats.get(seat)), placement.mapping);
        if read.shares.is_empty() {
            for field in ["uuid", "memoryMib", "cores"] {
                base.unknown.insert(field.into(), CODE.into());
            }
            allocations.push((at, base));
            continue;
        }
        for (index, share) in read.shares.iter().enumerate() {
            let mut allocation = base.clone();
            draft.fill(&mut allocation, share);
            let container = allocation.container.clone();
            extras.apply(slot, index, container.as_deref(), &mut allocation);
            convert(recorded, &mut allocation);
            allocations.push((at, allocation));
        }
    }
    without_share(pod, group, recorded, &placement, seats, allocations, notes);
}

fn counts(seat: &Seat<'_>, group: Group<'_>) -> bool {
    ask::of(&seat.asks, group).is_some_and(|ask| ask.counts)
}

fn containers(
    group: Group<'_>,
    recorded: &Recorded<'_>,
    record: &Record<'_>,
    seats: &[Seat<'_>],
) -> Placement {
    let filled: Vec<bool> = record.slots.iter().map(|slot| slot.filled).collect();
    let seats: Vec<mapping::Seat> = seats
        .iter()
        .map(|seat| mapping::Seat {
            init: seat.kind != ContainerKind::App,
            asks: counts(seat, group),
        })
        .collect();
    place(&filled, &seats, recorded.keys.scheme != Scheme::Hami)
}

/// Containers that ask and have nothing in a record whose slots are known.
fn without_share(
    pod: &Pod,
    group: Group<'_>,
    recorded: &Recorded<'_>,
    placement: &Placement,
    seats: &[Seat<'_>],
    allocations: &mut Vec<(usize, Allocation)>,
    notes: &mut Notes,
) {
    if placement.mapping == Mapping::Unknown || lifecycle::ended(pod) {
        return;
    }
    let placed: BTreeSet<usize> = placement.seats.iter().flatten().copied().collect();
    for (index, seat) in seats.iter().enumerate() {
        if placed.contains(&index) || !counts(seat, group) {
            continue;
        }
        notes.add(
            "container-without-share",
            FindingLevel::Warning,
            format!(
                "container {} asks for devices, and annotation {} has none for it",
                seat.container.name, recorded.key
            ),
            [(recorded.key, recorded.value)],
        );
        unrecorded(pod, group, seats, Some(index), allocations);
    }
}

/// What is remarkable about the life of a record.
fn tell(pod: &Pod, recorded: &Recorded<'_>, binding: &Binding<'_>, life: &Life, notes: &mut Notes) {
    let because = life
        .reason
        .as_ref()
        .map_or_else(String::new, |reason| format!(" ({reason})"));
    let node = binding.node.unwrap_or_default();
    match life.state {
        AllocationState::Stuck => notes.add(
            "stuck-allocation",
            FindingLevel::Error,
            format!(
                "devices of node {node} were allocated more than {} minutes ago and are not handed out{because}",
                lifecycle::STUCK_AFTER.as_mins()
            ),
            [
                ("node", node),
                ("bindTime", binding.bound_at.unwrap_or_default()),
                ("bindPhase", binding.phase.unwrap_or_default()),
            ],
        ),
        AllocationState::Stale if !lifecycle::ended(pod) => notes.add(
            "runs-elsewhere",
            FindingLevel::Error,
            format!(
                "annotation {} holds devices of node {node}, where the scheduler counts them, but the pod is on node {}",
                recorded.key,
                pod.spec.node_name.as_deref().unwrap_or_default()
            ),
            [("node", node)],
        ),
        AllocationState::Unaccounted => notes.add(
            "record-without-node",
            FindingLevel::Error,
            format!(
                "annotation {} names devices, but no annotation names their node: the scheduler does not count them",
                recorded.key
            ),
            [(recorded.key, recorded.value)],
        ),
        _ => {}
    }
    if binding.phase == Some("failed") && life.held {
        notes.add(
            "allocation-failed",
            FindingLevel::Error,
            format!("the device plugin on node {node} could not hand the devices out"),
            [("node", node)],
        );
    }
}

/// What all shares of a record have in common.
struct Draft<'a> {
    pod: &'a Pod,
    group: Group<'a>,
    recorded: &'a Recorded<'a>,
    binding: Binding<'a>,
    life: Life,
}

impl Draft<'_> {
    fn allocation(&self, seat: Option<&Seat<'_>>, mapping: Mapping) -> Allocation {
        let pod = self.pod;
        let vendor = self.recorded.vendor;
        let runs_on = pod.spec.node_name.as_deref().filter(|node| !node.is_empty());
        let mut allocation = Allocation {
            mapping: Some(mapping),
            node: self.binding.node.or(runs_on).map(str::to_owned),
            vendor: vendor.name.to_owned(),
            source: Some(
                match self.recorded.keys.scheme {
                    Scheme::Hami | Scheme::FourPd => "hami",
                    Scheme::Volcano => "volcano",
                }
                .to_owned(),
            ),
            ..Allocation::default()
        };
        if let Some(written) = self.binding.allocated_at.or(self.binding.bound_at) {
            allocation.since = lifecycle::seconds(written);
            if allocation.since.is_none() {
                allocation.unknown.insert("since".into(), CODE.into());
            }
        }
        let mut life = self.life.clone();
        if let Some(seat) = seat {
            allocation.container = Some(seat.container.name.clone());
            allocation.container_kind = Some(seat.kind);
            match ask::of(&seat.asks, self.group) {
                Some(ask) => {
                    allocation.requested = ask.requested.clone();
                    allocation.facts.extend(ask.facts.clone());
                    allocation.unknown.extend(ask.unknown.clone());
                }
                // It has a share, so it asked; under which name is not known.
                None => drop(allocation.unknown.insert("requested.count".into(), CODE.into())),
            }
            if seat.kind == ContainerKind::Init {
                life = lifecycle::of_init(&self.life, pod, &seat.container.name);
            }
        } else {
            allocation.unknown.insert("container".into(), CODE.into());
        }
        if allocation.requested.constraints.is_empty() {
            allocation.requested.constraints = ask::constraints(pod, vendor, self.group.1);
        }
        allocation.state = Some(life.state);
        allocation.held = life.held;
        allocation.reason = life.reason;
        allocation
    }

    fn fill(&self, allocation: &mut Allocation, share: &Share<'_>) {
        let (device, _) = mig::split(share.device);
        allocation.uuid = Some(device.to_owned());
        allocation.gpu = allocation.node.as_ref().map(|node| format!("{node}/{device}"));
        allocation.memory_mib = share.memory_mib;
        allocation.cores = share.cores;
        for (field, missing) in [
            ("memoryMib", share.memory_mib.is_none()),
            ("cores", share.cores.is_none()),
        ] {
            if missing {
                allocation.unknown.insert(field.into(), CODE.into());
            }
        }
        // AMD writes the name of the model where others write a keyword.
        let vendor = self.recorded.vendor;
        let keyword = vendor
            .keywords
            .iter()
            .any(|known| known.eq_ignore_ascii_case(share.keyword));
        if vendor.id == "amd" && !keyword && !share.keyword.is_empty() {
            allocation.facts.insert("model".to_owned(), quote(share.keyword));
        }
    }
}
