//! From samples to the use of devices and of containers' shares.
//!
//! - A series that several scrapes bring is one: the larger value counts, never the sum.
//! - What an exporter says of a whole card is never put down to a pod: with HAMi several pods share it, and its exporter's pod labels
//!   name any of them.
//! - Parts of a card (MIG instances, Neuron cores) are added up by their share of it.
//! - NaN, infinities, negative values and DCGM's marks for "not supported" are no values. Unknown is never 0.

mod readings;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::{SignedDuration, Timestamp};
use kantaloupe_checks::Code;

use self::readings::{Card, Share, Sources};
use super::{
    Sample,
    devices::Devices,
    labels,
    names::{self, Exporter, Quantity},
    timestamp,
};
use crate::inventory::{ContainerUsage, GpuUsage};

/// Older samples are not used. Four scrapes at Prometheus' default interval of 30 s, and less than its own 5 minutes, for which it goes
/// on to answer with what an exporter said before it went away.
pub const FRESH: SignedDuration = SignedDuration::from_secs(120);
/// Clocks of exporters and Prometheus may differ; a sample from further ahead has a wrong time.
const AHEAD: SignedDuration = SignedDuration::from_secs(60);
/// Devices that are in metrics but not registered: so many are named, of the others the number.
const MAX_NAMED: usize = 20;
/// Shares of containers that are kept. Beyond any cluster that HAMi's scheduler manages.
const MAX_SHARES: usize = 500_000;

/// Everything that a round of samples says.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Usage {
    /// One record for each device, also where nothing is known.
    pub gpus: Vec<GpuUsage>,
    /// One record for each container and device of which something is known.
    pub containers: Vec<ContainerUsage>,
    /// Which metrics there were.
    pub seen: Seen,
    /// What HAMi's scheduler says it has given out.
    pub scheduled: Vec<Scheduled>,
    /// Devices that metrics speak of but nothing registers; at most 20, and how many in all.
    pub unregistered: (BTreeSet<String>, usize),
}

/// Names of metrics, each with its series that were fresh.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seen {
    /// By name.
    pub fresh: BTreeMap<&'static str, u64>,
    /// Series that were not used because of their age, by name.
    pub stale: BTreeMap<&'static str, u64>,
}

impl Seen {
    /// Fresh series that answer a check, such as [`Code::MON_004`].
    pub fn answering(&self, code: Code) -> u64 {
        let answering = self
            .fresh
            .iter()
            .filter(|(name, _)| names::required_by(name) == Some(code));
        answering.map(|(_, series)| series).sum()
    }
}

/// What HAMi's scheduler says it has given out of a device.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scheduled {
    /// [`crate::inventory::Gpu::id`].
    pub gpu: String,
    /// MiB.
    pub memory_mib: Option<u64>,
    /// In the device's unit.
    pub cores: Option<u64>,
}

/// Takes samples one by one.
#[derive(Debug)]
pub struct Collector<'d> {
    devices: &'d Devices,
    now: Timestamp,
    cards: Vec<Card>,
    shares: HashMap<ShareKey, Share>,
    /// Which MIG instance a container has: device and number of the instance.
    owners: HashMap<(u32, u32), ShareKey>,
    scraped: HashMap<Box<str>, Timestamp>,
    seen: Seen,
    unregistered: BTreeSet<String>,
    not_joined: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct ShareKey {
    namespace: Box<str>,
    pod: Box<str>,
    container: Box<str>,
    device: u32,
}

impl<'d> Collector<'d> {
    /// For the devices, at the time `now`.
    pub fn new(devices: &'d Devices, now: Timestamp) -> Self {
        let cards = std::iter::repeat_with(Card::default);
        Self {
            devices,
            now,
            cards: cards.take(devices.len()).collect(),
            shares: HashMap::new(),
            owners: HashMap::new(),
            scraped: HashMap::new(),
            seen: Seen::default(),
            unregistered: BTreeSet::new(),
            not_joined: 0,
        }
    }

