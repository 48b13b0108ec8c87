//! Fuzz targets: each takes any bytes, and panics if something does not hold that must always hold.
//!
//! `make fuzz-corpus` runs them on the corpus in this folder and on seeded mutations of it, with stable Rust.
//! `make fuzz` runs them under libFuzzer, with nightly Rust; what it finds goes into the corpus.

pub mod allocation;
pub mod answer;
pub mod assertion;
pub mod enroll;
pub mod exposition;
pub mod inventory;
pub mod link;
pub mod mig;
pub mod path;
pub mod quantity;
pub mod register;
pub mod session;
pub mod terminal;
pub mod token;
pub mod vendor_json;
pub mod websocket;

/// A target and its name, which is also its folder in the corpus.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 16] = [
    ("allocation", allocation::run),
    ("answer", answer::run),
    ("assertion", assertion::run),
    ("enroll", enroll::run),
    ("exposition", exposition::run),
    ("inventory", inventory::run),
    ("link", link::run),
    ("mig", mig::run),
    ("path", path::run),
    ("quantity", quantity::run),
    ("register", register::run),
    ("session", session::run),
    ("terminal", terminal::run),
    ("token", token::run),
    ("vendor_json", vendor_json::run),
    ("websocket", websocket::run),
];
