//! Vendors' own JSON beside HAMi's record: Ascend's templates, MetaX' shares, Enflame's profiles.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::{MAX_SHARES, MAX_SLOTS, quote};

/// One share in `huawei.com/<chip>`, in the order of the record of allocations, all containers in one array.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct AscendShare {
    /// The device.
    #[serde(rename = "UUID", default)]
    pub device: String,
    /// The template that the device is cut by, such as `vir05_1c_8g`. Absent where the limits are HAMi's.
    #[serde(rename = "temp", default)]
    pub template: Option<String>,
    /// AI cores, or percent where the limits are HAMi's.
    #[serde(rename = "core", default)]
    pub cores: Option<u32>,
    /// MiB.
    #[serde(rename = "memory", default)]
    pub memory_mib: Option<u64>,
}

/// One share in `metax-tech.com/gpu-devices-allocated`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct MetaxShare {
    /// The device.
    pub uuid: String,
    /// Percent. Left out by the writer where it is 0.
    #[serde(default)]
    pub compute: u32,
    /// MiB. Left out by the writer where it is 0.
    #[serde(rename = "vRam", default)]
    pub memory_mib: u64,
}

/// What a container has, in `assigned-containers` of Enflame.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EnflameShare {
    /// Handed out by the device plugin.
    pub allocated: bool,
    /// Sixths of the card, or what else the profile counts.
    pub request: u32,
    /// Such as `3g.20gb`.
    pub profile_name: Option<String>,
    /// The instance, once it is made.
    #[serde(rename = "instanceUUID")]
    pub instance_uuid: Option<String>,
}

/// What was read, and what could not be, in words.
pub type Read<T> = (T, Vec<String>);

/// Reads `huawei.com/<chip>`. An entry that cannot be read is `None`, so that the others keep their places.
pub fn ascend(text: &str) -> Read<Vec<Option<AscendShare>>> {
    let (entries, mut faults) = array(text);
    let shares = each(entries, MAX_SHARES, "device", &mut faults);
    (shares, faults)
}

/// Reads `metax-tech.com/gpu-devices-allocated`: for each container its shares.
pub fn metax(text: &str) -> Read<Vec<Vec<Option<MetaxShare>>>> {
    let (containers, mut faults) = array(text);
    let mut slots = Vec::new();
    let mut left = MAX_SHARES;
    for (index, container) in containers.into_iter().enumerate() {
        if index == MAX_SLOTS {
            faults.push(format!("container {index} and what follows is more than is read"));
            break;
        }
        match container {
            Value::Array(entries) => {
                let slot: Vec<_> = each(entries, left, &format!("container {index}, device"), &mut faults);
                left -= slot.len();
                slots.push(slot);
            }
            Value::Null => slots.push(Vec::new()),
            _ => {
                faults.push(format!("container {index} is not an array"));
                slots.push(Vec::new());
            }
        }
    }
    (slots, faults)
}

/// Reads `assigned-containers`: by container.
pub fn enflame(text: &str) -> Read<BTreeMap<String, EnflameShare>> {
    let mut faults = Vec::new();
    let entries = match serde_json::from_str::<Value>(text) {
        Ok(Value::Object(entries)) => entries,
        Ok(_) => {
            faults.push(format!("{:?} is not an object", quote(text)));
            return (BTreeMap::new(), faults);
        }
        Err(error) => {
            faults.push(format!("{:?} is not JSON: {error}", quote(text)));
            return (BTreeMap::new(), faults);
        }
    };
    let mut shares = BTreeMap::new();
    for (container, entry) in entries.into_iter().take(MAX_SLOTS) {
        match serde_json::from_value(entry) {
            Ok(share) => drop(shares.insert(container, share)),
            Err(error) => faults.push(format!("container {:?}: {error}", quote(&container))),
        }
    }
    (shares, faults)
}

fn array(text: &str) -> Read<Vec<Value>> {
    match serde_json::from_str::<Value>(text) {
        Ok(Value::Array(entries)) => (entries, Vec::new()),
        // Go writes an empty list so.
        Ok(Value::Null) => (Vec::new(), Vec::new()),
        Ok(_) => (Vec::new(), vec![format!("{:?} is not an array", quote(text))]),
        Err(error) => (
            Vec::new(),
            vec![format!("{:?} is not JSON: {error}", quote(text))],
        ),
    }
}

fn each<T: for<'a> Deserialize<'a>>(
    entries: Vec<Value>,
    limit: usize,
    name: &str,
    faults: &mut Vec<String>,
) -> Vec<Option<T>> {
    if entries.len() > limit {
        faults.push(format!("{name} {limit} and what follows is more than is read"));
    }
    let read = |(index, entry)| match serde_json::from_value(entry) {
        Ok(share) => Some(share),
        Err(error) => {
            faults.push(format!("{name} {index}: {error}"));
            None
        }
    };
    entries.into_iter().take(limit).enumerate().map(read).collect()
}