    /// Says when an address was scraped, for samples whose own time is not told (an instant query tells its own time instead). Of
    /// several times the oldest counts.
    pub fn scraped(&mut self, instance: &str, seconds: f64) {
        let Some(at) = timestamp(seconds) else { return };
        let known = self.scraped.entry(instance.into()).or_insert(at);
        *known = at.min(*known);
    }

    /// Takes a sample. Those of metrics that are not in the table are ignored.
    pub fn add(&mut self, sample: &Sample<'_>) {
        let Some(metric) = names::find(sample) else { return };
        let at = sample
            .at
            .or_else(|| self.scraped.get(sample.label(labels::INSTANCE)?).copied());
        if at.is_some_and(|at| self.now.duration_since(at) > FRESH || at.duration_since(self.now) > AHEAD) {
            *self.seen.stale.entry(metric.name).or_default() += 1;
            return;
        }
        let Some(value) = valid(sample.value, metric.exporter) else {
            return;
        };
        *self.seen.fresh.entry(metric.name).or_default() += 1;
        let Some(device) = self.devices.find(sample, metric.exporter) else {
            self.not_joined += 1;
            if self.unregistered.len() < MAX_NAMED {
                let name = sample
                    .first(metric.exporter.uuid())
                    .or_else(|| sample.first(metric.exporter.index()));
                let name = name.unwrap_or("without identifier");
                self.unregistered
                    .insert(format!("{} {name}", metric.exporter.as_str()));
            }
            return;
        };
        let value = value * metric.unit.factor();
        if metric.quantity.of_container() {
            self.add_share(sample, device, metric, value, at);
        } else {
            self.add_card(sample, device, metric, value, at);
        }
    }

    fn add_card(
        &mut self,
        sample: &Sample<'_>,
        device: u32,
        metric: &names::Metric,
        value: f64,
        at: Option<Timestamp>,
    ) {
        let instance = sample.label(labels::MIG_ID).and_then(|id| id.parse().ok());
        let known = self.devices.get(device);
        let card = &mut self.cards[device as usize];
        match (metric.quantity, instance) {
            (Quantity::CoreUtilization, _) => {
                let core = sample
                    .first(metric.exporter.index())
                    .and_then(|core| core.parse().ok());
                let weight = 1.0 / f64::from(known.slots.unwrap_or(1).max(1));
                card.part(core.unwrap_or(0), Some(weight))
                    .utilization
                    .raise(value, at, metric.exporter);
            }
            (Quantity::EngineActive | Quantity::MemoryUsed, Some(instance)) => {
                let slices = sample.label(labels::MIG_PROFILE).and_then(slices_of);
                let weight = slices.map(|slices| f64::from(slices) / f64::from(known.slices));
                let part = card.part(instance, weight);
                let reading = match metric.quantity {
                    Quantity::MemoryUsed => &mut part.memory,
                    _ => &mut part.utilization,
                };
                reading.raise(value, at, metric.exporter);
            }
            // What DCGM gives for the utilization of an instance is the card's, which there is none of with MIG.
            (Quantity::Utilization, Some(_)) => card.mig = true,
            (quantity, _) => card.take(quantity, value, at, metric.exporter),
        }
        card.mig |= instance.is_some();
    }

    fn add_share(
        &mut self,
        sample: &Sample<'_>,
        device: u32,
        metric: &names::Metric,
        value: f64,
        at: Option<Timestamp>,
    ) {
        let (Some(namespace), Some(pod), Some(container)) = (
            sample.first(labels::NAMESPACE),
            sample.first(labels::POD),
            sample.first(labels::CONTAINER),
        ) else {
            return;
        };
        let key = ShareKey {
            namespace: namespace.into(),
            pod: pod.into(),
            container: container.into(),
            device,
        };
        if !self.shares.contains_key(&key) && self.shares.len() == MAX_SHARES {
            self.not_joined += 1;
            return;
        }
        if metric.quantity == Quantity::ContainerMig
            && let Some(instance) = sample.first(labels::MIG_OWNED).and_then(|id| id.parse().ok())
        {
            self.owners.insert((device, instance), key.clone());
        }
        let share = self.shares.entry(key).or_default();
        share.take(metric.quantity, value, at, metric.exporter);
    }

