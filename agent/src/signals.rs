//! SIGTERM and SIGINT: the first drains, the second ends at once.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tracing::{info, warn};

/// Exit status of a process that a signal ended: 128 and SIGTERM's number.
const ENDED_BY_SIGNAL: u8 = 143;

/// Both signals, received from now on.
pub struct Signals {
    shutdown: CancellationToken,
    second: CancellationToken,
    _task: AbortOnDropHandle<()>,
}

impl Signals {
    /// Starts to receive. Needs a runtime.
    pub fn install() -> io::Result<Self> {
        let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let (shutdown, second) = (CancellationToken::new(), CancellationToken::new());
        let (first_token, second_token) = (shutdown.clone(), second.clone());
        let task = async move {
            any(&mut term, &mut int).await;
            info!("signal received: draining; a second one ends at once");
            first_token.cancel();
            any(&mut term, &mut int).await;
            warn!("second signal received: ending at once");
            second_token.cancel();
        };
        Ok(Self {
            shutdown,
            second,
            _task: AbortOnDropHandle::new(tokio::spawn(task)),
        })
    }

    /// Cancelled by the first signal.
    pub fn shutdown(&self) -> CancellationToken {
        self.shutdown.clone()
    }

    /// Waits for the second signal; gives the exit status.
    pub async fn second(&self) -> u8 {
        self.second.cancelled().await;
        ENDED_BY_SIGNAL
    }
}

async fn any(term: &mut Signal, int: &mut Signal) {
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}
