//! The table of vendors: where each registers its devices on a node, how its resources and annotations are called, and in which units it counts.
//!
//! A new vendor is one row of [`VENDORS`] and, where it registers in a way of its own, one grammar in `register/`.

mod config;
mod names;
mod row;
mod table;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

pub use config::{ConfigError, ConfigKeys, DEVICE_CONFIG};
pub use names::{MemoryUnit, Names, ResourceNames};
pub use table::VENDORS;

use crate::inventory::Mode;

/// One kind of device.
#[derive(Debug)]
pub struct Vendor {
    /// Unique in the table: `nvidia`, `hygon-dcu`, `metax-sgpu`.
    pub id: &'static str,
    /// Who makes it; several rows share it. This is `vendor` in the inventory.
    pub name: &'static str,
    /// Words that HAMi writes as the type of an allocated device. Compared without regard to case.
    pub keywords: &'static [&'static str],
    /// Models that have keys and resources of their own ("common words" in HAMi): `{}` in the patterns of this row stands for one of them.
    /// Empty if the patterns contain none.
    pub words: &'static [&'static str],
    /// What other words of this vendor begin with.
    pub word_prefixes: &'static [&'static str],
    /// Where nodes say which devices they have. The first that says anything counts.
    pub register: &'static [Register],
    /// Pattern of the node's annotation with the handshake between plugin and scheduler.
    pub handshake: Option<&'static str>,
    /// Node label that lets the device plugin run.
    pub label: Option<(&'static str, &'static str)>,
    /// Names of resources, as patterns.
    pub resources: Resources,
    /// Unit of cores, in registrations as in allocations.
    pub cores: CoreUnit,
    /// What the third number of a registration or an allocation is.
    pub memory: Memory,
    /// The memory in a registration is what is built in: nobody scales it.
    pub memory_is_built_in: bool,
    /// What the device plugin writes before the name of the model.
    pub model_prefix: Option<&'static str>,
    /// Node label with the model, for devices whose registration has none.
    pub model_label: Option<&'static str>,
    /// The maker's own device plugin offers cards under the same resource, where HAMi's offers shares.
    pub has_stock_plugin: bool,
    /// Annotation of the node that keeps the scheduler from binding two pods at once.
    pub lock: &'static str,
    /// How devices are shared where the registration does not say.
    pub mode: Option<Mode>,
    /// Annotations of pods, newest first.
    pub pod: &'static [PodKeys],
    /// Annotations by which pods choose devices.
    pub select: Select,
    /// Where the installation may rename the resources.
    pub config: Option<ConfigKeys>,
    /// Drivers that publish its devices in ResourceSlices.
    pub dra_drivers: &'static [&'static str],
}

/// A place where a node says which devices it has.
#[derive(Debug)]
pub enum Register {
    /// An annotation with a list of devices.
    Annotation {
        /// Pattern of the key.
        key: &'static str,
        /// How to read it.
        grammar: Grammar,
    },
    /// Nothing but the capacity of extended resources: HAMi makes devices up from it, and so is it done here.
    Capacity(CapacityRule),
}

/// How a list of devices is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grammar {
    /// HAMi's: comma separated with 7 or 9 fields, or JSON.
    Hami,
    /// Volcano's vGPU device plugin: comma separated with 5 or 6 fields.
    Volcano,
    /// MetaX's own JSON.
    MetaxSgpu,
    /// Enflame's own JSON.
    EnflameDrs,
}

/// How devices follow from the capacity of a node.
#[derive(Debug)]
pub struct CapacityRule {
    /// How many there are.
    pub cards: Cards,
    /// Memory of each.
    pub memory: CardMemory,
    /// Containers that may share one.
    pub slots: Slots,
    /// What comes between the node's name and the index in the identifier that HAMi makes: `-kunlun-`.
    pub infix: &'static str,
    /// The second half of the cards is on NUMA node 1.
    pub numa_halves: bool,
}

