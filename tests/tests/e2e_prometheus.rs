//! The agent's queries against real servers: Debian's Prometheus, Prometheus 3 and VictoriaMetrics, which scrape an exporter that
//! serves the fixtures.

use std::{net::IpAddr, path::Path, sync::Arc, time::Duration};

use anyhow::{Context, ensure};
use futures::FutureExt;
use http::Method;
use jiff::Timestamp;
use kantaloupe_agent::{
    config::{Auth, Monitoring},
    prometheus::{Client, Limits, QueryError, Round, find, round},
};
use kantaloupe_gpu::{
    inventory::{ContainerUsage, Gpu},
    metrics::{devices::Devices, server::ServerKind},
};
use kantaloupe_tests::{
    apiserver::ApiServer,
    cluster,
    e2e::{Steps, eventually, say},
    fixtures,
    prometheus::{Exporter, Kind, Server, Setup, Texts},
    relay::{Line, Relay},
    tunnel::Tls,
    usage::resident,
};
use serde_json::json;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    time::Instant,
};

/// Until a server has scraped everything, on a loaded machine.
const SCRAPED: Duration = Duration::from_mins(1);
const A800: &str = "GPU-066f734b-226c-30ba-4c7b-8d0c3221093f";
const T4: &str = "GPU-8f1f4d06-07fd-27a7-52d5-e58aa060d256";
const V100: &str = "GPU-00552014-5c87-89ac-b1a6-7b53aa24b0ec";
const MIG: &str = "GPU-936619fc-f6a1-74a8-0bc6-ecf6b3269313";
const NPU: &str = "185011D4-21104518-A0C4ED94-14CC040A-56102003";
const OLD_NPU: &str = "185011D4-21E04718-93B2ED94-14CC040A-BF102003";
/// Cards of the largest cluster.
const MANY: u32 = 40_000;

#[tokio::test(flavor = "multi_thread")]
async fn prometheus() -> anyhow::Result<()> {
    let _installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
    cluster::run(
        "prepare.sh",
        ["prometheus", "prometheus-debian", "victoria-metrics"],
    )
    .await?;
    let mut steps = Steps::default();
    let dir = TempDir::with_prefix("kantaloupe-e2e-")?;
    let exporter = Exporter::start(Arc::new(texts)).await?;
    for kind in Kind::ALL {
        let place = |what: &str| dir.path().join(format!("{kind:?}-{what}"));
        let (as_is, honored, private) = (place("false"), place("true"), place("tls"));
        let parts = [
            (
                format!("{kind:?}"),
                joined(kind, false, &as_is, &exporter).boxed(),
            ),
            (
                format!("{kind:?}, honor_labels"),
                joined(kind, true, &honored, &exporter).boxed(),
            ),
            (
                format!("{kind:?}, TLS and password"),
                closed(kind, &private, &exporter).boxed(),
            ),
        ];
        steps.together(parts).await;
    }
    steps
        .run("a slow line", slow(&dir.path().join("slow"), &exporter))
        .await;
    steps.run("an endless answer", endless()).await;
    steps.run("40,000 devices", many(&dir.path().join("many"))).await;
    steps
        .run("discovery", discovered(&dir.path().join("found"), &exporter))
        .await;
    steps.finish()
}

/// What the exporter serves: the fixtures as they are, but with times of now where they have times.
fn texts(path: &str) -> Option<String> {
    const PATHS: [&str; 5] = [
        "/vgpumonitor-v29",
        "/dcgm-pod-mapped-hostname-lower",
        "/hami-scheduler-v210",
        "/vgpumonitor-v26-miginfo",
        "/npu-exporter",
    ];
    PATHS.contains(&path).then_some(())?;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/metrics");
    let text = std::fs::read_to_string(folder.join(format!("{}.prom", &path[1..]))).ok()?;
    let now = Timestamp::now().as_millisecond();
    // The second card's exporter has hung for 200 s: its samples are still found, since Prometheus looks back 5 minutes.
    let text = text
        .replace("1613993498553", &now.to_string())
        .replace("1723621883587", &now.to_string());
    let old = (now - 200_000).to_string();
    Some(text.replace("1613993498588", &old).replace("1723621883932", &old) + &more(path, now))
}

