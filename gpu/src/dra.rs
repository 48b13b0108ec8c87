//! Devices that drivers publish in ResourceSlices.

mod device;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use kantaloupe_checks::Code;

use crate::inventory::{Finding, FindingLevel, Gpu, ObjectRef};
use crate::object::{ResourceSlice, SliceDevice};
use crate::report::{Entry, Report};
use crate::vendor;

/// What the slices of a cluster, or of a node, tell.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DraFacts {
    /// The devices.
    pub gpus: Vec<Gpu>,
    /// What is wrong with the slices.
    pub findings: Vec<Finding>,
    /// What claims call devices, with the device of the inventory that is meant.
    pub devices: BTreeMap<DeviceName, DeviceRef>,
}

/// How a claim names a device.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceName {
    /// The driver.
    pub driver: String,
    /// The pool.
    pub pool: String,
    /// The device in the pool.
    pub device: String,
}

/// What a claim means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceRef {
    /// [`Gpu::id`].
    pub gpu: String,
    /// The MIG profile, where it is a part of the device.
    pub profile: Option<String>,
    /// Memory of what the claim names, all of the device or a part, MiB.
    pub memory_mib: Option<u64>,
}

/// Reasons of findings about slices.
pub mod reason {
    /// Slices of a pool are missing: its devices are not shown, and the scheduler does not use them.
    pub const INCOMPLETE: &str = "incomplete-pool";
    /// A device is published twice in a pool.
    pub const DUPLICATE: &str = "duplicate-device";
    /// Devices that belong to no one node.
    pub const NO_NODE: &str = "device-without-node";
    /// A driver of devices that look like accelerators, but are not known.
    pub const UNKNOWN_DRIVER: &str = "unknown-driver";
    /// A device is tainted so that pods are evicted from it.
    pub const TAINTED: &str = "tainted-device";
}

/// Devices of one node. Larger ones are cut off, as registrations are.
const MAX_DEVICES: usize = crate::register::MAX_DEVICES;

/// Reads slices. Of each pool only those of the newest generation count, and only if all of them are there.
pub fn slices(slices: &[ResourceSlice]) -> DraFacts {
    let mut pools: BTreeMap<(&str, &str), Vec<&ResourceSlice>> = BTreeMap::new();
    for slice in slices {
        let spec = &slice.spec;
        pools
            .entry((&spec.driver, &spec.pool.name))
            .or_default()
            .push(slice);
    }
    let mut facts = DraFacts::default();
    let mut report = Report::default();
    for ((driver, pool), slices) in pools {
        let Some(vendor) = vendor::by_dra_driver(driver) else {
            unknown(driver, &mut report);
            continue;
        };
        let Some(current) = complete(driver, pool, &slices, &mut report) else {
            continue;
        };
        let devices = distinct(driver, pool, &current, &mut report);
        device::read(vendor, driver, pool, &devices, &mut facts, &mut report);
    }
    facts
        .gpus
        .sort_by(|a, b| (&a.node, &a.vendor, a.index, &a.uuid).cmp(&(&b.node, &b.vendor, b.index, &b.uuid)));
    facts.findings = report.into_findings();
    facts
}

/// The slices of the newest generation, if there are as many as the pool has.
fn complete<'a>(
    driver: &str,
    pool: &str,
    slices: &[&'a ResourceSlice],
    report: &mut Report,
) -> Option<Vec<&'a ResourceSlice>> {
    let newest = slices.iter().map(|slice| slice.spec.pool.generation).max()?;
    let current: Vec<&ResourceSlice> = slices
        .iter()
        .copied()
        .filter(|slice| slice.spec.pool.generation == newest)
        .collect();
    let expected = current.first()?.spec.pool.resource_slice_count;
    if i64::try_from(current.len()) == Ok(expected) {
        return Some(current);
    }
    report.add(Entry::new(
        Code::HAMI_003,
        reason::INCOMPLETE,
        FindingLevel::Warning,
        object(driver, pool),
        format!(
            "Pool {pool} of {driver} has {} of {expected} slices in generation {newest}: the scheduler does not use its devices until the driver has published all.",
            current.len()
        ),
    ));
    None
}

/// Devices with the slice they are in, each name once.
fn distinct<'a>(
    driver: &str,
    pool: &str,
    slices: &[&'a ResourceSlice],
    report: &mut Report,
) -> Vec<(&'a ResourceSlice, &'a SliceDevice)> {
    let mut devices: BTreeMap<&str, (&ResourceSlice, &SliceDevice)> = BTreeMap::new();
    let all = slices
        .iter()
        .flat_map(|slice| slice.spec.devices.iter().map(move |device| (*slice, device)));
    for (slice, device) in all.take(MAX_DEVICES) {
        if devices.contains_key(device.name.as_str()) {
            report.add(Entry::new(
                Code::HAMI_003,
                reason::DUPLICATE,
                FindingLevel::Warning,
                object(driver, pool),
                format!(
                    "Device {} of pool {pool} of {driver} is published twice.",
                    device.name
                ),
            ));
        } else {
            devices.insert(&device.name, (slice, device));
        }
    }
    devices.into_values().collect()
}

/// Reports a driver, if its name says that its devices may be accelerators; there are drivers of network cards and others.
fn unknown(driver: &str, report: &mut Report) {
    let words = ["gpu", "npu", "dcu", "hcu", "mlu", "xpu", "gcu", "neuron", "accel"];
    let accelerators = driver
        .split(|c: char| !c.is_ascii_alphanumeric())
        .any(|part| words.iter().any(|word| part.contains(word)));
    if accelerators {
        report.add(Entry::new(
            Code::HAMI_003,
            reason::UNKNOWN_DRIVER,
            FindingLevel::Info,
            ObjectRef {
                kind: "ResourceSlice".to_owned(),
                namespace: None,
                name: driver.to_owned(),
            },
            format!("Driver {driver} publishes devices of a kind that is not known: they are not shown."),
        ));
    }
}

/// A pool as the object of a finding.
fn object(driver: &str, pool: &str) -> ObjectRef {
    ObjectRef {
        kind: "ResourcePool".to_owned(),
        namespace: None,
        name: format!("{driver}/{pool}"),
    }
}
