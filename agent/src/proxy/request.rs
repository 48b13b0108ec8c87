//! From what the gateway asks to what the API server sees, or to a refusal. No I/O.

#[cfg(test)]
mod tests;

use http::{HeaderMap, HeaderName, HeaderValue, Version, header, request::Parts, uri::PathAndQuery};
use kantaloupe_policy::{Denied, Grant, LocalPolicy, Namespaces, Reason, Role, Setting};
use kantaloupe_proto::{
    headers::{
        ACTOR, AUDIT_ID, IMPERSONATE_GROUP, IMPERSONATE_USER, IMPERSONATED_ORGANIZATION_PREFIX,
        IMPERSONATED_ROLE_PREFIX, IMPERSONATED_USER_PREFIX, KUBERNETES_PREFIX, NAMESPACES, ORGANIZATION,
        REQUEST_ID, ROLE, USER, is_name, is_request_id, strip_untrusted,
    },
    request,
};

use super::status::Refusal;
use crate::audit::Asked;

/// The host of requests in the tunnel, see [`kantaloupe_tunnel::session::ORIGIN`].
const AGENT: &str = "agent";

/// What the cluster's owner set, by which every request is measured.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    pub(crate) policy: LocalPolicy,
    /// The only organisation whose people may ask, if the owner named one.
    pub(crate) organization: Option<String>,
}

/// A refusal and what is known of the request, for the audit log.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) refusal: Refusal,
    /// One word, for the audit log and the metric.
    pub(crate) why: &'static str,
    pub(crate) asked: Box<Asked>,
}

impl Refused {
    /// A CONNECT that is none of an upgrade.
    pub(crate) fn upgrade(parts: &Parts) -> Self {
        let mut asked = Box::new(Asked {
            path: parts.uri.path().to_owned(),
            ..Asked::default()
        });
        let _only_for_the_log = Caller::read(&parts.headers, &mut asked);
        Self {
            refusal: Refusal::bad_request(
                "the agent refuses this upgrade: it is not one as gateways ask for it",
            ),
            why: "upgrade",
            asked,
        }
    }
}

/// Rewrites a request of the gateway into one for the API server, or refuses it.
///
/// The caller's identity is read first; then everything that could claim one is removed; then the identity is set in
/// the API server's own terms. Default is to refuse: what is missing, doubled, malformed or not allowed does not pass.
pub(crate) fn rewrite(parts: &mut Parts, rules: &Rules) -> Result<Asked, Refused> {
    let mut asked = Asked {
        path: parts.uri.path().to_owned(),
        ..Asked::default()
    };
    match examine(parts, rules, &mut asked) {
        Ok(allowed) => {
            translate(parts, allowed);
            Ok(asked)
        }
        Err((why, refusal)) => Err(Refused {
            refusal,
            why,
            asked: Box::new(asked),
        }),
    }
}

type Wrong = (&'static str, Refusal);

/// What passed the examination, in the API server's terms.
struct Allowed {
    target: PathAndQuery,
    user: HeaderValue,
    groups: Vec<HeaderValue>,
    id: HeaderValue,
}

fn examine(parts: &Parts, rules: &Rules, asked: &mut Asked) -> Result<Allowed, Wrong> {
    // Read before anything is refused: the log shall name who tried.
    let caller = Caller::read(&parts.headers, asked);
    // There is one API server to ask, whatever host a request is for.
    if parts.uri.host().is_some_and(|host| host != AGENT) {
        let problem = "the agent serves no other host";
        return Err(("authority", Refusal::not_found(problem)));
    }
    let path = parts.uri.path();
    let api_path = path
        .strip_prefix(KUBERNETES_PREFIX)
        .filter(|rest| rest.starts_with('/'))
        .ok_or_else(|| {
            (
                "prefix",
                Refusal::not_found("the agent serves /kubernetes/... only"),
            )
        })?;
    let Caller {
        user,
        role,
        namespaces,
        organization,
        id,
    } = caller?;
    let info = request::parse(&parts.method, api_path, parts.uri.query()).map_err(|error| {
        let problem = format!("the agent refuses this request: {error} (KTA-SRV-005)");
        ("path", Refusal::bad_request(problem))
    })?;
    let info = &*asked.info.insert(info);
    let grant = Grant { role, namespaces };
    if rules.organization.is_some() && organization != rules.organization {
        return Err(denied(&Denied::new(info, Reason::Local(Setting::Organization))));
    }
    rules
        .policy
        .permits(&grant, info)
        .map_err(|refusal| denied(&refusal))?;

    let target = match parts.uri.query() {
        Some(query) => format!("{api_path}?{query}"),
        None => api_path.to_owned(),
    };
    let target = PathAndQuery::try_from(target).map_err(|_| {
        let problem = "the agent refuses this request: its target is not a path (KTA-SRV-005)";
        ("path", Refusal::bad_request(problem))
    })?;
    let role = rules.policy.cap(role);
    let mut groups = vec![value(IMPERSONATED_ROLE_PREFIX, role.as_str())];
    groups.extend(
        organization
            .filter(|_| rules.organization.is_some())
            .map(|name| value(IMPERSONATED_ORGANIZATION_PREFIX, &name)),
    );
    Ok(Allowed {
        target,
        user: value(IMPERSONATED_USER_PREFIX, &user),
        groups,
        id: value("", &id),
    })
}

fn denied(denied: &Denied) -> Wrong {
    (denied.reason().as_str(), Refusal::denied(denied))
}

fn translate(parts: &mut Parts, allowed: Allowed) {
    parts.uri = allowed.target.into();
    parts.version = Version::HTTP_11;
    parts.extensions.clear();
    strip_untrusted(&mut parts.headers);
    parts.headers.remove(header::HOST);
    parts.headers.insert(IMPERSONATE_USER, allowed.user);
    for group in allowed.groups {
        parts.headers.append(IMPERSONATE_GROUP, group);
    }
    parts.headers.insert(AUDIT_ID, allowed.id);
}

/// Puts back the two headers of an upgrade, which belong to one connection and are removed with the others.
pub(crate) fn set_upgrade(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, protocol);
}