/// How many cards a capacity stands for.
#[derive(Debug, Clone, Copy)]
pub enum Cards {
    /// As many as the count resource.
    Count,
    /// The core resource has so many for each card.
    CoresPerCard(u64),
    /// As many as another resource.
    Resource(&'static str),
}

/// Memory of each card.
#[derive(Debug, Clone, Copy)]
pub enum CardMemory {
    /// The memory resource, divided among the cards by their cores.
    Shared,
    /// HAMi knows no other model, MiB.
    Constant(u64),
    /// Nobody says.
    Unknown,
}

/// Slots and cores of each card.
#[derive(Debug, Clone, Copy)]
pub enum Slots {
    /// So many slots and cores.
    Fixed(u32, u32),
    /// One slot for each core of the card; cores as a bit mask.
    PerCore,
}

/// In what cores are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CoreUnit {
    /// Hundredths of a card, or more than a hundred where the installation scales them.
    Percent,
    /// The chip's AI cores (Ascend), or hundredths on nodes with HAMi's own limits.
    AiCores,
    /// The chip's compute units (AMD).
    ComputeUnits,
    /// Sixteenths of a card (Moore Threads).
    Sixteenths,
    /// One bit for each core (AWS Neuron).
    Bitmask,
    /// The vendor does not share cores.
    None,
}

impl CoreUnit {
    /// The number of cores that a registration or an allocation says.
    pub const fn count(self, written: u32) -> u32 {
        match self {
            Self::Bitmask => written.count_ones(),
            _ => written,
        }
    }
}

/// What a registration or an allocation says as memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// MiB.
    Mib,
    /// Hundredths of the card: no amount is known.
    Percent,
    /// Always 0: memory is not counted.
    None,
}

/// Names of a vendor's resources, as patterns with the names that are set when nothing else is configured.
#[derive(Debug)]
pub struct Resources {
    /// Devices.
    pub count: &'static str,
    /// Other names of `count`, that installations are known to use.
    pub count_aliases: &'static [&'static str],
    /// `count` is a number of slices of one device.
    pub count_is_slices: bool,
    /// A container may leave `count` out and get one device for the memory or the cores that it asks for.
    pub count_optional: bool,
    /// Memory and cores are those of all devices of a container together.
    pub per_container: bool,
    /// Memory.
    pub memory: Option<&'static str>,
    /// Unit of `memory`.
    pub memory_unit: MemoryUnit,
    /// Memory in hundredths.
    pub memory_percent: Option<&'static str>,
    /// Cores, in hundredths of a card unless the vendor counts otherwise.
    pub cores: Option<&'static str>,
    /// Priority of the task.
    pub priority: Option<&'static str>,
}

/// Whose keys a record of a pod is written under, and so what the other keys are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// `hami.io/vgpu-node`, `hami.io/bind-phase`, ...
    Hami,
    /// `volcano.sh/vgpu-node`, ...
    Volcano,
    /// `4pd.io/vgpu-node`, ...: k8s-vgpu-scheduler, before HAMi.
    FourPd,
}

/// Annotations of a pod that record its devices.
#[derive(Debug)]
pub struct PodKeys {
    /// Whose.
    pub scheme: Scheme,
    /// Pattern: all that was allocated.
    pub allocated: &'static str,
    /// Pattern: what the device plugin has not handed out yet.
    pub to_allocate: Option<&'static str>,
    /// Whether the device plugin reports success, so that a pod that runs without it is remarkable.
    pub reports_success: bool,
}

/// Annotations of a pod that choose devices, as patterns.
#[derive(Debug)]
pub struct Select {
    /// Models to use.
    pub use_type: Option<&'static str>,
    /// Models to avoid.
    pub no_use_type: Option<&'static str>,
    /// Devices to use.
    pub use_uuid: &'static [&'static str],
    /// Devices to avoid.
    pub no_use_uuid: &'static [&'static str],
    /// Others that restrict or change the choice, such as `nvidia.com/vgpu-mode`.
    pub other: &'static [&'static str],
}

/// A row that a key or a word belongs to.
#[derive(Debug, Clone, Copy)]
pub struct Match<'a> {
    /// The row.
    pub vendor: &'static Vendor,
    /// The model in the key, where the row has such.
    pub word: Option<&'a str>,
}

