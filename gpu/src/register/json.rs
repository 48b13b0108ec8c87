//! HAMi since 2.8, and other vendors' plugins always: a JSON array of objects. Whatever is zero or false is left out, so that no `health` means unhealthy.

use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::fields::Members;
use super::{Device, List, RegisterError, shorten};

/// Facts that are kept of one device.
const MAX_FACTS: usize = 16;

pub(super) fn read(value: &str, list: &mut List) {
    elements(value, list, |n, entry, list| {
        let Value::Object(object) = entry else {
            list.problem(Some(n), RegisterError::Shape("an object"));
            return true;
        };
        let device = device(n, &object, list);
        list.push(n, device)
    });
}

/// Hands over the elements of a JSON array one by one, so that those before a fault are kept. Ends early if `each` says so.
pub(super) fn elements(value: &str, list: &mut List, each: impl FnMut(usize, Value, &mut List) -> bool) {
    let mut reader = serde_json::Deserializer::from_str(value);
    let read = Elements { list, each }
        .deserialize(&mut reader)
        .and_then(|whole| if whole { reader.end() } else { Ok(()) });
    if let Err(error) = read {
        let error = if error.is_data() {
            RegisterError::Shape("an array")
        } else {
            RegisterError::Json(error.to_string())
        };
        list.problem(None, error);
    }
}

struct Elements<'a, F> {
    list: &'a mut List,
    each: F,
}

impl<'de, F: FnMut(usize, Value, &mut List) -> bool> DeserializeSeed<'de> for Elements<'_, F> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, F: FnMut(usize, Value, &mut List) -> bool> Visitor<'de> for Elements<'_, F> {
    /// Whether the array was read to its end.
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut array: A) -> Result<bool, A::Error> {
        let mut n = 0;
        while let Some(element) = array.next_element()? {
            if !(self.each)(n, element, self.list) {
                // The rest has to be read for the array to end, but is not kept.
                while array.next_element::<serde::de::IgnoredAny>()?.is_some() {}
                return Ok(false);
            }
            n += 1;
        }
        Ok(true)
    }
}

/// A device with all its fields that can be read; the others are reported.
fn device(n: usize, object: &Map<String, Value>, list: &mut List) -> Device {
    let members = Members::new(object);
    // A field of a wrong type is unknown, which is not the same as left out.
    let mut report = |error| list.problem(Some(n), error);
    let mut device = Device {
        id: keep(members.text("id"), &mut report)
            .unwrap_or_default()
            .to_owned(),
        index: keep(members.natural("index"), &mut report),
        count: keep(members.natural("count"), &mut report),
        memory_mib: keep(members.natural("devmem"), &mut report).map(u64::from),
        cores: keep(members.natural("devcore"), &mut report),
        kind: keep(members.text("type"), &mut report)
            .unwrap_or_default()
            .to_owned(),
        mode: keep(members.text("mode"), &mut report)
            .unwrap_or_default()
            .to_owned(),
        ..Device::default()
    };
    device.numa = match members.integer("numa") {
        Ok(numa) => Some(numa.unwrap_or(0)),
        Err(error) => {
            report(error);
            None
        }
    };
    device.health = match members.boolean("health") {
        Ok(health) => Some(health.unwrap_or(false)),
        Err(error) => {
            report(error);
            None
        }
    };
    for name in ["migProfiles", "migtemplate"] {
        if let Some(profiles) = members.get(name) {
            match profiles {
                Value::Array(_) => mig_profiles(profiles, &mut device.mig_profiles),
                other => report(RegisterError::Field {
                    field: "migProfiles",
                    found: format!("`{}`", shorten(&other.to_string())),
                }),
            }
        }
    }
    if let Some(Value::Object(info)) = members.get("custominfo") {
        device.facts = info
            .iter()
            .take(MAX_FACTS)
            .map(|(name, value)| (shorten(name), fact(value)))
            .collect();
    }
    device
}

fn keep<T>(field: Result<Option<T>, RegisterError>, report: &mut impl FnMut(RegisterError)) -> Option<T> {
    field.unwrap_or_else(|error| {
        report(error);
        None
    })
}

/// Names of profiles: objects in an array, or in arrays in it (before 2.10).
fn mig_profiles(profiles: &Value, names: &mut Vec<String>) {
    /// No card has more.
    const MAX_PROFILES: usize = 32;
    match profiles {
        // An array in an array in an array is nothing that was ever written; serde_json limits the depth.
        Value::Array(inner) => inner.iter().for_each(|profile| mig_profiles(profile, names)),
        Value::Object(profile) => {
            if let Ok(Some(name)) = Members::new(profile).text("name")
                && names.len() < MAX_PROFILES
                && !names.iter().any(|known| known == name)
            {
                names.push(shorten(name));
            }
        }
        _ => {}
    }
}

/// A value of another program's object, as text.
fn fact(value: &Value) -> String {
    match value {
        Value::String(text) => shorten(text),
        other => shorten(&other.to_string()),
    }
}
