//! Inventories, from an agent's stream to the API.

use std::time::Duration;

use http::Method;
use kantaloupe_gateway::{app::Gateway, config::Config};
use kantaloupe_gpu::inventory::Record;
use kantaloupe_proto::pb::{InventoryKind, InventoryUpdate};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use super::{
    agent::{Agent, Connected, MOMENT, enrolled},
    client::{Client, PATIENCE, Testbed, empty},
    feed::{Feed, Watch, allocation, gpu, key, node, raw, small, snapshot, update},
};

/// Longest time from an agent's change to the API.
const VISIBLE: Duration = Duration::from_millis(300);

pub(crate) async fn get(testbed: &Testbed, path: &str) -> Value {
    let (status, answer) = testbed
        .client
        .call(Method::GET, &format!("/api/v1{path}"), Value::Null)
        .await;
    assert_eq!(status, 200, "{path}: {answer}");
    answer
}

pub(crate) async fn refused(testbed: &Testbed, path: &str) -> String {
    let (status, answer) = testbed
        .client
        .call(Method::GET, &format!("/api/v1{path}"), Value::Null)
        .await;
    assert!(status == 400 || status == 404, "{path}: {status} {answer}");
    answer["detail"].as_str().unwrap().to_owned()
}

/// One field of each item.
fn pick<'a>(list: &'a Value, field: &str) -> Vec<&'a Value> {
    list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| &item[field])
        .collect()
}