/// Who the gateway says asks, and by which grant.
struct Caller {
    user: String,
    role: Role,
    namespaces: Namespaces,
    organization: Option<String>,
    id: String,
}

impl Caller {
    /// Reads all of it; what is well-formed goes into `asked` also if something else is not.
    fn read(headers: &HeaderMap, asked: &mut Asked) -> Result<Self, Wrong> {
        let named = |text: &str| is_name(text).then(|| text.to_owned());
        let id = one(headers, &REQUEST_ID, |text| {
            is_request_id(text).then(|| text.to_owned())
        });
        let user = one(headers, &USER, named);
        let role = one(headers, &ROLE, |text| text.parse::<Role>().ok());
        let namespaces = at_most_one(headers, &NAMESPACES, |text| text.parse::<Namespaces>().ok());
        let organization = at_most_one(headers, &ORGANIZATION, named);
        let actor = at_most_one(headers, &ACTOR, named);
        asked.id = id.as_ref().ok().cloned();
        asked.user = user.as_ref().ok().cloned();
        asked.role = role.as_ref().ok().map(|role| role.as_str().to_owned());
        asked.namespaces = namespaces
            .as_ref()
            .ok()
            .and_then(|given| given.as_ref()?.header_value());
        asked.organization = organization.clone().ok().flatten();
        asked.actor = actor.clone().ok().flatten();
        actor?;
        Ok(Self {
            user: user?,
            role: role?,
            namespaces: namespaces?.unwrap_or(Namespaces::All),
            organization: organization?,
            id: id?,
        })
    }
}

/// The one value of a header that only the gateway sets.
fn one<T>(headers: &HeaderMap, name: &HeaderName, read: impl FnOnce(&str) -> Option<T>) -> Result<T, Wrong> {
    at_most_one(headers, name, read)?.ok_or_else(|| {
        let problem = format!("the agent needs a {name} header from the gateway (KTA-POL-003)");
        ("identity", Refusal::bad_request(problem))
    })
}

/// The same for a header that may be absent.
fn at_most_one<T>(
    headers: &HeaderMap,
    name: &HeaderName,
    read: impl FnOnce(&str) -> Option<T>,
) -> Result<Option<T>, Wrong> {
    let mut values = headers.get_all(name).iter();
    let wrong = |what: &str| {
        let problem = format!("the {name} header that the gateway sends is {what} (KTA-POL-003)");
        ("identity", Refusal::bad_request(problem))
    };
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value
            .to_str()
            .ok()
            .and_then(read)
            .map(Some)
            .ok_or_else(|| wrong("not one that the agent knows")),
        (Some(_), Some(_)) => Err(wrong("there twice")),
    }
}

/// `text` is checked: letters, digits and a few signs.
fn value(prefix: &str, text: &str) -> HeaderValue {
    HeaderValue::from_bytes(&[prefix.as_bytes(), text.as_bytes()].concat())
        .expect("checked names are visible ASCII")
}
