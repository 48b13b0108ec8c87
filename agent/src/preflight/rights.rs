//! What the agent's service account should be allowed: what the chart's roles give, and no more.

#[cfg(test)]
mod tests;

use kantaloupe_gpu::platform::{KINDS, facts::Rule};
use kantaloupe_policy::{LocalPolicy, Namespaces, Profile, Role, table};
use kantaloupe_proto::{
    headers::{IMPERSONATED_ORGANIZATION_PREFIX, IMPERSONATED_ROLE_PREFIX},
    request::Verb,
};

use crate::config::Config;

/// The chart's default, where there is no configuration to read it from.
const SECRET: &str = "kantaloupe-agent-identity";
/// The right to impersonate where the API server wants one for each thing done that way as well (KEP-5284).
const CONSTRAINED: &str = "impersonate:user-info";
/// What a wildcard of the profile admin stands for there.
const VERBS: [&str; 8] = [
    "get",
    "list",
    "watch",
    "create",
    "update",
    "patch",
    "delete",
    "deletecollection",
];

/// The rules. `found` tells in which of its two forms the chart gives the right to impersonate.
pub(super) fn expected(config: Option<&Config>, found: &[Rule]) -> Vec<Rule> {
    let secret = config.map_or(SECRET, |config| &config.secret_name);
    let observing = LocalPolicy::new(Profile::Observe);
    let policy = config.map_or(&observing, |config| &config.policy);
    let organization = config.and_then(|config| config.organization.as_deref());
    let mut rules = vec![
        rule(&["get", "update", "patch"], "", &["secrets"], &[secret]),
        rule(&["get"], "", &["namespaces"], &["kube-system"]),
    ];
    // ConfigMaps of HAMi are optional: their names are the installation's.
    for kind in KINDS.iter().filter(|kind| !kind.optional) {
        rules.push(rule(&["list"], kind.group, &[kind.name], &[]));
    }
    let groups = groups(policy, organization);
    let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
    let constrained = found
        .iter()
        .any(|rule| rule.verbs.iter().any(|verb| verb == CONSTRAINED));
    if constrained {
        let group = "authentication.k8s.io";
        rules.push(rule(&[CONSTRAINED], group, &["users"], &[]));
        rules.push(rule(&[CONSTRAINED], group, &["groups"], &groups));
        rules.extend(on_behalf(policy));
    } else {
        rules.push(rule(&["impersonate"], "", &["users"], &[]));
        rules.push(rule(&["impersonate"], "", &["groups"], &groups));
    }
    rules
}

/// Groups that the agent may act for.
fn groups(policy: &LocalPolicy, organization: Option<&str>) -> Vec<String> {
    Role::ALL
        .iter()
        .filter(|role| **role <= policy.profile.role())
        .map(|role| format!("{IMPERSONATED_ROLE_PREFIX}{role}"))
        .chain(organization.map(|name| format!("{IMPERSONATED_ORGANIZATION_PREFIX}{name}")))
        .collect()
}

/// What may be done as somebody, as far as the rules of the agent's own namespace show it: with `access.namespaces`
/// that is what belongs to none.
fn on_behalf(policy: &LocalPolicy) -> Vec<Rule> {
    let everywhere = policy.namespaces == Namespaces::All;
    let switched_off = |resource: &str| match resource {
        "pods/exec" | "pods/attach" => !policy.exec,
        "pods/log" => !policy.logs,
        "pods/portforward" => !policy.port_forward,
        _ => false,
    };
    let mut rules = Vec::new();
    for row in table().iter().filter(|row| row.role <= policy.profile.role()) {
        let about_oneself = row.verbs == [Verb::Create] && row.role == Role::Viewer;
        let resources: Vec<&str> = row
            .resources
            .iter()
            .copied()
            .filter(|name| !switched_off(name))
            .collect();
        if everywhere || about_oneself {
            let words = row.verbs.iter().flat_map(|verb| match verb {
                Verb::Connect => vec!["create", "get"],
                verb => vec![verb.as_str()],
            });
            rules.push(rule_on_behalf(words, row.group, &resources));
        }
    }
    if everywhere && policy.profile == Profile::Admin {
        rules.push(rule_on_behalf(VERBS, "*", &["*"]));
    }
    rules
}

fn rule_on_behalf<'a>(verbs: impl IntoIterator<Item = &'a str>, group: &str, resources: &[&str]) -> Rule {
    let verbs: Vec<String> = verbs
        .into_iter()
        .map(|verb| format!("impersonate-on:user-info:{verb}"))
        .collect();
    Rule {
        verbs,
        ..rule(&[], group, resources, &[])
    }
}

fn rule(verbs: &[&str], group: &str, resources: &[&str], names: &[&str]) -> Rule {
    let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    Rule {
        verbs: owned(verbs),
        api_groups: owned(&[group]),
        resources: owned(resources),
        resource_names: owned(names),
    }
}
