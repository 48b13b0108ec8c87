//! The cloud end of Kantaloupe: accepts agents, and takes users' requests to their clusters.
//!
//! ```text
//!   users ── TLS ──> listener ─> route ─┬─> proxy ──> registry ──> tunnel ──> agent
//!                                       ├─> api ────> clusters ──> store, directory
//!   agents ── TLS ─────────────────────>┴─> agents ─> tunnels in the registry
//! ```

mod admin;
mod agents;
mod api;
pub mod app;
mod audit;
mod auth;
mod authorize;
mod body;
pub mod cli;
mod clusters;
pub mod config;
mod directory;
mod files;
#[doc(hidden)]
pub mod fuzzing;
mod ids;
mod inventory;
mod io;
mod journal;
mod limits;
mod listener;
pub mod logging;
mod login;
mod metrics;
pub mod oidc;
mod people;
mod problem;
mod proxy;
mod recording;
mod registry;
mod route;
mod secret;
mod start;
mod state;
mod status;
mod store;
mod streams;
mod tls;
