//! How many bytes may be under way, so that the line is full and the queues on it are not.
//!
//! TCP fills every queue between the two ends before it slows down; a small answer then waits behind all of it. The link
//! knows from its acknowledgements how much arrives and how long that takes, and keeps only a little more under way than
//! the line itself holds. The idea is that of BBR (draft-ietf-ccwg-bbr), on top of a transport that has its own
//! congestion control: this can only send less than TCP would, never more.
//!
//! A *round* lasts from sending a byte to its acknowledgement. Only rounds in which there was more to send than was
//! allowed say something about the line.

use std::{collections::VecDeque, ops::RangeInclusive, time::Duration};

use tokio::time::Instant;

/// Rounds over which the highest rate counts.
const ROUNDS: usize = 10;
/// How long the shortest round trip counts: routes change. Then the queues are drained to see the line's own again, or
/// what stands in them would be taken for length, and grow each time.
const RTT_MEMORY: Duration = Duration::from_secs(10);
/// Rounds of draining: one until the queues are empty, one that begins after that, and one to be sure.
const DRAIN_ROUNDS: u32 = 3;
const DRAIN_GAIN: f64 = 0.5;
/// Beyond the line's own content: acknowledgements come in steps of this time ...
const SLACK: Duration = Duration::from_millis(8);
/// ... and a longer line jitters more.
const SLACK_SHARE: u32 = 8;
/// While the rate still grows, as after TCP's slow start: enough to double each round.
const STARTUP_GAIN: f64 = 2.5;
/// The rate has stopped growing after so many rounds without [`GROWTH`].
const FULL_ROUNDS: u32 = 3;
const GROWTH: f64 = 1.25;
/// Every so many rounds a little more is tried: the line may have become faster.
const PROBE_EVERY: u32 = 8;
const PROBE_GAIN: f64 = 1.25;
/// A pause after which the line is learnt anew.
const PAUSE: Duration = Duration::from_secs(10);
/// One DATA frame takes the line about so long. HTTP/2 sends a frame of each stream in turn, so that a small answer waits
/// for one frame of every bulk stream.
const FRAME_TIME: f64 = 0.3e-3;
const FRAME: RangeInclusive<usize> = 4 << 10..=64 << 10;
/// What waits in front of a blocked carrier takes the line about so long.
const UNSENT_TIME: f64 = 1e-3;
const UNSENT: RangeInclusive<usize> = 16 << 10..=256 << 10;
/// Least bytes under way: two small HTTP/2 frames of each of a few streams.
const FLOOR: usize = 32 << 10;

/// Follows one carrier, one way.
#[derive(Debug, Default)]
pub(super) struct Flight {
    round: Option<Round>,
    /// There was more to send than allowed since the round began.
    limited: bool,
    rates: VecDeque<f64>,
    rtt: Option<(Duration, Instant)>,
    /// Rounds left, and the shortest round trip of those so far.
    drain: Option<(u32, Duration)>,
    startup: Startup,
    rounds: u32,
    window: Option<usize>,
}

#[derive(Debug)]
struct Round {
    /// Ends with the acknowledgement of this offset.
    offset: u64,
    start: Instant,
    acked: u64,
}

#[derive(Debug, Default)]
enum Startup {
    /// Highest rate so far, and rounds since it grew.
    Growing(f64, u32),
    Done,
    #[default]
    Fresh,
}

impl Flight {
    /// Bytes that may be unacknowledged; `None` while nothing is known of the line.
    pub(super) fn window(&self) -> Option<usize> {
        self.window
    }

    /// Largest DATA frame that is fair to other streams, bytes.
    pub(super) fn frame(&self) -> usize {
        self.takes(FRAME_TIME, &FRAME)
    }

    /// Bytes that may wait in front of a blocked carrier.
    pub(super) fn unsent(&self) -> usize {
        self.takes(UNSENT_TIME, &UNSENT)
    }

    /// Bytes that the line moves in `seconds`; the most allowed while its rate is not known.
    fn takes(&self, seconds: f64, range: &RangeInclusive<usize>) -> usize {
        if self.rates.is_empty() {
            return *range.end();
        }
        saturated(self.rate() * seconds).clamp(*range.start(), *range.end())
    }

