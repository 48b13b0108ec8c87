//! What trust costs, and that a killed gateway forgets nothing: on the built binary, and beside a gateway without an audit.

use std::{
    collections::HashSet,
    net::{SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use http::Method;
use kantaloupe_gateway::{app::Gateway, config::Config};
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};

use super::{
    agent::{Agent, connected},
    client::{Client, PATIENCE, Testbed, empty, whole},
};

const VERSION: &str = "/clusters/prod/kubernetes/version";
/// Connections that make requests until the gateway is killed.
const LOAD: usize = 8;

/// A gateway process, killed with its handle.
struct Process {
    child: Child,
    admin: SocketAddr,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Starts the built binary and waits until it answers.
async fn start(dir: &Path) -> (Process, Client) {
    let (addr, admin) = (free_port(), free_port());
    let child = Command::new(env!("CARGO_BIN_EXE_kantaloupe-gateway"))
        .arg("serve")
        .arg("--data-dir")
        .arg(dir)
        .args([format!("--listen={addr}"), format!("--admin-listen={admin}")])
        .arg(format!("--public-url=https://{addr}"))
        .args([
            "--user-requests=0",
            "--cluster-requests=0",
            "--organization-requests=0",
        ])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let process = Process { child, admin };
    let ready = async {
        // The port is there before the token is.
        while !dir.join("admin-token").exists() || tokio::net::TcpStream::connect(addr).await.is_err() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, ready).await.unwrap();
    let read = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap();
    let client = Client::new(addr, &read("tls.crt"), read("admin-token").trim());
    (process, client)
}

/// Makes requests on one connection until it breaks; the ids of those that got a whole answer.
async fn load(client: Client) -> Vec<String> {
    let mut ids = Vec::new();
    let Ok(io) = client.connect("http/1.1").await else {
        return ids;
    };
    let io = hyper_util::rt::TokioIo::new(io);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    tokio::spawn(connection);
    while let Ok(response) = sender
        .send_request(client.request(Method::GET, VERSION, empty()))
        .await
    {
        assert_eq!(response.status(), 200);
        let Ok(body) = http_body_util::BodyExt::collect(response.into_body()).await else {
            break;
        };
        let shown: Value = serde_json::from_slice(&body.to_bytes()).unwrap();
        let id = shown["headers"]["kantaloupe-request-id"].as_str().unwrap();
        ids.push(id.to_owned());
        if sender.ready().await.is_err() {
            break;
        }
    }
    ids
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_gateway_has_written_every_request_that_got_an_answer() {
    let dir = tempfile::tempdir().unwrap();
    let (mut process, client) = start(dir.path()).await;
    let (status, made) = client
        .call(
            Method::POST,
            "/api/v1/clusters",
            serde_json::json!({ "name": "prod" }),
        )
        .await;
    assert_eq!(status, 201, "{made}");
    let agent = Agent::enroll(&client, made["enrollment"]["token"].as_str().unwrap()).await;
    let _connected = agent.connect().await;
    let up = async {
        while client.call(Method::GET, VERSION, Value::Null).await.0 != 200 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, up).await.unwrap();
    let workers: Vec<_> = (0..LOAD).map(|_| tokio::spawn(load(client.clone()))).collect();
    sleep(Duration::from_millis(2500)).await;
    let metrics = metrics(process.admin).await;
    process.child.kill().unwrap(); // SIGKILL
    process.child.wait().unwrap();
    let mut answered = HashSet::new();
    for worker in workers {
        answered.extend(timeout(PATIENCE, worker).await.unwrap().unwrap());
    }
    assert!(answered.len() > 100, "{} requests", answered.len());

    // Batched: many entries for each transaction.
    let (stored, batches) = (
        figure(&metrics, "kantaloupe_gateway_audit_stored "),
        figure(&metrics, "kantaloupe_gateway_audit_batches_total "),
    );
    assert!(
        batches > 0.0 && stored / batches > 20.0,
        "{stored} entries in {batches} batches"
    );

    // As it was left: sound, and partly in the journal only.
    let verify = Command::new(env!("CARGO_BIN_EXE_kantaloupe-gateway"))
        .args(["audit", "verify", "--data-dir"])
        .arg(dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8(verify.stdout).unwrap();
    assert!(verify.status.success(), "{said}");

    let gateway = Gateway::start(Config::local(dir.path())).await.unwrap();
    let client = Client::admin(&gateway, dir.path());
    let request = client.request(Method::GET, "/api/v1/audit/export", empty());
    let (_, _, export) = client.exchange(request).await;
    let (mut begun, mut ended, mut starts) = (HashSet::new(), HashSet::new(), 0);
    for line in std::str::from_utf8(&export).unwrap().lines() {
        let entry: Value = serde_json::from_str(line).unwrap();
        let id = entry["id"].as_str().unwrap_or_default().to_owned();
        match entry["phase"].as_str().unwrap() {
            "begin" => begun.insert(id),
            "end" => ended.insert(id),
            _ => {
                starts += usize::from(entry["verb"] == "start");
                assert_ne!(entry["verb"], "lost");
                assert_ne!(entry["verb"], "stop", "nobody stopped the first process");
                continue;
            }
        };
    }
    let unbegun = answered.difference(&begun).count();
    assert_eq!(
        unbegun, 0,
        "every request that got an answer was written before it left"
    );
    // An end is written when the last byte has gone out; of each connection one may have been on its way.
    let open = answered.difference(&ended).count();
    assert!(open <= LOAD, "{open} requests have no end");
    assert_eq!(starts, 2, "and the second start tells that they never will");
    eprintln!(
        "{} requests answered before SIGKILL: {} begins missing, {open} ends on their way; {stored} entries in {batches} batches",
        answered.len(),
        unbegun
    );
}

async fn metrics(admin: SocketAddr) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut tcp = tokio::net::TcpStream::connect(admin).await.unwrap();
    tcp.write_all(b"GET /metrics HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).await.unwrap();
    answer
}

fn figure(metrics: &str, name: &str) -> f64 {
    let line = metrics.lines().find(|line| line.starts_with(name));
    let line = line.unwrap_or_else(|| panic!("no {name}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

/// The median of so many small requests, one after the other.
async fn p50(testbed: &Testbed, count: usize) -> Duration {
    let mut sender = testbed.client.http1().await;
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let request = testbed.client.request(Method::GET, VERSION, empty());
        let start = Instant::now();
        whole(sender.send_request(request).await.unwrap()).await;
        times.push(start.elapsed());
        sender.ready().await.unwrap();
    }
    times.sort_unstable();
    times[count / 2]
}

async fn testbed(audited: bool) -> Testbed {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config::local(dir.path());
    config.audit.enabled = audited;
    for limit in [
        &mut config.limits.user,
        &mut config.limits.cluster,
        &mut config.limits.organization,
    ] {
        limit.requests = 0;
    }
    let gateway = Gateway::start(config).await.unwrap();
    let client = Client::admin(&gateway, dir.path());
    Testbed { gateway, client, dir }
}

/// In the profile in which these tests run it says little of what ships; it is there to see a cost that grows. With
/// `CARGO_PROFILE_DEV_OPT_LEVEL=3` it is the figure in docs/benchmarks.md.
#[tokio::test]
async fn a_small_request_hardly_notices_authorization_and_audit() {
    /// What optimised code may add, and a build for tests, which is some ten times as slow.
    const BOUND: Duration = if cfg!(debug_assertions) {
        Duration::from_micros(500)
    } else {
        Duration::from_micros(50)
    };
    let (on, off) = (testbed(true).await, testbed(false).await);
    let (_one, _tunnel) = connected(&on, "prod").await;
    let (_two, _other) = connected(&off, "prod").await;
    let mut added = Vec::new();
    for round in 0..7 {
        // Turn about, so that what else the machine does hits both.
        let (with, without) = (p50(&on, 300).await, p50(&off, 300).await);
        if round > 0 {
            added.push((with, without));
        }
    }
    let mut differences: Vec<_> = added.iter().map(|(on, off)| on.saturating_sub(*off)).collect();
    differences.sort_unstable();
    let median = differences[differences.len() / 2];
    let metrics = on.admin("/metrics").await;
    let mean = |name: &str| {
        let part = |what: &str| figure(&metrics, &format!("kantaloupe_gateway_{name}_{what} "));
        part("sum") / part("count") * 1e6
    };
    let (admission, append) = (mean("admission_seconds"), mean("audit_append_seconds"));
    eprintln!(
        "audit on {:?}, off {:?}: added {median:?} at p50; from a request's head to its begin entry {admission:.1} us, \
         one entry {append:.1} us",
        added[0].0, added[0].1
    );
    assert!(median < BOUND, "{added:?}");
}
