use std::path::Path;

use kantaloupe_checks::{Code, Outcome, Verdict};

use super::*;
use crate::{
    inventory::{AllocationState, Cluster, ComponentKind, Kind, Record},
    platform::tests::sound,
};

fn now() -> Timestamp {
    "2026-11-24T08:00:00Z".parse().unwrap()
}

fn ids(index: &mut Index, kind: Kind) -> Vec<String> {
    let records = index.records(now()).into_iter();
    records
        .filter(|record| record.kind() == kind)
        .map(|record| record.id().into_owned())
        .collect()
}

const NODE: &str = r#"{"kind": "Node", "apiVersion": "v1", "metadata": {"name": "a",
    "annotations": {"hami.io/node-nvidia-register": "GPU-1,10,16000,100,NVIDIA-Tesla T4,0,true,0,hami-core:"}},
    "status": {"allocatable": {"nvidia.com/gpu": "10"}, "conditions": [{"type": "Ready", "status": "True"}]}}"#;

const PODS: &str = r#"
kind: PodList
apiVersion: v1
items:
- metadata:
    name: one
    namespace: team
    annotations:
      hami.io/vgpu-node: a
      hami.io/bind-phase: success
      hami.io/vgpu-devices-allocated: "GPU-1,NVIDIA,4000,10:;"
  spec:
    nodeName: a
    containers:
    - name: main
      resources: {limits: {nvidia.com/gpu: "1", nvidia.com/gpumem: "4000"}}
  status: {phase: Running}
- metadata: {name: odd, namespace: team}
  spec: {containers: 7}
---
kind: Secret
metadata: {name: s}
"#;

#[test]
fn objects_come_in_every_form() {
    let mut dump = Dump::default();
    dump.add("node.json", NODE);
    dump.add("pods.yaml", PODS);
    dump.add("broken.json", "{\"kind\": ");
    dump.add("broken.yaml", "a: [");
    assert_eq!(dump.others(), 1);
    let (mut index, problems) = dump.index(now());
    assert_eq!(ids(&mut index, Kind::Gpu), ["a/GPU-1"]);
    let records = index.records(now());
    let allocation = records.iter().find_map(|record| match record {
        Record::Allocation(allocation) => Some(allocation),
        _ => None,
    });
    let allocation = allocation.expect("the pod holds a share");
    assert_eq!(
        (allocation.gpu.as_deref(), allocation.state),
        (Some("a/GPU-1"), Some(AllocationState::Active))
    );
    assert_eq!(allocation.memory_mib, Some(4000));
    let of: Vec<&str> = problems.iter().map(|problem| &*problem.file).collect();
    assert_eq!(of, ["pods.yaml: Pod team/odd", "broken.json", "broken.yaml"]);
}

/// The checks that failed or warned, of these objects.
fn wrong<'a>(objects: impl IntoIterator<Item = &'a Value>) -> Vec<String> {
    let (checks, _) = platform_of(objects);
    let wrong = checks
        .into_iter()
        .filter(|outcome| matches!(outcome.verdict, Verdict::Fail | Verdict::Warn));
    wrong
        .map(|outcome| format!("{} {}", outcome.code, outcome.message))
        .collect()
}

fn platform_of<'a>(objects: impl IntoIterator<Item = &'a Value>) -> (Vec<Outcome>, Cluster) {
    let mut dump = Dump::default();
    for object in objects {
        dump.add("dump.json", &object.to_string());
    }
    let (mut index, problems) = dump.index(now());
    assert_eq!(problems, []);
    let (mut checks, mut cluster) = (Vec::new(), None);
    for record in index.records(now()) {
        match record {
            Record::Check(outcome) => checks.push(*outcome),
            Record::Cluster(record) => cluster = Some(*record),
            _ => {}
        }
    }
    (checks, cluster.unwrap())
}

fn verdict(checks: &[Outcome], code: Code) -> Verdict {
    let outcome = checks.iter().find(|outcome| outcome.code == code.as_str());
    outcome.unwrap_or_else(|| panic!("no {code}")).verdict
}

