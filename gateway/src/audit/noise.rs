//! How many refusals of strangers are written: anybody can make them, so they must not fill the disk. No I/O, no clock.

use std::time::Duration;

use tokio::time::Instant;

/// Refusals that are written at once.
const BURST: u32 = 100;
/// One more is written after this long: at most 9 MB of entries a day.
const EVERY: Duration = Duration::from_secs(4);

/// Counts refusals.
#[derive(Debug)]
pub(crate) struct Noise {
    left: u32,
    since: Option<Instant>,
    summed: u64,
}

/// What becomes of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It gets an entry, which also says how many got none.
    Write { summed: u64 },
    /// It is counted.
    Sum,
}

impl Default for Noise {
    fn default() -> Self {
        Self {
            left: BURST,
            since: None,
            summed: 0,
        }
    }
}

impl Noise {
    /// Counts one.
    pub(crate) fn look(&mut self, now: Instant) -> Verdict {
        let since = *self.since.get_or_insert(now);
        let grown = now.duration_since(since).as_millis() / EVERY.as_millis();
        if grown > 0 {
            let grown = u32::try_from(grown).unwrap_or(u32::MAX);
            self.left = self.left.saturating_add(grown).min(BURST);
            self.since = Some(now);
        }
        if self.left == 0 {
            self.summed += 1;
            return Verdict::Sum;
        }
        self.left -= 1;
        Verdict::Write {
            summed: std::mem::take(&mut self.summed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_makes_few_entries_and_none_is_forgotten() {
        let mut noise = Noise::default();
        let start = Instant::now();
        let (mut written, mut summed) = (0, 0);
        for n in 0..100_000_u32 {
            // 1000 a second.
            match noise.look(start + Duration::from_millis(u64::from(n))) {
                Verdict::Write { summed: s } => {
                    written += 1;
                    summed += s;
                }
                Verdict::Sum => {}
            }
        }
        assert_eq!(written, u64::from(BURST) + 24);
        assert_eq!(written + summed + noise.summed, 100_000);
    }
}
