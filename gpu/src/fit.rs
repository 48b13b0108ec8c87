//! Where a request for devices would fit, by the rules of HAMi's scheduler (`Fit` of its device packages, HAMi 2.10).
//!
//! A request is met on one node, each of its devices by another card. What is not known of a card is neither nothing nor plenty: the
//! answer is then [`Verdict::Unknown`], unless something else rules the card out.

mod device;

#[cfg(test)]
mod tests;

use std::fmt;

use serde::Serialize;

use crate::inventory::{Gpu, Mode};

/// Memory of each device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// MiB.
    Mib(u64),
    /// Percent of what the card has.
    Percent(u32),
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Devices.
    pub count: u32,
    /// Memory of each. `None` is all of a card where memory is given out in parts, as with HAMi.
    pub memory: Option<Memory>,
    /// Cores of each, in the unit of [`crate::inventory::Capacity::cores`]. 0 is a share without a limit; 100 of a card of 100 is the
    /// card alone.
    pub cores: u32,
    /// Part of the model's name, whatever its case, as HAMi compares `use-gputype`.
    pub model: Option<String>,
    /// The row of the table of vendors.
    pub vendor: Option<String>,
    /// How the card is shared.
    pub mode: Option<Mode>,
}

impl Default for Request {
    fn default() -> Self {
        Self {
            count: 1,
            memory: None,
            cores: 0,
            model: None,
            vendor: None,
            mode: None,
        }
    }
}

impl Request {
    /// Whether a card is of the kind that is asked for; others are no near misses.
    pub fn wants(&self, gpu: &Gpu) -> bool {
        let vendor = self.vendor.as_ref().is_none_or(|vendor| *vendor == gpu.vendor);
        let mode = self.mode.is_none_or(|mode| gpu.mode == Some(mode));
        let model = self.model.as_ref().is_none_or(|part| {
            let model = gpu.model.as_deref().unwrap_or_default();
            model.to_ascii_lowercase().contains(&part.to_ascii_lowercase())
        });
        vendor && mode && model
    }
}

/// Whether it fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// Now.
    Fits,
    /// Something that decides is not known.
    Unknown,
    /// Not now.
    No,
}

/// Why a card or a node does not take the request, or why that is not known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", tag = "code")]
pub enum Reason {
    /// The node is not ready.
    NodeNotReady,
    /// The node is cordoned.
    NodeUnschedulable,
    /// Nothing is known of the node, or not whether it is ready.
    NodeUnknown,
    /// Too few of the node's cards take it.
    TooFewDevices {
        /// Cards that are asked for.
        needed: u32,
        /// Cards that take it.
        fitting: u32,
        /// Cards of which it is not known.
        unknown: u32,
    },
    /// Not healthy.
    Unhealthy,
    /// Not known whether it is healthy.
    HealthUnknown,
    /// An administrator took it out.
    Cordoned,
    /// The node no longer offers it.
    Stale,
    /// As many containers share it as may.
    NoSlot {
        /// Containers that may.
        slots: u32,
        /// Containers that do.
        used: u32,
    },
    /// Not known how many containers may share it.
    SlotsUnknown,
    /// Not enough memory is free.
    Memory {
        /// MiB that it takes.
        needed: u64,
        /// MiB that are not held.
        free: u64,
    },
    /// Not known how much memory it has.
    MemoryUnknown,
    /// The vendor gives memory out in pieces, and rounded up it may not fit.
    PieceUnknown,
    /// Not enough cores are free.
    Cores {
        /// Cores that it takes.
        needed: u32,
        /// Cores that are not held.
        free: u32,
    },
    /// All cores are held: it takes nothing more, also no share without a limit.
    CoresExhausted,
    /// Not known how many cores it has.
    CoresUnknown,
    /// The request wants the card alone, and others have a share of it.
    Shared,
    /// What its containers hold is not all known.
    UsedUnknown,
    /// No MIG profile is that large.
    NoProfile,
    /// Its MIG profiles are not known, or not whether one still has a place beside what is there.
    ProfileUnknown,
    /// It is shared in time only: memory and cores cannot be limited.
    NoLimits,
}

impl Reason {
    /// Whether it says that something is not known.
    pub const fn is_unknown(&self) -> bool {
        matches!(
            self,
            Self::NodeUnknown
                | Self::HealthUnknown
                | Self::SlotsUnknown
                | Self::MemoryUnknown
                | Self::PieceUnknown
                | Self::CoresUnknown
                | Self::UsedUnknown
                | Self::ProfileUnknown
        )
    }

