use super::*;

fn at(n: u32) -> IpAddr {
    IpAddr::from(n.to_be_bytes())
}

const HOME: u32 = 0x0a00_0001;

/// Tries until it is told to wait; how many tries it had and how long to wait.
fn fail_until_told(lockout: &mut Lockout, name: &str, from: IpAddr, now: Instant) -> (u32, Duration) {
    for n in 0..1000 {
        if let Err(wait) = lockout.begin("default", name, from, now).map(drop) {
            return (n, wait);
        }
    }
    panic!("never told to wait")
}

#[test]
fn the_delay_grows_up_to_its_end_and_is_the_same_for_names_that_are_not_there() {
    let mut lockout = Lockout::default();
    let mut now = Instant::now();
    let (tries, wait) = fail_until_told(&mut lockout, "ann", at(HOME), now);
    assert_eq!((tries, wait), (ACCOUNT.free, ACCOUNT.first));
    let mut waits = vec![];
    for n in 0..15 {
        now += lockout
            .begin("default", "ann", at(HOME + n), now)
            .map(drop)
            .unwrap_err();
        // From another address each time: the account's delay is not about addresses.
        let _ = lockout.begin("default", "ann", at(HOME + n + 1), now).unwrap();
        waits.push(
            lockout
                .begin("default", "ann", at(HOME + n), now)
                .map(drop)
                .unwrap_err(),
        );
    }
    let seconds: Vec<_> = waits.iter().map(Duration::as_secs).collect();
    assert_eq!(
        seconds,
        [2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900, 900, 900, 900]
    );
    // Another account, organisation: not touched.
    let _ = lockout.begin("default", "ben", at(1), now).unwrap();
    let _ = lockout.begin("other", "ann", at(1), now).unwrap();
    // Forgotten in the end.
    now += ACCOUNT.memory;
    assert_eq!(fail_until_told(&mut lockout, "ann", at(2), now).0, ACCOUNT.free);
}

#[test]
fn one_source_is_held_back_over_all_accounts() {
    let mut lockout = Lockout::default();
    let now = Instant::now();
    for n in 0..SOURCE.free {
        let _ = lockout
            .begin("default", &format!("user-{n}"), at(HOME), now)
            .unwrap();
    }
    assert!(lockout.begin("default", "another", at(HOME), now).is_err());
    let _ = lockout.begin("default", "another", at(HOME + 1), now).unwrap();
    let _ = lockout
        .begin("default", "another", at(HOME), now + SOURCE.memory)
        .unwrap();
    // All of a /64 is one source.
    for n in 0..SOURCE.free {
        let from = format!("2001:db8::{n:x}").parse().unwrap();
        let _ = lockout
            .begin("default", &format!("user-{n}"), from, now + SOURCE.memory)
            .unwrap();
    }
    let from = "2001:db8::ffff".parse().unwrap();
    assert!(
        lockout
            .begin("default", "more", from, now + SOURCE.memory)
            .is_err()
    );
}

#[test]
fn many_attempts_at_once_are_no_way_around() {
    let mut lockout = Lockout::default();
    let now = Instant::now();
    // None of them has come to its end yet.
    let under_way: Vec<_> = (0..100)
        .filter_map(|n| lockout.begin("default", "ann", at(n), now).ok())
        .collect();
    assert_eq!(under_way.len(), ACCOUNT.free as usize);
}

#[test]
fn a_login_is_forgiven_but_does_not_forgive_the_failures_of_others() {
    let mut lockout = Lockout::default();
    let now = Instant::now();
    for _ in 0..100 {
        let attempt = lockout.begin("default", "ann", at(HOME), now).unwrap();
        lockout.succeeded(&attempt, now);
    }
    for n in 0..ACCOUNT.free {
        let _ = lockout.begin("default", "ben", at(n), now).unwrap();
    }
    let now = now + Duration::from_secs(2);
    let attempt = lockout.begin("default", "ben", at(77), now).unwrap();
    lockout.succeeded(&attempt, now);
    assert!(lockout.begin("default", "ben", at(78), now).is_err());
    let _ = lockout.begin("default", "ben", at(77), now).unwrap();
}

#[test]
fn nobody_is_locked_out_of_where_he_is_known_by_the_failures_of_others() {
    let mut lockout = Lockout::default();
    let now = Instant::now();
    let attempt = lockout.begin("default", "ann", at(HOME), now).unwrap();
    lockout.succeeded(&attempt, now);
    for n in 0..1000 {
        let _ = lockout.begin("default", "ann", at(n), now).map(drop);
        let _ = lockout
            .begin("default", &format!("guess-{n}"), at(HOME), now)
            .map(drop);
    }
    assert!(lockout.begin("default", "ann", at(5000), now).is_err());
    assert!(lockout.begin("default", "ben", at(HOME), now).is_err());
    let attempt = lockout.begin("default", "ann", at(HOME), now).unwrap();
    lockout.succeeded(&attempt, now);
    // But a guesser at that address has no more tries than any other.
    assert_eq!(
        fail_until_told(&mut lockout, "ann", at(HOME), now).0,
        ACCOUNT.free
    );
    // And after a month he is a stranger there, too.
    let later = now + KNOWN_FOR;
    for n in 0..ACCOUNT.free {
        let _ = lockout.begin("default", "ann", at(n), later).unwrap();
    }
    assert!(lockout.begin("default", "ann", at(HOME), later).is_err());
}

#[test]
fn an_attempt_that_was_not_decided_counts_for_nothing() {
    let mut lockout = Lockout::default();
    let now = Instant::now();
    for _ in 0..100 {
        let attempt = lockout.begin("default", "ann", at(HOME), now).unwrap();
        lockout.undecided(&attempt);
    }
    assert!(lockout.failures.is_empty());
}

#[test]
fn the_memory_is_bounded_and_a_flood_of_names_does_not_wash_out_the_one_that_is_guessed_at() {
    let mut lockout = Lockout::default();
    let now = Instant::now();
    fail_until_told(&mut lockout, "ann", at(HOME), now);
    for n in 0..120_000 {
        let _ = lockout
            .begin("default", &format!("user-{n}"), at(n), now)
            .map(drop);
        assert!(lockout.failures.len() <= MAX_ENTRIES);
    }
    assert!(lockout.begin("default", "ann", at(1), now).is_err());
    for n in 0..120_000 {
        let attempt = Attempt {
            account: account("default", &n.to_string()),
            source: at(n),
        };
        lockout.succeeded(&attempt, now);
        assert!(lockout.known.len() <= MAX_ENTRIES);
    }
}
