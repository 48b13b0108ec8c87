//! What a container asks for, in the vendor's resources.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::notes::Notes;
use super::{CODE, Group};
use crate::inventory::{FindingLevel, Requested, Unknown};
use crate::lifecycle::RESOURCE;
use crate::object::{Container, Pod, Resources, annotation};
use crate::quantity;
use crate::vendor::{Names, ResourceNames, VENDORS, Vendor};

/// Annotations that restrict the choice of any vendor's devices.
const POLICIES: [&str; 3] = [
    "hami.io/node-scheduler-policy",
    "hami.io/gpu-scheduler-policy",
    "hami.io/device-scoring-weights",
];

/// HAMi keeps amounts in 32 bits with a sign and refuses what does not fit: most often a number of bytes where MiB are meant.
const MOST: u64 = i32::MAX.unsigned_abs() as u64;

/// What a container asks for of one kind of device.
#[derive(Debug)]
pub(super) struct Ask<'a> {
    /// Whose, and how the resources are called.
    pub(super) names: Cow<'a, Names>,
    /// The scheduler gives it devices for this: it names a number of them, or what stands for one.
    pub(super) counts: bool,
    /// How much.
    pub(super) requested: Requested,
    /// More that is asked for, such as the priority.
    pub(super) facts: BTreeMap<String, String>,
    /// What could not be read.
    pub(super) unknown: Unknown,
    /// It asks the vendor's own device plugin, under a name that HAMi does not serve here.
    pub(super) plugin_only: bool,
    /// The MIG profile in the resource's name.
    pub(super) profile: Option<String>,
}

impl Ask<'_> {
    /// Which devices.
    pub(super) fn group(&self) -> (&'static str, Option<&str>) {
        (self.names.vendor.id, self.names.word.as_deref())
    }

    /// `Allocation::source` while nothing is allocated: whose scheduler is to do it, where the pod says.
    pub(super) fn scheduler(&self, pod: &Pod) -> Option<&'static str> {
        if self.names.vendor.id == "volcano-vgpu" {
            return Some("volcano");
        }
        let scheduler = pod.spec.scheduler_name.as_deref()?;
        (scheduler.contains("hami") || scheduler.contains("4pd")).then_some("hami")
    }
}

/// Reads what a container asks for, each kind of device once.
pub(super) fn read<'a>(
    pod: &'a Pod,
    container: &'a Container,
    names: &'a ResourceNames,
    notes: &mut Notes,
) -> Vec<Ask<'a>> {
    let resources = &container.resources;
    let mut asks: Vec<Ask<'a>> = Vec::new();
    let only_requested = resources
        .requests
        .keys()
        .filter(|name| !resources.limits.contains_key(*name));
    for resource in resources.limits.keys().chain(only_requested) {
        if !resource.contains('/') || by_claim(pod, container, resource) {
            continue;
        }
        let Some(names) = whose(resource, names) else {
            asks.extend(plugin_only(container, resource));
            continue;
        };
        let known = |ask: &Ask<'_>| {
            !ask.plugin_only && std::ptr::eq(ask.names.vendor, names.vendor) && ask.names.word == names.word
        };
        if asks.iter().any(known) {
            continue;
        }
        if let Some(ask) = amounts(pod, container, names, notes) {
            asks.push(ask);
        }
    }
    asks
}

/// Whether a claim was made for this resource: then the claim says what the container has (Kubernetes 1.34).
fn by_claim(pod: &Pod, container: &Container, resource: &str) -> bool {
    let status = pod.status.extended_resource_claim_status.as_ref();
    status.is_some_and(|status| {
        status
            .request_mappings
            .iter()
            .any(|mapping| mapping.container_name == container.name && mapping.resource_name == resource)
    })
}

/// The names that a resource is among.
fn whose<'a>(resource: &str, names: &'a ResourceNames) -> Option<Cow<'a, Names>> {
    let among = |own: &&Names| {
        [&own.memory, &own.memory_percent, &own.cores]
            .into_iter()
            .any(|name| name.as_deref() == Some(resource))
    };
    if let Some(own) = names.by_count(resource).or_else(|| names.iter().find(among)) {
        return Some(Cow::Borrowed(own));
    }
    // A model that is not in the configuration.
    VENDORS
        .iter()
        .filter(|vendor| !vendor.words.is_empty())
        .find_map(|vendor| {
            let named = &vendor.resources;
            let patterns = [named.memory, named.cores, Some(named.count)];
            let found = patterns
                .into_iter()
                .flatten()
                .find_map(|pattern| vendor.matches(pattern, resource))?;
            Some(names.of(vendor, found.word))
        })
}

