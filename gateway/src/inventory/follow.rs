//! Follows one cluster's inventory: one stream at a time, on the newest tunnel that is there.

use std::{sync::Arc, time::Duration};

use backon::BackoffBuilder as _;
use kantaloupe_proto::pb::{InventoryUpdate, WatchInventoryRequest};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep, timeout},
};
use tonic::Code;
use tracing::Instrument as _;

use super::{
    intake::{self, Rejection, Session, Taken},
    live::End,
    writer::Job,
};
use crate::{
    agents::Tunnel,
    app::App,
    directory::Cluster,
    metrics::InFlight,
    store::{Store, StoreError, inventory::Update},
};

/// Waits between attempts on a tunnel that is there: an agent that ends its streams, or a store that fails.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_mins(1);
/// How often the choice of the tunnel is looked at again: a connection that breaks tells nobody.
const LOOK: Duration = Duration::from_secs(5);
/// Bytes of one cluster's records.
const MAX_BYTES: i64 = 512 << 20;

/// A tunnel of this cluster came or went.
pub(crate) fn wake(app: &Arc<App>, cluster: &Arc<Cluster>) {
    if cluster.follower.claim() {
        let task = follow(Arc::clone(app), Arc::clone(cluster));
        app.agent_tasks
            .spawn(task.instrument(tracing::info_span!("inventory", cluster = %cluster.id)));
    }
    cluster.follower.changed.notify_one();
}

/// How a stream ended.
#[derive(Debug)]
enum Ended {
    /// The agent has no such service.
    Unsupported,
    /// A tunnel that is newer, or has a connection while this one has none.
    Better,
    /// The stream or its tunnel ended.
    Lost(String),
    /// The agent does not keep the rules.
    Violation(intake::Violation),
    /// A message is too large or unreadable.
    Unreadable(String),
    Store(StoreError),
    /// The cluster or the gateway ends.
    Stop,
}

/// What to do after a stream.
enum Then {
    /// Look for a tunnel at once.
    Next,
    /// Try again after a while, or at once if there is another tunnel.
    Pause,
    Stop,
}

async fn follow(app: Arc<App>, cluster: Arc<Cluster>) {
    let inventory = &cluster.inventory;
    // Enrolled again, the cluster may have a follower of its former key that ends in this moment.
    let _only = inventory.only.lock().await;
    let waits = backon::ExponentialBuilder::new()
        .with_min_delay(FIRST_WAIT)
        .with_max_delay(LONGEST_WAIT)
        .with_jitter()
        .without_max_times();
    let mut wait = waits.build();
    let mut unsupported = None;
    loop {
        let Some(tunnel) = best(&cluster) else {
            inventory.end(End::Lost, App::now());
            if cluster.follower.release_if(|| best(&cluster).is_none()) {
                return;
            }
            continue;
        };
        let then = if unsupported.as_ref() == Some(&tunnel.id) {
            // Asking it again would not help.
            tokio::select! {
                () = stopped(&app, &cluster) => Then::Stop,
                () = better(&cluster, &tunnel) => Then::Next,
                () = tunnel.control_closed() => Then::Next,
            }
        } else {
            let mut synced = false;
            let ended = stream(&app, &cluster, &tunnel, &mut synced).await;
            if synced {
                wait = waits.build();
            }
            if matches!(ended, Ended::Unsupported) {
                unsupported = Some(tunnel.id.clone());
            }
            let (end, then) = settle(&app, &tunnel, ended);
            inventory.end(end, App::now());
            app.inventory.announce(&cluster);
            then
        };
        match then {
            Then::Stop => break,
            Then::Next => continue,
            Then::Pause => {}
        }
        let pause = wait.next().unwrap_or(LONGEST_WAIT);
        tokio::select! {
            () = stopped(&app, &cluster) => break,
            () = better(&cluster, &tunnel) => {}
            () = tunnel.control_closed() => {}
            () = sleep(pause) => {}
        }
    }
    // Whoever follows the cluster's next key claims anew.
    cluster.follower.release_if(|| true);
}

