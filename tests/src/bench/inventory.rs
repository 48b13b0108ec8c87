//! The inventory at scale: a real API server with 5,000 nodes and 100,000 pods, agent and gateway as they ship.

pub mod population;

use std::time::Duration;

use anyhow::{Context, ensure};
use http::Method;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{
    load::percentile,
    report::{Figure, Report},
};
use crate::{
    apiserver::ApiServer,
    processes::{Agent, Gateway},
    relay::Relay,
    usage,
};
use population::{GPUS_PER_NODE, HAMI_PODS, NODES, PODS};

/// Longest for the first sync, far above the aim.
const SYNC: Duration = Duration::from_mins(3);
/// Changes that are followed.
const CHANGES: usize = 1_000;
/// Pages that are asked for.
const PAGES: usize = 200;
/// How long an idle agent is watched.
const STEADY: Duration = Duration::from_secs(20);

#[allow(clippy::cast_precision_loss)]
fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// CPU time of a process so far.
fn seconds(pid: u32) -> anyhow::Result<f64> {
    Ok(usage::time(pid)?.as_secs_f64())
}

/// Memory, time, bytes and CPU of one agent with a large cluster, and what the gateway answers.
pub async fn run(report: &mut Report) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let server = population::start(&dir.path().join("server")).await?;
    let kubeconfig = dir.path().join("kubeconfig");
    server.kubeconfig(&kubeconfig)?;
    // The agent's Secret lives there.
    let body = json!({"metadata": {"name": "kantaloupe-system"}});
    let mut api = server.connect().await?;
    api.ok(Method::POST, "/api/v1/namespaces", Some(&body)).await?;

    let tls = server.tls.clone();
    let gateway = Gateway::start(dir.path(), &tls).await?;
    let relay = Relay::start(gateway.addr, None).await?;
    let (id, token) = gateway.create_cluster("large").await?;
    let url = format!("https://localhost:{}", relay.addr.port());
    let agent = Agent::start(dir.path(), &url, &kubeconfig, &token, &tls)?;
    let pid = agent.process.pid();
    gateway
        .wait_state(&id, "connected", Duration::from_secs(30))
        .await
        .with_context(|| agent.process.said())?;

    let (start, before) = (Instant::now(), (relay.bytes_up(), seconds(pid)?));
    wait_counts(&gateway, &id, &agent).await?;
    let took = start.elapsed();
    report.push(Figure::new("inventory_sync", "s", &[took.as_secs_f64()]));
    report.push(Figure::new(
        "inventory_sync_cpu",
        "s",
        &[seconds(pid)? - before.1],
    ));
    report.push(Figure::new(
        "inventory_agent_rss_sync",
        "MiB",
        &[mib(usage::peak_resident(pid)?)],
    ));
    report.push(Figure::new(
        "inventory_snapshot_bytes",
        "MiB",
        &[mib(relay.bytes_up() - before.0)],
    ));
    sleep(Duration::from_secs(10)).await;
    let busy = seconds(pid)?;
    sleep(STEADY).await;
    let share = (seconds(pid)? - busy) / STEADY.as_secs_f64() * 100.0;
    report.push(Figure::new("inventory_agent_cpu_idle", "%", &[share]));
    report.push(Figure::new(
        "inventory_agent_rss",
        "MiB",
        &[mib(usage::resident(pid)?)],
    ));

    changes(report, &server, &gateway, &id, &relay, pid).await?;
    pages(report, &gateway).await
}

/// Waits until the gateway has all of it.
async fn wait_counts(gateway: &Gateway, id: &str, agent: &Agent) -> anyhow::Result<()> {
    let start = Instant::now();
    loop {
        let got = counts(gateway, id).await?;
        if got == Some((NODES as u64, (NODES * GPUS_PER_NODE) as u64, PODS as u64)) {
            break;
        }
        ensure!(
            start.elapsed() < SYNC,
            "not all of the cluster is there: {got:?}\n{}",
            agent.process.said()
        );
        sleep(Duration::from_millis(100)).await;
    }
    let path = format!("/api/v1/clusters/{id}/allocations?held=true&limit=1");
    let page = gateway.json(Method::GET, &path, None).await?;
    ensure!(page["total"] == HAMI_PODS, "{}", page["total"]);
    Ok(())
}

