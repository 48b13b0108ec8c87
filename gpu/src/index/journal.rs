//! Which records there are, in the order of their last changes.
//!
//! A row per record, without its content: a record that changes moves to the end and gets the next revision. Reading from a
//! revision on therefore yields each record once, in its last state, however often it changed meanwhile. Records that went leave a
//! tombstone; there is room for a limited number of them, and whoever is further behind than the oldest reads everything anew.

#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    hash::{BuildHasher, RandomState},
};

use hashbrown::HashTable;

use crate::inventory::Kind;

/// No row.
const NONE: u32 = u32::MAX;

/// A record's name without its text: 128 bits of a hash of its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) id: super::Id,
    pub(super) kind: Kind,
}

#[derive(Debug, Clone, Copy)]
struct Row {
    // The parts of its key, which leave no gap here.
    id: super::Id,
    kind: Kind,
    /// Where its content is made: the kind says what the number means.
    origin: u32,
    revision: u64,
    /// Of the content.
    hash: u64,
    previous: u32,
    next: u32,
}

impl Row {
    fn key(&self) -> Key {
        Key {
            id: self.id,
            kind: self.kind,
        }
    }
}

#[derive(Debug)]
struct Tombstone {
    revision: u64,
    kind: Kind,
    id: Box<str>,
}

/// The rows.
#[derive(Debug)]
pub(super) struct Journal {
    rows: Vec<Row>,
    free: Vec<u32>,
    table: HashTable<u32>,
    hasher: RandomState,
    first: u32,
    last: u32,
    revision: u64,
    tombstones: VecDeque<Tombstone>,
    max_tombstones: usize,
    /// Removals up to this revision are forgotten.
    floor: u64,
}

/// What happened after a revision, in order.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Entry<'a> {
    /// The record is there.
    Live { key: Key, origin: u32, revision: u64 },
    /// The record went.
    Gone { kind: Kind, id: &'a str, revision: u64 },
}

impl Journal {
    pub(super) fn new(max_tombstones: usize) -> Self {
        Self {
            rows: Vec::new(),
            free: Vec::new(),
            table: HashTable::new(),
            hasher: RandomState::new(),
            first: NONE,
            last: NONE,
            revision: 0,
            tombstones: VecDeque::new(),
            max_tombstones,
            floor: 0,
        }
    }

    /// The last revision that was given.
    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    /// Number of records.
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// Notes a record's content; whether that is a change.
    pub(super) fn put(&mut self, key: Key, origin: u32, hash: u64) -> bool {
        if let Some(row) = self.find(key) {
            let at = &mut self.rows[row as usize];
            at.origin = origin;
            if at.hash == hash {
                return false;
            }
            at.hash = hash;
            self.unlink(row);
            self.append(row);
            return true;
        }
        let new = Row {
            id: key.id,
            kind: key.kind,
            origin,
            revision: 0,
            hash,
            previous: NONE,
            next: NONE,
        };
        let row = if let Some(row) = self.free.pop() {
            self.rows[row as usize] = new;
            row
        } else {
            self.rows.push(new);
            u32::try_from(self.rows.len() - 1).expect("fewer than 4 billion records fit in memory")
        };
        let (rows, hasher) = (&self.rows, &self.hasher);
        self.table.insert_unique(hasher.hash_one(key), row, |&row| {
            hasher.hash_one(rows[row as usize].key())
        });
        self.append(row);
        true
    }

    /// Notes that a record went; whether it was there.
    pub(super) fn remove(&mut self, key: Key, id: &str) -> bool {
        let found = self.table.find_entry(self.hasher.hash_one(key), |&row| {
            self.rows[row as usize].key() == key
        });
        let Ok(entry) = found else {
            return false;
        };
        let (row, _) = entry.remove();
        self.unlink(row);
        self.free.push(row);
        self.revision += 1;
        if self.tombstones.len() == self.max_tombstones
            && let Some(oldest) = self.tombstones.pop_front()
        {
            self.floor = oldest.revision;
        }
        self.tombstones.push_back(Tombstone {
            revision: self.revision,
            kind: key.kind,
            id: id.into(),
        });
        true
    }

