//! Which clusters, and which of their records, a caller can see.

use std::{collections::BTreeSet, sync::Arc};

use kantaloupe_gpu::inventory::Kind;
use kantaloupe_policy::Namespaces;

use super::extract::no_cluster;
use crate::{
    app::App,
    auth::Identity,
    authorize::Access,
    directory::Cluster,
    people::Rights,
    problem::ApiError,
    store::inventory::{Narrowed, is_of_namespace},
};

/// Clusters that a caller can see, by name, each with the namespaces whose records he reads there.
pub(super) struct Visible {
    clusters: Vec<(Arc<Cluster>, Namespaces)>,
    /// Nothing of this gateway is hidden from him.
    everything: bool,
}

impl Visible {
    /// All that this caller can see.
    pub(super) fn of(app: &App, caller: &Identity) -> Self {
        let people = app.people.current();
        let Some(user) = people.enabled_user(&caller.user_id) else {
            return Self {
                clusters: vec![],
                everything: false,
            };
        };
        let rights = Rights::of(&people, user, caller.scope.as_ref());
        let all = app.directory.all_of(&caller.organization_id);
        let clusters: Vec<_> = all
            .into_iter()
            .filter_map(|cluster| {
                let holding = rights.on_cluster(&cluster.id)?;
                Some((cluster, holding.reads))
            })
            .collect();
        Self {
            everything: clusters.len() == app.directory.count()
                && clusters.iter().all(|(_, reads)| *reads == Namespaces::All),
            clusters,
        }
    }

    /// One cluster.
    pub(super) fn one(cluster: Arc<Cluster>, access: &Access) -> Self {
        Self {
            clusters: vec![(cluster, access.reading.namespaces.clone())],
            everything: false,
        }
    }

    /// Only those that are named, by id or name; all if none is.
    pub(super) fn only(self, names: &[String]) -> Result<Self, ApiError> {
        if names.is_empty() {
            return Ok(self);
        }
        let mut clusters: Vec<(Arc<Cluster>, Namespaces)> = Vec::new();
        for name in names {
            let is_named = |(cluster, _): &&(Arc<Cluster>, _)| *cluster.id == **name || cluster.name == *name;
            let found = self.clusters.iter().find(is_named);
            let (cluster, reads) = found.ok_or_else(|| no_cluster(name))?;
            if clusters.iter().all(|(other, _)| other.id != cluster.id) {
                clusters.push((Arc::clone(cluster), reads.clone()));
            }
        }
        Ok(Self {
            clusters,
            everything: false,
        })
    }

    /// The clusters, by name.
    pub(super) fn clusters(&self) -> impl Iterator<Item = &Arc<Cluster>> {
        self.clusters.iter().map(|(cluster, _)| cluster)
    }

    /// Ids for a query; `None` if it need not look at them.
    pub(super) fn ids(&self) -> Option<Vec<String>> {
        (!self.everything).then(|| self.clusters().map(|cluster| cluster.id.to_string()).collect())
    }

    /// Clusters of which not all records are shown.
    pub(super) fn narrowed(&self) -> Vec<Narrowed> {
        let narrowed = self.clusters.iter().filter_map(|(cluster, reads)| match reads {
            Namespaces::All => None,
            Namespaces::Only(names) => Some(Narrowed {
                cluster_id: cluster.id.to_string(),
                namespaces: names.iter().cloned().collect(),
            }),
        });
        narrowed.collect()
    }
}

/// Whether a record is shown to somebody who reads these namespaces. What belongs to none is shown, but nothing that may tell of
/// what is in the others.
pub(super) fn shows(reads: &Namespaces, kind: Kind, namespace: Option<&str>) -> bool {
    let named = |names: &BTreeSet<String>| namespace.is_some_and(|namespace| names.contains(namespace));
    match reads {
        Namespaces::All => true,
        Namespaces::Only(names) => !is_of_namespace(kind) || named(names),
    }
}
