//! What must not work, by the numbers of `docs/security.md`: raw bytes against the real gateway, agent and API server.
//! Needs no root.
#![allow(clippy::unwrap_used, clippy::panic)]

mod identity;
mod people;
mod smuggling;
mod strength;
mod unknown;
