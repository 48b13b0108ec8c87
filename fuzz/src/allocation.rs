//! The record of a pod's devices, an annotation that anyone who may change a pod can write.

use kantaloupe_gpu::allocation::{MAX_SHARES, MAX_SLOTS, Record, mig, parse};

/// What is read is bounded, and is read as the same again when it is written as HAMi writes it.
pub fn run(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let record = parse(text);
    assert!(record.slots.len() <= MAX_SLOTS && record.shares().count() <= MAX_SLOTS + MAX_SHARES);
    for (slot, _, share) in record.shares() {
        assert!(record.slots[slot].filled && !share.device.is_empty());
        let (gpu, _) = mig::split(share.device);
        assert!(!gpu.is_empty() && share.device.starts_with(gpu));
        let told = record.faults.iter().any(|fault| fault.slot == slot);
        assert!(
            share.memory_mib.is_some() && share.cores.is_some() || told,
            "{share:?} is not explained"
        );
    }
    if record.faults.is_empty() {
        let written = write(&record);
        assert_eq!(parse(&written), record, "{written} is read otherwise");
    }
}

fn write(record: &Record<'_>) -> String {
    let mut text = String::new();
    for slot in &record.slots {
        for share in &slot.shares {
            let (memory, cores) = (
                share.memory_mib.unwrap_or_default(),
                share.cores.unwrap_or_default(),
            );
            text.extend([share.device, ",", share.keyword, &format!(",{memory},{cores}:")]);
        }
        text.push(';');
    }
    text
}