    /// What is to be read next; false if removals that the reader would have to know are forgotten, so that it starts anew.
    pub(super) fn can_continue(&self, position: &Position) -> bool {
        self.floor <= position.at.max(position.start) && position.at <= self.revision
    }

    /// Where a reader starts that knows nothing.
    pub(super) fn beginning(&self) -> Position {
        Position {
            at: 0,
            start: self.revision,
            row: None,
        }
    }

    /// What is after a position, oldest first.
    pub(super) fn after(&self, position: &Position) -> Entries<'_> {
        let since = position.at;
        let row = match position.row.and_then(|row| self.rows.get(row as usize)) {
            Some(row) if row.revision == since => row.next,
            _ if since == 0 => self.first,
            _ => {
                let mut row = NONE;
                let mut before = self.last;
                while before != NONE && self.rows[before as usize].revision > since {
                    row = before;
                    before = self.rows[before as usize].previous;
                }
                row
            }
        };
        let known = since.max(position.start);
        Entries {
            journal: self,
            position: *position,
            row,
            tombstone: self.tombstones.partition_point(|t| t.revision <= known),
        }
    }

    fn find(&self, key: Key) -> Option<u32> {
        self.table
            .find(self.hasher.hash_one(key), |&row| {
                self.rows[row as usize].key() == key
            })
            .copied()
    }

    fn unlink(&mut self, row: u32) {
        let Row { previous, next, .. } = self.rows[row as usize];
        match previous {
            NONE => self.first = next,
            previous => self.rows[previous as usize].next = next,
        }
        match next {
            NONE => self.last = previous,
            next => self.rows[next as usize].previous = previous,
        }
        // A free row has a revision that no reader is at.
        self.rows[row as usize].revision = 0;
    }

    fn append(&mut self, row: u32) {
        self.revision += 1;
        let last = self.last;
        let at = &mut self.rows[row as usize];
        at.revision = self.revision;
        at.previous = last;
        at.next = NONE;
        match last {
            NONE => self.first = row,
            last => self.rows[last as usize].next = row,
        }
        self.last = row;
    }
}

/// How far a reader is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    /// The revision of the last entry that it read.
    pub(super) at: u64,
    /// It knew everything up to here, or nothing: older removals do not concern it.
    pub(super) start: u64,
    /// The row of that entry, which saves the search for it.
    row: Option<u32>,
}

impl Position {
    /// Of a reader that knows everything up to a revision.
    pub(super) fn at(revision: u64) -> Self {
        Self {
            at: revision,
            start: revision,
            row: None,
        }
    }
}

/// Iterates over what happened.
#[derive(Debug)]
pub(super) struct Entries<'a> {
    journal: &'a Journal,
    position: Position,
    row: u32,
    tombstone: usize,
}

impl Entries<'_> {
    /// After the last entry that was given.
    pub(super) fn position(&self) -> Position {
        self.position
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        let row = self.journal.rows.get(self.row as usize);
        let tombstone = self.journal.tombstones.get(self.tombstone);
        match (row, tombstone) {
            (Some(row), tombstone) if tombstone.is_none_or(|t| row.revision < t.revision) => {
                self.position.at = row.revision;
                self.position.row = Some(self.row);
                self.row = row.next;
                Some(Entry::Live {
                    key: row.key(),
                    origin: row.origin,
                    revision: row.revision,
                })
            }
            (_, Some(tombstone)) => {
                self.position.at = tombstone.revision;
                self.position.row = None;
                self.tombstone += 1;
                Some(Entry::Gone {
                    kind: tombstone.kind,
                    id: &tombstone.id,
                    revision: tombstone.revision,
                })
            }
            (_, None) => None,
        }
    }
}

impl Position {
    /// After everything up to a revision.
    pub(super) fn caught_up(self, revision: u64) -> Self {
        Self {
            at: revision,
            start: revision,
            row: self.row.filter(|_| self.at == revision),
        }
    }
}
