//! What the index of a large cluster takes: 5,000 nodes with 8 devices each and 100,000 pods, of which 30,000 hold shares of devices.
//! Alone in its process, so that the process' memory is the index'.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeMap;

use jiff::Timestamp;
use kantaloupe_gpu::{
    index::{Change, Cursor, Index, PodSeen, Watched},
    inventory::{
        Allocation, AllocationState, Capacity, ContainerKind, Gpu, GpuSource, Mode, Node, NodeRuntime,
        Requested,
    },
    node::{NodeFacts, NodeMark},
    object::OwnerReference,
};

/// As in the agent.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The agent has 64 MiB after the first sync and takes 15 without an inventory.
const LIMIT_KIB: u64 = 46 * 1024;

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn uuid(prefix: u32, n: u32) -> String {
    format!(
        "{:08x}-0000-4000-8000-{prefix:04x}{n:08x}",
        n.wrapping_mul(2_654_435_761)
    )
}

fn mark(n: u32) -> NodeMark {
    let name = format!("gpu-node-{n:05}.cluster.example.com");
    // As Node Feature Discovery labels them.
    let mut labels: BTreeMap<String, String> = (0..40)
        .map(|feature| {
            (
                format!("feature.node.kubernetes.io/cpu-cpuid.F{feature}"),
                "true".to_owned(),
            )
        })
        .collect();
    labels.insert("kubernetes.io/hostname".to_owned(), name.clone());
    NodeMark {
        ready: true,
        runtime: "containerd://1.7.27".to_owned(),
        labels,
        shows: [("nvidia".to_owned(), "nvidia.com/gpu".to_owned())].into(),
        driver: Some("550.144.03".to_owned()),
        devices: 8,
        name,
        ..NodeMark::default()
    }
}

fn node(n: u32) -> NodeFacts {
    let name = format!("gpu-node-{n:05}.cluster.example.com");
    let gpu = |index: u32| {
        let uuid = format!("GPU-{}", uuid(1, n * 8 + index));
        Gpu {
            id: format!("{name}/{uuid}"),
            uuid,
            node: name.clone(),
            index: Some(index),
            vendor: "nvidia".to_owned(),
            model: Some("NVIDIA H100 80GB HBM3".to_owned()),
            mode: Some(Mode::HamiCore),
            capacity: Capacity {
                slots: Some(10),
                memory_mib: Some(81_559),
                cores: Some(100),
            },
            physical_memory_mib: Some(81_559),
            numa: Some(i32::try_from(index / 4).unwrap()),
            healthy: Some(true),
            source: Some(GpuSource::Annotation),
            ..Gpu::default()
        }
    };
    NodeFacts {
        gpus: (0..8).map(gpu).collect(),
        node: Node {
            uid: uuid(2, n),
            ready: Some(true),
            schedulable: true,
            roles: vec!["worker".to_owned()],
            addresses: vec![format!("10.{}.{}.1", n / 250, n % 250)],
            kubelet_version: Some("v1.34.4".to_owned()),
            os_image: Some("Ubuntu 22.04.4 LTS".to_owned()),
            kernel_version: Some("5.15.0-105-generic".to_owned()),
            architecture: Some("amd64".to_owned()),
            runtime: Some(NodeRuntime {
                name: "containerd".to_owned(),
                version: "1.7.27".to_owned(),
            }),
            driver_version: Some("550.144.03".to_owned()),
            driver_source: Some("label".to_owned()),
            zone: Some(format!("zone-{}", n % 3)),
            cpu_millis: Some(128_000),
            memory_mib: Some(1_031_000),
            hami_enabled: true,
            created_at: Timestamp::from_second(1_790_000_000 + i64::from(n)).ok(),
            name,
            ..Node::default()
        },
        findings: Vec::new(),
        mark: mark(n),
    }
}

fn pod(n: u32) -> PodSeen {
    let on = n % 5000;
    let node = format!("gpu-node-{on:05}.cluster.example.com");
    let (pod_uid, name) = (uuid(3, n), format!("train-{n}-5d9c8"));
    let holds = n < 30_000;
    let allocation = Allocation {
        id: format!("{pod_uid}/main/0"),
        namespace: format!("team-{}", n % 50),
        pod: name.clone(),
        pod_uid: pod_uid.clone(),
        container: Some("main".to_owned()),
        container_kind: Some(ContainerKind::App),
        node: Some(node.clone()),
        uuid: Some(format!("GPU-{}", uuid(1, on * 8 + (n / 5000) % 8))),
        vendor: "nvidia".to_owned(),
        memory_mib: Some(8192),
        cores: Some(10),
        requested: Requested {
            count: Some(1),
            memory_mib: Some(8192),
            cores: Some(10),
            ..Requested::default()
        },
        state: Some(AllocationState::Active),
        held: true,
        phase: Some("Running".to_owned()),
        since: Timestamp::from_second(1_790_000_000 + i64::from(n)).ok(),
        source: Some("hami".to_owned()),
        ..Allocation::default()
    };
    PodSeen {
        namespace: format!("team-{}", n % 50),
        node: Some(node),
        phase: Some("Running".to_owned()),
        controller: holds.then(|| OwnerReference {
            api_version: "batch/v1".to_owned(),
            kind: "Job".to_owned(),
            name: format!("train-{n}"),
            uid: uuid(4, n),
            controller: Some(true),
            ..OwnerReference::default()
        }),
        allocations: holds.then_some(allocation).into_iter().collect(),
        uid: pod_uid,
        name,
        ..PodSeen::default()
    }
}

#[test]
fn a_large_cluster_fits() {
    let before = resident_kib();
    let mut index = Index::default();
    index.apply(Change::Restart(Watched::Nodes));
    index.apply(Change::Restart(Watched::Pods));
    for n in 0..100_000 {
        if n < 5000 {
            index.apply(Change::Node(Box::new(node(n))));
        }
        index.apply(Change::Pod(Box::new(pod(n))));
    }
    index.apply(Change::Synced(Watched::Nodes));
    index.apply(Change::Synced(Watched::Pods));
    let now = Timestamp::from_second(1_800_000_000).unwrap();
    let mut cursor = Cursor::nothing();
    let (mut records, mut complete) = (0, false);
    while !complete {
        let batch = index.changes(&mut cursor, 500, now);
        records += batch.upserts.len();
        complete = batch.complete;
    }
    // The cluster, nodes, devices, allocations, and a job for each.
    assert_eq!(records, 1 + 5000 + 40_000 + 30_000 + 30_000);
    let after = resident_kib();
    let taken = after - before;
    println!("the index takes {taken} KiB");
    assert!(taken <= LIMIT_KIB, "the index takes {taken} KiB of {LIMIT_KIB}");
}
