//! Benchmarks: `make bench`. Every figure is a median of interleaved runs beside its baseline in the same process.

pub mod chain;
pub mod inventory;
pub mod link;
pub mod load;
pub mod memory;
pub mod report;
pub mod server;
pub mod trust;
