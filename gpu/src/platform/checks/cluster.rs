//! The API server and what it offers.

use kantaloupe_checks::{Code, Outcome};

use super::{bad, count, not_applicable, pass, unknown};
use crate::platform::facts::{Api, Facts};
use crate::version;

/// The oldest Kubernetes that the agent is made for.
const OLDEST: &str = "1.26";
/// What some feature of the platform uses, if it is there.
const OPTIONAL: &[&str] = &[
    "metrics.k8s.io",
    "gateway.networking.k8s.io",
    "monitoring.coreos.com",
    "resource.k8s.io",
];

fn from_files(code: Code) -> Outcome {
    unknown(code, "these are objects from files: no API server was asked")
}

pub(super) fn reachable(facts: &Facts) -> Outcome {
    let code = Code::K8S_001;
    match facts.api.as_ref().map(|api| &api.answer) {
        None | Some(None) => from_files(code),
        Some(Some(Ok(took))) => {
            pass(code, format!("the API server answers ({took} ms)")).evidence("latencyMs", took.to_string())
        }
        Some(Some(Err(why))) => bad(code, format!("the API server does not answer: {why}"))
            .command("kubectl get --raw /readyz?verbose"),
    }
}

pub(super) fn version(facts: &Facts) -> Outcome {
    let code = Code::K8S_002;
    let Some(api) = &facts.api else {
        return from_files(code);
    };
    let Some(found) = api.version.as_deref() else {
        return unknown(code, "the API server did not tell its version");
    };
    match version::at_least(found, OLDEST) {
        Some(true) => pass(code, format!("Kubernetes {found}")),
        Some(false) => bad(code, format!("Kubernetes {found} is older than {OLDEST}")),
        None => unknown(code, format!("the API server calls its version {found}")),
    }
    .evidence("version", found)
}

pub(super) fn distribution(facts: &Facts) -> Outcome {
    let api = facts.api.as_ref();
    let groups = api.and_then(|api| api.groups.as_deref()).unwrap_or_default();
    let version = api.and_then(|api| api.version.as_deref());
    let found = crate::platform::distribution(version, groups, &facts.nodes);
    if api.is_none() && found == crate::platform::GENERIC {
        return from_files(Code::K8S_003);
    }
    pass(Code::K8S_003, found).evidence("distribution", found)
}

pub(super) fn optional_apis(facts: &Facts) -> Outcome {
    let code = Code::K8S_006;
    let Some(Api {
        groups: Some(groups), ..
    }) = &facts.api
    else {
        return unknown(code, "the API groups were not listed");
    };
    let (served, absent): (Vec<&str>, Vec<&str>) = OPTIONAL
        .iter()
        .copied()
        .partition(|wanted| groups.iter().any(|group| group == wanted));
    let message = match (served.as_slice(), absent.as_slice()) {
        (_, []) => "all are served".to_owned(),
        ([], _) => "none is served".to_owned(),
        (served, _) => format!("{} of {}", served.len(), count(OPTIONAL.len(), "optional API")),
    };
    let mut outcome = if served.is_empty() {
        not_applicable(code, message)
    } else {
        pass(code, message)
    };
    for group in &served {
        outcome = outcome.evidence(*group, "served");
    }
    for group in &absent {
        outcome = outcome.evidence(*group, "not installed");
    }
    outcome
}
