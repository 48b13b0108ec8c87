//! The clusters in memory: what a user's request needs to find its way without asking the store.
//!
//! The store is written first (or, to revoke, right after) and this follows; see [`crate::clusters`], the only place
//! that changes it.

use std::{collections::HashMap, sync::Arc};

use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};
use tokio::{sync::Semaphore, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    agents::Tunnel,
    agents::limits::Limits,
    inventory::{Follower, Inventory},
    registry::Tunnels,
    state::{self, Facts, State},
    store::{ClusterRow, Connection},
};

/// Streams that users may have open to one cluster at once: a quarter of what the agent's session takes, so that one
/// cluster's watches cannot use it up.
pub(crate) const MAX_STREAMS: usize = 512;

/// What an agent says of itself, and how it came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AgentInfo {
    pub(crate) version: String,
    pub(crate) kubernetes_version: String,
    pub(crate) pod_name: String,
    pub(crate) cluster_uid: String,
    pub(crate) access_profile: String,
    /// Unknown of older agents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) limits: Option<Limits>,
    pub(crate) connected_at: jiff::Timestamp,
    pub(crate) remote_addr: String,
}

#[derive(Clone, Debug, Default)]
struct Status {
    facts: Facts,
    last_seen: Option<i64>,
    agent: Option<AgentInfo>,
}

/// A cluster. A new enrolment makes a new one of it, so that `cut` ends what belongs to the key before.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) id: Arc<str>,
    pub(crate) organization_id: Arc<str>,
    pub(crate) name: String,
    pub(crate) display_name: String,
    pub(crate) profile: String,
    pub(crate) tunnels: Tunnels<Arc<Tunnel>>,
    /// One permit per open stream of a user.
    pub(crate) streams: Arc<Semaphore>,
    /// Ends every tunnel and every user's stream of this cluster.
    pub(crate) cut: CancellationToken,
    /// The same for all keys of the cluster.
    pub(crate) inventory: Arc<Inventory>,
    pub(crate) follower: Follower,
    status: Mutex<Status>,
}

/// What does not change of a cluster.
#[derive(Clone, Debug)]
pub(crate) struct About {
    pub(crate) id: Arc<str>,
    pub(crate) organization_id: Arc<str>,
    /// Unique in its organisation.
    pub(crate) name: String,
    pub(crate) display_name: String,
    pub(crate) profile: String,
}

/// What users see of a cluster's state.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) state: State,
    pub(crate) since: i64,
    pub(crate) last_seen: Option<i64>,
    pub(crate) agent: Option<AgentInfo>,
}

impl Cluster {
    /// A cluster that was made just now.
    pub(crate) fn new(about: About, created_at: i64) -> Self {
        let facts = Facts {
            created_at,
            ..Facts::default()
        };
        let status = Status {
            facts,
            ..Status::default()
        };
        Self::with_status(about, status, Arc::default())
    }

    /// A cluster as the store has it, at the start of the gateway at `now`.
    pub(crate) fn from_row(row: &ClusterRow, now: i64) -> Self {
        let facts = Facts {
            created_at: row.created_at,
            revoked_at: row.revoked_at,
            enrolled_at: row.enrolled_at,
            connected_since: None,
            down_since: None,
            // Connected when the gateway ended: it was lost by our own restart, so it counts from now.
            lost_at: if row.connected { Some(now) } else { row.last_seen },
        };
        let agent = row
            .agent
            .as_deref()
            .and_then(|json| serde_json::from_str(json).ok());
        let status = Status {
            facts,
            last_seen: row.last_seen,
            agent,
        };
        let about = About {
            id: row.id.as_str().into(),
            organization_id: row.organization_id.as_str().into(),
            name: row.name.clone(),
            display_name: row.display_name.clone(),
            profile: row.profile.clone(),
        };
        Self::with_status(about, status, Arc::default())
    }

    fn with_status(about: About, status: Status, inventory: Arc<Inventory>) -> Self {
        Self {
            id: about.id,
            organization_id: about.organization_id,
            name: about.name,
            display_name: about.display_name,
            profile: about.profile,
            tunnels: Tunnels::default(),
            streams: Arc::new(Semaphore::new(MAX_STREAMS)),
            cut: CancellationToken::new(),
            inventory,
            follower: Follower::default(),
            status: Mutex::new(status),
        }
    }

