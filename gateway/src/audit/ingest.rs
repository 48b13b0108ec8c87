//! Brings what is in the journal into the database, in batches, and removes what is too old or too much.

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use tokio::{
    task::spawn_blocking,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use super::{Audit, journal::Cursor};
use crate::store::StoreError;

/// How long an entry may wait for the disk and the database: what a power cut may take.
const INTERVAL: Duration = Duration::from_secs(1);
/// Wait between attempts while the database or the disk fails.
const RETRY: Duration = Duration::from_secs(5);
/// How often old entries are looked for.
const RETENTION: Duration = Duration::from_hours(1);
/// Entries of one removal: it holds the database for some ten milliseconds.
const REMOVE: u64 = 5000;
/// A segment of the journal is not kept longer than this beyond its last entry, so that nothing outlives its retention there.
const SEGMENT_AGE: SignedDuration = SignedDuration::from_hours(24);

/// Why entries are not in the database yet.
#[derive(Debug, thiserror::Error)]
enum IngestError {
    #[error("the journal cannot be read: {0}")]
    Journal(#[from] std::io::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Works until `stop`, and then brings in what is left.
pub(crate) async fn run(audit: Arc<Audit>, stop: CancellationToken) {
    let mut cursor = Cursor {
        segment: 0,
        offset: 0,
    };
    let mut failing = false;
    let mut retention: Option<Instant> = None;
    loop {
        let pause = if failing { RETRY } else { INTERVAL };
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            () = audit.wake.notified(), if !failing => {}
            () = sleep(pause) => {}
        }
        let mut result = bring(&audit, &mut cursor).await;
        if result.is_ok() && retention.is_none_or(|last| last.elapsed() >= RETENTION) {
            retention = Some(Instant::now());
            result = retain(&audit).await;
        }
        match result {
            Ok(()) => {
                if std::mem::take(&mut failing) {
                    tracing::info!("the audit's database is written again");
                }
            }
            Err(error) => {
                audit.metrics.store_failures.inc();
                if !std::mem::replace(&mut failing, true) {
                    tracing::error!(%error, "entries wait in the audit's journal (KTA-SRV-006)");
                }
            }
        }
    }
    if let Err(error) = bring(&audit, &mut cursor).await {
        tracing::warn!(%error, "the last entries stay in the audit's journal until the next start");
    }
}

/// Brings in all that is there at the beginning. What is written meanwhile waits for the next time, or under load each transaction would
/// have the few entries that the one before it took.
async fn bring(audit: &Arc<Audit>, cursor: &mut Cursor) -> Result<(), IngestError> {
    let goal = audit.journal.head().seq;
    loop {
        let (reading, from) = (Arc::clone(audit), *cursor);
        #[expect(
            clippy::disallowed_methods,
            reason = "one at a time: only this task reads, and a stuck disk must not hold a worker"
        )]
        let read = spawn_blocking(move || reading.journal.read(from)).await;
        // The reading itself does not panic; at the end of the runtime it is not run.
        let mut batch = read.map_err(std::io::Error::other)??;
        let metrics = &audit.metrics;
        let Some((last, _)) = batch.lines.last() else {
            *cursor = batch.cursor;
            brought(audit);
            return Ok(());
        };
        let (last, stored) = (*last, *audit.stored.borrow());
        batch.lines.retain(|(seq, _)| *seq > stored);
        if !batch.lines.is_empty() {
            audit.store.insert(&batch.lines).await?;
            metrics.batches.inc();
        }
        let stored = stored.max(last);
        *cursor = batch.cursor;
        metrics.stored.set(signed(stored));
        audit.stored.send_replace(stored);
        // A segment that could not be deleted is deleted after the next batch.
        if let Err(error) = audit.journal.stored(batch.bytes, stored) {
            tracing::warn!(%error, "a segment of the audit's journal could not be deleted");
        }
        if stored >= goal {
            brought(audit);
            return Ok(());
        }
    }
}

fn brought(audit: &Audit) {
    audit.metrics.head.set(signed(audit.journal.head().seq));
    audit.metrics.backlog_bytes.set(signed(audit.journal.backlog()));
}

/// Removes what is too old or too much, and says so in the chain.
async fn retain(audit: &Audit) -> Result<(), IngestError> {
    let now = Audit::now();
    if let Err(error) = audit
        .journal
        .leave_older_than(now.saturating_sub(SEGMENT_AGE).unwrap_or(now))
    {
        tracing::warn!(%error, "no new segment of the audit's journal");
    }
    let config = &audit.config;
    if config.retention_days > 0 {
        let days = SignedDuration::from_hours(24 * i64::from(config.retention_days));
        let time = now.saturating_sub(days).unwrap_or(Timestamp::MIN);
        if let Some(last) = audit.store.last_before(&format!("{time:.3}")).await? {
            let why = format!("older than {} days", config.retention_days);
            remove(audit, last, now, &why).await?;
        }
    }
    let bytes = audit.store.bytes().await?;
    if bytes > config.max_bytes
        && let Some(first) = audit.store.first().await?
    {
        // So much of the entries as is too much of the bytes, and some more, so that it is not the same again in an hour.
        let last = *audit.stored.borrow();
        let count = last.saturating_sub(first) + 1;
        let surplus = u128::from(count) * u128::from(bytes - config.max_bytes) / u128::from(bytes);
        let surplus = u64::try_from(surplus).unwrap_or(u64::MAX) + count / 20 + 1;
        let why = format!("the database has more than {} MiB", config.max_bytes >> 20);
        remove(
            audit,
            (first + surplus - 1).min(last.saturating_sub(1)),
            now,
            &why,
        )
        .await?;
    }
    Ok(())
}

async fn remove(audit: &Audit, last: u64, now: Timestamp, why: &str) -> Result<(), IngestError> {
    let Some(first) = audit.store.first().await?.filter(|first| *first <= last) else {
        return Ok(());
    };
    let mut upto = first - 1;
    while upto < last {
        upto = (upto + REMOVE).min(last);
        let removed = audit.store.remove_through(upto, &format!("{now:.3}")).await?;
        audit.metrics.removed.inc_by(removed);
    }
    tracing::info!(first, last, why, "old entries of the audit removed");
    audit.gateway(
        "remove",
        &format!("retention removed entries {first} to {last}: {why}"),
    );
    Ok(())
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
