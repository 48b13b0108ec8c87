//! Who may ask a cluster for what.
//!
//! [`permits`] and [`choose`] decide by one [table](table()) of rules, the same that the chart turns into ClusterRoles;
//! what is not in it is refused. [`LocalPolicy`] is what the cluster's owner allows at most: the agent enforces it
//! whatever the gateway sends. Nothing here does I/O.

mod denied;
mod local;
mod namespaces;
mod role;
mod service;
mod table;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use kantaloupe_proto::request::{RequestInfo, Verb};

pub use denied::{Denied, Reason, Setting};
pub use local::{LocalPolicy, Profile, UnknownProfile};
pub use namespaces::{InvalidNamespaces, MAX_NAMESPACES, Namespaces, is_namespace};
pub use role::{Role, UnknownRole};
pub use service::{InvalidService, ServiceRule};
pub use table::{DISCOVERY, Rule, Verbs, table};

/// What somebody may do: a role, in some or all namespaces.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Grant {
    /// What may be done.
    pub role: Role,
    /// Where.
    pub namespaces: Namespaces,
}

impl Grant {
    /// A role in all namespaces.
    pub const fn everywhere(role: Role) -> Self {
        Self {
            role,
            namespaces: Namespaces::All,
        }
    }
}

/// Whether one grant allows a request.
///
/// A grant for some namespaces allows what names one of them, discovery, and the questions about oneself
/// (`SelfSubjectAccessReview` and the like), as a `RoleBinding` would. Of a namespace object itself it allows to get
/// it and no more: who may label a namespace can lift its Pod Security level. A field selector widens nothing.
pub fn permits(grant: &Grant, info: &RequestInfo) -> Result<(), Denied> {
    check(grant.role, &grant.namespaces, info)
}

pub(crate) fn check(role: Role, namespaces: &Namespaces, info: &RequestInfo) -> Result<(), Denied> {
    let least = least_role(info)?;
    if role < least {
        return Err(Denied::new(info, Reason::Role(least)));
    }
    match namespaces {
        Namespaces::Only(names) if !within(names, info) => {
            let names = names.clone();
            Err(Denied::new(info, Reason::Namespaces { role, names }))
        }
        _ => Ok(()),
    }
}

/// The grant with the least role that allows a request, and of equal roles the one for fewer namespaces; else the
/// refusal that names the least missing right.
pub fn choose<'a>(
    grants: impl IntoIterator<Item = &'a Grant>,
    info: &RequestInfo,
) -> Result<&'a Grant, Denied> {
    let least = least_role(info)?;
    let mut best: Option<&Grant> = None;
    // Of the grants whose role would do: where they are for, and the least of their roles.
    let mut elsewhere: Option<(Role, BTreeSet<String>)> = None;
    for grant in grants.into_iter().filter(|grant| grant.role >= least) {
        match &grant.namespaces {
            Namespaces::Only(names) if !within(names, info) => {
                let (role, all) = elsewhere.get_or_insert_with(|| (grant.role, names.clone()));
                *role = grant.role.min(*role);
                all.extend(names.iter().cloned());
            }
            _ if best.is_none_or(|best| rank(grant) < rank(best)) => best = Some(grant),
            _ => {}
        }
    }
    best.ok_or_else(|| {
        let reason = elsewhere.map_or(Reason::Role(least), |(role, names)| Reason::Namespaces {
            role,
            names,
        });
        Denied::new(info, reason)
    })
}

/// Less is narrower. Sets of equal size are told apart too, so that the order of the grants does not matter.
fn rank(grant: &Grant) -> (Role, bool, usize, Option<&BTreeSet<String>>) {
    match &grant.namespaces {
        Namespaces::All => (grant.role, true, 0, None),
        Namespaces::Only(names) => (grant.role, false, names.len(), Some(names)),
    }
}

/// The least role that may do this somewhere.
fn least_role(info: &RequestInfo) -> Result<Role, Denied> {
    if is_never(info) {
        return Err(Denied::new(info, Reason::Never));
    }
    Ok(table::least_role(info))
}

/// What nobody may do through a gateway: a service account's token would leave the cluster and outlive every policy.
fn is_never(info: &RequestInfo) -> bool {
    info.resource == "serviceaccounts" && info.subresource == "token"
}

fn within(names: &BTreeSet<String>, info: &RequestInfo) -> bool {
    if !info.is_resource_request || table::is_about_oneself(info) {
        return table::least_role(info) == Role::Viewer;
    }
    if info.namespace.is_empty() || !names.contains(&info.namespace) {
        return false;
    }
    // The namespace object: the parser gives it its own name as namespace.
    let is_namespace_object = info.api_group.is_empty() && info.resource == "namespaces";
    !is_namespace_object || (info.verb == Verb::Get && info.subresource.is_empty())
}
