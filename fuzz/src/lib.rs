//! Fuzz targets: each takes any bytes, and panics if something does not hold that must always hold.
//!
//! `make fuzz-corpus` runs them on the corpus in this folder and on seeded mutations of it, with stable Rust.
//! `make fuzz` runs them under libFuzzer, with nightly Rust; what it finds goes into the corpus.

pub mod answer;
pub mod assertion;
pub mod exposition;
pub mod link;
pub mod path;
pub mod quantity;
pub mod register;
pub mod token;

/// A target and its name, which is also its folder in the corpus.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 8] = [
    ("answer", answer::run),
    ("assertion", assertion::run),
    ("exposition", exposition::run),
    ("link", link::run),
    ("path", path::run),
    ("quantity", quantity::run),
    ("register", register::run),
    ("token", token::run),
];