    /// The records.
    pub fn finish(mut self) -> Usage {
        // A MIG instance belongs to one container, so what DCGM says of the instance is the container's.
        for ((device, instance), key) in &self.owners {
            let part = self.cards[*device as usize].find_part(*instance);
            if let (Some(part), Some(share)) = (part, self.shares.get_mut(key)) {
                share.take_part(part);
            }
        }
        let devices = self.devices;
        let of_device = devices.list().zip(&self.cards);
        let gpus = of_device
            .clone()
            .map(|(device, card)| card.record(device))
            .collect();
        let scheduled = of_device
            .filter_map(|(device, card)| card.scheduled(device))
            .collect();
        let mut containers: Vec<_> = self
            .shares
            .iter()
            .map(|(key, share)| {
                let mut record = share.record();
                record.namespace = key.namespace.to_string();
                record.pod = key.pod.to_string();
                record.container = key.container.to_string();
                record.uuid = devices.get(key.device).uuid.to_string();
                record
            })
            .collect();
        containers.sort_by(|a, b| {
            let key = |usage: &ContainerUsage| {
                [&usage.namespace, &usage.pod, &usage.container, &usage.uuid].map(Clone::clone)
            };
            key(a).cmp(&key(b))
        });
        Usage {
            gpus,
            containers,
            seen: self.seen,
            scheduled,
            unregistered: (self.unregistered, self.not_joined),
        }
    }
}

/// The record of a device when the source as a whole gives nothing: all is unknown, with the code of the reason. Such records are made
/// when they are shown, and neither kept nor sent: the reason is one for all devices.
pub fn unknown(gpu: &str, vendor: &str, code: &str) -> GpuUsage {
    let fields = ["utilization", "memoryUsedMib", "temperature", "power", "xid"];
    let fields = fields
        .into_iter()
        .filter(|field| *field != "xid" || has_xid(vendor));
    GpuUsage {
        gpu: gpu.to_owned(),
        unknown: fields
            .map(|field| (field.into(), code.to_owned().into()))
            .collect(),
        ..GpuUsage::default()
    }
}

/// Other vendors have no XID errors.
fn has_xid(vendor: &str) -> bool {
    vendor == "nvidia"
}

/// Compute slices of a profile: 2 of `2g.10gb`, 1 of `1g.10gb+me`.
fn slices_of(profile: &str) -> Option<u32> {
    let (slices, _) = profile.split_once("g.")?;
    slices
        .rsplit('.')
        .next()?
        .parse()
        .ok()
        .filter(|slices| (1..=16).contains(slices))
}

/// The value, if it is one.
fn valid(value: f64, exporter: Exporter) -> Option<f64> {
    /// `DCGM_FP64_BLANK`; it and what follows, with the larger integer marks, say why there is no value.
    const BLANK: f64 = 140_737_488_355_328.0;
    /// `DCGM_INT32_BLANK` to `DCGM_INT32_NOT_PERMISSIONED`.
    const BLANK_32: std::ops::RangeInclusive<f64> = 2_147_483_632.0..=2_147_483_635.0;
    let blank = exporter == Exporter::Dcgm && (value >= BLANK || BLANK_32.contains(&value));
    (value.is_finite() && value >= 0.0 && !blank).then_some(value)
}

/// The exporters that a record comes from, as its field `source`.
fn source(sources: Sources) -> Vec<String> {
    let from = Exporter::ALL.iter().filter(|exporter| sources.has(**exporter));
    from.map(|exporter| exporter.as_str().to_owned()).collect()
}
