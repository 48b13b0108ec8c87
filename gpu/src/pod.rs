//! What a pod tells about devices: what its containers hold, or wait for.
//!
//! Only the pod is looked at. Whether the node and the device exist, whether HAMi gives out the node's devices, and what all pods
//! hold together is found out by who knows the others: see [`crate::lifecycle::unrecorded`] and [`crate::lifecycle::counted`].

mod ask;
mod extras;
pub(crate) mod notes;
mod record;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use jiff::Timestamp;
use kantaloupe_checks::Code;

use crate::inventory::{Allocation, ContainerKind, Finding, Owner};
use crate::lifecycle;
use crate::object::{Container, Pod};
use crate::vendor::{PodKeys, ResourceNames, Vendor};
use ask::Ask;
use notes::Notes;

/// The code of what is wrong with records of allocations, and the reason of what is unknown because of them.
pub(crate) const CODE: &str = Code::HAMI_004.as_str();

/// What was read of one pod.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PodFacts {
    /// What its containers hold or wait for, init containers first, each in the order of the spec.
    pub allocations: Vec<Allocation>,
    /// What is not as it should be.
    pub findings: Vec<Finding>,
    /// It asks for devices, or has some. A pod that has ended asks still, but holds nothing.
    pub asks: bool,
}

/// One container, with what it asks for.
#[derive(Debug)]
struct Seat<'a> {
    kind: ContainerKind,
    container: &'a Container,
    asks: Vec<Ask<'a>>,
}

/// Devices of one kind in the pod: a row of the table of vendors and, where it has such, a model.
type Group<'a> = (&'static str, Option<&'a str>);

/// A record in the pod's annotations.
#[derive(Debug, Clone, Copy)]
struct Recorded<'a> {
    vendor: &'static Vendor,
    keys: &'static PodKeys,
    /// Name of the annotation.
    key: &'a str,
    value: &'a str,
}

/// Reads a pod.
pub fn read(pod: &Pod, names: &ResourceNames, now: Timestamp) -> PodFacts {
    let mut notes = Notes::of(pod);
    let seats = seats(pod, names, &mut notes);
    let records = records(pod);
    let asks = !records.is_empty() || seats.iter().any(|seat| !seat.asks.is_empty());
    if !asks {
        return PodFacts::default();
    }

    let mut groups: Vec<Group<'_>> = records.keys().copied().collect();
    let of_scheduler = |ask: &&Ask<'_>| !ask.plugin_only;
    for ask in seats.iter().flat_map(|seat| &seat.asks).filter(of_scheduler) {
        let group = ask.group();
        if !groups.contains(&group) {
            groups.push(group);
        }
    }
    let mut allocations = Vec::new();
    for group in groups {
        match records.get(&group) {
            Some(recorded) => record::shares(pod, group, recorded, &seats, now, &mut allocations, &mut notes),
            None => unrecorded(pod, group, &seats, None, &mut allocations),
        }
    }
    for (index, seat) in seats.iter().enumerate().filter(|_| !lifecycle::ended(pod)) {
        let plugin_only = seat.asks.iter().filter(|ask| ask.plugin_only);
        allocations.extend(plugin_only.map(|ask| (index, request(pod, seat, ask))));
    }
    finish(pod, &mut allocations);
    PodFacts {
        allocations: allocations
            .into_iter()
            .map(|(_, allocation)| allocation)
            .collect(),
        findings: notes.into_findings(),
        asks,
    }
}

fn seats<'a>(pod: &'a Pod, names: &'a ResourceNames, notes: &mut Notes) -> Vec<Seat<'a>> {
    let inits = pod
        .spec
        .init_containers
        .iter()
        .map(|container| (lifecycle::init_kind(container), container));
    let apps = pod
        .spec
        .containers
        .iter()
        .map(|container| (ContainerKind::App, container));
    inits
        .chain(apps)
        .map(|(kind, container)| Seat {
            kind,
            container,
            asks: ask::read(pod, container, names, notes),
        })
        .collect()
}

