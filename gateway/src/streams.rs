//! The open streams of one connection, so that a revoked one ends even while its user reads nothing.
//!
//! A stream normally ends by itself when its cluster, token or right is revoked: its body says so when it is next asked for
//! bytes. Nobody asks while the user's window or socket is full. For these, the connection's task looks here a moment
//! after any revocation and ends the whole connection if one is left.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::directory::Cluster;

/// The streams of a connection.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    open: Mutex<Open>,
    /// Whether a request has come on the connection at all.
    asked: AtomicBool,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    streams: Vec<(u64, Option<Arc<Cluster>>, CancellationToken)>,
}

/// Where a request came from.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) peer: SocketAddr,
    pub(crate) streams: Arc<Streams>,
}

/// An open stream; takes itself out when dropped.
#[derive(Debug)]
pub(crate) struct Entry {
    streams: Arc<Streams>,
    number: u64,
}

impl Streams {
    /// Adds a stream to this cluster, or to none of them alone, and what says that the right to it is gone.
    pub(crate) fn add(self: &Arc<Self>, cluster: Option<&Arc<Cluster>>, ended: &CancellationToken) -> Entry {
        let mut open = self.open.lock();
        open.next += 1;
        let number = open.next;
        open.streams.push((number, cluster.cloned(), ended.clone()));
        Entry {
            streams: Arc::clone(self),
            number,
        }
    }

    /// A request has come.
    pub(crate) fn ask(&self) {
        self.asked.store(true, Relaxed);
    }

    /// Whether a request has come.
    pub(crate) fn was_asked(&self) -> bool {
        self.asked.load(Relaxed)
    }

    /// Whether a stream is open that should have ended.
    pub(crate) fn any_revoked(&self) -> bool {
        let open = self.open.lock();
        open.streams.iter().any(|(_, cluster, ended)| {
            let cut = cluster.as_ref().is_some_and(|cluster| cluster.cut.is_cancelled());
            cut || ended.is_cancelled()
        })
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut open = self.streams.open.lock();
        // Short streams are the youngest, so that looking from the end finds them at once.
        if let Some(at) = open
            .streams
            .iter()
            .rposition(|(number, _, _)| *number == self.number)
        {
            open.streams.swap_remove(at);
        }
    }
}
