use std::path::Path;

use super::*;
use crate::inventory::{AllocationState, Kind, Record};

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
