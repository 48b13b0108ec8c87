//! Follows one cluster's inventory: one stream at a time, on the newest tunnel that is there.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

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
/// Parts of one stream on their way to the store, each of some 500 records: one transaction's worth is taken in while the one before
/// is stored. All streams together have no more under way than the writer's queue holds and one each.
const AHEAD: usize = 16;
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
    let mut parts = Parts::new(app, cluster, epoch.clone());
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
    let end = loop {
        let update = tokio::select! {
            biased;
            () = stopped(app, cluster) => break Ended::Stop,
            () = better(cluster, tunnel) => break Ended::Better,
            stored = parts.next(), if !parts.waiting.is_empty() => {
                match stored {
                    Ok(()) => continue,
                    Err(ended) => break ended,
                }
            }
            update = updates.message(), if parts.waiting.len() < AHEAD => update,
        };
        let update = match update {
            Ok(Some(update)) => update,
            Ok(None) => break Ended::Lost("the agent ended the stream".to_owned()),
            Err(status) => break ended(&status),
        };
        // Boxed: the stream waits for weeks, and should not pay for this step's state.
        if let Err(ended) = Box::pin(parts.take(update)).await {
            break ended;
        }
    };
    // What was handed over is stored or refused before anybody asks how far the store is.
    let settled = parts.settle().await;
    *synced = parts.live.is_some();
    match (end, settled) {
        (Ended::Stop, _) | (_, Err(Ended::Stop)) => Ended::Stop,
        (end @ (Ended::Store(_) | Ended::Violation(_)), _) | (end, Ok(())) => end,
        (_, Err(settled)) => settled,
    }
}

/// The parts of one stream: checked one by one, stored in order, several under way.
struct Parts<'a> {
    app: &'a Arc<App>,
    cluster: &'a Arc<Cluster>,
    session: Session,
    quota: Quota,
    /// A part could not be stored: none that follows is.
    broken: Arc<AtomicBool>,
    /// Parts that are not stored yet: whether they complete a state, and what became of them.
    waiting: VecDeque<(bool, oneshot::Receiver<Result<bool, StoreError>>)>,
    /// Since the first state that is complete.
    live: Option<InFlight>,
}

impl<'a> Parts<'a> {
    fn new(app: &'a Arc<App>, cluster: &'a Arc<Cluster>, epoch: String) -> Self {
        Self {
            app,
            cluster,
            session: Session::new(epoch),
            quota: Quota::new(app.settings.inventory_records),
            broken: Arc::default(),
            waiting: VecDeque::new(),
            live: None,
        }
    }

    /// Checks a message and hands it to the writer.
    async fn take(&mut self, update: InventoryUpdate) -> Result<(), Ended> {
        let arrived = Instant::now();
        let revision = self.session.check(&update).map_err(Ended::Violation)?;
        let (epoch, snapshot, complete) = (update.epoch.clone(), update.snapshot, update.complete);
        let mut taken = intake::take(update);
        if !self.quota.knows(&taken) {
            // The store is asked, and what is under way is not in it.
            self.settle().await?;
        }
        let admitted = self.quota.admit(&self.app.store, &self.cluster.id, &mut taken);
        admitted.await.map_err(Ended::Store)?;
        report(self.app, self.cluster, &taken.rejected);
        let update = Update {
            cluster_id: Arc::clone(&self.cluster.id),
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
            cluster: Arc::clone(self.cluster),
            update,
            arrived,
            broken: Arc::clone(&self.broken),
            done,
        };
        let sent = self.app.inventory.jobs.send(job).await;
        sent.map_err(|_| Ended::Store(StoreError::Stopped))?;
        self.waiting.push_back((complete, stored));
        Ok(())
    }

    /// Waits until the oldest part is stored.
    async fn next(&mut self) -> Result<(), Ended> {
        let Some((complete, stored)) = self.waiting.front_mut() else {
            return Ok(());
        };
        let complete = *complete;
        // Taken out only now: this may be given up while it waits.
        let stored = stored.await;
        self.waiting.pop_front();
        if !stored
            .map_err(|_| Ended::Store(StoreError::Stopped))?
            .map_err(Ended::Store)?
        {
            return Err(Ended::Stop);
        }
        if complete && self.live.is_none() {
            self.live = Some(InFlight::new(&self.app.inventory.metrics.live));
        }
        Ok(())
    }

    /// Waits until all parts are stored; the first that was not ends it, after all.
    async fn settle(&mut self) -> Result<(), Ended> {
        let mut result = Ok(());
        while !self.waiting.is_empty() {
            let next = self.next().await;
            result = result.and(next);
        }
        result
    }
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

    /// Whether they fit for certain, so that the store need not be asked.
    fn knows(&self, taken: &Taken) -> bool {
        self.used
            .is_some_and(|used| self.fitting(used, taken) == taken.rows.len())
    }

    /// Takes rows out that would be too many.
    async fn admit(&mut self, store: &Store, cluster_id: &str, taken: &mut Taken) -> Result<(), StoreError> {
        let used = match self.used {
            Some(used) if self.knows(taken) => used,
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
