//! Which container a slot of a record belongs to.
//!
//! The position alone does not say: versions of HAMi give init containers a slot or not, move an entry to the front, and drop
//! empty slots. What survives in all of them is the order of the filled slots. So the n-th filled slot belongs to the n-th
//! container that asks for the vendor's devices, if there are as many of the one as of the other; only otherwise the position is
//! believed, if the number of slots says what it counts.

use crate::inventory::Mapping;

/// One container of the pod; init containers come first, each group in the order of the spec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seat {
    /// It is among `initContainers`.
    pub init: bool,
    /// It asks for devices of this record's vendor.
    pub asks: bool,
}

/// The containers of a record's slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// How they were found.
    pub mapping: Mapping,
    /// For each slot the index of its container among the seats. `None` for an empty slot, and for all if it cannot be told.
    pub seats: Vec<Option<usize>>,
}

/// Finds the containers of slots, of which `filled` says whether something is written in them.
///
/// `open` is for records in which `;` only stands between slots: there a last empty slot cannot be seen.
pub fn place(filled: &[bool], seats: &[Seat], open: bool) -> Placement {
    let asking: Vec<usize> = (0..seats.len()).filter(|seat| seats[*seat].asks).collect();
    let count = filled.iter().filter(|filled| **filled).count();
    if count == asking.len() {
        let mut next = asking.into_iter();
        return Placement {
            mapping: Mapping::Requests,
            seats: filled
                .iter()
                .map(|filled| filled.then(|| next.next()).flatten())
                .collect(),
        };
    }
    let inits = seats.iter().filter(|seat| seat.init).count();
    let slots = filled.len();
    let first = if fits(slots, seats.len(), open) {
        Some(0)
    } else if fits(slots, seats.len() - inits, open) {
        Some(inits)
    } else {
        None
    };
    let by_position = first.map(|first| {
        let seat = |(slot, filled): (usize, &bool)| filled.then_some(first + slot);
        filled.iter().enumerate().map(seat).collect::<Vec<_>>()
    });
    match by_position {
        // A filled slot at a container that asks for nothing while others ask: the position lies.
        Some(placed) if asking.is_empty() || placed.iter().flatten().all(|seat| seats[*seat].asks) => {
            Placement {
                mapping: Mapping::Position,
                seats: placed,
            }
        }
        _ => Placement {
            mapping: Mapping::Unknown,
            seats: vec![None; slots],
        },
    }
}

fn fits(slots: usize, containers: usize, open: bool) -> bool {
    slots == containers || (open && slots + 1 == containers)
}
