//! Where an allocation is in its life, and what of a pod counts against its devices.
//!
//! HAMi's scheduler counts every pod that names a node for its devices and has not ended: also one that still waits, and one that
//! is being deleted. [`Allocation::held`] says the same for each share, so what is held is what the scheduler believes to be taken.
//!
//! Init containers are the exception. Their shares are counted until all init containers (but sidecars) have succeeded, and until
//! then not added to those of the other containers: a device counts the larger of the two, which [`counted`] works out for a pod.
//! An init container that has ended is [`AllocationState::Finished`]; while another one runs it is still `held`, as the scheduler
//! gives its share back only with the last.

#[cfg(test)]
mod tests;

use std::borrow::Borrow;
use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::inventory::{Allocation, AllocationState, ContainerKind, Used};
use crate::object::{Condition, Container, ContainerStatus, Pod, annotation};
use crate::vendor::Scheme;

/// How long the device plugin may take to hand devices out: HAMi gives up the node's lock after the same time.
pub const STUCK_AFTER: SignedDuration = SignedDuration::from_mins(5);

/// Longest reason that is kept: conditions can carry tens of kilobytes.
const MAX_REASON: usize = 512;

/// Fact of a share that no record names, and whose pod is being deleted.
const TERMINATING: &str = "terminating";

/// Fact of a share of a resource that the vendor's own device plugin serves beside HAMi.
pub(crate) const RESOURCE: &str = "resource";

/// `Allocation::source` of a device that no record names.
pub const DEVICE_PLUGIN: &str = "devicePlugin";

/// Life of a share, or of all shares of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Life {
    /// Where it is.
    pub state: AllocationState,
    /// It counts against its device.
    pub held: bool,
    /// Why it waits, or why it counts for nothing.
    pub reason: Option<String>,
}

/// What a scheduler and its device plugin wrote about a pod, besides the devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Binding<'a> {
    /// The node that was chosen.
    pub node: Option<&'a str>,
    /// When it was chosen, unix seconds as written.
    pub allocated_at: Option<&'a str>,
    /// When the pod was bound to it.
    pub bound_at: Option<&'a str>,
    /// `allocating`, `success`, `failed`.
    pub phase: Option<&'a str>,
}

impl<'a> Binding<'a> {
    /// Reads the annotations of one scheme.
    pub fn of(pod: &'a Pod, scheme: Scheme) -> Self {
        let [node, allocated_at, bound_at, phase] = match scheme {
            Scheme::Hami => [
                "hami.io/vgpu-node",
                "hami.io/vgpu-time",
                "hami.io/bind-time",
                "hami.io/bind-phase",
            ],
            Scheme::Volcano => [
                "volcano.sh/vgpu-node",
                "volcano.sh/vgpu-time",
                "volcano.sh/bind-time",
                "volcano.sh/bind-phase",
            ],
            Scheme::FourPd => [
                "4pd.io/vgpu-node",
                "4pd.io/vgpu-time",
                "4pd.io/bind-time",
                "4pd.io/bind-phase",
            ],
        }
        .map(|key| annotation(&pod.metadata, key).filter(|value| !value.is_empty()));
        Self {
            node,
            allocated_at,
            bound_at,
            phase,
        }
    }

    /// Whether the device plugin is not done.
    fn in_progress(&self) -> bool {
        matches!(self.phase, Some("allocating" | "failed"))
    }

    fn waiting_since(&self) -> Option<Timestamp> {
        self.bound_at
            .and_then(seconds)
            .or_else(|| self.allocated_at.and_then(seconds))
    }
}

/// Unix seconds as HAMi writes them.
pub fn seconds(text: &str) -> Option<Timestamp> {
    Timestamp::from_second(text.trim().parse().ok()?).ok()
}

/// Whether the pod has ended: nothing of it holds a device.
pub fn ended(pod: &Pod) -> bool {
    matches!(pod.status.phase.as_deref(), Some("Succeeded" | "Failed"))
}

