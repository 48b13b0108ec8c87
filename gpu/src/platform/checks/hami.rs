//! HAMi.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kantaloupe_checks::{Code, Outcome};

use super::nodes::gpu_nodes;
use super::{absent, bad, count, list, not_applicable, pass, unknown, unreadable};
use crate::inventory::{Finding, FindingLevel};
use crate::object::Lease;
use crate::platform::detect::hami::{self, Hami, has_ca, plugin_version, scheduler_version};
use crate::platform::detect::is_available;
use crate::platform::facts::Facts;
use crate::platform::{Objects, helm, name, namespace};

/// A leader renews its lease every few seconds; clocks of node and agent may differ by so much.
const LEASE_GRACE: i64 = 60;
/// What a lease lasts if it does not say.
const LEASE: i64 = 15;

const INSTALL: &str = "helm upgrade --install hami hami-charts/hami -n hami-system --create-namespace";

pub(super) fn scheduler(facts: &Facts) -> Outcome {
    let code = Code::HAMI_001;
    let kinds = ["deployments", "mutatingwebhookconfigurations", "leases"];
    if let Some(outcome) = unreadable(facts, code, &kinds[..1]) {
        return outcome;
    }
    let objects = &facts.objects;
    let Some(hami) = Hami::find(objects) else {
        return absent(facts, code, "HAMi is not installed").command(INSTALL);
    };
    let Some(scheduler) = hami.scheduler else {
        return absent(facts, code, "there is no Deployment of HAMi's scheduler").command(again(objects));
    };
    let path = helm::path(&scheduler.metadata);
    let in_namespace = namespace(&scheduler.metadata);
    let replicas = format!(
        "{}/{}",
        scheduler.status.available_replicas,
        scheduler.spec.replicas.unwrap_or(1)
    );
    if !is_available(scheduler) {
        return bad(code, format!("{path}: {replicas} replicas are available"))
            .command(format!(
                "kubectl -n {in_namespace} describe deployment {}",
                name(&scheduler.metadata)
            ))
            .command(format!(
                "kubectl -n {in_namespace} logs deployment/{} --all-containers --tail=50",
                name(&scheduler.metadata)
            ));
    }
    if let Some(outcome) = unreadable(facts, code, &kinds[1..2]) {
        return outcome;
    }
    match hami.webhook {
        None => {
            let what =
                "no MutatingWebhookConfiguration has the webhook vgpu.hami.io: pods are not given to HAMi";
            return absent(facts, code, what).command(again(objects));
        }
        Some((configuration, webhook)) if !has_ca(webhook) => {
            let what = format!(
                "the webhook of {configuration} has no caBundle: the API server cannot call it, and pods pass HAMi by"
            );
            return bad(code, what).command(again(objects));
        }
        Some(_) => {}
    }
    if hami.elects()
        && let Some(now) = facts.now
    {
        if let Some(outcome) = unreadable(facts, code, &kinds[2..]) {
            return outcome;
        }
        match hami.lease.map(|lease| overdue(lease, now)) {
            Some(None) => {}
            Some(Some(seconds)) => {
                let what = format!("{path}: no replica has renewed the lease for {seconds} s");
                return bad(code, what).command(format!(
                    "kubectl -n {in_namespace} rollout restart deployment {}",
                    name(&scheduler.metadata)
                ));
            }
            None => {
                return bad(code, format!("{path} elects a leader, but there is no lease"))
                    .command(format!("kubectl -n {in_namespace} get leases"));
            }
        }
    }
    pass(code, format!("{path} {replicas}, webhook with CA"))
}

/// Seconds since the renewal, if that is too long ago.
fn overdue(lease: &Lease, now: Timestamp) -> Option<i64> {
    let renewed = lease.spec.renew_time?;
    let age = now.as_second() - renewed.as_second();
    let limit = lease.spec.lease_duration_seconds.unwrap_or(LEASE).max(LEASE) + LEASE_GRACE;
    (age > limit).then_some(age)
}

/// The upgrade that renews what the chart makes.
pub(super) fn again(objects: &Objects) -> String {
    upgrade(objects, "")
}

/// An upgrade of HAMi's release with more flags.
pub(super) fn upgrade(objects: &Objects, more: &str) -> String {
    let release = Hami::find(objects).and_then(|hami| {
        let meta = hami.scheduler.map(|scheduler| &scheduler.metadata);
        let meta = meta.or_else(|| hami.plugins.first().map(|plugin| &plugin.metadata))?;
        helm::helm_release(objects, meta)
    });
    let (release, namespace) = release.unwrap_or_else(|| ("hami".to_owned(), hami::home(objects)));
    format!("helm upgrade {release} hami-charts/hami -n {namespace} --reuse-values {more}")
        .trim_end()
        .to_owned()
}

