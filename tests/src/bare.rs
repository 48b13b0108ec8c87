//! Everything real without root: API server with an audit log and the chart's roles, gateway and agent as they ship, the
//! agent with the rights that the chart gives it. Only the node is a fake ([`crate::kubelet`]).

use std::{
    collections::BTreeSet,
    path::Path,
    process::Stdio,
    sync::{Arc, LazyLock, Weak},
    time::Duration,
};

use anyhow::{Context, ensure};
use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    process::Command,
    runtime::Runtime,
    sync::Mutex,
    time::{Instant, sleep},
};

use crate::{
    apiserver::{ApiServer, Release, program},
    client::Client,
    e2e::NAMESPACE,
    kubelet::Kubelet,
    processes::{Agent, Gateway},
    raw::{Answer, Raw},
    tunnel::localhost,
};

/// Where the API server says whom it takes the caller for.
pub const REVIEW: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
/// What is posted there.
pub const REVIEW_BODY: &str = r#"{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}"#;
/// Name of the cluster at the gateway.
pub const CLUSTER: &str = "prod";
/// Namespaces with the fake node's pods.
pub const NAMESPACES: [&str; 2] = ["team-a", "team-b"];
/// Longest for an agent to connect, on a loaded machine.
const CONNECT: Duration = Duration::from_mins(1);
/// Longest until a line is in the API server's audit log.
const AUDIT: Duration = Duration::from_secs(5);

/// A running one.
pub struct Bare {
    // Dropped in this order.
    pub agent: Agent,
    pub gateway: Gateway,
    pub server: ApiServer,
    pub kubelet: Kubelet,
    pub id: String,
    pub enrollment: String,
    pub dir: TempDir,
}

/// How one is started; the default is a sound one of the profile admin.
pub struct Setup<'a> {
    /// Of the chart.
    pub profile: &'a str,
    /// More values of the chart.
    pub values: &'a [&'a str],
    /// More of the owner's limits, as the agent's configuration writes them.
    pub limits: Value,
    /// Of the logs of agent and gateway.
    pub level: &'a str,
    /// More arguments of the gateway.
    pub gateway: Vec<String>,
    /// Of the API server.
    pub release: Release,
}

impl Default for Setup<'_> {
    fn default() -> Self {
        Self {
            profile: "admin",
            values: &[],
            limits: json!({}),
            level: "info",
            gateway: vec![],
            release: Release::Default,
        }
    }
}

impl Setup<'_> {
    /// Starts it; waits until the cluster is connected.
    pub async fn start(self) -> anyhow::Result<Bare> {
        let Self {
            profile,
            values,
            limits,
            level,
            gateway: mut more,
            release,
        } = self;
        more.push(format!("--log-level={level}"));
        let dir = TempDir::with_prefix("kantaloupe-bare-")?;
        let server = ApiServer::start_audited(&dir.path().join("server"), release).await?;
        let kubelet = Kubelet::start(&server.tls).await?;
        let mut api = server.connect().await?;
        for name in [NAMESPACE].iter().chain(&NAMESPACES) {
            let body = json!({"metadata": {"name": name}});
            api.ok(Method::POST, "/api/v1/namespaces", Some(&body)).await?;
        }
        kubelet.register(&mut api, &NAMESPACES).await?;
        let secret = json!({"metadata": {"name": "canary"}, "stringData": {"word": "secret-of-the-cluster"}});
        let path = format!("/api/v1/namespaces/{}/secrets", NAMESPACES[0]);
        api.ok(Method::POST, &path, Some(&secret)).await?;
        let mut given = vec![format!("access.profile={profile}")];
        if profile == "admin" {
            given.push("access.admin.iUnderstand=true".to_owned());
        }
        given.extend(values.iter().map(|value| (*value).to_owned()));
        install_chart(&server, &given).await?;

        let tls = server.tls.clone();
        let gateway_dir = dir.path().join("g");
        std::fs::create_dir_all(&gateway_dir)?;
        let gateway = Gateway::start_with(&gateway_dir, &tls, more).await?;
        let (id, enrollment) = gateway.create_cluster(CLUSTER).await?;
        let kubeconfig = dir.path().join("agent.kubeconfig");
        server.agent_kubeconfig(&kubeconfig)?;
        let agent_dir = dir.path().join("a");
        std::fs::create_dir_all(&agent_dir)?;
        let url = format!("https://localhost:{}", gateway.addr.port());
        let mut access = json!({"profile": profile});
        for (key, value) in limits.as_object().into_iter().flatten() {
            access[key] = value.clone();
        }
        let config = json!({"access": access, "logging": {"level": level}});
        let agent = Agent::start_with(&agent_dir, &url, &kubeconfig, &enrollment, &tls, &config, vec![])?;
        gateway
            .wait_state(&id, "connected", CONNECT)
            .await
            .with_context(|| agent.process.said())?;
        Ok(Bare {
            agent,
            gateway,
            server,
            kubelet,
            id,
            enrollment,
            dir,
        })
    }
}

impl Bare {
    /// The path of the API server's path at the gateway.
    pub fn path(&self, path: &str) -> String {
        format!("/clusters/{CLUSTER}/kubernetes{path}")
    }

    /// A raw connection to the gateway.
    pub async fn raw(&self) -> anyhow::Result<Raw> {
        Raw::connect(self.gateway.addr, &self.gateway.tls).await
    }

    /// One request of these head lines (without the request line) as the administrator, on a connection of its own.
    pub async fn ask(&self, method: &str, path: &str, lines: &[&str]) -> anyhow::Result<Answer> {
        self.ask_as(&self.gateway.token, method, path, lines, "").await
    }