/// What the fixtures do not have and the tests need.
fn more(path: &str, now: i64) -> String {
    let old = now - 200_000;
    match path {
        "/npu-exporter" => format!(
            "npu_chip_info_hbm_used_memory{{id=\"0\",vdie_id=\"{NPU}\"}} 2105 {now}\n\
             npu_chip_info_hbm_used_memory{{id=\"1\",vdie_id=\"{OLD_NPU}\"}} 2106 {old}\n"
        ),
        "/vgpumonitor-v26-miginfo" => format!(
            "DCGM_FI_PROF_GR_ENGINE_ACTIVE{{UUID=\"{MIG}\",GPU_I_ID=\"7\",GPU_I_PROFILE=\"2g.10gb\"}} 0.7\n\
             DCGM_FI_DEV_FB_USED{{UUID=\"{MIG}\",GPU_I_ID=\"7\",GPU_I_PROFILE=\"2g.10gb\"}} 24\n"
        ),
        _ => String::new(),
    }
}

const PATHS: [&str; 5] = [
    "/vgpumonitor-v29",
    "/dcgm-pod-mapped-hostname-lower",
    "/hami-scheduler-v210",
    "/vgpumonitor-v26-miginfo",
    "/npu-exporter",
];

fn gpu(node: &str, uuid: &str, vendor: &str) -> Gpu {
    Gpu {
        id: format!("{node}/{uuid}"),
        uuid: uuid.to_owned(),
        node: node.to_owned(),
        index: Some(0),
        vendor: vendor.to_owned(),
        ..Gpu::default()
    }
}

fn devices() -> Devices {
    let gpus = [
        gpu("a", A800, "nvidia"),
        gpu("hami-workshop", T4, "nvidia"),
        gpu("aio-node67", V100, "nvidia"),
        gpu("m", MIG, "nvidia"),
        gpu("n", NPU, "ascend"),
        gpu("n", OLD_NPU, "ascend"),
    ];
    Devices::new(&gpus, [])
}

async fn measured(client: &Client) -> anyhow::Result<Round> {
    let measured = round(client, &devices(), Timestamp::now()).await?;
    ensure!(measured.failed.is_empty(), "{:?}", measured.failed);
    let known = measured
        .usage
        .gpus
        .iter()
        .filter(|usage| !usage.source.is_empty())
        .count();
    ensure!(known >= 4, "not everything is scraped yet: {:?}", measured.usage);
    ensure!(
        measured.usage.containers.len() == 2,
        "{:?}",
        measured.usage.containers
    );
    ensure!(!measured.usage.scheduled.is_empty(), "no scheduler");
    Ok(measured)
}

/// Version, and the use of devices and containers, whatever the scrape made of their labels.
async fn joined(kind: Kind, honor_labels: bool, dir: &Path, exporter: &Exporter) -> anyhow::Result<()> {
    let setup = Setup {
        paths: &PATHS,
        honor_labels,
        ..Setup::default()
    };
    let server = Server::start(kind, dir, exporter.addr, setup).await?;
    let client = server.client(Limits::default())?;
    check_version(kind, &client).await?;
    let round = eventually(SCRAPED, || measured(&client)).await?;
    check(&round)
}

async fn check_version(kind: Kind, client: &Client) -> anyhow::Result<()> {
    let server = client.identify().await?;
    let version = server.version.clone().context("no version")?;
    let (wanted, begin) = match kind {
        Kind::Debian => (ServerKind::Prometheus, "2."),
        Kind::Three => (ServerKind::Prometheus, "3."),
        Kind::Victoria => (ServerKind::VictoriaMetrics, "v1."),
    };
    ensure!(server.kind == wanted && version.starts_with(begin), "{server:?}");
    ensure!(server.is_supported() == Some(true), "{server:?}");
    Ok(())
}

