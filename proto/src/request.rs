//! What a request to a Kubernetes API server asks for: verb, group, resource, subresource, namespace, name.
//!
//! Authorization goes by this and never by the HTTP method alone: an exec over WebSocket is a GET. It follows the API
//! server's own rules, on paths that can be read in one way only; anything else is refused.

use std::fmt;

use http::Method;

pub use path::{MAX_PATH_LEN, PathError};

mod path;
mod query;

/// What is done, in Kubernetes' words; for requests that are for no resource, the HTTP method in lower case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is the word that as_str returns")]
pub enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
    DeleteCollection,
    /// A stream into the cluster: exec, attach, portforward, proxy, by whatever HTTP method.
    Connect,
    Head,
    Post,
    Put,
    Options,
}

impl Verb {
    /// The word, as RBAC and the audit log write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
            Self::Connect => "connect",
            Self::Head => "head",
            Self::Post => "post",
            Self::Put => "put",
            Self::Options => "options",
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a request asks for. Texts are empty where they do not apply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestInfo {
    /// What is done.
    pub verb: Verb,
    /// Empty for the core group.
    pub api_group: String,
    /// Such as `v1`.
    pub api_version: String,
    /// Empty for cluster-scoped resources and for all namespaces; for a namespace itself, its own name.
    pub namespace: String,
    /// Plural and lower case, such as `pods`.
    pub resource: String,
    /// Such as `log` or `exec`.
    pub subresource: String,
    /// Of one object; also set when a list or watch selects exactly one by `metadata.name`.
    pub name: String,
    /// False for discovery, health, version and anything else that is not `/api` or `/apis` with a resource.
    pub is_resource_request: bool,
    /// Of a request that is for no resource: its path, decoded once.
    pub path: String,
}

/// Subresources that open a stream into the cluster.
const CONNECT_SUBRESOURCES: [&str; 4] = ["exec", "attach", "portforward", "proxy"];

/// Says what a request asks for, or why it is refused.
///
/// `path` is as sent, percent-encoded, without the query; an absolute URI is no path.
pub fn parse(method: &Method, path: &str, query: Option<&str>) -> Result<RequestInfo, PathError> {
    let plain = method_verb(method)?;
    if query.is_some_and(query::carries_token) {
        return Err(PathError::TokenInQuery);
    }
    let decoded = path::canonical(path)?;
    let parts: Vec<&str> = decoded
        .trim_matches('/')
        .split('/')
        .filter(|part| !part.is_empty())
        .collect();
    match Target::of(&parts) {
        Some(target) => target.describe(method, query.unwrap_or_default()),
        None => Ok(RequestInfo::non_resource(plain, decoded)),
    }
}

/// The verb of a request that is for no resource, and the list of methods that pass at all.
fn method_verb(method: &Method) -> Result<Verb, PathError> {
    match *method {
        Method::GET => Ok(Verb::Get),
        Method::HEAD => Ok(Verb::Head),
        Method::POST => Ok(Verb::Post),
        Method::PUT => Ok(Verb::Put),
        Method::PATCH => Ok(Verb::Patch),
        Method::DELETE => Ok(Verb::Delete),
        Method::OPTIONS => Ok(Verb::Options),
        _ => Err(PathError::Method),
    }
}

impl RequestInfo {
    fn non_resource(verb: Verb, path: String) -> Self {
        Self {
            verb,
            api_group: String::new(),
            api_version: String::new(),
            namespace: String::new(),
            resource: String::new(),
            subresource: String::new(),
            name: String::new(),
            is_resource_request: false,
            path,
        }
    }
}

/// A resource's path, cut after the version.
struct Target<'a> {
    group: &'a str,
    version: &'a str,
    /// At least one part.
    rest: &'a [&'a str],
}

impl<'a> Target<'a> {
    fn of(parts: &'a [&'a str]) -> Option<Self> {
        match parts {
            ["api", version, rest @ ..] if !rest.is_empty() => Some(Self {
                group: "",
                version,
                rest,
            }),
            ["apis", group, version, rest @ ..] if !rest.is_empty() => Some(Self { group, version, rest }),
            _ => None,
        }
    }

    fn describe(&self, method: &Method, query: &str) -> Result<RequestInfo, PathError> {
        // The old forms /api/v1/watch/... and /api/v1/proxy/...
        let (special, rest) = match self.rest {
            ["watch" | "proxy"] => return Err(PathError::Incomplete),
            [special @ ("watch" | "proxy"), rest @ ..] => (Some(*special), rest),
            rest => (None, rest),
        };
        let (namespace, parts) = match rest {
            ["namespaces", namespace, "status" | "finalize", ..] | ["namespaces", namespace] => {
                (*namespace, rest)
            }
            ["namespaces", namespace, inner @ ..] => (*namespace, inner),
            other => ("", other),
        };
        let part = |index: usize| parts.get(index).copied().unwrap_or_default();
        let mut info = RequestInfo {
            verb: Verb::Get,
            api_group: self.group.to_owned(),
            api_version: self.version.to_owned(),
            namespace: namespace.to_owned(),
            resource: part(0).to_owned(),
            subresource: part(2).to_owned(),
            name: part(1).to_owned(),
            is_resource_request: true,
            path: String::new(),
        };
        match special {
            Some("proxy") => {
                info.verb = Verb::Connect;
                "proxy".clone_into(&mut info.subresource);
            }
            Some(_) if !matches!(*method, Method::GET | Method::HEAD) => return Err(PathError::WatchMethod),
            Some(_) if info.opens_stream() => info.verb = Verb::Connect,
            Some(_) => info.verb = Verb::Watch,
            None => info.classify(method, query),
        }
        Ok(info)
    }
}

impl RequestInfo {
    fn opens_stream(&self) -> bool {
        CONNECT_SUBRESOURCES.contains(&self.subresource.as_str())
    }

    fn classify(&mut self, method: &Method, query: &str) {
        let named = !self.name.is_empty();
        self.verb = match *method {
            _ if self.opens_stream() => Verb::Connect,
            Method::POST => Verb::Create,
            Method::PUT => Verb::Update,
            Method::PATCH => Verb::Patch,
            Method::DELETE if named => Verb::Delete,
            Method::DELETE => Verb::DeleteCollection,
            Method::OPTIONS => Verb::Options,
            _ if named => Verb::Get,
            _ if query::is_watch(query) => Verb::Watch,
            _ => Verb::List,
        };
        if matches!(self.verb, Verb::List | Verb::Watch)
            && let Some(name) = query::selected_name(query)
        {
            self.name = name;
        }
    }
}

#[cfg(test)]
mod tests;