async fn until(testbed: &Testbed, path: &str, what: impl Fn(&Value) -> bool) -> Value {
    let poll = async {
        loop {
            let answer = get(testbed, path).await;
            if what(&answer) {
                return answer;
            }
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, poll)
        .await
        .unwrap_or_else(|_| panic!("{path} is not as expected"))
}

pub(crate) async fn live(testbed: &Testbed, cluster: &str, revision: u64) -> Value {
    until(testbed, &format!("/clusters/{cluster}/inventory"), |answer| {
        answer["status"] == "live" && answer["revision"] == revision
    })
    .await
}

/// A cluster with an agent that has sent a snapshot.
pub(crate) async fn started(
    testbed: &Testbed,
    name: &str,
    records: &[Record],
) -> (Agent, Connected, Feed, Watch) {
    let agent = enrolled(testbed, name).await;
    let feed = Feed::new();
    let connected = agent.connect_with(feed.clone()).await;
    let watch = feed.watch().await;
    assert_eq!((watch.asked.epoch.as_str(), watch.asked.revision), ("", 0));
    watch.send(snapshot("e1", 1, records)).await;
    live(testbed, name, 1).await;
    (agent, connected, feed, watch)
}

#[tokio::test]
async fn a_snapshot_and_changes_show_with_age_and_live_use() {
    let testbed = Testbed::start().await;
    let (_agent, _connected, _feed, watch) = started(&testbed, "prod", &small()).await;

    let status = get(&testbed, "/clusters/prod/inventory").await;
    assert_eq!(
        (&status["complete"], &status["ageSeconds"], &status["epoch"]),
        (&json!(true), &json!(0), &json!("e1"))
    );
    assert_eq!(status["records"]["gpu"], 3);
    assert_eq!(status["sources"][0]["state"], "ok");
    assert_eq!(status["counts"]["gpus"], 3);
    let summary = get(&testbed, "/clusters/prod/summary").await;
    assert_eq!(summary["summary"]["kubernetesVersion"], "v1.34.4");

    let gpus = get(&testbed, "/clusters/prod/gpus").await;
    assert_eq!(gpus["total"], 3);
    assert_eq!(pick(&gpus, "uuid"), ["GPU-1", "GPU-2", "GPU-3"]);
    let first = &gpus["items"][0];
    assert_eq!(
        (&first["cluster"]["name"], &first["ageSeconds"]),
        (&json!("prod"), &json!(0))
    );
    assert_eq!(first["usage"]["utilization"], 61.5);
    assert!(first["usage"]["ageSeconds"].as_i64().unwrap() < 20);
    assert_eq!(gpus["items"][1]["usage"], Value::Null, "no sample is not 0");
    assert_eq!(gpus["items"][2]["healthy"], Value::Null);
    assert_eq!(gpus["items"][2]["capacity"]["memoryMib"], Value::Null);

    let fleet = get(&testbed, "/allocations?held=true").await;
    assert_eq!(fleet["items"][0]["usage"]["utilization"], 60.0);
    for (path, field, value) in [
        ("/nodes?vendor=nvidia&ready=true", "name", "n1"),
        ("/workloads?workload=web", "namespace", "ml"),
        ("/findings?level=error", "code", "KTA-HAMI-003"),
    ] {
        assert_eq!(get(&testbed, path).await["items"][0][field], value, "{path}");
    }
    assert_eq!(get(&testbed, "/checks").await["items"], json!([]));

    let mut delta = update(
        "e1",
        2,
        &[Record::Allocation(Box::new(allocation("second", "n1", "GPU-2")))],
    );
    delta.removals = vec![key(InventoryKind::Gpu, "n2/GPU-3")];
    let sent = Instant::now();
    watch.send(delta).await;
    until(&testbed, "/allocations?pod=second", |answer| answer["total"] == 1).await;
    assert!(sent.elapsed() < VISIBLE, "{:?}", sent.elapsed());
    assert_eq!(get(&testbed, "/gpus").await["total"], 2);
    assert_eq!(live(&testbed, "prod", 2).await["complete"], true);
    let metrics = testbed.admin("/metrics").await;
    assert!(
        metrics.contains("kantaloupe_gateway_inventory_live 1"),
        "{metrics}"
    );
    assert!(
        metrics.contains("kantaloupe_gateway_inventory_snapshots_total 1"),
        "{metrics}"
    );
}

#[tokio::test]
async fn filters_sorts_and_pages_say_what_is_wrong_with_them() {
    let testbed = Testbed::start().await;
    let (_a, _c, _f, _w) = started(&testbed, "prod", &small()).await;
    testbed.cluster("empty").await;
    for (query, uuids) in [
        ("vendor=ascend", vec!["GPU-3"]),
        ("vendor=ascend,nvidia&node=n1", vec!["GPU-1", "GPU-2"]),
        ("model=h100", vec!["GPU-1", "GPU-2"]),
        ("mode=mig", vec![]),
        ("healthy=true", vec!["GPU-1", "GPU-2"]),
        ("healthy=unknown", vec!["GPU-3"]),
        ("healthy=false", vec![]),
        ("text=gpu-2", vec!["GPU-2"]),
        ("text=%25", vec![]),
        ("cluster=prod&sort=-memoryFree", vec!["GPU-2", "GPU-1", "GPU-3"]),
        ("sort=memoryFree", vec!["GPU-1", "GPU-2", "GPU-3"]),
        ("sort=-utilization", vec!["GPU-1", "GPU-3", "GPU-2"]),
        ("cluster=empty", vec![]),
        ("id=n1/GPU-2", vec!["GPU-2"]),
    ] {
        let list = get(&testbed, &format!("/gpus?{query}")).await;
        assert_eq!(pick(&list, "uuid"), uuids, "{query}");
        assert_eq!(list["total"], uuids.len(), "{query}");
    }
    let empty = get(&testbed, "/gpus?cluster=empty").await;
    assert_eq!(empty["notLive"][0]["cluster"]["name"], "empty");
    assert_eq!(
        empty["notLive"][0]["asOf"],
        Value::Null,
        "nothing known is not nothing there"
    );

    let mut seen = Vec::new();
    let mut path = "/gpus?limit=1&sort=-memory".to_owned();
    loop {
        let page = get(&testbed, &path).await;
        seen.push(page["items"][0]["uuid"].as_str().unwrap().to_owned());
        let Some(cursor) = page["nextCursor"].as_str() else {
            break;
        };
        path = format!("/gpus?limit=1&sort=-memory&cursor={cursor}");
    }
    seen.sort();
    assert_eq!(seen, ["GPU-1", "GPU-2", "GPU-3"]);

    let cursor = get(&testbed, "/gpus?limit=1").await["nextCursor"]
        .as_str()
        .unwrap()
        .to_owned();
    for (path, word) in [
        ("/gpus?colour=blue", "colour"),
        ("/gpus?limit=0", "limit"),
        ("/gpus?limit=1001", "limit"),
        ("/gpus?limit=many", "limit"),
        ("/gpus?sort=colour", "memoryFree"),
        ("/gpus?healthy=maybe", "maybe"),
        ("/gpus?cursor=%21%21", "cursor"),
        ("/gpus?cluster=nowhere", "nowhere"),
        ("/gpus?node=a%00b", "node"),
        ("/gpus?format=xml", "xml"),
        ("/gpus?limit=1&limit=2", "more than once"),
        ("/clusters/nowhere/gpus", "nowhere"),
        ("/clusters/prod/gpus?cluster=prod", "cluster"),
        (&format!("/gpus?sort=memory&cursor={cursor}"), "cursor"),
    ] {
        let detail = refused(&testbed, path).await;
        assert!(detail.contains(word), "{path}: {detail}");
    }
    let (status, _) = testbed
        .client
        .with_token("kta_none")
        .call(Method::GET, "/api/v1/gpus", Value::Null)
        .await;
    assert_eq!(status, 401);
}

#[tokio::test]
async fn csv_has_all_records_and_no_formula() {
    let testbed = Testbed::start().await;
    let many: Vec<_> = (0..1200)
        .map(|n| Record::Gpu(Box::new(gpu("n1", &format!("GPU-{n:04}")))))
        .collect();
    let (_a, _c, _f, watch) = started(&testbed, "prod", &many).await;
    watch.send(update("e1", 2, &small())).await;
    live(&testbed, "prod", 2).await;
    let mut request = testbed
        .client
        .request(Method::GET, "/api/v1/gpus?node=n1", empty());
    request
        .headers_mut()
        .insert("accept", "text/csv".parse().unwrap());
    let (status, headers, body) = testbed.client.exchange(request).await;
    assert_eq!(status, 200);
    assert_eq!(headers["content-type"], "text/csv; charset=utf-8");
    let text = String::from_utf8(body.to_vec()).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 1 + 1200 + 2);
    assert!(
        lines[0].starts_with("cluster_id,cluster,as_of,node,index,uuid,"),
        "{}",
        lines[0]
    );
    let columns = lines[0].split(',').count();
    assert!(lines[1..].iter().all(|line| line.split(',').count() == columns));

    let path = "/api/v1/clusters/prod/findings?format=csv";
    let (_, _, body) = testbed
        .client
        .exchange(testbed.client.request(Method::GET, path, empty()))
        .await;
    let text = String::from_utf8(body.to_vec()).unwrap();
    assert!(text.contains("\"'=cmd|' /C calc'!A0, not a formula\""), "{text}");
    let path = "/api/v1/gpus?format=csv&limit=7";
    let (_, _, body) = testbed
        .client
        .exchange(testbed.client.request(Method::GET, path, empty()))
        .await;
    assert_eq!(String::from_utf8(body.to_vec()).unwrap().lines().count(), 8);
}