fn check(round: &Round) -> anyhow::Result<()> {
    let of = |uuid: &str| {
        let found = round.usage.gpus.iter().find(|usage| usage.gpu.ends_with(uuid));
        found.with_context(|| format!("no {uuid}"))
    };
    let now = Timestamp::now();
    let card = of(A800)?;
    ensure!(
        (card.utilization, card.memory_used_mib) == (Some(42.0), Some(482)),
        "{card:?}"
    );
    ensure!(card.unknown["temperature"] == "KTA-MON-004", "{card:?}");
    let age = now.duration_since(card.at.context("no time")?).as_secs();
    ensure!((-1..30).contains(&age), "{age} s old");
    let card = of(T4)?;
    ensure!(
        (card.utilization, card.memory_used_mib) == (Some(0.0), Some(0)),
        "{card:?}"
    );
    ensure!(
        (card.temperature, card.power) == (Some(43.0), Some(15.507)),
        "{card:?}"
    );
    ensure!(
        card.source == ["dcgm"] && card.unknown["xid"] == "KTA-MON-004",
        "{card:?}"
    );
    let card = of(MIG)?;
    ensure!(
        (card.utilization.context("no MIG")? - 20.0).abs() < 1e-9,
        "0.7 of 2 slices of 7: {card:?}"
    );
    let card = of(NPU)?;
    ensure!(
        (card.memory_used_mib, card.utilization) == (Some(2105), None),
        "{card:?}"
    );
    let card = of(OLD_NPU)?;
    ensure!(card.memory_used_mib.is_none(), "200 s old, and used: {card:?}");
    ensure!(card.unknown["memoryUsedMib"] == "KTA-MON-003", "{card:?}");

    let shares: Vec<_> = round.usage.containers.iter().map(ContainerUsage::id).collect();
    let wanted = [
        format!("default/gpu-task-sharing-pod-1/sharing-pod-1/{MIG}"),
        format!("kai-zjldfiaddb/ccdeemaoeo/ubuntu-container/{A800}"),
    ];
    ensure!(shares == wanted, "{shares:?}");
    let [mig, share] = &*round.usage.containers else {
        unreachable!()
    };
    ensure!(
        (share.memory_used_mib, share.memory_limit_mib) == (Some(3174), Some(4147)),
        "{share:?}"
    );
    ensure!(
        share.utilization == Some(0.0) && share.unknown.is_empty(),
        "{share:?}"
    );
    ensure!(mig.memory_used_mib == Some(24), "{mig:?}");
    let scheduled = &round.usage.scheduled[0];
    ensure!(
        (scheduled.memory_mib, scheduled.cores) == (Some(3072), Some(45)),
        "{scheduled:?}"
    );
    for (code, least) in [("KTA-MON-004", 2), ("KTA-MON-005", 1), ("KTA-MON-006", 1)] {
        let answering = round.usage.seen.answering(code.parse().ok().context("no code")?);
        ensure!(answering >= least, "{code}: {answering}");
    }
    Ok(())
}

/// The same behind TLS and a password; and what is said without them.
async fn closed(kind: Kind, dir: &Path, exporter: &Exporter) -> anyhow::Result<()> {
    let tls = Tls::new();
    let setup = Setup {
        paths: &PATHS,
        tls: Some(&tls),
        ..Setup::default()
    };
    let server = Server::start(kind, dir, exporter.addr, setup).await?;
    let ca = dir.join("ca.crt");
    let ask = async |url: &str, ca: Option<&Path>, auth: Auth| -> anyhow::Result<QueryError> {
        let client = Client::new(url, ca, auth, Limits::default())?;
        client.present().await.err().context("it was answered")
    };
    let untrusted = ask(&server.url, None, server.auth()).await?;
    ensure!(matches!(untrusted, QueryError::Tls(_)), "{untrusted:?}");
    let nobody = ask(&server.url, Some(&ca), Auth::None).await?;
    ensure!(nobody == QueryError::Unauthorized, "{nobody:?}");
    std::fs::write(dir.join("wrong"), "wrong")?;
    let wrong = Auth::Basic {
        username: dir.join("user"),
        password: dir.join("wrong"),
    };
    let wrong = ask(&server.url, Some(&ca), wrong).await?;
    ensure!(wrong == QueryError::WrongCredentials, "{wrong:?}");
    let plain = ask(&server.url.replace("https", "http"), None, Auth::None).await?;
    ensure!(
        matches!(plain, QueryError::Status(400) | QueryError::Broken(_)),
        "{plain:?}"
    );

    let client = server.client(Limits::default())?;
    check_version(kind, &client).await?;
    let round = eventually(SCRAPED, || measured(&client)).await?;
    check(&round)
}

