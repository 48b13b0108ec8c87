//! The inventory of a real cluster: the objects of `fixtures/` go through the real API server, the agent, the tunnel and the
//! gateway; then they change, and everything on the way is restarted and cut.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, ensure};
use http::Method;
use kantaloupe_tests::{
    client::Client,
    e2e::{NAMESPACE, Steps, World, eventually, say},
    fixtures,
    processes::binary,
    relay::Cut,
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use tokio::{
    net::UnixStream,
    process::{Child, Command},
    time::{Instant, sleep},
};

/// Nobody looks after the machines of the fixtures: they have none.
const CONTROLLERS: &str = "*,-node-lifecycle-controller,-pod-garbage-collector-controller";
/// Kinds of records that are compared, as the API's paths name them.
const KINDS: [&str; 4] = ["nodes", "gpus", "allocations", "workloads"];
/// Longest until two sides agree again, after a restart on a loaded machine.
const SETTLE: Duration = Duration::from_mins(1);
const CHANGES: usize = 200;
/// A change is in the API within this, at the 99th percentile.
const SOON: Duration = Duration::from_secs(1);
const AGENT_RESTARTS: usize = 10;
const GATEWAY_RESTARTS: usize = 10;
const CUTS: usize = 50;

#[tokio::test(flavor = "multi_thread")]
async fn inventory() -> anyhow::Result<()> {
    let mut world = World::start_with("inventory", "info", CONTROLLERS).await?;
    // The controller that is left out would do it.
    let line = "kubectl taint nodes node1 node.kubernetes.io/not-ready:NoSchedule-";
    world.direct.ok(line).await?;
    let (id, command) = world.create("inventory", "observe").await?;
    world.install(&id, &command, "").await?;
    let mut test = Test::new(&world, id).await?;
    let mut steps = Steps::default();
    steps.run("fixtures", test.fixtures(&world)).await;
    steps.run("200 changes", test.changes(&world)).await;
    steps.run("10 agent restarts", test.agent_restarts(&world)).await;
    steps.run("checks and platform", test.platform(&world)).await;
    steps
        .run("10 gateway restarts", test.gateway_restarts(&mut world))
        .await;
    steps.run("50 cuts", test.cuts(&world)).await;
    steps.run("an expired watch", test.expired(&world)).await;
    steps.run("offline", test.offline(&world)).await;
    steps.finish()
}

struct Test {
    id: String,
    api: Client,
    socket: PathBuf,
    random: StdRng,
    _proxy: Child,
}

impl Test {
    async fn new(world: &World, id: String) -> anyhow::Result<Self> {
        let socket = world.dir.path().join("api.sock");
        let proxy = proxy(world, &socket).await?;
        let seed = rand::random();
        say(format_args!("          seed {seed}"));
        Ok(Self {
            id,
            api: connect(&socket).await?,
            socket,
            random: StdRng::seed_from_u64(seed),
            _proxy: proxy,
        })
    }

    /// Everything of the fixtures, as the API shows it and as the parsers alone read it.
    async fn fixtures(&mut self, world: &World) -> anyhow::Result<()> {
        for folder in ["nodes", "dra", "pods"] {
            for (name, object) in fixtures::read(folder)? {
                if let Some(namespace) = object.pointer("/metadata/namespace").and_then(Value::as_str) {
                    fixtures::namespace(&mut self.api, namespace).await?;
                    eventually(SETTLE, || async {
                        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/default");
                        connect(&self.socket).await?.ok(Method::GET, &path, None).await
                    })
                    .await?;
                }
                fixtures::create(&mut self.api, &object)
                    .await
                    .with_context(|| format!("{folder}/{name}"))?;
            }
        }
        let start = Instant::now();
        let sizes = self.agree(world).await?;
        say(format_args!(
            "          agreed after {:.1?}: {sizes:?}",
            start.elapsed()
        ));
        self.truth(world).await
    }

    /// What the fixtures say, from their sources and not from the parsers.
    async fn truth(&self, world: &World) -> anyhow::Result<()> {
        let gpus = self.records(world, "gpus").await?;
        let gpu = |id: &str| gpus.get(id).with_context(|| format!("no device {id}"));
        // HAMi 2.4, seven fields; HAMi 2.10, JSON, an ancient handshake and yet healthy.
        let v100 = gpu("node67-4v100/GPU-00552014-5c87-89ac-b1a6-7b53aa24b0ec")?;
        ensure!(
            v100["capacity"]["memoryMib"] == 32768 && v100["capacity"]["slots"] == 10,
            "{v100}"
        );
        ensure!(v100["healthy"] == true && v100["vendor"] == "nvidia", "{v100}");
        let l40s = gpu("gpu-node-b/GPU-4dc50575-f241-9f14-1e6e-ecb4a93c3299")?;
        ensure!(
            l40s["healthy"] == true && l40s["model"] == "NVIDIA L40S",
            "{l40s}"
        );
        // The kubelet is gone: its last word does not count.
        let down: Vec<_> = gpus.values().filter(|gpu| gpu["node"] == "down-1").collect();
        ensure!(
            !down.is_empty() && down.iter().all(|gpu| gpu["healthy"] == false),
            "{down:?}"
        );
        for (vendor, count) in [
            ("ascend", 1),
            ("hygon", 2),
            ("cambricon", 1),
            ("amd", 1),
            ("vastai", 1),
            ("kunlun", 1),
        ] {
            let found = gpus.values().filter(|gpu| gpu["vendor"] == vendor).count();
            ensure!(found >= count, "{found} devices of {vendor}");
        }
        let allocations = self.records(world, "allocations").await?;
        let of = |pod: &str| -> Vec<&Value> { allocations.values().filter(|a| a["pod"] == pod).collect() };
        let model = of("model-a-gpu-a-7877c85fb-wglk8");
        ensure!(model.len() == 1 && model[0]["container"] == "model", "{model:?}");
        ensure!(
            model[0]["memoryMib"] == 4000 && model[0]["cores"] == 50,
            "{model:?}"
        );
        // Two containers of one pod on one device, memory 3000 and 5000.
        let two: Vec<_> = of("two-ctr");
        let sum: u64 = two.iter().filter_map(|a| a["memoryMib"].as_u64()).sum();
        ensure!(
            two.len() == 2 && sum == 8000 && two.iter().all(|a| a["held"] == true),
            "{two:?}"
        );
        // None of them holds anything: ended, failed, its node is not there, not placed.
        for pod in ["neko-worker-0", "uae", "terminating", "pending-no-fit"] {
            let found = of(pod);
            ensure!(
                !found.is_empty() && found.iter().all(|a| a["held"] == false),
                "{pod}: {found:?}"
            );
        }
        // One bad record hides no other, and says why it is unknown.
        let malformed = of("malformed");
        ensure!(
            malformed
                .iter()
                .all(|a| a["held"] == false || a["unknown"] != json!({})),
            "{malformed:?}"
        );
        Ok(())
    }

    /// What the checks found, and what the cluster is made of.
    async fn platform(&self, world: &World) -> anyhow::Result<()> {
        let checks = eventually(SETTLE, || async {
            let checks = self.records(world, "checks").await?;
            ensure!(!checks.is_empty(), "no checks yet");
            Ok(checks)
        })
        .await?;
        let verdict = |code: &str| {
            checks
                .get(code)
                .map_or("", |check| check["verdict"].as_str().unwrap_or(""))
        };
        // The API server answers, there is no Prometheus, and one of the fixtures' pods has a record that cannot be read.
        for (code, wanted) in [
            ("KTA-K8S-001", "pass"),
            ("KTA-K8S-004", "pass"),
            ("KTA-MON-001", "fail"),
            ("KTA-HAMI-001", "fail"),
            ("KTA-HAMI-004", "warn"),
        ] {
            ensure!(verdict(code) == wanted, "{code}: {:?}", checks.get(code));
        }
        let path = format!("/api/v1/clusters/{}/summary", self.id);
        let summary = world.gateway.json(Method::GET, &path, None).await?;
        ensure!(summary["summary"]["distribution"].is_string(), "{summary}");
        Ok(())
    }

    /// Creates, moves, completes and deletes pods; each change is in the API soon.
    async fn changes(&mut self, world: &World) -> anyhow::Result<()> {
        let mut times = vec![];
        for n in 0..CHANGES / 4 {
            let name = format!("changing-{n}");
            let (first, second) = ("node67-4v100", "gpu-node-b");
            let path = format!("/api/v1/namespaces/default/pods/{name}");
            let object = holder(&name, first, "GPU-00552014-5c87-89ac-b1a6-7b53aa24b0ec");
            self.api
                .ok(Method::POST, "/api/v1/namespaces/default/pods", Some(&object))
                .await?;
            times.push(
                self.until(world, &name, |a| a["held"] == true && a["node"] == first)
                    .await?,
            );

            let moved = holder(&name, second, "GPU-4dc50575-f241-9f14-1e6e-ecb4a93c3299");
            let patch = json!({"metadata": {"annotations": moved["metadata"]["annotations"]}});
            self.api.ok(Method::PATCH, &path, Some(&patch)).await?;
            times.push(self.until(world, &name, |a| a["node"] == second).await?);

            let done = json!({"status": {"phase": "Succeeded"}});
            self.api
                .ok(Method::PATCH, &format!("{path}/status"), Some(&done))
                .await?;
            times.push(self.until(world, &name, |a| a["held"] == false).await?);

            self.api
                .ok(Method::DELETE, &format!("{path}?gracePeriodSeconds=0"), None)
                .await?;
            times.push(self.until_gone(world, &name).await?);
        }
        times.sort();
        let p99 = times[times.len() * 99 / 100 - 1];
        let p50 = times[times.len() / 2];
        say(format_args!(
            "          {} changes: p50 {p50:.0?}, p99 {p99:.0?}",
            times.len()
        ));
        ensure!(p99 <= SOON, "p99 {p99:?}");
        self.agree(world).await.map(drop)
    }

    async fn agent_restarts(&mut self, world: &World) -> anyhow::Result<()> {
        for n in 0..AGENT_RESTARTS {
            let line = format!(
                "kubectl -n {NAMESPACE} delete pod -l app.kubernetes.io/name=kantaloupe-agent --now --wait=false"
            );
            world.direct.ok(&line).await?;
            self.disturb().await?;
            let line = format!("kubectl -n {NAMESPACE} rollout status deploy/kantaloupe-agent --timeout=60s");
            world.direct.ok(&line).await?;
            world.gateway.wait_state(&self.id, "connected", SETTLE).await?;
            self.agree(world).await.with_context(|| format!("restart {n}"))?;
        }
        Ok(())
    }

    async fn gateway_restarts(&mut self, world: &mut World) -> anyhow::Result<()> {
        for n in 0..GATEWAY_RESTARTS {
            if n % 2 == 0 {
                world.gateway.process.kill().await?;
            } else {
                world.gateway.process.terminate().await?;
            }
            self.disturb().await?;
            world.gateway.restart().await?;
            world.gateway.wait_state(&self.id, "connected", SETTLE).await?;
            self.agree(world).await.with_context(|| format!("restart {n}"))?;
        }
        Ok(())
    }

    async fn cuts(&mut self, world: &World) -> anyhow::Result<()> {
        for n in 0..CUTS {
            world
                .relay
                .cut(if n % 10 == 0 { Cut::Blackhole } else { Cut::Reset });
            self.disturb().await?;
            sleep(Duration::from_millis(self.random.random_range(20..300))).await;
        }
        self.agree(world).await.map(drop)
    }

    /// The agent sleeps while the past is forgotten: its watches go on from a version that is no more.
    async fn expired(&mut self, world: &World) -> anyhow::Result<()> {
        let agents = agent_processes(world).await?;
        signal(&agents, "STOP").await?;
        for _ in 0..20 {
            self.disturb().await?;
        }
        world.cluster.compact().await?;
        self.api = eventually(SETTLE, || async {
            let mut api = connect(&self.socket).await?;
            api.ok(Method::GET, "/readyz/etcd?verbose=false", None)
                .await
                .or_else(|error| {
                    // Its answer is text.
                    if format!("{error:#}").contains("expected") {
                        Ok(Value::Null)
                    } else {
                        Err(error)
                    }
                })?;
            Ok(api)
        })
        .await?;
        signal(&agents, "CONT").await?;
        self.disturb().await?;
        self.agree(world).await.map(drop)
    }

    /// The last inventory stays when the agent is gone.
    async fn offline(&mut self, world: &World) -> anyhow::Result<()> {
        let before = self.records(world, "gpus").await?;
        world
            .direct
            .ok(&format!(
                "kubectl -n {NAMESPACE} scale deploy/kantaloupe-agent --replicas=0"
            ))
            .await?;
        eventually(SETTLE, || async {
            let state = world.gateway.state(&self.id).await?;
            ensure!(state != "connected", "still connected");
            Ok(())
        })
        .await?;
        ensure!(
            self.records(world, "gpus").await? == before,
            "the inventory changed"
        );
        Ok(())
    }

    /// One change to a pod that holds a share: another amount of memory each time.
    async fn disturb(&mut self) -> anyhow::Result<()> {
        let memory = self.random.random_range(1..30_000);
        let value = format!("GPU-00552014-5c87-89ac-b1a6-7b53aa24b0ec,NVIDIA,{memory},10:;");
        let mut object = holder("disturbed", "node67-4v100", "");
        object["metadata"]["annotations"]["hami.io/vgpu-devices-allocated"] = value.into();
        let path = "/api/v1/namespaces/default/pods";
        let (status, answer) = self
            .api
            .send(Method::POST, path, "application/json", object.to_string())
            .await?;
        if status == http::StatusCode::CONFLICT {
            let patch = json!({"metadata": {"annotations": object["metadata"]["annotations"]}});
            self.api
                .ok(Method::PATCH, &format!("{path}/disturbed"), Some(&patch))
                .await?;
            return Ok(());
        }
        ensure!(status.is_success(), "{}", String::from_utf8_lossy(&answer));
        Ok(())
    }

    /// Waits until the API shows what the parsers read from the objects themselves; how many records of each kind.
    async fn agree(&mut self, world: &World) -> anyhow::Result<BTreeMap<&'static str, usize>> {
        let end = Instant::now() + SETTLE;
        loop {
            let wanted = expected(world).await?;
            let mut differs = None;
            let mut sizes = BTreeMap::new();
            for kind in KINDS {
                let (wanted, got) = (&wanted[kind], self.records(world, kind).await?);
                sizes.insert(kind, got.len());
                differs = differs.or_else(|| difference(kind, wanted, &got));
            }
            match differs {
                None => return Ok(sizes),
                Some(differs) if Instant::now() > end => {
                    anyhow::bail!("the API and the objects differ: {differs}")
                }
                Some(_) => sleep(Duration::from_millis(200)).await,
            }
        }
    }

    async fn until(&self, world: &World, pod: &str, is: impl Fn(&Value) -> bool) -> anyhow::Result<Duration> {
        self.wait(world, pod, |items| !items.is_empty() && items.iter().all(&is))
            .await
    }

    async fn until_gone(&self, world: &World, pod: &str) -> anyhow::Result<Duration> {
        self.wait(world, pod, <[Value]>::is_empty).await
    }

    async fn wait(
        &self,
        world: &World,
        pod: &str,
        is: impl Fn(&[Value]) -> bool,
    ) -> anyhow::Result<Duration> {
        let start = Instant::now();
        let path = format!(
            "/api/v1/clusters/{}/allocations?namespace=default&pod={pod}",
            self.id
        );
        loop {
            let page = world.gateway.json(Method::GET, &path, None).await?;
            let items = page["items"].as_array().context("no items")?;
            let items: Vec<Value> = items.iter().filter(|a| a["pod"] == pod).cloned().collect();
            if is(&items) {
                return Ok(start.elapsed());
            }
            ensure!(start.elapsed() < SETTLE, "{pod}: {items:?}");
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// All records of a kind, by id, over all pages.
    async fn records(&self, world: &World, kind: &str) -> anyhow::Result<BTreeMap<String, Value>> {
        let mut found = BTreeMap::new();
        let mut cursor = String::new();
        loop {
            let path = format!("/api/v1/clusters/{}/{kind}?limit=50{cursor}", self.id);
            let page = world.gateway.json(Method::GET, &path, None).await?;
            for item in page["items"].as_array().context("no items")? {
                let id = identity(kind, item);
                let mut item = item.clone();
                for grows in ["asOf", "ageSeconds"] {
                    item.as_object_mut().context("no object")?.remove(grows);
                }
                ensure!(
                    found.insert(id.clone(), item).is_none(),
                    "{kind} {id} is there twice"
                );
            }
            match page["nextCursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Ok(found),
            }
        }
    }
}

/// What the parsers read from a dump of the cluster's objects.
async fn expected(world: &World) -> anyhow::Result<BTreeMap<&'static str, BTreeMap<String, Value>>> {
    let dump = world.dir.path().join("dump.json");
    let line = format!(
        "kubectl get nodes,pods,replicasets,deployments,jobs,resourceslices,resourceclaims -A -o json >{}",
        dump.display()
    );
    world.direct.ok(&line).await?;
    let output = Command::new(binary("kantaloupe-agent")?)
        .args(["inventory", "-o", "json", "--from"])
        .arg(&dump)
        .output()
        .await?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let value: Value = serde_json::from_slice(&output.stdout)?;
    KINDS
        .into_iter()
        .map(|kind| {
            let items = value[kind].as_array().with_context(|| format!("no {kind}"))?;
            Ok((
                kind,
                items
                    .iter()
                    .map(|item| (identity(kind, item), item.clone()))
                    .collect(),
            ))
        })
        .collect()
}

fn identity(kind: &str, item: &Value) -> String {
    let text = |name: &str| item[name].as_str().unwrap_or_default();
    match kind {
        "nodes" => text("name").to_owned(),
        "checks" => text("code").to_owned(),
        "workloads" => format!("{}/{}", text("namespace"), item["owner"]),
        _ => text("id").to_owned(),
    }
}

/// The first difference. The API adds fields of its own; every field of the record has to be the same.
fn difference(kind: &str, wanted: &BTreeMap<String, Value>, got: &BTreeMap<String, Value>) -> Option<String> {
    if let Some(id) = got.keys().find(|id| !wanted.contains_key(*id)) {
        return Some(format!("{kind} {id} should not be there"));
    }
    for (id, record) in wanted {
        let Some(found) = got.get(id) else {
            return Some(format!("{kind} {id} is missing"));
        };
        for (field, value) in record.as_object()? {
            if found.get(field) != Some(value) {
                let found = found.get(field);
                return Some(format!("{kind} {id}: {field} is {found:?}, not {value}"));
            }
        }
    }
    None
}

/// A running pod with a share of one device.
fn holder(name: &str, node: &str, uuid: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "annotations": {
            "hami.io/vgpu-node": node, "hami.io/vgpu-time": "1767225600", "hami.io/bind-time": "1767225600",
            "hami.io/bind-phase": "success", "hami.io/vgpu-devices-to-allocate": ";",
            "hami.io/vgpu-devices-allocated": format!("{uuid},NVIDIA,1024,10:;")}},
        // Never scheduled, so that it can move: that it runs elsewhere is not what is tested.
        "spec": {"schedulerName": "hami-scheduler", "containers": [{"name": "main", "image": "none",
            "resources": {"limits": {"nvidia.com/gpu": "1", "nvidia.com/gpumem": "1024", "nvidia.com/gpucores": "10"}}}]}})
}