/// What a stream's end means for the inventory, and what follows.
fn settle(app: &App, tunnel: &Tunnel, ended: Ended) -> (End, Then) {
    let failed = |why: String| {
        tracing::warn!(%why, "inventory stream given up (KTA-SRV-011)");
        app.inventory.metrics.broken.inc();
        (End::Failed(format!("{why} (KTA-SRV-011)")), Then::Pause)
    };
    match ended {
        Ended::Stop | Ended::Store(StoreError::Stopped) => (End::Lost, Then::Stop),
        Ended::Better => (End::Lost, Then::Next),
        Ended::Unsupported => {
            tracing::info!(tunnel = %tunnel.id, "this release of the agent has no inventory (KTA-SRV-004)");
            (End::Unsupported, Then::Next)
        }
        Ended::Lost(reason) => {
            tracing::debug!(tunnel = %tunnel.id, reason, "inventory stream ended");
            let then = if tunnel.is_open() { Then::Pause } else { Then::Next };
            (End::Lost, then)
        }
        Ended::Violation(violation) => failed(violation.to_string()),
        Ended::Unreadable(reason) => failed(reason),
        Ended::Store(error) => {
            tracing::error!(%error, "inventory not stored; trying again (KTA-SRV-006)");
            let why = "The gateway could not store it (KTA-SRV-006)".to_owned();
            (End::Failed(why), Then::Pause)
        }
    }
}

/// The newest tunnel with a connection, or else the newest that has not ended.
fn best(cluster: &Cluster) -> Option<Arc<Tunnel>> {
    let tunnels = &cluster.tunnels;
    tunnels
        .newest(|tunnel| tunnel.is_open() && tunnel.control_down_since().is_none())
        .or_else(|| tunnels.newest(|tunnel| tunnel.is_open()))
}

/// Waits until another tunnel is the one to follow.
async fn better(cluster: &Cluster, than: &Tunnel) {
    loop {
        if best(cluster).is_some_and(|best| best.id != than.id) {
            return;
        }
        let _ = timeout(LOOK, cluster.follower.changed.notified()).await;
    }
}

async fn stopped(app: &App, cluster: &Cluster) {
    tokio::select! {
        () = cluster.cut.cancelled() => {}
        () = app.stop.hard.cancelled() => {}
    }
}

/// One stream, from the call to its end.
async fn stream(app: &Arc<App>, cluster: &Arc<Cluster>, tunnel: &Arc<Tunnel>, synced: &mut bool) -> Ended {
    let (epoch, revision) = cluster.inventory.begin(tunnel);
    app.inventory.announce(cluster);
    let mut quota = Quota::new(app.settings.inventory_records);
    let mut session = Session::new(epoch.clone());
    let mut client = tunnel.inventory(intake::MAX_MESSAGE);
    let ended = |status: &tonic::Status| match status.code() {
        Code::Unimplemented => Ended::Unsupported,
        Code::OutOfRange | Code::Internal if tunnel.is_open() => {
            Ended::Unreadable(status.message().to_owned())
        }
        _ => Ended::Lost(status.to_string()),
    };
    // No timeouts: a tunnel that answers nothing ends by itself, and an agent that only keeps silent keeps nothing but its own stream.
    let call = Box::pin(client.watch(WatchInventoryRequest { epoch, revision }));
    let answer = tokio::select! {
        biased;
        () = stopped(app, cluster) => return Ended::Stop,
        () = better(cluster, tunnel) => return Ended::Better,
        answer = call => answer,
    };
    let mut updates = match answer {
        Ok(answer) => answer.into_inner(),
        Err(status) => return ended(&status),
    };
    let mut live = None;
    loop {
        let update = tokio::select! {
            biased;
            () = stopped(app, cluster) => return Ended::Stop,
            () = better(cluster, tunnel) => return Ended::Better,
            update = updates.message() => update,
        };
        let update = match update {
            Ok(Some(update)) => update,
            Ok(None) => return Ended::Lost("the agent ended the stream".to_owned()),
            Err(status) => return ended(&status),
        };
        let complete = update.complete;
        // Boxed: the stream waits for weeks, and should not pay for this step's state.
        match Box::pin(store(app, cluster, &mut session, &mut quota, update)).await {
            Ok(true) => {}
            Ok(false) => return Ended::Stop,
            Err(ended) => return ended,
        }
        if complete && live.is_none() {
            *synced = true;
            live = Some(InFlight::new(&app.inventory.metrics.live));
        }
    }
}