/// Found by the objects of a real API server, behind one whose name is better and which does not answer.
async fn discovered(dir: &Path, exporter: &Exporter) -> anyhow::Result<()> {
    let setup = Setup {
        paths: &PATHS,
        ..Setup::default()
    };
    let server = Server::start(Kind::Three, &dir.join("prometheus"), exporter.addr, setup).await?;
    eventually(SCRAPED, || async {
        measured(&server.client(Limits::default())?).await
    })
    .await?;
    let mut kubernetes = ApiServer::start(&dir.join("kubernetes")).await?;
    let mut api = kubernetes.connect().await?;
    fixtures::namespace(&mut api, "monitoring").await?;
    let port = server.addr.port();
    let objects = [
        (
            "prometheus-server",
            json!({"ports": [{"name": "http", "port": port}], "selector": {"app": "prometheus"}}),
        ),
        (
            "a-kube-prometheus-stack-prometheus",
            json!({"ports": [{"name": "http-web", "port": port}]}),
        ),
    ];
    let mut relay = None;
    for (name, spec) in objects {
        let object = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "monitoring"}, "spec": spec});
        let made = api
            .ok(
                Method::POST,
                "/api/v1/namespaces/monitoring/services",
                Some(&object),
            )
            .await?;
        let ip: IpAddr = made["spec"]["clusterIP"]
            .as_str()
            .context("no address")?
            .parse()?;
        if name == "prometheus-server" {
            relay = Some(Relay::bind((ip, port).into(), server.addr, None).await?);
        }
    }
    let relay = relay.context("no relay")?;
    let kubeconfig = dir.join("kubeconfig");
    kubernetes.kubeconfig(&kubeconfig)?;
    let config = kube::Config::from_custom_kubeconfig(
        kube::config::Kubeconfig::read_from(&kubeconfig)?,
        &kube::config::KubeConfigOptions::default(),
    )
    .await?;
    let client = kube::Client::try_from(config)?;
    let discover = Monitoring {
        discover: true,
        ..Monitoring::default()
    };
    let found = find(&discover, &client, Limits::default()).await;
    let found = found.map_err(|none| anyhow::anyhow!("{}", none.fault().what_and_detail()))?;
    ensure!(
        found.client.address() == format!("http://{}", relay.addr),
        "{}",
        found.client.address()
    );
    ensure!(
        found.found_by == "Service monitoring/prometheus-server (the Service's name)",
        "{}",
        found.found_by
    );

    kubernetes.server.kill().await
}

/// A real server behind a line of 500 bytes a second: the query ends in time.
async fn slow(dir: &Path, exporter: &Exporter) -> anyhow::Result<()> {
    let setup = Setup {
        paths: &PATHS,
        ..Setup::default()
    };
    let server = Server::start(Kind::Three, dir, exporter.addr, setup).await?;
    eventually(SCRAPED, || async {
        measured(&server.client(Limits::default())?).await
    })
    .await?;
    let line = Line {
        rate: 500.0,
        delay: Duration::from_millis(20),
    };
    let relay = Relay::start(server.addr, Some(line)).await?;
    let limits = Limits {
        time: Duration::from_millis(1500),
        ..Limits::default()
    };
    let client = Client::new(&format!("http://{}", relay.addr), None, Auth::None, limits)?;
    let begin = Instant::now();
    let error = round(&client, &devices(), Timestamp::now())
        .await
        .err()
        .context("it was answered")?;
    ensure!(error == QueryError::Timeout(limits.time), "{error:?}");
    ensure!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    Ok(())
}

