//! How much may pass in a time. No I/O, no clock.

use std::time::Duration;

use tokio::time::Instant;

/// A rate with a burst: instead of a level that is filled up, the time at which everything taken so far will have been
/// paid for (the "generic cell rate algorithm"). Whoever is ahead of it by more than the burst has to wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    paid: Option<Instant>,
    /// Units in a period; 0 is no limit.
    count: u64,
    period: Duration,
    burst: Duration,
}

impl Bucket {
    /// `count` units in `period`, and at once what may pass in `burst`. No limit if `count` is 0.
    pub(crate) fn new(count: u64, period: Duration, burst: Duration) -> Self {
        Self {
            paid: None,
            count,
            period,
            burst,
        }
    }

    /// What units cost; at most an hour, since nothing that passes at once is worth more.
    fn cost(&self, units: u64) -> Duration {
        let nanos = self.period.as_nanos().saturating_mul(units.into()) / u128::from(self.count.max(1));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)).min(Duration::from_hours(1))
    }

    /// Takes one unit, or says how long to wait for it.
    pub(crate) fn take(&mut self, now: Instant) -> Result<(), Duration> {
        if self.count == 0 {
            return Ok(());
        }
        let unit = self.cost(1);
        let paid = self.paid.map_or(now, |paid| paid.max(now));
        let ahead = paid.duration_since(now);
        let wait = (ahead + unit).saturating_sub(self.burst);
        if !wait.is_zero() {
            return Err(wait);
        }
        self.paid = Some(paid + unit);
        Ok(())
    }

    /// Takes units that have passed already, and says how long to wait before more may.
    pub(crate) fn spend(&mut self, units: u64, now: Instant) -> Duration {
        if self.count == 0 {
            return Duration::ZERO;
        }
        let paid = self.paid.map_or(now, |paid| paid.max(now)) + self.cost(units);
        self.paid = Some(paid);
        paid.duration_since(now).saturating_sub(self.burst)
    }

    /// Whether everything taken is paid for, so that nothing is forgotten with it.
    pub(crate) fn is_idle(&self, now: Instant) -> bool {
        self.paid.is_none_or(|paid| paid <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let mut bucket = Bucket::new(10, SECOND, 2 * SECOND);
        let start = Instant::now();
        let at_once = (0..100).filter(|_| bucket.take(start).is_ok()).count();
        assert_eq!(at_once, 20);
        let wait = bucket.take(start).unwrap_err();
        assert_eq!(wait, Duration::from_millis(100));
        bucket.take(start + wait).unwrap();
        bucket.take(start + wait).unwrap_err();
        // Over ten seconds, as often as it is tried.
        let passed = (1..1000).filter(|n| bucket.take(start + Duration::from_millis(n * 10)).is_ok());
        assert_eq!(passed.count(), 98);
        assert!(!bucket.is_idle(start + 10 * SECOND));
        assert!(bucket.is_idle(start + 20 * SECOND));
    }

    #[test]
    fn what_has_passed_is_waited_for() {
        // 60 bytes a minute, a minute's worth at once.
        let mut bucket = Bucket::new(60, 60 * SECOND, 60 * SECOND);
        let start = Instant::now();
        assert_eq!(bucket.spend(60, start), Duration::ZERO);
        assert_eq!(bucket.spend(10, start), 10 * SECOND);
        assert_eq!(bucket.spend(1, start + 10 * SECOND), SECOND);
        assert!(bucket.spend(u64::MAX, start) < Duration::from_hours(2));
    }

    #[test]
    fn nothing_is_no_limit() {
        let mut bucket = Bucket::new(0, SECOND, SECOND);
        let now = Instant::now();
        assert!((0..10_000).all(|_| bucket.take(now).is_ok()));
        assert_eq!(bucket.spend(u64::MAX, now), Duration::ZERO);
    }
}
