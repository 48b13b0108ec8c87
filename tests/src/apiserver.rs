//! A real API server with its etcd and nothing else: no kubelet, no controller touches what a test puts into it.
//! Needs no root. The end-to-end tests use whole clusters ([`crate::cluster`]).

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, ensure};
use bytes::Bytes;
use http::{Method, StatusCode};
use tokio::{
    net::TcpStream,
    process::Command,
    time::{Instant, sleep},
};

use crate::{
    client::Client,
    cluster::testbed,
    kubeconfig,
    processes::{Process, free_port},
    tunnel::{Tls, localhost},
};

/// Cold start on a loaded machine.
const START: Duration = Duration::from_mins(1);
/// The bearer token of the administrator of a server that lives for one test.
const TOKEN: &str = "administrator";
/// The bearer token of the chart's service account there.
pub const AGENT_TOKEN: &str = "service-account-of-the-agent";
/// Who is who: the administrator, and the agent as the chart installs it.
const TOKENS: &str = "administrator,admin,admin,system:masters
service-account-of-the-agent,system:serviceaccount:kantaloupe-system:kantaloupe-agent,agent,\"system:serviceaccounts,system:serviceaccounts:kantaloupe-system,system:authenticated\"
";
/// Every request with its person, without bodies.
const AUDIT_POLICY: &str = r#"{"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"], "rules": [{"level": "Metadata"}]}"#;

/// Which API server, of those that `prepare.sh` builds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// That of the test clusters.
    Default,
    /// The first in which impersonation is constrained (KEP-5284).
    Constrained,
}

impl Release {
    /// The program's name.
    const fn program(self) -> &'static str {
        match self {
            Self::Default => "kube-apiserver",
            Self::Constrained => "kube-apiserver-1.36",
        }
    }

    /// The version, as Helm learns it from such a server: that from which `prepare.sh` has built it.
    pub fn version(self) -> anyhow::Result<String> {
        let stamp = testbed().join(format!(".{}.stamp", self.program()));
        let version = std::fs::read_to_string(&stamp).with_context(|| stamp.display().to_string())?;
        Ok(version.trim().to_owned())
    }
}

/// A running one; it ends with its handle, its data stay in its folder.
pub struct ApiServer {
    // The server goes before the store.
    pub server: Process,
    pub etcd: Process,
    pub addr: SocketAddr,
    pub tls: Tls,
    pub dir: PathBuf,
    pub release: Release,
    etcd_url: String,
    audited: bool,
}

impl ApiServer {
    /// Starts on what is in `dir/etcd`, or on nothing.
    pub async fn start(dir: &Path) -> anyhow::Result<Self> {
        Self::launch(dir, false, Release::Default).await
    }

    /// The same of a release, with an audit log.
    pub async fn start_audited(dir: &Path, release: Release) -> anyhow::Result<Self> {
        Self::launch(dir, true, release).await
    }

    async fn launch(dir: &Path, audited: bool, release: Release) -> anyhow::Result<Self> {
        let tls = Tls::new();
        std::fs::create_dir_all(dir)?;
        for (name, text) in [
            ("tls.crt", tls.cert_pem.as_str()),
            ("tls.key", &tls.key_pem),
            ("tokens.csv", TOKENS),
            ("audit-policy.json", AUDIT_POLICY),
        ] {
            std::fs::write(dir.join(name), text)?;
        }
        let (client, peer, addr) = (free_port()?, free_port()?, free_port()?);
        let etcd_url = format!("http://{client}");
        let mut command = Command::new(program("etcd")?);
        command
            .arg("--data-dir")
            .arg(dir.join("etcd"))
            .args([
                "--unsafe-no-fsync",
                "--log-level=error",
                "--quota-backend-bytes=4294967296",
            ])
            .args([
                format!("--listen-client-urls={etcd_url}"),
                format!("--advertise-client-urls={etcd_url}"),
                format!("--listen-peer-urls=http://{peer}"),
                format!("--initial-advertise-peer-urls=http://{peer}"),
                format!("--initial-cluster=default=http://{peer}"),
                "--force-new-cluster".to_owned(),
            ]);
        let etcd = Process::start(&mut command, dir.join("etcd.log"))?;
        let server = serve(dir, addr, &etcd_url, audited, release)?;
        let mut started = Self {
            server,
            etcd,
            addr,
            tls,
            dir: dir.to_owned(),
            release,
            etcd_url,
            audited,
        };
        started.ready().await?;
        Ok(started)
    }