    /// Highest of the last rounds, bytes per second.
    fn rate(&self) -> f64 {
        self.rates.iter().copied().fold(0.0, f64::max)
    }

    /// A frame that ends at `offset` was handed to the carrier; `acked` is acknowledged so far.
    pub(super) fn on_sent(&mut self, offset: u64, acked: u64, now: Instant) {
        if self.round.is_none() {
            self.round = Some(Round {
                offset,
                start: now,
                acked,
            });
        }
    }

    /// The writer or the carrier had to wait.
    pub(super) fn on_limited(&mut self) {
        self.limited = true;
    }

    /// Everything below `acked` has arrived.
    pub(super) fn on_ack(&mut self, acked: u64, now: Instant) {
        let Some(round) = self.round.take_if(|round| acked >= round.offset) else {
            return;
        };
        let limited = std::mem::take(&mut self.limited);
        let took = (now - round.start).max(Duration::from_micros(10));
        if took > PAUSE {
            *self = Self::default();
            return;
        }
        let rtt = self.round_trip(took, now);
        if !limited {
            return;
        }
        // While draining, the rate is ours and not the line's.
        if self.drain.is_none() {
            #[expect(clippy::cast_precision_loss, reason = "a window is far below 2^52 bytes")]
            let rate = (acked - round.acked) as f64 / took.as_secs_f64();
            if self.rates.len() == ROUNDS {
                self.rates.pop_front();
            }
            self.rates.push_back(rate);
            self.rounds += 1;
            self.startup.round(self.rate());
        }
        let slack = SLACK.max(rtt / SLACK_SHARE);
        let time = match self.startup {
            _ if self.drain.is_some() => rtt.mul_f64(DRAIN_GAIN),
            Startup::Done if self.rounds.is_multiple_of(PROBE_EVERY) => rtt.mul_f64(PROBE_GAIN) + slack,
            Startup::Done => rtt + slack,
            _ => rtt.mul_f64(STARTUP_GAIN),
        };
        self.window = Some(saturated(self.rate() * time.as_secs_f64()).max(FLOOR));
    }

    /// The line's own round trip, after a round that took `took`.
    fn round_trip(&mut self, took: Duration, now: Instant) -> Duration {
        let Some((rtt, at)) = self.rtt else {
            self.rtt = Some((took, now));
            return took;
        };
        self.drain = match self.drain {
            None if now >= at + RTT_MEMORY => Some((DRAIN_ROUNDS, Duration::MAX)),
            None => None,
            Some((1, shortest)) => {
                let shortest = took.min(shortest);
                (self.rtt, self.drain) = (Some((shortest, now)), None);
                return shortest;
            }
            Some((left, shortest)) => Some((left - 1, took.min(shortest))),
        };
        if took <= rtt {
            self.rtt = Some((took, now));
        }
        took.min(rtt)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "casts of floats saturate"
)]
fn saturated(value: f64) -> usize {
    value as usize
}

impl Startup {
    fn round(&mut self, best: f64) {
        *self = match *self {
            Self::Fresh => Self::Growing(best, 0),
            Self::Growing(high, _) if best >= high * GROWTH => Self::Growing(best, 0),
            Self::Growing(_, n) if n + 1 >= FULL_ROUNDS => Self::Done,
            Self::Growing(high, n) => Self::Growing(high, n + 1),
            Self::Done => Self::Done,
        };
    }
}

