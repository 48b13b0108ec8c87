//! The agents' side: enrolment, the connect assertion, and tunnels.
//!
//! ```text
//!   POST enroll ──> enroll.rs ──> clusters.rs (store, directory)
//!   GET challenge, GET tunnel ──> connect.rs: assertion checked, 101, carrier
//!        └─> Acceptor ── resumed: an existing link goes on
//!                   └─── new link: HTTP/2 session, waits in Pairing for its other half
//!                             └─> tunnel.rs: Hello, registered with its cluster, until the end
//! ```

mod connect;
mod enroll;
mod limit;
mod nonces;
mod pairing;
mod tunnel;

use kantaloupe_proto::assertion::NonceIssuer;
use kantaloupe_tunnel::{
    link::{self, Acceptor},
    session::Client,
};
use parking_lot::Mutex;

pub(crate) use self::{
    connect::{challenge, connect},
    enroll::enroll,
    pairing::TunnelKey,
    tunnel::Tunnel,
};
use self::{limit::FailureLimit, nonces::UsedNonces, pairing::Pairing};

/// A session that waits for its other half; dropping `taken` tells the waiting task that it was found.
struct Half {
    client: Client,
    _taken: tokio::sync::oneshot::Sender<()>,
}

/// What the agents' calls share.
pub(crate) struct Agents {
    /// This gateway's name in assertions.
    audience: String,
    nonces: NonceIssuer,
    used: Mutex<UsedNonces>,
    failures: Mutex<FailureLimit>,
    acceptor: Acceptor,
    pairing: Mutex<Pairing<Half>>,
}

impl Agents {
    pub(crate) fn new(audience: String) -> Self {
        Self {
            audience,
            nonces: NonceIssuer::new(),
            used: Mutex::default(),
            failures: Mutex::default(),
            acceptor: Acceptor::new(link::Config::default()),
            pairing: Mutex::default(),
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
