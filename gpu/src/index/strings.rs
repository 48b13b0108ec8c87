//! Strings that many rows share, kept once.

use std::{
    hash::{BuildHasher, RandomState},
    num::NonZeroU32,
};

use hashbrown::HashTable;

/// Names a shared string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Sym(NonZeroU32);

impl Sym {
    pub(super) fn from_raw(raw: u32) -> Option<Self> {
        NonZeroU32::new(raw).map(Self)
    }

    pub(super) fn raw(self) -> u32 {
        self.0.get()
    }

    fn slot(self) -> usize {
        self.raw() as usize - 1
    }
}

/// The strings. What is no longer named by any row is dropped by [`Strings::retain`], not earlier: rows do not count.
#[derive(Debug, Default)]
pub(super) struct Strings {
    slots: Vec<Option<Box<str>>>,
    free: Vec<u32>,
    table: HashTable<u32>,
    hasher: RandomState,
}

impl Strings {
    /// The name of a string, kept from now on.
    pub(super) fn intern(&mut self, text: &str) -> Sym {
        if let Some(sym) = self.find(text) {
            return sym;
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            u32::try_from(self.slots.len() - 1).expect("fewer than 4 billion strings fit in memory")
        });
        self.slots[slot as usize] = Some(text.into());
        let (slots, hasher) = (&self.slots, &self.hasher);
        self.table.insert_unique(hasher.hash_one(text), slot, |&slot| {
            hasher.hash_one(at(slots, slot))
        });
        Sym::from_raw(slot + 1).expect("a slot plus one")
    }

    /// The name of a string if it is kept.
    pub(super) fn find(&self, text: &str) -> Option<Sym> {
        let found = self
            .table
            .find(self.hasher.hash_one(text), |&slot| at(&self.slots, slot) == text);
        found.and_then(|slot| Sym::from_raw(slot + 1))
    }

    /// The string; empty if it was dropped.
    pub(super) fn get(&self, sym: Sym) -> &str {
        self.slots
            .get(sym.slot())
            .and_then(Option::as_deref)
            .unwrap_or_default()
    }

    /// Strings that are kept.
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// Drops the strings that are not in `live`.
    pub(super) fn retain(&mut self, live: &Live) {
        let (slots, free) = (&mut self.slots, &mut self.free);
        self.table.retain(|slot| {
            let keep = live.0.get(*slot as usize).copied().unwrap_or(false);
            if !keep {
                slots[*slot as usize] = None;
                free.push(*slot);
            }
            keep
        });
    }

    /// For [`Strings::retain`].
    pub(super) fn marks(&self) -> Live {
        Live(vec![false; self.slots.len()])
    }
}

/// Which strings rows still name.
#[derive(Debug)]
pub(super) struct Live(Vec<bool>);

impl Live {
    pub(super) fn mark(&mut self, sym: Sym) {
        if let Some(mark) = self.0.get_mut(sym.slot()) {
            *mark = true;
        }
    }
}

fn at(slots: &[Option<Box<str>>], slot: u32) -> &str {
    slots[slot as usize].as_deref().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_is_kept_once_and_until_nothing_names_it() {
        let mut strings = Strings::default();
        let a = strings.intern("node-a");
        let b = strings.intern("node-b");
        assert_eq!(strings.intern("node-a"), a);
        assert_ne!(a, b);
        let mut live = strings.marks();
        live.mark(b);
        strings.retain(&live);
        assert_eq!(
            (strings.len(), strings.find("node-a"), strings.get(b)),
            (1, None, "node-b")
        );
        // The slot is used again.
        assert_eq!(strings.intern("node-c"), a);
        assert_eq!(strings.get(a), "node-c");
    }
}
