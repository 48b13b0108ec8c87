//! HAMi up to 2.7, and other vendors' plugins: `id,count,devmem,devcore,type,numa,health[,index,mode]` and `:` after each.

use super::fields::{boolean, int32, natural};
use super::{Device, List, RegisterError};

/// What an entry without a mode means: there was no other.
const FIRST_MODE: &str = "hami-core";

pub(super) fn read(value: &str, list: &mut List) {
    if !value.contains(':') {
        list.problem(None, RegisterError::MissingSeparator);
        return;
    }
    let entries = value.split(':').map(str::trim).filter(|entry| !entry.is_empty());
    for (n, entry) in entries.enumerate() {
        match device(entry) {
            Ok(device) => {
                if !list.push(n, device) {
                    return;
                }
            }
            Err(error) => list.problem(Some(n), error),
        }
    }
}

fn device(entry: &str) -> Result<Device, RegisterError> {
    let fields: Vec<&str> = entry.split(',').collect();
    let (first, rest) = match fields.as_slice() {
        [_] => return Err(RegisterError::MalformedSegment),
        [id, count, memory, cores, kind, numa, health] => {
            ([*id, *count, *memory, *cores, *kind, *numa, *health], None)
        }
        [id, count, memory, cores, kind, numa, health, index, mode] => (
            [*id, *count, *memory, *cores, *kind, *numa, *health],
            Some((*index, *mode)),
        ),
        other => return Err(RegisterError::FieldCount(other.len())),
    };
    let [id, count, memory, cores, kind, numa, health] = first;
    Ok(Device {
        id: id.to_owned(),
        count: Some(natural("count", count)?),
        memory_mib: Some(natural("memory", memory)?.into()),
        cores: Some(natural("core", cores)?),
        kind: kind.to_owned(),
        numa: Some(int32("numa", numa)?),
        health: Some(boolean("health", health)?),
        index: rest.map(|(index, _)| natural("index", index)).transpose()?,
        mode: rest.map_or(FIRST_MODE, |(_, mode)| mode).to_owned(),
        ..Device::default()
    })
}
