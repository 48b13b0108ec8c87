//! Bad input and bad surroundings, one at a time, with the programs as processes: each has to name the cause, its code
//! and what to do, and none may panic. Those that need a real cluster are in `e2e_install.rs`.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    str::FromStr,
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use http::{Method, StatusCode};
use kantaloupe_checks::{Code, Fault, Lang};
use kantaloupe_tests::{
    cluster,
    e2e::{Steps, build, eventually},
    kubeconfig,
    processes::{Agent, Gateway, Process, binary, clock_off, free_port},
    tunnel::Tls,
    upstream::Upstream,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{net::TcpListener, process::Command};

/// Until a program says what is wrong.
const SAID: Duration = Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread")]
async fn faults() -> anyhow::Result<()> {
    build().await?;
    cluster::run("prepare.sh", ["faketime"]).await?;
    let mut steps = Steps::default();
    let test = Test::new().await?;
    steps.run("tokens", test.tokens()).await;
    steps.run("the gateway's URL", test.urls()).await;
    steps.run("the gateway's key", test.keys()).await;
    steps.run("the clock", test.clock()).await;
    steps.run("the agent's configuration", test.agent_config()).await;
    steps
        .run("the gateway's configuration", test.gateway_config())
        .await;
    steps.run("occupied ports", test.ports()).await;
    steps.run("a full disk", full_disk()).await;
    steps.run("no API server", test.no_api_server()).await;
    steps.finish()
}

struct Test {
    dir: TempDir,
    tls: Tls,
    gateway: Gateway,
    /// Plays the API server; for an agent that looks for a gateway, a server that is none.
    upstream: Upstream,
    expired: String,
}

impl Test {
    async fn new() -> anyhow::Result<Self> {
        let (dir, tls) = (TempDir::with_prefix("kantaloupe-e2e-")?, Tls::new());
        let upstream = Upstream::start(&tls).await?;
        let addr = free_port()?;
        let mut gateway =
            Gateway::start_own(dir.path(), addr, vec![format!("--public-url=https://{addr}")]).await?;
        // A token made two hours ago.
        gateway.process.kill().await?;
        gateway.environment = clock_off(-7200)?;
        gateway.restart().await?;
        let expired = gateway.create_cluster("expired").await?.1;
        gateway.process.kill().await?;
        gateway.environment.clear();
        gateway.restart().await?;
        Ok(Self {
            dir,
            tls,
            gateway,
            upstream,
            expired,
        })
    }

    fn url(&self) -> String {
        format!("https://{}", self.gateway.addr)
    }

    /// A folder of its own for one agent.
    fn room(&self, name: &str) -> anyhow::Result<PathBuf> {
        let dir = self.dir.path().join(name);
        std::fs::create_dir_all(&dir)?;
        Ok(dir)
    }

    /// Starts an agent that could connect, but for `change`; it trusts the gateway's certificate and no other.
    async fn agent(
        &self,
        name: &str,
        token: &str,
        change: impl FnOnce(&mut Value),
    ) -> anyhow::Result<Running> {
        self.agent_with(name, token, &[], change).await
    }

    async fn agent_with(
        &self,
        name: &str,
        token: &str,
        environment: &[(&'static str, String)],
        change: impl FnOnce(&mut Value),
    ) -> anyhow::Result<Running> {
        let dir = self.room(name)?;
        // Each has a Secret of its own.
        let upstream = Upstream::start(&self.tls).await?;
        let kubeconfig = dir.join("kubeconfig");
        kubeconfig::write(&kubeconfig, upstream.addr, &self.tls, "test")?;
        let (ca, file, health) = (dir.join("ca.crt"), dir.join("token"), free_port()?);
        std::fs::write(&ca, &self.gateway.tls.cert_pem)?;
        std::fs::write(&file, token)?;
        let mut config = json!({
            "controlPlane": {"url": self.url()},
            "enrollment": {"tokenFile": file},
            "identity": {"secretName": "kantaloupe-agent-identity"},
            "tls": {"caFile": ca},
            "access": {"profile": "observe"},
            "health": {"listen": health.to_string()},
        });
        change(&mut config);
        let path = dir.join("agent.yaml");
        std::fs::write(&path, config.to_string())?; // JSON is YAML
        let process = run_agent(&dir, &path, &kubeconfig, environment)?;
        Ok(Running {
            process,
            health,
            _upstream: Some(upstream),
        })
    }

    async fn tokens(&self) -> anyhow::Result<()> {
        let good = self.gateway.create_cluster("tokens").await?.1;
        let truncated = &good[..good.len() - 3];
        let mistyped = good.replace(&good[20..22], if &good[20..22] == "ab" { "ba" } else { "ab" });
        let unknown = self.gateway.create_cluster("deleted").await?.1;
        self.gateway
            .json(Method::DELETE, "/api/v1/clusters/deleted", None)
            .await?;
        // The contrary first, or all that follows would prove nothing.
        let sound = self.agent("sound", &good, |_| {}).await?;
        self.gateway.wait_state("tokens", "connected", SAID).await?;
        for (name, token, code) in [
            ("truncated", truncated, "KTA-AUTH-001"),
            ("mistyped", &mistyped, "KTA-AUTH-001"),
            ("other", "not a token at all", "KTA-AUTH-001"),
            ("unknown", &unknown, "KTA-AUTH-002"),
            ("expired", &self.expired, "KTA-AUTH-003"),
            ("used", &good, "KTA-AUTH-004"),
        ] {
            let agent = self.agent(name, token, |_| {}).await?;
            let said = agent.says(code, true).await.with_context(|| name.to_owned())?;
            let secret = token.split('_').nth(2).filter(|part| part.len() > 8);
            ensure!(
                secret.is_none_or(|secret| !said.contains(secret)),
                "{name}: the token shows"
            );
        }
        // A token that is none at all: nothing to wait for.
        let mut agent = self.agent("empty", "", |_| {}).await?;
        ends(&mut agent.process, 2, "KTA-CFG-003").await?;
        drop(sound);
        Ok(())
    }

    async fn urls(&self) -> anyhow::Result<()> {
        let token = self.gateway.create_cluster("urls").await?.1;
        let closed = format!("https://{}", free_port()?);
        let (other, pem) = (
            format!("https://{}", self.upstream.addr),
            self.tls.cert_pem.clone(),
        );
        for (name, url, code, word) in [
            (
                "unresolved",
                "https://no-such-gateway.kantaloupe.invalid",
                "KTA-NET-002",
                "no-such-gateway.kantaloupe.invalid",
            ),
            ("closed", &closed, "KTA-NET-003", "refused"),
            ("no-gateway", &other, "KTA-NET-007", "404"),
        ] {
            let agent = self.agent(name, &token, |config| {
                config["controlPlane"]["url"] = url.into();
                if name == "no-gateway" {
                    // Its certificate is trusted, so that it is known by its answer alone.
                    let file = config["tls"]["caFile"].as_str().expect("every agent gets one");
                    std::fs::write(file, &pem).expect("the folder is the test's own");
                }
            });
            let said = agent
                .await?
                .says(code, false)
                .await
                .with_context(|| name.to_owned())?;
            ensure!(said.contains(word), "{name}: no {word} in {said}");
        }
        Ok(())
    }

    async fn keys(&self) -> anyhow::Result<()> {
        let token = self.gateway.create_cluster("keys").await?.1;
        let wrong = format!("sha256:{}", "5a".repeat(32));
        let agent = self
            .agent("wrong-pin", &token, |config| {
                config["controlPlane"]["caPin"] = wrong.into();
            })
            .await?;
        agent.says("KTA-TLS-002", true).await?;
        let agent = self
            .agent("no-trust", &token, |config| config["tls"] = json!({}))
            .await?;
        agent.says("KTA-TLS-001", false).await?;
        Ok(())
    }

    async fn clock(&self) -> anyhow::Result<()> {
        let token = self.gateway.create_cluster("clock").await?.1;
        for (name, off, word) in [("ahead", 600, "ahead"), ("behind", -600, "behind")] {
            let agent = self.agent_with(name, &token, &clock_off(off)?, |_| {}).await?;
            let said = agent
                .says("KTA-TIME-001", false)
                .await
                .with_context(|| name.to_owned())?;
            ensure!(
                said.contains(word)
                    && said.contains("600 s") | said.contains("599 s") | said.contains("601 s"),
                "{said}"
            );
        }
        // Half of it is tolerated.
        let _sound = self.agent_with("near", &token, &clock_off(200)?, |_| {}).await?;
        self.gateway.wait_state("clock", "connected", SAID).await?;
        Ok(())
    }

    async fn agent_config(&self) -> anyhow::Result<()> {
        let dir = self.room("config")?;
        let kubeconfig = dir.join("kubeconfig");
        kubeconfig::write(&kubeconfig, self.upstream.addr, &self.tls, "test")?;
        let broken = dir.join("broken.yaml");
        std::fs::write(&broken, "controlPlane: {url: http://gateway\nmore: [")?;
        let mistaken = dir.join("mistaken.yaml");
        std::fs::write(
            &mistaken,
            "controlPlane: {url: https://gateway.example.com, caPin: 'sha256:00'}\nacess: {}\naccess: {profile: root}\n",
        )?;
        let plain = dir.join("plain.yaml");
        std::fs::write(&plain, "controlPlane: {url: 'http://gateway.example.com'}\n")?;
        for (path, code, words) in [
            (dir.join("missing.yaml"), "KTA-CFG-001", &["missing.yaml"][..]),
            (dir.clone(), "KTA-CFG-001", &["directory"]),
            (broken, "KTA-CFG-001", &["line 2"]),
            // All mistakes at once.
            (mistaken, "KTA-CFG-001", &["acess", "caPin", "profile"]),
            (plain, "KTA-CFG-002", &["must begin with https://"]),
        ] {
            let mut process = run_agent(&dir, &path, &kubeconfig, &[])?;
            let said = ends(&mut process, 2, code)
                .await
                .with_context(|| path.display().to_string())?;
            for word in words {
                ensure!(said.contains(word), "no {word} in {said}");
            }
        }
        Ok(())
    }

    async fn gateway_config(&self) -> anyhow::Result<()> {
        let dir = self.room("gateway-config")?;
        let missing = dir.join("missing.pem").display().to_string();
        for (more, words) in [
            (
                &["--public-url=http://localhost", "--log-level=loud"][..],
                &["public-url", "loud"][..],
            ),
            (
                &[&format!("--tls-cert={missing}"), &format!("--tls-key={missing}")],
                &["missing.pem"],
            ),
            (&["--no-such-flag"], &["--no-such-flag"]),
        ] {
            let mut process = start_gateway(&dir, &dir.join("data"), more)?;
            let said = ends(&mut process, 2, "KTA-CFG-001")
                .await
                .with_context(|| format!("{more:?}"))?;
            for word in words {
                ensure!(said.contains(word), "no {word} in {said}");
            }
        }
        Ok(())
    }

    async fn ports(&self) -> anyhow::Result<()> {
        let taken = TcpListener::bind("127.0.0.1:0").await?;
        let port = taken.local_addr()?.to_string();
        let token = self.gateway.create_cluster("ports").await?.1;
        let mut agent = self
            .agent("port", &token, |config| {
                config["health"]["listen"] = port.clone().into();
            })
            .await?;
        let said = ends(&mut agent.process, 1, "KTA-SRV-007")
            .await
            .context("agent")?;
        ensure!(said.contains(&port), "{said}");
        let dir = self.room("gateway-ports")?;
        for flag in ["--listen", "--admin-listen"] {
            let mut process = start_gateway(&dir, &dir.join("data"), &[&format!("{flag}={port}")])?;
            let said = ends(&mut process, 1, "KTA-SRV-007")
                .await
                .with_context(|| flag.to_owned())?;
            ensure!(said.contains(&port), "{said}");
        }
        Ok(())
    }

    async fn no_api_server(&self) -> anyhow::Result<()> {
        let dir = self.room("no-api-server")?;
        let kubeconfig = dir.join("kubeconfig");
        let gone = Upstream::start(&self.tls).await?;
        kubeconfig::write(&kubeconfig, gone.addr, &self.tls, "test")?;
        drop(gone);
        let token = self.gateway.create_cluster("lonely").await?.1;
        let agent = Agent::start(&dir, &self.url(), &kubeconfig, &token, &self.tls)?;
        let agent = Running {
            process: agent.process,
            health: agent.health,
            _upstream: None,
        };
        agent.says("KTA-K8S-001", false).await?;
        Ok(())
    }
}

struct Running {
    process: Process,
    health: SocketAddr,
    _upstream: Option<Upstream>,
}

impl Running {
    /// Waits for a line of the log with the code, and for readiness to tell it; both tell cause and remedy. The line.
    async fn says(&self, code: &str, permanent: bool) -> anyhow::Result<String> {
        let fault = fault(code)?;
        let line = eventually(SAID, async || {
            let said = self.process.said();
            let line = said
                .lines()
                .find(|line| line.contains(code))
                .with_context(|| format!("no {code} in {said}"))?;
            Ok(line.to_owned())
        })
        .await?;
        let value: Value = serde_json::from_str(&line)?;
        ensure!(
            value["level"] == if permanent { "ERROR" } else { "WARN" },
            "{line}"
        );
        complete(&fault, &line)?;
        let url = format!("http://{}/readyz", self.health);
        let ready = Command::new("curl")
            .args(["-sS", "-w", "%{http_code}", &url])
            .output()
            .await?
            .stdout;
        let ready = String::from_utf8(ready)?;
        ensure!(ready.ends_with("503"), "{ready}");
        complete(&fault, &ready)?;
        no_panic(&self.process.said())?;
        Ok(line)
    }
}

fn fault(code: &str) -> anyhow::Result<Fault> {
    let Ok(code) = Code::from_str(code) else {
        bail!("{code} is not in the registry")
    };
    Ok(Fault::new(code, ""))
}

/// Whether a text names the cause, the remedy and the code.
fn complete(fault: &Fault, text: &str) -> anyhow::Result<()> {
    // In JSON quotes have a backslash.
    let plain = text.replace('\\', "");
    for part in [
        fault.cause(Lang::En),
        fault.remedy(Lang::En),
        fault.code().as_str(),
    ] {
        ensure!(plain.contains(part), "no {part:?} in {text}");
    }
    Ok(())
}

fn no_panic(said: &str) -> anyhow::Result<()> {
    ensure!(!said.contains("panicked"), "it panicked: {said}");
    Ok(())
}

/// Waits until a process ends with this status and a complete message; what it said.
async fn ends(process: &mut Process, status: i32, code: &str) -> anyhow::Result<String> {
    let end = tokio::time::Instant::now() + SAID;
    let got = loop {
        if let Some(got) = process.ended()? {
            break got;
        }
        ensure!(
            tokio::time::Instant::now() < end,
            "it goes on: {}",
            process.said()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let said = process.said();
    ensure!(
        got.code() == Some(status),
        "ended with {got} and not with {status}: {said}"
    );
    complete(&fault(code)?, &said)?;
    no_panic(&said)?;
    Ok(said)
}

/// A gateway on free ports, with its data in `data` and its log in `dir`, except for what `more` says.
fn start_gateway(dir: &Path, data: &Path, more: &[&str]) -> anyhow::Result<Process> {
    let mut command = Command::new(binary("kantaloupe-gateway")?);
    command.arg("serve").args(more);
    let data = format!("--data-dir={}", data.display());
    for default in [
        "--listen=127.0.0.1:0",
        "--admin-listen=127.0.0.1:0",
        "--public-url=https://localhost",
        &data,
    ] {
        let flag = default.split_inclusive('=').next().unwrap_or_default();
        if !more.iter().any(|argument| argument.starts_with(flag)) {
            command.arg(default);
        }
    }
    let name = format!("gateway-{}.log", rand::random::<u32>());
    Process::start(&mut command, dir.join(name))
}

fn run_agent(
    dir: &Path,
    config: &Path,
    kubeconfig: &Path,
    environment: &[(&'static str, String)],
) -> anyhow::Result<Process> {
    let mut command = Command::new(binary("kantaloupe-agent")?);
    command
        .args(["run", "--config"])
        .arg(config)
        .env("KUBECONFIG", kubeconfig)
        .env("POD_NAME", "agent-0")
        .env("POD_NAMESPACE", "kantaloupe-system")
        .envs(environment.iter().cloned());
    let name = config
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    Process::start(&mut command, dir.join(format!("{name}.log")))
}

/// A file system of 16 MiB, unmounted with its handle.
struct SmallDisk(PathBuf);

impl SmallDisk {
    async fn mount(path: PathBuf) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&path)?;
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=16m", "tmpfs"])
            .arg(&path)
            .status()
            .await?;
        ensure!(mounted.success(), "mount");
        Ok(Self(path))
    }

    /// Writes until nothing fits any more.
    fn fill(&self) -> anyhow::Result<PathBuf> {
        let file = self.0.join("filling");
        let mut filling = std::fs::File::create(&file)?;
        while std::io::Write::write(&mut filling, &[1; 4096]).is_ok_and(|n| n > 0) {}
        Ok(file)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount")
            .arg("-l")
            .arg(&self.0)
            .stderr(Stdio::null())
            .status();
    }
}

async fn full_disk() -> anyhow::Result<()> {
    let dir = TempDir::with_prefix("kantaloupe-e2e-")?;
    let disk = SmallDisk::mount(dir.path().join("gateway")).await?;
    let addr = free_port()?;
    let mut gateway =
        Gateway::start_own(dir.path(), addr, vec![format!("--public-url=https://{addr}")]).await?;
    gateway.create_cluster("before").await?;
    let filling = disk.fill()?;
    // Some writes still fit into pages that are there.
    let (status, body) = eventually(SAID, async || {
        let name = format!("full-{}", rand::random::<u32>());
        let (status, body) = gateway
            .request(Method::POST, "/api/v1/clusters", Some(json!({"name": name})))
            .await?;
        ensure!(status.is_server_error(), "{status}");
        Ok((status, body))
    })
    .await?;
    let body = String::from_utf8(body.to_vec())?;
    ensure!(
        status == StatusCode::INTERNAL_SERVER_ERROR
            || status == StatusCode::INSUFFICIENT_STORAGE
            || status == StatusCode::SERVICE_UNAVAILABLE,
        "{status}"
    );
    ensure!(body.contains("KTA-SRV-006") && body.contains("full"), "{body}");
    let remedy = fault("KTA-SRV-006")?;
    ensure!(body.contains(remedy.remedy(Lang::En)), "{body}");
    // What is there is served.
    gateway.json(Method::GET, "/api/v1/clusters/before", None).await?;
    // It does not start either, and says why.
    gateway.process.kill().await?;
    let fresh = dir.path().join("gateway/fresh");
    std::fs::create_dir(&fresh).ok();
    let mut process = start_gateway(dir.path(), &fresh, &[])?;
    ends(&mut process, 1, "KTA-SRV-006").await?;
    // With space again it goes on as if nothing had been.
    std::fs::remove_file(filling)?;
    gateway.restart().await?;
    gateway.json(Method::GET, "/api/v1/clusters/before", None).await?;
    gateway.create_cluster("after").await?;
    no_panic(&gateway.process.said())?;
    drop(disk);
    Ok(())
}