/// The life of what a record names.
pub fn of_record(pod: &Pod, binding: &Binding<'_>, now: Timestamp) -> Life {
    let phase = pod.status.phase.as_deref();
    let runs_on = pod.spec.node_name.as_deref().filter(|node| !node.is_empty());
    if ended(pod) {
        let status = &pod.status;
        let why = sentence(status.reason.as_deref(), status.message.as_deref());
        return Life {
            state: AllocationState::Stale,
            held: false,
            reason: why.or_else(|| phase.map(str::to_owned)),
        };
    }
    match (binding.node, runs_on) {
        (Some(recorded), Some(actual)) if recorded != actual => {
            return Life {
                state: AllocationState::Stale,
                held: false,
                reason: Some(cut(&format!(
                    "the record is for node {recorded}, the pod is on {actual}"
                ))),
            };
        }
        // HAMi's scheduler counts no pod without a node in its record.
        (None, Some(_)) => return Life::new(AllocationState::Unaccounted, false, None),
        (None, None) => return Life::new(AllocationState::Pending, false, not_scheduled(pod)),
        _ => {}
    }
    if pod.metadata.deletion_timestamp.is_some() {
        return Life::new(AllocationState::Terminating, true, waiting(pod));
    }
    let waits = matches!(phase, Some("Pending") | None);
    if !waits || (!binding.in_progress() && runs_on.is_some()) {
        return Life::new(AllocationState::Active, true, waiting(pod));
    }
    let overdue = binding
        .waiting_since()
        .is_some_and(|since| now.duration_since(since) > STUCK_AFTER);
    let reason = match binding.phase {
        Some("failed") => Some("the device plugin reported that it failed".to_owned()),
        _ => waiting(pod).or_else(|| not_scheduled(pod)),
    };
    let state = if overdue {
        AllocationState::Stuck
    } else {
        AllocationState::Allocating
    };
    Life::new(state, true, reason)
}

/// The life of a request that no record names. The pod has not ended.
///
/// On a node without HAMi this is how every device is handed out: [`unrecorded`] tells once the node is known.
pub fn of_request(pod: &Pod) -> Life {
    let bound = pod.spec.node_name.as_deref().is_some_and(|node| !node.is_empty());
    if bound {
        Life::new(AllocationState::Unaccounted, false, waiting(pod))
    } else {
        Life::new(AllocationState::Pending, false, not_scheduled(pod))
    }
}

/// Writes what is known of a share that no record names.
pub(crate) fn mark_unrecorded(allocation: &mut Allocation, pod: &Pod) {
    if allocation.state != Some(AllocationState::Unaccounted) {
        return;
    }
    allocation.source = Some(DEVICE_PLUGIN.to_owned());
    if pod.metadata.deletion_timestamp.is_some() {
        allocation.facts.insert(TERMINATING.to_owned(), "true".to_owned());
    }
}

/// What a share that no record names is, once it is known whether HAMi (or Volcano) gives out the node's devices of this vendor.
/// Where it does, the pod went past it: unaccounted, and not counted. Where not, this is how the vendor's own device plugin hands
/// devices out: in use. So are those of a resource that HAMi does not serve (fact `resource`), on any node.
pub fn unrecorded(allocation: &Allocation, shared: bool) -> AllocationState {
    if shared && !allocation.facts.contains_key(RESOURCE) {
        AllocationState::Unaccounted
    } else if allocation.facts.contains_key(TERMINATING) {
        AllocationState::Terminating
    } else if allocation.phase.as_deref() == Some("Pending") {
        AllocationState::Allocating
    } else {
        AllocationState::Active
    }
}

/// What kind of container the n-th of `initContainers` is.
pub fn init_kind(container: &Container) -> ContainerKind {
    match container.restart_policy.as_deref() {
        Some("Always") => ContainerKind::Sidecar,
        _ => ContainerKind::Init,
    }
}

/// Whether all init containers that are to end have succeeded. `false` while their status is not known.
pub fn initialized(pod: &Pod) -> bool {
    pod.spec
        .init_containers
        .iter()
        .filter(|container| init_kind(container) == ContainerKind::Init)
        .all(|container| succeeded(&pod.status.init_container_statuses, &container.name))
}

/// The life of an init container's share, given the life of the record.
pub fn of_init(record: &Life, pod: &Pod, container: &str) -> Life {
    let in_use = matches!(
        record.state,
        AllocationState::Allocating
            | AllocationState::Stuck
            | AllocationState::Active
            | AllocationState::Terminating
    );
    if !in_use || !succeeded(&pod.status.init_container_statuses, container) {
        return record.clone();
    }
    Life {
        state: AllocationState::Finished,
        held: record.held && !initialized(pod),
        reason: Some("the init container has ended".to_owned()),
    }
}

