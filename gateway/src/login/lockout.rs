//! How often one may try to log in: a delay that grows with the failures, per account and per source.
//! No I/O, no clock.
//!
//! An attempt counts as failed from its start, and is forgiven when it succeeds: many at once gain nothing.
//!
//! Somebody who keeps failing on purpose must not be able to lock a person out of the account. So an address from
//! which the account was logged into counts by itself, apart from everybody else's failures.

use std::{collections::HashMap, net::IpAddr, time::Duration};

use aws_lc_rs::digest;
use tokio::time::Instant;

use crate::agents::network;

/// Entries of each table. Past it those with the fewest failures go first, so that trying many names does not make
/// the table forget the one that is guessed at.
const MAX_ENTRIES: usize = 50_000;
/// A pair of account and address is known for this long after a login: a month is how long people are away.
const KNOWN_FOR: Duration = Duration::from_hours(30 * 24);
/// Growth beyond this is no longer a number of seconds that anything needs.
const MAX_DOUBLINGS: u32 = 20;

/// How delays grow.
#[derive(Clone, Copy, Debug)]
struct Rule {
    /// Failures without delay.
    free: u32,
    /// The delay after the first further one; doubled with each.
    first: Duration,
    /// Longest delay.
    longest: Duration,
    /// After so long without a failure all is forgotten.
    memory: Duration,
}

/// Five mistypings cost nothing. At the longest delay a guesser has 4 tries an hour; the memory is longer than the way
/// up to there, so waiting for it gains nothing.
const ACCOUNT: Rule = Rule {
    free: 5,
    first: Duration::from_secs(1),
    longest: Duration::from_mins(15),
    memory: Duration::from_hours(24),
};
/// An address may be that of a whole company: more is free, and it is soon forgotten.
const SOURCE: Rule = Rule {
    free: 20,
    first: Duration::from_secs(1),
    longest: Duration::from_mins(1),
    memory: Duration::from_mins(10),
};

/// What failures count for. Names are hashed, so that an entry has one size whatever is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    Account([u8; 16]),
    Source(IpAddr),
    /// An account from an address that it is known to be used from.
    Known([u8; 16], IpAddr),
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    last: Instant,
}

impl Failures {
    /// When the next attempt is allowed.
    fn until(&self, rule: &Rule) -> Instant {
        let Some(over) = self.count.checked_sub(rule.free) else {
            return self.last;
        };
        let delay = rule.first.saturating_mul(1 << over.min(MAX_DOUBLINGS));
        self.last + delay.min(rule.longest)
    }
}

/// An attempt that was let through.
#[derive(Debug)]
#[must_use = "an attempt that is not forgiven stays a failure"]
pub(crate) struct Attempt {
    account: [u8; 16],
    source: IpAddr,
}

/// Counts failures.
#[derive(Debug, Default)]
pub(crate) struct Lockout {
    failures: HashMap<Key, Failures>,
    /// When an account was last logged into from an address.
    known: HashMap<([u8; 16], IpAddr), Instant>,
}

impl Lockout {
    /// Starts an attempt, or says how long to wait. Whether there is such an account plays no part.
    pub(crate) fn begin(
        &mut self,
        organization: &str,
        name: &str,
        source: IpAddr,
        now: Instant,
    ) -> Result<Attempt, Duration> {
        let attempt = Attempt {
            account: account(organization, name),
            source: network(source),
        };
        let counters = self.counters(&attempt, now);
        let wait = counters
            .iter()
            .flatten()
            .filter_map(|(key, rule)| {
                let failures = self.failures.get(key)?;
                (now.duration_since(failures.last) < rule.memory)
                    .then(|| failures.until(rule).saturating_duration_since(now))
            })
            .max()
            .unwrap_or_default();
        if !wait.is_zero() {
            return Err(wait);
        }
        for (key, rule) in counters.into_iter().flatten() {
            self.count(key, rule, now);
        }
        Ok(attempt)
    }

    /// The attempt was a login.
    pub(crate) fn succeeded(&mut self, attempt: &Attempt, now: Instant) {
        let Attempt { account, source } = *attempt;
        // The account's own failures stay: they may be somebody else's.
        self.forgive(Key::Account(account));
        self.forgive(Key::Source(source));
        self.failures.remove(&Key::Known(account, source));
        if self.known.len() >= MAX_ENTRIES {
            self.known.retain(|_, at| now.duration_since(*at) < KNOWN_FOR);
            if self.known.len() >= MAX_ENTRIES {
                self.known.clear();
            }
        }
        self.known.insert((account, source), now);
    }

    /// The attempt never came to a decision: the store or the hashing was not there.
    pub(crate) fn undecided(&mut self, attempt: &Attempt) {
        let Attempt { account, source } = *attempt;
        for key in [
            Key::Account(account),
            Key::Source(source),
            Key::Known(account, source),
        ] {
            self.forgive(key);
        }
    }

    fn counters(&self, attempt: &Attempt, now: Instant) -> [Option<(Key, &'static Rule)>; 2] {
        let Attempt { account, source } = *attempt;
        let known = self.known.get(&(account, source));
        if known.is_some_and(|at| now.duration_since(*at) < KNOWN_FOR) {
            [Some((Key::Known(account, source), &ACCOUNT)), None]
        } else {
            [
                Some((Key::Account(account), &ACCOUNT)),
                Some((Key::Source(source), &SOURCE)),
            ]
        }
    }

    fn count(&mut self, key: Key, rule: &Rule, now: Instant) {
        if self.failures.len() >= MAX_ENTRIES {
            self.make_room(now);
        }
        let entry = self
            .failures
            .entry(key)
            .or_insert(Failures { count: 0, last: now });
        if now.duration_since(entry.last) >= rule.memory {
            entry.count = 0;
        }
        entry.count = entry.count.saturating_add(1);
        entry.last = now;
    }

    /// Takes back what `begin` counted.
    fn forgive(&mut self, key: Key) {
        if let Some(failures) = self.failures.get_mut(&key) {
            failures.count = failures.count.saturating_sub(1);
            if failures.count == 0 {
                self.failures.remove(&key);
            }
        }
    }

    fn make_room(&mut self, now: Instant) {
        self.failures.retain(|key, failures| {
            let rule = if matches!(key, Key::Source(_)) {
                &SOURCE
            } else {
                &ACCOUNT
            };
            now.duration_since(failures.last) < rule.memory
        });
        while self.failures.len() >= MAX_ENTRIES {
            let fewest = self
                .failures
                .values()
                .map(|failures| failures.count)
                .min()
                .unwrap_or(0);
            self.failures.retain(|_, failures| failures.count > fewest);
        }
    }
}

fn account(organization: &str, name: &str) -> [u8; 16] {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(organization.as_bytes());
    // No name has this byte, so that two pairs cannot run together.
    context.update(&[0]);
    context.update(name.as_bytes());
    let mut short = [0; 16];
    short.copy_from_slice(&context.finish().as_ref()[..16]);
    short
}

#[cfg(test)]
mod tests;
