//! From what the gateway asks to what the API server sees. No I/O.

#[cfg(test)]
mod tests;

use http::{HeaderMap, HeaderName, HeaderValue, Version, header, request::Parts, uri::PathAndQuery};
use kantaloupe_proto::{
    headers::{
        IMPERSONATE_GROUP, IMPERSONATE_USER, IMPERSONATED_ROLE_PREFIX, IMPERSONATED_USER_PREFIX,
        KUBERNETES_PREFIX, REQUEST_ID, ROLE, USER, strip_untrusted,
    },
    request::{self, Verb},
};

use super::status::Refusal;

/// Roles that the gateway may name; the chart binds exactly these groups.
const ROLES: [&str; 3] = ["viewer", "operator", "admin"];

/// What the log and the metrics say of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) verb: Verb,
    pub(crate) request_id: String,
}

/// Rewrites a request of the gateway into one for the API server, or refuses it.
///
/// The caller's identity is read first; then everything that could claim one is removed; then the identity is set in
/// the API server's own terms. Default is to refuse: a request without a user or with an unknown role does not pass.
pub(crate) fn rewrite(parts: &mut Parts) -> Result<Asked, Refusal> {
    let path = parts.uri.path();
    let api_path = path
        .strip_prefix(KUBERNETES_PREFIX)
        .filter(|rest| rest.starts_with('/'))
        .ok_or_else(|| Refusal::not_found("the agent serves /kubernetes/... only"))?;
    let info = request::parse(&parts.method, api_path, parts.uri.query()).map_err(|error| {
        Refusal::bad_request(format!("the agent refuses this request: {error} (KTA-SRV-005)"))
    })?;
    let user = identity(&parts.headers, &USER)?;
    let role = identity(&parts.headers, &ROLE)?;
    if !ROLES.iter().any(|known| known.as_bytes() == role.as_bytes()) {
        return Err(Refusal::bad_request(
            "the agent does not know the role that the gateway names",
        ));
    }
    let user = prefixed(IMPERSONATED_USER_PREFIX, &user)?;
    let group = prefixed(IMPERSONATED_ROLE_PREFIX, &role)?;
    let request_id = parts
        .headers
        .get(REQUEST_ID)
        .and_then(|id| id.to_str().ok())
        .unwrap_or_default();
    let request_id = request_id.chars().take(64).collect();

    let target = match parts.uri.query() {
        Some(query) => format!("{api_path}?{query}"),
        None => api_path.to_owned(),
    };
    parts.uri = PathAndQuery::try_from(target)
        .map_err(|_| Refusal::bad_request("the agent refuses this request: its target is not a path"))?
        .into();
    parts.version = Version::HTTP_11;
    parts.extensions.clear();
    strip_untrusted(&mut parts.headers);
    parts.headers.remove(header::HOST);
    parts.headers.insert(IMPERSONATE_USER, user);
    parts.headers.insert(IMPERSONATE_GROUP, group);
    Ok(Asked {
        verb: info.verb,
        request_id,
    })
}

/// Puts back the two headers of an upgrade, which belong to one connection and are removed with the others.
pub(crate) fn set_upgrade(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, protocol);
}

/// The one value of a header that only the gateway sets.
fn identity(headers: &HeaderMap, name: &HeaderName) -> Result<HeaderValue, Refusal> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) if !value.is_empty() => Ok(value.clone()),
        _ => Err(Refusal::bad_request(format!(
            "the agent needs exactly one {name} header from the gateway"
        ))),
    }
}

fn prefixed(prefix: &str, value: &HeaderValue) -> Result<HeaderValue, Refusal> {
    HeaderValue::from_bytes(&[prefix.as_bytes(), value.as_bytes()].concat())
        .map_err(|_| Refusal::bad_request("the name that the gateway gives cannot be sent in a header"))
}
