//! Lists of devices in annotations of nodes. Whoever wrote them may be years old, so that a bad entry is reported and the others are kept:
//! HAMi's own scheduler drops all devices of a node on one bad entry.

mod csv;
mod enflame;
mod fields;
mod json;
mod metax;
#[cfg(test)]
mod tests;
mod volcano;

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

use crate::vendor::Grammar;

/// One device as it is registered.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Device {
    /// Its identifier.
    pub id: String,
    /// Its position; `None` if the entry does not say (HAMi takes that for 0).
    pub index: Option<u32>,
    /// Containers that may share it.
    pub count: Option<u32>,
    /// Memory that can be given out, MiB.
    pub memory_mib: Option<u64>,
    /// Cores that can be given out, in the vendor's unit.
    pub cores: Option<u32>,
    /// What HAMi calls the type: a model, or the vendor's word.
    pub kind: String,
    /// NUMA node.
    pub numa: Option<i32>,
    /// Whether it works; `None` if the entry says so in no known way.
    pub health: Option<bool>,
    /// How it is shared; empty if the entry does not say.
    pub mode: String,
    /// MIG profiles it can be cut into.
    pub mig_profiles: Vec<String>,
    /// More that is registered.
    pub facts: BTreeMap<String, String>,
}

/// A list of devices, read as far as it can be.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Registration {
    /// Devices with distinct identifiers, in the order of the list.
    pub devices: Vec<Device>,
    /// What could not be read.
    pub problems: Vec<Problem>,
}

/// Something in a list that could not be read.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// Which entry, from 0; `None` if it is about the whole.
    pub entry: Option<usize>,
    /// What is wrong.
    pub error: RegisterError,
}

/// Why a list or an entry cannot be read.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum RegisterError {
    /// No `:` at all.
    #[error("there is no `:` after an entry")]
    MissingSeparator,
    /// An entry without commas.
    #[error("the entry has no fields")]
    MalformedSegment,
    /// Commas, but too few or too many.
    #[error("the entry has {0} fields")]
    FieldCount(usize),
    /// One field is not what it must be.
    #[error("{field} is {found}")]
    Field {
        /// The field's name.
        field: &'static str,
        /// What is there, shortened.
        found: String,
    },
    /// The entry names no device.
    #[error("the entry has no identifier")]
    NoId,
    /// Two entries name the same device.
    #[error("{0} is registered twice")]
    Duplicate(String),
    /// No JSON, or not all of it.
    #[error("not JSON: {0}")]
    Json(String),
    /// JSON of another shape.
    #[error("expected {0}")]
    Shape(&'static str),
    /// More devices than a node can have.
    #[error("more than {MAX_DEVICES} devices")]
    TooMany,
}

/// No node has more devices. Beyond it the list is cut off, so that a broken one does not fill the memory.
pub const MAX_DEVICES: usize = 1024;

/// Problems that are kept of one list.
const MAX_PROBLEMS: usize = 16;

/// Characters of a bad value that are shown.
const SHOWN: usize = 64;

/// Reads a list. `node` is the name of the node: some vendors' devices have no identifiers but those that HAMi makes of it.
pub fn parse(grammar: Grammar, value: &str, node: &str) -> Registration {
    let mut list = List::default();
    match grammar {
        // Versions differ in what they write under the same key, and the values cannot be mistaken for each other.
        Grammar::Hami if value.trim_start().starts_with(['[', '{']) => json::read(value, &mut list),
        Grammar::Hami if value.trim() == "null" => {}
        Grammar::Hami => csv::read(value, &mut list),
        Grammar::Volcano => volcano::read(value, &mut list),
        Grammar::MetaxSgpu => metax::read(value, &mut list),
        Grammar::EnflameDrs => enflame::read(value, node, &mut list),
    }
    list.registration
}

/// A list while it is read.
#[derive(Default)]
struct List {
    registration: Registration,
    ids: BTreeSet<String>,
}

impl List {
    /// Keeps a device, unless there is one with this identifier. Says whether there is room for more.
    fn push(&mut self, entry: usize, device: Device) -> bool {
        if device.id.trim().is_empty() {
            self.problem(Some(entry), RegisterError::NoId);
        } else if self.registration.devices.len() >= MAX_DEVICES {
            self.problem(None, RegisterError::TooMany);
            return false;
        } else if self.ids.insert(device.id.clone()) {
            self.registration.devices.push(device);
        } else {
            self.problem(Some(entry), RegisterError::Duplicate(shorten(&device.id)));
        }
        true
    }

    fn problem(&mut self, entry: Option<usize>, error: RegisterError) {
        if self.registration.problems.len() < MAX_PROBLEMS {
            self.registration.problems.push(Problem { entry, error });
        }
    }
}

/// The beginning of a value, for a message.
fn shorten(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.entry {
            Some(entry) => write!(f, "entry {entry}: {}", self.error),
            None => self.error.fmt(f),
        }
    }
}
