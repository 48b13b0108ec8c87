//! Inventories as server-sent events.

use std::time::Duration;

use http::Method;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use kantaloupe_gpu::inventory::Record;
use kantaloupe_proto::pb::InventoryKind;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use super::{
    client::{Client, PATIENCE, Testbed, empty},
    feed::{gpu, key, node, small, update},
    inventory::{live, refused, started},
};

/// An event stream and its connection.
pub(crate) struct Events {
    body: Incoming,
    text: String,
    _connection: hyper::client::conn::http1::SendRequest<super::client::Body>,
}

impl Events {
    pub(crate) async fn open(client: &Client, path: &str) -> Self {
        let mut connection = client.http1().await;
        let request = client.request(Method::GET, &format!("/api/v1{path}"), empty());
        let response = connection.send_request(request).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self {
            body: response.into_body(),
            text: String::new(),
            _connection: connection,
        }
    }

    /// The next event; `None` at the end of the stream, however it came.
    pub(crate) async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let lines = event
                    .lines()
                    .map(|line| line.split_once(": ").unwrap_or((line, "")));
                let field = |name| lines.clone().find(|(of, _)| *of == name).map(|(_, value)| value);
                let parsed = field("event").map(|name| {
                    (
                        name.to_owned(),
                        serde_json::from_str(field("data").unwrap()).unwrap(),
                    )
                });
                self.text = String::from(rest);
                match parsed {
                    Some(event) => return Some(event),
                    None => continue,
                }
            }
            let frame = timeout(PATIENCE, self.body.frame())
                .await
                .expect("an event or the end");
            match frame {
                Some(Ok(frame)) => self
                    .text
                    .push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap()),
                Some(Err(_)) | None => return None,
            }
        }
    }

    /// What has come and was not looked at.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The next event of this name.
    pub(crate) async fn named(&mut self, wanted: &str) -> Value {
        loop {
            let (name, data) = self.next().await.expect("the stream goes on");
            if name == wanted {
                return data;
            }
        }
    }

    async fn ends(&mut self) {
        while self.next().await.is_some() {}
    }
}

#[tokio::test]
async fn changes_come_with_their_records_and_the_state() {
    let testbed = Testbed::start().await;
    let (_a, connected, _f, watch) = started(&testbed, "prod", &small()).await;
    let mut one = Events::open(&testbed.client, "/clusters/prod/inventory/events").await;
    let mut all = Events::open(&testbed.client, "/inventory/events?kinds=gpu,gpuUsage").await;
    let (name, first) = one.next().await.unwrap();
    assert_eq!(
        (name.as_str(), &first["status"], &first["revision"]),
        ("state", &json!("live"), &json!(1))
    );
    assert_eq!(all.next().await.unwrap().0, "ready");

    let mut changed = small();
    changed.push(Record::Node(Box::new(node("n3"))));
    changed.push(Record::Gpu(Box::new(gpu("n3", "GPU-9"))));
    let mut delta = update("e1", 2, &changed);
    delta.removals = vec![
        key(InventoryKind::Gpu, "n2/none"),
        key(InventoryKind::Gpu, "n2/GPU-3"),
    ];
    delta.upserts.retain(|record| record.id != "n2/GPU-3");
    watch.send(delta).await;
    // Only what differs; a removal of what is not there is none.
    let mut seen = Vec::new();
    loop {
        let (name, data) = one.next().await.unwrap();
        if name == "state" {
            assert_eq!(data["revision"], 2);
            break;
        }
        seen.push((name, data["id"].as_str().unwrap().to_owned()));
    }
    let expected = [("upsert", "n3"), ("upsert", "n3/GPU-9"), ("remove", "n2/GPU-3")];
    // The findings' and usages' records have times in them and are new ones.
    seen.retain(|(_, id)| id != "cluster");
    assert_eq!(seen, expected.map(|(name, id)| (name.to_owned(), id.to_owned())));
    let upsert = all.named("upsert").await;
    assert_eq!(
        (&upsert["kind"], &upsert["cluster"]["name"]),
        (&json!("gpuUsage"), &json!("prod"))
    );
    let gone = all.named("remove").await;
    assert_eq!((&gone["kind"], &gone["id"]), (&json!("gpu"), &json!("n2/GPU-3")));

    drop(connected);
    loop {
        if one.named("state").await["status"] == "offline" {
            break;
        }
    }
    assert!(
        refused(&testbed, "/inventory/events?kinds=gpu,colour")
            .await
            .contains("colour")
    );
    let metrics = testbed.admin("/metrics").await;
    assert!(
        metrics.contains("kantaloupe_gateway_inventory_listeners 2"),
        "{metrics}"
    );
}

