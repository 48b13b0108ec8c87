//! Who did what: an entry before every request to a cluster and one after it, one for each refusal, and one for each
//! change of the gateway itself; each with the hash of the one before.
//!
//! ```text
//!   request ── append ──> journal (write(2), survives the process) ── ingest, every second ──> audit.db ──> API, export
//!                            │ fdatasync before the database has it                             │ retention
//!                            └ segments are deleted once they are in it                         └ leaves an anchor
//! ```

mod chain;
mod compare;
mod entry;
mod ingest;
mod journal;
mod metrics;
mod noise;
mod request;
mod store;
mod verify;
mod walk;

use std::{
    net::IpAddr,
    path::Path,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use kantaloupe_checks::Code;
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, timeout},
};

pub use self::verify::VerifyArgs;
pub(crate) use self::{
    chain::Head,
    entry::{Decision, Entry, Hash, Phase, RecordingNote, text},
    ingest::run,
    journal::JournalError,
    request::{About, Pending, Refused},
    store::{AuditStore, Page, Query},
    verify::{VerifyError, verify},
};
use self::{
    journal::{Journal, Recovered},
    metrics::{AuditMetrics, EntryLabel},
    noise::{Noise, Verdict},
};
use crate::{
    app::App,
    config::{AuditConfig, AuditFailure},
    problem::ApiError,
    start::StartError,
};

/// Folder of the journal in the data folder.
const FOLDER: &str = "audit";
/// So many entries do not wait for the next second: a batch that is worth a transaction.
const WAKE: u64 = 512;
/// Longest wait of a query for the newest entries.
const FLUSH: Duration = Duration::from_secs(2);

/// The audit.
#[derive(Debug)]
pub(crate) struct Audit {
    journal: Journal,
    pub(crate) store: AuditStore,
    config: AuditConfig,
    /// Entries that could not be written since the last that could.
    lost: AtomicU64,
    noise: Mutex<Noise>,
    wake: Notify,
    /// The last entry in the database.
    stored: watch::Sender<u64>,
    pub(crate) metrics: AuditMetrics,
}

/// Something that is not a request to a cluster. Texts that do not apply are empty, as is a status of 0.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Event<'a> {
    /// Name of the organisation that it belongs to, and that may read of it.
    pub(crate) organization: &'a str,
    /// Who did it.
    pub(crate) user: &'a str,
    /// Public id of the token.
    pub(crate) token: &'a str,
    pub(crate) source: Option<IpAddr>,
    /// Id of the cluster that it is about.
    pub(crate) cluster: &'a str,
    /// Such as create, update, delete, login.
    pub(crate) verb: &'a str,
    /// Such as users, tokens, bindings, clusters, sessions.
    pub(crate) resource: &'a str,
    /// Name or id of what it is about.
    pub(crate) name: &'a str,
    pub(crate) decision: Decision,
    pub(crate) status: u16,
    /// What changed, or why it was refused. Never a secret.
    pub(crate) reason: &'a str,
}

/// Writes an entry for something that is not a request to a cluster: a change of users, bindings, clusters or tokens, a
/// login. Fails, with what the caller is to be told, if it cannot be written and such requests are to be refused; so it
/// comes before the change.
pub(crate) fn record(app: &App, event: &Event<'_>) -> Result<(), ApiError> {
    let source = event.source.map(|source| source.to_string()).unwrap_or_default();
    app.audit.admit(&mut Entry {
        organization: text(event.organization),
        user: text(event.user),
        token: text(event.token),
        source: source.into(),
        cluster: text(event.cluster),
        verb: text(event.verb),
        resource: text(event.resource),
        name: text(event.name),
        decision: event.decision,
        status: (event.status > 0).then_some(event.status),
        reason: text(event.reason),
        ..Entry::new(Phase::Event)
    })?;
    Ok(())
}

impl From<JournalError> for ApiError {
    fn from(_: JournalError) -> Self {
        // What the system said is in the log, for the operator.
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            Code::AUDIT_001,
            "The gateway's audit cannot be written",
        )
    }
}

impl Audit {
    /// Opens journal and database, and mends what a crash left.
    pub(crate) async fn open(data_dir: &Path, config: AuditConfig) -> Result<Self, StartError> {
        let folder = data_dir.join(FOLDER);
        let store = AuditStore::open(data_dir)
            .await
            .map_err(|error| StartError::audit_store(data_dir, &error))?;
        let at_start = async {
            let stored = store
                .head()
                .await
                .map_err(|e| StartError::audit_store(data_dir, &e))?;
            let first = Journal::first(&folder).map_err(|e| StartError::audit_journal(&folder, &e))?;
            let before = match first {
                Some(first) => store.known(first.saturating_sub(1)).await,
                None => Ok(Some(stored)),
            };
            let before = before.map_err(|e| StartError::audit_store(data_dir, &e))?;
            let opened = Journal::open(&folder, config.max_backlog, stored, before);
            let (journal, recovered) = opened.map_err(|e| StartError::audit_journal(&folder, &e))?;
            Ok((journal, recovered, stored.seq))
        };
        let (journal, recovered, stored) = match at_start.await {
            Ok(opened) => opened,
            Err(error) => {
                store.close().await;
                return Err(error);
            }
        };
        let audit = Self {
            journal,
            store,
            config,
            lost: AtomicU64::new(0),
            noise: Mutex::default(),
            wake: Notify::new(),
            stored: watch::Sender::new(stored),
            metrics: AuditMetrics::default(),
        };
        audit.started(&recovered);
        Ok(audit)
    }

