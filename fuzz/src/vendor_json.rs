//! Vendors' own JSON annotations of pods.

use kantaloupe_gpu::allocation::vendor_json::{ascend, enflame, metax};
use kantaloupe_gpu::allocation::{MAX_SHARES, MAX_SLOTS};

/// What is read is bounded, and an entry that is left out is told.
pub fn run(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let (shares, faults) = ascend(text);
    assert!(shares.len() <= MAX_SHARES);
    assert!(shares.iter().filter(|share| share.is_none()).count() <= faults.len());

    let (slots, faults) = metax(text);
    assert!(slots.len() <= MAX_SLOTS && slots.iter().map(Vec::len).sum::<usize>() <= MAX_SHARES);
    let left_out = slots.iter().flatten().filter(|share| share.is_none()).count();
    assert!(left_out <= faults.len());

    let (containers, _) = enflame(text);
    assert!(containers.len() <= MAX_SLOTS);
}
