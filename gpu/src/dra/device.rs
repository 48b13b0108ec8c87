//! Devices of one pool.

use std::collections::BTreeMap;

use kantaloupe_checks::Code;

use super::{DeviceName, DeviceRef, DraFacts, object, reason};
use crate::inventory::{Capacity, FindingLevel, Gpu, GpuSource, Mode};
use crate::object::{Attribute, DeviceFields, ResourceSlice, SliceDevice};
use crate::quantity;
use crate::report::{self, Entry, Report};
use crate::vendor::Vendor;

/// What drivers publish under `type`.
const MIG: &str = "mig";
const VFIO: &str = "vfio";
const HAMI: &str = "hami-gpu";

/// Characters of a value that are kept.
const MAX_VALUE: usize = 128;

/// A device with what its driver says of it.
struct Published<'a> {
    device: &'a SliceDevice,
    node: &'a str,
    kind: Option<String>,
    uuid: Option<String>,
    parent: Option<String>,
}

/// Adds the devices of a pool.
pub(super) fn read(
    vendor: &Vendor,
    driver: &str,
    pool: &str,
    devices: &[(&ResourceSlice, &SliceDevice)],
    facts: &mut DraFacts,
    report: &mut Report,
) {
    let mut published: Vec<Published<'_>> = Vec::new();
    for &(slice, device) in devices {
        let Some(node) = node(slice, device) else {
            report.add(Entry::new(
                Code::HAMI_003,
                reason::NO_NODE,
                FindingLevel::Info,
                object(driver, pool),
                format!("Devices of pool {pool} of {driver} belong to no one node: they are not shown."),
            ));
            continue;
        };
        let fields = &device.fields;
        let text = |name| attribute(fields, driver, name).and_then(Attribute::text);
        published.push(Published {
            device,
            node,
            kind: text("type"),
            uuid: text("uuid"),
            parent: text("parentUUID"),
        });
    }
    // Whole devices first: parts of them, and other ways to use them, are no devices of their own.
    published.sort_by_key(|one| {
        one.kind
            .as_deref()
            .is_some_and(|kind| kind == MIG || kind == VFIO)
    });
    let mut known: BTreeMap<(String, String), usize> = BTreeMap::new();
    for one in &published {
        let whole = one
            .parent
            .as_ref()
            .or(one.uuid.as_ref())
            .and_then(|uuid| known.get(&(one.node.to_owned(), uuid.clone())))
            .and_then(|&at| facts.gpus.get_mut(at));
        let profile = attribute(&one.device.fields, driver, "profile").and_then(Attribute::text);
        let id = if let Some(whole) = whole {
            if let Some(profile) = &profile
                && !whole.mig_profiles.contains(profile)
            {
                whole.mig_profiles.push(profile.clone());
            }
            whole.id.clone()
        } else {
            let gpu = gpu(vendor, driver, pool, one, report);
            known.insert((one.node.to_owned(), gpu.uuid.clone()), facts.gpus.len());
            facts.gpus.push(gpu.clone());
            gpu.id
        };
        facts.devices.insert(
            DeviceName {
                driver: driver.to_owned(),
                pool: pool.to_owned(),
                device: one.device.name.clone(),
            },
            DeviceRef {
                gpu: id,
                profile,
                memory_mib: lookup(&one.device.fields.capacity, driver, "memory")
                    .and_then(|capacity| quantity::mib(&capacity.value)),
            },
        );
    }
}

/// The node of a device: the slice's, or its own where the slice is for several.
fn node<'a>(slice: &'a ResourceSlice, device: &'a SliceDevice) -> Option<&'a str> {
    let spec = &slice.spec;
    spec.node_name
        .as_deref()
        .or(device.fields.node_name.as_deref())
        .or_else(|| spec.node_selector.as_ref()?.node())
        .filter(|node| !node.is_empty())
}

/// An attribute by its name without a domain: drivers may write theirs or leave it out.
fn attribute<'a>(fields: &'a DeviceFields, driver: &str, name: &str) -> Option<&'a Attribute> {
    lookup(&fields.attributes, driver, name)
}

fn lookup<'a, T>(map: &'a BTreeMap<String, T>, driver: &str, name: &str) -> Option<&'a T> {
    map.get(name)
        .or_else(|| map.get(&format!("{driver}/{name}")))
        .or_else(|| {
            map.iter()
                .find(|(key, _)| key.rsplit_once('/').is_some_and(|(_, last)| last == name))
                .map(|(_, value)| value)
        })
}