fn amounts<'a>(
    pod: &Pod,
    container: &Container,
    names: Cow<'a, Names>,
    notes: &mut Notes,
) -> Option<Ask<'a>> {
    let resources = &container.resources;
    let vendor = names.vendor;
    let mut requested = Requested::default();
    let mut unknown = Unknown::new();
    let mut facts = BTreeMap::new();
    let mut refuse = |field: &'static str, (name, value): (&str, &str)| {
        unknown.insert(field.into(), CODE.into());
        notes.add(
            "unreadable-request",
            FindingLevel::Warning,
            format!(
                "container {} asks for {name}: {value:?}, which is not a whole number below 2147483648",
                container.name
            ),
            [(name, value)],
        );
    };

    let count = names
        .find_count(&resources.limits)
        .or_else(|| names.find_count(&resources.requests));
    if let Some(named) = count {
        match quantity::units(named.1).filter(|units| *units <= MOST) {
            // Asking for none is not asking.
            Some(0) => return None,
            Some(units) => requested.count = u32::try_from(units).ok(),
            None => refuse("requested.count", named),
        }
    }
    if let Some(named) = find(resources, names.memory.as_deref()) {
        match names.memory_unit.mib(named.1).filter(|mib| *mib <= MOST) {
            Some(mib) => requested.memory_mib = Some(mib),
            None => refuse("requested.memoryMib", named),
        }
    }
    if let Some(named) = find(resources, names.memory_percent.as_deref()) {
        match small(named.1) {
            Some(percent) => requested.memory_percent = Some(percent),
            None => refuse("requested.memoryPercent", named),
        }
    }
    if let Some(named) = find(resources, names.cores.as_deref()) {
        match small(named.1) {
            Some(cores) => requested.cores = Some(cores),
            None => refuse("requested.cores", named),
        }
    }
    if let Some((_, priority)) = find(resources, names.priority.as_deref()) {
        facts.insert("priority".to_owned(), priority.to_owned());
    }

    if vendor.resources.count_is_slices {
        // One device, cut into pieces.
        if let Some(slices) = requested.count.replace(1) {
            facts.insert("slices".to_owned(), slices.to_string());
        }
    }
    if let Some(count) = requested.count.filter(|_| vendor.resources.per_container) {
        requested.memory_mib = requested.memory_mib.map(|mib| mib / u64::from(count));
        requested.cores = requested.cores.map(|cores| cores / count);
    }
    let counts = count.is_some() || vendor.resources.count_optional;
    requested.constraints = constraints(pod, vendor, names.word.as_deref());
    Some(Ask {
        names,
        counts,
        requested,
        facts,
        unknown,
        plugin_only: false,
        profile: None,
    })
}

/// Whole cards and MIG devices that the vendor's own device plugin hands out in a cluster where HAMi's resources have other names, or
/// that HAMi never hands out.
fn plugin_only<'a>(container: &Container, resource: &str) -> Option<Ask<'a>> {
    let resources = &container.resources;
    let value = resources
        .limits
        .get(resource)
        .or_else(|| resources.requests.get(resource))?;
    let plain = resource.strip_suffix(".shared").unwrap_or(resource);
    let profile = plain.strip_prefix("nvidia.com/mig-").map(str::to_owned);
    let vendor = if profile.is_some() {
        crate::vendor::by_name("nvidia")?
    } else {
        VENDORS.iter().find(|vendor| vendor.resources.count == plain)?
    };
    let count = small(value).filter(|count| *count > 0)?;
    Some(Ask {
        names: Cow::Owned(Names::of(vendor, None)),
        counts: false,
        requested: Requested {
            count: Some(count),
            ..Requested::default()
        },
        facts: BTreeMap::from([(RESOURCE.to_owned(), resource.to_owned())]),
        unknown: Unknown::new(),
        plugin_only: true,
        profile,
    })
}

/// A resource of a container; limits go before requests, as in HAMi.
fn find<'a>(resources: &'a Resources, name: Option<&'a str>) -> Option<(&'a str, &'a str)> {
    let name = name?;
    let value = resources
        .limits
        .get(name)
        .or_else(|| resources.requests.get(name))?;
    Some((name, value))
}

fn small(text: &str) -> Option<u32> {
    let units = quantity::units(text).filter(|units| *units <= MOST)?;
    u32::try_from(units).ok()
}

/// Annotations by which the pod chooses among a vendor's devices.
pub(super) fn constraints(
    pod: &Pod,
    vendor: &'static Vendor,
    word: Option<&str>,
) -> BTreeMap<String, String> {
    let select = &vendor.select;
    let patterns = [select.use_type, select.no_use_type]
        .into_iter()
        .flatten()
        .chain(select.use_uuid.iter().copied())
        .chain(select.no_use_uuid.iter().copied())
        .chain(select.other.iter().copied())
        .map(|pattern| vendor.fill(pattern, word));
    patterns
        .chain(POLICIES.into_iter().map(Cow::Borrowed))
        .filter_map(|key| {
            let value = annotation(&pod.metadata, &key)?;
            Some((key.into_owned(), value.to_owned()))
        })
        .collect()
}

/// The ask of a container for devices of one kind.
pub(super) fn of<'a, 'b>(asks: &'b [Ask<'a>], group: Group<'_>) -> Option<&'b Ask<'a>> {
    asks.iter().find(|ask| !ask.plugin_only && ask.group() == group)
}
