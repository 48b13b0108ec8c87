//! Section `access`: what the cluster's owner allows at most.

use kantaloupe_checks::Code;
use kantaloupe_policy::{LocalPolicy, Namespaces, Profile, ServiceRule};
use kantaloupe_proto::pb::AccessLimits;
use serde_json::{Value, json};

use super::{Config, Finding, Invalid, parse_flag, yaml::Section};

/// More Services than that are no list that somebody reads.
const MAX_SERVICES: usize = 256;

pub(super) fn parse(root: &mut Section, findings: &mut Vec<Finding>) -> LocalPolicy {
    let mut section = root.section("access", findings);
    let profile = section.optional("profile", findings, parse_profile);
    let mut policy = LocalPolicy::new(profile.unwrap_or(Profile::Observe));
    let names = section.list("namespaces", findings, |text| Ok(text.to_owned()));
    if !names.is_empty() {
        match Namespaces::only(names) {
            Ok(namespaces) => policy.namespaces = namespaces,
            Err(error) => findings.push(finding("access.namespaces", error.to_string())),
        }
    }
    for (key, switch) in [
        ("exec", &mut policy.exec),
        ("logs", &mut policy.logs),
        ("portForward", &mut policy.port_forward),
        ("proxy", &mut policy.proxy),
    ] {
        if let Some(given) = section.optional(key, findings, parse_flag) {
            *switch = given;
        }
    }
    policy.services = section.list("services", findings, |text| {
        text.parse::<ServiceRule>()
            .map_err(|error| Invalid::new(Code::CFG_001, error.to_string()))
    });
    if policy.services.len() > MAX_SERVICES {
        findings.push(finding(
            "access.services",
            format!("has more than {MAX_SERVICES} entries"),
        ));
    }
    section.finish(findings);
    policy
}

impl Config {
    /// The limits as the agent tells them to the gateway.
    pub(crate) fn access_limits(&self) -> AccessLimits {
        let policy = &self.policy;
        AccessLimits {
            namespaces: match &policy.namespaces {
                Namespaces::All => Vec::new(),
                Namespaces::Only(names) => names.iter().cloned().collect(),
            },
            exec: policy.exec,
            logs: policy.logs,
            port_forward: policy.port_forward,
            proxy: policy.proxy,
            services: policy.services.iter().map(ToString::to_string).collect(),
            organization: self.organization.clone().unwrap_or_default(),
        }
    }

    pub(super) fn effective_access(&self) -> Value {
        let limits = self.access_limits();
        json!({
            "profile": self.policy.profile.as_str(),
            "namespaces": limits.namespaces,
            "exec": limits.exec,
            "logs": limits.logs,
            "portForward": limits.port_forward,
            "proxy": limits.proxy,
            "services": limits.services,
        })
    }
}

fn parse_profile(text: &str) -> Result<Profile, Invalid> {
    text.parse()
        .map_err(|_| Invalid::expected("observe, operate or admin"))
}

fn finding(place: &str, problem: String) -> Finding {
    Finding {
        code: Code::CFG_001,
        place: place.to_owned(),
        problem,
    }
}
