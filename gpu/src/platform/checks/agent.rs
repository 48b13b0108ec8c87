//! The agent's own pod and its surroundings.

use std::net::IpAddr;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kantaloupe_checks::{Code, Outcome};

use super::{bad, list, not_applicable, pass, unknown, unreadable};
use crate::object::{EgressRule, NetworkPolicy, namespace_labels};
use crate::platform::facts::{Agent, Facts};
use crate::platform::{name, namespace};

/// Percent of the memory limit that leaves room for a burst.
const MEMORY: u64 = 80;
/// Restarts that are more than an upgrade and a lost node.
const RESTARTS: u32 = 5;

const ENFORCE: &str = "pod-security.kubernetes.io/enforce";

pub(super) fn pod_security(facts: &Facts) -> Outcome {
    let code = Code::SEC_001;
    let Some(agent) = &facts.agent else {
        return unknown(code, "the agent's pod is not known");
    };
    if let Some(outcome) = unreadable(facts, code, &["namespaces"]) {
        return outcome;
    }
    let level =
        namespace_labels(&facts.objects.namespaces, &agent.namespace).and_then(|labels| labels.get(ENFORCE));
    match level.map(String::as_str) {
        Some("privileged") => bad(code, format!("namespace {} enforces privileged", agent.namespace))
            .command(format!(
                "kubectl label namespace {} {ENFORCE}=restricted --overwrite",
                agent.namespace
            )),
        Some(level) => pass(code, format!("namespace {} enforces {level}", agent.namespace)),
        None => not_applicable(
            code,
            format!(
                "namespace {} names no level; the cluster's default holds",
                agent.namespace
            ),
        ),
    }
}

pub(super) fn network_policies(facts: &Facts) -> Outcome {
    let code = Code::SEC_002;
    let Some((agent, egress)) = facts.agent.as_ref().zip(facts.egress.as_ref()) else {
        return unknown(code, "the agent's pod or the gateway's address is not known");
    };
    if let Some(outcome) = unreadable(facts, code, &["networkpolicies"]) {
        return outcome;
    }
    let policies = &facts.objects.network_policies;
    let restricting: Vec<_> = policies
        .iter()
        .filter(|policy| restricts(policy, agent))
        .collect();
    if restricting.is_empty() {
        return pass(code, "no policy restricts the agent's way out");
    }
    let names: Vec<_> = restricting.iter().map(|policy| name(&policy.metadata)).collect();
    if egress.addresses.is_empty() {
        return unknown(
            code,
            format!(
                "{} restrict the way out; the gateway's address is not known",
                list(&names)
            ),
        );
    }
    let allowed = |address: &IpAddr| {
        let rules = restricting.iter().flat_map(|policy| &policy.spec.egress);
        rules.into_iter().any(|rule| allows(rule, *address, egress.port))
    };
    if egress.addresses.iter().any(allowed) {
        return pass(code, format!("{} let the agent reach the gateway", list(&names)));
    }
    let target = format!("{}:{}", egress.addresses[0], egress.port);
    bad(
        code,
        format!(
            "{} in {} allow no egress to {target}",
            list(&names),
            agent.namespace
        ),
    )
    .command(format!(
        "kubectl -n {} edit networkpolicy {}",
        agent.namespace, names[0]
    ))
}

/// The policy is about the agent's pods and about egress.
fn restricts(policy: &NetworkPolicy, agent: &Agent) -> bool {
    let spec = &policy.spec;
    let egress = spec.policy_types.iter().any(|kind| kind == "Egress")
        || (spec.policy_types.is_empty() && !spec.egress.is_empty());
    egress
        && namespace(&policy.metadata) == agent.namespace
        && spec.pod_selector.matches(agent.labels.as_ref())
}

