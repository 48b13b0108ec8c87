//! What callers hold on clusters, kept and renewed. No I/O.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};

use http::HeaderValue;
use kantaloupe_policy::{Grant, Namespaces};
use parking_lot::RwLock;
use tokio_util::sync::CancellationToken;

use crate::people::{Holding, People, Registry, Rights, Scope};

/// Clusters that one caller's rights are kept for. Those with open streams are kept beyond it, and there is a limit of these.
const MAX_KEPT: usize = 2048;

/// A right at an API server.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) grant: Grant,
    /// The same for the agent, made once.
    pub(crate) role: HeaderValue,
    pub(crate) namespaces: Option<HeaderValue>,
    /// Set when it was taken away, or the token with it.
    pub(crate) ended: CancellationToken,
}

/// A right to read a cluster's inventory.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) namespaces: Namespaces,
    /// Set when it has changed, also to more: whoever follows has to read what he did not see.
    pub(crate) ended: CancellationToken,
}

/// What a caller holds on a cluster.
#[derive(Debug)]
pub(crate) struct Access {
    /// Of the people that it was last found true for.
    generation: AtomicU64,
    holding: Holding,
    held: Vec<Arc<Held>>,
    /// Rights of before that are within those of now: what they opened goes on.
    outgrown: Vec<Arc<Held>>,
    pub(crate) reading: Arc<Reading>,
    /// Name of the user that is acted as, and of the organisation.
    pub(crate) user: HeaderValue,
    pub(crate) organization: HeaderValue,
}

impl Access {
    /// At the API server, the least role first.
    pub(super) fn held(&self) -> &[Arc<Held>] {
        &self.held
    }

    pub(crate) const fn holding(&self) -> &Holding {
        &self.holding
    }

    fn is_used(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) > 1
            || Arc::strong_count(&self.reading) > 1
            || self.all().any(|held| Arc::strong_count(held) > 1)
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Held>> {
        self.held.iter().chain(&self.outgrown)
    }

    fn end(&self) {
        self.reading.ended.cancel();
        self.all().for_each(|held| held.ended.cancel());
    }
}

/// Whose rights these are: a token's, and what narrows them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller<'a> {
    pub(crate) user_id: &'a str,
    pub(crate) scope: Option<&'a Scope>,
    /// Ends all that the token opened.
    pub(crate) revoked: &'a CancellationToken,
}

type OfClusters = HashMap<Arc<str>, Arc<Access>>;

#[derive(Debug, Default)]
struct Kept {
    own: OfClusters,
    /// By the user that is acted as.
    as_others: HashMap<String, OfClusters>,
}

/// What one caller holds on the clusters that he has asked for.
#[derive(Debug, Default)]
pub(crate) struct Accesses(RwLock<Kept>);

impl Accesses {
    /// What `caller` holds on a cluster of his organisation, or as the user `target`; `None` if he cannot see it.
    pub(crate) fn get(
        &self,
        registry: &Registry,
        caller: Caller<'_>,
        target: Option<&str>,
        cluster_id: &Arc<str>,
    ) -> Option<Arc<Access>> {
        if let Some(access) = self.0.read().get(target, cluster_id)
            && access.generation.load(SeqCst) == registry.generation()
        {
            return Some(Arc::clone(access));
        }
        let mut kept = self.0.write();
        // Read with the lock held: a change of people either sees what is put in here, or is seen here.
        let people = registry.current();
        let of_clusters = kept.of_mut(target);
        let before = of_clusters.remove(cluster_id);
        let access = renewed(before, &people, caller, target, cluster_id)?;
        if of_clusters.len() >= MAX_KEPT {
            of_clusters.retain(|_, access| access.is_used());
        }
        of_clusters.insert(Arc::clone(cluster_id), Arc::clone(&access));
        Some(access)
    }

    /// People have changed: ends what is no longer allowed.
    pub(crate) fn reassess(&self, people: &People, caller: Caller<'_>) {
        let mut kept = self.0.write();
        let Kept { own, as_others } = &mut *kept;
        renew_all(own, people, caller, None);
        as_others.retain(|target, of_clusters| {
            renew_all(of_clusters, people, caller, Some(target));
            !of_clusters.is_empty()
        });
    }
}

