//! Whether a caller may do what he asks of a cluster, out of memory.
//!
//! What a caller holds on a cluster is worked out once, at his first request to it, and kept with his [`Identity`] until
//! people change. Then it is worked out anew for all callers, and each stream that was opened by a grant which is gone
//! or has become less is told to end.

mod access;

use std::sync::Arc;

use http::{HeaderMap, HeaderValue};
use kantaloupe_checks::Code;
use kantaloupe_policy::{Grant, choose};
use kantaloupe_proto::{headers, request::RequestInfo};
use tokio_util::sync::CancellationToken;

pub(crate) use self::access::{Access, Accesses, Caller, Held, Reading};
use crate::{app::App, auth::Identity, directory::Cluster, metrics::Outcome, status::Refusal};

/// A cluster that a caller can see, and what he holds there.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) cluster: Arc<Cluster>,
    access: Arc<Access>,
    /// The caller, if he acts as somebody else.
    actor: Option<HeaderValue>,
}

/// A request that may go to its cluster.
#[derive(Debug)]
pub(crate) struct Authorized {
    held: Arc<Held>,
    access: Arc<Access>,
    pub(crate) actor: Option<HeaderValue>,
}

/// Finds the cluster that a request names, in the caller's organisation and among those that he can see. The headers are the
/// caller's own: they may ask to act as somebody else.
pub(crate) fn see(
    app: &App,
    identity: &Arc<Identity>,
    headers: &HeaderMap,
    name: &str,
) -> Result<Seen, (Outcome, Refusal)> {
    let target = acted_as(app, identity, headers).map_err(|refusal| (Outcome::Refused, refusal))?;
    let actor = target.is_some().then(|| identity.user_header.clone());
    let found = app.directory.find(&identity.organization_id, name);
    let seen = found.and_then(|cluster| {
        let access = identity.access(&app.people, target.as_deref(), &cluster)?;
        Some(Seen {
            cluster,
            access,
            actor,
        })
    });
    seen.ok_or_else(|| {
        let what = format_args!("there is no cluster {name:?}");
        (Outcome::NotFound, Refusal::not_found(what))
    })
}

/// The id of the user that the headers ask to act as.
fn acted_as(app: &App, identity: &Identity, headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    if !headers::has_impersonation(headers) {
        return Ok(None);
    }
    let refuse = |what: &str| Err(Refusal::forbidden(Code::SRV_002, what));
    let more = headers
        .keys()
        .any(|name| headers::IMPERSONATE_USER != *name && name.as_str().starts_with(headers::IMPERSONATE));
    if more {
        return refuse(
            "impersonation of groups, UIDs and extra fields is not allowed through the gateway, only of users (--as)",
        );
    }
    let mut names = headers.get_all(headers::IMPERSONATE_USER).iter();
    let (Some(name), None) = (names.next(), names.next()) else {
        return refuse("the request asks to act as several users (Impersonate-User)");
    };
    let Some(name) = name.to_str().ok().filter(|name| headers::is_name(name)) else {
        return refuse("impersonation is for users of the gateway only, and this is none (Impersonate-User)");
    };
    let people = app.people.current();
    let target = people
        .enabled_user(&identity.user_id)
        .zip(people.user_named(&identity.organization_id, name))
        .filter(|(user, target)| target.disabled_at.is_none() && people.may_act_as(user, target));
    match target {
        Some((_, target)) => Ok(Some(target.id.clone())),
        // The same for users that there are and users that there are not.
        None => Err(Refusal::forbidden(
            Code::SRV_002,
            format_args!(
                "impersonation: the user {:?} may not act as {name:?}; an administrator can allow it",
                identity.user_name
            ),
        )),
    }
}

impl Seen {
    /// Whether the request may go there.
    pub(crate) fn authorize(self, info: &RequestInfo) -> Result<Authorized, Refusal> {
        let grants = self.access.held().iter().map(|held| &held.grant);
        let chosen = choose(grants, info).map_err(|denied| Refusal::forbidden(Code::SRV_002, denied))?;
        let held = self
            .access
            .held()
            .iter()
            .find(|held| std::ptr::eq(&raw const held.grant, chosen))
            .expect("the chosen grant is one of those given");
        Ok(Authorized {
            held: Arc::clone(held),
            access: Arc::clone(&self.access),
            actor: self.actor,
        })
    }
}

impl Authorized {
    /// By which right.
    pub(crate) fn grant(&self) -> &Grant {
        &self.held.grant
    }

    /// As whom.
    pub(crate) fn user(&self) -> &HeaderValue {
        &self.access.user
    }

    /// Name of the organisation.
    pub(crate) fn organization(&self) -> &HeaderValue {
        &self.access.organization
    }

    /// Ends what was opened by this right: it was taken away.
    pub(crate) fn ended(&self) -> &CancellationToken {
        &self.held.ended
    }

    /// Says all of it to the agent.
    pub(crate) fn tell(&self, headers: &mut HeaderMap) {
        headers.insert(headers::USER, self.access.user.clone());
        headers.insert(headers::ROLE, self.held.role.clone());
        headers.insert(headers::ORGANIZATION, self.access.organization.clone());
        if let Some(namespaces) = &self.held.namespaces {
            headers.insert(headers::NAMESPACES, namespaces.clone());
        }
        if let Some(actor) = &self.actor {
            headers.insert(headers::ACTOR, actor.clone());
        }
    }
}
