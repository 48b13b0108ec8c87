//! The data session of a tunnel: opened when a request first wants it, closed when none has for a while.
//!
//! ```text
//!   request ── session() ─┬─ open: used
//!                         └─ not: OpenData on the control session ──> the agent dials ──> offer(): all that wait go on
//!   idle ──> taken out under the lock under which requests take it: none meets a session that closes
//! ```
//!
//! Most clusters are looked at seldom, and a session with its TLS connection is the larger part of what an agent costs.

use std::{ops::Deref, sync::Arc, time::Duration};

use kantaloupe_proto::pb::OpenDataRequest;
use kantaloupe_tunnel::session::Client;
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep, timeout},
};
use tracing::Instrument as _;

use super::tunnel::{Tunnel, clipped, grpc};
use crate::{
    app::App,
    metrics::{Attempt, AttemptLabel, InFlight},
    proxy::Backlog,
};

/// Longest wait of a request for a session that has to be opened first. Longer than the 10 s that the agent gives its
/// dial, so that the agent's own words for the cause arrive; shorter than kubectl's patience of 32 s.
const OPEN: Duration = Duration::from_secs(12);
/// An idle session is looked for so many times within the time after which it is closed.
const LOOKS: u32 = 10;

/// Why there is no session.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum NoData {
    #[error("its agent opened no connection for requests within {OPEN:?}")]
    Timeout,
    #[error("its agent opened no connection for requests: {0}")]
    Refused(Arc<str>),
    #[error("its tunnel ended")]
    Ended,
}

/// What became of an opening; `None` while it lasts.
type Opening = watch::Sender<Option<Result<(), NoData>>>;

/// The data session of one tunnel, or the lack of it.
#[derive(Debug, Default)]
pub(super) struct Data {
    slot: Mutex<Slot>,
    /// A session was put in.
    filled: Notify,
}

#[derive(Debug, Default)]
struct Slot {
    session: Option<Arc<Session>>,
    opening: Option<Arc<Opening>>,
    ended: bool,
}

struct Session {
    client: Client,
    backlog: Arc<Backlog>,
    last_used: Mutex<Instant>,
    _open: InFlight,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Session").field(&self.client.is_closed()).finish()
    }
}

/// A session that a request or a stream uses: it does not count as idle as long as this lives.
#[derive(Debug)]
pub(crate) struct InUse(Arc<Session>);

impl InUse {
    /// The answers that may hold some of the session's window.
    pub(crate) fn backlog(&self) -> &Arc<Backlog> {
        &self.0.backlog
    }
}

impl Deref for InUse {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.0.client
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        *self.0.last_used.lock() = Instant::now();
    }
}

impl Slot {
    fn usable(&self) -> Option<InUse> {
        let session = self.session.as_ref()?;
        (!session.client.is_closed()).then(|| InUse(Arc::clone(session)))
    }
}

impl Data {
    /// Ends what is open and takes no more.
    pub(super) fn close(&self) {
        let mut slot = self.slot.lock();
        slot.ended = true;
        if let Some(session) = &slot.session {
            session.client.close();
        }
        if let Some(opening) = slot.opening.take() {
            opening.send_replace(Some(Err(NoData::Ended)));
        }
    }

    /// Since when an open session has had no connection.
    pub(super) fn down_since(&self) -> Option<Instant> {
        let slot = self.slot.lock();
        let client = &slot.session.as_ref()?.client;
        client.down_since().filter(|_| !client.is_closed())
    }

    /// Waits for the end of what goes on after the tunnel has taken its leave.
    pub(super) async fn ended(&self) {
        let client = self.slot.lock().session.as_ref().map(|s| s.client.clone());
        if let Some(client) = client {
            client.ended().await;
        }
    }

    /// A session that the agent opened. It comes back if there is one already, or if the tunnel is over.
    fn offer(&self, client: Client, backlog: Arc<Backlog>, open: InFlight) -> Result<(), Client> {
        let mut slot = self.slot.lock();
        if slot.ended || slot.usable().is_some() {
            return Err(client);
        }
        slot.session = Some(Arc::new(Session {
            client,
            backlog,
            last_used: Mutex::new(Instant::now()),
            _open: open,
        }));
        if let Some(opening) = slot.opening.take() {
            opening.send_replace(Some(Ok(())));
        }
        drop(slot);
        self.filled.notify_one();
        Ok(())
    }

