//! Runs every target on its corpus and on seeded mutations of it.
//!
//! `FUZZ_ROUNDS` sets the number of mutations per target, `FUZZ_SEED` where they begin. A failure prints the input.

#![expect(clippy::unwrap_used, reason = "a test's helpers are not inside its functions")]

use std::panic::catch_unwind;
use std::path::Path;
use std::{env, fs};

use kantaloupe_fuzz::{TARGETS, Target};

/// Takes about a second per target without optimisation of these crates.
const ROUNDS: u64 = 100_000;

/// Longest input that a mutation makes.
const MAX_LEN: usize = 6_000;

/// Pieces that these formats care about.
const DICTIONARY: [&[u8]; 48] = [
    b"/",
    b"//",
    b"..",
    b"%2e",
    b"%2F",
    b"%25",
    b"%",
    b"%00",
    b";",
    b"\\",
    b"?watch=1",
    b"kte_",
    b"kta_",
    b"_",
    b"/api/v1/",
    b"/apis/",
    b"/namespaces/",
    b"/watch/",
    b"/proxy",
    b"/exec",
    b"Kantaloupe ",
    b".",
    b"\x00\x00\x00",
    b"\xff\xff\xff\xff",
    b"\"",
    b"{",
    b"}",
    b"\n",
    b" # ",
    b"\"result\":[",
    b",",
    b":",
    b",true",
    b"-1",
    b"99999999999999999999",
    b"null",
    b"{}",
    b"[]",
    b"\"id\":",
    b"Ki",
    b"e30",
    b".5m",
    b"NVIDIA",
    b",,0,0:",
    b"[0-1]",
    b"[{",
    b"}]",
    b"\"UUID\":",
];

/// `SplitMix64`: the same mutations on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end.max(1) as u64).unwrap()
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

fn mutate(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut input = seeds[random.below(seeds.len())].clone();
    for _ in 0..=random.below(4) {
        let at = random.below(input.len() + 1);
        let end = at + random.below(input.len() + 1 - at);
        match random.below(8) {
            0 if at < input.len() => input[at] ^= 1 << random.below(8),
            1 if at < input.len() => input[at] = random.byte(),
            2 => input.insert(at, random.byte()),
            3 => input.truncate(at),
            4 => drop(input.drain(at..end)),
            5 => {
                let copy = input[at..end].to_vec();
                input.splice(at..at, copy);
            }
            6 => {
                let other = &seeds[random.below(seeds.len())];
                let from = random.below(other.len() + 1);
                input.splice(at.., other[from..].iter().copied());
            }
            _ => {
                let piece = DICTIONARY[random.below(DICTIONARY.len())];
                input.splice(at..end.min(at + piece.len()), piece.iter().copied());
            }
        }
    }
    input.truncate(MAX_LEN);
    input
}

fn check((name, run): Target, input: &[u8], what: &str) {
    let held = catch_unwind(|| run(input)).is_ok();
    let text = String::from_utf8_lossy(input);
    assert!(held, "target {name}, {what}: {input:?} ({text})");
}

fn number(name: &str, otherwise: u64) -> u64 {
    env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

#[test]
fn every_target_holds_on_its_corpus_and_on_mutations() {
    let (rounds, first) = (number("FUZZ_ROUNDS", ROUNDS), number("FUZZ_SEED", 0));
    for target in TARGETS {
        let seeds = corpus(target.0);
        assert!(seeds.len() >= 5, "the corpus of {} is too small", target.0);
        for (index, seed) in seeds.iter().enumerate() {
            check(target, seed, &format!("corpus file {index}"));
        }
        for seed in first..first + rounds {
            check(
                target,
                &mutate(&seeds, &mut Random(seed)),
                &format!("seed {seed}"),
            );
        }
    }
}

/// The mutations are worth something only if some of them get past the first checks.
#[test]
fn the_corpus_has_inputs_that_pass() {
    use bytes::Bytes;
    use http::Method;
    use kantaloupe_gpu::{metrics, quantity, register, vendor::Grammar};
    use kantaloupe_proto::{assertion, request, token};
    use kantaloupe_tunnel::frame::Frame;

    let text = |seed: &Vec<u8>| String::from_utf8(seed.clone()).unwrap();
    let passes = |name: &str, accepted: &dyn Fn(&Vec<u8>) -> bool| {
        let seeds = corpus(name);
        assert!(
            seeds.iter().filter(|seed| accepted(seed)).count() >= 2,
            "too few inputs of {name} pass"
        );
        assert!(
            seeds.iter().any(|seed| !accepted(seed)),
            "no input of {name} is refused"
        );
    };
    passes("token", &|seed| {
        token::Token::parse(token::TokenKind::Enrollment, &text(seed)).is_ok()
    });
    passes("allocation", &|seed| {
        let record = text(seed);
        let record = kantaloupe_gpu::allocation::parse(&record);
        record.faults.is_empty() && !record.is_empty()
    });
    passes("mig", &|seed| {
        let read = kantaloupe_gpu::allocation::mig::reservations(&text(seed));
        read.faults.is_empty() && !read.by_share.is_empty()
    });
    passes("vendor_json", &|seed| {
        let (shares, faults) = kantaloupe_gpu::allocation::vendor_json::ascend(&text(seed));
        faults.is_empty() && !shares.is_empty()
    });
    passes("link", &|seed| Frame::decode(Bytes::from(seed.clone())).is_ok());
    passes("path", &|seed| {
        let seed = text(seed);
        let (path, query) = seed[1..].split_once('?').unwrap_or_else(|| (&seed[1..], ""));
        request::parse(&Method::GET, path, Some(query)).is_ok()
    });
    passes("exposition", &|seed| {
        metrics::text::parse(seed).malformed.is_empty()
    });
    passes("answer", &|seed| {
        metrics::answer::read(seed, 10, &mut |_| {}).is_ok()
    });
    passes("assertion", &|seed| {
        assertion::Unverified::parse(&text(seed)).is_ok()
    });
    passes("enroll", &|seed| {
        serde_json::from_slice::<kantaloupe_proto::agent_api::EnrollRequest>(seed).is_ok()
    });
    passes("inventory", &|seed| {
        let update = <kantaloupe_proto::pb::InventoryUpdate as prost::Message>::decode(seed.as_slice());
        update.is_ok_and(|update| !update.upserts.is_empty())
    });
    passes("terminal", &|seed| kantaloupe_fuzz::terminal::is_sound(seed));
    passes("quantity", &|seed| quantity::parse(&text(seed)).is_ok());
    passes("register", &|seed| {
        let read = register::parse(Grammar::Hami, &text(seed)[1..], "node");
        read.problems.is_empty() && !read.devices.is_empty()
    });
}
