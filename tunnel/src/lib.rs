//! The tunnel between agent and gateway, bottom up:
//!
//! 1. [`carrier`]: one connection that moves messages (WebSocket over TLS).
//! 2. [`link`]: a reliable byte stream over successive carriers; a broken connection is invisible above it.
//! 3. [`session`]: HTTP/2, reversed: the end that dialed is the server.
//! 4. [`upgrade`]: HTTP/1.1 upgrades carried as extended CONNECT.
//!
//! Knows nothing of Kubernetes, GPUs or users.

pub mod carrier;
pub mod fair;
pub mod frame;
pub mod link;
pub mod session;
pub mod upgrade;
