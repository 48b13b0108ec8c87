//! How often one source may do something within a minute, such as fail to enrol. No I/O, no clock.

use std::{collections::HashMap, net::IpAddr, time::Duration};

use tokio::time::Instant;

/// Failed enrolments of one source within [`WINDOW`]. A misconfigured agent makes a few a minute; guessing a token would take
/// 2^160 attempts, so this only keeps the noise and the load down.
pub(crate) const MAX_FAILURES: u32 = 20;
/// After this long a source starts afresh.
pub(crate) const WINDOW: Duration = Duration::from_mins(1);
/// Sources remembered; beyond it, those whose window is over go, and then all: forgetting is harmless.
const MAX_SOURCES: usize = 10_000;

/// Counts per source.
#[derive(Debug)]
pub(crate) struct SourceLimit {
    max: u32,
    sources: HashMap<IpAddr, (Instant, u32)>,
}

impl SourceLimit {
    /// So many within [`WINDOW`].
    pub(crate) fn new(max: u32) -> Self {
        Self {
            max,
            sources: HashMap::new(),
        }
    }

    /// Whether this source may try now.
    pub(crate) fn allows(&self, source: IpAddr, now: Instant) -> bool {
        match self.sources.get(&network(source)) {
            Some((start, count)) => *count < self.max || now.duration_since(*start) >= WINDOW,
            None => true,
        }
    }

    /// This source did it.
    pub(crate) fn count(&mut self, source: IpAddr, now: Instant) {
        if self.sources.len() >= MAX_SOURCES {
            self.sources
                .retain(|_, (start, _)| now.duration_since(*start) < WINDOW);
            if self.sources.len() >= MAX_SOURCES {
                self.sources.clear();
            }
        }
        let entry = self.sources.entry(network(source)).or_insert((now, 0));
        if now.duration_since(entry.0) >= WINDOW {
            *entry = (now, 0);
        }
        entry.1 += 1;
    }
}

/// One IPv6 host has a whole /64 to come from.
pub(crate) fn network(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V6(address) => IpAddr::from((u128::from(address) >> 64 << 64).to_be_bytes()),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_held_back_for_a_while_and_others_are_not() {
        let mut limit = SourceLimit::new(MAX_FAILURES);
        let start = Instant::now();
        let (one, other): (IpAddr, IpAddr) = ("2001:db8::1".parse().unwrap(), "192.0.2.1".parse().unwrap());
        for _ in 0..MAX_FAILURES {
            assert!(limit.allows(one, start));
            limit.count(one, start);
        }
        assert!(!limit.allows(one, start));
        assert!(
            !limit.allows("2001:db8::2".parse().unwrap(), start),
            "the same /64"
        );
        assert!(limit.allows(other, start));
        assert!(limit.allows(one, start + WINDOW));
        limit.count(one, start + WINDOW);
        assert!(limit.allows(one, start + WINDOW), "a new window starts with one");
    }

    #[test]
    fn the_memory_is_bounded() {
        let mut limit = SourceLimit::new(MAX_FAILURES);
        let now = Instant::now();
        for n in 0..30_000_u32 {
            limit.count(IpAddr::from(n.to_be_bytes()), now);
            assert!(limit.sources.len() <= MAX_SOURCES);
        }
    }
}
