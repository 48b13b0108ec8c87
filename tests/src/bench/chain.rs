//! The whole way: client, gateway process, agent process, server process; beside the direct way and a plain HTTPS
//! proxy to the same server.

use std::{net::SocketAddr, path::Path, time::Duration};

use anyhow::Context;
use tokio::process::Command;

use super::{
    load::{Target, percentile},
    report::{Figure, Report},
    server::{self, Server},
};
use crate::{
    kubeconfig,
    processes::{Agent, Gateway, Process, free_port},
    relay::{Line, Relay},
    tunnel::Tls,
    upstream::Upstream,
    usage,
};

/// Bytes of one bulk measurement.
const BULK: u64 = 512 << 20;
const SMALL: usize = 2000;
/// Bulk streams beside which a small request is measured.
const BESIDE: u64 = 8;

/// Everything that a chain needs, started.
pub struct Chain {
    pub gateway: Gateway,
    pub agent: Agent,
    pub direct: Target,
    pub tunnel: Target,
    _server: Server,
    _relay: Option<Relay>,
}

impl Chain {
    /// With `line`, the connection between agent and gateway is slow and far.
    pub async fn start(dir: &Path, line: Option<Line>) -> anyhow::Result<Self> {
        let tls = Tls::new();
        let server = Server::start(dir, &tls).await?;
        let file = dir.join("kubeconfig");
        kubeconfig::write(&file, server.addr, &tls, "bench")?;
        let gateway = Gateway::start_with(dir, &tls, unlimited()).await?;
        let relay = match line {
            Some(line) => Some(Relay::start(gateway.addr, Some(line)).await?),
            None => None,
        };
        let port = relay.as_ref().map_or(gateway.addr, |r| r.addr).port();
        let (id, token) = gateway.create_cluster("bench").await?;
        let agent = Agent::start(dir, &format!("https://localhost:{port}"), &file, &token, &tls)?;
        gateway
            .wait_state(&id, "connected", Duration::from_secs(30))
            .await
            .with_context(|| agent.process.said())?;
        let direct = Target::direct(server.addr, &tls);
        let tunnel = Target {
            addr: gateway.addr,
            tls,
            prefix: format!("/clusters/{id}/kubernetes"),
            authorization: format!("Bearer {}", gateway.token),
        };
        Ok(Self {
            gateway,
            agent,
            direct,
            tunnel,
            _server: server,
            _relay: relay,
        })
    }

    /// CPU time of gateway and agent together, seconds.
    pub fn cpu(&self) -> anyhow::Result<f64> {
        let (gateway, agent) = (self.gateway.process.pid(), self.agent.process.pid());
        Ok((usage::time(gateway)? + usage::time(agent)?).as_secs_f64())
    }
}

/// One connection that does nothing else is faster than any user may be, see docs/audit.md.
fn unlimited() -> Vec<String> {
    let of = |whose: &str| {
        [
            format!("--{whose}-requests=0"),
            format!("--{whose}-mib-per-minute=0"),
        ]
    };
    ["user", "cluster", "organization"]
        .into_iter()
        .flat_map(of)
        .collect()
}

/// Microseconds that a histogram of the gateway has on average.
pub(super) async fn mean(admin: SocketAddr, name: &str) -> anyhow::Result<f64> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let mut tcp = tokio::net::TcpStream::connect(admin).await?;
    tcp.write_all(b"GET /metrics HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        .await?;
    let mut metrics = String::new();
    tcp.read_to_string(&mut metrics).await?;
    let part = |what: &str| -> anyhow::Result<f64> {
        let start = format!("kantaloupe_gateway_{name}_{what} ");
        let value = metrics.lines().find_map(|line| line.strip_prefix(&start));
        Ok(value.with_context(|| format!("no {start}"))?.parse()?)
    };
    Ok(part("sum")? / part("count")? * 1e6)
}

