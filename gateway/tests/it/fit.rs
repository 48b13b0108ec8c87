//! Where a request would fit.

use kantaloupe_gpu::inventory::Record;
use serde_json::json;

use super::{
    client::Testbed,
    feed::{gpu, node, small, update},
    inventory::{get, live, refused, started},
};

#[tokio::test]
async fn nodes_are_told_apart_into_those_that_fit_those_that_do_not_and_unknown_ones() {
    let testbed = Testbed::start().await;
    let (_a, _c, _f, watch) = started(&testbed, "prod", &small()).await;
    testbed.cluster("empty").await;
    let fit = get(&testbed, "/fit?memory=80000").await;
    assert_eq!(fit["totals"], json!({ "fits": 1, "unknown": 1, "no": 0 }));
    let first = &fit["items"][0];
    assert_eq!(
        (
            &first["node"],
            &first["verdict"],
            &first["fitting"],
            &first["cluster"]["name"]
        ),
        (&json!("n1"), &json!("fits"), &json!(1), &json!("prod"))
    );
    assert_eq!(first["devices"][0]["gpu"], "n1/GPU-2");
    let miss = &first["devices"][1];
    assert_eq!(
        (&miss["gpu"], &miss["verdict"]),
        (&json!("n1/GPU-1"), &json!("no"))
    );
    assert_eq!(
        miss["reasons"][0],
        json!({
            "code": "memory", "needed": 80000, "free": 81559 - 8192, "hami": "CardInsufficientMemory",
            "message": format!("it takes 80000 MiB and {} MiB are free", 81559 - 8192),
        })
    );
    let second = &fit["items"][1];
    assert_eq!(
        (&second["node"], &second["verdict"]),
        (&json!("n2"), &json!("unknown"))
    );
    assert_eq!(fit["notLive"][0]["cluster"]["name"], "empty");

    let two = get(
        &testbed,
        "/fit?memory=80000&count=2&vendor=nvidia&model=h100&cluster=prod",
    )
    .await;
    assert_eq!(two["totals"], json!({ "fits": 0, "unknown": 0, "no": 1 }));
    assert_eq!(two["items"][0]["reasons"][0]["code"], "tooFewDevices");
    assert_eq!(
        get(&testbed, "/fit?memory=50%25&cores=70&count=2").await["totals"]["fits"],
        1
    );
    assert_eq!(
        get(&testbed, "/fit?memory=8Gi&cores=71&count=2").await["totals"]["fits"],
        0
    );
    assert_eq!(get(&testbed, "/fit?model=A100").await["items"], json!([]));

    // A cordoned node takes nothing, and many nodes are cut to the best.
    let mut records = Vec::new();
    for n in 0..20 {
        let name = format!("big{n:02}");
        let mut node = node(&name);
        node.schedulable = n % 2 == 0;
        records.push(Record::Node(Box::new(node)));
        records.extend((0..8).map(|g| Record::Gpu(Box::new(gpu(&name, &format!("GPU-{g}"))))));
    }
    watch.send(update("e1", 2, &records)).await;
    live(&testbed, "prod", 2).await;
    let eight = get(&testbed, "/fit?count=8&cores=100&limit=12").await;
    assert_eq!(eight["totals"]["fits"], 10);
    let items = eight["items"].as_array().unwrap();
    assert_eq!(items.len(), 12);
    assert!(
        items[..10]
            .iter()
            .all(|item| item["verdict"] == "fits" && item["fitting"] == 8)
    );

    for (query, word) in [
        ("memory=lots", "memory"),
        ("count=0", "count"),
        ("cores=-1", "cores"),
        ("mode=magic", "magic"),
        ("limit=0", "limit"),
        ("gpus=2", "gpus"),
        ("cluster=nowhere", "nowhere"),
    ] {
        let detail = refused(&testbed, &format!("/fit?{query}")).await;
        assert!(detail.contains(word), "{query}: {detail}");
    }
}
