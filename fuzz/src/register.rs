//! Lists of devices in annotations of nodes.

use std::collections::BTreeSet;

use kantaloupe_gpu::register::{self, Device, MAX_DEVICES};
use kantaloupe_gpu::vendor::Grammar;

/// The first byte chooses the grammar; the digits of the corpus are these.
const GRAMMARS: [Grammar; 4] = [
    Grammar::Hami,
    Grammar::Volcano,
    Grammar::MetaxSgpu,
    Grammar::EnflameDrs,
];

/// An entry that no grammar with commas can read.
const BAD: &str = "bad";

/// Devices have distinct identifiers and are not too many; a bad entry takes none of them away; written again they are the same.
pub fn run(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let Some(first) = text.chars().next() else { return };
    let grammar = GRAMMARS[first as usize % GRAMMARS.len()];
    let value = &text[first.len_utf8()..];
    let read = register::parse(grammar, value, "node");
    assert!(read.devices.len() <= MAX_DEVICES);
    let ids: BTreeSet<&str> = read.devices.iter().map(|device| device.id.as_str()).collect();
    assert_eq!(ids.len(), read.devices.len(), "two devices have one identifier");
    assert!(!ids.contains(""));

    let with_commas = !value.trim_start().starts_with(['[', '{']) && value.contains(':');
    if with_commas && matches!(grammar, Grammar::Hami | Grammar::Volcano) {
        let worse = register::parse(grammar, &format!("{value}:{BAD}:"), "node");
        assert_eq!(worse.devices, read.devices, "a bad entry hides others");
        assert!(!worse.problems.is_empty());
    }
    if with_commas && matches!(grammar, Grammar::Hami) {
        let written: String = read.devices.iter().map(write).collect();
        let again = register::parse(grammar, &format!(":{written}"), "node");
        assert_eq!(again.problems, []);
        let fields = |devices: &[Device]| devices.iter().map(write).collect::<Vec<_>>();
        assert_eq!(fields(&again.devices), fields(&read.devices));
    }
}

/// An entry with nine fields.
fn write(device: &Device) -> String {
    format!(
        "{},{},{},{},{},{},{},{},{}:",
        device.id,
        device.count.unwrap_or_default(),
        device.memory_mib.unwrap_or_default(),
        device.cores.unwrap_or_default(),
        device.kind,
        device.numa.unwrap_or_default(),
        device.health.unwrap_or_default(),
        device.index.unwrap_or_default(),
        device.mode
    )
}