/// nginx as a plain HTTPS reverse proxy, as its manual configures one.
async fn nginx(dir: &Path, to: SocketAddr, tls: &Tls) -> anyhow::Result<(Process, Target)> {
    let addr = free_port()?;
    let d = dir.display();
    let config = format!(
        "daemon off; pid {d}/nginx.pid; error_log {d}/nginx.log; worker_processes 2;
events {{ worker_connections 1024; }}
http {{
  access_log off; client_max_body_size 0; keepalive_requests 1000000000;
  client_body_temp_path {d}/nginx-body; proxy_temp_path {d}/nginx-proxy; fastcgi_temp_path {d}/nginx-f;
  uwsgi_temp_path {d}/nginx-u; scgi_temp_path {d}/nginx-s;
  upstream api {{ server {to}; keepalive 32; }}
  server {{
    listen {addr} ssl; ssl_certificate {d}/tls.crt; ssl_certificate_key {d}/tls.key;
    location / {{
      proxy_pass https://api; proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host localhost;
      proxy_request_buffering off; proxy_max_temp_file_size 0; proxy_buffers 16 32k; proxy_buffer_size 32k;
    }}
  }}
}}"
    );
    let file = dir.join("nginx.conf");
    std::fs::write(&file, config)?;
    let mut command = Command::new("nginx");
    command.arg("-c").arg(&file).arg("-p").arg(dir);
    let process = Process::start(&mut command, dir.join("nginx.out"))
        .context("nginx is not installed: scripts/install.sh bench")?;
    let target = Target::direct(addr, tls);
    server::wait(&target, &process).await?;
    Ok((process, target))
}

/// One kind of bulk measurement.
type Kind = fn(&Column) -> &Vec<f64>;

#[derive(Default)]
struct Column {
    p50: Vec<f64>,
    p99: Vec<f64>,
    down1: Vec<f64>,
    up1: Vec<f64>,
    down8: Vec<f64>,
    up8: Vec<f64>,
}

impl Column {
    async fn measure(&mut self, target: &Target) -> anyhow::Result<()> {
        let times = target.small(SMALL).await?;
        self.p50.push(percentile(&times, 0.5));
        self.p99.push(percentile(&times, 0.99));
        self.bulk(target).await
    }

    async fn bulk(&mut self, target: &Target) -> anyhow::Result<()> {
        self.down1.push(target.down(1, BULK).await?);
        self.up1.push(target.up(1, BULK).await?);
        self.down8.push(target.down(8, BULK).await?);
        self.up8.push(target.up(8, BULK).await?);
        Ok(())
    }
}

/// Latency and throughput on loopback.
pub async fn loopback(report: &mut Report, runs: usize) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let chain = Chain::start(dir.path(), None).await?;
    let tls = &chain.direct.tls;
    let (mut nginx, proxy) = nginx(dir.path(), chain.direct.addr, tls).await?;
    let constant = Upstream::start(tls).await?;
    let constant = (Target::direct(constant.addr, tls), constant);
    let measured = compare(report, runs, &chain, &proxy, &constant.0).await;
    nginx.terminate().await?; // its workers outlive a killed master
    measured
}

