//! Reservations of MIG devices, a JSON annotation of pods.

use kantaloupe_gpu::allocation::mig::{MAX_RESERVATIONS, reservations};

/// What is read is bounded and complete, and what is not read is told.
pub fn run(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let read = reservations(text);
    assert!(read.by_share.len() <= MAX_RESERVATIONS);
    for reservation in read.by_share.values() {
        assert!(!reservation.gpu.is_empty() && !reservation.profile.is_empty() && reservation.size > 0);
        if let Some(instance) = &reservation.instance {
            assert!(!instance.uuid.is_empty());
        }
    }
    let entries = serde_json::from_str::<serde_json::Value>(text);
    let entries = entries.ok().and_then(|json| json.as_array().map(Vec::len));
    match entries {
        // Of two that differ neither is kept, and it is told once.
        Some(entries) => {
            assert!(read.by_share.len() + 2 * read.faults.len() >= entries.min(MAX_RESERVATIONS));
        }
        None => assert!(read.by_share.is_empty()),
    }
}
