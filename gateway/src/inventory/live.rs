//! How far one cluster's inventory is and how old. No I/O.

use std::sync::{Arc, OnceLock};

use kantaloupe_gpu::inventory::{Source, SourceState};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{Mutex as AsyncMutex, Notify, broadcast},
    time::Instant,
};

use super::events::{self, Batch};
use crate::{agents::Tunnel, store::inventory::InventoryRow};

/// The agents' source of live use.
const PROMETHEUS: &str = "prometheus";

/// In which state an inventory is, as users see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Status {
    /// Every change is here as soon as the agent sees it.
    Live,
    /// An agent is connected and brings it up to date; until then it is as old as it says.
    Syncing,
    /// The agent's connection is interrupted, or no agent is connected.
    Offline,
    /// The agent is of a release that has no inventory.
    Unsupported,
    /// What the agent sends cannot be taken or stored; `detail` says why.
    Failing,
}

/// What is known of an inventory at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) status: Status,
    pub(crate) detail: Option<String>,
    /// Until when it was true, in Unix seconds; `None` if there is none.
    pub(crate) as_of: Option<i64>,
    pub(crate) updated_at: Option<i64>,
    pub(crate) epoch: String,
    pub(crate) revision: i64,
    /// Whether parts of a newer state are in it.
    pub(crate) partial: bool,
    /// Records of the agent that were not taken since its stream began, and one of them.
    pub(crate) rejected: u64,
    pub(crate) rejected_example: Option<String>,
}

#[derive(Clone, Debug, Default)]
enum Phase {
    #[default]
    Idle,
    Syncing,
    Live,
    Unsupported,
    Failing(String),
}

/// How far the store is.
#[derive(Clone, Debug, Default)]
struct Kept {
    epoch: String,
    revision: i64,
    partial: bool,
    updated_at: i64,
    seen_at: i64,
}

#[derive(Debug, Default)]
struct State {
    phase: Phase,
    kept: Option<Kept>,
    /// The tunnel that is followed.
    tunnel: Option<Arc<Tunnel>>,
    rejected: u64,
    rejected_example: Option<String>,
    /// The last age that went to the store.
    stored_seen: i64,
    /// Why there is no live use of any device, if so: a code.
    unmeasured: Option<String>,
}

/// One cluster's inventory. It outlives the cluster's keys.
#[derive(Debug, Default)]
pub(crate) struct Inventory {
    state: Mutex<State>,
    /// Changes of this cluster, since somebody first listened: most clusters have no listener.
    events: OnceLock<broadcast::Sender<Arc<Batch>>>,
    /// Held by the one who follows: a cluster that was enrolled again may have two for a moment.
    pub(super) only: AsyncMutex<()>,
}

impl Inventory {
    /// What the store has, at the start of the gateway.
    pub(crate) fn restore(&self, row: InventoryRow) {
        // Without a complete state there is nothing to show an age of.
        if row.updated_at == 0 {
            return;
        }
        if let Some(cluster) = &row.cluster {
            self.describe(cluster);
        }
        self.state.lock().kept = Some(Kept {
            epoch: row.epoch,
            revision: row.revision,
            partial: row.partial != 0,
            updated_at: row.updated_at,
            seen_at: row.seen_at,
        });
    }

    /// Takes what the cluster's own record tells of its sources.
    pub(super) fn describe(&self, record: &str) {
        #[derive(Deserialize)]
        struct Sources {
            #[serde(default)]
            sources: Vec<Source>,
        }
        let sources = serde_json::from_str::<Sources>(record).map(|record| record.sources);
        let mut sources = sources.unwrap_or_default().into_iter();
        let prometheus = sources.find(|source| source.name == PROMETHEUS && source.state != SourceState::Ok);
        self.state.lock().unmeasured = prometheus.and_then(|source| source.code);
    }

