//! `device-config.yaml` of HAMi's scheduler: the names that an installation gives to resources.

use serde_yaml_ng::Value;
use thiserror::Error;

use super::{MemoryUnit, Names, VENDORS, Vendor};

/// Key of HAMi's ConfigMap `*-scheduler-device` that holds the configuration.
pub const DEVICE_CONFIG: &str = "device-config.yaml";

/// Why the configuration could not be used. It has no secrets, so the parser's message may name what it found.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// No YAML.
    #[error("device-config.yaml is not YAML: {0}")]
    Yaml(#[from] serde_yaml_ng::Error),
    /// YAML, but no sections.
    #[error("device-config.yaml has no sections such as `nvidia:`")]
    Shape,
}

/// Where a row's names are in `device-config.yaml`.
#[derive(Debug)]
pub struct ConfigKeys {
    /// The section.
    pub section: &'static str,
    /// Key of the count resource.
    pub count: &'static str,
    /// Key of the memory resource.
    pub memory: &'static str,
    /// Key of the resource for memory in hundredths.
    pub memory_percent: &'static str,
    /// Key of the core resource.
    pub cores: &'static str,
}

impl ConfigKeys {
    /// As most vendors' keys are called.
    pub(super) const fn standard(section: &'static str) -> Self {
        Self {
            section,
            count: "resourceCountName",
            memory: "resourceMemoryName",
            memory_percent: "resourceMemoryPercentageName",
            cores: "resourceCoreName",
        }
    }
}

/// Writes what is configured over the names.
pub(super) fn apply(yaml: &str, entries: &mut Vec<Names>) -> Result<(), ConfigError> {
    let config: Value = serde_yaml_ng::from_str(yaml)?;
    if !config.is_mapping() {
        return Err(ConfigError::Shape);
    }
    for vendor in VENDORS {
        let Some(keys) = &vendor.config else { continue };
        let Some(section) = config.get(keys.section) else {
            continue;
        };
        // A list of models, since 2.10 also as `{configs: [...]}`.
        let models = section
            .as_sequence()
            .or_else(|| section.get("configs")?.as_sequence());
        match models {
            Some(models) => {
                for model in models {
                    let Some(word) = text(model, "commonWord") else {
                        continue;
                    };
                    set(entries, vendor, Some(&word), keys, model);
                }
            }
            None if vendor.words.is_empty() => set(entries, vendor, None, keys, section),
            None => {}
        }
    }
    Ok(())
}

/// Writes one section or one model over its names.
fn set(
    entries: &mut Vec<Names>,
    vendor: &'static Vendor,
    word: Option<&str>,
    keys: &ConfigKeys,
    section: &Value,
) {
    let Some(count) = text(section, keys.count) else {
        return;
    };
    // Two kinds of devices of one maker share a section over the years (DCU, HCU): the name says which of them is meant.
    let others = VENDORS.iter().any(|other| {
        !std::ptr::eq(other, vendor) && other.name == vendor.name && other.resources.count == count
    });
    if others {
        return;
    }
    let found = entries
        .iter()
        .position(|names| std::ptr::eq(names.vendor, vendor) && names.word.as_deref() == word);
    let index = found.unwrap_or_else(|| {
        entries.push(Names::of(vendor, word));
        entries.len() - 1
    });
    let Some(names) = entries.get_mut(index) else {
        return;
    };
    names.count = count;
    names.count_aliases.clear();
    names.configured = true;
    for (name, key) in [
        (&mut names.memory, keys.memory),
        (&mut names.memory_percent, keys.memory_percent),
        (&mut names.cores, keys.cores),
        (&mut names.priority, "resourcePriorityName"),
    ] {
        if let Some(configured) = text(section, key) {
            *name = Some(configured);
        }
    }
    let factor = section.get("memoryFactor").and_then(Value::as_u64);
    if let (MemoryUnit::Mib(unit), Some(factor @ 2..)) = (names.memory_unit, factor) {
        names.memory_unit = MemoryUnit::Mib(unit.saturating_mul(factor));
    }
    names.built_in_mib = section.get("memoryCapacity").and_then(Value::as_u64);
}

fn text(section: &Value, key: &str) -> Option<String> {
    section
        .get(key)?
        .as_str()
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
}
