//! Names of the headers between gateway and agent, and what is taken out of requests that pass through.

use std::collections::HashSet;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

/// Name of the person or program that is acted as, see [`is_name`]. Set by the gateway, read by the agent, as all of
/// these: each at most once.
pub const USER: HeaderName = HeaderName::from_static("kantaloupe-user");
/// `viewer`, `operator` or `admin`: the role of the grant by which the request is allowed.
pub const ROLE: HeaderName = HeaderName::from_static("kantaloupe-role");
/// The namespaces that the grant is for, with a comma between; absent for all of them.
pub const NAMESPACES: HeaderName = HeaderName::from_static("kantaloupe-namespaces");
/// Name of the organisation that the cluster belongs to at the gateway, see [`is_name`].
pub const ORGANIZATION: HeaderName = HeaderName::from_static("kantaloupe-organization");
/// Who really asks, if he acts as somebody else; see [`is_name`].
pub const ACTOR: HeaderName = HeaderName::from_static("kantaloupe-actor");
/// UUID of the request, in the logs of both ends and, as [`AUDIT_ID`], in the API server's audit log.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("kantaloupe-request-id");

/// Whom the API server shall take the caller for. Set by the agent alone.
pub const IMPERSONATE_USER: HeaderName = HeaderName::from_static("impersonate-user");
/// A group of that caller; may be repeated. Set by the agent alone.
pub const IMPERSONATE_GROUP: HeaderName = HeaderName::from_static("impersonate-group");

/// Under which id the API server writes the request into its audit log. Set by the agent alone.
pub const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");

/// What [`IMPERSONATE_USER`] starts with.
pub const IMPERSONATED_USER_PREFIX: &str = "kantaloupe:user:";
/// What [`IMPERSONATE_GROUP`] starts with.
pub const IMPERSONATED_ROLE_PREFIX: &str = "kantaloupe:role:";
/// What [`IMPERSONATE_GROUP`] starts with for the organisation, where the cluster's owner named one.
pub const IMPERSONATED_ORGANIZATION_PREFIX: &str = "kantaloupe:org:";

/// Path under which the agent serves its API server on the data session; the API server's own path follows.
pub const KUBERNETES_PREFIX: &str = "/kubernetes";

/// What the headers start with by which a caller asks to act as somebody else.
pub const IMPERSONATE: &str = "impersonate-";

/// Families that say who somebody is, or that only gateway and agent may set.
const UNTRUSTED_PREFIXES: [&str; 4] = [IMPERSONATE, "x-remote-", "x-forwarded-", "kantaloupe-"];

/// Credentials of the caller for this hop, since the next one has its own, and the id under which a request is found.
const OF_THIS_HOP: [HeaderName; 5] = [
    AUDIT_ID,
    header::AUTHORIZATION,
    header::PROXY_AUTHORIZATION,
    header::COOKIE,
    header::FORWARDED,
];

/// Headers of one connection, not of the request (RFC 9110, 7.6.1, and what came before it).
const HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("http2-settings"),
];

/// A WebSocket subprotocol of this form carries a bearer token to the API server; browsers cannot set headers.
const BEARER_SUBPROTOCOL: &str = "base64url.bearer.authorization.k8s.io.";

/// Longest name of a person, program or organisation, in bytes.
pub const MAX_NAME: usize = 128;
/// Longest id of a request, in bytes: what the API server takes as an audit id.
const MAX_REQUEST_ID: usize = 64;

/// Whether this can be the name of a person, program or organisation: letters, digits and `. _ - @ +`, of ASCII, at
/// most [`MAX_NAME`]. Such a name is safe in headers, logs and Kubernetes' user and group names.
pub fn is_name(text: &str) -> bool {
    (1..=MAX_NAME).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'@' | b'+'))
}

/// Whether this can be the id of a request: letters, digits and dashes, as in a UUID.
pub fn is_request_id(text: &str) -> bool {
    (1..=MAX_REQUEST_ID).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// Whether the caller tries to act as somebody else at the API server.
pub fn has_impersonation(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| name.as_str().starts_with(IMPERSONATE))
}

/// Takes out everything that a caller must not be able to say to the next hop: identities, credentials, headers of
/// this connection (those that `Connection` names as well), and `kantaloupe-*`.
///
/// Read what is needed of these before calling it. Both ends call it, each before it sets its own headers.
pub fn strip_untrusted(headers: &mut HeaderMap) {
    strip_hop_by_hop(headers);
    for name in &OF_THIS_HOP {
        headers.remove(name);
    }
    let untrusted: HashSet<HeaderName> = headers
        .keys()
        .filter(|name| {
            UNTRUSTED_PREFIXES
                .iter()
                .any(|prefix| name.as_str().starts_with(prefix))
        })
        .cloned()
        .collect();
    for name in untrusted {
        headers.remove(name);
    }
    strip_bearer_subprotocol(headers);
}

/// Takes out the headers of one connection, in a request or in a response.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// Takes out of an answer what a server sets for its own name, and a user would keep for the gateway's: cookies, and the
/// question for a password, which only the gateway may ask.
pub fn strip_for_other_names(headers: &mut HeaderMap) {
    for name in [
        header::SET_COOKIE,
        header::WWW_AUTHENTICATE,
        header::PROXY_AUTHENTICATE,
    ] {
        headers.remove(name);
    }
}

fn strip_bearer_subprotocol(headers: &mut HeaderMap) {
    let carries_token = |value: &HeaderValue| {
        value
            .as_bytes()
            .split(|byte| *byte == b',')
            .any(|protocol| is_bearer(protocol.trim_ascii()))
    };
    if !headers
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .any(carries_token)
    {
        return;
    }
    let kept: Vec<Vec<u8>> = headers
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|protocol| !is_bearer(protocol))
        .map(<[u8]>::to_vec)
        .collect();
    headers.remove(header::SEC_WEBSOCKET_PROTOCOL);
    if let Ok(value) = HeaderValue::from_bytes(&kept.join(&b", "[..]))
        && !kept.is_empty()
    {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, value);
    }
}

fn is_bearer(protocol: &[u8]) -> bool {
    let prefix = BEARER_SUBPROTOCOL.as_bytes();
    protocol.len() >= prefix.len() && protocol[..prefix.len()].eq_ignore_ascii_case(prefix)
}

#[cfg(test)]
mod tests;
