//! Gateway and agent as what ships: processes of the built binaries, and the gateway's API as a person uses it.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::{
    net::TcpStream,
    process::{Child, Command},
    time::{Instant, sleep},
};

use crate::{
    client::Client,
    tunnel::{Tls, localhost},
};

/// Longest time for a process to come up on a loaded machine.
const START: Duration = Duration::from_secs(30);

/// A binary of this workspace, beside the running test or benchmark (so of the same profile).
pub fn binary(name: &str) -> anyhow::Result<PathBuf> {
    let exe = std::env::current_exe()?;
    let found = exe
        .ancestors()
        .take(3)
        .map(|dir| dir.join(name))
        .find(|p| p.is_file());
    found.with_context(|| format!("{name} is not built; `make` targets build it first"))
}

/// A process that ends with its handle.
pub struct Process {
    child: Child,
    pub log: PathBuf,
}

impl Process {
    /// Starts a program; everything it says goes to `log`.
    pub fn start(command: &mut Command, log: PathBuf) -> anyhow::Result<Self> {
        let file = std::fs::File::options().create(true).append(true).open(&log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{command:?}"))?;
        Ok(Self { child, log })
    }

    pub fn pid(&self) -> u32 {
        self.child.id().unwrap_or(0)
    }

    /// SIGKILL, and waits for the end.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }

    /// SIGTERM, and waits for the end.
    pub async fn terminate(&mut self) -> anyhow::Result<std::process::ExitStatus> {
        let status = Command::new("kill").arg(self.pid().to_string()).status().await?;
        ensure!(status.success(), "kill failed");
        Ok(self.child.wait().await?)
    }

    /// The exit status, if it has ended.
    pub fn ended(&mut self) -> anyhow::Result<Option<std::process::ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// What it said so far.
    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

/// A gateway process.
pub struct Gateway {
    pub process: Process,
    pub addr: SocketAddr,
    pub admin: SocketAddr,
    pub data: PathBuf,
    pub tls: Tls,
    /// The first administrator's API token.
    pub token: String,
    /// Set for the next start.
    pub environment: Vec<(&'static str, String)>,
    arguments: Vec<String>,
}

impl Gateway {
    /// With the test certificate, on free ports of loopback.
    pub async fn start(dir: &Path, tls: &Tls) -> anyhow::Result<Self> {
        let addr = free_port()?;
        Self::start_at(dir, tls, addr, None).await
    }

    /// With the test certificate, on free ports of loopback, and with further arguments.
    pub async fn start_with(dir: &Path, tls: &Tls, more: Vec<String>) -> anyhow::Result<Self> {
        Self::serve(dir, tls, free_port()?, more).await
    }

    /// With the test certificate at an address; `agent_url` is what agents dial, when something stands between.
    pub async fn start_at(
        dir: &Path,
        tls: &Tls,
        addr: SocketAddr,
        agent_url: Option<String>,
    ) -> anyhow::Result<Self> {
        let more = agent_url.map(|url| format!("--agent-url={url}"));
        Self::serve(dir, tls, addr, more.into_iter().collect()).await
    }

    async fn serve(dir: &Path, tls: &Tls, addr: SocketAddr, more: Vec<String>) -> anyhow::Result<Self> {
        let (cert, key) = (dir.join("tls.crt"), dir.join("tls.key"));
        std::fs::write(&cert, &tls.cert_pem)?;
        std::fs::write(&key, &tls.key_pem)?;
        let mut arguments = vec![
            format!("--public-url=https://localhost:{}", addr.port()),
            format!("--tls-cert={}", cert.display()),
            format!("--tls-key={}", key.display()),
        ];
        arguments.extend(more);
        Self::launch(dir, Some(tls), addr, arguments).await
    }

    /// With its own certificate at an address; `more` are further arguments, `--public-url` among them.
    pub async fn start_own(dir: &Path, addr: SocketAddr, more: Vec<String>) -> anyhow::Result<Self> {
        Self::launch(dir, None, addr, more).await
    }

    async fn launch(
        dir: &Path,
        tls: Option<&Tls>,
        addr: SocketAddr,
        more: Vec<String>,
    ) -> anyhow::Result<Self> {
        let data = dir.join("gateway");
        std::fs::create_dir_all(&data)?;
        let admin = free_port()?;
        let mut arguments = vec![
            format!("--listen={addr}"),
            format!("--admin-listen={admin}"),
            format!("--data-dir={}", data.display()),
        ];
        arguments.extend(more);
        let mut process = spawn(dir, &arguments, &[])?;
        let tls = match tls {
            Some(tls) => tls.clone(),
            None => own_certificate(&mut process, &data).await?,
        };
        let mut gateway = Self {
            process,
            addr,
            admin,
            data,
            tls,
            token: String::new(),
            environment: vec![],
            arguments,
        };
        gateway.wait_ready().await?;
        std::fs::read_to_string(gateway.data.join("admin-token"))?
            .trim()
            .clone_into(&mut gateway.token);
        Ok(gateway)
    }

    /// Starts it again after a kill, with the same data and ports.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        let dir = self.data.parent().context("the data folder has a parent")?;
        self.process = spawn(dir, &self.arguments, &self.environment)?;
        self.wait_ready().await
    }

    async fn wait_ready(&mut self) -> anyhow::Result<()> {
        let end = Instant::now() + START;
        loop {
            if let Some(status) = self.process.ended()? {
                bail!("the gateway ended with {status}:\n{}", self.process.said());
            }
            if let Ok((StatusCode::OK, _)) = self.request(Method::GET, "/api/v1/healthz", None).await {
                return Ok(());
            }
            ensure!(
                Instant::now() < end,
                "the gateway is not ready:\n{}",
                self.process.said()
            );
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// One request on a connection of its own, as the administrator.
    pub async fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> anyhow::Result<(StatusCode, Bytes)> {
        let tcp = TcpStream::connect(self.addr).await?;
        let stream = self.tls.connector.connect(localhost(), tcp).await?;
        let mut client = Client::new(stream, &self.token).await?;
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        client.send(method, path, "application/json", body).await
    }

    /// A request that has to succeed with JSON.
    pub async fn json(&self, method: Method, path: &str, body: Option<Value>) -> anyhow::Result<Value> {
        let (status, bytes) = self.request(method, path, body).await?;
        ensure!(
            status.is_success(),
            "{path}: {status}: {}",
            String::from_utf8_lossy(&bytes)
        );
        Ok(serde_json::from_slice(&bytes)?)
    }

    /// Creates a cluster: its id and its enrolment token.
    pub async fn create_cluster(&self, name: &str) -> anyhow::Result<(String, String)> {
        let made = self
            .json(Method::POST, "/api/v1/clusters", Some(json!({"name": name})))
            .await?;
        let text = |pointer| made.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let id = text("/cluster/id").context("no id")?;
        Ok((id, text("/enrollment/token").context("no token")?))
    }

    /// The state that the API shows.
    pub async fn state(&self, cluster: &str) -> anyhow::Result<String> {
        let got = self
            .json(Method::GET, &format!("/api/v1/clusters/{cluster}"), None)
            .await?;
        Ok(got["state"].as_str().context("no state")?.to_owned())
    }

    /// Waits for a state; how long it took.
    pub async fn wait_state(&self, cluster: &str, want: &str, within: Duration) -> anyhow::Result<Duration> {
        let start = Instant::now();
        loop {
            let state = self.state(cluster).await?;
            if state == want {
                return Ok(start.elapsed());
            }
            ensure!(
                start.elapsed() < within,
                "{cluster} is {state}, not {want}:\n{}",
                self.process.said()
            );
            sleep(Duration::from_millis(20)).await;
        }
    }
}

fn spawn(dir: &Path, arguments: &[String], environment: &[(&str, String)]) -> anyhow::Result<Process> {
    let mut command = Command::new(binary("kantaloupe-gateway")?);
    command
        .arg("serve")
        .args(arguments)
        .envs(environment.iter().cloned());
    Process::start(&mut command, dir.join("gateway.log"))
}

/// Waits for the certificate that the gateway makes at its first start.
async fn own_certificate(process: &mut Process, data: &Path) -> anyhow::Result<Tls> {
    let end = Instant::now() + START;
    loop {
        // The token is written after the certificate.
        if data.join("admin-token").exists() {
            return Tls::trusting(&std::fs::read_to_string(data.join("tls.crt"))?);
        }
        if let Some(status) = process.ended()? {
            bail!("the gateway ended with {status}:\n{}", process.said());
        }
        ensure!(
            Instant::now() < end,
            "the gateway made no certificate:\n{}",
            process.said()
        );
        sleep(Duration::from_millis(20)).await;
    }
}

/// An agent process outside a cluster.
pub struct Agent {
    pub process: Process,
    /// Where its health checks answer.
    pub health: SocketAddr,
}

impl Agent {
    /// `kubeconfig` names its API server, `url` its gateway, whose certificate is the test's.
    pub fn start(dir: &Path, url: &str, kubeconfig: &Path, token: &str, tls: &Tls) -> anyhow::Result<Self> {
        let more = json!({"access": {"profile": "admin"}});
        Self::start_with(dir, url, kubeconfig, token, tls, &more, vec![])
    }

    /// The same with sections of the configuration and environment of its own.
    pub fn start_with(
        dir: &Path,
        url: &str,
        kubeconfig: &Path,
        token: &str,
        tls: &Tls,
        more: &Value,
        environment: Vec<(&'static str, String)>,
    ) -> anyhow::Result<Self> {
        let health = free_port()?;
        let (config, ca, token_file) = (dir.join("agent.yaml"), dir.join("ca.crt"), dir.join("token"));
        std::fs::write(&ca, &tls.cert_pem)?;
        std::fs::write(&token_file, token)?;
        let mut value = json!({
            "controlPlane": {"url": url},
            "enrollment": {"tokenFile": token_file},
            "identity": {"secretName": "kantaloupe-agent-identity"},
            "tls": {"caFile": ca},
            "health": {"listen": health.to_string()},
        });
        for (section, content) in more.as_object().into_iter().flatten() {
            value[section] = content.clone();
        }
        std::fs::write(&config, value.to_string())?; // JSON is YAML
        let mut command = Command::new(binary("kantaloupe-agent")?);
        command
            .args(["run", "--config"])
            .arg(&config)
            .env("KUBECONFIG", kubeconfig)
            .envs(environment)
            .env("POD_NAME", "agent-0")
            .env("POD_NAMESPACE", "kantaloupe-system");
        let process = Process::start(&mut command, dir.join("agent.log"))?;
        Ok(Self { process, health })
    }
}

/// Environment that moves the clock of a process by so many seconds (Debian's libfaketime); its timers stay sound.
pub fn clock_off(seconds: i64) -> anyhow::Result<Vec<(&'static str, String)>> {
    let library = "faketime/libfaketime.so.1";
    let found = std::fs::read_dir("/usr/lib")?
        .flatten()
        .map(|dir| dir.path().join(library))
        .find(|p| p.is_file());
    let library = found.context("libfaketime is missing: run tests/testbed/prepare.sh")?;
    Ok(vec![
        ("LD_PRELOAD", library.display().to_string()),
        ("FAKETIME", format!("{seconds:+}")),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
    ])
}

/// A port of loopback that was free just now.
pub fn free_port() -> anyhow::Result<SocketAddr> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
