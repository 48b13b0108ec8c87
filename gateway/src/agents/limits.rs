//! What an agent says of the limits that its cluster's owner set: for people to see. The agent enforces them by itself.

use kantaloupe_proto::pb::AccessLimits;
use serde::{Deserialize, Serialize};

use super::tunnel::clipped;

/// Entries of a list that are kept; an honest agent has no more.
const MAX_ENTRIES: usize = 256;

/// The limits, as the API shows them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_excessive_bools, reason = "each is one switch of the chart")]
pub(crate) struct Limits {
    pub(crate) namespaces: Vec<String>,
    pub(crate) exec: bool,
    pub(crate) logs: bool,
    pub(crate) port_forward: bool,
    pub(crate) proxy: bool,
    pub(crate) services: Vec<String>,
    pub(crate) organization: String,
}

impl From<AccessLimits> for Limits {
    fn from(said: AccessLimits) -> Self {
        let list = |said: Vec<String>| said.into_iter().take(MAX_ENTRIES).map(clipped).collect();
        Self {
            namespaces: list(said.namespaces),
            exec: said.exec,
            logs: said.logs,
            port_forward: said.port_forward,
            proxy: said.proxy,
            services: list(said.services),
            organization: clipped(said.organization),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_agent_says_is_cut() {
        let said = AccessLimits {
            namespaces: vec!["\u{1b}[31m".repeat(10_000); 1000],
            services: vec!["a/b:80".to_owned()],
            organization: "x\n".repeat(1000),
            exec: true,
            ..AccessLimits::default()
        };
        let limits = Limits::from(said);
        assert_eq!(limits.namespaces.len(), MAX_ENTRIES);
        let texts = limits.namespaces.iter().chain([&limits.organization]);
        for text in texts {
            assert!(text.len() <= 128 && !text.chars().any(char::is_control), "{text}");
        }
        assert_eq!(
            (limits.services, limits.exec, limits.proxy),
            (vec!["a/b:80".to_owned()], true, false)
        );
    }
}