impl Kept {
    fn get(&self, target: Option<&str>, cluster_id: &str) -> Option<&Arc<Access>> {
        match target {
            None => self.own.get(cluster_id),
            Some(target) => self.as_others.get(target)?.get(cluster_id),
        }
    }

    fn of_mut(&mut self, target: Option<&str>) -> &mut OfClusters {
        match target {
            None => &mut self.own,
            Some(target) => self.as_others.entry(target.to_owned()).or_default(),
        }
    }
}

fn renew_all(of_clusters: &mut OfClusters, people: &People, caller: Caller<'_>, target: Option<&str>) {
    let before = std::mem::take(of_clusters);
    of_clusters.extend(before.into_iter().filter_map(|(cluster_id, access)| {
        let next = renewed(Some(access), people, caller, target, &cluster_id)?;
        Some((cluster_id, next))
    }));
}

/// What somebody holds now, with what is unchanged of before; the rest of that is ended. `before` is the map's own.
fn renewed(
    before: Option<Arc<Access>>,
    people: &People,
    caller: Caller<'_>,
    target: Option<&str>,
    cluster_id: &str,
) -> Option<Arc<Access>> {
    let Some((holding, user, organization)) = work_out(people, caller, target, cluster_id) else {
        if let Some(before) = before {
            before.end();
        }
        return None;
    };
    if let Some(before) = &before
        && before.holding == holding
    {
        before.generation.store(people.generation, SeqCst);
        return Some(Arc::clone(before));
    }
    let kept: Vec<_> = before.iter().flat_map(|access| access.all()).collect();
    let held: Vec<_> = holding
        .grants
        .iter()
        .filter_map(|grant| {
            let same = kept.iter().find(|held| held.grant == *grant);
            same.map_or_else(|| hold(grant, caller.revoked), |held| Some(Arc::clone(held)))
        })
        .collect();
    let mut outgrown = Vec::new();
    for old in kept {
        if held.iter().any(|now| Arc::ptr_eq(now, old)) {
            continue;
        }
        let used = Arc::strong_count(old) > 1
            || before
                .as_ref()
                .is_some_and(|access| Arc::strong_count(access) > 1);
        if used && holding.grants.iter().any(|grant| covers(grant, &old.grant)) {
            outgrown.push(Arc::clone(old));
        } else {
            old.ended.cancel();
        }
    }
    let reading = match &before {
        Some(before) if before.reading.namespaces == holding.reads => Arc::clone(&before.reading),
        _ => Arc::new(Reading {
            namespaces: holding.reads.clone(),
            ended: caller.revoked.child_token(),
        }),
    };
    if let Some(before) = &before
        && !Arc::ptr_eq(&before.reading, &reading)
    {
        before.reading.ended.cancel();
    }
    Some(Arc::new(Access {
        generation: AtomicU64::new(people.generation),
        holding,
        held,
        outgrown,
        reading,
        user,
        organization,
    }))
}

fn work_out(
    people: &People,
    caller: Caller<'_>,
    target: Option<&str>,
    cluster_id: &str,
) -> Option<(Holding, HeaderValue, HeaderValue)> {
    let caller_now = people.enabled_user(caller.user_id)?;
    let user = match target {
        None => caller_now,
        Some(id) => people
            .enabled_user(id)
            .filter(|target| people.may_act_as(caller_now, target))?,
    };
    let holding = Rights::of(people, user, caller.scope).on_cluster(cluster_id)?;
    let organization = people.organization(&user.organization_id)?;
    // Names are checked when they are given, so that these cannot fail; if one did, nothing is the safe answer.
    let value = |name: &str| HeaderValue::from_str(name).ok();
    Some((holding, value(&user.name)?, value(&organization.name)?))
}

fn hold(grant: &Grant, revoked: &CancellationToken) -> Option<Arc<Held>> {
    let namespaces = match grant.namespaces.header_value() {
        None => None,
        Some(names) => Some(HeaderValue::try_from(names).ok()?),
    };
    Some(Arc::new(Held {
        role: HeaderValue::from_static(grant.role.as_str()),
        namespaces,
        grant: grant.clone(),
        ended: revoked.child_token(),
    }))
}

fn covers(grant: &Grant, other: &Grant) -> bool {
    grant.role >= other.role && grant.namespaces.covers(&other.namespaces)
}

#[cfg(test)]
mod tests;
