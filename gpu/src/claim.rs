//! What a pod holds or waits for by ResourceClaims (dynamic resource allocation).
//!
//! A claim names devices by driver, pool and device; which GPU that is, and how large, is in the ResourceSlices: whoever has both
//! calls [`complete`]. A device belongs to the claim, not to a container: where several containers, or several pods, share a claim,
//! each of them has an allocation, and the first of them is the one that is held.

#[cfg(test)]
mod tests;

use std::borrow::Borrow;

use crate::dra::{DeviceName, DeviceRef};
use crate::inventory::{
    Allocation, AllocationState, ContainerKind, Finding, FindingLevel, Mapping, Owner, Requested,
};
use crate::lifecycle;
use crate::object::{ClaimAllocation, DeviceResult, ExactRequest, NodeSelector, Pod, ResourceClaim};
use crate::pod::notes::Notes;
use crate::pod::{CODE, NO_CONTAINER, describe, owner};
use crate::quantity;
use crate::vendor::{Vendor, by_dra_driver};

/// Devices of one claim that are read; the API allows fewer.
const MAX_RESULTS: usize = 256;

/// `Allocation::source`.
pub const DRA: &str = "dra";

/// What was read of a pod's claims.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ClaimFacts {
    /// What containers hold or wait for, by claim, then by container.
    pub allocations: Vec<Allocation>,
    /// What is not as it should be.
    pub findings: Vec<Finding>,
    /// Claims that the pod names and that were not given: it cannot be told whether they are for devices of a known vendor.
    pub missing: Vec<String>,
}

/// A claim of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference<'a> {
    /// Its name in the pod; `None` for the claim that Kubernetes made for extended resources.
    pub entry: Option<&'a str>,
    /// Name of the ResourceClaim; `None` while it has not been made from its template.
    pub claim: Option<&'a str>,
}

/// The claims of a pod.
pub fn references(pod: &Pod) -> Vec<Reference<'_>> {
    let made = |entry: &str| {
        let statuses = &pod.status.resource_claim_statuses;
        let status = statuses.iter().find(|status| status.name == entry)?;
        status.resource_claim_name.as_deref()
    };
    let named = pod.spec.resource_claims.iter().map(|own| Reference {
        entry: Some(&own.name),
        claim: own.resource_claim_name.as_deref().or_else(|| made(&own.name)),
    });
    let extended = pod.status.extended_resource_claim_status.as_ref();
    let extended = extended.map(|status| Reference {
        entry: None,
        claim: Some(&status.resource_claim_name),
    });
    named.chain(extended).collect()
}

/// Reads a pod's claims. `claims` are those of its namespace, or some of them; others than the pod's are skipped. Until a claim is
/// allocated its DeviceClass has to say what it is for: only the classes that drivers bring are known, not those of administrators.
pub fn allocations<C: Borrow<ResourceClaim>>(pod: &Pod, claims: &[C]) -> ClaimFacts {
    let mut facts = ClaimFacts::default();
    let mut notes = Notes::of(pod);
    let workload = owner(pod);
    for reference in references(pod) {
        let Some(name) = reference.claim else { continue };
        let claim = claims.iter().map(Borrow::borrow).find(|claim| {
            claim.metadata.name.as_deref() == Some(name) && claim.metadata.namespace == pod.metadata.namespace
        });
        let Some(claim) = claim else {
            facts.missing.push(name.to_owned());
            continue;
        };
        let reader = Reader {
            pod,
            workload: &workload,
            claim,
            name,
            entry: reference.entry,
        };
        match &claim.status.allocation {
            Some(allocation) => reader.allocated(allocation, &mut facts.allocations, &mut notes),
            None => reader.pending(&mut facts.allocations),
        }
    }
    facts.findings = notes.into_findings();
    facts
}

/// How the claim of an allocation names the device. `None` while nothing is allocated, and for other sources.
pub fn device(allocation: &Allocation) -> Option<DeviceName> {
    let fact = |name| allocation.facts.get(name).cloned();
    let name = DeviceName {
        driver: fact("driver")?,
        pool: fact("pool")?,
        device: fact("device")?,
    };
    (allocation.source.as_deref() == Some(DRA)).then_some(name)
}

/// Writes what the ResourceSlices say of the device. Without an amount in the claim it is all of what the claim names.
pub fn complete(allocation: &mut Allocation, device: &DeviceRef) {
    allocation.gpu = Some(device.gpu.clone());
    // An id is `<node>/<uuid>`, and no node's name has a slash.
    allocation.uuid = device.gpu.split_once('/').map(|(_, uuid)| uuid.to_owned());
    allocation.unknown.remove("uuid");
    if device.profile.is_some() {
        allocation.profile.clone_from(&device.profile);
    }
    if !allocation.unknown.contains_key("memoryMib") && allocation.memory_mib.is_none() {
        allocation.memory_mib = device.memory_mib;
    }
}

