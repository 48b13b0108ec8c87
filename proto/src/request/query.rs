//! The two query parameters that change what a list asks for, read as the API server reads them; and the one that must not be.

use super::path::decode;

/// What tokens of the gateway start with: [`crate::token`].
const OURS: [&str; 2] = ["kta_", "kte_"];

/// Whether `watch` is given and not `false` or `0`. Only the first of several counts; without a value it is true.
pub(super) fn is_watch(query: &str) -> bool {
    first(query, "watch").is_some_and(|value| value != "0" && !value.eq_ignore_ascii_case("false"))
}

/// The one object that a field selector leaves over, if it does.
pub(super) fn selected_name(query: &str) -> Option<String> {
    let selector = first(query, "fieldSelector")?;
    let mut name = None;
    for term in selector.split(',').filter(|term| !term.is_empty()) {
        // One bad term makes the whole selector bad, and the API server then refuses the request.
        let (field, value) = term.split_once('=')?;
        if field == "metadata.name" && name.is_none() {
            name = Some(value.strip_prefix('=').unwrap_or(value).to_owned());
        }
    }
    name.filter(|name| is_segment(name))
}

/// Whether a bearer token is among the parameters (RFC 6750, 2.3), or one of ours under any name. API servers take none there,
/// and a query ends up in logs.
pub(super) fn carries_token(query: &str) -> bool {
    query.split(['&', ';']).any(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let text = |text: &str| decode(text).unwrap_or_else(|_| text.to_owned());
        let value = text(value);
        text(name).eq_ignore_ascii_case("access_token") || OURS.iter().any(|prefix| value.starts_with(prefix))
    })
}

/// What Kubernetes takes as a name in a path. Escapes are left to the API server.
fn is_segment(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains(['/', '%', '\\'])
}

/// The first value of `key`. Pairs that Go drops are dropped here too: with a semicolon, or wrongly encoded.
fn first(query: &str, key: &str) -> Option<String> {
    query
        .split('&')
        .filter(|pair| !pair.contains(';'))
        .find_map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(&name.replace('+', " ")).ok()?;
            let value = decode(&value.replace('+', " ")).ok()?;
            (name == key).then_some(value)
        })
}