impl Vendor {
    /// A pattern of this row, filled in.
    pub fn fill(&self, pattern: &'static str, word: Option<&str>) -> Cow<'static, str> {
        match word {
            Some(word) => pattern.replace("{}", word).into(),
            None => pattern.into(),
        }
    }

    /// The name of the model in the type of a registered device: without what the device plugin puts before it, and `None` if there is only the
    /// vendor's word.
    pub fn model<'a>(&self, kind: &'a str) -> Option<&'a str> {
        let kind = kind.trim();
        let model = self
            .model_prefix
            .and_then(|prefix| kind.strip_prefix(prefix))
            .unwrap_or(kind);
        let word_only = self.keywords.iter().any(|word| word.eq_ignore_ascii_case(model));
        (!model.is_empty() && !word_only).then_some(model)
    }

    /// Whether a model is one of this vendor's.
    pub fn has_word(&self, word: &str) -> bool {
        self.words.contains(&word)
            || self
                .word_prefixes
                .iter()
                .any(|prefix| word.len() > prefix.len() && word.starts_with(prefix))
    }

    /// Whether a key follows a pattern of this row, and the model in it.
    pub fn matches<'a>(&'static self, pattern: &str, key: &'a str) -> Option<Match<'a>> {
        let Some((before, after)) = pattern.split_once("{}") else {
            return (pattern == key).then_some(Match {
                vendor: self,
                word: None,
            });
        };
        let word = key.strip_prefix(before)?.strip_suffix(after)?;
        self.has_word(word).then_some(Match {
            vendor: self,
            word: Some(word),
        })
    }
}

/// The first row of a maker, or the row with this id.
pub fn by_name(name: &str) -> Option<&'static Vendor> {
    VENDORS
        .iter()
        .find(|vendor| vendor.id == name)
        .or_else(|| VENDORS.iter().find(|vendor| vendor.name == name))
}

/// The row for the type of an allocated device: `NVIDIA`, `Ascend910B4`, `Metax-SGPU`.
pub fn by_keyword(keyword: &str) -> Option<Match<'_>> {
    let exact = VENDORS.iter().find(|vendor| {
        vendor
            .keywords
            .iter()
            .any(|known| known.eq_ignore_ascii_case(keyword))
    });
    match exact {
        Some(vendor) => Some(Match { vendor, word: None }),
        None => VENDORS
            .iter()
            .find(|vendor| vendor.has_word(keyword))
            .map(|vendor| Match {
                vendor,
                word: Some(keyword),
            }),
    }
}

/// The row and the keys that an annotation of a pod, such as `hami.io/Ascend910B4-devices-allocated`, belongs to.
pub fn by_allocated(key: &str) -> Option<(Match<'_>, &'static PodKeys)> {
    by_pod_key(key, |keys| Some(keys.allocated))
}

/// The same for what is still to be handed out.
pub fn by_to_allocate(key: &str) -> Option<(Match<'_>, &'static PodKeys)> {
    by_pod_key(key, |keys| keys.to_allocate)
}

fn by_pod_key(
    key: &str,
    pattern: fn(&PodKeys) -> Option<&'static str>,
) -> Option<(Match<'_>, &'static PodKeys)> {
    VENDORS.iter().find_map(|vendor| {
        vendor
            .pod
            .iter()
            .find_map(|keys| Some((vendor.matches(pattern(keys)?, key)?, keys)))
    })
}

/// The row whose devices a driver publishes in ResourceSlices.
pub fn by_dra_driver(driver: &str) -> Option<&'static Vendor> {
    VENDORS.iter().find(|vendor| vendor.dra_drivers.contains(&driver))
}

/// The row and the grammar that an annotation of a node belongs to.
pub fn by_register(key: &str) -> Option<(Match<'_>, Grammar)> {
    VENDORS.iter().find_map(|vendor| {
        vendor.register.iter().find_map(|register| match register {
            Register::Annotation {
                key: pattern,
                grammar,
            } => Some((vendor.matches(pattern, key)?, *grammar)),
            Register::Capacity(_) => None,
        })
    })
}