#[tokio::test]
async fn one_stream_at_a_time_goes_on_where_the_last_one_ended() {
    let testbed = Testbed::start().await;
    let (agent, connected, feed, first) = started(&testbed, "prod", &small()).await;
    // A second tunnel: the newest is followed, and the one before is not any more.
    let newer_feed = Feed::new();
    let newer = agent.connect_with(newer_feed.clone()).await;
    let second = newer_feed.watch().await;
    assert_eq!((second.asked.epoch.as_str(), second.asked.revision), ("e1", 1));
    first.given_up().await;
    second.send(update("e1", 2, &[])).await;
    live(&testbed, "prod", 2).await;
    sleep(MOMENT).await;
    assert_eq!((feed.waiting().await, newer_feed.waiting().await), (0, 0));
    // It ends: the other one at once.
    drop(newer);
    let third = feed.watch().await;
    assert_eq!((third.asked.epoch.as_str(), third.asked.revision), ("e1", 2));
    third
        .send(update("e1", 3, &[Record::Node(Box::new(node("n3")))]))
        .await;
    live(&testbed, "prod", 3).await;
    assert_eq!(get(&testbed, "/nodes").await["total"], 3);
    // The agent ends the stream alone: it is asked again, after a moment.
    drop(third);
    let fourth = feed.watch().await;
    assert_eq!(fourth.asked.revision, 3);
    // A new process of the agent: another epoch, and what it does not name is gone.
    fourth
        .send(InventoryUpdate {
            complete: false,
            ..snapshot("e2", 1, &small()[..3])
        })
        .await;
    until(&testbed, "/clusters/prod/inventory", |answer| {
        answer["complete"] == false
    })
    .await;
    assert_eq!(
        get(&testbed, "/nodes").await["total"],
        3,
        "nothing is taken away before the end"
    );
    fourth.send(update("e2", 1, &small()[3..])).await;
    live(&testbed, "prod", 1).await;
    assert_eq!(get(&testbed, "/nodes").await["total"], 2);
    assert_eq!(get(&testbed, "/gpus").await["total"], 3);
    assert!(fourth.is_open());
    drop(connected);
}

