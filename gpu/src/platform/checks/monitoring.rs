//! Prometheus and the metrics in it.

use kantaloupe_checks::{Code, Outcome};

use super::nodes::has_nvidia;
use super::{absent, bad, list, not_applicable, pass, skipped, unknown, unreadable};
use crate::metrics::server::{MIN_PROMETHEUS, Server, ServerKind};
use crate::platform::detect::monitoring::has_server;
use crate::platform::detect::nvidia;
use crate::platform::facts::{Facts, Prometheus};
use crate::platform::scrape::{Exporter, NotSelected, Way, is_managed, way};
use crate::version;

/// A scrape every minute, two of them lost: older samples mean that nothing is scraped any more. Prometheus itself gives
/// none that are older than five minutes.
const FRESH_SECONDS: f64 = 180.0;

const DCGM: &[&str] = &["DCGM_FI_DEV_GPU_UTIL"];
/// On devices in MIG mode there is no overall utilisation.
const DCGM_MIG: &str = "DCGM_FI_PROF_GR_ENGINE_ACTIVE";
const MONITOR: &[&str] = &["HostCoreUtilization", "hami_host_gpu_utilization_ratio"];
const SCHEDULER: &[&str] = &["GPUDeviceCoreAllocated", "hami_gpu_core_allocated_ratio"];

/// The kinds that lead to a server.
const SERVERS: &[&str] = &["prometheuses", "vmsingles", "vmclusters"];

/// Labels of DCGM's metrics that the join to nodes needs, either of them.
pub const LABELS: [&str; 2] = ["Hostname", "hostname"];

/// Every metric that the checks want samples of.
pub fn metrics() -> impl Iterator<Item = &'static str> {
    let wanted = Exporter::ALL.into_iter().flat_map(names).copied();
    wanted.chain([DCGM_MIG])
}

pub(super) fn reachable(facts: &Facts) -> Outcome {
    let code = Code::MON_001;
    match &facts.prometheus {
        Some(Prometheus {
            problem: Some(problem),
            address,
            found_by,
            ..
        }) => {
            let mut outcome =
                bad(code, format!("{address}: {problem}")).evidence("foundBy", found_by.clone());
            if !address.is_empty() {
                outcome = outcome.evidence("address", address.clone()).command(format!(
                    "kubectl run kantaloupe-probe -it --rm --restart=Never --image=curlimages/curl -- -sS -m 5 {}/-/healthy",
                    address.trim_end_matches('/')
                ));
            }
            outcome
        }
        Some(prometheus) => pass(code, prometheus.address.clone())
            .evidence("address", prometheus.address.clone())
            .evidence("foundBy", prometheus.found_by.clone()),
        None if facts.api.is_some() => {
            if has_server(&facts.objects) {
                return unknown(code, "there is one, but it was not asked");
            }
            if let Some(outcome) = unreadable(facts, code, SERVERS) {
                return outcome;
            }
            bad(code, "no Prometheus and no VictoriaMetrics was found").command(
                "helm upgrade --install prometheus prometheus-community/kube-prometheus-stack -n monitoring --create-namespace",
            )
        }
        None if has_server(&facts.objects) => {
            unknown(code, "the objects name one; it cannot be asked from files")
        }
        None => unknown(code, "the objects name none, and none can be asked from files"),
    }
}

