//! What the agent's service account should be allowed: what the chart's roles give, and no more.

use kantaloupe_gpu::platform::{KINDS, facts::Rule};

/// Groups that the agent may act for.
const GROUPS: [&str; 3] = [
    "kantaloupe:role:viewer",
    "kantaloupe:role:operator",
    "kantaloupe:role:admin",
];

/// The rules.
pub(super) fn expected(secret: &str) -> Vec<Rule> {
    let mut rules = vec![
        rule(&["get", "update", "patch"], "", &["secrets"], &[secret]),
        rule(&["impersonate"], "", &["users"], &[]),
        rule(&["impersonate"], "", &["groups"], &GROUPS),
        rule(&["get"], "", &["namespaces"], &["kube-system"]),
    ];
    for kind in KINDS.iter().filter(|kind| !kind.optional) {
        rules.push(rule(&["list"], kind.group, &[kind.name], &[]));
    }
    rules
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