fn succeeded(statuses: &[ContainerStatus], container: &str) -> bool {
    statuses
        .iter()
        .find(|status| status.name == container)
        .and_then(|status| status.state.get("terminated"))
        .is_some_and(|state| state.exit_code == Some(0))
}

/// What a pod counts for against each device, by [`Allocation::gpu`], as the scheduler counts: for each device the larger of what
/// all app containers and sidecars hold together, and of what any init container holds together with the sidecars before it. The
/// pod's allocations are given in the order in which they were read. Those that are not held, or not of a known device, count nothing.
pub fn counted<A: Borrow<Allocation>>(allocations: impl IntoIterator<Item = A>) -> BTreeMap<String, Used> {
    #[derive(Default)]
    struct Sums {
        stay: Used,
        sidecars: Used,
        init: Option<(Option<String>, Used)>,
        peak: Used,
    }
    let mut devices = BTreeMap::<String, Sums>::new();
    for allocation in allocations {
        let allocation = allocation.borrow();
        let Some(gpu) = allocation.gpu.as_ref().filter(|_| allocation.held) else {
            continue;
        };
        let share = Used {
            slots: 1,
            memory_mib: allocation.memory_mib.unwrap_or(0),
            cores: allocation.cores.unwrap_or(0),
        };
        let sums = devices.entry(gpu.clone()).or_default();
        if allocation.container_kind == Some(ContainerKind::Init) {
            // Init containers run one after another; the shares of one are held together.
            let same = sums.init.take().filter(|(name, _)| *name == allocation.container);
            let before = same.map_or_else(|| sums.sidecars.clone(), |(_, held)| held);
            let held = add(&before, &share);
            sums.peak = max(&sums.peak, &held);
            sums.init = Some((allocation.container.clone(), held));
            continue;
        }
        if allocation.container_kind == Some(ContainerKind::Sidecar) {
            sums.sidecars = add(&sums.sidecars, &share);
        }
        sums.stay = add(&sums.stay, &share);
    }
    devices
        .into_iter()
        .map(|(gpu, sums)| (gpu, max(&sums.stay, &sums.peak)))
        .collect()
}

fn add(left: &Used, right: &Used) -> Used {
    Used {
        slots: left.slots.saturating_add(right.slots),
        memory_mib: left.memory_mib.saturating_add(right.memory_mib),
        cores: left.cores.saturating_add(right.cores),
    }
}

fn max(left: &Used, right: &Used) -> Used {
    Used {
        slots: left.slots.max(right.slots),
        memory_mib: left.memory_mib.max(right.memory_mib),
        cores: left.cores.max(right.cores),
    }
}

impl Life {
    fn new(state: AllocationState, held: bool, reason: Option<String>) -> Self {
        Self { state, held, reason }
    }
}

/// Why the pod has no node.
pub(crate) fn not_scheduled(pod: &Pod) -> Option<String> {
    let refused = |condition: &&Condition| condition.kind == "PodScheduled" && condition.status == "False";
    let condition = pod.status.conditions.iter().find(refused)?;
    sentence(condition.reason.as_deref(), condition.message.as_deref())
}

/// Why a container waits.
pub(crate) fn waiting(pod: &Pod) -> Option<String> {
    let status = &pod.status;
    let waiting = status
        .init_container_statuses
        .iter()
        .chain(&status.container_statuses)
        // `PodInitializing` is no reason: an init container has one, or runs.
        .filter_map(|container| container.state.get("waiting"))
        .find(|state| {
            state
                .reason
                .as_deref()
                .is_some_and(|reason| reason != "PodInitializing")
        })?;
    sentence(waiting.reason.as_deref(), waiting.message.as_deref())
}

fn sentence(reason: Option<&str>, message: Option<&str>) -> Option<String> {
    let reason = reason.filter(|text| !text.is_empty());
    let message = message.filter(|text| !text.is_empty());
    match (reason, message) {
        (Some(reason), Some(message)) => Some(cut(&format!("{reason}: {message}"))),
        (Some(text), None) | (None, Some(text)) => Some(cut(text)),
        (None, None) => None,
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(MAX_REASON) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}...", &text[..end]),
    }
}