async fn counts(gateway: &Gateway, id: &str) -> anyhow::Result<Option<(u64, u64, u64)>> {
    let path = format!("/api/v1/clusters/{id}/summary");
    let (status, body) = gateway.request(Method::GET, &path, None).await?;
    if !status.is_success() {
        return Ok(None);
    }
    let summary: Value = serde_json::from_slice(&body)?;
    let count = |name: &str| summary["summary"]["counts"][name].as_u64();
    Ok(count("nodes")
        .zip(count("gpus"))
        .zip(count("pods"))
        .map(|((nodes, gpus), pods)| (nodes, gpus, pods)))
}

/// Bytes, CPU and delay of changes to allocations.
async fn changes(
    report: &mut Report,
    server: &ApiServer,
    gateway: &Gateway,
    id: &str,
    relay: &Relay,
    pid: u32,
) -> anyhow::Result<()> {
    let mut api = server.connect().await?;
    let (bytes, busy) = (relay.bytes_up(), seconds(pid)?);
    for n in 0..CHANGES {
        let value = population::allocation(n, 8192);
        let patch = json!({"metadata": {"annotations": {"hami.io/vgpu-devices-allocated": value}}});
        let (namespace, name) = (population::namespace_of(n), population::pod_name(n));
        let path = format!("/api/v1/namespaces/{namespace}/pods/{name}");
        api.ok(Method::PATCH, &path, Some(&patch)).await?;
    }
    let last = Instant::now();
    let (namespace, name) = (
        population::namespace_of(CHANGES - 1),
        population::pod_name(CHANGES - 1),
    );
    let path = format!("/api/v1/clusters/{id}/allocations?namespace={namespace}&pod={name}");
    loop {
        let page = gateway.json(Method::GET, &path, None).await?;
        if page["items"][0]["memoryMib"] == 8192 {
            break;
        }
        ensure!(last.elapsed() < Duration::from_secs(30), "{page}");
        sleep(Duration::from_millis(10)).await;
    }
    report.push(Figure::new(
        "inventory_change_delay",
        "ms",
        &[last.elapsed().as_secs_f64() * 1e3],
    ));
    sleep(Duration::from_secs(1)).await;
    #[allow(clippy::cast_precision_loss)]
    report.push(Figure::new(
        "inventory_changes_1000_bytes",
        "KiB",
        &[(relay.bytes_up() - bytes) as f64 / 1024.0],
    ));
    report.push(Figure::new(
        "inventory_changes_1000_cpu",
        "s",
        &[seconds(pid)? - busy],
    ));
    Ok(())
}

/// A filtered page of the fleet's devices, on a connection of its own each time, as the console asks.
async fn pages(report: &mut Report, gateway: &Gateway) -> anyhow::Result<()> {
    let paths = [
        "/api/v1/gpus?model=NVIDIA%20L40S&healthy=true&sort=-memoryUsed&limit=100",
        "/api/v1/gpus?vendor=nvidia&mode=hami-core&sort=model&limit=100",
        "/api/v1/gpus?node=gpu-04999&limit=100",
    ];
    let mut times = vec![];
    for n in 0..PAGES {
        let start = Instant::now();
        let page = gateway.json(Method::GET, paths[n % paths.len()], None).await?;
        times.push(start.elapsed());
        let items = page["items"].as_array().context("no items")?;
        ensure!(!items.is_empty(), "an empty page");
    }
    times.sort();
    report.push(Figure::new(
        "inventory_gpu_page_p50",
        "ms",
        &[percentile(&times, 0.5)],
    ));
    report.push(Figure::new(
        "inventory_gpu_page_p99",
        "ms",
        &[percentile(&times, 0.99)],
    ));
    Ok(())
}
