use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn key(n: u8) -> Key {
    Key {
        id: super::super::Id::of(&n.to_string()),
        kind: Kind::Gpu,
    }
}

/// What a reader knows: the hash of each record.
#[derive(Default)]
struct Reader {
    position: Option<Position>,
    records: BTreeMap<Key, u64>,
}

impl Reader {
    /// Reads at most `limit` entries; whether there were fewer.
    fn read(&mut self, journal: &Journal, truth: &BTreeMap<u8, u64>, limit: usize) -> bool {
        let mut position = match self.position {
            Some(position) if journal.can_continue(&position) => position,
            _ => {
                self.records.clear();
                journal.beginning()
            }
        };
        let hashes: BTreeMap<Key, u64> = truth.iter().map(|(n, hash)| (key(*n), *hash)).collect();
        let mut entries = journal.after(&position);
        let mut read = 0;
        while read < limit
            && let Some(entry) = entries.next()
        {
            read += 1;
            let (Entry::Live { revision, .. } | Entry::Gone { revision, .. }) = entry;
            assert!(revision > position.at, "revisions grow");
            match entry {
                Entry::Live { key, .. } => {
                    self.records.insert(key, hashes[&key]);
                }
                Entry::Gone { kind, id, .. } => {
                    let id = super::super::Id::of(id);
                    self.records.remove(&Key { id, kind });
                }
            }
            position = entries.position();
        }
        self.position = Some(position);
        read < limit
    }
}

#[derive(Debug, Clone)]
enum Step {
    Put(u8, u64),
    Remove(u8),
    Read(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..12_u8, 0..3_u64).prop_map(|(n, hash)| Step::Put(n, hash)),
        2 => (0..12_u8).prop_map(Step::Remove),
        2 => (1..6_usize).prop_map(Step::Read),
    ]
}

proptest! {
    #[test]
    fn a_reader_at_random_moments_knows_what_is_there(
        steps in proptest::collection::vec(step(), 0..200),
        tombstones in 1..8_usize,
    ) {
        let mut journal = Journal::new(tombstones);
        let mut truth: BTreeMap<u8, u64> = BTreeMap::new();
        let mut reader = Reader::default();
        for step in steps {
            match step {
                Step::Put(n, hash) => {
                    let changed = truth.insert(n, hash) != Some(hash);
                    let before = journal.revision();
                    prop_assert_eq!(journal.put(key(n), 7, hash), changed);
                    prop_assert_eq!(journal.revision(), before + u64::from(changed));
                }
                Step::Remove(n) => {
                    let known = truth.remove(&n).is_some();
                    prop_assert_eq!(journal.remove(key(n), &n.to_string()), known);
                }
                Step::Read(limit) => {
                    reader.read(&journal, &truth, limit);
                }
            }
            prop_assert_eq!(journal.len(), truth.len());
        }
        while !reader.read(&journal, &truth, 3) {}
        let hashes: BTreeMap<Key, u64> = truth.iter().map(|(n, hash)| (key(*n), *hash)).collect();
        prop_assert_eq!(reader.records, hashes);
        let position = reader.position.expect("it has read");
        prop_assert!(journal.after(&position).next().is_none());
    }
}

#[test]
fn who_is_too_far_behind_is_told_so() {
    let mut journal = Journal::new(2);
    for n in 0..4 {
        journal.put(key(n), 0, 0);
    }
    for n in 0..3 {
        journal.remove(key(n), &n.to_string());
    }
    // Revisions 5, 6 and 7 are removals, and 5 is forgotten.
    assert_eq!((journal.revision(), journal.floor), (7, 5));
    assert!(!journal.can_continue(&Position::at(4)) && journal.can_continue(&Position::at(5)));
    let gone: Vec<u64> = journal
        .after(&Position::at(5))
        .map(|entry| match entry {
            Entry::Live { revision, .. } | Entry::Gone { revision, .. } => revision,
        })
        .collect();
    assert_eq!(gone, [6, 7]);
}