#[tokio::test]
async fn an_inventory_outlives_its_agent_and_the_gateway_with_its_age() {
    let testbed = Testbed::start().await;
    let (agent, connected, _feed, _watch) = started(&testbed, "prod", &small()).await;
    let before = get(&testbed, "/gpus").await;
    drop(connected);
    let offline = until(&testbed, "/clusters/prod/inventory", |answer| {
        answer["status"] == "offline"
    })
    .await;
    assert!(offline["asOf"].is_string(), "{offline}");
    sleep(Duration::from_millis(1100)).await;
    let later = get(&testbed, "/clusters/prod/inventory").await;
    assert!(later["ageSeconds"].as_i64().unwrap() >= 1, "{later}");
    assert_eq!(later["asOf"], offline["asOf"]);

    let testbed = testbed.restart().await;
    let after = get(&testbed, "/gpus").await;
    assert_eq!(pick(&after, "id"), pick(&before, "id"));
    assert_eq!(after["notLive"][0]["status"], "offline");
    assert_eq!(after["items"][0]["asOf"], later["asOf"]);
    let feed = Feed::new();
    let _connected = agent.connect_with(feed.clone()).await;
    let watch = feed.watch().await;
    assert_eq!((watch.asked.epoch.as_str(), watch.asked.revision), ("e1", 1));
    until(&testbed, "/clusters/prod/inventory", |answer| {
        answer["status"] == "syncing"
    })
    .await;
    watch.send(update("e1", 1, &[])).await;
    live(&testbed, "prod", 1).await;
}

#[tokio::test]
async fn a_stream_that_breaks_within_a_snapshot_is_begun_anew() {
    let testbed = Testbed::start().await;
    let (_agent, _connected, feed, watch) = started(&testbed, "prod", &small()).await;
    let part = InventoryUpdate {
        complete: false,
        ..update("e1", 2, &[Record::Node(Box::new(node("n9")))])
    };
    watch.send(part).await;
    until(&testbed, "/nodes", |answer| answer["total"] == 3).await;
    watch.fail(tonic::Status::unavailable("broken")).await;
    let again = feed.watch().await;
    assert_eq!((again.asked.epoch.as_str(), again.asked.revision), ("", 0));
    again.send(snapshot("e1", 3, &small())).await;
    live(&testbed, "prod", 3).await;
    assert_eq!(get(&testbed, "/nodes").await["total"], 2);
}