    /// Why there is no live use of any device of the cluster, if so: a code.
    pub(crate) fn unmeasured(&self) -> Option<String> {
        self.state.lock().unmeasured.clone()
    }

    /// What is known at `now`.
    pub(crate) fn view(&self, now: i64) -> View {
        let state = self.state.lock();
        let down = state
            .tunnel
            .as_ref()
            .and_then(|tunnel| tunnel.control_down_since())
            .map(elapsed);
        let kept = state.kept.as_ref();
        let (status, detail) = match (&state.phase, down) {
            (Phase::Idle, _) | (Phase::Live | Phase::Syncing, Some(_)) => (Status::Offline, None),
            (Phase::Live, None) => (Status::Live, None),
            (Phase::Syncing, None) => (Status::Syncing, None),
            (Phase::Unsupported, _) => (Status::Unsupported, None),
            (Phase::Failing(why), _) => (Status::Failing, Some(why.clone())),
        };
        let as_of = kept.map(|kept| match (&state.phase, down) {
            (Phase::Live, None) => now,
            (Phase::Live, Some(seconds)) => kept.seen_at.max(now - seconds),
            _ => kept.seen_at,
        });
        View {
            status,
            detail,
            as_of,
            updated_at: kept.map(|kept| kept.updated_at),
            epoch: kept.map(|kept| kept.epoch.clone()).unwrap_or_default(),
            revision: kept.map_or(0, |kept| kept.revision),
            partial: kept.is_some_and(|kept| kept.partial),
            rejected: state.rejected,
            rejected_example: state.rejected_example.clone(),
        }
    }

    /// Until when it was known to be true, if the store does not have it yet.
    pub(super) fn seen_to_store(&self, now: i64) -> Option<i64> {
        let seen = self.view(now).as_of?;
        let mut state = self.state.lock();
        (std::mem::replace(&mut state.stored_seen, seen) < seen).then_some(seen)
    }

    /// What to ask the agent for: epoch and revision of a state that is complete, or nothing.
    pub(super) fn begin(&self, tunnel: &Arc<Tunnel>) -> (String, u64) {
        let mut state = self.state.lock();
        state.phase = Phase::Syncing;
        state.tunnel = Some(Arc::clone(tunnel));
        state.rejected = 0;
        state.rejected_example = None;
        match &state.kept {
            Some(kept) if !kept.partial => (
                kept.epoch.clone(),
                u64::try_from(kept.revision).unwrap_or_default(),
            ),
            _ => (String::new(), 0),
        }
    }

    /// Parts of a newer state are stored.
    pub(super) fn stored_part(&self) {
        if let Some(kept) = &mut self.state.lock().kept {
            kept.partial = true;
        }
    }

    /// A complete state is stored.
    pub(super) fn stored(&self, epoch: &str, revision: i64, now: i64) {
        let mut state = self.state.lock();
        state.kept = Some(Kept {
            epoch: epoch.to_owned(),
            revision,
            partial: false,
            updated_at: now,
            seen_at: now,
        });
        // Not if the stream ended while its last part was being stored.
        if matches!(state.phase, Phase::Syncing) {
            state.phase = Phase::Live;
        }
    }

    /// Listens to changes from now on.
    pub(crate) fn listen(&self) -> broadcast::Receiver<Arc<Batch>> {
        let events = self
            .events
            .get_or_init(|| broadcast::Sender::new(events::CLUSTER_BACKLOG));
        events.subscribe()
    }

    /// Whether somebody listens.
    pub(super) fn is_listened_to(&self) -> bool {
        self.events
            .get()
            .is_some_and(|events| events.receiver_count() > 0)
    }

    /// Tells who listens.
    pub(super) fn tell(&self, batch: Arc<Batch>) {
        if let Some(events) = self.events.get() {
            let _ = events.send(batch);
        }
    }