pub(super) fn version(facts: &Facts) -> Outcome {
    let code = Code::MON_002;
    let judge = |found: &str| {
        match version::at_least(found, MIN_PROMETHEUS) {
        Some(true) => pass(code, format!("Prometheus {found}")),
        Some(false) => bad(code, format!("Prometheus {found} is older than {MIN_PROMETHEUS}")).command(
            "helm upgrade prometheus prometheus-community/kube-prometheus-stack -n monitoring --reuse-values --version 75.15.1",
        ),
        None => unknown(code, format!("it calls its version {found}")),
    }
    };
    match facts
        .prometheus
        .as_ref()
        .and_then(|prometheus| prometheus.server.as_ref())
    {
        Some(Server {
            kind: ServerKind::Prometheus,
            version: Some(found),
            ..
        }) => return judge(found).evidence("version", found.clone()),
        Some(Server {
            kind: ServerKind::VictoriaMetrics,
            ..
        }) => {
            return pass(
                code,
                "VictoriaMetrics, which is not measured by Prometheus' versions",
            )
            .evidence("server", "VictoriaMetrics");
        }
        Some(_) | None => {}
    }
    // What objects say is second best: the one that answers may be another.
    let by_object = facts.objects.prometheuses.iter().find_map(|prometheus| {
        let image = prometheus.spec.image.as_deref();
        prometheus.spec.version.clone().or_else(|| {
            image
                .and_then(super::super::helm::image_version)
                .map(str::to_owned)
        })
    });
    match by_object {
        Some(found) => judge(found.trim_start_matches('v')).evidence("version", found),
        None if !facts.objects.vm_singles.is_empty() || !facts.objects.vm_clusters.is_empty() => pass(
            code,
            "VictoriaMetrics, which is not measured by Prometheus' versions",
        ),
        None => unknown(code, "nothing tells the version"),
    }
}

/// The exporters that this cluster should have.
fn wanted(facts: &Facts) -> impl Iterator<Item = Exporter> {
    let nvidia = has_nvidia(facts);
    Exporter::ALL
        .into_iter()
        // HAMi's monitor reads NVIDIA's devices only.
        .filter(move |exporter| nvidia || *exporter == Exporter::HamiScheduler)
}

/// Whether Prometheus itself proves that it scrapes the exporter, whatever objects say.
fn proven(facts: &Facts, exporter: Exporter) -> bool {
    let Some(prometheus) = &facts.prometheus else {
        return false;
    };
    let up = prometheus.targets.get(&exporter).is_some_and(|&(up, _)| up > 0);
    up || names(exporter).iter().any(|metric| {
        prometheus
            .samples
            .get(*metric)
            .is_some_and(|sample| sample.series > 0)
    })
}

fn names(exporter: Exporter) -> &'static [&'static str] {
    match exporter {
        Exporter::Dcgm => DCGM,
        Exporter::HamiMonitor => MONITOR,
        Exporter::HamiScheduler => SCHEDULER,
    }
}

/// Exporters whose monitor no Prometheus selects.
fn unselected(facts: &Facts) -> Vec<(Exporter, Box<NotSelected>)> {
    wanted(facts)
        .filter(|&exporter| !proven(facts, exporter))
        .filter_map(|exporter| match way(&facts.objects, exporter) {
            Way::NotSelected(way) => Some((exporter, way)),
            _ => None,
        })
        .collect()
}

pub(super) fn selectors(facts: &Facts) -> Outcome {
    let code = Code::MON_007;
    if let Some(outcome) = unreadable(facts, code, &["servicemonitors", "prometheuses", "services"]) {
        return outcome;
    }
    if !is_managed(&facts.objects) {
        return not_applicable(
            code,
            "no object of the Prometheus Operator decides what is scraped",
        );
    }
    let wrong = unselected(facts);
    let Some((_, first)) = wrong.first() else {
        return pass(code, "every monitor of an exporter is selected");
    };
    // Without them no selector of namespaces matches.
    if wrong.iter().any(|(_, way)| way.namespaces)
        && let Some(outcome) = unreadable(facts, code, &["namespaces"])
    {
        return outcome;
    }
    let texts: Vec<_> = wrong
        .iter()
        .map(|(_, way)| {
            let path = format!("{} {}/{}", way.kind, way.namespace, way.name);
            match (way.labels, way.namespaces) {
                (true, false) => format!(
                    "{path} lacks the labels that {} selects ({})",
                    way.prometheus, way.selector
                ),
                (false, _) => format!("{path} is in a namespace that {} does not select", way.prometheus),
                (true, true) => format!(
                    "{path} has neither the labels ({}) nor the namespace that {} selects",
                    way.selector, way.prometheus
                ),
            }
        })
        .collect();
    let mut outcome = bad(code, list(&texts))
        .evidence("prometheus", first.prometheus.clone())
        .evidence("selector", first.selector.clone());
    for (exporter, way) in &wrong {
        outcome = outcome.command(select_command(facts, *exporter, way));
    }
    outcome.commands.dedup();
    outcome
}

