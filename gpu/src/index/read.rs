//! Reading: a snapshot and then changes, in batches.

use jiff::Timestamp;

use super::{
    Index,
    journal::{Entry, Key, Position},
    strings::Sym,
};
use crate::{
    inventory::{Allocation, Finding, Gpu, Kind, Record},
    metrics::devices::Devices,
};

/// How far a subscriber is.
#[derive(Debug, Clone, Copy)]
pub struct Cursor {
    position: Option<Position>,
    /// What was read so far is part of a snapshot that is not complete.
    in_snapshot: bool,
    /// The subscriber has not heard yet whether what it knows is still all there is.
    unconfirmed: bool,
}

impl Cursor {
    /// Of a subscriber that knows nothing.
    pub const fn nothing() -> Self {
        Self {
            position: None,
            in_snapshot: false,
            unconfirmed: false,
        }
    }

    /// Of a subscriber that knows everything up to a revision. It is told so if nothing has changed since.
    pub fn at(revision: u64) -> Self {
        Self {
            position: Some(Position::at(revision)),
            in_snapshot: false,
            unconfirmed: true,
        }
    }

    /// Whether a snapshot was begun and not completed.
    pub const fn in_snapshot(&self) -> bool {
        self.in_snapshot
    }
}

/// Some of what is new to a subscriber. Removals come before upserts.
#[derive(Debug, Default)]
pub struct Batch {
    /// The last change that is in it.
    pub revision: u64,
    /// A snapshot begins here: what it does not name until it is complete is gone.
    pub snapshot: bool,
    /// With this batch the subscriber has a state that was true at one moment.
    pub complete: bool,
    /// Records that are new or changed.
    pub upserts: Vec<Record>,
    /// Kind and id of records that went.
    pub removals: Vec<(Kind, String)>,
}

impl Batch {
    /// Whether it says nothing.
    pub const fn is_empty(&self) -> bool {
        self.upserts.is_empty() && self.removals.is_empty() && !self.snapshot && !self.complete
    }
}

/// Of records that come one after the other many are of one node or pod: the last one that was looked at.
#[derive(Default)]
struct Renderer {
    gpus: Option<(u32, Vec<Gpu>)>,
    allocations: Option<(u32, Vec<Allocation>)>,
}

impl Index {
    /// What is after the cursor, at most `limit` entries, and moves the cursor there. Empty if nothing is.
    pub fn changes(&mut self, cursor: &mut Cursor, limit: usize, now: Timestamp) -> Batch {
        self.settle(now);
        let mut batch = Batch::default();
        let position = match cursor.position {
            Some(position) if self.journal.can_continue(&position) => position,
            _ => {
                batch.snapshot = true;
                cursor.in_snapshot = true;
                self.journal.beginning()
            }
        };
        let mut entries = self.journal.after(&position);
        let mut renderer = Renderer::default();
        let mut read = 0;
        while read < limit
            && let Some(entry) = entries.next()
        {
            read += 1;
            match entry {
                Entry::Live { key, origin, .. } => {
                    let record = self.render(key, origin, now, &mut renderer);
                    batch.upserts.push(record.expect("what has a row can be made"));
                }
                Entry::Gone { kind, id, .. } => batch.removals.push((kind, id.to_owned())),
            }
        }
        let position = entries.position();
        batch.revision = position.at;
        cursor.position = Some(position);
        if position.at == self.journal.revision() || read < limit {
            batch.complete = read > 0 || cursor.in_snapshot || cursor.unconfirmed;
            if batch.complete {
                // Everything up to now is known, whatever the last entry was.
                batch.revision = self.journal.revision();
                cursor.position = Some(position.caught_up(batch.revision));
            }
            cursor.in_snapshot = false;
            cursor.unconfirmed = false;
        }
        batch
    }

    /// The devices, to join metrics to them.
    pub fn devices(&self) -> Devices {
        let mut devices = Devices::default();
        for entry in self.nodes.values() {
            let gpus = entry.merged(&self.strings);
            if let Some(node) = entry.render(&self.strings, &gpus) {
                devices.add_node(&node);
            }
            for gpu in &gpus {
                devices.add(gpu);
            }
        }
        devices
    }

    /// What is wrong with registrations and allocations.
    pub fn findings(&self) -> Vec<Finding> {
        let findings = self.findings.values();
        findings
            .map(|finding| finding.packed.get(&self.strings))
            .collect()
    }

    /// All records, in the order of kinds and ids.
    pub fn records(&mut self, now: Timestamp) -> Vec<Record> {
        let mut cursor = Cursor::nothing();
        let mut records = self.changes(&mut cursor, usize::MAX, now).upserts;
        records.sort_by_cached_key(Record::key);
        records
    }

    fn render(&self, key: Key, origin: u32, now: Timestamp, renderer: &mut Renderer) -> Option<Record> {
        let node = || self.nodes.get(&Sym::from_raw(origin)?);
        match key.kind {
            Kind::Cluster => Some(Record::Cluster(Box::new(self.cluster.render(&self.strings)))),
            Kind::Node => {
                let node = node()?;
                let node = node.render(&self.strings, &node.merged(&self.strings))?;
                Some(Record::Node(Box::new(node)))
            }
            Kind::Gpu => {
                if renderer.gpus.as_ref().is_none_or(|(of, _)| *of != origin) {
                    let node = node()?;
                    let mut gpus = node.merged(&self.strings);
                    for (gpu, row) in gpus.iter_mut().zip(&node.gpus) {
                        gpu.used = row.used.clone();
                    }
                    renderer.gpus = Some((origin, gpus));
                }
                let (_, gpus) = renderer.gpus.as_ref()?;
                let gpu = gpus.iter().find(|gpu| super::Id::of(&gpu.id) == key.id)?;
                Some(Record::Gpu(Box::new(gpu.clone())))
            }
            Kind::Allocation => {
                if renderer.allocations.as_ref().is_none_or(|(of, _)| *of != origin) {
                    let asker = self.askers.get(origin as usize)?.as_ref()?;
                    let home = asker.home.and_then(|home| self.nodes.get(&home));
                    let resolved = self.resolve(asker, home.map(|home| &**home), now);
                    renderer.allocations = Some((origin, resolved.allocations));
                }
                let (_, allocations) = renderer.allocations.as_ref()?;
                let mut of_pod = allocations.iter();
                let allocation = of_pod.find(|allocation| super::Id::of(&allocation.id) == key.id)?;
                Some(Record::Allocation(Box::new(allocation.clone())))
            }
            Kind::Workload => {
                let workload = self.workloads.get(&key.id)?.render(&self.strings);
                Some(Record::Workload(Box::new(workload)))
            }
            Kind::Finding => {
                let finding = self.findings.get(&key.id)?.packed.get(&self.strings);
                Some(Record::Finding(Box::new(finding)))
            }
            Kind::GpuUsage | Kind::ContainerUsage | Kind::Check => self.whole(key),
        }
    }
}