    /// The same with any token and body.
    pub async fn ask_as(
        &self,
        token: &str,
        method: &str,
        path: &str,
        lines: &[&str],
        body: &str,
    ) -> anyhow::Result<Answer> {
        let mut raw = self.raw().await?;
        raw.send(self.head(token, method, &self.path(path), lines, body))
            .await?;
        raw.answer().await
    }

    /// Asks the API server whom it takes the owner of a token for.
    pub async fn review(&self, token: &str, lines: &[&str]) -> anyhow::Result<Answer> {
        self.ask_as(token, "POST", REVIEW, lines, REVIEW_BODY).await
    }

    /// The bytes of such a request.
    pub fn head(&self, token: &str, method: &str, target: &str, lines: &[&str], body: &str) -> String {
        let length = format!("content-type: application/json\r\ncontent-length: {}", body.len());
        let authorization = format!("authorization: Bearer {token}");
        let mut all = vec!["host: localhost", &authorization];
        all.extend(lines);
        if !body.is_empty() {
            all.push(&length);
        }
        format!("{method} {target} HTTP/1.1\r\n{}\r\n\r\n{body}", all.join("\r\n"))
    }

    /// A connection for whole requests at the gateway, with a token.
    pub async fn client(&self, token: &str) -> anyhow::Result<Client> {
        let tcp = TcpStream::connect(self.gateway.addr).await?;
        Client::new(self.gateway.tls.connector.connect(localhost(), tcp).await?, token).await
    }

    /// One call of the gateway's API with a token.
    pub async fn call(
        &self,
        token: &str,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> anyhow::Result<(StatusCode, Value)> {
        let text = body.map(|body| body.to_string()).unwrap_or_default();
        let mut client = self.client(token).await?;
        let (status, bytes): (_, Bytes) = client.send(method, path, "application/json", text).await?;
        Ok((status, serde_json::from_slice(&bytes).unwrap_or_default()))
    }

    /// Entries of the API server's audit log about people, that is of requests that went through the agent.
    pub fn audited(&self) -> anyhow::Result<Vec<Value>> {
        let log = self.server.audit()?;
        Ok(log
            .lines()
            .filter(|line| line.contains("impersonatedUser"))
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect())
    }

    /// How many requests of people whose path contains a word have reached the API server. A stream has several entries.
    pub fn reached(&self, word: &str) -> anyhow::Result<usize> {
        let entries = self.audited()?;
        let ids: BTreeSet<_> = entries
            .iter()
            .filter(|entry| entry["requestURI"].as_str().is_some_and(|uri| uri.contains(word)))
            .map(|entry| entry["auditID"].as_str())
            .collect();
        Ok(ids.len())
    }

    /// Waits for an entry whose path contains a word.
    pub async fn entry(&self, word: &str) -> anyhow::Result<Value> {
        let end = Instant::now() + AUDIT;
        loop {
            let entries = self.audited()?;
            let found = entries
                .into_iter()
                .rev()
                .find(|entry| entry["requestURI"].as_str().is_some_and(|uri| uri.contains(word)));
            if let Some(found) = found {
                return Ok(found);
            }
            ensure!(Instant::now() < end, "{word} never came to the API server");
            sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Renders the chart for a server with values and applies it there as the administrator.
pub async fn install_chart(server: &ApiServer, values: &[String]) -> anyhow::Result<()> {
    let kubeconfig = server.dir.join("admin.kubeconfig");
    server.kubeconfig(&kubeconfig)?;
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../helm/kantaloupe-agent");
    let mut helm = Command::new(program("helm")?);
    helm.args(["template", "kantaloupe-agent"]).arg(chart).args([
        "--namespace",
        NAMESPACE,
        "--skip-tests",
        "--set",
        "controlPlane.url=https://localhost:1",
        "--kube-version",
        &server.release.version()?,
    ]);
    for value in values {
        helm.args(["--set", value]);
    }
    let rendered = helm.output().await?;
    ensure!(
        rendered.status.success(),
        "{}",
        String::from_utf8_lossy(&rendered.stderr)
    );
    let home = server.dir.join("home");
    std::fs::create_dir_all(&home)?;
    let mut kubectl = Command::new(program("kubectl")?)
        .args(["apply", "-f", "-"])
        .env("KUBECONFIG", &kubeconfig)
        .env("HOME", home)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut stdin = kubectl.stdin.take().context("no stdin")?;
    stdin.write_all(&rendered.stdout).await?;
    drop(stdin);
    let applied = kubectl.wait_with_output().await?;
    ensure!(
        applied.status.success(),
        "{}",
        String::from_utf8_lossy(&applied.stderr)
    );
    Ok(())
}

/// One runtime for the tests of a program: what a shared [`Bare`] runs on outlives each of them.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());
static SHARED: Mutex<Weak<Bare>> = Mutex::const_new(Weak::new());

/// Runs a test with the one that tests of this program share (profile admin, so that only roles and policy refuse). It
/// starts with the first test and ends with the last.
pub fn shared<F: AsyncFnOnce(&Bare) -> anyhow::Result<()>>(test: F) -> anyhow::Result<()> {
    RUNTIME.block_on(async {
        let bare = {
            let mut shared = SHARED.lock().await;
            if let Some(bare) = shared.upgrade() {
                bare
            } else {
                let bare = Arc::new(
                    Setup {
                        level: "trace",
                        ..Setup::default()
                    }
                    .start()
                    .await?,
                );
                *shared = Arc::downgrade(&bare);
                bare
            }
        };
        test(&bare).await
    })
}

/// Runs a test with one of its own.
pub fn own<F: AsyncFnOnce(Bare) -> anyhow::Result<()>>(setup: Setup<'_>, test: F) -> anyhow::Result<()> {
    RUNTIME.block_on(async { test(setup.start().await?).await })
}
