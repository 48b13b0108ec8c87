//! The Kantaloupe agent: dials out from a cluster to the gateway, enrols, and proxies to the cluster's API server.
//!
//! ```text
//! run ─┬─ health     answers probes and metrics
//!      └─ connect    one state after the other:
//!           enrol ──> dial ──> serve ──> (backoff) ──> dial ...
//!           │         │        └─ tunnel: control session (gRPC), data session (proxy)
//!           │         └─ control_plane + tls: DNS, TCP, TLS, HTTP
//!           └─ enroll + identity: token, key, Secret
//! ```

mod audit;
pub mod cli;
pub mod config;
mod connect;
mod control_plane;
mod enroll;
mod fault;
mod health;
mod identity;
pub mod inventory;
mod listing;
pub mod logging;
mod metrics;
pub mod preflight;
pub mod prometheus;
mod proxy;
pub mod run;
mod service;
pub mod signals;
#[cfg(test)]
mod testing;
pub mod tls;
mod tunnel;

/// Version of the agent, SemVer.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// How the agent names itself to the gateway.
pub(crate) const USER_AGENT: &str = concat!("kantaloupe-agent/", env!("CARGO_PKG_VERSION"));