/// Checks a message and stores it; false if there is no such cluster any more.
async fn store(
    app: &Arc<App>,
    cluster: &Arc<Cluster>,
    session: &mut Session,
    quota: &mut Quota,
    update: InventoryUpdate,
) -> Result<bool, Ended> {
    let arrived = Instant::now();
    let revision = session.check(&update).map_err(Ended::Violation)?;
    let (epoch, snapshot, complete) = (update.epoch.clone(), update.snapshot, update.complete);
    let mut taken = intake::take(update);
    quota
        .admit(&app.store, &cluster.id, &mut taken)
        .await
        .map_err(Ended::Store)?;
    report(app, cluster, &taken.rejected);
    let update = Update {
        cluster_id: Arc::clone(&cluster.id),
        epoch,
        revision,
        snapshot,
        complete,
        rows: taken.rows,
        removals: taken.removals,
        now: App::now(),
    };
    let (done, stored) = oneshot::channel();
    let job = Job {
        cluster: Arc::clone(cluster),
        update,
        arrived,
        done,
    };
    let stopped = |_| Ended::Store(StoreError::Stopped);
    app.inventory
        .jobs
        .send(job)
        .await
        .map_err(|_| Ended::Store(StoreError::Stopped))?;
    stored.await.map_err(stopped)?.map_err(Ended::Store)
}

/// Counts what was not taken; the first of a stream is logged.
fn report(app: &App, cluster: &Cluster, rejected: &[(Rejection, String)]) {
    let Some((reason, id)) = rejected.first() else {
        return;
    };
    for (reason, _) in rejected {
        app.inventory.metrics.reject(*reason);
    }
    let count = u64::try_from(rejected.len()).unwrap_or(u64::MAX);
    let reason = reason.as_str();
    if cluster.inventory.rejected(count, format!("{reason}: {id}")) {
        tracing::warn!(
            reason,
            id,
            "a record of the agent was not taken; further ones are only counted (KTA-SRV-011)"
        );
    }
}

/// How much a cluster may have. The figures are upper bounds, since what is replaced is counted twice; before they refuse anything
/// the store is asked.
#[derive(Debug)]
struct Quota {
    most: i64,
    /// Records and bytes; not known before they are first needed.
    used: Option<(i64, i64)>,
}

impl Quota {
    fn new(most: u32) -> Self {
        Self {
            most: most.into(),
            used: None,
        }
    }

    /// Takes rows out that would be too many.
    async fn admit(&mut self, store: &Store, cluster_id: &str, taken: &mut Taken) -> Result<(), StoreError> {
        let used = match self.used {
            Some(used) if self.fitting(used, taken) == taken.rows.len() => used,
            _ => {
                let counts = store.inventory_counts(cluster_id).await?;
                counts.iter().fold((0, 0), |(records, bytes), count| {
                    (records + count.records, bytes + count.bytes)
                })
            }
        };
        let fitting = self.fitting(used, taken);
        for row in taken.rows.split_off(fitting) {
            taken.rejected.push((Rejection::Quota, row.id.clone()));
            taken.removals.push((row.kind, row.id));
        }
        let bytes = taken.rows.iter().fold(0, |sum, row| sum + size(&row.value));
        let records = i64::try_from(taken.rows.len()).unwrap_or(i64::MAX);
        self.used = Some((used.0 + records, used.1 + bytes));
        Ok(())
    }

    /// How many of the rows fit.
    fn fitting(&self, (mut records, mut bytes): (i64, i64), taken: &Taken) -> usize {
        taken
            .rows
            .iter()
            .take_while(|row| {
                records += 1;
                bytes += size(&row.value);
                records <= self.most && bytes <= MAX_BYTES
            })
            .count()
    }
}

fn size(value: &str) -> i64 {
    i64::try_from(value.len()).unwrap_or(i64::MAX)
}
