//! What somebody may do, out of bindings and the scope of a token. No I/O.

use std::collections::{BTreeSet, HashSet};

use kantaloupe_policy::{Grant, Namespaces};
use serde::{Deserialize, Serialize};

use super::model::{Binding, People, Place, Role, User};

/// What of its user's rights a token has. It narrows and never widens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Scope {
    /// The greatest role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) role: Option<Role>,
    /// Ids; nothing else of the organisation can be reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) clusters: Option<BTreeSet<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) namespaces: Option<BTreeSet<String>>,
}

/// What somebody holds on one cluster; at least that it can be seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Holding {
    /// At its API server: at most one for each role, the least first.
    pub(crate) grants: Vec<Grant>,
    /// What of its inventory is shown.
    pub(crate) reads: Namespaces,
    /// Revoke, label, new enrolment token.
    pub(crate) manages: bool,
    /// Whether what others did there may be read.
    pub(crate) audits: bool,
}

/// What somebody holds on the organisation as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// The greatest role for all clusters and namespaces.
    pub(crate) role: Option<Role>,
    /// Users, bindings, clusters: everything.
    pub(crate) admin: bool,
    /// Reads users, bindings and what was done.
    pub(crate) auditor: bool,
}

impl Scope {
    /// What is left of a role.
    fn role(&self, role: Role) -> Option<Role> {
        match (self.role, role) {
            (None | Some(Role::Admin), role) => Some(role),
            (Some(Role::Auditor), Role::Admin | Role::Auditor) => Some(Role::Auditor),
            // An auditor reads what a viewer does not, and the other way round.
            (Some(Role::Auditor), _) | (_, Role::Auditor) => None,
            (Some(most), role) => Some(role.min(most)),
        }
    }

    /// What is left of namespaces.
    fn namespaces(&self, namespaces: &Namespaces) -> Option<Namespaces> {
        match (&self.namespaces, namespaces) {
            (None, all) => Some(all.clone()),
            (Some(only), Namespaces::All) => Some(Namespaces::Only(only.clone())),
            (Some(only), Namespaces::Only(names)) => {
                let both: BTreeSet<_> = only.intersection(names).cloned().collect();
                (!both.is_empty()).then_some(Namespaces::Only(both))
            }
        }
    }

    fn has_cluster(&self, cluster_id: &str) -> bool {
        self.clusters.as_ref().is_none_or(|ids| ids.contains(cluster_id))
    }
}

/// A user's bindings, cut by the scope of a token. A disabled user has none.
#[derive(Debug)]
pub(crate) struct Rights<'a> {
    people: &'a People,
    scope: Option<&'a Scope>,
    bindings: Vec<(&'a Binding, Role, Namespaces)>,
}

impl<'a> Rights<'a> {
    pub(crate) fn of(people: &'a People, user: &'a User, scope: Option<&'a Scope>) -> Self {
        let cut = |binding: &'a Binding| match scope {
            None => Some((binding, binding.role, binding.namespaces.clone())),
            Some(scope) => Some((
                binding,
                scope.role(binding.role)?,
                scope.namespaces(&binding.namespaces)?,
            )),
        };
        let bindings = if user.disabled_at.is_some() {
            vec![]
        } else {
            people
                .bindings_of(user)
                .filter_map(|binding| cut(binding))
                .collect()
        };
        Self {
            people,
            scope,
            bindings,
        }
    }

    /// What the user holds on a cluster of his organisation; `None` if not even that there is one.
    pub(crate) fn on_cluster(&self, cluster_id: &str) -> Option<Holding> {
        if self.scope.is_some_and(|scope| !scope.has_cluster(cluster_id)) {
            return None;
        }
        let labels = self.people.labels(cluster_id);
        let mut holding: Option<Holding> = None;
        for (binding, role, namespaces) in &self.bindings {
            if !binding.covers(cluster_id, labels) {
                continue;
            }
            let holding = holding.get_or_insert_with(|| Holding {
                grants: Vec::new(),
                reads: namespaces.clone(),
                manages: false,
                audits: false,
            });
            add(&mut holding.reads, namespaces);
            if *namespaces == Namespaces::All {
                holding.manages |= *role == Role::Admin;
                holding.audits |= matches!(role, Role::Admin | Role::Auditor);
            }
            if let Some(role) = role.at_api_servers() {
                match holding.grants.iter_mut().find(|grant| grant.role == role) {
                    Some(grant) => add(&mut grant.namespaces, namespaces),
                    None => holding.grants.push(Grant {
                        role,
                        namespaces: namespaces.clone(),
                    }),
                }
            }
        }
        if let Some(holding) = &mut holding {
            holding.grants.sort_by_key(|grant| grant.role);
        }
        holding
    }

    /// What the user holds on his organisation.
    pub(crate) fn on_organization(&self) -> Standing {
        let mut standing = Standing::default();
        if self.scope.is_some_and(|scope| scope.clusters.is_some()) {
            return standing;
        }
        for (binding, role, namespaces) in &self.bindings {
            if binding.place != Place::Organization || *namespaces != Namespaces::All {
                continue;
            }
            standing.role = standing.role.max(Some(*role));
            standing.admin |= *role == Role::Admin;
            standing.auditor |= matches!(role, Role::Admin | Role::Auditor);
        }
        standing
    }
}

fn add(all: &mut Namespaces, more: &Namespaces) {
    match (&mut *all, more) {
        (Namespaces::Only(names), Namespaces::Only(more)) => names.extend(more.iter().cloned()),
        _ => *all = Namespaces::All,
    }
}

/// Ids of the organisations that somebody can change.
pub(super) fn with_admin(people: &People) -> HashSet<&str> {
    people
        .all_users()
        .filter(|user| Rights::of(people, user, None).on_organization().admin)
        .map(|user| user.organization_id.as_str())
        .collect()
}

impl Serialize for Role {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Role {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        Self::of(&word).ok_or_else(|| {
            serde::de::Error::custom(format!(
                "{word:?} is none of the roles viewer, operator, admin, auditor"
            ))
        })
    }
}