    fn failed(&self, opening: &Arc<Opening>, why: NoData) {
        let mut slot = self.slot.lock();
        if slot.opening.as_ref().is_some_and(|now| Arc::ptr_eq(now, opening)) {
            slot.opening = None;
        }
        opening.send_if_modified(|outcome| {
            let first = outcome.is_none();
            outcome.get_or_insert(Err(why));
            first
        });
    }

    /// Closes sessions that nobody has used for `idle`. Never ends.
    pub(super) async fn close_when_idle(&self, idle: Duration) {
        loop {
            self.filled.notified().await;
            while !self.close_if_idle(idle) {
                sleep(idle / LOOKS).await;
            }
        }
    }

    /// True: none is open.
    fn close_if_idle(&self, idle: Duration) -> bool {
        let mut slot = self.slot.lock();
        let Some(session) = &slot.session else { return true };
        let over = session.client.link().state().ended.is_some();
        // One owner: no request, no stream.
        let unused = Arc::strong_count(session) == 1 && session.last_used.lock().elapsed() >= idle;
        // While the link waits for a connection, its end would be told to nobody.
        if over || (unused && session.client.down_since().is_none()) {
            tracing::debug!(over, "data session closed");
            // Says GOAWAY, since it was the last clone.
            slot.session = None;
            return true;
        }
        false
    }
}

impl Tunnel {
    /// The data session, opened first if need be.
    pub(crate) async fn session(self: &Arc<Self>, app: &Arc<App>) -> Result<InUse, NoData> {
        let opening = {
            let mut slot = self.data.slot.lock();
            if let Some(session) = slot.usable() {
                return Ok(session);
            }
            if slot.ended {
                return Err(NoData::Ended);
            }
            if let Some(opening) = &slot.opening {
                Arc::clone(opening)
            } else {
                let opening = Arc::new(watch::Sender::new(None));
                slot.opening = Some(Arc::clone(&opening));
                // A task of its own, since more requests wait than the one that came first, and it may hang up.
                let ask = ask(Arc::clone(app), Arc::clone(self), Arc::clone(&opening));
                app.agent_tasks.spawn(Box::pin(ask.in_current_span()));
                opening
            }
        };
        let mut outcome = opening.subscribe();
        let outcome = timeout(OPEN, outcome.wait_for(Option::is_some)).await;
        match outcome {
            Ok(Ok(outcome)) => outcome.clone().unwrap_or(Err(NoData::Ended))?,
            Ok(Err(_)) => return Err(NoData::Ended),
            Err(_) => return Err(NoData::Timeout),
        }
        self.data.slot.lock().usable().ok_or(NoData::Ended)
    }

    /// Takes a session that this tunnel's agent opened.
    pub(super) fn offer(&self, app: &App, client: Client) {
        let open = InFlight::new(&app.metrics.data_sessions);
        let backlog = Arc::new(Backlog::new(app.metrics.evicted_answers.clone()));
        let watch = Arc::clone(&backlog).watch(client.ended());
        if let Err(unwanted) = self.data.offer(client, backlog, open) {
            tracing::info!("a data session more than is wanted");
            return unwanted.close();
        }
        app.agent_tasks.spawn(watch.in_current_span());
    }
}

/// Asks the agent for a session and sees that those who wait for it hear how it went.
async fn ask(app: Arc<App>, tunnel: Arc<Tunnel>, opening: Arc<Opening>) {
    let began = Instant::now();
    let mut outcome = opening.subscribe();
    let request = OpenDataRequest {
        nonce: app.agents.nonces.issue(App::now()),
    };
    let mut control = grpc(&tunnel.control.0);
    let answer = async {
        match control.open_data(request).await {
            // It has dialed, and the session is on its way here.
            Ok(_) => std::future::pending().await,
            Err(status) => NoData::Refused(clipped(status.message().to_owned()).into()),
        }
    };
    let failure = tokio::select! {
        biased;
        _ = outcome.wait_for(Option::is_some) => None,
        failure = timeout(OPEN, answer) => Some(failure.unwrap_or(NoData::Timeout)),
    };
    let result = if let Some(why) = failure {
        tracing::info!(tunnel = %tunnel.id, cause = %why, "no data session");
        tunnel.data.failed(&opening, why);
        Attempt::Failed
    } else {
        tracing::debug!(tunnel = %tunnel.id, took = ?began.elapsed(), "data session open");
        Attempt::Accepted
    };
    app.metrics
        .data_opens
        .get_or_create(&AttemptLabel { outcome: result })
        .inc();
}
