//! Volcano's vGPU device plugin: `id,count,devmem,type,health[,mode]` and `:` after each, sorted by minor number.

use super::fields::{boolean, natural};
use super::{Device, List, RegisterError};

pub(super) fn read(value: &str, list: &mut List) {
    if !value.contains(':') {
        list.problem(None, RegisterError::MissingSeparator);
        return;
    }
    let entries = value.split(':').map(str::trim).filter(|entry| !entry.is_empty());
    for (n, entry) in entries.enumerate() {
        match device(n, entry) {
            Ok(device) => {
                if !list.push(n, device) {
                    return;
                }
            }
            Err(error) => list.problem(Some(n), error),
        }
    }
}

fn device(position: usize, entry: &str) -> Result<Device, RegisterError> {
    let fields: Vec<&str> = entry.split(',').collect();
    let (id, count, memory, kind, health, mode) = match fields.as_slice() {
        [_] => return Err(RegisterError::MalformedSegment),
        [id, count, memory, kind, health] => (*id, *count, *memory, *kind, *health, ""),
        [id, count, memory, kind, health, mode] => (*id, *count, *memory, *kind, *health, *mode),
        other => return Err(RegisterError::FieldCount(other.len())),
    };
    Ok(Device {
        id: id.to_owned(),
        // Volcano's scheduler numbers them by their position.
        index: u32::try_from(position).ok(),
        count: Some(natural("count", count)?),
        memory_mib: Some(natural("memory", memory)?.into()),
        // Not registered: its scheduler gives out hundredths of each card.
        cores: Some(100),
        kind: kind.to_owned(),
        health: Some(boolean("health", health)?),
        mode: mode.to_owned(),
        ..Device::default()
    })
}
