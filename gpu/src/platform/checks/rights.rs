//! Whether the agent may do what it should, and nothing more.

use kantaloupe_checks::{Code, Outcome};

use super::{bad, list, pass, unknown};
use crate::platform::facts::{Facts, Rights, Rule};

/// Everybody has these, by bindings that come with Kubernetes.
const EVERYBODYS: &[(&str, &str)] = &[
    ("authorization.k8s.io", "selfsubjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectrulesreviews"),
    ("authentication.k8s.io", "selfsubjectreviews"),
    // OpenShift gives every account a few more of the kind.
    ("authorization.openshift.io", "selfsubjectrulesreviews"),
    ("project.openshift.io", "projectrequests"),
    ("certificates.k8s.io", "clustertrustbundles"),
];

/// One right: a verb on a resource, perhaps on one object of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Right<'a> {
    verb: &'a str,
    group: &'a str,
    resource: &'a str,
    name: Option<&'a str>,
}

impl std::fmt::Display for Right<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        match self.name {
            Some(name) => write!(f, "/{name}"),
            None => Ok(()),
        }
    }
}

pub(super) fn rights(facts: &Facts) -> Outcome {
    let code = Code::K8S_004;
    let Some(rights) = &facts.rights else {
        return unknown(code, "the rights of the service account were not asked for");
    };
    let missing = differences(&rights.expected, &rights.rules);
    let extra: Vec<_> = differences(&rights.rules, &rights.expected)
        .into_iter()
        .filter(|right| {
            let own = EVERYBODYS.contains(&(right.group, right.resource));
            // To read more than needed of what holds no secret endangers nothing; distributions hand such rights to everybody.
            let reads = matches!(right.verb, "get" | "list" | "watch");
            !own && (!reads || matches!(right.resource, "secrets" | "*"))
        })
        .collect();
    let texts = |rights: &[Right<'_>]| rights.iter().map(ToString::to_string).collect::<Vec<_>>();
    let (missing, extra) = (texts(&missing), texts(&extra));
    if missing.is_empty() && extra.is_empty() {
        return pass(code, "the agent has the rights of its profile and no others");
    }
    if rights.incomplete && extra.is_empty() {
        let message =
            "the API server could not list all rights; those that are listed do not cover everything";
        return unknown(code, message).evidence("notListed", list(&missing));
    }
    let message = match (missing.is_empty(), extra.is_empty()) {
        (false, true) => format!("missing: {}", list(&missing)),
        (true, _) => format!("beyond the profile: {}", list(&extra)),
        (false, false) => format!(
            "missing: {}; beyond the profile: {}",
            list(&missing),
            list(&extra)
        ),
    };
    let mut outcome = bad(code, message);
    if missing.is_empty() {
        // More than needed endangers, but nothing is broken by it.
        outcome.verdict = kantaloupe_checks::Verdict::Warn;
        outcome =
            outcome.command("kubectl get clusterrolebindings,rolebindings -A -o wide | grep kantaloupe");
    } else {
        outcome = outcome.evidence("missing", missing.join("; ")).command(format!(
            "helm upgrade kantaloupe-agent <chart> -n {} --reuse-values --set rbac.create=true",
            rights.namespace
        ));
    }
    if !extra.is_empty() {
        outcome = outcome.evidence("extra", extra.join("; "));
    }
    outcome
}

/// Rights in `these` that `others` do not cover.
fn differences<'a>(these: &'a [Rule], others: &[Rule]) -> Vec<Right<'a>> {
    let mut found: Vec<_> = these
        .iter()
        .flat_map(rights_of)
        .filter(|right| !others.iter().any(|rule| covers(rule, right)))
        .collect();
    found.sort();
    found.dedup();
    found
}

fn rights_of(rule: &Rule) -> Vec<Right<'_>> {
    let mut found = Vec::new();
    for verb in &rule.verbs {
        for group in &rule.api_groups {
            for resource in &rule.resources {
                let right = |name| Right {
                    verb,
                    group,
                    resource,
                    name,
                };
                if rule.resource_names.is_empty() {
                    found.push(right(None));
                } else {
                    found.extend(rule.resource_names.iter().map(|name| right(Some(name))));
                }
            }
        }
    }
    found
}

fn covers(rule: &Rule, right: &Right<'_>) -> bool {
    let has = |list: &[String], wanted: &str| list.iter().any(|entry| entry == "*" || entry == wanted);
    let named = match right.name {
        None => rule.resource_names.is_empty(),
        Some(name) => rule.resource_names.is_empty() || rule.resource_names.iter().any(|entry| entry == name),
    };
    has(&rule.verbs, right.verb)
        && has(&rule.api_groups, right.group)
        && has(&rule.resources, right.resource)
        && named
}

impl Rights {
    /// Whether a right is among the rules: a verb on a resource, on the object of this name.
    pub fn allows(&self, verb: &str, group: &str, resource: &str, name: Option<&str>) -> bool {
        let right = Right {
            verb,
            group,
            resource,
            name,
        };
        self.rules.iter().any(|rule| covers(rule, &right))
    }
}
