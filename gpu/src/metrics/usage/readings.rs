//! What has been read of one device and of one container's share of a device.

use jiff::Timestamp;
use kantaloupe_checks::Code;

use super::{Scheduled, source};
use crate::{
    inventory::{ContainerUsage, GpuUsage, Unknown},
    metrics::{
        devices::Device,
        names::{Exporter, Quantity},
    },
};

/// Nothing fresh of DCGM.
const NO_DCGM: Code = Code::MON_004;
/// Nothing fresh of HAMi's vGPUmonitor.
const NO_MONITOR: Code = Code::MON_005;
/// Nothing scraped that gives it.
const NOT_SCRAPED: Code = Code::MON_003;

/// Exporters, as a set.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sources(u16);

impl Sources {
    fn add(&mut self, exporter: Exporter) {
        self.0 |= 1 << exporter as u16;
    }

    pub(super) fn has(self, exporter: Exporter) -> bool {
        self.0 & 1 << exporter as u16 != 0
    }
}

/// One figure: the largest value, of the best exporter that has it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Reading(Option<(f64, Option<Timestamp>, Exporter)>);

impl Reading {
    /// Takes a value if it is larger.
    pub(super) fn raise(&mut self, value: f64, at: Option<Timestamp>, exporter: Exporter) {
        if self.0.is_none_or(|(known, ..)| value > known) {
            self.0 = Some((value, at, exporter));
        }
    }

    /// As [`Reading::raise`], but HAMi's figures give way to those of the vendor's exporter.
    fn prefer(&mut self, value: f64, at: Option<Timestamp>, exporter: Exporter) {
        let rank = |exporter| u8::from(matches!(exporter, Exporter::Hami | Exporter::HamiLegacy));
        match self.0 {
            Some((_, _, known)) if rank(known) < rank(exporter) => {}
            Some((_, _, known)) if rank(known) > rank(exporter) => self.0 = Some((value, at, exporter)),
            _ => self.raise(value, at, exporter),
        }
    }

    fn value(self) -> Option<f64> {
        self.0.map(|(value, ..)| value)
    }

    /// The value as whole MiB.
    fn whole(self) -> Option<u64> {
        self.value().map(whole)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "not negative; saturates"
)]
fn whole(value: f64) -> u64 {
    value.round() as u64
}

/// A MIG instance or a core.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Part {
    number: u32,
    /// Its share of the card's compute.
    weight: Option<f64>,
    pub(super) utilization: Reading,
    pub(super) memory: Reading,
}

/// One device.
#[derive(Debug, Default)]
pub(super) struct Card {
    utilization: Reading,
    engine: Reading,
    memory: Reading,
    second_memory: Reading,
    temperature: Reading,
    power: Reading,
    xid: Reading,
    allocated_memory: Reading,
    allocated_cores: Reading,
    parts: Vec<Part>,
    /// It is cut into MIG instances.
    pub(super) mig: bool,
}

impl Card {
    pub(super) fn part(&mut self, number: u32, weight: Option<f64>) -> &mut Part {
        let at = self.parts.iter().position(|part| part.number == number);
        let at = at.unwrap_or_else(|| {
            self.parts.push(Part {
                number,
                ..Part::default()
            });
            self.parts.len() - 1
        });
        let part = &mut self.parts[at];
        part.weight = part.weight.or(weight);
        part
    }

    pub(super) fn find_part(&self, number: u32) -> Option<Part> {
        self.parts.iter().find(|part| part.number == number).copied()
    }

    pub(super) fn take(&mut self, quantity: Quantity, value: f64, at: Option<Timestamp>, exporter: Exporter) {
        let reading = match quantity {
            Quantity::Utilization => &mut self.utilization,
            Quantity::EngineActive => &mut self.engine,
            Quantity::MemoryUsed => &mut self.memory,
            Quantity::SecondMemoryUsed => &mut self.second_memory,
            Quantity::Temperature => &mut self.temperature,
            Quantity::Power => &mut self.power,
            Quantity::Xid => &mut self.xid,
            Quantity::MemoryAllocated => &mut self.allocated_memory,
            Quantity::CoresAllocated => &mut self.allocated_cores,
            Quantity::CoreUtilization
            | Quantity::ContainerUtilization
            | Quantity::ContainerMemoryUsed
            | Quantity::ContainerMemoryLimit
            | Quantity::ContainerMig => return,
        };
        reading.prefer(value, at, exporter);
    }

