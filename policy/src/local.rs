//! What the cluster's owner allows at most.

use std::{fmt, str::FromStr};

use kantaloupe_proto::request::{RequestInfo, Verb};

use crate::{
    Grant, check,
    denied::{Denied, Reason, Setting},
    namespaces::Namespaces,
    permits,
    role::Role,
    service::ServiceRule,
};

/// The ceiling for everybody's role, `access.profile` of the chart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Profile {
    /// Read only.
    Observe,
    /// Read, and operate workloads.
    Operate,
    /// Everything.
    Admin,
}

impl Profile {
    /// All, the least first.
    pub const ALL: [Self; 3] = [Self::Observe, Self::Operate, Self::Admin];

    /// The word in the configuration and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Operate => "operate",
            Self::Admin => "admin",
        }
    }

    /// The highest role that has any effect under this profile.
    pub const fn role(self) -> Role {
        match self {
            Self::Observe => Role::Viewer,
            Self::Operate => Role::Operator,
            Self::Admin => Role::Admin,
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Not the word of a profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected observe, operate or admin")]
pub struct UnknownProfile;

impl FromStr for Profile {
    type Err = UnknownProfile;

    fn from_str(text: &str) -> Result<Self, UnknownProfile> {
        Self::ALL
            .into_iter()
            .find(|profile| profile.as_str() == text)
            .ok_or(UnknownProfile)
    }
}

/// What the cluster's owner allows at most. The agent enforces it, whatever the gateway sends.
#[expect(clippy::struct_excessive_bools, reason = "each is one switch of the chart")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalPolicy {
    /// Caps every role.
    pub profile: Profile,
    /// Where anything may be done.
    pub namespaces: Namespaces,
    /// exec and attach, and ephemeral containers, which are another way to run a command in a pod.
    pub exec: bool,
    /// Logs of containers, and of the API server's host.
    pub logs: bool,
    /// Port-forward.
    pub port_forward: bool,
    /// `pods/proxy` and `nodes/proxy`.
    pub proxy: bool,
    /// What `services/proxy` may reach.
    pub services: Vec<ServiceRule>,
    /// The agent's own namespace. Who changes the agent there, or takes its key or token, takes this policy away.
    pub own_namespace: Option<String>,
}

impl LocalPolicy {
    /// The chart's defaults with this profile.
    pub const fn new(profile: Profile) -> Self {
        Self {
            profile,
            namespaces: Namespaces::All,
            exec: true,
            logs: true,
            port_forward: true,
            proxy: false,
            services: Vec::new(),
            own_namespace: None,
        }
    }

    /// The role that a caller with `role` has here.
    pub fn cap(&self, role: Role) -> Role {
        role.min(self.profile.role())
    }

    /// Whether both the grant and the cluster's owner allow a request.
    pub fn permits(&self, grant: &Grant, info: &RequestInfo) -> Result<(), Denied> {
        permits(grant, info)?;
        check(self.cap(grant.role), &self.namespaces, info).map_err(|denied| self.own(info, denied))?;
        match self.forbids(info) {
            Some(setting) => Err(Denied::new(info, Reason::Local(setting))),
            None => Ok(()),
        }
    }

    /// A refusal by the owner's own limits, told as the setting that it comes from.
    fn own(&self, info: &RequestInfo, denied: Denied) -> Denied {
        let setting = match denied.reason() {
            Reason::Role(role) => Setting::Profile(self.profile, *role),
            Reason::Namespaces { names, .. } => Setting::Namespaces(names.clone()),
            Reason::Never | Reason::Local(_) => return denied,
        };
        Denied::new(info, Reason::Local(setting))
    }

    /// The switch that forbids a request, by subresource in whatever group: other API servers have an exec as well.
    fn forbids(&self, info: &RequestInfo) -> Option<Setting> {
        if !info.is_resource_request {
            let is_log = info.path == "/logs" || info.path.starts_with("/logs/");
            return (is_log && !self.logs).then_some(Setting::Logs);
        }
        if self.is_own(info) && !leaves_the_agent_alone(info) {
            return Some(Setting::OwnNamespace);
        }
        match (info.resource.as_str(), info.subresource.as_str()) {
            (_, "exec" | "attach" | "ephemeralcontainers") => (!self.exec).then_some(Setting::Exec),
            (_, "log") => (!self.logs).then_some(Setting::Logs),
            (_, "portforward") => (!self.port_forward).then_some(Setting::PortForward),
            ("services", "proxy") => {
                let listed = self.services.iter().any(|rule| rule.matches(info));
                (!listed).then(|| Setting::Services(self.services.clone()))
            }
            (_, "proxy") if !self.proxy => Some(Setting::Proxy),
            // A kubelet executes, forwards and logs by itself.
            ("nodes", "proxy") if !self.exec => Some(Setting::Exec),
            ("nodes", "proxy") if !self.logs => Some(Setting::Logs),
            ("nodes", "proxy") if !self.port_forward => Some(Setting::PortForward),
            _ => None,
        }
    }

    fn is_own(&self, info: &RequestInfo) -> bool {
        self.own_namespace.as_deref() == Some(info.namespace.as_str())
    }
}

/// What may be done in the agent's own namespace: look, but not at Secrets.
fn leaves_the_agent_alone(info: &RequestInfo) -> bool {
    matches!(info.verb, Verb::Get | Verb::List | Verb::Watch) && info.resource != "secrets"
}