/// The API server as its administrator on a socket of this machine's files.
async fn proxy(world: &World, socket: &Path) -> anyhow::Result<Child> {
    let line = format!("exec kubectl proxy --unix-socket={}", socket.display());
    let child = world.direct.start(&line)?;
    eventually(SETTLE, || connect(socket)).await?;
    Ok(child)
}

async fn connect(socket: &Path) -> anyhow::Result<Client> {
    // The proxy has the administrator's credentials; what is sent here is not looked at.
    Client::new(UnixStream::connect(socket).await?, "").await
}

/// Process ids of the cluster's agents on this machine.
async fn agent_processes(world: &World) -> anyhow::Result<Vec<String>> {
    let line = format!(
        "for p in $(ip netns pids kt-{}) $(find /sys/fs/cgroup -path '*/kt-{}/*' -name cgroup.procs -exec cat {{}} +); do \
         [ \"$(cat /proc/$p/comm)\" != kantaloupe-agen ] || echo $p; done | sort -u",
        world.cluster.name, world.cluster.name
    );
    let output = Command::new("bash").args(["-c", &line]).output().await?;
    let found: Vec<String> = String::from_utf8(output.stdout)?
        .lines()
        .map(str::to_owned)
        .collect();
    ensure!(!found.is_empty(), "no agent runs");
    Ok(found)
}

async fn signal(processes: &[String], name: &str) -> anyhow::Result<()> {
    let status = Command::new("kill")
        .arg(format!("-{name}"))
        .args(processes)
        .status()
        .await?;
    ensure!(status.success(), "kill -{name} failed");
    Ok(())
}
