//! How fast the carrier takes what it is given, and so how much may wait in front of it.
//!
//! What has been accepted from HTTP/2 cannot be overtaken any more. On a fast line that is no matter; on a slow one a
//! small answer would wait behind every byte of bulk that was accepted before it. So the amounts follow the rate.

use std::time::Duration;

use tokio::time::Instant;

/// A rate is worked out over so many bytes.
const SAMPLE: usize = 128 << 10;
/// A pause of this length ends a sample: the line was idle, not slow.
const PAUSE: Duration = Duration::from_millis(100);
/// One DATA frame takes the line about so long. HTTP/2 sends a frame of each stream in turn, so that a small answer
/// waits for one frame of every bulk stream.
const FRAME_TIME: f64 = 0.3e-3;
const FRAME: std::ops::RangeInclusive<usize> = 4 << 10..=64 << 10;
/// What waits in front of a blocked carrier takes the line about so long.
const UNSENT_TIME: f64 = 1e-3;
const UNSENT: std::ops::RangeInclusive<usize> = 16 << 10..=256 << 10;

/// Follows the rate of one carrier.
#[derive(Debug)]
pub(super) struct Pace {
    start: Instant,
    last: Instant,
    bytes: usize,
    was_blocked: bool,
    frame: usize,
    unsent: usize,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            start: now,
            last: now,
            bytes: 0,
            was_blocked: false,
            frame: *FRAME.end(),
            unsent: *UNSENT.end(),
        }
    }

    /// The carrier took `n` bytes.
    pub(super) fn on_sent(&mut self, n: usize, now: Instant) {
        if now > self.last + PAUSE {
            self.restart(now);
        }
        self.last = now;
        self.bytes += n;
        if self.bytes < SAMPLE {
            return;
        }
        if self.was_blocked {
            #[expect(clippy::cast_precision_loss, reason = "a sample is far below 2^52 bytes")]
            let rate = self.bytes as f64 / (now - self.start).as_secs_f64().max(1e-6);
            self.frame = within(rate * FRAME_TIME, &FRAME);
            self.unsent = within(rate * UNSENT_TIME, &UNSENT);
        } else {
            (self.frame, self.unsent) = (*FRAME.end(), *UNSENT.end());
        }
        self.restart(now);
    }

    /// The carrier takes no more for now: the line is the limit, and not the writer.
    pub(super) fn on_blocked(&mut self) {
        self.was_blocked = true;
    }

    /// Largest DATA frame that is fair to other streams, bytes.
    pub(super) fn frame(&self) -> usize {
        self.frame
    }

    /// Bytes that may wait in front of the carrier.
    pub(super) fn unsent(&self) -> usize {
        self.unsent
    }

    fn restart(&mut self, now: Instant) {
        (self.start, self.bytes, self.was_blocked) = (now, 0, false);
    }
}

fn within(value: f64, range: &std::ops::RangeInclusive<usize>) -> usize {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "casts of floats saturate"
    )]
    (value as usize).clamp(*range.start(), *range.end())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1 MiB in pieces of 16 KiB at `rate` bytes per second.
    fn after(rate: f64, blocked: bool) -> Pace {
        let mut now = Instant::now();
        let mut pace = Pace::new(now);
        for _ in 0..64 {
            now += Duration::from_secs_f64(16384.0 / rate);
            if blocked {
                pace.on_blocked();
            }
            pace.on_sent(16384, now);
        }
        pace
    }

    #[test]
    fn a_slow_line_gets_small_frames_and_a_fast_one_large_ones() {
        let slow = after(12.5e6, true); // 100 Mbit/s
        assert_eq!((slow.frame(), slow.unsent()), (4 << 10, 16 << 10));
        let middle = after(100e6, true);
        assert!((25_000..35_000).contains(&middle.frame()), "{}", middle.frame());
        let fast = after(1e9, true);
        assert_eq!((fast.frame(), fast.unsent()), (64 << 10, 256 << 10));
    }

    #[test]
    fn a_writer_that_is_slower_than_the_line_is_not_held_back() {
        let pace = after(1e6, false);
        assert_eq!((pace.frame(), pace.unsent()), (64 << 10, 256 << 10));
    }

    #[test]
    fn a_pause_is_not_taken_for_a_slow_line() {
        let mut pace = after(1e9, true);
        let later = pace.last + Duration::from_secs(10);
        pace.on_blocked();
        pace.on_sent(1000, later);
        pace.on_blocked();
        pace.on_sent(SAMPLE, later + Duration::from_micros(200));
        assert_eq!(pace.frame(), 64 << 10);
    }
}
