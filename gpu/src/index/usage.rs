//! Records that come whole from others: live use and results of checks.

use std::collections::HashSet;

use kantaloupe_checks::Outcome;
use serde::Serialize;

use super::{Id, Index, journal::Key, pack::Packed};
use crate::inventory::{ContainerUsage, GpuUsage, Kind, Record};

impl Index {
    pub(super) fn put_usage(&mut self, gpus: &[GpuUsage], containers: &[ContainerUsage]) {
        self.put_whole(Kind::GpuUsage, gpus, |usage| usage.gpu.clone());
        self.put_whole(Kind::ContainerUsage, containers, ContainerUsage::id);
    }

    pub(super) fn put_checks(&mut self, outcomes: &[Outcome]) {
        self.put_whole(Kind::Check, outcomes, |outcome| outcome.code.to_string());
    }

    /// Replaces all records of a kind.
    fn put_whole<T: Serialize>(&mut self, kind: Kind, records: &[T], id: impl Fn(&T) -> String) {
        let mut named = HashSet::with_capacity(records.len());
        for record in records {
            let text = id(record);
            let key = Key {
                id: Id::of(&text),
                kind,
            };
            if named.insert(key) && self.put_record(kind, &text, 0, record) {
                let packed = Packed::new(record, &mut self.strings);
                self.whole.insert(key, packed);
            }
        }
        let gone = self
            .whole
            .keys()
            .filter(|key| key.kind == kind && !named.contains(key));
        for key in gone.copied().collect::<Vec<_>>() {
            if let Some(record) = self.whole(key) {
                self.remove_record(kind, &record.id());
            }
            self.whole.remove(&key);
        }
    }

    /// A record that came whole.
    pub(super) fn whole(&self, key: Key) -> Option<Record> {
        let packed = self.whole.get(&key)?;
        match key.kind {
            Kind::GpuUsage => Some(Record::GpuUsage(packed.get(&self.strings))),
            Kind::ContainerUsage => Some(Record::ContainerUsage(packed.get(&self.strings))),
            Kind::Check => Some(Record::Check(packed.get(&self.strings))),
            _ => None,
        }
    }
}
