//! Whether lines are one chain of entries, and where they stop being one. No I/O.

use super::entry::{Entry, Hash, Unreadable, number};

/// What is wrong with the first line that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Damage {
    /// A line that is no entry, where this one should be.
    #[error("entry {0} is damaged: it is not an entry any more")]
    NotAnEntry(u64),
    /// Its content was changed.
    #[error("entry {0} was changed: its content does not have the hash that it names")]
    Changed(u64),
    /// Entries are not there.
    #[error("entries {0} to {1} are missing")]
    Missing(u64, u64),
    /// An entry stands where another should.
    #[error("entry {found} stands where entry {expected} should: entries were reordered")]
    Reordered {
        /// What should be there.
        expected: u64,
        /// What is there.
        found: u64,
    },
    /// It is sound by itself and follows another entry than the one before it.
    #[error("entry {0} does not follow the one before it: one of the two was replaced")]
    Detached(u64),
}

/// The end of a sound chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// Number of the last entry; 0 before the first.
    pub(crate) seq: u64,
    pub(crate) hash: Hash,
}

impl Head {
    /// Before the first entry.
    pub(crate) const START: Self = Self {
        seq: 0,
        hash: Hash::GENESIS,
    };

    /// Takes the next line (without its end).
    pub(crate) fn follow<'a>(&mut self, line: &'a [u8]) -> Result<Entry<'a>, Damage> {
        let expected = self.seq.saturating_add(1);
        let (entry, hash) = match Entry::open(line) {
            Ok(read) => read,
            Err(Unreadable::Changed) => return Err(Damage::Changed(number(line).unwrap_or(expected))),
            Err(Unreadable::NotAnEntry) => return Err(Damage::NotAnEntry(expected)),
        };
        match entry.seq {
            found if found < expected => Err(Damage::Reordered { expected, found }),
            found if found > expected => Err(Damage::Missing(expected, found - 1)),
            seq if entry.prev != self.hash => Err(Damage::Detached(seq)),
            seq => {
                *self = Self { seq, hash };
                Ok(entry)
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::audit::entry::Phase;

    /// So many lines from number `from`, the first following `head`.
    pub(crate) fn lines(mut head: Head, count: u64) -> Vec<Vec<u8>> {
        (0..count)
            .map(|n| {
                let entry = Entry {
                    seq: head.seq + 1,
                    at: jiff::Timestamp::from_second(1_790_000_000 + i64::try_from(n).unwrap()).unwrap(),
                    user: "ann".into(),
                    prev: head.hash,
                    ..Entry::new(Phase::Event)
                };
                let mut line = Vec::new();
                head = Head {
                    seq: entry.seq,
                    hash: entry.seal(&mut line),
                };
                line.pop();
                line
            })
            .collect()
    }

    fn first_damage(lines: &[Vec<u8>]) -> Option<Damage> {
        let mut head = Head::START;
        lines.iter().find_map(|line| head.follow(line).err())
    }

    #[test]
    fn a_chain_is_sound_until_something_is_done_to_it() {
        let sound = lines(Head::START, 6);
        assert_eq!(first_damage(&sound), None);

        let mut changed = sound.clone();
        let at = changed[3].windows(3).position(|w| w == b"ann").unwrap();
        changed[3][at] = b'b';
        assert_eq!(first_damage(&changed), Some(Damage::Changed(4)));

        let mut missing = sound.clone();
        missing.drain(2..4);
        assert_eq!(first_damage(&missing), Some(Damage::Missing(3, 4)));

        let mut repeated = sound.clone();
        repeated.insert(3, sound[1].clone());
        assert_eq!(
            first_damage(&repeated),
            Some(Damage::Reordered {
                expected: 4,
                found: 2
            })
        );

        let mut garbage = sound.clone();
        garbage[5] = b"{}".to_vec();
        assert_eq!(first_damage(&garbage), Some(Damage::NotAnEntry(6)));

        // Somebody who can compute hashes replaces one entry: the next one tells.
        let mut replaced = sound.clone();
        let mut forged = Entry::open(&sound[2]).unwrap().0;
        forged.user = "bob".into();
        let mut line = Vec::new();
        forged.seal(&mut line);
        line.pop();
        replaced[2] = line;
        assert_eq!(first_damage(&replaced), Some(Damage::Detached(4)));

        let mut beheaded = sound;
        beheaded.remove(0);
        assert_eq!(first_damage(&beheaded), Some(Damage::Missing(1, 1)));
    }
}