/// How the monitor gets what is missing: through the chart that made it where there is one, since that would undo a label.
fn select_command(facts: &Facts, exporter: Exporter, way: &NotSelected) -> String {
    let objects = &facts.objects;
    if !way.labels || way.needed.is_empty() {
        let (namespace, name) = way
            .prometheus
            .split_once('/')
            .unwrap_or(("monitoring", &way.prometheus));
        let field = if way.labels {
            r#"{"serviceMonitorSelector":{},"serviceMonitorNamespaceSelector":{}}"#
        } else {
            r#"{"serviceMonitorNamespaceSelector":{}}"#
        };
        return format!(
            "kubectl -n {namespace} patch prometheus {name} --type merge -p '{{\"spec\":{field}}}'"
        );
    }
    match (way.owner.as_deref(), exporter) {
        (Some("gpu-operator"), _) => {
            let values: Vec<_> = way
                .needed
                .iter()
                .map(|(key, value)| {
                    format!(
                        "dcgmExporter.serviceMonitor.additionalLabels.{}={value}",
                        key.replace('.', "\\.")
                    )
                })
                .collect();
            super::gpu::upgrade(objects, &values)
        }
        (Some(_), Exporter::HamiScheduler | Exporter::HamiMonitor) => {
            let values: Vec<_> = way
                .needed
                .iter()
                .map(|(key, value)| format!("--set global.labels.{}={value}", key.replace('.', "\\.")))
                .collect();
            super::hami::upgrade(objects, &values.join(" "))
        }
        _ => {
            let labels: Vec<_> = way
                .needed
                .iter()
                .map(|(key, value)| format!("{key}={value}"))
                .collect();
            format!(
                "kubectl -n {} label {} {} {} --overwrite",
                way.namespace,
                way.kind.to_ascii_lowercase(),
                way.name,
                labels.join(" ")
            )
        }
    }
}

/// Exporters that are not scraped for another reason than selectors, and what mends that.
fn not_scraped(facts: &Facts) -> Vec<(Exporter, String, String)> {
    let objects = &facts.objects;
    let managed = is_managed(objects);
    let asked = facts
        .prometheus
        .as_ref()
        .filter(|prometheus| prometheus.problem.is_none());
    wanted(facts)
        .filter_map(|exporter| {
            let what = exporter.as_str();
            if let Some(&(up, down)) = asked.and_then(|prometheus| prometheus.targets.get(&exporter))
                && down > 0
            {
                let text = format!("{what}: {down} of {} targets are down", up + down);
                let command = format!(
                    "kubectl get --raw '{}' | head",
                    "/api/v1/namespaces/monitoring/services/prometheus-operated:9090/proxy/api/v1/targets?state=active"
                );
                return Some((exporter, text, command));
            }
            if proven(facts, exporter) || !managed {
                return None;
            }
            match way(objects, exporter) {
                Way::NoService => Some((
                    exporter,
                    format!("{what}: no Service has the port with its metrics"),
                    make_monitor(facts, exporter),
                )),
                Way::NoMonitor { service, port } => Some((
                    exporter,
                    format!("{what}: no ServiceMonitor selects Service {service} (port {port})"),
                    make_monitor(facts, exporter),
                )),
                Way::NoPort {
                    service,
                    monitor,
                    wanted,
                    has,
                } => Some((
                    exporter,
                    format!("{what}: {monitor} asks for port {wanted}, {service} has {has}"),
                    edit_command(&monitor),
                )),
                Way::Selected { by, .. } if asked.is_some_and(|asked| !asked.targets.is_empty()) => Some((
                    exporter,
                    format!("{what}: {by} selects its monitor, but has no target for it"),
                    "kubectl get endpointslices -A".to_owned(),
                )),
                Way::NotInstalled | Way::NotSelected(_) | Way::Selected { .. } | Way::Unknown(_) => None,
            }
        })
        .collect()
}