/// Whether a rule lets packets to an address outside the cluster pass. Peers that are pods do not.
fn allows(rule: &EgressRule, address: IpAddr, port: u16) -> bool {
    let to = rule.to.is_empty()
        || rule
            .to
            .iter()
            .filter_map(|peer| peer.ip_block.as_ref())
            .any(|block| {
                contains(&block.cidr, address) && !block.but.iter().any(|cidr| contains(cidr, address))
            });
    let by_port = rule.ports.is_empty()
        || rule.ports.iter().any(|entry| {
            let tcp = entry.protocol.as_deref().unwrap_or("TCP") == "TCP";
            tcp && match (&entry.port, entry.end_port) {
                (None, _) => true,
                (Some(IntOrString::Int(first)), Some(last)) => {
                    (*first..=i32::from(last)).contains(&i32::from(port))
                }
                (Some(IntOrString::Int(only)), None) => *only == i32::from(port),
                // Names are of pods' ports, and the gateway is no pod.
                (Some(IntOrString::String(_)), _) => false,
            }
        });
    to && by_port
}

/// Whether `cidr` (`10.0.0.0/8`) contains the address.
fn contains(cidr: &str, address: IpAddr) -> bool {
    let Some((base, bits)) = cidr.split_once('/') else {
        return false;
    };
    let (Ok(base), Ok(bits)) = (base.parse::<IpAddr>(), bits.parse::<u32>()) else {
        return false;
    };
    match (base, address) {
        (IpAddr::V4(base), IpAddr::V4(address)) if bits <= 32 => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            base.to_bits() & mask == address.to_bits() & mask
        }
        (IpAddr::V6(base), IpAddr::V6(address)) if bits <= 128 => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            base.to_bits() & mask == address.to_bits() & mask
        }
        _ => false,
    }
}

pub(super) fn memory(facts: &Facts) -> Outcome {
    let code = Code::AGT_001;
    let Some(agent) = &facts.agent else {
        return unknown(code, "the agent's pod is not known");
    };
    if agent.last_end.as_deref() == Some("OOMKilled") {
        return bad(
            code,
            format!("the container of {} was ended for lack of memory", agent.pod),
        )
        .command(format!(
            "helm upgrade kantaloupe-agent <chart> -n {} --reuse-values --set resources.limits.memory=512Mi",
            agent.namespace
        ));
    }
    let Some((used, limit)) = agent.memory else {
        return unknown(code, "the memory of the pod and its limit are not known here");
    };
    let mib = |bytes: u64| bytes / (1024 * 1024);
    let text = format!("{} of {} MiB", mib(used), mib(limit));
    if used.saturating_mul(100) > limit.saturating_mul(MEMORY) {
        bad(code, format!("{text} are in use")).command(format!(
            "helm upgrade kantaloupe-agent <chart> -n {} --reuse-values --set resources.limits.memory={}Mi",
            agent.namespace,
            mib(limit) * 2
        ))
    } else {
        pass(code, text)
    }
}

pub(super) fn connected(facts: &Facts) -> Outcome {
    let code = Code::AGT_002;
    let Some(agent) = &facts.agent else {
        return unknown(code, "the agent's pod is not known");
    };
    let log = format!("kubectl -n {} logs {} --tail=50", agent.namespace, agent.pod);
    if let Some(Err(why)) = &agent.tunnel {
        return bad(code, format!("no tunnel: {why}")).command(log);
    }
    if let Some(restarts) = agent.restarts.filter(|restarts| *restarts >= RESTARTS) {
        let why = agent.last_end.as_deref().unwrap_or("reason unknown");
        return bad(
            code,
            format!(
                "the container of {} restarted {restarts} times ({why})",
                agent.pod
            ),
        )
        .command(format!("{log} --previous"));
    }
    match (&agent.tunnel, agent.restarts) {
        (Some(_), restarts) => pass(
            code,
            format!(
                "the tunnel is up, {} restarts",
                restarts.map_or_else(|| "unknown".to_owned(), |restarts| restarts.to_string())
            ),
        ),
        (None, _) => unknown(code, "no running agent was asked"),
    }
}