#[tokio::test]
async fn an_agent_without_inventory_is_said_to_be_old_and_left_alone() {
    let testbed = Testbed::start().await;
    let agent = enrolled(&testbed, "prod").await;
    let _old = agent.connect().await;
    let status = until(&testbed, "/clusters/prod/inventory", |answer| {
        answer["status"] == "unsupported"
    })
    .await;
    assert_eq!((&status["asOf"], &status["counts"]), (&Value::Null, &Value::Null));
    // After the upgrade of the agent.
    let feed = Feed::new();
    let _new = agent.connect_with(feed.clone()).await;
    let watch = feed.watch().await;
    watch.send(snapshot("e1", 1, &small())).await;
    live(&testbed, "prod", 1).await;
}

#[tokio::test]
async fn what_a_hostile_agent_sends_hurts_its_own_cluster_only() {
    let testbed = Testbed::start().await;
    let (_agent, _connected, feed, watch) = started(&testbed, "prod", &small()).await;
    let (_agent2, _connected2, _feed2, other) = started(&testbed, "other", &small()).await;
    let mut bad = update("e1", 2, &[Record::Gpu(Box::new(gpu("n1", "GPU-4")))]);
    bad.upserts.extend([
        raw(InventoryKind::Unspecified, "x", "{}"),
        raw(InventoryKind::Gpu, "n1/GPU-5", "not json"),
        raw(InventoryKind::Gpu, "n1/GPU-6", "{\"id\":\"n1/GPU-7\"}"),
        raw(InventoryKind::Gpu, &"x".repeat(5000), "{}"),
        raw(
            InventoryKind::Gpu,
            "n1/GPU-8",
            &format!("{{\"id\":\"{}\"}}", "y".repeat(70_000)),
        ),
    ]);
    bad.removals = vec![
        key(InventoryKind::Unspecified, "x"),
        key(InventoryKind::Node, "n2"),
    ];
    watch.send(bad).await;
    let status = live(&testbed, "prod", 2).await;
    assert_eq!(status["rejected"]["records"], 6, "{status}");
    assert!(
        status["rejected"]["example"]
            .as_str()
            .unwrap()
            .starts_with("unknown_kind"),
        "{status}"
    );
    assert_eq!(get(&testbed, "/clusters/prod/gpus").await["total"], 4);
    assert_eq!(get(&testbed, "/clusters/other/gpus").await["total"], 3);
    assert_eq!(get(&testbed, "/clusters/other/nodes").await["total"], 2);
    let metrics = testbed.admin("/metrics").await;
    assert!(
        metrics.contains("kantaloupe_gateway_inventory_rejected_total{reason=\"unparsable\"} 1"),
        "{metrics}"
    );

    // Too large, a change of what is not known, before and after a snapshot: the stream ends, and what is there stays.
    let large: Vec<_> = (0..40)
        .map(|n| {
            let mut gpu = gpu("n1", &format!("GPU-x{n}"));
            gpu.model = Some("x".repeat(30_000));
            Record::Gpu(Box::new(gpu))
        })
        .collect();
    watch.send(update("e1", 3, &large)).await;
    watch.given_up().await;
    let status = until(&testbed, "/clusters/prod/inventory", |answer| {
        answer["status"] == "failing"
    })
    .await;
    assert!(
        status["detail"].as_str().unwrap().contains("KTA-SRV-011"),
        "{status}"
    );
    let watch = feed.watch().await;
    watch.send(update("e9", 1, &[])).await;
    watch.given_up().await;
    let watch = feed.watch().await;
    watch.send(snapshot("e2", 1, &small())).await;
    live(&testbed, "prod", 1).await;
    watch.send(update("e3", 2, &[])).await;
    watch.given_up().await;
    assert_eq!(get(&testbed, "/clusters/prod/gpus").await["total"], 3);
    assert!(other.is_open());
}

