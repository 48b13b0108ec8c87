//! What authorization and audit add to a small request: two gateways of the library in this process that differ in nothing but
//! the audit, each with an agent process in front of the same server, measured in turns.
//!
//! Authorization cannot be switched off. Its share is the mean of the gateway's own histogram over the whole admission (who
//! asks, limits, the parser, rights), taken where the audit is off, so that nothing counts twice.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, ensure};
use http::{Method, StatusCode};
use kantaloupe_gateway::{
    app::Gateway,
    config::{Config, TlsSource},
};
use serde_json::Value;
use tokio::{net::TcpStream, runtime::Runtime, time::Instant};

use super::{
    chain::mean,
    load::{Target, percentile},
    report::{Figure, Report},
    server::Server,
};
use crate::{
    client::Client,
    kubeconfig,
    processes::Agent,
    tunnel::{Tls, localhost},
};

/// Requests of one measurement.
const SMALL: usize = 1000;
/// Pairs of one run.
const PAIRS: usize = 5;
/// Longest for an agent to connect.
const CONNECT: Duration = Duration::from_secs(30);

/// A gateway and its agent.
struct Side {
    // Goes before what it runs on.
    gateway: Gateway,
    // A runtime of one thread, as the program has on two cores.
    _runtime: Runtime,
    _agent: Agent,
    target: Target,
}

impl Side {
    async fn start(dir: &Path, server: &Server, tls: &Tls, audited: bool) -> anyhow::Result<Self> {
        fs::create_dir_all(dir)?;
        let (cert, key) = (dir.join("given.crt"), dir.join("given.key"));
        fs::write(&cert, &tls.cert_pem)?;
        fs::write(&key, &tls.key_pem)?;
        let mut config = Config::local(dir.join("data"));
        config.tls = TlsSource::Files { cert, key };
        config.audit.enabled = audited;
        for limit in [
            &mut config.limits.user,
            &mut config.limits.cluster,
            &mut config.limits.organization,
        ] {
            limit.requests = 0; // one connection that does nothing else is faster than any user may be
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let gateway = runtime.spawn(Gateway::start(config)).await??;
        let token = fs::read_to_string(dir.join("data/admin-token"))?
            .trim()
            .to_owned();
        let tcp = TcpStream::connect(gateway.addr).await?;
        let mut api = Client::new(tls.connector.connect(localhost(), tcp).await?, &token).await?;
        let made = api
            .ok(
                Method::POST,
                "/api/v1/clusters",
                Some(&serde_json::json!({"name": "bench"})),
            )
            .await?;
        let text = |pointer| made.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let id = text("/cluster/id").context("no id")?;
        let enrollment = text("/enrollment/token").context("no token")?;
        let file = dir.join("kubeconfig");
        kubeconfig::write(&file, server.addr, tls, "bench")?;
        let url = format!("https://localhost:{}", gateway.addr.port());
        let agent = Agent::start(dir, &url, &file, &enrollment, tls)?;
        let target = Target {
            addr: gateway.addr,
            tls: tls.clone(),
            prefix: format!("/clusters/{id}/kubernetes"),
            authorization: format!("Bearer {token}"),
        };
        let end = Instant::now() + CONNECT;
        let version = format!("{}/small", target.prefix);
        loop {
            let (status, _) = api.send(Method::GET, &version, "", bytes::Bytes::new()).await?;
            if status == StatusCode::OK {
                break;
            }
            ensure!(Instant::now() < end, "{status}: {}", agent.process.said());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(Self {
            gateway,
            _runtime: runtime,
            _agent: agent,
            target,
        })
    }

    /// Median of small requests, microseconds.
    async fn p50(&self) -> anyhow::Result<f64> {
        Ok(percentile(&self.target.small(SMALL).await?, 0.5) * 1e3)
    }
}

/// Microseconds that both add at the median, and the shares.
pub fn run(report: &mut Report, runs: usize) -> anyhow::Result<()> {
    let runtime = Runtime::new()?;
    let dir = tempfile::tempdir()?;
    let tls = Tls::new();
    let (on, off, _server) = runtime.block_on(async {
        let server = Server::start(dir.path(), &tls).await?;
        let on = Side::start(&dir.path().join("on"), &server, &tls, true).await?;
        let off = Side::start(&dir.path().join("off"), &server, &tls, false).await?;
        anyhow::Ok((on, off, server))
    })?;
    let (with, without, admission) = runtime.block_on(async {
        let (mut with, mut without) = (vec![], vec![]);
        for _ in 0..runs * PAIRS {
            with.push(on.p50().await?);
            without.push(off.p50().await?);
        }
        anyhow::Ok((
            with,
            without,
            mean(off.gateway.admin_addr, "admission_seconds").await?,
        ))
    })?;
    let audit: Vec<f64> = with.iter().zip(&without).map(|(on, off)| on - off).collect();
    let both: Vec<f64> = audit.iter().map(|audit| audit + admission).collect();
    report.push(Figure::new("trust_get_p50", "us", &with).against(&without));
    report.push(Figure::new("trust_audit_added_p50", "us", &audit));
    report.push(Figure::new("trust_authorization_mean", "us", &[admission]));
    report.push(Figure::new("trust_added_p50", "us", &both));
    Ok(())
}
