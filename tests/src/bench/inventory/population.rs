//! A large GPU cluster without machines: nodes and pods as objects in a real API server.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::Context;
use http::Method;
use serde_json::{Value, json};
use tokio::{process::Command, task::JoinSet};

use crate::{apiserver::ApiServer, cluster::testbed};

pub const NODES: usize = 5_000;
pub const GPUS_PER_NODE: usize = 8;
pub const PODS: usize = 100_000;
/// Pods that hold a share of a device.
pub const HAMI_PODS: usize = 30_000;
pub const NAMESPACES: usize = 50;
/// Connections that create at the same time.
const AT_ONCE: usize = 8;
/// Changes when the objects do, so that a store from before is not used.
const VERSION: &str = "v1";
const MODELS: [(&str, u64); 4] = [
    ("NVIDIA H100 80GB HBM3", 81_559),
    ("NVIDIA A100-SXM4-40GB", 40_960),
    ("NVIDIA L40S", 46_068),
    ("NVIDIA-Tesla T4", 15_360),
];

pub fn node_name(n: usize) -> String {
    format!("gpu-{n:05}")
}

pub fn namespace(n: usize) -> String {
    format!("team-{n:02}")
}

pub fn pod_name(n: usize) -> String {
    format!("train-{:05}-7c9d8f6b5-{:05}", n / 4, n)
}

/// Namespace of a pod.
pub fn namespace_of(pod: usize) -> String {
    namespace(pod % NAMESPACES)
}

fn node_of(pod: usize) -> usize {
    pod % NODES
}

fn uuid(node: usize, device: usize) -> String {
    format!("GPU-{node:08x}-0000-4000-8000-{device:012x}")
}

/// The share that a pod holds: of the device whose turn it is.
pub fn allocation(pod: usize, memory_mib: usize) -> String {
    let device = pod / NODES % GPUS_PER_NODE;
    format!("{},NVIDIA,{memory_mib},20:;", uuid(node_of(pod), device))
}

fn node(n: usize) -> Value {
    let (model, memory) = MODELS[n % MODELS.len()];
    let devices: Vec<Value> = (0..GPUS_PER_NODE)
        .map(|d| {
            json!({"id": uuid(n, d), "index": d, "count": 10, "devmem": memory, "devcore": 100, "type": model,
                "numa": d / 4, "mode": "hami-core", "health": true, "devicepairscore": {}})
        })
        .collect();
    let name = node_name(n);
    let quantities = json!({"cpu": "128", "memory": "1056Gi", "pods": "250", "ephemeral-storage": "1900Gi",
        "nvidia.com/gpu": (GPUS_PER_NODE * 10).to_string()});
    let condition = |kind: &str, status: &str| {
        json!({"type": kind, "status": status, "reason": "Kubelet", "message": "as the kubelet says it",
            "lastHeartbeatTime": "2026-01-01T00:00:00Z", "lastTransitionTime": "2026-01-01T00:00:00Z"})
    };
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name,
            "labels": {"gpu": "on", "kubernetes.io/hostname": name, "kubernetes.io/arch": "amd64", "kubernetes.io/os": "linux",
                "nvidia.com/cuda.driver-version.full": "550.144.03", "nvidia.com/gpu.product": model.replace(' ', "-"),
                "topology.kubernetes.io/zone": format!("zone-{}", n % 3), "node.kubernetes.io/instance-type": "gpu.8x"},
            "annotations": {"hami.io/node-nvidia-register": Value::from(devices).to_string(),
                "hami.io/node-handshake": "Requesting_2026-01-01 00:00:00"}},
        "status": {"capacity": quantities, "allocatable": quantities,
            "conditions": [condition("MemoryPressure", "False"), condition("DiskPressure", "False"),
                condition("PIDPressure", "False"), condition("Ready", "True")],
            "addresses": [{"type": "InternalIP", "address": format!("10.{}.{}.{}", n / 65_536, n / 256 % 256, n % 256)},
                {"type": "Hostname", "address": name}],
            "nodeInfo": {"machineID": "", "systemUUID": "", "bootID": "", "kernelVersion": "5.15.0-122-generic",
                "osImage": "Ubuntu 22.04.5 LTS", "containerRuntimeVersion": "containerd://1.7.27", "kubeletVersion": "v1.34.4",
                "kubeProxyVersion": "", "operatingSystem": "linux", "architecture": "amd64"}}})
}