#[tokio::test]
async fn a_cluster_has_a_limit_of_records_and_stays_usable_at_it() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config {
        inventory_records: 200,
        ..Config::local(dir.path())
    };
    let gateway = Gateway::start(config).await.unwrap();
    let client = Client::admin(&gateway, dir.path());
    let testbed = Testbed { gateway, client, dir };
    let (_agent, _connected, _feed, watch) = started(&testbed, "prod", &small()).await;
    let flood = |from: usize, to: usize| -> Vec<_> {
        (from..to)
            .map(|n| Record::Gpu(Box::new(gpu("n3", &format!("GPU-{n:05}")))))
            .collect()
    };
    for revision in 2..12_u64 {
        let from = usize::try_from(revision).unwrap() * 1000;
        watch
            .send(update("e1", revision, &flood(from, from + 1000)))
            .await;
    }
    let status = live(&testbed, "prod", 11).await;
    let kept: i64 = status["records"]
        .as_object()
        .unwrap()
        .values()
        .map(|n| n.as_i64().unwrap())
        .sum();
    assert_eq!(kept, 200);
    assert_eq!(status["rejected"]["records"], 10_000 - (200 - 11));
    // Room is made, and used.
    let mut gone = update("e1", 12, &[]);
    gone.removals = (2000..2100)
        .map(|n| key(InventoryKind::Gpu, &format!("n3/GPU-{n:05}")))
        .collect();
    watch.send(gone).await;
    watch
        .send(update("e1", 13, &[Record::Node(Box::new(node("n7")))]))
        .await;
    live(&testbed, "prod", 13).await;
    assert_eq!(get(&testbed, "/nodes?node=n7").await["total"], 1);
}

#[tokio::test]
async fn deleting_and_revoking_end_the_stream() {
    let testbed = Testbed::start().await;
    let (_agent, _connected, _feed, watch) = started(&testbed, "prod", &small()).await;
    let (_agent2, _connected2, _feed2, revoked) = started(&testbed, "old", &small()).await;
    let call = |method, path: &'static str| testbed.client.call(method, path, Value::Null);
    call(Method::POST, "/api/v1/clusters/old/revoke").await;
    revoked.given_up().await;
    assert_eq!(
        get(&testbed, "/clusters/old/gpus").await["total"],
        3,
        "what was known stays"
    );
    call(Method::DELETE, "/api/v1/clusters/prod").await;
    watch.given_up().await;
    let left = get(&testbed, "/gpus").await;
    assert!(
        pick(&left, "cluster")
            .iter()
            .all(|cluster| cluster["name"] == "old")
    );
    assert_eq!(left["total"], 3);
    let (made, _) = testbed.cluster("prod").await;
    assert_eq!(get(&testbed, &format!("/clusters/{made}/gpus")).await["total"], 0);
}

#[tokio::test]
async fn a_hundred_changes_are_each_seen_in_time() {
    let testbed = Testbed::start().await;
    let (_agent, _connected, _feed, watch) = started(&testbed, "prod", &small()).await;
    let mut slowest = Duration::ZERO;
    for revision in 2..102_u64 {
        let sent = Instant::now();
        let pod = format!("p{revision}");
        watch
            .send(update(
                "e1",
                revision,
                &[Record::Allocation(Box::new(allocation(&pod, "n1", "GPU-1")))],
            ))
            .await;
        until(&testbed, &format!("/allocations?pod={pod}"), |answer| {
            answer["total"] == 1
        })
        .await;
        slowest = slowest.max(sent.elapsed());
    }
    // The polling over a new TLS connection each time is in it.
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
}
