//! The agents' side: enrolment, the connect assertion, and tunnels.
//!
//! ```text
//!   POST enroll ──> enroll.rs ──> clusters.rs (store, directory)
//!   GET challenge, GET tunnel ──> connect.rs: assertion checked, 101, carrier
//!        └─> Acceptor ── resumed: an existing link goes on
//!                   └─── new link: HTTP/2 session
//!                           ├─ control ──> tunnel.rs: Hello, registered with its cluster, until the end
//!                           └─ data ─────> data.rs: to the tunnel that asked for it
//! ```

mod connect;
mod data;
mod enroll;
mod limit;
pub(crate) mod limits;
mod nonces;
mod tunnel;

use std::time::Duration;

use kantaloupe_proto::assertion::NonceIssuer;
use kantaloupe_tunnel::link::{self, Acceptor};
use parking_lot::Mutex;

pub(crate) use self::{
    connect::{challenge, connect},
    data::{InUse, NoData},
    enroll::enroll,
    limit::{SourceLimit, network},
    tunnel::{Tunnel, clipped},
};
use self::{limit::MAX_FAILURES, nonces::UsedNonces};

/// What the agents' calls share.
pub(crate) struct Agents {
    /// This gateway's name in assertions.
    audience: String,
    nonces: NonceIssuer,
    used: Mutex<UsedNonces>,
    failures: Mutex<SourceLimit>,
    acceptor: Acceptor,
    /// How long a data session stays open without a stream.
    data_idle: Duration,
}

impl Agents {
    pub(crate) fn new(audience: String, data_idle: Duration, metrics: link::Metrics) -> Self {
        Self {
            audience,
            nonces: NonceIssuer::new(),
            used: Mutex::default(),
            failures: Mutex::new(SourceLimit::new(MAX_FAILURES)),
            acceptor: Acceptor::new(link::Config {
                metrics,
                ..link::Config::default()
            }),
            data_idle,
        }
    }
}

impl std::fmt::Debug for Agents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agents")
            .field("audience", &self.audience)
            .finish_non_exhaustive()
    }
}
