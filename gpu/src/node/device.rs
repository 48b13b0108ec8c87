//! From registrations to devices of the inventory: which of them live, and what is known of each.

use std::collections::{BTreeMap, BTreeSet};

use kantaloupe_checks::Code;

use super::offer::Offer;
use super::source::Source;
use super::{handshake, labels, reason};
use crate::inventory::{self, Capacity, FindingLevel, Gpu, GpuSource, Mode, Unknown};
use crate::object::{Node, annotation, label};
use crate::register::Device;
use crate::report::{self, Entry, Report};
use crate::vendor::{CoreUnit, Memory};

/// Ascend nodes on which HAMi limits memory and cores inside the container, instead of cutting the chip by templates.
const ASCEND_HAMI_CORE: &str = "hami-vnpu-core";

/// A source with what the kubelet offers of it.
struct Offered<'a> {
    source: &'a Source<'a>,
    offer: Offer,
    /// Registered, but not offered: a rest.
    stale: bool,
}

/// The devices of a node.
pub(super) fn gpus(
    node: &Node,
    machine: &inventory::Node,
    sources: &[Source<'_>],
    report: &mut Report,
) -> Vec<Gpu> {
    let offered: Vec<Offered<'_>> = sources
        .iter()
        .filter(|source| !source.registration.devices.is_empty())
        .map(|source| {
            let offer = Offer::of(source, node);
            let stale = is_stale(source, &offer);
            Offered { source, offer, stale }
        })
        .collect();
    let mut gpus: Vec<Gpu> = Vec::new();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for one in &offered {
        if superseded(one, &offered, machine, report) {
            continue;
        }
        examine(node, machine, one, report);
        for gpu in convert(node, machine, one, report) {
            match seen.get(&gpu.id) {
                None => {
                    seen.insert(gpu.id.clone(), gpus.len());
                    gpus.push(gpu);
                }
                Some(&at) => {
                    twice(&gpu, machine, report);
                    if let Some(known) = gpus.get_mut(at).filter(|known| known.stale && !gpu.stale) {
                        *known = gpu;
                    }
                }
            }
        }
    }
    gpus.sort_by(|a, b| (&a.vendor, a.index, &a.uuid).cmp(&(&b.vendor, b.index, &b.uuid)));
    gpus
}

/// The kubelet offers none, although something registered as healthy. Where all are unhealthy that is as it should be, as long as it still counts them.
fn is_stale(source: &Source<'_>, offer: &Offer) -> bool {
    let devices = &source.registration.devices;
    let all_unhealthy = devices.iter().all(|device| device.health == Some(false));
    let from_capacity = matches!(source.kind, GpuSource::Capacity | GpuSource::Labels);
    offer.allocatable == 0 && !from_capacity && !(all_unhealthy && offer.capacity > 0)
}

/// Whether the same maker's devices are offered in another way, so that this source is about the same cards or about cards of the past.
fn superseded(
    one: &Offered<'_>,
    all: &[Offered<'_>],
    machine: &inventory::Node,
    report: &mut Report,
) -> bool {
    let live = all.iter().filter(|other| {
        !std::ptr::eq(other.source.vendor, one.source.vendor)
            && other.source.vendor.name == one.source.vendor.name
            && other.offer.allocatable > 0
    });
    for other in live {
        // Whole cards and slices of the same cards: the registration knows more of them than the capacity.
        let same_cards = one.source.kind == GpuSource::Capacity
            && other.source.kind != GpuSource::Capacity
            && one.source.registration.devices.len() == other.source.registration.devices.len();
        if same_cards || (one.source.kind == GpuSource::Capacity && one.offer.allocatable == 0) {
            return true;
        }
        if let Some(key) = one.source.key.filter(|_| one.stale) {
            report.add(Entry::new(
                Code::HAMI_003,
                reason::SUPERSEDED,
                FindingLevel::Info,
                report::node(&machine.name),
                format!(
                    "{key} of node {} is left over: the node offers {} now, and not {}.",
                    machine.name, other.offer.resource, one.offer.resource
                ),
            ));
            return true;
        }
    }
    false
}

/// What a source as a whole has wrong.
fn examine(node: &Node, machine: &inventory::Node, one: &Offered<'_>, report: &mut Report) {
    let Offered { source, offer, stale } = one;
    let Some(key) = source.key else { return };
    let name = &machine.name;
    let devices = &source.registration.devices;
    let handshake_key = source
        .vendor
        .handshake
        .map(|pattern| source.vendor.fill(pattern, source.names.word.as_deref()));
    let handshake = handshake_key
        .as_deref()
        .and_then(|key| annotation(&node.metadata, key));
    let given_up = handshake.is_some_and(|value| handshake::parse(value).state == handshake::State::Deleted);
    let entry = |code, reason, level, message: String| {
        let entry = Entry::new(code, reason, level, report::node(name), message)
            .evidence(&offer.resource, offer.allocatable.to_string());
        match (&handshake_key, handshake) {
            (Some(key), Some(value)) => entry.evidence(key.as_ref(), value),
            _ => entry,
        }
    };
    if *stale {
        report.add(entry(
            Code::HAMI_003,
            reason::STALE,
            FindingLevel::Warning,
            format!(
                "Node {name} has {} devices in {key}, but offers no {}.",
                devices.len(),
                offer.resource
            ),
        ));
        return;
    }
    if given_up && offer.allocatable > 0 {
        report.add(entry(
            Code::HAMI_003,
            reason::GIVEN_UP,
            FindingLevel::Warning,
            format!(
                "HAMi's scheduler has given up the {} devices of node {name}, although {} {} are offered: it places no pod there until the plugin registers again.",
                source.vendor.name, offer.allocatable, offer.resource
            ),
        ));
    }
    let healthy = devices.iter().filter(|device| device.health == Some(true));
    let shares: u64 = healthy
        .clone()
        .filter_map(|device| device.count)
        .map(u64::from)
        .sum();
    let cards = healthy.count() as u64;
    let all = devices.len() as u64;
    let whole = offer.allocatable == cards || offer.allocatable == all;
    let stock = source.vendor.has_stock_plugin && machine.ready == Some(true);
    if stock && offer.allocatable > 0 && whole && shares > all {
        report.add(entry(
            Code::GPU_003,
            reason::TWO_PLUGINS,
            FindingLevel::Error,
            format!(
                "Node {name} offers {} {}, one for each card, where HAMi's plugin would offer {shares}: another device plugin serves the resource.",
                offer.allocatable, offer.resource
            ),
        ));
    }
}

fn twice(gpu: &Gpu, machine: &inventory::Node, report: &mut Report) {
    report.add(Entry::new(
        Code::HAMI_003,
        reason::TWICE,
        FindingLevel::Warning,
        report::node(&machine.name),
        format!(
            "{} of node {} is registered under two keys.",
            gpu.uuid, machine.name
        ),
    ));
}

/// The devices of one source.
fn convert(node: &Node, machine: &inventory::Node, one: &Offered<'_>, report: &mut Report) -> Vec<Gpu> {
    let devices = &one.source.registration.devices;
    let discovered = labels::discovered(node);
    let mut indexes: BTreeMap<u32, usize> = BTreeMap::new();
    for device in devices {
        *indexes.entry(device.index.unwrap_or(0)).or_default() += 1;
    }
    devices
        .iter()
        .map(|device| {
            let mut gpu = base(node, machine, one, device, discovered.as_ref());
            // Writers that leave the index out leave it out of every entry, and it is read as 0.
            let index = device.index.unwrap_or(0);
            if indexes.get(&index) == Some(&1) {
                gpu.index = Some(index);
            } else {
                unknown(&mut gpu.unknown, "index", Code::HAMI_003);
            }
            peers(&mut gpu, device, one.source);
            health(&mut gpu, machine, one, device, report);
            gpu
        })
        .collect()
}

/// All fields but those that follow from the other devices and from what is offered.
fn base(
    node: &Node,
    machine: &inventory::Node,
    one: &Offered<'_>,
    device: &Device,
    discovered: Option<&labels::Discovered>,
) -> Gpu {
    let Offered { source, .. } = one;
    let vendor = source.vendor;
    let mut gpu = Gpu {
        id: format!("{}/{}", machine.name, device.id),
        uuid: device.id.clone(),
        node: machine.name.clone(),
        vendor: vendor.name.to_owned(),
        model: match source.kind {
            GpuSource::Labels => Some(device.kind.clone()),
            _ => vendor.model(&device.kind).map(str::to_owned),
        }
        .or_else(|| label(&node.metadata, vendor.model_label?).map(str::to_owned)),
        mode: mode(node, one, device),
        capacity: Capacity {
            slots: device.count,
            // 0 stands for a number that the vendor does not have.
            memory_mib: device
                .memory_mib
                .filter(|&memory| memory > 0 && vendor.memory == Memory::Mib),
            cores: device
                .cores
                .filter(|&cores| cores > 0)
                .map(|cores| vendor.cores.count(cores)),
        },
        // -1 is what drivers say where there is but one.
        numa: device.numa.filter(|&numa| numa >= 0),
        stale: one.stale,
        mig_profiles: device.mig_profiles.clone(),
        source: Some(source.kind),
        facts: device.facts.clone(),
        ..Gpu::default()
    };
    gpu.physical_memory_mib = physical(&gpu, one, discovered);
    for (name, missing, code) in [
        ("model", gpu.model.is_none(), Code::HAMI_003),
        ("mode", gpu.mode.is_none(), Code::HAMI_003),
        ("capacity.slots", gpu.capacity.slots.is_none(), Code::HAMI_003),
        (
            "capacity.memoryMib",
            gpu.capacity.memory_mib.is_none() && vendor.memory != Memory::None,
            Code::HAMI_003,
        ),
        (
            "capacity.cores",
            gpu.capacity.cores.is_none() && vendor.cores != CoreUnit::None && source.key.is_some(),
            Code::HAMI_003,
        ),
        (
            "physicalMemoryMib",
            gpu.physical_memory_mib.is_none() && vendor.memory != Memory::None,
            Code::GPU_004,
        ),
    ] {
        if missing {
            unknown(&mut gpu.unknown, name, code);
        }
    }
    scaling(&mut gpu);
    gpu
}

fn unknown(fields: &mut Unknown, name: &'static str, code: Code) {
    fields.insert(name.into(), code.as_str().into());
}

fn mode(node: &Node, one: &Offered<'_>, device: &Device) -> Option<Mode> {
    match device.mode.trim() {
        "hami-core" => Some(Mode::HamiCore),
        "mig" => Some(Mode::Mig),
        "mps" => Some(Mode::Mps),
        "time-slicing" => Some(Mode::TimeSlicing),
        "" if one.source.vendor.cores == CoreUnit::AiCores
            && annotation(&node.metadata, ASCEND_HAMI_CORE) == Some("true") =>
        {
            Some(Mode::HamiCore)
        }
        "" => one
            .source
            .vendor
            .mode
            .or_else(|| (device.count == Some(1)).then_some(Mode::Whole)),
        _ => None,
    }
}

/// Memory that is built in: what is registered may have been scaled.
fn physical(gpu: &Gpu, one: &Offered<'_>, discovered: Option<&labels::Discovered>) -> Option<u64> {
    let Offered { source, .. } = one;
    let registered = gpu.capacity.memory_mib;
    if source.vendor.memory_is_built_in {
        return registered;
    }
    if let Some(built_in) = source.names.built_in_mib {
        return Some(built_in);
    }
    let labelled = discovered.and_then(|labels| labels.memory_of(gpu.model.as_deref()?));
    // HAMi scales no card that is cut by MIG.
    labelled.or_else(|| {
        registered.filter(|_| gpu.mode == Some(Mode::Mig) && source.kind == GpuSource::Annotation)
    })
}

/// Says so if more is given out than there is.
fn scaling(gpu: &mut Gpu) {
    if let (Some(memory), Some(physical @ 1..)) = (gpu.capacity.memory_mib, gpu.physical_memory_mib)
        && memory > physical
    {
        let percent = u128::from(memory) * 100 / u128::from(physical);
        gpu.facts
            .insert("memoryScalingPercent".to_owned(), percent.to_string());
    }
}

/// How well a device is connected to others, by their positions: `1=100 2=50`.
fn peers(gpu: &mut Gpu, device: &Device, source: &Source<'_>) {
    let Some(scores) = source.scores.get(&device.id) else {
        return;
    };
    let others: BTreeSet<(String, i64)> = scores
        .iter()
        .filter_map(|(uuid, &score)| {
            let other = source
                .registration
                .devices
                .iter()
                .find(|other| other.id == *uuid)?;
            let position = other
                .index
                .map_or_else(|| uuid.clone(), |index| index.to_string());
            Some((position, score))
        })
        .collect();
    if !others.is_empty() {
        let text: Vec<String> = others
            .into_iter()
            .map(|(position, score)| format!("{position}={score}"))
            .collect();
        gpu.facts.insert("peerScores".to_owned(), text.join(" "));
    }
}

/// Whether the device can be used now.
fn health(gpu: &mut Gpu, machine: &inventory::Node, one: &Offered<'_>, device: &Device, report: &mut Report) {
    let resource = &one.offer.resource;
    let unhealthy = |gpu: &mut Gpu, why: String| {
        gpu.healthy = Some(false);
        gpu.unhealthy_reason = Some(why);
    };
    match machine.ready {
        _ if one.stale => unhealthy(
            gpu,
            format!("the node offers no {resource}: the registration is left over"),
        ),
        Some(false) => {
            let why = machine.not_ready_reason.as_deref().unwrap_or("no reason");
            unhealthy(gpu, format!("the node is not ready: {why}"));
        }
        None => unknown(&mut gpu.unknown, "healthy", Code::K8S_007),
        Some(true) if device.health == Some(false) => {
            unhealthy(gpu, "registered as unhealthy".to_owned());
            report.add(Entry::new(
                Code::GPU_005,
                reason::UNHEALTHY,
                FindingLevel::Warning,
                report::gpu(&gpu.id),
                format!(
                    "{} of node {} is registered as unhealthy.",
                    gpu.uuid, machine.name
                ),
            ));
        }
        Some(true) if one.offer.allocatable == 0 => unhealthy(gpu, format!("the node offers no {resource}")),
        Some(true) => {
            gpu.healthy = device.health;
            // A registration says whether a device works; a capacity does not.
            if device.health.is_none() && one.source.says_health {
                unknown(&mut gpu.unknown, "healthy", Code::HAMI_003);
            }
        }
    }
}
