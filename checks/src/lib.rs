//! The registry of check codes `KTA-<AREA>-<number>`: one row per code with its texts in English and Chinese, and
//! [`Fault`], the error that a user sees, and [`Outcome`], what a check found.
//!
//! A code never changes its meaning and is never used again. Agent, gateway and the documentation read the same rows.

mod areas;
mod code;
mod fault;
pub mod markdown;
mod outcome;
mod row;

pub use code::{Code, UnknownCode};
pub use fault::Fault;
pub use outcome::{Outcome, Verdict};
pub use row::{Check, Lang, Severity, Text, all, get};