/// `constant` is a server that sends from constant memory in this process, and says what client and machine can take.
async fn compare(
    report: &mut Report,
    runs: usize,
    chain: &Chain,
    proxy: &Target,
    constant: &Target,
) -> anyhow::Result<()> {
    let [mut direct, mut plain, mut tunnel, mut limit] = std::array::from_fn(|_| Column::default());
    let (mut cpu, mut under) = (vec![], vec![]);
    for _ in 0..runs {
        direct.measure(&chain.direct).await?;
        plain.measure(proxy).await?;
        tunnel.measure(&chain.tunnel).await?;
        limit.bulk(constant).await?;
        let before = chain.cpu()?;
        chain.tunnel.down(8, BULK).await?;
        #[allow(clippy::cast_precision_loss)]
        cpu.push((chain.cpu()? - before) / BULK as f64 * 1e9);
        under.push(percentile(
            &beside_bulk(&chain.tunnel, Duration::from_secs(4)).await?.0,
            0.99,
        ));
    }
    for (figure, name) in [
        // Who asks, whether he may, and the entry before the request leaves.
        ("admission_mean", "admission_seconds"),
        ("audit_entry_mean", "audit_append_seconds"),
    ] {
        report.push(Figure::new(
            figure,
            "us",
            &[mean(chain.gateway.admin, name).await?],
        ));
    }
    let added = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a - b).collect::<Vec<_>>();
    report.push(Figure::new("get_p50", "ms", &tunnel.p50).against(&direct.p50));
    report.push(Figure::new("get_p99", "ms", &tunnel.p99).against(&direct.p99));
    report.push(Figure::new(
        "get_added_p50",
        "ms",
        &added(&tunnel.p50, &direct.p50),
    ));
    report.push(Figure::new(
        "get_added_p99",
        "ms",
        &added(&tunnel.p99, &direct.p99),
    ));
    report.push(Figure::new(
        "proxy_get_added_p50",
        "ms",
        &added(&plain.p50, &direct.p50),
    ));
    report.push(Figure::new(
        "proxy_get_added_p99",
        "ms",
        &added(&plain.p99, &direct.p99),
    ));
    let kinds: [(&str, Kind); 4] = [
        ("stream1_down", |c| &c.down1),
        ("stream1_up", |c| &c.up1),
        ("stream8_down", |c| &c.down8),
        ("stream8_up", |c| &c.up8),
    ];
    for (name, kind) in kinds {
        let [ours, theirs, base, limit] = [&tunnel, &plain, &direct, &limit].map(kind);
        report.push(Figure::new(&format!("{name}_rate"), "MB/s", ours).against(base));
        report.push(Figure::new(&format!("proxy_{name}_rate"), "MB/s", theirs).against(base));
        report.push(Figure::new(&format!("constant_{name}_rate"), "MB/s", limit));
        let ratios: Vec<f64> = ours.iter().zip(base).map(|(a, b)| a / b).collect();
        let mut figure = Figure::new(name, "ratio", &ratios);
        figure.ratio = Some(figure.value);
        report.push(figure);
    }
    report.push(Figure::new("cpu_per_gb", "s/GB", &cpu));
    report.push(Figure::new("get_under_bulk_p99_loopback", "ms", &under));
    Ok(())
}

/// Bulk for a while, for a profiler: prints the processes to look at.
pub async fn profile(up: bool, streams: u64) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let chain = Chain::start(dir.path(), None).await?;
    println!(
        "gateway {} agent {}",
        chain.gateway.process.pid(),
        chain.agent.process.pid()
    );
    for _ in 0..10 {
        let before = chain.cpu()?;
        let rate = if up {
            chain.tunnel.up(streams, BULK).await?
        } else {
            chain.tunnel.down(streams, BULK).await?
        };
        #[allow(clippy::cast_precision_loss)]
        let cpu = (chain.cpu()? - before) / BULK as f64 * 1e9;
        println!("{rate:.0} MB/s, {cpu:.2} CPU s/GB");
    }
    Ok(())
}

/// Small requests for a while, for a profiler: prints the processes to look at.
pub async fn profile_small() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let chain = Chain::start(dir.path(), None).await?;
    println!(
        "gateway {} agent {}",
        chain.gateway.process.pid(),
        chain.agent.process.pid()
    );
    for _ in 0..10 {
        let direct = percentile(&chain.direct.small(SMALL).await?, 0.5);
        let tunnel = percentile(&chain.tunnel.small(SMALL).await?, 0.5);
        println!("{direct:.3} ms direct, {tunnel:.3} ms");
    }
    Ok(())
}

/// Over 100 Mbit/s and 40 ms.
pub async fn wan(report: &mut Report, runs: usize) -> anyhow::Result<()> {
    let line = Line {
        rate: 12.5e6,
        delay: Duration::from_millis(20),
    };
    report.push(Figure::new(
        "first_get_added_wan",
        "ms",
        &first_request(line, runs).await?,
    ));
    let floor = (line.delay * 2 + Line::QUEUE).as_secs_f64() * 1e3;
    let dir = tempfile::tempdir()?;
    let chain = Chain::start(dir.path(), Some(line)).await?;
    let (mut one, mut p50, mut p99, mut eight, mut over) = (vec![], vec![], vec![], vec![], vec![]);
    for _ in 0..runs {
        let bare = bare_line(line).await?;
        let total = 75_000_000; // 6 s of the line
        one.push(chain.tunnel.down(1, total).await? * 1e6 / line.rate);
        let (times, rate) = beside_bulk(&chain.tunnel, Duration::from_secs(8)).await?;
        p50.push(percentile(&times, 0.5) - floor);
        over.push(percentile(&times, 0.5) - bare);
        p99.push(percentile(&times, 0.99) - floor);
        eight.push(rate / line.rate);
    }
    report.push(Figure::new("wan_stream1_down", "of line", &one));
    report.push(Figure::new("wan_stream8_down", "of line", &eight));
    report.push(Figure::new("get_under_bulk_p50_wan", "ms", &p50));
    report.push(Figure::new("get_under_bulk_p50_wan_over_bare", "ms", &over));
    report.push(Figure::new("get_under_bulk_p99_wan", "ms", &p99));
    Ok(())
}