/// Whose devices a class of a driver's installation selects.
fn by_class(class: &str) -> Option<&'static Vendor> {
    let driver = match class {
        "mig.nvidia.com" | "vfio.gpu.nvidia.com" => "gpu.nvidia.com",
        // Drivers name the class of all their devices as themselves.
        other => other,
    };
    by_dra_driver(driver)
}

struct Reader<'a> {
    pod: &'a Pod,
    workload: &'a Owner,
    claim: &'a ResourceClaim,
    name: &'a str,
    entry: Option<&'a str>,
}

/// A container that uses a request of a claim.
type User<'a> = (&'a str, ContainerKind);

impl<'a> Reader<'a> {
    fn allocated(&self, allocation: &ClaimAllocation, allocations: &mut Vec<Allocation>, notes: &mut Notes) {
        let consumers = &self.claim.status.reserved_for;
        let uid = self.pod.metadata.uid.as_deref().unwrap_or_default();
        let place = consumers.iter().position(|consumer| consumer.uid == uid);
        let (state, reason) = self.life(place.is_some());
        if lifecycle::ended(self.pod) && place.is_none() {
            return;
        }
        let selector = allocation.node_selector.as_ref();
        let node = selector
            .and_then(NodeSelector::node)
            .or(self.pod.spec.node_name.as_deref());
        for (index, result) in allocation.devices.results.iter().take(MAX_RESULTS).enumerate() {
            let Some(vendor) = by_dra_driver(&result.driver) else {
                continue;
            };
            let request = result.request.split('/').next().unwrap_or_default();
            let users = self.users(request);
            let mut base = self.base(vendor.name, state, reason.clone());
            base.node = node.map(str::to_owned);
            base.requested = self.requested(&result.request);
            base.since = allocation.allocation_timestamp.or(base.since);
            base.unknown.insert("uuid".into(), CODE.into());
            base.profile = mig_profile(result);
            self.amounts(result, &mut base, notes);
            let admin = result.admin_access;
            for (name, value) in [
                ("driver", Some(result.driver.clone())),
                ("pool", Some(result.pool.clone())),
                ("device", Some(result.device.clone())),
                ("request", Some(result.request.clone())),
                ("shareId", result.share_id.clone()),
                ("adminAccess", admin.then(|| "true".to_owned())),
                (
                    "sharedBy",
                    (consumers.len() > 1).then(|| consumers.len().to_string()),
                ),
            ] {
                if let Some(value) = value {
                    base.facts.insert(name.to_owned(), value);
                }
            }
            let counts = state.holds() && place == Some(0) && !admin;
            self.push(&base, &users, index, counts, allocations);
        }
    }

    fn pending(&self, allocations: &mut Vec<Allocation>) {
        if lifecycle::ended(self.pod) {
            return;
        }
        let reason = lifecycle::not_scheduled(self.pod);
        for (index, request) in self.claim.spec.devices.requests.iter().enumerate() {
            let choices = request.choices();
            let Some(vendor) = choices
                .iter()
                .find_map(|choice| by_class(&choice.device_class_name))
            else {
                continue;
            };
            let mut base = self.base(vendor.name, AllocationState::Pending, reason.clone());
            base.requested = self.requested(&request.name);
            base.facts.insert("request".to_owned(), request.name.clone());
            self.push(&base, &self.users(&request.name), index, false, allocations);
        }
    }

