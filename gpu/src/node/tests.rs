use serde_json::json;

use super::*;
use crate::inventory::{GpuSource, Mode};
use GpuSource::{Annotation, Capacity, Labels};
use Mode::{HamiCore, Mig, Slice, Whole};

mod fixtures;
mod situations;

const NOW: &str = "2026-09-26T00:00:00Z";

fn read_json(value: serde_json::Value) -> NodeFacts {
    read_named(value, &ResourceNames::default())
}

fn read_named(value: serde_json::Value, names: &ResourceNames) -> NodeFacts {
    let node: Node = serde_json::from_value(value).unwrap();
    read(&node, names, NOW.parse().unwrap())
}

/// Code and reason of each finding.
fn reasons(facts: &NodeFacts) -> Vec<String> {
    facts
        .findings
        .iter()
        .map(|finding| format!("{} {}", finding.code.trim_start_matches("KTA-"), finding.reason))
        .collect()
}