#[cfg(test)]
#[allow(clippy::cast_precision_loss, reason = "test figures are small")]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_micros(250);
    const SENT: u64 = 4096;

    /// A line of `rate` bytes per second with a queue of its own, and a receiver that acknowledges every 4 ms.
    struct Line {
        rate: f64,
        delay: Duration,
        queue: VecDeque<u64>,
        credit: f64,
        /// (arrives at, offset)
        under_way: VecDeque<(Instant, u64)>,
        received: u64,
        acks: VecDeque<(Instant, u64)>,
        next_ack: Instant,
        now: Instant,
        flight: Flight,
        sent: u64,
        acked: u64,
    }

    impl Line {
        fn new(rate: f64, delay_ms: u64) -> Self {
            let now = Instant::now();
            Self {
                rate,
                delay: Duration::from_millis(delay_ms),
                queue: VecDeque::new(),
                credit: 0.0,
                under_way: VecDeque::new(),
                received: 0,
                acks: VecDeque::new(),
                next_ack: now,
                now,
                flight: Flight::default(),
                sent: 0,
                acked: 0,
            }
        }

        /// Runs a writer that always has more; gives the share of the line that was used and the mean queue in ms.
        fn run(&mut self, time: Duration) -> (f64, f64) {
            let (end, before, mut queued, mut steps) = (self.now + time, self.received, 0.0, 0.0);
            while self.now < end {
                self.now += STEP;
                // Without a limit TCP's own would be met; 4 MiB stands for it.
                let window = self.flight.window().unwrap_or(4 << 20) as u64;
                while self.sent - self.acked + SENT <= window {
                    self.sent += SENT;
                    self.flight.on_sent(self.sent, self.acked, self.now);
                    self.queue.push_back(self.sent);
                }
                self.flight.on_limited();
                let step = self.rate * STEP.as_secs_f64();
                self.credit = (self.credit + step).min(step + SENT as f64);
                while self.credit >= SENT as f64 {
                    self.credit -= SENT as f64;
                    let Some(offset) = self.queue.pop_front() else {
                        break;
                    };
                    self.under_way.push_back((self.now + self.delay, offset));
                }
                while self.under_way.front().is_some_and(|(at, _)| *at <= self.now) {
                    self.received = self.under_way.pop_front().unwrap().1;
                }
                if self.now >= self.next_ack {
                    self.next_ack = self.now + Duration::from_millis(4);
                    self.acks.push_back((self.now + self.delay, self.received));
                }
                while self.acks.front().is_some_and(|(at, _)| *at <= self.now) {
                    self.acked = self.acks.pop_front().unwrap().1;
                    self.flight.on_ack(self.acked, self.now);
                }
                queued += self.queue.len() as f64 * SENT as f64 / self.rate * 1e3;
                steps += 1.0;
            }
            (
                (self.received - before) as f64 / (self.rate * time.as_secs_f64()),
                queued / steps,
            )
        }
    }

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn lines_of_all_kinds_are_full_and_their_queues_short() {
        for (rate, delay) in [(12.5e6, 20), (1.25e6, 20), (12.5e6, 100), (50e6, 5), (5e6, 1)] {
            let mut line = Line::new(rate, delay);
            line.run(seconds(10));
            let (used, queue) = line.run(seconds(20));
            assert!(used > 0.95, "{rate} B/s, {delay} ms: {used}");
            let allowed = 12.0 + f64::from(u32::try_from(delay).unwrap()) * 2.0 / 4.0;
            let frame = saturated(rate * FRAME_TIME).clamp(4 << 10, 64 << 10);
            assert!(
                (frame..=frame * 3 / 2).contains(&line.flight.frame()),
                "{}",
                line.flight.frame()
            );
            assert!(queue < allowed, "{rate} B/s, {delay} ms: queue {queue} ms");
        }
    }

    #[test]
    fn a_line_that_becomes_faster_is_used() {
        let mut line = Line::new(5e6, 20);
        line.run(seconds(10));
        line.rate = 50e6;
        line.run(seconds(10));
        let (used, _) = line.run(seconds(10));
        assert!(used > 0.9, "{used}");
    }

    #[test]
    fn a_line_that_becomes_slower_or_longer_is_followed() {
        let mut line = Line::new(50e6, 5);
        line.run(seconds(10));
        (line.rate, line.delay) = (5e6, Duration::from_millis(50));
        line.run(seconds(30));
        let (used, queue) = line.run(seconds(10));
        assert!(used > 0.9, "{used}");
        assert!(queue < 60.0, "{queue}");
    }

    #[test]
    fn a_writer_that_has_little_to_send_sets_no_limit() {
        let (mut flight, mut now) = (Flight::default(), Instant::now());
        for offset in 1..100 {
            flight.on_sent(offset, offset - 1, now);
            now += Duration::from_millis(50);
            flight.on_ack(offset, now);
        }
        assert_eq!((flight.window(), flight.frame()), (None, 64 << 10));
    }
}
