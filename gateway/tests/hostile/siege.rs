//! A victim and an attacker at one gateway.

use std::time::Duration;

use http::Method;
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};

use super::{
    agent::{Agent, Connected, enrolled},
    client::{PATIENCE, Testbed},
    feed::{Feed, Watch, small, snapshot},
};

/// Longest time that the victim's users wait for a small answer while somebody attacks, on a loaded machine.
const SERVED: Duration = Duration::from_secs(5);
/// Memory of the process, attackers included. All of them together send many gigabytes.
const MEMORY: u64 = 700 << 20;
/// Kinds of records that are compared.
const KINDS: [&str; 5] = ["nodes", "gpus", "allocations", "workloads", "findings"];

/// A gateway with two clusters.
pub(crate) struct Siege {
    pub(crate) testbed: Testbed,
    pub(crate) victim: Agent,
    pub(crate) evil: Agent,
    before: Vec<Value>,
    _connected: Connected,
    _watch: Watch,
}

impl Siege {
    pub(crate) async fn start() -> Self {
        let testbed = Testbed::start().await;
        let victim = enrolled(&testbed, "victim").await;
        let evil = enrolled(&testbed, "evil").await;
        let feed = Feed::new();
        let connected = victim.connect_with(feed.clone()).await;
        let watch = feed.watch().await;
        watch.send(snapshot("e1", 1, &small())).await;
        testbed.wait_for("victim", "connected").await;
        let mut siege = Self {
            testbed,
            victim,
            evil,
            before: vec![],
            _connected: connected,
            _watch: watch,
        };
        let live = async {
            while siege.get("/clusters/victim/inventory").await["status"] != "live" {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, live).await.unwrap();
        siege.before = siege.records("victim").await;
        assert_eq!(siege.before[1]["total"], 3);
        siege
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let path = format!("/api/v1{path}");
        self.testbed.client.call(Method::GET, &path, Value::Null).await.1
    }

    /// Everything that the API shows of a cluster, without ages.
    pub(crate) async fn records(&self, cluster: &str) -> Vec<Value> {
        let mut all = vec![];
        for kind in KINDS {
            let mut list = self.get(&format!("/clusters/{cluster}/{kind}")).await;
            forget_ages(&mut list);
            all.push(list);
        }
        all
    }

    /// The victim is served, shown and unchanged, and memory has its bound.
    pub(crate) async fn holds(&self, what: &str) {
        let start = Instant::now();
        let path = "/clusters/victim/kubernetes/version";
        let answer = timeout(SERVED, self.testbed.client.call(Method::GET, path, Value::Null)).await;
        let (status, answer) = answer.unwrap_or_else(|_| panic!("{what}: the victim's users wait"));
        assert_eq!(status, 200, "{what}: {answer}");
        let waited = start.elapsed();
        assert_eq!(
            self.records("victim").await,
            self.before,
            "{what}: the victim's records"
        );
        let shown = self.get("/clusters/victim").await;
        assert_eq!(shown["state"], "connected", "{what}: {shown}");
        let memory = resident();
        assert!(memory < MEMORY, "{what}: {} MiB", memory >> 20);
        println!(
            "{what}: the victim's users waited {waited:.0?}; {} MiB resident",
            memory >> 20
        );
    }

    /// What a line of the gateway's metrics counts.
    pub(crate) async fn metric(&self, line: &str) -> u64 {
        let metrics = self.testbed.admin("/metrics").await;
        let found = metrics.lines().find_map(|l| l.strip_prefix(line));
        found.map_or(0, |value| value.trim().parse().unwrap())
    }

    /// Waits until a line of the metrics has a value.
    pub(crate) async fn settles(&self, line: &str, value: u64) {
        let poll = async {
            while self.metric(line).await != value {
                sleep(Duration::from_millis(20)).await;
            }
        };
        let settled = timeout(PATIENCE, poll).await.is_ok();
        assert!(settled, "{line} is {}, not {value}", self.metric(line).await);
    }
}

fn forget_ages(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for age in ["asOf", "age", "ageSeconds", "usageAsOf", "updatedAt", "usage"] {
                fields.remove(age);
            }
            fields.values_mut().for_each(forget_ages);
        }
        Value::Array(items) => items.iter_mut().for_each(forget_ages),
        _ => {}
    }
}

/// Resident bytes of this process: the gateway's and the attackers'.
pub(crate) fn resident() -> u64 {
    bytes("VmRSS:")
}

/// The most that they ever were.
pub(crate) fn peak() -> u64 {
    bytes("VmHWM:")
}

fn bytes(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}
