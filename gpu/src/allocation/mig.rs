//! Records of MIG devices: the suffix of the device's UUID (HAMi 2.5 to 2.9) and the reservations of 2.10.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::quote;

/// Annotation that holds the reservations, a JSON array.
pub const RESERVATIONS: &str = "hami.io/vgpu-mig-allocations";

/// Reservations that are read of one pod.
pub const MAX_RESERVATIONS: usize = 1024;

/// `GPU-...[template-position]`: which of the node's geometries, and which instance in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Suffix {
    /// Index of the geometry in the node's list of MIG templates.
    pub template: u32,
    /// Index of the instance in the geometry.
    pub position: u32,
}

/// A suffix that is none. `gpu` of [`split`] is still the card where the text says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not GPU[template-position]")]
pub struct SuffixError;

/// Takes the suffix off. The first part is the card's UUID; without brackets it is the whole text.
pub fn split(device: &str) -> (&str, Result<Option<Suffix>, SuffixError>) {
    let Some((gpu, rest)) = device.split_once('[') else {
        let plain = if device.contains(']') {
            Err(SuffixError)
        } else {
            Ok(None)
        };
        return (device, plain);
    };
    let suffix = rest
        .strip_suffix(']')
        .and_then(|inside| inside.split_once('-'))
        .and_then(|(template, position)| {
            Some(Suffix {
                template: digits(template)?,
                position: digits(position)?,
            })
        });
    if gpu.is_empty() {
        return (device, Err(SuffixError));
    }
    (gpu, suffix.map(Some).ok_or(SuffixError))
}

fn digits(text: &str) -> Option<u32> {
    let only = text.bytes().all(|byte| byte.is_ascii_digit());
    only.then(|| text.parse().ok()).flatten()
}

/// One MIG device that the scheduler reserved, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// The card.
    pub gpu: String,
    /// Such as `2g.10gb`.
    pub profile: String,
    /// First memory slice.
    pub start: u32,
    /// Number of memory slices.
    pub size: u32,
    /// Set once the device plugin has made it.
    pub instance: Option<Instance>,
}

/// A MIG device that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// `MIG-...`.
    pub uuid: String,
    /// `GPU_I_ID` of DCGM.
    pub gpu_instance: u32,
    /// Compute instance in it.
    pub compute_instance: u32,
}

/// The readable reservations by slot and position in the slot, and what is wrong with the others.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reservations {
    /// By (slot, index in the slot) of the record of allocations.
    pub by_share: BTreeMap<(usize, usize), Reservation>,
    /// What could not be read, in words.
    pub faults: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    container_index: usize,
    device_index: usize,
    #[serde(rename = "gpuUUID")]
    gpu: String,
    profile: String,
    placement: Placement,
    #[serde(rename = "migUUID")]
    mig_uuid: Option<String>,
    #[serde(rename = "gpuInstanceID")]
    gpu_instance: Option<u32>,
    #[serde(rename = "computeInstanceID")]
    compute_instance: Option<u32>,
}

/// HAMi leaves no key out here, but its decoder takes a missing start as 0.
#[derive(Deserialize)]
struct Placement {
    #[serde(default)]
    start: u32,
    size: u32,
}

/// Reads the annotation. HAMi refuses all of it for one bad entry; here the others are kept.
pub fn reservations(text: &str) -> Reservations {
    let mut read = Reservations::default();
    if text.trim().is_empty() {
        return read;
    }
    let entries = match serde_json::from_str::<Value>(text) {
        Ok(Value::Array(entries)) => entries,
        Ok(Value::Null) => return read,
        Ok(_) => {
            read.faults
                .push(format!("{:?} is not an array of reservations", quote(text)));
            return read;
        }
        Err(error) => {
            read.faults
                .push(format!("{:?} is not JSON: {error}", quote(text)));
            return read;
        }
    };
    let mut twice = Vec::new();
    for (index, entry) in entries.into_iter().enumerate() {
        if index == MAX_RESERVATIONS {
            read.faults.push(format!(
                "reservation {index} and what follows is more than is read of one pod"
            ));
            break;
        }
        match reservation(entry) {
            Err(wrong) => read.faults.push(format!("reservation {index} {wrong}")),
            Ok((key, reservation, partial)) => {
                if partial {
                    read.faults.push(format!(
                        "reservation {index} names only a part of the MIG device that was made"
                    ));
                }
                let other = read.by_share.get(&key);
                if other.is_some_and(|other| *other != reservation) {
                    twice.push(key);
                }
                if other.is_some() {
                    let (slot, share) = key;
                    read.faults.push(format!(
                        "reservation {index} is another one for device {share} of container {slot}"
                    ));
                } else {
                    read.by_share.insert(key, reservation);
                }
            }
        }
    }
    // Which of two that differ is meant cannot be told.
    for key in twice {
        read.by_share.remove(&key);
    }
    read
}

fn reservation(entry: Value) -> Result<((usize, usize), Reservation, bool), String> {
    let written: Written =
        serde_json::from_value(entry).map_err(|error| format!("is not as expected: {error}"))?;
    if written.gpu.is_empty() || written.profile.is_empty() || written.placement.size == 0 {
        return Err("lacks the card, the profile or the placement".to_owned());
    }
    let uuid = written.mig_uuid.filter(|uuid| !uuid.is_empty());
    let given = [
        uuid.is_some(),
        written.gpu_instance.is_some(),
        written.compute_instance.is_some(),
    ];
    let instance = uuid.zip(written.gpu_instance).zip(written.compute_instance).map(
        |((uuid, gpu_instance), compute_instance)| Instance {
            uuid,
            gpu_instance,
            compute_instance,
        },
    );
    let partial = instance.is_none() && given.contains(&true);
    let reservation = Reservation {
        gpu: written.gpu,
        profile: written.profile,
        start: written.placement.start,
        size: written.placement.size,
        instance,
    };
    Ok((
        (written.container_index, written.device_index),
        reservation,
        partial,
    ))
}
