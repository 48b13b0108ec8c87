//! How the resources are called in this cluster: HAMi lets installations rename them.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::{ConfigError, VENDORS, Vendor, config};
use crate::quantity;

/// Unit of a memory resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryUnit {
    /// So many MiB.
    Mib(u64),
    /// Bytes if written with a suffix, else GiB (MetaX).
    BytesOrGib,
    /// GiB, or MiB where the number is too large for that (Enflame).
    GibOrMib,
}

/// No card has so many GiB, and nobody asks for so few MiB.
const MOST_GIB: u64 = 256;

impl MemoryUnit {
    /// A quantity of the resource as MiB; `None` if it is not a whole number.
    pub fn mib(self, quantity: &str) -> Option<u64> {
        let value = quantity::parse(quantity).ok()?;
        match self {
            Self::Mib(factor) => value.units()?.checked_mul(factor),
            Self::BytesOrGib if quantity.contains(|c: char| c.is_ascii_alphabetic()) => value.mib(),
            Self::BytesOrGib => value.units()?.checked_mul(1024),
            Self::GibOrMib => match value.units()? {
                gib @ ..=MOST_GIB => Some(gib * 1024),
                mib => Some(mib),
            },
        }
    }
}

/// Names of the resources of one vendor, or of one model where models have resources of their own.
#[derive(Debug, Clone)]
pub struct Names {
    /// The row.
    pub vendor: &'static Vendor,
    /// The model.
    pub word: Option<String>,
    /// Devices.
    pub count: String,
    /// Other names under which devices may be asked for or offered. Empty if the installation says what the name is.
    pub count_aliases: Vec<String>,
    /// Memory.
    pub memory: Option<String>,
    /// Unit of `memory`.
    pub memory_unit: MemoryUnit,
    /// Memory in hundredths.
    pub memory_percent: Option<String>,
    /// Cores.
    pub cores: Option<String>,
    /// Priority.
    pub priority: Option<String>,
    /// Memory that is built into the model, MiB, where the installation says.
    pub built_in_mib: Option<u64>,
    /// The installation says how the resources are called.
    pub configured: bool,
}

impl Names {
    /// The names of a row when nothing is configured.
    pub fn of(vendor: &'static Vendor, word: Option<&str>) -> Self {
        let fill = |pattern: &'static str| vendor.fill(pattern, word).into_owned();
        let resources = &vendor.resources;
        Self {
            vendor,
            word: word.map(str::to_owned),
            count: fill(resources.count),
            count_aliases: resources.count_aliases.iter().map(|&alias| fill(alias)).collect(),
            memory: resources.memory.map(fill),
            memory_unit: resources.memory_unit,
            memory_percent: resources.memory_percent.map(fill),
            cores: resources.cores.map(fill),
            priority: resources.priority.map(fill),
            built_in_mib: None,
            configured: false,
        }
    }

    /// Whether devices are counted under this name.
    pub fn counts(&self, resource: &str) -> bool {
        self.count == resource || self.count_aliases.iter().any(|alias| alias == resource)
    }

    /// The number of devices in a list of resources, and the name it is under.
    pub fn find_count<'a>(&self, resources: &'a BTreeMap<String, String>) -> Option<(&'a str, &'a str)> {
        std::iter::once(&self.count)
            .chain(&self.count_aliases)
            .find_map(|name| resources.get_key_value(name))
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// Names of the resources of all vendors.
#[derive(Debug, Clone)]
pub struct ResourceNames {
    entries: Vec<Names>,
}

impl Default for ResourceNames {
    /// What HAMi's chart sets when nothing else is configured.
    fn default() -> Self {
        let entries = VENDORS
            .iter()
            .flat_map(|vendor| {
                let words = vendor.words.iter().map(|&word| Some(word));
                let plain = vendor.words.is_empty().then_some(None);
                words.chain(plain).map(move |word| Names::of(vendor, word))
            })
            .collect();
        Self { entries }
    }
}

impl ResourceNames {
    /// Reads `device-config.yaml` of the ConfigMap `*-scheduler-device`. What it does not say stays as in [`ResourceNames::default`].
    pub fn from_device_config(yaml: &str) -> Result<Self, ConfigError> {
        let mut entries = Self::default().entries;
        config::apply(yaml, &mut entries)?;
        Ok(Self { entries })
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Names> {
        self.entries.iter()
    }

    /// The names of a row and a model, also of a model that is not configured.
    pub fn of(&self, vendor: &'static Vendor, word: Option<&str>) -> Cow<'_, Names> {
        self.entries
            .iter()
            .find(|names| std::ptr::eq(names.vendor, vendor) && names.word.as_deref() == word)
            .map_or_else(|| Cow::Owned(Names::of(vendor, word)), Cow::Borrowed)
    }

    /// Whose devices are counted under this name: what the installation configured goes before names that others are known to use.
    pub fn by_count(&self, resource: &str) -> Option<&Names> {
        self.entries
            .iter()
            .find(|names| names.count == resource)
            .or_else(|| self.entries.iter().find(|names| names.counts(resource)))
    }
}