    /// Begins the new process's part of the chain: an entry without an end before it was ended by the process's own.
    fn started(&self, recovered: &Recovered) {
        for note in &recovered.notes {
            tracing::warn!(%note, "the audit was not left as it should be (KTA-AUDIT-002)");
        }
        let mut reason = concat!("version ", env!("CARGO_PKG_VERSION")).to_owned();
        for note in &recovered.notes {
            reason.push_str("; ");
            reason.push_str(note);
        }
        self.gateway("start", &reason);
    }

    /// The last entry of a process that ends by itself.
    pub(crate) fn stopped(&self) {
        self.gateway("stop", "");
    }

    /// An entry about the gateway itself.
    fn gateway(&self, verb: &'static str, reason: &str) {
        self.note(&mut Entry {
            verb: verb.into(),
            resource: "gateway".into(),
            reason: reason.to_owned().into(),
            ..Entry::new(Phase::Event)
        });
    }

    /// Writes an entry before something is done. An error only if it then must not be done.
    pub(crate) fn admit(&self, entry: &mut Entry<'_>) -> Result<(), JournalError> {
        match self.append(entry) {
            Err(error) if self.config.failure == AuditFailure::Refuse => Err(error),
            _ => Ok(()),
        }
    }

    /// Writes an entry about something that has been done. One that cannot be written is counted, and a later entry says so.
    pub(crate) fn note(&self, entry: &mut Entry<'_>) {
        let _counted = self.append(entry);
    }

    /// As [`Audit::note`]; whether it was written.
    pub(crate) fn noted(&self, entry: &mut Entry<'_>) -> bool {
        self.append(entry).is_ok()
    }

    /// What is older than this has no entries any more, or is to have none.
    pub(crate) async fn kept_since(&self) -> Option<Timestamp> {
        let days = i64::from(self.config.retention_days);
        let young = (days > 0)
            .then(|| {
                Self::now()
                    .saturating_sub(SignedDuration::from_hours(24 * days))
                    .ok()
            })
            .flatten();
        // Entries that are too many go before their time.
        let first = self.store.first_after_retention().await.ok().flatten();
        young.max(first)
    }

    /// [`Audit::refused_stranger`] of a login that failed. Texts are cut as those of strangers.
    pub(crate) fn refused_login(&self, organization: &str, user: &str, source: IpAddr, reason: &str) {
        self.refused_stranger(&mut Entry {
            organization: text(organization),
            user: text(user),
            source: source.to_canonical().to_string().into(),
            verb: "login".into(),
            resource: "sessions".into(),
            decision: Decision::Deny,
            reason: text(reason),
            ..Entry::new(Phase::Event)
        });
    }

    /// Writes a refusal of somebody who has shown no valid token: of too many only their number.
    pub(crate) fn refused_stranger(&self, entry: &mut Entry<'_>) {
        let verdict = self.noise.lock().look(Instant::now());
        match verdict {
            Verdict::Write { summed } => {
                if summed > 0 {
                    entry.reason = format!(
                        "{}; {summed} more refusals without a valid token were not written",
                        entry.reason
                    )
                    .into();
                }
                self.note(entry);
            }
            Verdict::Sum => {
                self.metrics.summed.inc();
            }
        }
    }

    fn append(&self, entry: &mut Entry<'_>) -> Result<(), JournalError> {
        if !self.config.enabled {
            return Ok(());
        }
        let begun = Instant::now();
        let head = match self.journal.append(entry) {
            Ok(head) => head,
            Err(error) => {
                self.metrics.lost.inc();
                if self.lost.fetch_add(1, Relaxed) == 0 {
                    tracing::error!(%error, "an entry of the audit could not be written (KTA-AUDIT-001)");
                }
                return Err(error);
            }
        };
        self.metrics.append_seconds.observe(begun.elapsed().as_secs_f64());
        let (phase, decision) = (entry.phase, entry.decision);
        self.metrics
            .entries
            .get_or_create(&EntryLabel { phase, decision })
            .inc();
        if head.seq.is_multiple_of(WAKE) {
            self.wake.notify_one();
        }
        if self.lost.load(Relaxed) > 0 {
            self.tell_lost();
        }
        Ok(())
    }

    /// Says in the audit how many entries are missing, once entries can be written again.
    fn tell_lost(&self) {
        let lost = self.lost.swap(0, Relaxed);
        let mut gap = Entry {
            verb: "lost".into(),
            resource: "audit".into(),
            reason: format!("{lost} entries before this one could not be written").into(),
            ..Entry::new(Phase::Event)
        };
        if lost > 0 && self.journal.append(&mut gap).is_err() {
            self.lost.fetch_add(lost, Relaxed);
        }
    }

    /// The last entry.
    pub(crate) fn head(&self) -> Head {
        self.journal.head()
    }

    /// Waits until what has been written is in the database, so that a query finds it; not for long.
    pub(crate) async fn flush(&self) {
        let wanted = self.journal.head().seq;
        let mut stored = self.stored.subscribe();
        self.wake.notify_one();
        let _ = timeout(FLUSH, stored.wait_for(|stored| *stored >= wanted)).await;
    }

    fn now() -> Timestamp {
        Timestamp::now()
    }
}

#[cfg(test)]
mod tests;
