//! A sound cluster gives no code, and each fault gives its own and no other. The objects and the faults are those that the
//! end-to-end test puts into a real API server.

mod components;
mod faults;
mod ways;

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use kantaloupe_checks::{Outcome, Verdict};
use serde_json::{Value, json};

use super::facts::{Agent, Api, Egress, Facts, Prometheus, Rights, Rule, Sample};
use super::scrape::Exporter;
use super::{KINDS, Objects, Read, checks};
use crate::metrics::server::{Server, ServerKind};

/// What a sound cluster consists of.
const SOUND: &[&str] = &[
    "nodes/nvidia-p4-driver-550-144-03.json",
    "nodes/nvidia-v210-json-l40s-stale-requesting-healthy.json",
    "platform/hami-install-v2.10.0.json",
    "platform/hami-scheduler-device-configmap.json",
    "platform/hami-servicemonitors-kantaloupe.json",
    "platform/clusterpolicy-ready-servicemonitor-labelled.json",
    "platform/gpu-operator-deployment.json",
    "platform/gpu-operator-daemonsets.json",
    "platform/gpu-operator-dcgm-service-and-monitor.json",
    "platform/prometheus-selector-release.json",
    "platform/gatewayclass-envoy.json",
    "platform/gateway-programmed.json",
    "platform/gateway-api-crd.json",
    "platform/nfs-storage.json",
];

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures")
}

fn read(path: &str) -> Value {
    let path = fixtures().join(path);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap()
}

/// The objects in a file: one, or those of a List.
fn objects_in(path: &str) -> Vec<Value> {
    let value = read(path);
    match value["items"].as_array() {
        Some(items) => items.clone(),
        None => vec![value],
    }
}

/// The files, and what the charts' jobs and controllers add to them in a live cluster.
pub(crate) fn sound() -> Vec<Value> {
    let mut objects: Vec<Value> = SOUND.iter().flat_map(|path| objects_in(path)).collect();
    for object in &mut objects {
        match object["kind"].as_str().unwrap() {
            "MutatingWebhookConfiguration" => {
                object["webhooks"][0]["clientConfig"]["caBundle"] = json!("Y2E=");
            }
            "Lease" => object["spec"]["renewTime"] = json!(now().to_string()),
            _ => {}
        }
    }
    objects.push(json!({
        "apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "nvidia"}, "handler": "nvidia"
    }));
    for name in [
        "hami-system",
        "gpu-operator",
        "monitoring",
        "envoy-gateway-system",
        "kantaloupe-system",
        "kube-system",
    ] {
        objects.push(json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}}
        }));
    }
    objects
}

fn now() -> Timestamp {
    "2026-11-01T12:00:00Z".parse().unwrap()
}

fn parse(objects: &[Value]) -> Objects {
    let mut parsed = Objects::default();
    for object in objects {
        let version = object["apiVersion"].as_str().unwrap();
        let group = version.split_once('/').map_or("", |(group, _)| group);
        parsed.add(group, object["kind"].as_str().unwrap(), &object.to_string());
    }
    for kind in KINDS {
        parsed.read.insert(kind.name, Read::Ok);
    }
    assert!(parsed.broken.is_empty(), "{:?}", parsed.broken);
    parsed
}

fn sample(labels: &[&str]) -> Sample {
    Sample {
        series: 2,
        age: Some(12.0),
        labels: labels.iter().map(|label| (*label).to_owned()).collect(),
    }
}

fn prometheus_of(version: &str) -> Server {
    Server {
        kind: ServerKind::Prometheus,
        version: Some(version.to_owned()),
        name: None,
    }
}

/// All that is measured, as it is in a sound cluster.
fn facts(objects: &[Value]) -> Facts {
    let mut facts = Facts::of(parse(objects), now(), true);
    facts.api = Some(Api {
        answer: Some(Ok(4)),
        version: Some("v1.31.4+rke2r1".to_owned()),
        groups: Some(
            [
                "apps",
                "metrics.k8s.io",
                "gateway.networking.k8s.io",
                "monitoring.coreos.com",
            ]
            .map(str::to_owned)
            .to_vec(),
        ),
    });
    facts.pods_read = true;
    facts.prometheus = Some(Prometheus {
        address: "http://prometheus-operated.monitoring.svc:9090".to_owned(),
        found_by: "Prometheus monitoring/prometheus-kube-prometheus-prometheus".to_owned(),
        problem: None,
        server: Some(prometheus_of("3.5.0")),
        targets: Exporter::ALL.map(|exporter| (exporter, (2, 0))).into(),
        samples: [
            ("DCGM_FI_DEV_GPU_UTIL", sample(&["Hostname", "UUID"])),
            ("hami_host_gpu_utilization_ratio", sample(&["device_uuid"])),
            ("hami_gpu_core_allocated_ratio", sample(&["device_uuid", "node"])),
        ]
        .map(|(name, sample)| (name.to_owned(), sample))
        .into(),
    });
    facts.rights = Some(Rights {
        namespace: "kantaloupe-system".to_owned(),
        rules: expected(),
        incomplete: false,
        expected: expected(),
    });
    facts.gateways = [("10.7.0.20:80".to_owned(), Ok(2))].into();
    facts.agent = Some(Agent {
        namespace: "kantaloupe-system".to_owned(),
        pod: "kantaloupe-agent-0".to_owned(),
        labels: Some([("app.kubernetes.io/name".to_owned(), "kantaloupe-agent".to_owned())].into()),
        restarts: Some(0),
        last_end: None,
        memory: Some((40 << 20, 256 << 20)),
        tunnel: Some(Ok(())),
    });
    facts.egress = Some(Egress {
        addresses: vec!["203.0.113.7".parse().unwrap()],
        port: 443,
    });
    facts
}

fn rule(verbs: &[&str], group: &str, resources: &[&str], names: &[&str]) -> Rule {
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    Rule {
        verbs: texts(verbs),
        api_groups: texts(&[group]),
        resources: texts(resources),
        resource_names: texts(names),
    }
}

fn expected() -> Vec<Rule> {
    vec![
        rule(&["get", "list", "watch"], "", &["nodes", "pods"], &[]),
        rule(
            &["get", "update", "patch"],
            "",
            &["secrets"],
            &["kantaloupe-agent-identity"],
        ),
    ]
}

/// Codes that failed or warned.
fn wrong(outcomes: &[Outcome]) -> Vec<&str> {
    outcomes
        .iter()
        .filter(|outcome| matches!(outcome.verdict, Verdict::Fail | Verdict::Warn))
        .map(|outcome| outcome.code.as_ref())
        .collect()
}

fn explain(outcomes: &[Outcome]) -> String {
    let lines = outcomes.iter().map(|outcome| {
        format!(
            "{:?} {} {} {:?}",
            outcome.verdict, outcome.code, outcome.message, outcome.commands
        )
    });
    lines.collect::<Vec<_>>().join("\n")
}
