//! Stores what the followers bring: one task, one transaction for all that waits.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use kantaloupe_gpu::inventory::Kind;
use tokio::{
    sync::{mpsc, oneshot},
    time::{self, Instant},
};
use tokio_util::sync::CancellationToken;

use super::events::{Batch, Change};
use crate::{
    app::App,
    directory::Cluster,
    store::{
        StoreError,
        inventory::{Applied, Gone, Update},
    },
};

/// Updates that wait; each belongs to a cluster whose follower waits for it.
pub(super) const QUEUE: usize = 64;
/// Rows of one transaction: it holds the store's only writing connection for some 50 ms.
const MAX_ROWS: usize = 4096;
/// How often the age of what is live is stored, and records are counted: the error that an age may have after a crash.
const TOUCH: Duration = Duration::from_mins(1);

/// An update with who waits for it.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) cluster: Arc<Cluster>,
    pub(super) update: Update,
    pub(super) arrived: Instant,
    /// Set when a part of the stream is not stored; what follows is a state with a gap, and is not stored either.
    pub(super) broken: Arc<AtomicBool>,
    pub(super) done: oneshot::Sender<Result<bool, StoreError>>,
}

/// Stores until `stop`, and then what is left.
pub(super) async fn run(app: &App, mut jobs: mpsc::Receiver<Job>, stop: &CancellationToken) {
    let mut touch = time::interval(TOUCH);
    touch.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
    loop {
        let first = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            job = jobs.recv() => job,
            _ = touch.tick() => {
                touched(app).await;
                continue;
            }
        };
        let Some(first) = first else { break };
        let mut group = vec![first];
        let mut rows = weight(&group[0]);
        while rows < MAX_ROWS
            && group.len() < QUEUE
            && let Ok(job) = jobs.try_recv()
        {
            rows += weight(&job);
            group.push(job);
        }
        store(app, group).await;
    }
    jobs.close();
    while let Ok(job) = jobs.try_recv() {
        store(app, vec![job]).await;
    }
    touched(app).await;
}

fn weight(job: &Job) -> usize {
    job.update.rows.len() + job.update.removals.len()
}

/// Who waits for an update.
struct Waiting {
    cluster: Arc<Cluster>,
    arrived: Instant,
    broken: Arc<AtomicBool>,
    done: oneshot::Sender<Result<bool, StoreError>>,
}

async fn store(app: &App, group: Vec<Job>) {
    let (mut updates, mut waiting) = (Vec::new(), Vec::new());
    for job in group {
        if job.broken.load(Ordering::Relaxed) {
            // The stream is about to end by the part that failed.
            let _ = job.done.send(Err(StoreError::Stopped));
            continue;
        }
        updates.push(job.update);
        waiting.push(Waiting {
            cluster: job.cluster,
            arrived: job.arrived,
            broken: job.broken,
            done: job.done,
        });
    }
    match app.store.apply_inventory(&updates).await {
        Ok(applied) => {
            let done = updates.into_iter().zip(applied).zip(waiting);
            for ((update, applied), waiting) in done {
                let present = committed(app, &waiting.cluster, update, applied, waiting.arrived);
                // Nobody waits any more if the follower was ended; what it brought is stored all the same.
                let _ = waiting.done.send(Ok(present));
            }
        }
        // One of them may be the cause: each alone.
        Err(_) if updates.len() > 1 => {
            for (update, waiting) in updates.into_iter().zip(waiting) {
                if waiting.broken.load(Ordering::Relaxed) {
                    let _ = waiting.done.send(Err(StoreError::Stopped));
                    continue;
                }
                let result = app.store.apply_inventory(std::slice::from_ref(&update)).await;
                let result = result.map(|mut applied| {
                    let applied = applied.pop().unwrap_or(Applied::NoCluster);
                    committed(app, &waiting.cluster, update, applied, waiting.arrived)
                });
                if result.is_err() {
                    app.inventory.metrics.store_failures.inc();
                    waiting.broken.store(true, Ordering::Relaxed);
                }
                let _ = waiting.done.send(result);
            }
        }
        Err(error) => {
            app.inventory.metrics.store_failures.inc();
            if let Some(waiting) = waiting.into_iter().next() {
                waiting.broken.store(true, Ordering::Relaxed);
                let _ = waiting.done.send(Err(error));
            }
        }
    }
}