fn edit_command(monitor: &str) -> String {
    let (kind, path) = monitor.split_once(' ').unwrap_or(("ServiceMonitor", monitor));
    let (namespace, name) = path.split_once('/').unwrap_or(("default", path));
    format!("kubectl -n {namespace} edit {} {name}", kind.to_ascii_lowercase())
}

/// How the exporter's chart is told to make a monitor.
fn make_monitor(facts: &Facts, exporter: Exporter) -> String {
    let objects = &facts.objects;
    // The label that the Prometheus asks for goes in with it, or the next check would fail.
    let needed = objects
        .prometheuses
        .iter()
        .find_map(|prometheus| prometheus.spec.service_monitor_selector.as_ref())
        .map(crate::object::LabelSelector::satisfying)
        .unwrap_or_default();
    match exporter {
        Exporter::Dcgm => {
            let mut values = vec!["dcgmExporter.serviceMonitor.enabled=true".to_owned()];
            values.extend(needed.iter().map(|(key, value)| {
                format!(
                    "dcgmExporter.serviceMonitor.additionalLabels.{}={value}",
                    key.replace('.', "\\.")
                )
            }));
            super::gpu::upgrade(objects, &values)
        }
        Exporter::HamiScheduler | Exporter::HamiMonitor => {
            let mut values = vec!["--set prometheus.enabled=true".to_owned()];
            values.extend(
                needed
                    .iter()
                    .map(|(key, value)| format!("--set global.labels.{}={value}", key.replace('.', "\\."))),
            );
            super::hami::upgrade(objects, &values.join(" "))
        }
    }
}

pub(super) fn scraped(facts: &Facts) -> Outcome {
    let code = Code::MON_003;
    if let Some(outcome) = unreadable(
        facts,
        code,
        &[
            "services",
            "servicemonitors",
            "prometheuses",
            "daemonsets",
            "deployments",
        ],
    ) {
        return outcome;
    }
    let asked = facts
        .prometheus
        .as_ref()
        .filter(|prometheus| prometheus.problem.is_none());
    if !is_managed(&facts.objects) && asked.is_none() {
        return if has_server(&facts.objects) {
            unknown(code, "neither objects nor Prometheus itself tell what is scraped")
        } else {
            skipped(code, Code::MON_001)
        };
    }
    let wrong = not_scraped(facts);
    if wrong.is_empty() {
        let ways: Vec<_> = wanted(facts)
            .filter(|&exporter| {
                proven(facts, exporter) || matches!(way(&facts.objects, exporter), Way::Selected { .. })
            })
            .map(Exporter::as_str)
            .collect();
        return pass(
            code,
            if ways.is_empty() {
                "no exporter is installed".to_owned()
            } else {
                list(&ways)
            },
        );
    }
    let texts: Vec<_> = wrong.iter().map(|(_, text, _)| text.as_str()).collect();
    let mut outcome = absent(facts, code, texts.join("; "));
    outcome.commands = wrong.iter().map(|(_, _, command)| command.clone()).collect();
    outcome.commands.dedup();
    outcome
}

pub(super) fn dcgm_samples(facts: &Facts) -> Outcome {
    let code = Code::MON_004;
    if !has_nvidia(facts) {
        return not_applicable(code, "no node has NVIDIA devices");
    }
    let outcome = samples(facts, code, Exporter::Dcgm);
    let mig = facts
        .prometheus
        .as_ref()
        .and_then(|prometheus| prometheus.samples.get(DCGM_MIG))
        .is_some_and(|sample| sample.series > 0);
    if outcome.verdict == kantaloupe_checks::Verdict::Fail && mig {
        return pass(code, format!("{DCGM_MIG} instead: the devices are in MIG mode"));
    }
    if outcome.verdict == kantaloupe_checks::Verdict::Fail && nvidia::policy(&facts.objects).is_some() {
        return outcome.command("kubectl get clusterpolicy -o jsonpath='{.items[0].spec.dcgmExporter.env}'");
    }
    outcome
}

