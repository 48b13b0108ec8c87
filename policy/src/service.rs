//! Services that may be reached through the API server's proxy.

use std::{fmt, str::FromStr};

use kantaloupe_proto::request::RequestInfo;

use crate::namespaces::is_namespace;

/// Kubernetes' bound for names of ports.
const MAX_PORT_NAME: usize = 15;

/// One Service that may be reached, written `namespace/name:port`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceRule {
    /// Where it is.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Name or number of its port, as callers write it: a rule with the name does not allow the number.
    pub port: String,
}

/// Not of the form `namespace/name:port`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected namespace/name:port, such as monitoring/grafana:http or default/web:8080")]
pub struct InvalidService;

impl FromStr for ServiceRule {
    type Err = InvalidService;

    fn from_str(text: &str) -> Result<Self, InvalidService> {
        let (namespace, rest) = text.split_once('/').ok_or(InvalidService)?;
        let (name, port) = rest.split_once(':').ok_or(InvalidService)?;
        if !is_namespace(namespace) || !is_namespace(name) || !is_port(port) {
            return Err(InvalidService);
        }
        Ok(Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            port: port.to_owned(),
        })
    }
}

impl fmt::Display for ServiceRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}:{}", self.namespace, self.name, self.port)
    }
}

/// A number, or a name as Kubernetes gives ports.
fn is_port(text: &str) -> bool {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return !text.starts_with('0') && text.parse::<u16>().is_ok();
    }
    text.len() <= MAX_PORT_NAME && is_namespace(text)
}

impl ServiceRule {
    /// Whether a request for `services/.../proxy` is for this Service and port, by http or https.
    pub(crate) fn matches(&self, info: &RequestInfo) -> bool {
        // The API server reads the segment as [scheme:]name[:port]; with two parts it is name and port.
        let parts: Vec<&str> = info.name.split(':').collect();
        let ([name, port] | ["http" | "https" | "", name, port]) = *parts else {
            return false;
        };
        info.namespace == self.namespace && name == self.name && port == self.port
    }
}