/// Makes known what was stored; whether there is such a cluster.
fn committed(app: &App, cluster: &Cluster, update: Update, applied: Applied, arrived: Instant) -> bool {
    let Applied::Done { changed, removed } = applied else {
        return false;
    };
    let metrics = &app.inventory.metrics;
    metrics.updates.inc();
    metrics
        .changes
        .inc_by(u64::try_from(changed.len() + removed.len()).unwrap_or_default());
    metrics.apply_seconds.observe(arrived.elapsed().as_secs_f64());
    if update.snapshot {
        metrics.snapshots.inc();
    }
    let inventory = &cluster.inventory;
    for row in update.rows.iter().filter(|row| row.kind == Kind::Cluster) {
        inventory.describe(&row.value);
    }
    if update.complete {
        inventory.stored(&update.epoch, update.revision, update.now);
    } else {
        inventory.stored_part();
    }
    if !app.inventory.is_heard(cluster) {
        return true;
    }
    let changed: std::collections::HashSet<_> = changed.into_iter().collect();
    let gone = |gone: Gone| Change {
        kind: gone.key.0,
        id: gone.key.1,
        namespace: gone.namespace,
        value: None,
    };
    let there = update.rows.into_iter().filter_map(|row| {
        let key = (row.kind, row.id);
        changed.contains(&key).then_some(Change {
            kind: key.0,
            id: key.1,
            namespace: row.facets.namespace,
            value: Some(row.value),
        })
    });
    let changes: Vec<_> = there.chain(removed.into_iter().map(gone)).collect();
    if !changes.is_empty() || update.complete {
        app.inventory.publish(
            cluster,
            Batch {
                cluster_id: update.cluster_id,
                organization_id: Arc::clone(&cluster.organization_id),
                changes,
                state: update.complete,
                deleted: false,
            },
        );
    }
    true
}

/// Stores the age of what is live, and counts.
async fn touched(app: &App) {
    let now = App::now();
    let seen: Vec<_> = app
        .directory
        .all()
        .iter()
        .filter_map(|cluster| Some((cluster.id.to_string(), cluster.inventory.seen_to_store(now)?)))
        .collect();
    if !seen.is_empty()
        && let Err(error) = app.store.inventories_seen(&seen).await
    {
        app.inventory.metrics.store_failures.inc();
        tracing::warn!(%error, "ages of inventories not stored (KTA-SRV-006)");
    }
    match app.store.inventory_totals().await {
        Ok(counts) => {
            for kind in crate::store::inventory::KINDS {
                let records = counts.iter().find(|count| count.kind == kind);
                app.inventory
                    .metrics
                    .count(kind, records.map_or(0, |count| count.records));
            }
        }
        Err(error) => tracing::debug!(%error, "records not counted"),
    }
}

#[cfg(test)]
mod tests {
    use kantaloupe_gpu::inventory::Kind;

    use super::*;
    use crate::{
        app::Gateway,
        config::Config,
        store::inventory::{Facets, Row},
    };

    /// A part of a stream, and what becomes of it.
    fn part(
        cluster: &Arc<Cluster>,
        broken: &Arc<AtomicBool>,
        id: &str,
    ) -> (Job, oneshot::Receiver<Result<bool, StoreError>>) {
        let row = Row {
            kind: Kind::Node,
            id: id.to_owned(),
            // Needs a page of its own.
            value: format!("\"{}\"", "x".repeat(60_000)).into(),
            facets: Facets::default(),
        };
        let (done, stored) = oneshot::channel();
        let job = Job {
            cluster: Arc::clone(cluster),
            update: Update {
                cluster_id: Arc::clone(&cluster.id),
                epoch: "e".to_owned(),
                revision: 1,
                snapshot: false,
                complete: true,
                rows: vec![row],
                removals: vec![],
                now: 1,
            },
            arrived: Instant::now(),
            broken: Arc::clone(broken),
            done,
        };
        (job, stored)
    }

    #[tokio::test]
    async fn after_a_part_that_is_not_stored_none_of_its_stream_is() {
        let dir = tempfile::tempdir().unwrap();
        let gateway = Gateway::start(Config::local(dir.path())).await.unwrap();
        let app = gateway.app();
        let wanted = crate::clusters::Wanted {
            organization_id: crate::store::DEFAULT_ORGANIZATION.to_owned(),
            name: "prod".to_owned(),
            display_name: String::new(),
            profile: "observe".to_owned(),
        };
        let (cluster, _) = crate::clusters::create(&app, wanted).await.unwrap();
        let (good, bad) = (Arc::default(), Arc::default());
        let (first, stored) = part(&cluster, &good, "a");
        store(&app, vec![first]).await;
        assert!(stored.await.unwrap().unwrap());

        let broken: Arc<AtomicBool> = Arc::new(AtomicBool::new(true));
        let (late, refused) = part(&cluster, &broken, "b");
        let (other, stored) = part(&cluster, &good, "c");
        store(&app, vec![late, other]).await;
        assert!(refused.await.unwrap().is_err() && stored.await.unwrap().unwrap());

        app.store.simulate_full_disk().await;
        let (second, fails) = part(&cluster, &bad, "d");
        let (third, refused) = part(&cluster, &bad, "e");
        store(&app, vec![second, third]).await;
        assert!(matches!(fails.await.unwrap(), Err(error) if !matches!(error, StoreError::Stopped)));
        assert!(matches!(refused.await.unwrap(), Err(StoreError::Stopped)));
        assert!(bad.load(Ordering::Relaxed) && !good.load(Ordering::Relaxed));
        let counts = app.store.inventory_counts(&cluster.id).await.unwrap();
        assert_eq!(counts.iter().map(|count| count.records).sum::<i64>(), 2);
    }
}