pub(super) fn monitor_samples(facts: &Facts) -> Outcome {
    let code = Code::MON_005;
    if !has_nvidia(facts) {
        return not_applicable(
            code,
            "HAMi's monitor reads NVIDIA devices only, and there are none",
        );
    }
    let home = crate::platform::detect::hami::home(&facts.objects);
    mended(samples(facts, code, Exporter::HamiMonitor), || {
        format!(
            "kubectl -n {home} logs -l app.kubernetes.io/component=hami-device-plugin -c vgpu-monitor --tail=50"
        )
    })
}

pub(super) fn scheduler_samples(facts: &Facts) -> Outcome {
    let home = crate::platform::detect::hami::home(&facts.objects);
    mended(samples(facts, Code::MON_006, Exporter::HamiScheduler), || {
        format!(
            "kubectl -n {home} logs -l app.kubernetes.io/component=hami-scheduler -c vgpu-scheduler-extender --tail=50"
        )
    })
}

fn mended(outcome: Outcome, command: impl FnOnce() -> String) -> Outcome {
    if outcome.verdict == kantaloupe_checks::Verdict::Fail {
        outcome.command(command())
    } else {
        outcome
    }
}

fn samples(facts: &Facts, code: Code, exporter: Exporter) -> Outcome {
    // Whoever is not scraped has no samples, and that is said there.
    if unselected(facts).iter().any(|(wrong, _)| *wrong == exporter) {
        return skipped(code, Code::MON_007);
    }
    if not_scraped(facts).iter().any(|(wrong, ..)| *wrong == exporter) {
        return skipped(code, Code::MON_003);
    }
    let Some(prometheus) = facts
        .prometheus
        .as_ref()
        .filter(|prometheus| prometheus.problem.is_none())
    else {
        return unknown(code, "Prometheus was not asked");
    };
    let names = names(exporter);
    let found: Vec<_> = names
        .iter()
        .filter_map(|name| Some((*name, prometheus.samples.get(*name)?)))
        .filter(|(_, sample)| sample.series > 0)
        .collect();
    if prometheus.samples.is_empty() && prometheus.targets.is_empty() {
        // Nothing at all came back, not even that there is nothing.
        return unknown(code, "the queries gave no answer");
    }
    let age = |age: f64| format!("{age:.0} s old");
    let fresh = found
        .iter()
        .find(|(_, sample)| sample.age.is_none_or(|age| age <= FRESH_SECONDS));
    match (fresh, found.first()) {
        (Some((name, sample)), _) => {
            let when = sample
                .age
                .map_or_else(String::new, |seconds| format!(", {}", age(seconds)));
            pass(code, format!("{} series of {name}{when}", sample.series)).evidence("metric", *name)
        }
        (None, Some((name, sample))) => {
            let when = sample.age.map_or_else(String::new, age);
            bad(code, format!("the newest sample of {name} is {when}")).evidence("metric", *name)
        }
        (None, None) => bad(code, format!("no sample of {}", names.join(" or "))),
    }
}

pub(super) fn dcgm_labels(facts: &Facts) -> Outcome {
    let code = Code::HAMI_006;
    if !has_nvidia(facts) {
        return not_applicable(code, "no node has NVIDIA devices");
    }
    let samples = facts.prometheus.as_ref().map(|prometheus| &prometheus.samples);
    let sample = samples.and_then(|samples| samples.get(DCGM[0]).or_else(|| samples.get(DCGM_MIG)));
    let Some(sample) = sample.filter(|sample| sample.series > 0) else {
        return unknown(code, "there are no DCGM samples to look at");
    };
    let has = |name: &str| sample.labels.iter().any(|label| label == name);
    let [old, new] = LABELS;
    match (has(old), has(new)) {
        (true, _) => pass(code, "the label is Hostname").evidence("label", "Hostname"),
        (false, true) => {
            pass(code, "the label is hostname, as newer exporters have it").evidence("label", "hostname")
        }
        (false, false) => bad(code, "not all series have Hostname, nor all hostname")
            .evidence("labels", sample.labels.join(",")),
    }
}
