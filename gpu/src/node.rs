//! Nodes: the machine, and the devices that it registers.
//!
//! Whether a registration is alive is decided by what the kubelet offers, not by the handshake between HAMi's parts ([`handshake`]): the annotation stays
//! when the plugin is gone, and the handshake stays old where everything works.

mod capacity;
mod device;
pub mod handshake;
mod labels;
pub mod lock;
mod machine;
mod mark;
mod offer;
mod source;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use jiff::Timestamp;
use kantaloupe_checks::Code;

pub use self::mark::NodeMark;
use crate::inventory::{self, Finding, FindingLevel, Gpu};
use crate::object::{Node, annotation, label};
use crate::report::{self, Entry, Report};
use crate::vendor::{ResourceNames, VENDORS};

/// What a node tells.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeFacts {
    /// The node. Its pods are counted by who knows them.
    pub node: inventory::Node,
    /// Its devices, by vendor and position.
    pub gpus: Vec<Gpu>,
    /// What is wrong with them.
    pub findings: Vec<Finding>,
    /// What the checks look at.
    pub mark: NodeMark,
}

/// Reasons of findings about nodes.
pub mod reason {
    /// A list of devices cannot be read, or not all of it.
    pub const UNPARSABLE: &str = "unparsable-registration";
    /// Devices are registered that the kubelet does not offer.
    pub const STALE: &str = "stale-registration";
    /// The label for a device plugin is set, but no device is registered. Where the node has ResourceSlices, that is as it should be.
    pub const NOT_REGISTERED: &str = "not-registered";
    /// A registration whose vendor is not known.
    pub const UNKNOWN_VENDOR: &str = "unknown-registration";
    /// The vendor's other kind of registration is in use; this one is left over.
    pub const SUPERSEDED: &str = "superseded-registration";
    /// The same device is registered under two keys.
    pub const TWICE: &str = "registered-twice";
    /// The kubelet offers cards where HAMi's plugin would offer shares of them.
    pub const TWO_PLUGINS: &str = "two-device-plugins";
    /// The scheduler has given up devices that are offered.
    pub const GIVEN_UP: &str = "handshake-deleted";
    /// A lock that should have been released.
    pub const LEAKED_LOCK: &str = "leaked-lock";
    /// A lock that cannot be read.
    pub const UNPARSABLE_LOCK: &str = "unparsable-lock";
    /// A device is taken out of scheduling that is not there.
    pub const UNKNOWN_CORDON: &str = "unknown-cordon";
    /// Scores of pairs that cannot be read: HAMi drops the node's devices.
    pub const UNPARSABLE_SCORES: &str = "unparsable-scores";
    /// A device reports that it does not work.
    pub const UNHEALTHY: &str = "unhealthy-device";
}

/// Devices that an administrator took out of scheduling (HAMi 2.10).
const CORDON: &str = "hami.io/device-cordon";

/// Reads a node. `names` are the names of resources in this cluster.
pub fn read(node: &Node, names: &ResourceNames, now: Timestamp) -> NodeFacts {
    let mut machine = machine::read(node);
    let mut report = Report::default();
    let sources = source::all(node, names, &mut report);
    let mut gpus = device::gpus(node, &machine, &sources, &mut report);
    cordon(node, &mut gpus, &mut report);
    locks(node, now, &mut report);
    not_registered(node, &sources, &mut report);

    machine.gpus = u32::try_from(gpus.len()).unwrap_or(u32::MAX);
    let vendors: BTreeSet<&str> = gpus.iter().map(|gpu| gpu.vendor.as_str()).collect();
    machine.vendors = vendors.into_iter().map(str::to_owned).collect();
    if !gpus.is_empty() && machine.driver_version.is_none() {
        machine
            .unknown
            .insert("driverVersion".into(), Code::GPU_002.as_str().into());
    }
    let mark = NodeMark::of(node, &machine, &gpus);
    NodeFacts {
        mark,
        node: machine,
        gpus,
        findings: report.into_findings(),
    }
}

/// Marks the devices that are taken out of scheduling.
fn cordon(node: &Node, gpus: &mut [Gpu], report: &mut Report) {
    let Some(list) = annotation(&node.metadata, CORDON) else {
        return;
    };
    let wanted: BTreeSet<&str> = list
        .split(',')
        .map(str::trim)
        .filter(|uuid| !uuid.is_empty())
        .collect();
    for gpu in gpus.iter_mut() {
        gpu.cordoned = wanted.contains(gpu.uuid.as_str());
    }
    let unknown: Vec<&str> = wanted
        .into_iter()
        .filter(|uuid| gpus.iter().all(|gpu| gpu.uuid != *uuid))
        .collect();
    if !unknown.is_empty() {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        report.add(
            Entry::new(
                Code::HAMI_003,
                reason::UNKNOWN_CORDON,
                FindingLevel::Info,
                report::node(name),
                format!(
                    "{CORDON} names devices that node {name} does not have: {}.",
                    unknown.join(", ")
                ),
            )
            .evidence(CORDON, list),
        );
    }
}

/// Finds locks that nobody will release.
fn locks(node: &Node, now: Timestamp, report: &mut Report) {
    let name = node.metadata.name.as_deref().unwrap_or_default();
    let keys: BTreeSet<&str> = VENDORS.iter().map(|vendor| vendor.lock).collect();
    for key in keys {
        let Some(value) = annotation(&node.metadata, key).filter(|value| !value.is_empty()) else {
            continue;
        };
        let entry = match lock::parse(value) {
            Ok(lock) if lock.is_leaked(now) => {
                let pod = lock.pod.map_or_else(String::new, |(namespace, pod)| {
                    format!(" for pod {namespace}/{pod}")
                });
                Entry::new(
                    Code::HAMI_004,
                    reason::LEAKED_LOCK,
                    FindingLevel::Warning,
                    report::node(name),
                    format!("Node {name} is locked for scheduling{pod} since {}, and was not released: no pod gets a device there until HAMi breaks the lock.", lock.at),
                )
                .since(Some(lock.at))
            }
            Ok(_) => continue,
            Err(error) => Entry::new(
                Code::HAMI_004,
                reason::UNPARSABLE_LOCK,
                FindingLevel::Warning,
                report::node(name),
                format!("{key} of node {name} cannot be read: {error}."),
            ),
        };
        report.add(entry.evidence(key, value));
    }
}

/// Finds nodes that are labelled for a device plugin but have no devices of it.
fn not_registered(node: &Node, sources: &[source::Source<'_>], report: &mut Report) {
    let name = node.metadata.name.as_deref().unwrap_or_default();
    let labels = VENDORS.iter().filter_map(|vendor| Some((vendor, vendor.label?)));
    for (vendor, (key, value)) in labels {
        if label(&node.metadata, key) != Some(value) {
            continue;
        }
        // A registration that cannot be read has a finding of its own.
        let said = sources.iter().any(|source| {
            source.vendor.name == vendor.name
                && source.kind != inventory::GpuSource::Labels
                && !(source.registration.devices.is_empty() && source.registration.problems.is_empty())
        });
        if !said {
            report.add(
                Entry::new(
                    Code::HAMI_003,
                    reason::NOT_REGISTERED,
                    FindingLevel::Error,
                    report::node(name),
                    format!(
                        "Node {name} is labelled {key}={value}, but registers no {} devices.",
                        vendor.name
                    ),
                )
                .evidence(key, value),
            );
        }
    }
}