/// The records that name anything, by group. Where two schemes wrote one, the newer counts.
fn records(pod: &Pod) -> BTreeMap<Group<'_>, Recorded<'_>> {
    let mut records = BTreeMap::<Group<'_>, Recorded<'_>>::new();
    for (key, value) in pod.metadata.annotations.iter().flatten() {
        // Most annotations are nobody's record: the table is not searched for them.
        let own = ["hami.io/", "volcano.sh/", "4pd.io/"]
            .iter()
            .any(|prefix| key.starts_with(prefix));
        if !own {
            continue;
        }
        let Some((found, keys)) = crate::vendor::by_allocated(key) else {
            continue;
        };
        if crate::allocation::parse(value).is_empty() {
            continue;
        }
        let recorded = Recorded {
            vendor: found.vendor,
            keys,
            key,
            value,
        };
        let place = |keys: &PodKeys| {
            found
                .vendor
                .pod
                .iter()
                .position(|own| own.allocated == keys.allocated)
        };
        match records.entry((found.vendor.id, found.word)) {
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(recorded);
            }
            std::collections::btree_map::Entry::Occupied(mut entry) => {
                if place(keys) < place(entry.get().keys) {
                    entry.insert(recorded);
                }
            }
        }
    }
    records
}

/// Requests that no record names: of the whole pod, or of the container at one seat.
fn unrecorded(
    pod: &Pod,
    group: Group<'_>,
    seats: &[Seat<'_>],
    only: Option<usize>,
    allocations: &mut Vec<(usize, Allocation)>,
) {
    if lifecycle::ended(pod) {
        return;
    }
    for (index, seat) in seats.iter().enumerate() {
        if only.is_some_and(|only| only != index) {
            continue;
        }
        if let Some(ask) = ask::of(&seat.asks, group).filter(|ask| ask.counts) {
            allocations.push((index, request(pod, seat, ask)));
        }
    }
}

/// A request that no record names, of a pod that has not ended.
fn request(pod: &Pod, seat: &Seat<'_>, ask: &Ask<'_>) -> Allocation {
    let life = lifecycle::of_request(pod);
    let mut allocation = Allocation {
        container: Some(seat.container.name.clone()),
        container_kind: Some(seat.kind),
        node: pod.spec.node_name.clone().filter(|node| !node.is_empty()),
        vendor: ask.names.vendor.name.to_owned(),
        requested: ask.requested.clone(),
        profile: ask.profile.clone(),
        state: Some(life.state),
        held: life.held,
        reason: life.reason,
        source: ask.scheduler(pod).map(str::to_owned),
        facts: ask.facts.clone(),
        unknown: ask.unknown.clone(),
        phase: pod.status.phase.clone(),
        ..Allocation::default()
    };
    lifecycle::mark_unrecorded(&mut allocation, pod);
    if ask.plugin_only && allocation.node.is_some() {
        let state = lifecycle::unrecorded(&allocation, false);
        allocation.state = Some(state);
        allocation.held = state.holds();
    }
    if allocation.node.is_some() {
        for field in ["uuid", "memoryMib", "cores"] {
            allocation.unknown.insert(field.into(), CODE.into());
        }
    }
    allocation
}

/// Orders the allocations by container, and writes what is the same in all of them.
fn finish(pod: &Pod, allocations: &mut [(usize, Allocation)]) {
    allocations.sort_by_key(|(seat, _)| *seat);
    let workload = owner(pod);
    let created = pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let mut numbers = BTreeMap::<String, u32>::new();
    for (_, allocation) in allocations {
        let container = allocation.container.as_deref().unwrap_or(NO_CONTAINER);
        let number = numbers.entry(container.to_owned()).or_default();
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        allocation.id = format!("{uid}/{container}/{number}");
        *number += 1;
        describe(pod, &workload, allocation);
        if !allocation.unknown.contains_key("since") {
            allocation.since = allocation.since.or(created);
        }
    }
}

/// What stands in an id for a container that is not known. No container can be called so.
pub(crate) const NO_CONTAINER: &str = "-";

/// Writes what an allocation says of its pod.
pub(crate) fn describe(pod: &Pod, workload: &Owner, allocation: &mut Allocation) {
    allocation.namespace = pod.metadata.namespace.clone().unwrap_or_default();
    allocation.pod = pod.metadata.name.clone().unwrap_or_default();
    allocation.pod_uid = pod.metadata.uid.clone().unwrap_or_default();
    allocation.phase.clone_from(&pod.status.phase);
    allocation.workload = Some(workload.clone());
}

/// The controller of a pod, or the pod itself. A node that runs a static pod is no workload.
pub fn owner(pod: &Pod) -> Owner {
    let controller = pod
        .metadata
        .owner_references
        .iter()
        .flatten()
        .find(|owner| owner.controller == Some(true) && owner.kind != "Node");
    match controller {
        Some(owner) => Owner {
            api_version: owner.api_version.clone(),
            kind: owner.kind.clone(),
            name: owner.name.clone(),
        },
        None => Owner {
            api_version: "v1".to_owned(),
            kind: "Pod".to_owned(),
            name: pod.metadata.name.clone().unwrap_or_default(),
        },
    }
}