    /// The same cluster for a key that was enrolled at `now`.
    fn renewed(&self, now: i64) -> Self {
        let mut status = self.status.lock().clone();
        status.facts.revoked_at = None;
        status.facts.enrolled_at = Some(now);
        if status.facts.connected_since.take().is_some() {
            status.facts.lost_at = Some(now);
        }
        let about = About {
            id: Arc::clone(&self.id),
            organization_id: Arc::clone(&self.organization_id),
            name: self.name.clone(),
            display_name: self.display_name.clone(),
            profile: self.profile.clone(),
        };
        Self::with_status(about, status, Arc::clone(&self.inventory))
    }

    /// Refuses the cluster's agents and ends what is open.
    pub(crate) fn revoke(&self, now: i64) {
        self.status.lock().facts.revoked_at.get_or_insert(now);
        self.cut.cancel();
    }

    /// Whether agents and users are refused.
    pub(crate) fn is_cut(&self) -> bool {
        self.cut.is_cancelled() || self.status.lock().facts.revoked_at.is_some()
    }

    /// A tunnel got ready.
    pub(crate) fn connected(&self, agent: AgentInfo, now: i64) {
        let mut status = self.status.lock();
        status.facts.connected_since.get_or_insert(now);
        status.last_seen = Some(now);
        status.agent = Some(agent);
    }

    /// A tunnel ended; whether it was the last one.
    pub(crate) fn disconnected(&self, now: i64) -> bool {
        let mut status = self.status.lock();
        if !self.tunnels.is_empty() {
            return false;
        }
        status.facts.connected_since = None;
        status.facts.lost_at = Some(now);
        status.last_seen = Some(now);
        true
    }

    /// State, age and agent at `now`.
    pub(crate) fn view(&self, now: i64) -> View {
        // A link that waits for a new connection counts as down from the moment it lost the old one.
        let tunnels = self.tunnels.all();
        let down: Option<Vec<Instant>> = tunnels.iter().map(|tunnel| tunnel.down_since()).collect();
        let down_since = down
            .and_then(|all| all.into_iter().max())
            .map(|at| now.saturating_sub(i64::try_from(at.elapsed().as_secs()).unwrap_or(i64::MAX)));
        let status = self.status.lock();
        let facts = Facts {
            down_since,
            ..status.facts
        };
        let (state, since) = state::of(&facts, now);
        let last_seen = if state == State::Connected {
            Some(now)
        } else {
            down_since.or(status.last_seen)
        };
        View {
            state,
            since,
            last_seen,
            agent: status.agent.clone(),
        }
    }

    /// What the store should remember at `now`.
    pub(crate) fn connection(&self, now: i64) -> Connection {
        let view = self.view(now);
        let connected = self.status.lock().facts.connected_since.is_some();
        let agent = view.agent.and_then(|agent| serde_json::to_string(&agent).ok());
        Connection {
            cluster_id: Arc::clone(&self.id),
            connected,
            last_seen: view.last_seen,
            agent,
        }
    }
}

#[derive(Debug, Default)]
struct Index {
    by_id: HashMap<Arc<str>, Arc<Cluster>>,
    /// By organisation and name.
    id_by_name: HashMap<Arc<str>, HashMap<String, Arc<str>>>,
}

/// All clusters.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    index: RwLock<Index>,
}

impl Directory {
    /// The clusters of the store.
    pub(crate) fn new(clusters: impl IntoIterator<Item = Cluster>) -> Self {
        let directory = Self::default();
        for cluster in clusters {
            directory.insert(cluster);
        }
        directory
    }

    /// Adds a cluster.
    pub(crate) fn insert(&self, cluster: Cluster) -> Arc<Cluster> {
        let cluster = Arc::new(cluster);
        let mut index = self.index.write();
        index
            .id_by_name
            .entry(Arc::clone(&cluster.organization_id))
            .or_default()
            .insert(cluster.name.clone(), Arc::clone(&cluster.id));
        index.by_id.insert(Arc::clone(&cluster.id), Arc::clone(&cluster));
        cluster
    }

    /// A cluster of an organisation by id or name. Names never look like ids.
    pub(crate) fn find(&self, organization_id: &str, id_or_name: &str) -> Option<Arc<Cluster>> {
        let index = self.index.read();
        let by_name = || {
            index
                .by_id
                .get(index.id_by_name.get(organization_id)?.get(id_or_name)?)
        };
        index
            .by_id
            .get(id_or_name)
            .filter(|cluster| *cluster.organization_id == *organization_id)
            .or_else(by_name)
            .cloned()
    }

    /// A cluster by id, whoever's it is.
    pub(crate) fn find_by_id(&self, id: &str) -> Option<Arc<Cluster>> {
        self.index.read().by_id.get(id).cloned()
    }