fn gpu(vendor: &Vendor, driver: &str, pool: &str, one: &Published<'_>, report: &mut Report) -> Gpu {
    let fields = &one.device.fields;
    let text = |name| attribute(fields, driver, name).and_then(Attribute::text);
    let amount = |name| lookup(&fields.capacity, driver, name).map(|capacity| capacity.value.as_str());
    let kind = one.kind.as_deref();
    // A part that could be made but is not has no identifier: it stands for its card.
    let card = one
        .parent
        .as_ref()
        .filter(|_| kind == Some(MIG) && one.uuid.is_none());
    // A device that has none is named by its place, which no other has.
    let uuid = one
        .uuid
        .as_ref()
        .or(card)
        .cloned()
        .unwrap_or_else(|| format!("{pool}-{}", one.device.name));
    let memory = amount("memory")
        .and_then(quantity::mib)
        .filter(|_| card.is_none());
    let shared = fields.allow_multiple_allocations;
    let mut gpu = Gpu {
        id: format!("{}/{uuid}", one.node),
        uuid,
        node: one.node.to_owned(),
        index: index(fields, driver, &one.device.name),
        vendor: vendor.name.to_owned(),
        model: text("productName"),
        mode: match kind {
            Some(MIG) => Some(Mode::Mig),
            Some(HAMI) => Some(Mode::HamiCore),
            _ if shared => None,
            _ => Some(Mode::Whole),
        },
        capacity: Capacity {
            // How many may share it is limited by memory and cores alone.
            slots: (!shared && card.is_none()).then_some(1),
            memory_mib: memory,
            cores: amount("cores")
                .and_then(quantity::units)
                .and_then(|cores| u32::try_from(cores).ok()),
        },
        physical_memory_mib: memory,
        numa: attribute(fields, driver, "numaNode")
            .or_else(|| attribute(fields, driver, "numa"))
            .and_then(|numa| i32::try_from(numa.int?).ok())
            .filter(|&numa| numa >= 0),
        mig_profiles: text("profile").into_iter().collect(),
        source: Some(GpuSource::Dra),
        driver_version: text("driverVersion"),
        ..Gpu::default()
    };
    for (name, fact) in [
        ("device", Some(format!("{driver}/{pool}/{}", one.device.name))),
        ("parentUuid", one.parent.clone()),
        ("pciBusId", text("pciBusID").or_else(|| text("pcieBusID"))),
    ] {
        if let Some(fact) = fact {
            gpu.facts.insert(name.to_owned(), report::cut(&fact, MAX_VALUE));
        }
    }
    for (name, missing, code) in [
        ("uuid", one.uuid.is_none() && card.is_none(), Code::HAMI_003),
        ("model", gpu.model.is_none(), Code::HAMI_003),
        ("mode", gpu.mode.is_none(), Code::HAMI_003),
        ("capacity.memoryMib", memory.is_none(), Code::HAMI_003),
        ("physicalMemoryMib", memory.is_none(), Code::GPU_004),
        ("driverVersion", gpu.driver_version.is_none(), Code::GPU_002),
    ] {
        if missing {
            gpu.unknown.insert(name.into(), code.as_str().into());
        }
    }
    taints(&mut gpu, fields, report);
    gpu
}

/// `minor` where it is said, else the number in `gpu-0` or `hami-gpu-0`. Parts of a device have none.
fn index(fields: &DeviceFields, driver: &str, name: &str) -> Option<u32> {
    attribute(fields, driver, "minor")
        .or_else(|| attribute(fields, driver, "index"))
        .and_then(|minor| u32::try_from(minor.int?).ok())
        .or_else(|| name.rsplit_once("gpu-")?.1.parse().ok())
}

/// A driver taints devices that do not work; administrators taint those that are not to be used.
fn taints(gpu: &mut Gpu, fields: &DeviceFields, report: &mut Report) {
    for taint in &fields.taints {
        let value = taint
            .value
            .as_deref()
            .map_or_else(String::new, |value| format!("={value}"));
        let text = report::cut(&format!("{}{value}:{}", taint.key, taint.effect), MAX_VALUE);
        match taint.effect.as_str() {
            "NoExecute" => {
                gpu.healthy = Some(false);
                report.add(Entry::new(
                    Code::GPU_005,
                    reason::TAINTED,
                    FindingLevel::Warning,
                    report::gpu(&gpu.id),
                    format!("{} of node {} is tainted: {text}.", gpu.uuid, gpu.node),
                ));
                gpu.unhealthy_reason = Some(format!("tainted: {text}"));
            }
            "NoSchedule" => gpu.cordoned = true,
            _ => {}
        }
    }
}
