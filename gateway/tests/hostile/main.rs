//! Agents with hostile code in them, enrolled to their own cluster: what they try must not reach, name or fill another
//! cluster's records, exhaust the gateway or end it. Each try is in the list of `docs/security.md`.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests are tests, and say what they measured"
)]

#[path = "../it/agent.rs"]
#[allow(dead_code, reason = "shared with the other tests")]
mod agent;
#[path = "../it/client.rs"]
#[allow(dead_code, reason = "shared with the other tests")]
mod client;
#[path = "../it/feed.rs"]
#[allow(dead_code, reason = "shared with the other tests")]
mod feed;

mod answers;
mod frames;
mod identity;
mod records;
mod siege;
mod wire;
