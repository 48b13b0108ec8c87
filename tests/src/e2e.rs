//! What every end-to-end test starts with: a cluster that nothing can connect to, a gateway outside, a relay between
//! them whose connections can be cut, and the agent's image loaded.

use std::{
    fmt,
    io::Write,
    net::SocketAddr,
    panic::AssertUnwindSafe,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use futures::{FutureExt, future::join_all};
use http::Method;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{process::Command, time::Instant};

use crate::{
    cluster::{self, Cluster},
    kubectl::Shell,
    processes::{Gateway, binary},
    relay::Relay,
};

/// From helm's return to connected, on a loaded machine.
const CONNECT: Duration = Duration::from_mins(1);
/// Where the agent lives.
pub const NAMESPACE: &str = "kantaloupe-system";

/// Prints past the test harness, which swallows what passing tests say.
pub fn say(text: fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Cluster, gateway and what is between them.
pub struct World {
    // Dropped in this order: the cluster goes before its folder.
    pub gateway: Gateway,
    pub relay: Relay,
    pub cluster: Cluster,
    pub dir: TempDir,
    /// With the cluster administrator's rights, inside.
    pub direct: Shell,
    tokens: Mutex<Vec<String>>,
}

impl World {
    /// Starts it all except the agent. `purpose` names the cluster; logs are kept at `level`.
    pub async fn start(purpose: &str, level: &str) -> anyhow::Result<Self> {
        Self::start_with(purpose, level, "*").await
    }

    /// As [`World::start`], with only some of the cluster's controllers (as `kube-controller-manager --controllers`).
    pub async fn start_with(purpose: &str, level: &str, controllers: &str) -> anyhow::Result<Self> {
        let dir = TempDir::with_prefix("kantaloupe-e2e-")?;
        let state = dir.path().join("cluster");
        let cluster = Cluster::start_with(purpose, &state, controllers);
        let (cluster, image) = tokio::join!(cluster, agent_image(dir.path()));
        let (cluster, (image, archive)) = (cluster?, image?);
        cluster.import(&archive).await?;
        let outside = cluster.outside();
        let free = || anyhow::Ok(std::net::TcpListener::bind((outside, 0))?.local_addr()?);
        let addr = free()?;
        let relay = Relay::bind(SocketAddr::from((outside, 0)), addr, None).await?;
        let chart = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../helm/kantaloupe-agent")
            .canonicalize()?;
        let arguments = vec![
            format!("--public-url=https://{addr}"),
            format!(
                "--agent-url=https://gateway.kantaloupe.test:{}",
                relay.addr.port()
            ),
            format!("--chart={}", chart.display()),
            format!("--image={image}"),
            format!("--log-level={level}"),
        ];
        let gateway = Gateway::start_own(dir.path(), addr, arguments).await?;
        let direct = Shell::new(&dir.path().join("direct"), "", &cluster.kubeconfig(), "")?.direct(&cluster);
        Ok(Self {
            gateway,
            relay,
            cluster,
            dir,
            direct,
            tokens: Mutex::default(),
        })
    }

    /// Creates a cluster at the gateway: its id, and the command that installs the agent.
    pub async fn create(&self, name: &str, profile: &str) -> anyhow::Result<(String, String)> {
        let body = json!({"name": name, "profile": profile});
        let made = self
            .gateway
            .json(Method::POST, "/api/v1/clusters", Some(body))
            .await?;
        self.issued(&made)
    }

    /// A new enrolment token for a cluster, as [`World::create`].
    pub async fn renew(&self, id: &str) -> anyhow::Result<(String, String)> {
        let path = format!("/api/v1/clusters/{id}/enrollment-token");
        self.issued(&self.gateway.json(Method::POST, &path, None).await?)
    }

    fn issued(&self, made: &Value) -> anyhow::Result<(String, String)> {
        let text = |pointer| {
            let value = made.pointer(pointer).and_then(Value::as_str);
            value.map(str::to_owned).with_context(|| format!("no {pointer}"))
        };
        self.tokens.lock().push(text("/enrollment/token")?);
        Ok((text("/cluster/id")?, text("/enrollment/installCommand")?))
    }

    /// Every enrolment token so far.
    pub fn tokens(&self) -> Vec<String> {
        self.tokens.lock().clone()
    }

    /// Runs an install command as it is, with the consent that profile admin wants and pods/proxy, which is off by
    /// default, and waits for connected: how long that took after helm's return.
    pub async fn install(&self, id: &str, command: &str, more: &str) -> anyhow::Result<Duration> {
        let line = format!("{command} --set access.admin.iUnderstand=true --set access.proxy=true {more}");
        let installed = self.direct.ok(&line).await;
        if installed.is_err() {
            self.explain().await;
        }
        installed?;
        let connected = self.gateway.wait_state(id, "connected", CONNECT).await;
        if connected.is_err() {
            self.explain().await;
        }
        connected
    }

    /// Shows the agent's side of a failure.
    pub async fn explain(&self) {
        let line = format!(
            "kubectl -n {NAMESPACE} get pods; kubectl -n {NAMESPACE} get events | tail -5; \
             kubectl -n {NAMESPACE} logs deploy/kantaloupe-agent --tail=20"
        );
        if let Ok(said) = self.direct.run(&line).await {
            say(format_args!("{}{}", said.out, said.err));
        }
    }

    /// What the agent's pods logged so far.
    pub async fn agent_log(&self) -> anyhow::Result<String> {
        let line =
            format!("kubectl -n {NAMESPACE} logs -l app.kubernetes.io/name=kantaloupe-agent --tail=-1");
        // A connected agent may be ahead of what the kubelet says of its container.
        eventually(CONNECT, || self.direct.ok(&line)).await
    }

    /// A shell of a person: kubectl of some version, with the kubeconfig downloaded from the gateway.
    pub async fn shell(&self, id: &str, version: &str) -> anyhow::Result<Shell> {
        let (status, yaml) = self
            .gateway
            .request(Method::GET, &format!("/api/v1/clusters/{id}/kubeconfig"), None)
            .await?;
        ensure!(status.is_success(), "no kubeconfig: {status}");
        let dir = self.dir.path().join(format!("person{version}"));
        std::fs::create_dir_all(&dir)?;
        let kubeconfig = dir.join("kubeconfig");
        std::fs::write(&kubeconfig, &yaml)?;
        let server = String::from_utf8_lossy(&yaml).into_owned();
        let path = server.find("/clusters/").context("no path")?;
        let path = server[path..].split_whitespace().next().unwrap_or_default();
        Shell::new(&dir, version, &kubeconfig, path)
    }
}

/// Builds the agent's image of the binary beside this test: its name and its archive.
async fn agent_image(dir: &Path) -> anyhow::Result<(String, PathBuf)> {
    build().await?;
    let archive = dir.join("agent.tar");
    let agent = binary("kantaloupe-agent")?;
    let tag = format!("e2e-{}", std::process::id());
    cluster::run("image.sh", [agent.as_os_str(), tag.as_ref(), archive.as_ref()]).await?;
    Ok((format!("localhost/kantaloupe-agent:{tag}"), archive))
}

/// Builds the programs under test, of this test's profile. Without cargo (a test run by hand), what is there serves.
pub async fn build() -> anyhow::Result<()> {
    let Some(cargo) = std::env::var_os("CARGO") else {
        return Ok(());
    };
    let mut command = Command::new(cargo);
    command.args([
        "build",
        "--locked",
        "--quiet",
        "-p",
        "kantaloupe-agent",
        "-p",
        "kantaloupe-gateway",
    ]);
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    ensure!(
        command.status().await?.success(),
        "the programs under test cannot be built"
    );
    Ok(())
}

/// Runs the parts of a test, goes on after a failed one, and fails at the end with all that failed.
#[derive(Default)]
pub struct Steps {
    failed: Vec<String>,
}

impl Steps {
    /// One part. `E2E_ONLY=text,text` leaves out those whose name has none of the texts.
    pub async fn run(&mut self, name: &str, step: impl Future<Output = anyhow::Result<()>>) {
        self.together([(name.to_owned(), step)]).await;
    }

    /// Several parts at the same time.
    pub async fn together<F: Future<Output = anyhow::Result<()>>>(
        &mut self,
        steps: impl IntoIterator<Item = (String, F)>,
    ) {
        let only = std::env::var("E2E_ONLY").ok();
        let wanted = |name: &str| {
            only.as_ref()
                .is_none_or(|only| only.split(',').any(|text| name.contains(text)))
        };
        let steps = steps.into_iter().filter(|(name, _)| wanted(name));
        let failed =
            join_all(steps.map(|(name, step)| async move { (!passes(&name, step).await).then_some(name) }));
        self.failed.extend(failed.await.into_iter().flatten());
    }

    /// Fails if a part failed. `E2E_HOLD=seconds` keeps everything up before that, for a look around.
    pub fn finish(self) -> anyhow::Result<()> {
        if let Some(seconds) = std::env::var("E2E_HOLD").ok().and_then(|text| text.parse().ok()) {
            say(format_args!("holding for {seconds} s"));
            std::thread::sleep(Duration::from_secs(seconds));
        }
        if self.failed.is_empty() {
            return Ok(());
        }
        bail!("failed: {}", self.failed.join(", "))
    }
}

/// Runs a part and says how it went; whether it passed.
async fn passes(name: &str, step: impl Future<Output = anyhow::Result<()>>) -> bool {
    let start = Instant::now();
    let result = AssertUnwindSafe(step).catch_unwind().await;
    let result = result.unwrap_or_else(|_| Err(anyhow::anyhow!("it panicked, see above")));
    let took = start.elapsed().as_secs_f32();
    let Err(error) = result else {
        say(format_args!("{took:6.1} s  ok      {name}"));
        return true;
    };
    let error: String = format!("{error:#}").chars().take(1500).collect();
    say(format_args!("{took:6.1} s  FAILED  {name}: {error}"));
    false
}

/// Polls until `check` gives something.
pub async fn eventually<T, F: Future<Output = anyhow::Result<T>>>(
    within: Duration,
    mut check: impl FnMut() -> F,
) -> anyhow::Result<T> {
    let end = Instant::now() + within;
    loop {
        match check().await {
            Ok(value) => return Ok(value),
            Err(error) if Instant::now() > end => return Err(error.context(format!("not within {within:?}"))),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}
