//! Real servers that speak Prometheus' API, and an exporter for them to scrape.

use std::{
    convert::Infallible,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, ensure};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use kantaloupe_agent::{
    config::Auth,
    prometheus::{Client, Limits},
};
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    process::Command,
    task::JoinSet,
    time::{Instant, sleep},
};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    cluster::testbed,
    processes::{Process, free_port},
    tunnel::Tls,
};

/// Cold start, and the first scrape of everything, on a loaded machine.
const START: Duration = Duration::from_mins(1);
/// The user that servers with a password know.
pub const USER: &str = "agent";
/// The password.
pub const PASSWORD: &str = "prometheus-canary";
/// bcrypt of the password, as Prometheus wants it.
const PASSWORD_HASH: &str = "$2b$04$abcdefghijklmnopqrstuuezFPSiZ.oZOOsSk7uLI59r6DtqlRJ1S";

/// Gives the text of a path of an exporter, or none.
pub type Texts = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// An exporter.
pub struct Exporter {
    pub addr: SocketAddr,
    _task: AbortOnDropHandle<()>,
}

impl Exporter {
    /// `texts` is asked anew at each scrape.
    pub async fn start(texts: Texts) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?;
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let texts = Arc::clone(&texts);
                let service = service_fn(move |request: Request<Incoming>| {
                    let text = texts(request.uri().path());
                    let response = Response::builder()
                        .status(if text.is_some() { 200 } else { 404 })
                        .header("content-type", "text/plain; version=0.0.4")
                        .body(Full::new(Bytes::from(text.unwrap_or_default())))
                        .expect("it is valid");
                    async { Ok::<_, Infallible>(response) }
                });
                connections.spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Ok(Self {
            addr,
            _task: AbortOnDropHandle::new(task),
        })
    }
}

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Debian's package, 2.42 in Debian 12.
    Debian,
    /// Prometheus 3.
    Three,
    /// VictoriaMetrics, single node.
    Victoria,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Debian, Self::Three, Self::Victoria];

    fn program(self) -> &'static str {
        match self {
            Self::Debian => "prometheus-debian",
            Self::Three => "prometheus",
            Self::Victoria => "victoria-metrics",
        }
    }
}

/// How a server is set up.
#[derive(Clone, Copy, Default)]
pub struct Setup<'a> {
    /// Paths of the exporter that are scraped, each as a job.
    pub paths: &'a [&'a str],
    /// The exporter's labels win; otherwise they become `exported_*` where they collide.
    pub honor_labels: bool,
    /// With it the server speaks TLS and wants the password.
    pub tls: Option<&'a Tls>,
    /// Where it listens; any free port of loopback if there is none.
    pub listen: Option<SocketAddr>,
    /// From one scrape to the next, seconds; 1 if there is none.
    pub interval: Option<u32>,
}

/// A running server.
pub struct Server {
    pub process: Process,
    pub addr: SocketAddr,
    pub url: String,
    /// With the files `ca.crt`, `user` and `password` of those with TLS.
    pub dir: PathBuf,
    tls: bool,
}

