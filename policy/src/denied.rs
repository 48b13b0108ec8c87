//! Why a request is refused, in Kubernetes' words.

use std::{collections::BTreeSet, fmt};

use kantaloupe_proto::request::{RequestInfo, Verb};

use crate::{local::Profile, role::Role, service::ServiceRule};

/// Namespaces that a refusal names; more would fill a terminal.
const NAMED: usize = 8;

/// A refused request: what was asked, and which right is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    asked: Asked,
    reason: Reason,
}

/// Which right is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The role is too low; this is the least that would do.
    Role(Role),
    /// The role would do, but is for these namespaces.
    Namespaces {
        /// The role there.
        role: Role,
        /// Where it is for.
        names: BTreeSet<String>,
    },
    /// Nobody may do it through a gateway, whatever his role.
    Never,
    /// The cluster's owner does not allow it.
    Local(Setting),
}

/// What the cluster's owner set, and thereby forbids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Setting {
    /// `access.profile`: it is lower than the role that it takes.
    Profile(Profile, Role),
    /// `access.namespaces`.
    Namespaces(BTreeSet<String>),
    /// `access.exec`
    Exec,
    /// `access.logs`
    Logs,
    /// `access.portForward`
    PortForward,
    /// `access.proxy`
    Proxy,
    /// `access.services`
    Services(Vec<ServiceRule>),
    /// `cluster.organization`
    Organization,
    /// The agent's own namespace, in which nothing is changed or entered through the agent.
    OwnNamespace,
}

impl Setting {
    /// Its key in the chart's values.
    pub const fn key(&self) -> &'static str {
        match self {
            Self::Profile(..) => "access.profile",
            Self::Namespaces(_) => "access.namespaces",
            Self::Exec => "access.exec",
            Self::Logs => "access.logs",
            Self::PortForward => "access.portForward",
            Self::Proxy => "access.proxy",
            Self::Services(_) => "access.services",
            Self::Organization => "cluster.organization",
            Self::OwnNamespace => "the agent's namespace",
        }
    }
}

impl Reason {
    /// One word, for metrics and logs.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Role(_) => "role",
            Self::Namespaces { .. } => "namespaces",
            Self::Never => "never",
            Self::Local(setting) => match setting {
                Setting::Profile(..) => "local_profile",
                Setting::Namespaces(_) => "local_namespaces",
                Setting::Exec => "local_exec",
                Setting::Logs => "local_logs",
                Setting::PortForward => "local_port_forward",
                Setting::Proxy => "local_proxy",
                Setting::Services(_) => "local_services",
                Setting::Organization => "local_organization",
                Setting::OwnNamespace => "local_own_namespace",
            },
        }
    }
}

impl Denied {
    /// A refusal of `info`.
    pub fn new(info: &RequestInfo, reason: Reason) -> Self {
        Self {
            asked: Asked::of(info),
            reason,
        }
    }

    /// Which right is missing.
    pub const fn reason(&self) -> &Reason {
        &self.reason
    }

    /// What the cluster's owner set, if that is what forbids it.
    pub const fn setting(&self) -> Option<&Setting> {
        match &self.reason {
            Reason::Local(setting) => Some(setting),
            _ => None,
        }
    }
}

impl std::error::Error for Denied {}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.asked)?;
        match &self.reason {
            Reason::Role(role) if self.asked.is_namespaced() => write!(f, "it takes the role {role} there"),
            Reason::Role(role) => write!(f, "it takes the role {role}"),
            Reason::Namespaces { role, names } => {
                write!(f, "your role {role} is for {}", Listed(names))
            }
            Reason::Never => f.write_str("nobody may do this through the gateway"),
            Reason::Local(setting) => write!(f, "{setting}"),
        }
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.key();
        match self {
            Self::Profile(profile, role) => write!(
                f,
                "it takes the role {role}, and the cluster's owner allows at most {} ({key}: {profile})",
                profile.role()
            ),
            Self::Namespaces(names) => {
                write!(f, "the cluster's owner allows {} ({key})", Listed(names))
            }
            Self::Exec | Self::Logs | Self::PortForward | Self::Proxy => {
                write!(f, "the cluster's owner forbids it ({key}: false)")
            }
            Self::Services(services) if services.is_empty() => {
                write!(f, "the cluster's owner allows no Service ({key} is empty)")
            }
            Self::Services(_) => write!(f, "the Service and port are not on the list of the cluster's owner ({key})"),
            Self::Organization => write!(f, "the cluster belongs to another organisation ({key})"),
            Self::OwnNamespace => f.write_str(
                "in the namespace of the agent itself nothing is changed, entered or read that holds a secret",
            ),
        }
    }
}

struct Listed<'a>(&'a BTreeSet<String>);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.0.iter().map(String::as_str).take(NAMED).collect();
        match (names.len(), self.0.len()) {
            (_, 0) => f.write_str("no namespace"),
            (_, 1) => write!(f, "the namespace {} only", names.join(", ")),
            (named, all) if named < all => {
                write!(
                    f,
                    "the namespaces {} and {} more only",
                    names.join(", "),
                    all - named
                )
            }
            _ => write!(f, "the namespaces {} only", names.join(", ")),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Asked {
    Path {
        verb: Verb,
        path: String,
    },
    Resource {
        verb: Verb,
        group: String,
        /// With the subresource.
        resource: String,
        namespace: String,
    },
}

impl Asked {
    fn of(info: &RequestInfo) -> Self {
        if !info.is_resource_request {
            return Self::Path {
                verb: info.verb,
                path: info.path.clone(),
            };
        }
        let resource = match info.subresource.as_str() {
            "" => info.resource.clone(),
            subresource => format!("{}/{subresource}", info.resource),
        };
        Self::Resource {
            verb: info.verb,
            group: info.api_group.clone(),
            resource,
            namespace: info.namespace.clone(),
        }
    }

    fn is_namespaced(&self) -> bool {
        matches!(self, Self::Resource { namespace, .. } if !namespace.is_empty())
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path { verb, path } => write!(f, "cannot {verb} path {path:?}"),
            Self::Resource {
                verb,
                group,
                resource,
                namespace,
            } => {
                // RBAC knows no connect: to it a stream is created.
                let verb = if *verb == Verb::Connect {
                    "create"
                } else {
                    verb.as_str()
                };
                write!(f, "cannot {verb} resource {resource:?} in API group {group:?}")?;
                match namespace.as_str() {
                    "" => f.write_str(" at the cluster scope"),
                    namespace => write!(f, " in the namespace {namespace:?}"),
                }
            }
        }
    }
}