pub(super) fn plugin(facts: &Facts) -> Outcome {
    let code = Code::HAMI_002;
    if let Some(outcome) = unreadable(facts, code, &["daemonsets", "nodes"]) {
        return outcome;
    }
    let objects = &facts.objects;
    let Some(hami) = Hami::find(objects) else {
        return super::skipped(code, Code::HAMI_001);
    };
    if hami.plugins.is_empty() {
        return absent(facts, code, "there is no DaemonSet of HAMi's device plugin").command(again(objects));
    }
    let mut seen = BTreeMap::new();
    let mut wrong = Vec::new();
    let mut command = None;
    for plugin in &hami.plugins {
        let status = &plugin.status;
        let path = helm::path(&plugin.metadata);
        let pods = format!("{}/{}", status.number_ready, status.desired_number_scheduled);
        if status.number_ready < status.desired_number_scheduled || status.desired_number_scheduled == 0 {
            wrong.push(format!("{path} {pods}"));
            command.get_or_insert_with(|| {
                format!(
                    "kubectl -n {} describe daemonset {}",
                    namespace(&plugin.metadata),
                    name(&plugin.metadata)
                )
            });
        }
        seen.insert(path, pods);
    }
    // One for a vendor that is not in the cluster runs nowhere, as it should.
    let idle = hami
        .plugins
        .iter()
        .filter(|plugin| plugin.status.desired_number_scheduled == 0)
        .count();
    let busy = hami.plugins.len() - idle;
    if busy > 0 {
        wrong.retain(|text| !text.ends_with(" 0/0"));
    }
    let mut outcome = if wrong.is_empty() {
        let ready: Vec<_> = seen.iter().map(|(path, pods)| format!("{path} {pods}")).collect();
        pass(code, list(&ready))
    } else {
        let mut outcome = bad(code, format!("not ready: {}", list(&wrong)));
        outcome.commands.extend(command);
        outcome
    };
    outcome.evidence = seen;
    outcome
}

pub(super) fn registration(facts: &Facts) -> Outcome {
    let code = Code::HAMI_003;
    if let Some(outcome) = unreadable(facts, code, &["nodes"]) {
        return outcome;
    }
    if Hami::find(&facts.objects).is_none() {
        return super::skipped(code, Code::HAMI_001);
    }
    let enabled: Vec<_> = gpu_nodes(facts).into_iter().filter(|node| node.enabled).collect();
    if enabled.is_empty() && of(facts, code).is_empty() {
        return not_applicable(code, "no node is given to HAMi");
    }
    let silent: Vec<_> = enabled
        .iter()
        .filter(|node| node.node.devices == 0)
        .map(|node| node.name)
        .collect();
    let mut wrong = of(facts, code);
    let mut nodes: Vec<&str> = silent.clone();
    nodes.extend(wrong.iter().map(|finding| finding.object.name.as_str()));
    nodes.sort_unstable();
    nodes.dedup();
    wrong.retain(|finding| !silent.contains(&finding.object.name.as_str()));
    if nodes.is_empty() {
        return pass(
            code,
            format!(
                "{} on {}",
                count(facts.devices(), "device"),
                count(enabled.len(), "node")
            ),
        );
    }
    let mut parts = Vec::new();
    if !silent.is_empty() {
        parts.push(format!("no device is registered by {}", list(&silent)));
    }
    parts.extend(wrong.iter().take(2).map(|finding| finding.message.clone()));
    let home = hami::home(&facts.objects);
    let mut outcome = bad(code, parts.join("; "));
    for node in nodes.iter().take(super::NAMES) {
        outcome = outcome.command(format!(
            "kubectl -n {home} delete pod -l app.kubernetes.io/component=hami-device-plugin --field-selector spec.nodeName={node}"
        ));
    }
    outcome
}

/// Findings with a code that matter.
pub(super) fn of(facts: &Facts, code: Code) -> Vec<&Finding> {
    facts
        .findings
        .iter()
        .filter(|finding| finding.code == code.as_str() && finding.level != FindingLevel::Info)
        .collect()
}

pub(super) fn allocations(facts: &Facts) -> Outcome {
    let code = Code::HAMI_004;
    if !facts.pods_read {
        return unknown(code, "pods were not looked at");
    }
    let findings = of(facts, code);
    let Some(first) = findings.first() else {
        return pass(code, "the records of pods and devices agree");
    };
    let objects: Vec<_> = findings
        .iter()
        .map(|finding| match &finding.object.namespace {
            Some(namespace) => format!("{namespace}/{}", finding.object.name),
            None => finding.object.name.clone(),
        })
        .collect();
    let mut outcome = bad(
        code,
        format!("{}: {}", count(findings.len(), "finding"), first.message),
    )
    .evidence("objects", list(&objects));
    if let Some(namespace) = &first.object.namespace {
        outcome = outcome.command(format!(
            "kubectl -n {namespace} get pod {} -o yaml",
            first.object.name
        ));
    }
    outcome
}

pub(super) fn version(facts: &Facts) -> Outcome {
    let code = Code::HAMI_005;
    if let Some(outcome) = unreadable(facts, code, &["deployments", "daemonsets"]) {
        return outcome;
    }
    let Some(hami) = Hami::find(&facts.objects) else {
        return super::skipped(code, Code::HAMI_001);
    };
    let Some(version) = hami.version() else {
        return bad(code, "neither images nor labels tell the version of HAMi");
    };
    let main = hami.plugins.iter().find(|plugin| {
        let containers = &plugin.spec.template.spec.containers;
        containers
            .iter()
            .any(|container| container.name == "vgpu-monitor")
    });
    let plugin = main.and_then(|plugin| plugin_version(plugin));
    if let (Some(scheduler), Some(plugin)) = (hami.scheduler.and_then(scheduler_version), plugin)
        && scheduler != plugin
    {
        return bad(
            code,
            format!("the scheduler is {scheduler}, the device plugin {plugin}"),
        )
        .evidence("scheduler", scheduler)
        .evidence("devicePlugin", plugin)
        .command(again(&facts.objects));
    }
    let flavour = hami.flavour().map_or("unknown", hami::Flavour::as_str);
    pass(code, format!("HAMi {version}, names of metrics: {flavour}"))
        .evidence("version", version)
        .evidence("metrics", flavour)
}