fn pod(n: usize) -> Value {
    let hami = n < HAMI_PODS;
    let annotations = if hami {
        json!({"hami.io/vgpu-node": node_name(node_of(n)), "hami.io/vgpu-time": "1767225600", "hami.io/bind-time": "1767225600",
            "hami.io/bind-phase": "success", "hami.io/vgpu-devices-allocated": allocation(n, 4096), "hami.io/vgpu-devices-to-allocate": ";"})
    } else {
        json!({"prometheus.io/scrape": "true"})
    };
    let limits = if hami {
        json!({"cpu": "8", "memory": "32Gi", "nvidia.com/gpu": "1", "nvidia.com/gpumem": "4096", "nvidia.com/gpucores": "20"})
    } else {
        json!({"cpu": "1", "memory": "2Gi"})
    };
    let set = format!("train-{:05}-7c9d8f6b5", n / 4);
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": pod_name(n), "namespace": namespace_of(n), "annotations": annotations,
            "labels": {"app": format!("train-{:05}", n / 4), "pod-template-hash": "7c9d8f6b5"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": set, "controller": true,
                "uid": format!("{:08x}-0000-4000-9000-000000000000", n / 4)}]},
        "spec": {"nodeName": node_name(node_of(n)), "schedulerName": if hami { "hami-scheduler" } else { "default-scheduler" },
            "containers": [{"name": "main", "image": "registry.example.com/team/train:v1.2.3", "command": ["python", "train.py"],
                "env": [{"name": "RANK", "value": n.to_string()}, {"name": "MASTER_ADDR", "value": "master.example.svc"}],
                "resources": {"limits": limits}}]}})
}

/// A server with the cluster in it. The first time it is filled through the API, which takes minutes; its store is kept
/// and later runs start on a copy.
pub async fn start(dir: &Path) -> anyhow::Result<ApiServer> {
    let kept = kept();
    if !kept.join("etcd").is_dir() {
        fill(&kept).await?;
    }
    std::fs::create_dir_all(dir)?;
    let copied = Command::new("cp")
        .arg("-r")
        .arg(kept.join("etcd"))
        .arg(dir)
        .status()
        .await?;
    anyhow::ensure!(copied.success(), "the kept store cannot be copied");
    ApiServer::start(dir).await
}

fn kept() -> PathBuf {
    testbed().join(format!("population-{VERSION}-{NODES}-{PODS}"))
}

async fn fill(kept: &Path) -> anyhow::Result<()> {
    let half = kept.with_extension("half");
    let _absent = std::fs::remove_dir_all(&half);
    let server = Arc::new(ApiServer::start(&half).await?);
    let mut client = server.connect().await?;
    for n in 0..NAMESPACES {
        let body = json!({"metadata": {"name": namespace(n)}});
        client.ok(Method::POST, "/api/v1/namespaces", Some(&body)).await?;
    }
    create(&server, NODES, |n| ("/api/v1/nodes".to_owned(), node(n))).await?;
    create(&server, PODS, |n| {
        (format!("/api/v1/namespaces/{}/pods", namespace_of(n)), pod(n))
    })
    .await?;
    drop(client);
    let mut server = Arc::into_inner(server).context("a connection is still there")?;
    server.server.kill().await?;
    server.etcd.terminate().await?;
    drop(server);
    std::fs::create_dir_all(kept)?;
    std::fs::rename(half.join("etcd"), kept.join("etcd"))?;
    Ok(std::fs::remove_dir_all(&half)?)
}

async fn create(
    server: &Arc<ApiServer>,
    count: usize,
    object: impl Fn(usize) -> (String, Value) + Copy + Send + 'static,
) -> anyhow::Result<()> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut workers = JoinSet::new();
    for _ in 0..AT_ONCE {
        let (server, next) = (Arc::clone(server), Arc::clone(&next));
        workers.spawn(async move {
            let mut client = server.connect().await?;
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= count {
                    return anyhow::Ok(());
                }
                let (path, body) = object(n);
                client.ok(Method::POST, &path, Some(&body)).await?;
            }
        });
    }
    while let Some(done) = workers.join_next().await {
        done??;
    }
    Ok(())
}