    /// What HAMi's scheduler says in its events, where it has a word for it.
    pub const fn hami(&self) -> Option<&'static str> {
        Some(match self {
            Self::TooFewDevices { .. } => "NodeInsufficientDevice",
            Self::Unhealthy => "CardNotHealth",
            Self::Cordoned => "CardCordoned",
            Self::NoSlot { .. } => "CardTimeSlicingExhausted",
            Self::Memory { .. } => "CardInsufficientMemory",
            Self::Cores { .. } => "CardInsufficientCore",
            Self::CoresExhausted => "CardComputeUnitsExhausted",
            Self::Shared => "ExclusiveDeviceAllocateConflict",
            Self::NoProfile => "CardMigTopologyInfeasible",
            _ => return None,
        })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NodeNotReady => f.write_str("the node is not ready"),
            Self::NodeUnschedulable => f.write_str("the node is cordoned"),
            Self::NodeUnknown => f.write_str("it is not known whether the node is ready"),
            Self::TooFewDevices {
                needed,
                fitting,
                unknown: 0,
            } => write!(f, "{needed} devices are asked for and {fitting} take it"),
            Self::TooFewDevices {
                needed,
                fitting,
                unknown,
            } => write!(
                f,
                "{needed} devices are asked for, {fitting} take it, and of {unknown} it is not known"
            ),
            Self::Unhealthy => f.write_str("the device is not healthy"),
            Self::HealthUnknown => f.write_str("it is not known whether the device is healthy"),
            Self::Cordoned => f.write_str("the device is taken out of scheduling"),
            Self::Stale => f.write_str("the node no longer offers the device"),
            Self::NoSlot { slots, used } => {
                write!(f, "{used} containers of at most {slots} share the device")
            }
            Self::SlotsUnknown => f.write_str("it is not known how many containers may share the device"),
            Self::Memory { needed, free } => write!(f, "it takes {needed} MiB and {free} MiB are free"),
            Self::MemoryUnknown => f.write_str("the memory of the device is not known"),
            Self::PieceUnknown => {
                f.write_str("the vendor gives memory out in pieces, and the next larger one may not fit")
            }
            Self::Cores { needed, free } => write!(f, "it takes {needed} cores and {free} are free"),
            Self::CoresExhausted => f.write_str("all cores of the device are held"),
            Self::CoresUnknown => f.write_str("the cores of the device are not known"),
            Self::Shared => f.write_str("the request wants the device alone and others have a share of it"),
            Self::UsedUnknown => f.write_str("not all is known of what holds the device"),
            Self::NoProfile => f.write_str("no MIG profile of the device is that large"),
            Self::ProfileUnknown => {
                f.write_str("it is not known whether the device has a place for a MIG profile")
            }
            Self::NoLimits => {
                f.write_str("the device is shared in time only, without limits of memory and cores")
            }
        }
    }
}

/// What becomes of the request on one card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceFit {
    /// [`Gpu::id`].
    pub gpu: String,
    /// Whether it takes one device of the request.
    pub verdict: Verdict,
    /// Why not, or why it is not known: all that apply.
    pub reasons: Vec<Reason>,
}

/// What becomes of the request on one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeFit {
    /// Whether all of it fits there.
    pub verdict: Verdict,
    /// Why not, or why it is not known, besides what the cards say.
    pub reasons: Vec<Reason>,
    /// Cards that take it.
    pub fitting: u32,
    /// The cards of the kind that is asked for.
    pub devices: Vec<DeviceFit>,
}

/// What has to be known of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NodeState {
    /// [`crate::inventory::Node::ready`].
    pub ready: Option<bool>,
    /// [`crate::inventory::Node::schedulable`].
    pub schedulable: bool,
}

/// Decides for one node. `None` if it has no card of the kind that is asked for.
pub fn node<'a>(
    request: &Request,
    state: Option<NodeState>,
    gpus: impl IntoIterator<Item = &'a Gpu>,
) -> Option<NodeFit> {
    let wanted = gpus.into_iter().filter(|gpu| request.wants(gpu));
    let devices: Vec<_> = wanted.map(|gpu| device(request, gpu)).collect();
    if devices.is_empty() {
        return None;
    }
    let count = |verdict| {
        let of = devices.iter().filter(|device| device.verdict == verdict);
        u32::try_from(of.count()).unwrap_or(u32::MAX)
    };
    let (fitting, unknown) = (count(Verdict::Fits), count(Verdict::Unknown));
    let mut reasons = Vec::new();
    match state {
        None | Some(NodeState { ready: None, .. }) => reasons.push(Reason::NodeUnknown),
        Some(NodeState {
            ready: Some(true), ..
        }) => {}
        Some(_) => reasons.push(Reason::NodeNotReady),
    }
    if state.is_some_and(|state| !state.schedulable) {
        reasons.push(Reason::NodeUnschedulable);
    }
    let mut verdict = verdict(&reasons);
    if fitting < request.count {
        reasons.push(Reason::TooFewDevices {
            needed: request.count,
            fitting,
            unknown,
        });
        let enough = fitting.saturating_add(unknown) >= request.count;
        verdict = verdict.max(if enough { Verdict::Unknown } else { Verdict::No });
    }
    Some(NodeFit {
        verdict,
        reasons,
        fitting,
        devices,
    })
}

/// Decides for one card, whatever its kind.
pub fn device(request: &Request, gpu: &Gpu) -> DeviceFit {
    let reasons = device::reasons(request, gpu);
    DeviceFit {
        gpu: gpu.id.clone(),
        verdict: verdict(&reasons),
        reasons,
    }
}

fn verdict(reasons: &[Reason]) -> Verdict {
    if reasons.is_empty() {
        Verdict::Fits
    } else if reasons.iter().all(Reason::is_unknown) {
        Verdict::Unknown
    } else {
        Verdict::No
    }
}