    /// Replaces a cluster by one for a new key and cuts what belongs to the old one.
    pub(crate) fn renew(&self, id: &str, now: i64) {
        let mut index = self.index.write();
        let Some(old) = index.by_id.get_mut(id) else {
            return;
        };
        let new = Arc::new(old.renewed(now));
        let old = std::mem::replace(old, new);
        drop(index);
        old.cut.cancel();
    }

    /// Takes a cluster out and cuts it.
    pub(crate) fn remove(&self, id: &str) {
        let mut index = self.index.write();
        let Some(cluster) = index.by_id.remove(id) else {
            return;
        };
        if let Some(names) = index.id_by_name.get_mut(&cluster.organization_id) {
            names.remove(&cluster.name);
        }
        drop(index);
        cluster.cut.cancel();
    }

    /// All, whoever's they are.
    pub(crate) fn all(&self) -> Vec<Arc<Cluster>> {
        self.index.read().by_id.values().cloned().collect()
    }

    /// All of an organisation, by name.
    pub(crate) fn all_of(&self, organization_id: &str) -> Vec<Arc<Cluster>> {
        let index = self.index.read();
        let mut all: Vec<_> = index
            .id_by_name
            .get(organization_id)
            .into_iter()
            .flat_map(HashMap::values)
            .filter_map(|id| index.by_id.get(id).cloned())
            .collect();
        drop(index);
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.index.read().by_id.len()
    }
}

#[cfg(test)]
impl About {
    /// For tests that do not look at the rest.
    pub(crate) fn of(organization_id: &str, id: &str, name: &str) -> Self {
        Self {
            id: id.into(),
            organization_id: organization_id.into(),
            name: name.to_owned(),
            display_name: name.to_owned(),
            profile: "observe".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent() -> AgentInfo {
        AgentInfo {
            version: "0.1.0".to_owned(),
            kubernetes_version: String::new(),
            pod_name: String::new(),
            cluster_uid: "uid".to_owned(),
            access_profile: "observe".to_owned(),
            limits: None,
            connected_at: jiff::Timestamp::UNIX_EPOCH,
            remote_addr: String::new(),
        }
    }

    #[test]
    fn clusters_are_found_by_id_and_name_in_their_organisation_until_removed() {
        let directory = Directory::new([
            Cluster::new(About::of("o-1", "c-12345678", "prod"), 1),
            Cluster::new(About::of("o-2", "c-22345678", "prod"), 1),
        ]);
        let cluster = directory.find("o-1", "prod").unwrap();
        assert_eq!(&*cluster.id, "c-12345678");
        assert_eq!(&*directory.find("o-2", "prod").unwrap().id, "c-22345678");
        assert_eq!(directory.find("o-1", "c-12345678").unwrap().name, "prod");
        assert!(directory.find("o-1", "c-22345678").is_none());
        assert!(directory.find("o-3", "prod").is_none());
        assert_eq!((directory.all_of("o-1").len(), directory.count()), (1, 2));
        directory.remove("c-12345678");
        assert!(cluster.cut.is_cancelled());
        assert!(directory.find("o-1", "prod").is_none() && directory.find("o-1", "c-12345678").is_none());
        assert!(directory.find("o-2", "prod").is_some());
    }

    #[test]
    fn a_new_key_ends_what_belongs_to_the_old_one() {
        let directory = Directory::new([Cluster::new(About::of("o-1", "c-12345678", "prod"), 1)]);
        let old = directory.find("o-1", "prod").unwrap();
        old.connected(agent(), 10);
        old.revoke(20);
        assert_eq!(old.view(21).state, State::Revoked);
        directory.renew("c-12345678", 30);
        let new = directory.find("o-1", "prod").unwrap();
        assert!(old.is_cut() && !new.is_cut());
        assert_eq!(new.view(31).state, State::Reconnecting);
    }

    #[test]
    fn a_cluster_that_was_connected_when_the_gateway_died_is_about_to_come_back() {
        let row = ClusterRow {
            id: "c-12345678".to_owned(),
            organization_id: "o-1".to_owned(),
            name: "prod".to_owned(),
            display_name: String::new(),
            profile: "observe".to_owned(),
            created_at: 1,
            revoked_at: None,
            connected: true,
            last_seen: Some(500),
            agent: serde_json::to_string(&agent()).ok(),
            enrolled_at: Some(2),
        };
        let view = Cluster::from_row(&row, 10_000).view(10_001);
        assert_eq!(
            (view.state, view.since, view.last_seen),
            (State::Reconnecting, 10_000, Some(500))
        );
        assert_eq!(view.agent, Some(agent()));
        let view = Cluster::from_row(
            &ClusterRow {
                connected: false,
                ..row
            },
            10_000,
        )
        .view(10_001);
        assert_eq!((view.state, view.since), (State::Offline, 500));
    }
}
