//! Goes along a chain and remembers its first damage. No I/O.

use super::{
    chain::{Damage, Head},
    entry::{Entry, Hash, number},
};

/// A walk along lines from one point of the chain on.
#[derive(Debug)]
pub(crate) struct Walk {
    /// The last sound entry.
    pub(crate) head: Head,
    /// Entries that are sound.
    pub(crate) count: u64,
    /// What is wrong behind them.
    damage: Option<Damage>,
    /// An entry that somebody has written down elsewhere.
    expected: Option<Head>,
    /// What is there instead.
    other: Option<Hash>,
    /// Whether entries may be missing: it is an export of some of them.
    partial: bool,
}

/// Why a chain is not the one that is expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unsound {
    /// The chain itself is damaged.
    #[error(transparent)]
    Damage(#[from] Damage),
    /// The chain is sound and another one.
    #[error("entry {seq} has the hash {found} and not {expected}: the audit was written anew")]
    Other {
        /// The entry.
        seq: u64,
        /// What it has.
        found: Hash,
        /// What was written down elsewhere.
        expected: Hash,
    },
    /// The chain ends before the entry that was written down.
    #[error(
        "the audit ends with entry {0}, before the one that was written down elsewhere: its end was cut off"
    )]
    CutOff(u64),
}

impl Walk {
    /// From `head` on; the entry `expected` has to be met.
    pub(crate) fn new(head: Head, expected: Option<Head>) -> Self {
        let mut walk = Self {
            head,
            count: 0,
            damage: None,
            expected,
            other: None,
            partial: false,
        };
        walk.meet();
        walk
    }

    /// Of some entries only: each for itself, in order, and following the one before it where that is there.
    pub(crate) const fn partial(mut self) -> Self {
        self.partial = true;
        self
    }

    /// Whether the walk has come to a damage.
    pub(crate) fn is_damaged(&self) -> bool {
        self.damage.is_some()
    }

    /// Takes the next line; its entry if it is sound.
    pub(crate) fn take<'a>(&mut self, line: &'a [u8]) -> Option<Entry<'a>> {
        match self.damage {
            None => {}
            // What seemed to be missing stands elsewhere.
            Some(Damage::Missing(expected, last)) => {
                if number(line) == Some(expected) {
                    let found = last + 1;
                    self.damage = Some(Damage::Reordered { expected, found });
                }
                return None;
            }
            Some(_) => return None,
        }
        if self.partial
            && let Ok((entry, _)) = Entry::open(line)
            && entry.seq > self.head.seq + 1
        {
            self.head = Head {
                seq: entry.seq - 1,
                hash: entry.prev,
            };
        }
        match self.head.follow(line) {
            Ok(entry) => {
                self.count += 1;
                self.meet();
                Some(entry)
            }
            Err(damage) => {
                self.damage = Some(damage);
                None
            }
        }
    }

    /// A damage that somebody else has seen.
    pub(crate) fn damaged(&mut self, damage: Damage) {
        self.damage.get_or_insert(damage);
    }

    fn meet(&mut self) {
        if let Some(expected) = self.expected
            && expected.seq == self.head.seq
            && expected.hash != self.head.hash
        {
            self.other = Some(self.head.hash);
        }
    }

    /// What is wrong first.
    pub(crate) fn finish(&self) -> Result<(), Unsound> {
        if let Some(damage) = &self.damage {
            return Err(damage.clone().into());
        }
        match (self.expected, self.other) {
            (Some(expected), Some(found)) => Err(Unsound::Other {
                seq: expected.seq,
                found,
                expected: expected.hash,
            }),
            (Some(expected), None) if expected.seq > self.head.seq => Err(Unsound::CutOff(self.head.seq)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::chain::tests::lines;

    fn walk(lines: &[Vec<u8>], expected: Option<Head>) -> Result<(), Unsound> {
        let mut walk = Walk::new(Head::START, expected);
        for line in lines {
            walk.take(line);
        }
        walk.finish()
    }

    #[test]
    fn what_stands_elsewhere_was_reordered_and_what_stands_nowhere_is_missing() {
        let sound = lines(Head::START, 6);
        assert_eq!(walk(&sound, None), Ok(()));
        let mut swapped = sound.clone();
        swapped.swap(2, 4);
        let damage = Damage::Reordered {
            expected: 3,
            found: 5,
        };
        assert_eq!(walk(&swapped, None), Err(damage.into()));
        let mut missing = sound;
        missing.remove(2);
        assert_eq!(walk(&missing, None), Err(Damage::Missing(3, 3).into()));
    }

    #[test]
    fn some_entries_are_checked_each_for_itself() {
        let mut some = lines(Head::START, 9);
        some.remove(3);
        some.remove(5);
        let check = |lines: &[Vec<u8>]| {
            let mut walk = Walk::new(Head::START, None).partial();
            for line in lines {
                walk.take(line);
            }
            walk.finish()
        };
        assert_eq!(check(&some), Ok(()));
        let mut swapped = some.clone();
        swapped.swap(3, 4);
        check(&swapped).unwrap_err();
        let at = some[4].windows(3).position(|w| w == b"ann").unwrap();
        some[4][at] = b'b';
        check(&some).unwrap_err();
    }

    #[test]
    fn a_head_that_was_written_down_shows_a_cut_end_and_a_new_chain() {
        let sound = lines(Head::START, 6);
        let mut at = Head::START;
        for line in &sound {
            at.follow(line).unwrap();
        }
        assert_eq!(walk(&sound, Some(at)), Ok(()));
        assert_eq!(walk(&sound[..5], Some(at)), Err(Unsound::CutOff(5)));
        let other = Head {
            seq: 4,
            hash: Hash::GENESIS,
        };
        assert!(matches!(
            walk(&sound, Some(other)),
            Err(Unsound::Other { seq: 4, .. })
        ));
    }
}