    /// Records were not taken; whether they are the first of this stream.
    pub(super) fn rejected(&self, count: u64, example: String) -> bool {
        let mut state = self.state.lock();
        let first = state.rejected == 0;
        state.rejected += count;
        state.rejected_example.get_or_insert(example);
        first
    }

    /// The stream ended at `now`; `failing` if it was given up.
    pub(super) fn end(&self, end: End, now: i64) {
        let seen = self.view(now).as_of;
        let mut state = self.state.lock();
        if let (Some(kept), Some(seen)) = (&mut state.kept, seen) {
            kept.seen_at = seen;
        }
        state.tunnel = None;
        state.phase = match end {
            End::Lost => Phase::Idle,
            End::Unsupported => Phase::Unsupported,
            End::Failed(why) => Phase::Failing(why),
        };
    }
}

/// Whether somebody follows, and what wakes him. Each key of a cluster has one.
#[derive(Debug, Default)]
pub(crate) struct Follower {
    runs: Mutex<bool>,
    /// The cluster's tunnels changed.
    pub(super) changed: Notify,
}

impl Follower {
    /// Claims the duty to follow; false if somebody has it.
    pub(super) fn claim(&self) -> bool {
        !std::mem::replace(&mut *self.runs.lock(), true)
    }

    /// Gives the duty back if `idle`; decided under the lock, so that no tunnel is missed.
    pub(super) fn release_if(&self, idle: impl FnOnce() -> bool) -> bool {
        let mut runs = self.runs.lock();
        if idle() {
            *runs = false;
        }
        !*runs
    }
}

/// How a stream ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    Lost,
    Unsupported,
    Failed(String),
}

fn elapsed(since: Instant) -> i64 {
    i64::try_from(since.elapsed().as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(updated_at: i64) -> InventoryRow {
        InventoryRow {
            cluster_id: "c-1".to_owned(),
            epoch: "e".to_owned(),
            revision: 7,
            partial: 0,
            updated_at,
            seen_at: 120,
            cluster: None,
        }
    }

    #[test]
    fn without_a_complete_state_there_is_no_age() {
        let inventory = Inventory::default();
        inventory.restore(row(0));
        let view = inventory.view(1000);
        assert_eq!((view.status, view.as_of), (Status::Offline, None));
    }

    #[test]
    fn an_offline_inventory_is_as_old_as_when_it_was_last_true() {
        let inventory = Inventory::default();
        inventory.restore(row(100));
        assert_eq!(inventory.view(1000).as_of, Some(120));
        assert_eq!(inventory.seen_to_store(1000), Some(120));
        assert_eq!(inventory.seen_to_store(1001), None);
        inventory.stored("e", 8, 500);
        inventory.end(End::Lost, 900);
        // It was never live, so that it was true when it was stored and nobody knows for how long.
        assert_eq!(inventory.view(1000).as_of, Some(500));
    }

    #[test]
    fn the_source_of_live_use_says_why_there_is_none() {
        let inventory = Inventory::default();
        let record = |state: &str| {
            let source = serde_json::json!({"name": "prometheus", "state": state, "since": "2026-01-01T00:00:00Z", "code": "KTA-MON-001"});
            serde_json::json!({"sources": [{"name": "nodes", "state": "ok", "since": "2026-01-01T00:00:00Z"}, source]}).to_string()
        };
        inventory.restore(InventoryRow {
            cluster: Some(record("failing")),
            ..row(100)
        });
        assert_eq!(inventory.unmeasured().as_deref(), Some("KTA-MON-001"));
        inventory.describe(&record("ok"));
        assert_eq!(inventory.unmeasured(), None);
        inventory.describe("nonsense");
        assert_eq!(inventory.unmeasured(), None);
    }

    #[test]
    fn one_follows_at_a_time() {
        let follower = Follower::default();
        assert!(follower.claim());
        assert!(!follower.claim());
        assert!(!follower.release_if(|| false));
        assert!(follower.release_if(|| true));
        assert!(follower.claim());
    }
}
