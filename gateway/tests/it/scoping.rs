//! What of the inventory is shown to whom.

use http::Method;
use http_body_util::BodyExt as _;
use kantaloupe_gpu::inventory::Record;
use kantaloupe_proto::pb::InventoryKind;
use serde_json::{Value, json};

use super::{
    client::{Client, Testbed, empty},
    events::Events,
    feed::{key, small, update},
    inventory::{live, started},
    people::{bind, made, of_cluster, organization, other_organization, service},
};

/// A record of the small cluster in another namespace than all of its others.
fn in_namespace(record: &Record, namespace: &str) -> Record {
    let mut record = record.clone();
    match &mut record {
        Record::Allocation(allocation) => {
            namespace.clone_into(&mut allocation.namespace);
            allocation.id = format!("{namespace}-{}", allocation.id);
            allocation.pod = format!("{namespace}-{}", allocation.pod);
        }
        Record::Workload(workload) => namespace.clone_into(&mut workload.namespace),
        Record::Finding(finding) => finding.object.namespace = Some(namespace.to_owned()),
        Record::ContainerUsage(usage) => namespace.clone_into(&mut usage.namespace),
        _ => {}
    }
    record
}

async fn get(client: &Client, path: &str) -> Value {
    let (status, answer) = client
        .call(Method::GET, &format!("/api/v1{path}"), Value::Null)
        .await;
    assert_eq!(status, 200, "{path}: {answer}");
    answer
}

fn namespaces(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().unwrap();
    let namespace = |item: &Value| item["namespace"].is_null();
    items
        .iter()
        .filter(|item| !namespace(item))
        .map(|item| item["namespace"].as_str().unwrap())
        .collect()
}

/// The small cluster, with all that has a namespace once more in `other`, and a finding in each.
fn records() -> Vec<Record> {
    let mut records = small();
    let mut found: Vec<_> = records.iter().map(|record| in_namespace(record, "ml")).collect();
    found.retain(|record| matches!(record, Record::Finding(_)));
    records.extend(found);
    let twice: Vec<_> = records
        .iter()
        .filter(|record| {
            matches!(
                record,
                Record::Allocation(_) | Record::Workload(_) | Record::Finding(_) | Record::ContainerUsage(_)
            )
        })
        .map(|record| in_namespace(record, "other"))
        .collect();
    records.extend(twice);
    records
}

#[tokio::test]
async fn a_binding_for_namespaces_narrows_lists_counts_and_downloads() {
    let testbed = Testbed::start().await;
    let (_a, _c, _f, _watch) = started(&testbed, "prod", &records()).await;
    let admin = &testbed.client;
    let ci = service(admin, "ci").await;
    bind(admin, "ci", "viewer", of_cluster("prod"), json!(["ml", "empty"])).await;
    for prefix in ["", "/clusters/prod"] {
        for (kind, all, mine) in [("allocations", 2, 1), ("workloads", 2, 1), ("findings", 3, 1)] {
            let path = format!("{prefix}/{kind}");
            let everything = get(admin, &path).await;
            assert_eq!(everything["total"], all, "{path}");
            let some = get(&ci, &path).await;
            assert_eq!(some["total"], mine, "{path}: {some}");
            assert_eq!(some["items"].as_array().unwrap().len(), mine, "{path}");
            assert!(!some.to_string().contains("other"), "{some}");
            let csv = ci.request(Method::GET, &format!("/api/v1{path}?format=csv"), empty());
            let (status, _, body) = ci.exchange(csv).await;
            assert_eq!(status, 200);
            let text = String::from_utf8(body.to_vec()).unwrap();
            assert_eq!(text.lines().count(), 1 + mine, "{text}");
            assert!(!text.contains("other"), "{text}");
        }
        for (kind, all) in [("nodes", 2), ("gpus", 3)] {
            assert_eq!(get(&ci, &format!("{prefix}/{kind}")).await["total"], all);
        }
    }
    // A filter does not widen it.
    assert_eq!(get(&ci, "/allocations?namespace=other").await["total"], 0);
    assert_eq!(get(&ci, "/allocations?text=other").await["total"], 0);
    assert_eq!(namespaces(&get(&ci, "/allocations?sort=-memory").await), ["ml"]);
    assert_eq!(
        get(&ci, "/allocations").await["items"][0]["usage"]["utilization"],
        60.0
    );
}

#[tokio::test]
async fn a_binding_for_a_cluster_shows_that_cluster_alone() {
    let testbed = Testbed::start().await;
    let (_a, _c, _f, _w) = started(&testbed, "prod", &small()).await;
    let (_a2, _c2, _f2, _w2) = started(&testbed, "secret", &small()).await;
    testbed.cluster("silent").await;
    let admin = &testbed.client;
    let ci = service(admin, "ci").await;
    bind(admin, "ci", "viewer", of_cluster("prod"), Value::Null).await;
    for path in [
        "/clusters",
        "/nodes",
        "/gpus",
        "/allocations",
        "/workloads",
        "/findings",
        "/fit",
    ] {
        let all = get(admin, path).await;
        let some = get(&ci, path).await;
        assert!(all.to_string().contains("secret"), "{path}: {all}");
        assert!(!some.to_string().contains("secret"), "{path}: {some}");
        assert!(!some.to_string().contains("silent"), "{path}: {some}");
        let items = some["items"].as_array().unwrap();
        assert!(!items.is_empty(), "{path}");
    }
    assert_eq!(get(admin, "/gpus").await["notLiveTotal"], 1);
    assert_eq!(get(&ci, "/gpus").await["notLiveTotal"], 0);
    for path in [
        "/gpus?cluster=secret",
        "/gpus?cluster=prod,secret",
        "/fit?cluster=secret",
    ] {
        let (status, answer) = ci.call(Method::GET, &format!("/api/v1{path}"), Value::Null).await;
        assert_eq!(status, 404, "{path}: {answer}");
        let nowhere = path.replace("secret", "nowhere");
        let (_, same) = ci
            .call(Method::GET, &format!("/api/v1{nowhere}"), Value::Null)
            .await;
        let renamed = answer.to_string().replace("secret", "nowhere");
        assert_eq!(renamed, same.to_string(), "hidden and missing look alike");
    }
}