    /// The record of a device.
    pub(super) fn record(&self, device: &Device) -> GpuUsage {
        let code = match &*device.vendor {
            "nvidia" => NO_DCGM,
            _ => NOT_SCRAPED,
        };
        let mut used = Used::default();
        let mig = self.mig || device.mig;
        // With MIG neither DCGM's nor NVML's utilization of the card means anything: it is 0 or missing.
        let whole_card = if mig { self.engine } else { self.utilization };
        let utilization = match (whole_card.0, self.engine.0) {
            (Some(_), _) => used.of(whole_card),
            (None, Some(_)) => used.of(self.engine),
            (None, None) => used.sum(&self.parts, |part| (part.utilization, part.weight)),
        };
        let memory = match self.memory.0 {
            // HAMi asks NVML, which counts the whole card with MIG too; DCGM's instances are as good and have one time.
            Some(_) => used.of(self.memory),
            None => used
                .sum(&self.parts, |part| (part.memory, Some(1.0)))
                .or_else(|| used.of(self.second_memory)),
        };
        let temperature = used.of(self.temperature);
        let power = used.of(self.power);
        let xid = used.of(self.xid).and_then(|xid| u32::try_from(whole(xid)).ok());
        let mut unknown = Unknown::new();
        let mut name = |field: &'static str, missing: bool| {
            if missing {
                unknown.insert(field.into(), code.as_str().into());
            }
        };
        name("utilization", utilization.is_none());
        name("memoryUsedMib", memory.is_none());
        name("temperature", temperature.is_none());
        name("power", power.is_none());
        name("xid", xid.is_none() && super::has_xid(&device.vendor));
        GpuUsage {
            gpu: device.id.to_string(),
            at: used.at,
            utilization,
            memory_used_mib: memory.map(whole),
            temperature,
            power,
            xid,
            source: source(used.sources),
            unknown,
        }
    }

    /// What the scheduler says of a device, if anything.
    pub(super) fn scheduled(&self, device: &Device) -> Option<Scheduled> {
        let (memory_mib, cores) = (self.allocated_memory.whole(), self.allocated_cores.whole());
        (memory_mib.is_some() || cores.is_some()).then(|| Scheduled {
            gpu: device.id.to_string(),
            memory_mib,
            cores,
        })
    }
}

/// What went into a record: from whom, and how old the oldest is.
#[derive(Debug, Default)]
struct Used {
    at: Option<Timestamp>,
    sources: Sources,
}

impl Used {
    fn of(&mut self, reading: Reading) -> Option<f64> {
        let (value, at, exporter) = reading.0?;
        self.sources.add(exporter);
        self.at = match (self.at, at) {
            (Some(known), Some(at)) => Some(known.min(at)),
            (known, at) => known.or(at),
        };
        Some(value)
    }

    /// The parts' values by their weights. Without the weight of one of them there is no sum.
    fn sum(&mut self, parts: &[Part], of: impl Fn(&Part) -> (Reading, Option<f64>)) -> Option<f64> {
        let mut sum = None;
        for part in parts {
            let (reading, weight) = of(part);
            if reading.0.is_some() {
                sum = Some(sum.unwrap_or(0.0) + self.of(reading)? * weight?);
            }
        }
        sum
    }
}

/// One container's share of a device.
#[derive(Debug, Default)]
pub(super) struct Share {
    utilization: Reading,
    memory: Reading,
    limit: Reading,
    mig: bool,
}

impl Share {
    pub(super) fn take(&mut self, quantity: Quantity, value: f64, at: Option<Timestamp>, exporter: Exporter) {
        match quantity {
            Quantity::ContainerUtilization => self.utilization.raise(value, at, exporter),
            Quantity::ContainerMemoryUsed => self.memory.raise(value, at, exporter),
            Quantity::ContainerMemoryLimit => self.limit.raise(value, at, exporter),
            Quantity::ContainerMig => self.mig = true,
            _ => {}
        }
    }

    /// The container has this part of the card for itself.
    pub(super) fn take_part(&mut self, part: Part) {
        if let (Some((value, at, exporter)), Some(weight)) = (part.utilization.0, part.weight) {
            self.utilization.raise(value * weight, at, exporter);
        }
        if let Some((value, at, exporter)) = part.memory.0 {
            self.memory.raise(value, at, exporter);
        }
    }

    /// The record, without its names.
    pub(super) fn record(&self) -> ContainerUsage {
        let mut used = Used::default();
        let utilization = used.of(self.utilization);
        let memory = used.of(self.memory);
        let limit = used.of(self.limit);
        let mut unknown = Unknown::new();
        let mut name = |field: &'static str, missing: bool| {
            if missing {
                // HAMi's monitor does not look into MIG instances: DCGM does.
                let code = if self.mig { NO_DCGM } else { NO_MONITOR };
                unknown.insert(field.into(), code.as_str().into());
            }
        };
        name("utilization", utilization.is_none());
        name("memoryUsedMib", memory.is_none());
        // The limit of a MIG instance is its size, which no metric tells.
        name("memoryLimitMib", limit.is_none() && !self.mig);
        ContainerUsage {
            at: used.at,
            utilization,
            memory_used_mib: memory.map(whole),
            memory_limit_mib: limit.map(whole),
            source: source(used.sources),
            unknown,
            ..ContainerUsage::default()
        }
    }
}