/// What the first request to a cluster takes over later ones, because the agent has to open its data session: ms.
async fn first_request(line: Line, runs: usize) -> anyhow::Result<Vec<f64>> {
    let mut added = vec![];
    for _ in 0..runs {
        let dir = tempfile::tempdir()?;
        let chain = Chain::start(dir.path(), Some(line)).await?;
        let first = percentile(&chain.tunnel.small(1).await?, 0.5);
        let later = percentile(&chain.tunnel.small(20).await?, 0.5);
        added.push(first - later);
    }
    Ok(added)
}

/// What the line itself adds to a small answer while one plain TCP connection keeps it full: the median time of a byte
/// through the full direction, and the way of the request. Milliseconds.
async fn bare_line(line: Line) -> anyhow::Result<f64> {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
    };

    const BLOCK: usize = 4096;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let relay = Relay::start(listener.local_addr()?, Some(line)).await?;
    let mut near = TcpStream::connect(relay.addr).await?;
    kantaloupe_tunnel::carrier::socket::tune(&near)?;
    let (mut far, _) = listener.accept().await?;
    let epoch = tokio::time::Instant::now();
    let write = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(async move {
        let mut block = [0; BLOCK];
        loop {
            let now = u64::try_from(epoch.elapsed().as_nanos()).unwrap_or(0);
            block[..8].copy_from_slice(&now.to_be_bytes());
            if near.write_all(&block).await.is_err() {
                return;
            }
        }
    }));
    let mut times = vec![];
    let mut block = [0; BLOCK];
    while epoch.elapsed() < Duration::from_secs(5) {
        far.read_exact(&mut block).await?;
        let sent = Duration::from_nanos(u64::from_be_bytes(block[..8].try_into()?));
        if epoch.elapsed() > Duration::from_secs(2) {
            times.push(epoch.elapsed().saturating_sub(sent));
        }
    }
    drop(write);
    times.sort();
    Ok(percentile(&times, 0.5) + line.delay.as_secs_f64() * 1e3)
}

/// Small requests for a while beside [`BESIDE`] endless downloads: their sorted times, and the bytes per second of the
/// downloads together.
async fn beside_bulk(target: &Target, during: Duration) -> anyhow::Result<(Vec<Duration>, f64)> {
    use std::sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    };

    use http_body_util::BodyExt;

    let moved: Arc<AtomicU64> = Arc::default();
    let mut bulk = tokio::task::JoinSet::new();
    for _ in 0..BESIDE {
        let (target, moved) = (target.clone(), moved.clone());
        bulk.spawn(async move {
            let mut connection = target.connect().await?;
            let mut body = connection
                .send("GET", "/bulk?1000000000000", crate::tunnel::empty())
                .await?
                .into_body();
            while let Some(frame) = body.frame().await {
                moved.fetch_add(frame?.data_ref().map_or(0, |b| b.len() as u64), Relaxed);
            }
            Ok::<_, anyhow::Error>(())
        });
    }
    let mut connection = target.connect().await?;
    tokio::time::sleep(Duration::from_secs(1)).await; // until every queue is as full as it gets
    let (start, before) = (tokio::time::Instant::now(), moved.load(Relaxed));
    let mut times = vec![];
    while start.elapsed() < during {
        let at = tokio::time::Instant::now();
        connection.read("/small").await?;
        times.push(at.elapsed());
    }
    #[allow(clippy::cast_precision_loss)]
    let rate = (moved.load(Relaxed) - before) as f64 / start.elapsed().as_secs_f64();
    times.sort();
    Ok((times, rate))
}
