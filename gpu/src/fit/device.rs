//! One card against one device of a request.

use super::{Memory, Reason, Request};
use crate::inventory::{Gpu, Mode};

/// All that stands against it.
pub(super) fn reasons(request: &Request, gpu: &Gpu) -> Vec<Reason> {
    let mut reasons = Vec::new();
    match gpu.healthy {
        Some(true) => {}
        Some(false) => reasons.push(Reason::Unhealthy),
        None => reasons.push(Reason::HealthUnknown),
    }
    if gpu.cordoned {
        reasons.push(Reason::Cordoned);
    }
    if gpu.stale {
        reasons.push(Reason::Stale);
    }
    match gpu.capacity.slots {
        Some(slots) if gpu.used.slots >= slots => reasons.push(Reason::NoSlot {
            slots,
            used: gpu.used.slots,
        }),
        Some(_) => {}
        None => reasons.push(Reason::SlotsUnknown),
    }
    // What is known to be held is the least that is held.
    if gpu
        .unknown
        .keys()
        .any(|field| *field == "used" || field.starts_with("used."))
    {
        reasons.push(Reason::UsedUnknown);
    }
    match gpu.mode {
        Some(Mode::TimeSlicing) => {
            if request.memory.is_some() || request.cores > 0 {
                reasons.push(Reason::NoLimits);
            }
        }
        Some(Mode::Whole) => whole(request, gpu, &mut reasons),
        Some(Mode::Mig) => mig(request, gpu, &mut reasons),
        Some(Mode::HamiCore | Mode::Mps | Mode::Slice) | None => {
            memory(request, gpu, &mut reasons);
            cores(request, gpu, &mut reasons);
        }
    }
    reasons
}

/// MiB that the request takes of a card with `total`, as HAMi rounds.
fn needed(request: &Request, total: u64) -> u64 {
    match request.memory.unwrap_or(Memory::Percent(100)) {
        Memory::Mib(mib) => mib,
        Memory::Percent(percent) => total.saturating_mul(percent.into()) / 100,
    }
}

/// One container has the card with all that it has.
fn whole(request: &Request, gpu: &Gpu, reasons: &mut Vec<Reason>) {
    let Some(Memory::Mib(needed)) = request.memory else {
        return;
    };
    match gpu.capacity.memory_mib.or(gpu.physical_memory_mib) {
        Some(free) if needed > free => reasons.push(Reason::Memory { needed, free }),
        Some(_) => {}
        None => reasons.push(Reason::MemoryUnknown),
    }
}

fn memory(request: &Request, gpu: &Gpu, reasons: &mut Vec<Reason>) {
    let Some(total) = gpu.capacity.memory_mib else {
        return reasons.push(Reason::MemoryUnknown);
    };
    let needed = needed(request, total);
    let free = total.saturating_sub(gpu.used.memory_mib);
    if needed > free {
        return reasons.push(Reason::Memory { needed, free });
    }
    // Templates are not in the record; a card's smallest one is about its part of the slots.
    if gpu.mode == Some(Mode::Slice)
        && let Some(slots @ 1..) = gpu.capacity.slots
    {
        let piece = (total / u64::from(slots)).max(1);
        if needed.div_ceil(piece).saturating_mul(piece) > free && needed < free {
            reasons.push(Reason::PieceUnknown);
        }
    }
}

fn cores(request: &Request, gpu: &Gpu, reasons: &mut Vec<Reason>) {
    let used = gpu.used.cores;
    match (gpu.capacity.cores, request.cores) {
        (Some(total @ 1..), 0) if used >= total => reasons.push(Reason::CoresExhausted),
        (_, 0) => {}
        (None, _) => reasons.push(Reason::CoresUnknown),
        (Some(total), needed) => {
            let free = total.saturating_sub(used);
            if needed > free {
                reasons.push(Reason::Cores { needed, free });
            }
            if total == 100 && needed == 100 && gpu.used.slots > 0 {
                reasons.push(Reason::Shared);
            }
        }
    }
}

/// The smallest profile that is large enough is cut out of the card. Where the others lie is not in the record.
fn mig(request: &Request, gpu: &Gpu, reasons: &mut Vec<Reason>) {
    let Some(total) = gpu.capacity.memory_mib else {
        return reasons.push(Reason::MemoryUnknown);
    };
    let mut sizes: Vec<u64> = gpu
        .mig_profiles
        .iter()
        .filter_map(|name| profile_mib(name))
        .collect();
    sizes.sort_unstable();
    let Some(largest) = sizes.last().copied() else {
        return reasons.push(Reason::ProfileUnknown);
    };
    // All of a card is its largest profile, which by its name may be a little larger or smaller.
    let needed = needed(request, total);
    let needed = if needed >= total {
        needed.min(largest)
    } else {
        needed
    };
    let Some(piece) = sizes.into_iter().find(|size| *size >= needed) else {
        return reasons.push(Reason::NoProfile);
    };
    let free = total.saturating_sub(gpu.used.memory_mib);
    if piece.min(total) > free {
        reasons.push(Reason::Memory { needed: piece, free });
    } else if gpu.used.slots > 0 {
        reasons.push(Reason::ProfileUnknown);
    }
}

/// Memory of a MIG profile by its name: `1g.10gb`, `1g.10gb+me`.
fn profile_mib(name: &str) -> Option<u64> {
    let (_, memory) = name.split_once('.')?;
    let digits = memory.split_once("gb")?.0;
    digits.parse::<u64>().ok()?.checked_mul(1024)
}
