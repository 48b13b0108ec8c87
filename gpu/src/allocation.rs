//! The record of an allocation in a pod's annotations, as HAMi and its relatives write it.
//!
//! ```text
//! record  = slot (";" slot)* [";"]      one slot for each container
//! slot    = [ share (":" share)* [":"] ]
//! share   = device "," keyword "," memory-in-MiB "," cores *("," ignored)
//! ```
//!
//! `,,0,0` stands for a container without a device (up to 2.5); later versions leave the slot empty. HAMi ends each slot with `;`,
//! Volcano and its predecessor only put it between them. HAMi refuses the whole pod for one share that it cannot read; here the
//! others are kept, and what is wrong is told.

pub mod mapping;
pub mod mig;
pub mod vendor_json;

#[cfg(test)]
mod tests;

/// Slots that are read of one record. A pod has far fewer containers; the rest of a longer one is reported, not read.
pub const MAX_SLOTS: usize = 1024;

/// Shares that are read of one record: a node has far fewer devices.
pub const MAX_SHARES: usize = 4096;

/// Longest piece of a record that is quoted in a message.
const MAX_QUOTE: usize = 80;

/// What was read of a record.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record<'a> {
    /// One for each container, in the record's order.
    pub slots: Vec<Slot<'a>>,
    /// What could not be read.
    pub faults: Vec<Fault>,
}

/// What one container holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Slot<'a> {
    /// The shares that can be told.
    pub shares: Vec<Share<'a>>,
    /// Something was written here, even if none of it can be told.
    pub filled: bool,
}

/// A share of one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share<'a> {
    /// The device's identifier as written, with the suffix of an old MIG record.
    pub device: &'a str,
    /// The vendor's keyword; AMD writes the name of the model.
    pub keyword: &'a str,
    /// MiB; `None` if it could not be read.
    pub memory_mib: Option<u64>,
    /// Cores in the vendor's unit; `None` if they could not be read.
    pub cores: Option<u32>,
}

/// One share that could not be read, or not in full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The slot, from 0.
    pub slot: usize,
    /// The entry in it, from 0, as written.
    pub entry: usize,
    /// What was written, cut short.
    pub text: String,
    /// What is wrong with it.
    pub reason: Reason,
}

/// What is wrong with a share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// Text that is not made of fields.
    #[error("is not a share of a device")]
    NoShare,
    /// Fewer than the four fields of the grammar.
    #[error("has {0} fields instead of four")]
    Fields(usize),
    /// The first field is empty and the others are not.
    #[error("names no device")]
    Device,
    /// The third field.
    #[error("has a memory field that is not a number of MiB")]
    Memory,
    /// The fourth field.
    #[error("has a core field that is not a number")]
    Cores,
    /// More than is read.
    #[error("and what follows is more than is read of one record")]
    TooMany,
}

impl Record<'_> {
    /// All shares with the positions of their slot and, in it, of themselves.
    pub fn shares(&self) -> impl Iterator<Item = (usize, usize, &Share<'_>)> {
        self.slots.iter().enumerate().flat_map(|(slot, read)| {
            read.shares
                .iter()
                .enumerate()
                .map(move |(index, share)| (slot, index, share))
        })
    }

    /// Whether nothing is recorded, readable or not: all slots are empty.
    pub fn is_empty(&self) -> bool {
        self.faults.is_empty() && self.slots.iter().all(|slot| !slot.filled)
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "entry {} of container {}, {:?}, {}",
            self.entry, self.slot, self.text, self.reason
        )
    }
}

/// Reads a record. What cannot be read is left out and told in [`Record::faults`].
pub fn parse(text: &str) -> Record<'_> {
    let mut record = Record::default();
    let body = text.strip_suffix(';').unwrap_or(text);
    if body.is_empty() && text.is_empty() {
        return record;
    }
    let mut shares = 0;
    for (index, written) in body.split(';').enumerate() {
        if index == MAX_SLOTS || shares >= MAX_SHARES {
            record.faults.push(Fault {
                slot: index,
                entry: 0,
                text: quote(written),
                reason: Reason::TooMany,
            });
            break;
        }
        let slot = read_slot(index, written, &mut record.faults);
        shares += slot.shares.len();
        record.slots.push(slot);
    }
    record
}

fn read_slot<'a>(index: usize, written: &'a str, faults: &mut Vec<Fault>) -> Slot<'a> {
    let mut slot = Slot::default();
    for (entry, text) in written.split(':').enumerate() {
        let fault = |reason| Fault {
            slot: index,
            entry,
            text: quote(text),
            reason,
        };
        if entry == MAX_SHARES {
            faults.push(fault(Reason::TooMany));
            break;
        }
        if text.trim().is_empty() {
            continue;
        }
        match read_share(text) {
            Ok(None) => {}
            Ok(Some((share, wrong))) => {
                slot.filled = true;
                slot.shares.push(share);
                faults.extend(wrong.into_iter().flatten().map(fault));
            }
            Err(reason) => {
                slot.filled = true;
                faults.push(fault(reason));
            }
        }
    }
    slot
}

/// A share with what is wrong about it, or `None` for the entry of a container without a device.
type Read<'a> = Option<(Share<'a>, [Option<Reason>; 2])>;

fn read_share(text: &str) -> Result<Read<'_>, Reason> {
    let fields: Vec<&str> = text.split(',').take(4).map(str::trim).collect();
    let device = fields.first().copied().unwrap_or_default();
    let keyword = fields.get(1).copied().unwrap_or_default();
    let (Some(memory), Some(cores)) = (fields.get(2), fields.get(3)) else {
        // Which field is missing cannot be told, so neither number is believed; the first field is the device in every version.
        return match fields.len() {
            0 | 1 => Err(Reason::NoShare),
            few if device.is_empty() => Err(Reason::Fields(few)),
            few => Ok(Some((
                Share {
                    device,
                    keyword,
                    memory_mib: None,
                    cores: None,
                },
                [Some(Reason::Fields(few)), None],
            ))),
        };
    };
    let memory_mib = number(memory);
    let cores = number(cores);
    let wrong = [
        memory_mib.is_none().then_some(Reason::Memory),
        cores.is_none().then_some(Reason::Cores),
    ];
    if device.is_empty() {
        return match wrong {
            [None, None] if keyword.is_empty() && memory_mib == Some(0) && cores == Some(0) => Ok(None),
            [Some(reason), _] | [None, Some(reason)] => Err(reason),
            [None, None] => Err(Reason::Device),
        };
    }
    let share = Share {
        device,
        keyword,
        memory_mib: memory_mib.map(u64::from),
        cores,
    };
    Ok(Some((share, wrong)))
}

/// A number as HAMi reads it, which keeps it in 32 bits with a sign; a share below 0 says nothing.
fn number(text: &str) -> Option<u32> {
    text.parse::<i32>()
        .ok()
        .and_then(|number| u32::try_from(number).ok())
}

/// A piece of text that is short enough for a message.
pub(crate) fn quote(text: &str) -> String {
    match text.char_indices().nth(MAX_QUOTE) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}...", &text[..end]),
    }
}