/// What never ends is cut off at the limit of bytes, and is never kept.
async fn endless() -> anyhow::Result<()> {
    const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n";
    const BEGIN: &str =
        r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"2"]}"#;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let addr = listener.local_addr()?;
    let _server = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            // An answer before the request is none.
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(format!("{HEAD}{BEGIN}").as_bytes()).await;
            let more = " ".repeat(64 << 10);
            while stream.write_all(more.as_bytes()).await.is_ok() {}
        }
    }));
    let limits = Limits {
        time: Duration::from_secs(30),
        ..Limits::default()
    };
    let client = Client::new(&format!("http://{addr}"), None, Auth::None, limits)?;
    let own = std::process::id();
    let (before, begin) = (resident(own)?, Instant::now());
    let error = client.present().await.err().context("it was answered")?;
    let (grown, took) = (resident(own)?.saturating_sub(before) >> 10, begin.elapsed());
    say(format_args!(
        "  cut off after {took:.1?}, {grown} KiB more memory: {error}"
    ));
    ensure!(matches!(error.kind(), "too_large"), "{error:?}");
    ensure!(
        took < Duration::from_secs(30) && grown < 16 << 10,
        "{took:?}, {grown} KiB"
    );
    Ok(())
}

fn uuid(number: u32) -> String {
    format!("GPU-{number:08x}-0000-4000-8000-000000000000")
}

/// Four figures of each of 40,000 cards, asked for within the limits; and with smaller ones.
async fn many(dir: &Path) -> anyhow::Result<()> {
    let texts: Texts = Arc::new(|_| {
        let names = [
            "DCGM_FI_DEV_GPU_UTIL",
            "DCGM_FI_DEV_FB_USED",
            "DCGM_FI_DEV_GPU_TEMP",
            "DCGM_FI_DEV_POWER_USAGE",
        ];
        let lines = names.iter().flat_map(|name| {
            (0..MANY).map(move |number| {
                let (uuid, node) = (uuid(number), number / 8);
                format!(
                    "{name}{{gpu=\"{}\",UUID=\"{uuid}\",Hostname=\"node-{node}\",pod=\"p-{number}\"}} {}\n",
                    number % 8,
                    number % 100
                )
            })
        });
        Some(lines.collect())
    });
    let exporter = Exporter::start(texts).await?;
    let setup = Setup {
        paths: &["/dcgm"],
        interval: Some(10),
        ..Setup::default()
    };
    let server = Server::start(Kind::Three, dir, exporter.addr, setup).await?;
    let gpus = (0..MANY).map(|number| gpu(&format!("node-{}", number / 8), &uuid(number), "nvidia"));
    let gpus: Vec<_> = gpus.collect();
    let devices = Devices::new(&gpus, []);
    let limits = Limits {
        // This build is not optimised.
        time: Duration::from_mins(1),
        ..Limits::default()
    };
    let client = server.client(limits)?;
    let all = async || {
        let present = client.present().await?;
        ensure!(
            present.len() == 4 && present.iter().all(|(_, series)| *series == u64::from(MANY)),
            "{present:?}"
        );
        Ok(())
    };
    eventually(SCRAPED, all).await?;
    let own = std::process::id();
    let (before, begin) = (resident(own)?, Instant::now());
    let measured = round(&client, &devices, Timestamp::now()).await?;
    let (grown, took) = (resident(own)?.saturating_sub(before) >> 20, begin.elapsed());
    let megabytes = measured.bytes / 1_000_000;
    say(format_args!(
        "  {} series, {megabytes} MB of answers, {took:.1?}, {grown} MiB more memory with {} records",
        measured.series,
        measured.usage.gpus.len()
    ));
    ensure!(measured.failed.is_empty(), "{:?}", measured.failed);
    for (number, usage) in (0..MANY).zip(&measured.usage.gpus) {
        let wanted = f64::from(number % 100);
        ensure!(
            usage.utilization == Some(wanted) && usage.temperature == Some(wanted),
            "{usage:?}"
        );
    }
    // Fewer series than there are: that is said.
    let few = Limits {
        series: 1000,
        ..limits
    };
    let cut = round(&server.client(few)?, &devices, Timestamp::now()).await?;
    ensure!(
        cut.failed.len() == 4 && cut.failed.iter().all(|(_, error)| error.kind() == "too_large"),
        "{:?}",
        cut.failed
    );
    Ok(())
}
