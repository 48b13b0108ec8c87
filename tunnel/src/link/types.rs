//! Bounds of a link, and what may become of it.

use std::time::Duration;

use super::metrics::Metrics;

/// Bounds and timers of one end of a link.
#[derive(Clone, Debug)]
pub struct Config {
    /// Replay buffer of this end, and the receive window that it grants to the peer. Bytes.
    pub window: usize,
    /// Consumed bytes after which an acknowledgement is sent at once.
    pub ack_bytes: usize,
    /// Longest time that consumed bytes stay unacknowledged.
    pub ack_delay: Duration,
    /// Silence of the peer after which it is pinged, while nothing is outstanding.
    pub ping_idle: Duration,
    /// The same while sent bytes are unacknowledged.
    pub ping_busy: Duration,
    /// Further silence after a ping that declares the carrier dead. A wrong verdict costs one resume, no data.
    pub dead_after: Duration,
    /// Time without any carrier after which the link itself is dead.
    pub expiry: Duration,
    /// Counters, shared by all links of a process.
    pub metrics: Metrics,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            // 40 MB/s at 100 ms.
            window: 4 << 20,
            ack_bytes: 128 << 10,
            // The peer learns the line's rate from acknowledgements.
            ack_delay: Duration::from_millis(4),
            // Half of the shortest idle timeout of common load balancers (30 s).
            ping_idle: Duration::from_secs(15),
            ping_busy: Duration::from_secs(1),
            dead_after: Duration::from_secs(3),
            expiry: Duration::from_secs(90),
            metrics: Metrics::default(),
        }
    }
}

/// Why a link is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Dead {
    /// No carrier came within [`Config::expiry`].
    #[error("no connection came back in time")]
    Expired,
    /// The peer does not know the link (it restarted) or does not accept the proof; the code it gave.
    #[error("the peer refused to resume (code {0}); it was probably restarted")]
    Refused(u64),
    /// The peer closed the link; the reason it gave.
    #[error("closed by the peer (reason {0})")]
    Closed(u64),
    /// The peer broke the protocol.
    #[error("protocol error: {0}")]
    Protocol(&'static str),
    /// This end was dropped.
    #[error("closed here")]
    Dropped,
}

/// Why a carrier was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum AttachError {
    /// A carrier of the same or a later generation is there already.
    Stale,
    /// The peer claims to have received what was never sent.
    Offset,
    /// The link is over.
    Dead,
}

/// What [`Core::on_timer`] found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Event {
    /// The carrier is to be given up; the link waits for another.
    CarrierDead,
    /// The link is over.
    Expired,
}
