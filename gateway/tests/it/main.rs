//! A whole gateway in this process, over real TLS, with a real HTTP client and a small agent.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests are tests")]

mod agent;
mod api;
mod audit;
mod client;
mod connect;
mod cost;
mod data;
mod enroll;
mod events;
mod feed;
mod fit;
mod inventory;
mod login;
mod people;
mod proxy;
mod recordings;
mod revocation;
mod revoked_paths;
mod rights;
mod scoping;
mod slow;
mod stalled;
mod start;