#[test]
fn a_dump_tells_what_the_platform_consists_of() {
    let (checks, cluster) = platform_of(&sound());
    let found: Vec<_> = cluster
        .components
        .iter()
        .map(|component| component.kind)
        .collect();
    for kind in [
        ComponentKind::Hami,
        ComponentKind::GpuOperator,
        ComponentKind::Prometheus,
        ComponentKind::Gateway,
    ] {
        assert!(found.contains(&kind), "{found:?}");
    }
    for code in [
        Code::HAMI_001,
        Code::HAMI_002,
        Code::GPU_002,
        Code::GPU_004,
        Code::RT_001,
        Code::GW_002,
        Code::MON_007,
    ] {
        assert_eq!(verdict(&checks, code), Verdict::Pass, "{code}");
    }
    // Nobody was asked, and pods are not in the files.
    for code in [
        Code::K8S_001,
        Code::K8S_004,
        Code::MON_001,
        Code::MON_004,
        Code::HAMI_004,
    ] {
        assert_eq!(verdict(&checks, code), Verdict::Unknown, "{code}");
    }
}

#[test]
fn what_is_not_in_the_files_is_no_fault() {
    let sound = sound();
    assert_eq!(wrong(&sound), [""; 0]);
    assert_eq!(wrong([]), [""; 0]);
    let kinds: std::collections::BTreeSet<&str> = sound
        .iter()
        .filter_map(|object| object["kind"].as_str())
        .collect();
    for kind in kinds {
        let without = sound.iter().filter(|object| object["kind"] != kind);
        assert_eq!(wrong(without), [""; 0], "without any {kind}");
        let alone = sound.iter().filter(|object| object["kind"] == kind);
        assert_eq!(wrong(alone), [""; 0], "{kind} alone");
    }
    let key = |object: &Value| [&object["kind"], &object["metadata"]["name"]].map(Clone::clone);
    for (at, left_out) in sound.iter().enumerate() {
        // Of two states of one object the wrong one would be left.
        if sound.iter().filter(|object| key(object) == key(left_out)).count() > 1 {
            continue;
        }
        let name = format!("{} {}", left_out["kind"], left_out["metadata"]["name"]);
        let without = sound.iter().enumerate().filter(|(other, _)| *other != at);
        assert_eq!(
            wrong(without.map(|(_, object)| object)),
            [""; 0],
            "without {name}"
        );
    }
}

#[test]
fn what_is_wrong_with_an_object_in_the_files_is_told() {
    let mut objects = sound();
    for object in &mut objects {
        if object["kind"] == "MutatingWebhookConfiguration" {
            object["webhooks"][0]["clientConfig"]["caBundle"] = Value::Null;
        }
    }
    let found = wrong(&objects);
    assert!(
        found.len() == 1 && found[0].starts_with("KTA-HAMI-001"),
        "{found:?}"
    );
}

#[test]
fn metrics_are_joined_to_devices() {
    let mut dump = Dump::default();
    dump.add("node", NODE);
    dump.add(
        "metrics.txt",
        "DCGM_FI_DEV_GPU_UTIL{gpu=\"0\",UUID=\"GPU-1\",Hostname=\"a\"} 37\n",
    );
    let (mut index, problems) = dump.index(now());
    assert_eq!(problems, []);
    let records = index.records(now());
    let usage = records.iter().find_map(|record| match record {
        Record::GpuUsage(usage) => Some(usage),
        _ => None,
    });
    assert_eq!(
        usage.map(|usage| (&*usage.gpu, usage.utilization)),
        Some(("a/GPU-1", Some(37.0)))
    );
}

#[test]
fn fixtures_are_read_without_a_problem() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures");
    let mut dump = Dump::default();
    for folder in ["nodes", "pods", "dra", "platform", "metrics"] {
        for entry in std::fs::read_dir(fixtures.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            // Answers of Prometheus are no dumps.
            if !name.starts_with("api-") {
                dump.add(&name, &std::fs::read_to_string(&path).unwrap());
            }
        }
    }
    let (mut index, problems) = dump.index(now());
    assert_eq!(problems, []);
    assert!(ids(&mut index, Kind::Node).len() > 20);
    assert!(ids(&mut index, Kind::Gpu).len() > 40);
    assert!(ids(&mut index, Kind::Allocation).len() > 25);
}
