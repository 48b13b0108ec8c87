//! Inventories that an agent makes up.

use std::{io::Write as _, time::Duration};

use kantaloupe_gpu::inventory::Record;
use kantaloupe_proto::{
    PROTOCOL_VERSION,
    pb::{InventoryKind, InventoryUpdate},
};
use tokio::time::timeout;

use super::{
    agent::{Agent, UID},
    client::PATIENCE,
    feed::{Feed, Watch, gpu, key, node, raw, small, snapshot, update},
    siege::{Siege, peak},
    wire::{DATA, END_HEADERS, END_STREAM, HEADERS, Server, frame, literal},
};

/// Parts of a snapshot that never ends.
const PARTS: u64 = 300;

async fn next(feed: &Feed) -> Watch {
    timeout(PATIENCE * 2, feed.watch()).await.unwrap()
}

async fn live(siege: &Siege, revision: u64) {
    let poll = async {
        loop {
            let status = siege.get("/clusters/evil/inventory").await;
            if status["status"] == "live" && status["revision"] == revision {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, poll).await.unwrap();
}

#[tokio::test]
async fn h17_to_h19_records_that_name_others() {
    let siege = Siege::start().await;
    let feed = Feed::new();
    let _evil = siege.evil.connect_with(feed.clone()).await;
    let watch = next(&feed).await;
    let victim = &siege.victim.identity.cluster_id;
    // h17: the victim's records, id by id, with other contents; h18: fields that name its cluster.
    let mut stolen = vec![];
    for mut record in small() {
        if let Record::Gpu(gpu) = &mut record {
            gpu.model = Some("stolen".to_owned());
            gpu.healthy = Some(false);
        }
        stolen.push(record);
    }
    watch.send(snapshot("e1", 1, &stolen)).await;
    live(&siege, 1).await;
    siege.holds("h17: the same ids").await;
    let named = format!(
        "{{\"id\":\"n1/GPU-1\",\"cluster\":\"{victim}\",\"clusterId\":\"{victim}\",\"uuid\":\"GPU-1\",\"node\":\"n1\",\"vendor\":\"nvidia\"}}"
    );
    let mut naming = update("e1", 2, &[]);
    for id in [
        "n1/GPU-1".to_owned(),
        format!("{victim}/n1/GPU-1"),
        "../victim/n1/GPU-1".to_owned(),
        "n1/GPU-1' OR cluster_id='victim".to_owned(),
    ] {
        naming.upserts.push(raw(InventoryKind::Gpu, &id, &named));
        naming.removals.push(key(InventoryKind::Node, &id));
    }
    naming.removals.extend([
        key(InventoryKind::Node, "n1"),
        key(InventoryKind::Node, "n2"),
        key(InventoryKind::Gpu, "n2/GPU-3"),
    ]);
    watch.send(naming).await;
    live(&siege, 2).await;
    siege
        .holds("h18: the victim's name in ids, values and removals")
        .await;
    // h19: an empty snapshot takes away what is the sender's own.
    watch.send(snapshot("e2", 1, &[])).await;
    live(&siege, 1).await;
    let own = siege.get("/clusters/evil/gpus").await;
    assert_eq!(own["total"], 0, "h19: {own}");
    siege.holds("h19: an empty snapshot").await;
}

#[tokio::test]
async fn h20_to_h25_records_that_are_none() {
    let siege = Siege::start().await;
    let feed = Feed::new();
    let evil = siege.evil.connect_with(feed.clone()).await;
    let watch = next(&feed).await;
    watch.send(snapshot("e1", 1, &small())).await;
    live(&siege, 1).await;
    // h20: deep JSON, huge numbers, text that is no text, ids of all kinds.
    let mut odd = update("e1", 2, &[]);
    let deep = format!(
        "{{\"id\":\"n1/GPU-9\",\"unknown\":{}1{}}}",
        "{\"a\":".repeat(10_000),
        "}".repeat(10_000)
    );
    for (id, value) in [
        ("n1/GPU-9", deep.as_str()),
        ("n1/GPU-9", &"[".repeat(60_000)),
        ("n1/GPU-9", "{\"id\":\"n1/GPU-9\",\"index\":1e400}"),
        (
            "n1/GPU-9",
            "{\"id\":\"n1/GPU-9\",\"index\":99999999999999999999999}",
        ),
        ("n1/GPU-9", "{\"id\":\"n1/GPU-9\",\"id\":\"n2/GPU-9\"}"),
        ("n1/GPU-9", "{\"id\":\"n1/GPU-9\"} trailing"),
        ("n1/GPU-9", "\u{feff}{}"),
        ("", "{}"),
        ("a\u{0}b", "{}"),
        ("a\nb", "{}"),
        ("\u{202e}evil", "{}"),
        (&"é".repeat(400), "{}"),
    ] {
        odd.upserts.push(raw(InventoryKind::Gpu, id, value));
    }
    odd.upserts.push(raw(InventoryKind::Unspecified, "x", "{}"));
    for kind in [-1, 77, i32::MAX, i32::MIN] {
        let mut record = raw(InventoryKind::Gpu, "x", "{}");
        record.kind = kind;
        odd.upserts.push(record);
    }
    watch.send(odd).await;
    live(&siege, 2).await;
    let status = siege.get("/clusters/evil/inventory").await;
    assert!(
        status["rejected"]["records"].as_u64().unwrap() >= 12,
        "h20: {status}"
    );
    siege.holds("h20: records that are none").await;
    // h21: revisions that go backwards, stand still, or are the largest there are.
    for revision in [1, 0, 2] {
        watch
            .send(update("e1", revision, &[Record::Node(Box::new(node("n1")))]))
            .await;
    }
    watch.send(update("e1", u64::MAX, &[])).await;
    watch.given_up().await;
    siege.holds("h21: revisions backwards and too large").await;
    // h22: epochs without a name, with a long one, or with none of a snapshot.
    for bad in [
        update("", 3, &[]),
        update(&"e".repeat(10_000), 3, &[]),
        update("e-unknown", 3, &[]),
    ] {
        let watch = next(&feed).await;
        watch.send(bad).await;
        watch.given_up().await;
    }
    siege.holds("h22: epochs").await;
    // h23: a message above the limit; h24: one of 512 MiB, compressed to 512 KiB.
    let watch = next(&feed).await;
    let mut large = update("e1", 3, &[]);
    large.upserts = (0..40)
        .map(|n| raw(InventoryKind::Gpu, &format!("n1/GPU-{n}"), &"x".repeat(60_000)))
        .collect();
    watch.send(large).await;
    watch.given_up().await;
    siege.holds("h23: a message above the limit").await;
    drop(evil);
    siege.testbed.wait_for("evil", "reconnecting").await;
    let before = peak();
    let mut server = greeted(&siege.evil).await;
    let stream = server.request().await;
    let head = [
        vec![0x88],
        literal("content-type", "application/grpc"),
        literal("grpc-encoding", "gzip"),
    ]
    .concat();
    server.say(&frame(HEADERS, END_HEADERS, stream, &head)).await;
    for part in bomb().chunks(16 << 10) {
        server.say(&frame(DATA, 0, stream, part)).await;
    }
    let failing = async {
        while siege.get("/clusters/evil/inventory").await["status"] != "failing" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, failing)
        .await
        .expect("h24: the bomb was never looked at");
    siege.holds("h24: 512 MiB in 512 KiB").await;
    let grown = peak().saturating_sub(before);
    assert!(grown < 64 << 20, "h24: {} MiB more at the peak", grown >> 20);
    drop(server);
    // h25: a snapshot of many parts that never ends.
    let _evil = siege.evil.connect_with(feed.clone()).await;
    let watch = next(&feed).await;
    for part in 0..PARTS {
        let records: Vec<_> = (0..100)
            .map(|n| Record::Gpu(Box::new(gpu("n1", &format!("GPU-{part}-{n}")))))
            .collect();
        let endless = InventoryUpdate {
            complete: false,
            ..snapshot("e9", 1, &records)
        };
        watch.send(endless).await;
    }
    siege.holds("h25: a snapshot without an end").await;
}

/// A gRPC message of 512 MiB of zeros, compressed.
fn bomb() -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
    let zeros = vec![0; 1 << 20];
    for _ in 0..512 {
        encoder.write_all(&zeros).unwrap();
    }
    let body = encoder.finish().unwrap();
    let mut message = vec![1];
    message.extend(u32::try_from(body.len()).unwrap().to_be_bytes());
    message.extend(&body);
    message
}

/// A control session whose agent has said Hello; the next request is that for its inventory.
async fn greeted(agent: &Agent) -> Server {
    let mut server = Server::control(agent).await;
    let stream = server.request().await;
    // HelloResponse: protocol_version is field 2, cluster_uid field 3.
    let mut hello = vec![
        0x10,
        u8::try_from(PROTOCOL_VERSION).unwrap(),
        0x1a,
        u8::try_from(UID.len()).unwrap(),
    ];
    hello.extend(UID.as_bytes());
    let mut message = vec![0, 0, 0, 0, u8::try_from(hello.len()).unwrap()];
    message.extend(hello);
    let head = [vec![0x88], literal("content-type", "application/grpc")].concat();
    let answer = [
        frame(HEADERS, END_HEADERS, stream, &head),
        frame(DATA, 0, stream, &message),
        frame(
            HEADERS,
            END_HEADERS | END_STREAM,
            stream,
            &literal("grpc-status", "0"),
        ),
    ];
    assert!(server.say(&answer.concat()).await);
    server
}