#[tokio::test]
async fn a_slow_reader_is_told_to_start_over_and_holds_nobody_up() {
    let testbed = Testbed::start().await;
    let (_a, _c, _f, watch) = started(&testbed, "prod", &small()).await;
    let mut slow = Events::open(&testbed.client, "/clusters/prod/inventory/events").await;
    let mut rounds = 0;
    // Far more than sockets, buffers and the ring hold: 40 MB.
    for revision in 2..162_u64 {
        let records: Vec<_> = (0..4)
            .map(|n| {
                let mut gpu = gpu("n1", &format!("GPU-{n}"));
                gpu.facts
                    .insert("round".to_owned(), format!("{revision}-{}", "x".repeat(60_000)));
                Record::Gpu(Box::new(gpu))
            })
            .collect();
        watch.send(update("e1", revision, &records)).await;
        rounds = revision;
    }
    live(&testbed, "prod", rounds).await;
    let resync = slow.named("resync").await;
    assert_eq!(resync["reason"], "slow");
    // It goes on, with what is newest.
    loop {
        if slow.named("state").await["revision"] == rounds {
            break;
        }
    }
    let metrics = testbed.admin("/metrics").await;
    assert!(
        metrics.contains("kantaloupe_gateway_inventory_resyncs_total 1"),
        "{metrics}"
    );
}

#[tokio::test]
async fn streams_end_with_their_token_their_cluster_and_the_gateway() {
    let testbed = Testbed::start().await;
    let (_a, _c, _f, _w) = started(&testbed, "prod", &small()).await;
    testbed.cluster("second").await;
    let admin = &testbed.client;
    let (_, made) = admin
        .call(Method::POST, "/api/v1/tokens", json!({ "name": "reader" }))
        .await;
    let reader = admin.with_token(made["token"].as_str().unwrap());
    let mut of_token = Events::open(&reader, "/inventory/events").await;
    let mut of_cluster = Events::open(admin, "/clusters/prod/inventory/events").await;
    let mut fleet = Events::open(admin, "/inventory/events").await;
    let (_, short) = admin
        .call(
            Method::POST,
            "/api/v1/tokens",
            json!({ "name": "short", "expiresInSeconds": 2 }),
        )
        .await;
    let mut of_short = Events::open(
        &admin.with_token(short["token"].as_str().unwrap()),
        "/inventory/events",
    )
    .await;

    let path = format!("/api/v1/tokens/{}", made["id"].as_str().unwrap());
    admin.call(Method::DELETE, &path, Value::Null).await;
    of_token.ends().await;
    of_short.ends().await;
    admin
        .call(Method::POST, "/api/v1/clusters/prod/revoke", Value::Null)
        .await;
    of_cluster.ends().await;
    let (_, second) = admin
        .call(Method::DELETE, "/api/v1/clusters/second", Value::Null)
        .await;
    assert_eq!(fleet.named("deleted").await["cluster"]["id"], second["id"]);
    let stopping = Instant::now();
    testbed.gateway.shutdown().await;
    fleet.ends().await;
    assert!(
        stopping.elapsed() < Duration::from_secs(10),
        "{:?}",
        stopping.elapsed()
    );
}
