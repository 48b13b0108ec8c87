//! MetaX sGPU: `metax-tech.com/node-gpu-devices`, a JSON array that the vendor's plugin writes.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::fields::Members;
use super::{Device, List, RegisterError, json, shorten};

/// What HAMi calls such a device.
const KIND: &str = "Metax-SGPU";

pub(super) fn read(value: &str, list: &mut List) {
    json::elements(value, list, |n, entry, list| {
        let Value::Object(object) = entry else {
            list.problem(Some(n), RegisterError::Shape("an object"));
            return true;
        };
        match device(n, &object) {
            Ok(device) => list.push(n, device),
            Err(error) => {
                list.problem(Some(n), error);
                true
            }
        }
    });
}

fn device(n: usize, object: &Map<String, Value>) -> Result<Device, RegisterError> {
    let members = Members::new(object);
    let mut facts = BTreeMap::new();
    for (name, fact) in [
        ("bdf", members.text("bdf")?.map(shorten)),
        ("qosPolicy", members.text("qosPolicy")?.map(shorten)),
        (
            "linkZone",
            members.integer("linkZone")?.map(|zone| zone.to_string()),
        ),
    ] {
        if let Some(fact) = fact {
            facts.insert(name.to_owned(), fact);
        }
    }
    Ok(Device {
        id: members.text("uuid")?.unwrap_or_default().to_owned(),
        // HAMi numbers them by their position.
        index: u32::try_from(n).ok(),
        count: members.natural("totalDevCount")?,
        memory_mib: members.natural("totalVRam")?.map(u64::from),
        cores: members.natural("totalCompute")?,
        kind: members.text("model")?.unwrap_or(KIND).to_owned(),
        numa: Some(members.integer("numa")?.unwrap_or(0)),
        health: Some(members.boolean("healthy")?.unwrap_or(false)),
        facts,
        ..Device::default()
    })
}