    /// Ends the server with SIGKILL and starts it again on the same store: every watch breaks, and its cache of past
    /// changes is empty.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.server.kill().await?;
        self.server = serve(&self.dir, self.addr, &self.etcd_url, self.audited, self.release)?;
        self.ready().await
    }

    async fn ready(&mut self) -> anyhow::Result<()> {
        let end = Instant::now() + START;
        loop {
            for process in [&mut self.server, &mut self.etcd] {
                if let Some(status) = process.ended()? {
                    anyhow::bail!(
                        "{} ended with {status}: {}",
                        process.log.display(),
                        process.said()
                    );
                }
            }
            if let Ok(mut client) = self.connect().await
                && let Ok((StatusCode::OK, _)) = client.send(Method::GET, "/readyz", "", Bytes::new()).await
            {
                return Ok(());
            }
            ensure!(
                Instant::now() < end,
                "the API server is not ready: {}",
                self.server.said()
            );
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// A connection as the administrator.
    pub async fn connect(&self) -> anyhow::Result<Client> {
        let tcp = TcpStream::connect(self.addr).await?;
        tcp.set_nodelay(true)?;
        Client::new(self.tls.connector.connect(localhost(), tcp).await?, TOKEN).await
    }

    /// Writes the administrator's kubeconfig.
    pub fn kubeconfig(&self, path: &Path) -> anyhow::Result<()> {
        kubeconfig::write(path, self.addr, &self.tls, TOKEN)
    }

    /// Writes the kubeconfig of the agent, which has the rights that the chart gives it.
    pub fn agent_kubeconfig(&self, path: &Path) -> anyhow::Result<()> {
        kubeconfig::write(path, self.addr, &self.tls, AGENT_TOKEN)
    }

    /// A connection as the agent.
    pub async fn connect_as_agent(&self) -> anyhow::Result<Client> {
        let tcp = TcpStream::connect(self.addr).await?;
        Client::new(self.tls.connector.connect(localhost(), tcp).await?, AGENT_TOKEN).await
    }

    /// The audit log so far, one JSON object a line.
    pub fn audit(&self) -> anyhow::Result<String> {
        Ok(std::fs::read_to_string(self.dir.join("audit.jsonl"))?)
    }
}

/// One of the programs that `prepare.sh` builds.
pub fn program(name: &str) -> anyhow::Result<PathBuf> {
    let path = testbed().join("bin").join(name);
    ensure!(
        path.is_file(),
        "{} is missing: run tests/testbed/prepare.sh",
        path.display()
    );
    Ok(path)
}

fn serve(
    dir: &Path,
    addr: SocketAddr,
    etcd: &str,
    audited: bool,
    release: Release,
) -> anyhow::Result<Process> {
    let at = |name: &str| dir.join(name).display().to_string();
    let mut command = Command::new(program(release.program())?);
    command.args([
        format!("--etcd-servers={etcd}"),
        format!("--bind-address={}", addr.ip()),
        format!("--advertise-address={}", addr.ip()),
        format!("--secure-port={}", addr.port()),
        format!("--tls-cert-file={}", at("tls.crt")),
        format!("--tls-private-key-file={}", at("tls.key")),
        format!("--token-auth-file={}", at("tokens.csv")),
        format!("--service-account-key-file={}", at("tls.crt")),
        format!("--service-account-signing-key-file={}", at("tls.key")),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        // Loopback: a test can answer at a Service's address without a kube-proxy.
        "--service-cluster-ip-range=127.96.0.0/16".to_owned(),
        "--authorization-mode=RBAC".to_owned(),
        // Without controllers nobody makes service accounts.
        "--disable-admission-plugins=ServiceAccount".to_owned(),
    ]);
    if audited {
        command.args([
            format!("--audit-policy-file={}", at("audit-policy.json")),
            format!("--audit-log-path={}", at("audit.jsonl")),
            "--audit-log-mode=blocking".to_owned(),
        ]);
    }
    Process::start(&mut command, dir.join("apiserver.log"))
}