    /// One allocation for each container that uses the device, the first of which may count.
    fn push(
        &self,
        base: &Allocation,
        users: &[User<'_>],
        index: usize,
        counts: bool,
        allocations: &mut Vec<Allocation>,
    ) {
        let entry = self.entry.unwrap_or("extended-resources");
        let uid = self.pod.metadata.uid.as_deref().unwrap_or_default();
        let id = |container: &str| format!("{uid}/{container}/{entry}.{index}");
        if users.is_empty() {
            allocations.push(Allocation {
                id: id(NO_CONTAINER),
                held: counts,
                ..base.clone()
            });
        }
        for (place, (container, kind)) in users.iter().enumerate() {
            allocations.push(Allocation {
                id: id(container),
                container: Some((*container).to_owned()),
                container_kind: Some(*kind),
                held: counts && place == 0,
                ..base.clone()
            });
        }
    }

    fn base(&self, vendor: &str, state: AllocationState, reason: Option<String>) -> Allocation {
        let mut allocation = Allocation {
            vendor: vendor.to_owned(),
            mapping: Some(Mapping::Claim),
            state: Some(state),
            reason,
            since: self.pod.metadata.creation_timestamp.as_ref().map(|time| time.0),
            source: Some(DRA.to_owned()),
            ..Allocation::default()
        };
        allocation.facts.insert("claim".to_owned(), self.name.to_owned());
        describe(self.pod, self.workload, &mut allocation);
        allocation
    }

    fn life(&self, reserved: bool) -> (AllocationState, Option<String>) {
        let pod = self.pod;
        if lifecycle::ended(pod) {
            return (AllocationState::Stale, pod.status.phase.clone());
        }
        if !reserved {
            let why = "the claim is allocated, but not reserved for this pod".to_owned();
            return (AllocationState::Pending, Some(why));
        }
        if pod.metadata.deletion_timestamp.is_some() {
            return (AllocationState::Terminating, None);
        }
        let state = match pod.status.phase.as_deref() {
            Some("Pending") | None => AllocationState::Allocating,
            _ => AllocationState::Active,
        };
        (state, lifecycle::waiting(pod))
    }

    /// Containers that use a request, init containers first.
    fn users(&self, request: &str) -> Vec<User<'a>> {
        let pod = self.pod;
        let inits = pod
            .spec
            .init_containers
            .iter()
            .map(|container| (container, lifecycle::init_kind(container)));
        let apps = pod
            .spec
            .containers
            .iter()
            .map(|container| (container, ContainerKind::App));
        let extended = pod.status.extended_resource_claim_status.as_ref();
        inits
            .chain(apps)
            .filter(|(container, _)| match self.entry {
                Some(entry) => {
                    container.resources.claims.iter().any(|own| {
                        own.name == entry && own.request.as_deref().is_none_or(|own| own == request)
                    })
                }
                None => extended.is_some_and(|status| {
                    status
                        .request_mappings
                        .iter()
                        .any(|own| own.container_name == container.name && own.request_name == request)
                }),
            })
            .map(|(container, kind)| (container.name.as_str(), kind))
            .collect()
    }

    /// What a request, or one alternative of it (`<request>/<alternative>`), asks for.
    fn requested(&self, path: &str) -> Requested {
        let (name, alternative) = path
            .split_once('/')
            .map_or((path, None), |(name, one)| (name, Some(one)));
        let requests = &self.claim.spec.devices.requests;
        let Some(request) = requests.iter().find(|request| request.name == name) else {
            return Requested::default();
        };
        let named = alternative.and_then(|alternative| {
            let choice = request
                .first_available
                .iter()
                .find(|choice| choice.name == alternative)?;
            Some(&choice.members)
        });
        let first = || request.choices().first().copied();
        named.or_else(first).map(requested).unwrap_or_default()
    }

    fn amounts(&self, result: &DeviceResult, allocation: &mut Allocation, notes: &mut Notes) {
        for (name, value) in &result.consumed_capacity {
            let (field, read) = match base_name(name) {
                "memory" => {
                    allocation.memory_mib = quantity::mib(value);
                    ("memoryMib", allocation.memory_mib.is_some())
                }
                "cores" => {
                    allocation.cores = quantity::units(value).and_then(|cores| u32::try_from(cores).ok());
                    ("cores", allocation.cores.is_some())
                }
                _ => continue,
            };
            if !read {
                allocation.unknown.insert(field.into(), CODE.into());
                notes.add(
                    "unreadable-claim",
                    FindingLevel::Warning,
                    format!(
                        "claim {} consumes {name}: {value:?}, which cannot be read",
                        self.name
                    ),
                    [(name.as_str(), value.as_str())],
                );
            }
        }
    }
}

fn requested(exact: &ExactRequest) -> Requested {
    let mut requested = Requested {
        // `All` asks for as many as there are.
        count: match exact.allocation_mode.as_deref() {
            Some("All") => None,
            _ => u32::try_from(exact.count.unwrap_or(1)).ok(),
        },
        ..Requested::default()
    };
    let capacity = exact.capacity.as_ref();
    for (name, value) in capacity.iter().flat_map(|capacity| &capacity.requests) {
        match base_name(name) {
            "memory" => requested.memory_mib = quantity::mib(value),
            "cores" => {
                requested.cores = quantity::units(value).and_then(|cores| u32::try_from(cores).ok());
            }
            _ => {}
        }
    }
    requested
        .constraints
        .insert("deviceClass".to_owned(), exact.device_class_name.clone());
    requested
}

/// Names may be qualified with the driver's domain.
fn base_name(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// `gpu-<minor>-mig-<profile>-<profile id>-<start>`, as NVIDIA's driver calls MIG devices. Its first versions had only numbers there.
fn mig_profile(result: &DeviceResult) -> Option<String> {
    if result.driver != "gpu.nvidia.com" {
        return None;
    }
    let rest = result.device.strip_prefix("gpu-")?;
    let (minor, rest) = rest.split_once("-mig-")?;
    let (rest, start) = rest.rsplit_once('-')?;
    let (profile, id) = rest.rsplit_once('-')?;
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (number(minor) && number(id) && number(start) && profile.contains('g')).then(|| profile.to_owned())
}
