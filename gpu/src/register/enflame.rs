//! Enflame DRS: `enflame.com/gcu-drs-capacity`, a JSON object with devices, and profiles that hold for all of them.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::fields::Members;
use super::{Device, List, RegisterError, shorten};

/// What HAMi calls such a device.
const KIND: &str = "Enflame";

pub(super) fn read(value: &str, node: &str, list: &mut List) {
    let root = match serde_json::from_str(value) {
        Ok(Value::Object(root)) => root,
        Ok(_) => return list.problem(None, RegisterError::Shape("an object")),
        Err(error) => return list.problem(None, RegisterError::Json(error.to_string())),
    };
    let members = Members::new(&root);
    let profiles: Vec<(&str, Profile)> = members
        .get("profiles")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter_map(|(name, _)| Some((name.as_str(), profile(name)?)))
        .collect();
    if profiles.is_empty() {
        // HAMi takes the memory from here, and no device without it.
        list.problem(None, RegisterError::Shape("profiles such as 1g.6gb"));
    }
    let Some(Value::Array(devices)) = members.get("devices") else {
        return list.problem(None, RegisterError::Shape("devices"));
    };
    for (n, entry) in devices.iter().enumerate() {
        let device = match entry {
            Value::Object(object) => device(n, object, node, &profiles),
            _ => Err(RegisterError::Shape("an object")),
        };
        match device {
            Ok(device) => {
                if !list.push(n, device) {
                    return;
                }
            }
            Err(error) => list.problem(Some(n), error),
        }
    }
}

/// `3g.20gb`: slices and GiB.
struct Profile {
    slices: u32,
    gib: Option<u32>,
}

fn profile(name: &str) -> Option<Profile> {
    let name = name.trim().to_ascii_lowercase();
    let (slices, memory) = name.split_once('.')?;
    Some(Profile {
        slices: slices.trim().trim_end_matches('g').parse().ok()?,
        gib: memory
            .split('.')
            .next()?
            .trim()
            .trim_end_matches("gb")
            .parse()
            .ok(),
    })
}

fn device(
    n: usize,
    object: &Map<String, Value>,
    node: &str,
    profiles: &[(&str, Profile)],
) -> Result<Device, RegisterError> {
    let members = Members::new(object);
    // Numbers come as numbers or as text.
    let number = |field: &'static str| -> Result<Option<u32>, RegisterError> {
        match members.get(field) {
            Some(Value::String(text)) => super::fields::natural(field, text.trim()).map(Some),
            _ => members.natural(field),
        }
    };
    let capacity = number("capacity")?
        .filter(|&capacity| capacity > 0)
        .ok_or_else(|| RegisterError::Field {
            field: "capacity",
            found: "missing".to_owned(),
        })?;
    let position = u32::try_from(n).ok();
    let index = number("index").ok().flatten().or(position);
    let slices = profiles.iter().map(|(_, profile)| profile.slices).max();
    let gib = profiles
        .iter()
        .filter_map(|(_, profile)| profile.gib)
        .max()
        .filter(|&gib| gib > 0)
        .or(slices);
    let mut facts = BTreeMap::new();
    let minor = match members.get("minor") {
        Some(Value::String(minor)) => minor.trim().to_owned(),
        Some(other) => other.to_string(),
        None => String::new(),
    };
    if !minor.is_empty() {
        facts.insert("minor".to_owned(), shorten(&minor));
    }
    if !profiles.is_empty() {
        let names: Vec<&str> = profiles.iter().map(|&(name, _)| name).collect();
        facts.insert("profiles".to_owned(), shorten(&names.join(" ")));
    }
    Ok(Device {
        id: format!("{node}-enflame-drs-{}", index.unwrap_or_default()),
        index,
        count: Some(capacity),
        memory_mib: gib.map(|gib| u64::from(gib) * 1024),
        cores: Some(100),
        kind: KIND.to_owned(),
        numa: Some(0),
        // The vendor does not say.
        health: None,
        facts,
        ..Device::default()
    })
}