impl Server {
    /// Starts it and waits until it answers. `dir` is its own.
    pub async fn start(
        kind: Kind,
        dir: &Path,
        exporter: SocketAddr,
        setup: Setup<'_>,
    ) -> anyhow::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let program = testbed().join("bin").join(kind.program());
        ensure!(
            program.is_file(),
            "{} is missing: run tests/testbed/prepare.sh",
            program.display()
        );
        let addr = setup.listen.map_or_else(free_port, Ok)?;
        let at = |name: &str| dir.join(name).display().to_string();
        std::fs::write(at("prometheus.yml"), scrape_config(exporter, setup).to_string())?; // JSON is YAML
        let mut command = Command::new(program);
        if kind == Kind::Victoria {
            command.args([
                format!("-storageDataPath={}", at("data")),
                format!("-promscrape.config={}", at("prometheus.yml")),
                format!("-httpListenAddr={addr}"),
                "-retentionPeriod=1d".to_owned(),
                // Samples are found at once instead of after 30 s.
                "-search.latencyOffset=0s".to_owned(),
            ]);
        } else {
            command.args([
                format!("--config.file={}", at("prometheus.yml")),
                format!("--storage.tsdb.path={}", at("data")),
                format!("--web.listen-address={addr}"),
                "--log.level=warn".to_owned(),
            ]);
        }
        if let Some(tls) = setup.tls {
            for (name, text) in [
                ("tls.crt", &*tls.cert_pem),
                ("tls.key", &*tls.key_pem),
                ("ca.crt", &*tls.cert_pem),
                ("user", USER),
                ("password", PASSWORD),
            ] {
                std::fs::write(at(name), text)?;
            }
            if kind == Kind::Victoria {
                command.args([
                    "-tls".to_owned(),
                    format!("-tlsCertFile={}", at("tls.crt")),
                    format!("-tlsKeyFile={}", at("tls.key")),
                    format!("-httpAuth.username={USER}"),
                    format!("-httpAuth.password=file://{}", at("password")),
                ]);
            } else {
                let web = json!({
                    "tls_server_config": {"cert_file": at("tls.crt"), "key_file": at("tls.key")},
                    "basic_auth_users": {USER: PASSWORD_HASH},
                });
                std::fs::write(at("web.yml"), web.to_string())?;
                command.arg(format!("--web.config.file={}", at("web.yml")));
            }
        }
        let scheme = if setup.tls.is_some() { "https" } else { "http" };
        let mut server = Self {
            process: Process::start(&mut command, dir.join("server.log"))?,
            addr,
            url: format!("{scheme}://{addr}"),
            dir: dir.to_owned(),
            tls: setup.tls.is_some(),
        };
        server.ready().await?;
        Ok(server)
    }

    async fn ready(&mut self) -> anyhow::Result<()> {
        let client = self.client(Limits::default())?;
        let end = Instant::now() + START;
        loop {
            if let Some(status) = self.process.ended()? {
                anyhow::bail!(
                    "{} ended with {status}: {}",
                    self.process.log.display(),
                    self.process.said()
                );
            }
            match client.present().await {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() > end => {
                    anyhow::bail!("it is not ready: {error}: {}", self.process.said())
                }
                Err(_) => sleep(Duration::from_millis(50)).await,
            }
        }
    }

    /// A client with what this server wants.
    pub fn client(&self, limits: Limits) -> anyhow::Result<Client> {
        let ca = self.dir.join("ca.crt");
        let auth = self.auth();
        Client::new(&self.url, self.tls.then_some(&*ca), auth, limits).context("no client")
    }

    /// The credentials that this server wants.
    pub fn auth(&self) -> Auth {
        if self.tls {
            Auth::Basic {
                username: self.dir.join("user"),
                password: self.dir.join("password"),
            }
        } else {
            Auth::None
        }
    }
}

fn scrape_config(exporter: SocketAddr, setup: Setup<'_>) -> Value {
    let interval = format!("{}s", setup.interval.unwrap_or(1));
    let job = |path: &&str| {
        json!({
            "job_name": path.trim_start_matches('/'),
            "metrics_path": path,
            "honor_labels": setup.honor_labels,
            "honor_timestamps": true,
            // As Prometheus' operator labels a target: with the exporter's own pod.
            "static_configs": [{"targets": [exporter.to_string()], "labels": {
                "namespace": "gpu-operator", "pod": "exporter-x7k2p", "container": "exporter",
                "endpoint": "metrics", "service": "exporter",
            }}],
        })
    };
    let jobs: Vec<_> = setup.paths.iter().map(job).collect();
    json!({
        "global": {"scrape_interval": interval, "scrape_timeout": interval},
        "scrape_configs": jobs,
    })
}