#[tokio::test]
async fn two_organisations_with_one_name_see_each_their_own() {
    let testbed = Testbed::start().await;
    let (_a, _c, _f, _w) = started(&testbed, "prod", &small()).await;
    let acme = other_organization(&testbed, "acme").await;
    assert_eq!(get(&acme, "/gpus").await["total"], 0);
    made(&acme, "/api/v1/clusters", json!({ "name": "prod" })).await;
    for path in ["/gpus", "/clusters/prod/gpus", "/nodes?cluster=prod", "/fit"] {
        assert_eq!(get(&acme, path).await["items"], json!([]), "{path}");
        assert_ne!(get(&testbed.client, path).await["items"], json!([]), "{path}");
    }
    assert_eq!(get(&testbed.client, "/gpus").await["notLiveTotal"], 0);
}

#[tokio::test]
async fn events_tell_of_what_may_be_seen() {
    let testbed = Testbed::start().await;
    let (_a, _c, _f, watch) = started(&testbed, "prod", &records()).await;
    let (_a2, _c2, _f2, hidden) = started(&testbed, "secret", &small()).await;
    let admin = &testbed.client;
    let acme = other_organization(&testbed, "acme").await;
    let ci = service(admin, "ci").await;
    bind(admin, "ci", "viewer", of_cluster("prod"), json!(["ml"])).await;
    let mut fleet = Events::open(&ci, "/inventory/events").await;
    let mut one = Events::open(&ci, "/clusters/prod/inventory/events").await;
    let mut foreign = Events::open(&acme, "/inventory/events").await;
    let mut all = Events::open(admin, "/inventory/events").await;
    assert_eq!(foreign.next().await.unwrap().0, "ready");

    // Something that is hidden, and at last something that is not.
    hidden.send(update("e1", 2, &small()[1..2])).await;
    live(&testbed, "secret", 2).await;
    let mut change = update("e1", 2, &[]);
    let of = |kind: InventoryKind, id: &str| key(kind, id);
    change.removals = vec![
        of(InventoryKind::Allocation, "other-uid-train/main/0"),
        of(InventoryKind::ContainerUsage, "other/train/main/GPU-1"),
        of(InventoryKind::Allocation, "uid-train/main/0"),
    ];
    watch.send(change).await;
    for events in [&mut fleet, &mut one] {
        let gone = events.named("remove").await;
        assert_eq!(
            (&gone["cluster"]["name"], &gone["kind"], &gone["id"]),
            (&json!("prod"), &json!("allocation"), &json!("uid-train/main/0"))
        );
        assert!(!events.text().contains("other") && !events.text().contains("secret"));
    }
    let first = all.named("remove").await;
    assert_eq!(first["cluster"]["name"], "prod");

    // Back again, in both namespaces; the node, which is in none, too.
    let again: Vec<_> = records()
        .into_iter()
        .filter(|record| matches!(record, Record::Allocation(_)))
        .collect();
    watch.send(update("e1", 3, &again)).await;
    for events in [&mut fleet, &mut one] {
        let there = events.named("upsert").await;
        assert_eq!(there["record"]["namespace"], "ml");
    }
    // Nothing of any of it came to the other organisation: its next event is that of its own cluster.
    made(&acme, "/api/v1/clusters", json!({ "name": "mine" })).await;
    assert_eq!(
        acme.call(Method::DELETE, "/api/v1/clusters/mine", Value::Null)
            .await
            .0,
        200
    );
    assert_eq!(foreign.next().await.unwrap().0, "deleted");
}

#[tokio::test]
async fn a_download_ends_when_the_right_to_it_does() {
    let testbed = Testbed::start().await;
    let admin = &testbed.client;
    let ci = service(admin, "ci").await;
    bind(admin, "ci", "viewer", organization(), Value::Null).await;
    let many: Vec<_> = (0..3000)
        .map(|n| {
            let mut node = super::feed::node(&format!("node-{n:04}"));
            node.os_image = Some("x".repeat(2000));
            Record::Node(Box::new(node))
        })
        .collect();
    let (_a, _c, _f, watch) = started(&testbed, "prod", &small()).await;
    for (revision, part) in (2..).zip(many.chunks(300)) {
        watch.send(update("e1", revision, part)).await;
        live(&testbed, "prod", revision).await;
    }
    let request = ci.request(Method::GET, "/api/v1/nodes?format=csv", empty());
    let mut connection = ci.http1().await;
    let response = connection.send_request(request).await.unwrap();
    assert_eq!(response.status(), 200);
    let body = json!({ "disabled": true });
    assert_eq!(admin.call(Method::PATCH, "/api/v1/users/ci", body).await.0, 200);
    // What was on its way may still come; the end of the list does not.
    let mut body = response.into_body();
    let mut broken = false;
    while let Some(frame) = body.frame().await {
        if frame.is_err() {
            broken = true;
            break;
        }
    }
    assert!(broken, "the download came to its end");
}
