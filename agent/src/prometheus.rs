//! Live use from the cluster's Prometheus.
//!
//! ```text
//! Monitor ──> find ──> client (identify)        which address, whose server, which version
//!    └──────> round ─> client (query) ──> Feed   every 20 s: what there is, then one capped query for each name
//! ```
//!
//! Only instant queries over the names of [`kantaloupe_gpu::metrics::names`] are asked, each with a limit of time, bytes and series;
//! answers are read as they arrive and never kept whole.

mod client;
mod error;
mod examine;
mod find;
mod measure;
mod monitor;
mod round;

#[cfg(test)]
mod tests;

pub use client::{Client, Limits};
pub use error::QueryError;
pub use examine::examine;
pub use find::{Found, NotFound, Tried, find};
pub use measure::PrometheusMetrics;
pub use monitor::{Feed, Monitor};
pub use round::{Round, round};
