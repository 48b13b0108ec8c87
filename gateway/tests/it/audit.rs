//! The audit through the API.

use http::Method;
use kantaloupe_gateway::{
    app::Gateway,
    config::{AuditConfig, AuditFailure, Config},
};
use serde_json::{Value, json};

use super::client::{Client, Testbed, empty};

/// The newest entries for a query, newest first.
pub(crate) async fn entries(client: &Client, query: &str) -> Vec<Value> {
    let path = format!("/api/v1/audit?{query}");
    let (status, page) = client.call(Method::GET, &path, Value::Null).await;
    assert_eq!(status, 200, "{page}");
    page["items"].as_array().unwrap().clone()
}

#[tokio::test]
async fn changes_through_the_api_are_written_before_and_after() {
    let testbed = Testbed::start().await;
    testbed.cluster("prod").await;
    let found = entries(&testbed.client, "verb=create").await;
    let [end, begin] = &found[..] else {
        panic!("{found:?}")
    };
    assert_eq!(
        (&begin["phase"], &end["phase"], &end["status"]),
        (&json!("begin"), &json!("end"), &json!(201))
    );
    for entry in [begin, end] {
        assert_eq!(
            (
                &entry["user"],
                &entry["group"],
                &entry["resource"],
                &entry["source"]
            ),
            (
                &json!("admin"),
                &json!("gateway"),
                &json!("clusters"),
                &json!("127.0.0.1")
            )
        );
    }
    assert_eq!(begin["id"], end["id"]);
    // The oldest of all is the start, with nothing before it.
    let all = entries(&testbed.client, "limit=1000").await;
    let first = all.last().unwrap();
    assert_eq!(
        (&first["seq"], &first["verb"], &first["prev"]),
        (&json!(1), &json!("start"), &json!("0".repeat(64)))
    );
}

#[tokio::test]
async fn pages_filters_and_the_export_show_the_same_entries() {
    let testbed = Testbed::start().await;
    let client = &testbed.client;
    for n in 0..5 {
        testbed.cluster(&format!("c{n}")).await;
    }
    let (mut before, mut paged) = (String::new(), Vec::new());
    loop {
        let path = format!("/api/v1/audit?limit=3{before}");
        let (_, page) = client.call(Method::GET, &path, Value::Null).await;
        paged.extend(page["items"].as_array().unwrap().clone());
        match page["before"].as_u64() {
            Some(seq) => before = format!("&before={seq}"),
            None => break,
        }
    }
    paged.reverse();
    let request = client.request(
        Method::GET,
        "/api/v1/audit/export?to=2100-01-01T00:00:00Z",
        empty(),
    );
    let (status, headers, body) = client.exchange(request).await;
    assert_eq!(
        (status.as_u16(), &headers["content-type"]),
        (200, &"application/jsonl".parse().unwrap())
    );
    let lines = std::str::from_utf8(&body).unwrap().lines();
    let exported: Vec<Value> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(exported[..paged.len()], paged);
    assert_eq!(
        exported.last().unwrap()["verb"],
        "export",
        "the export itself is the last"
    );
    let none = entries(client, "from=2100-01-01T00:00:00Z").await;
    assert!(none.is_empty(), "{none:?}");
    for wrong in [
        "usr=ann",
        "from=yesterday",
        "decision=maybe",
        "before=x",
        "limit=x",
    ] {
        let (status, problem) = client
            .call(Method::GET, &format!("/api/v1/audit?{wrong}"), Value::Null)
            .await;
        assert_eq!(
            (status.as_u16(), &problem["code"]),
            (400, &json!("KTA-SRV-008")),
            "{wrong}"
        );
    }
}

#[tokio::test]
async fn nothing_is_changed_that_cannot_be_written_unless_that_is_wanted() {
    for (failure, expected) in [(AuditFailure::Refuse, 503), (AuditFailure::Allow, 201)] {
        let dir = tempfile::tempdir().unwrap();
        let audit = AuditConfig {
            failure,
            max_backlog: 0,
            ..AuditConfig::default()
        };
        let config = Config {
            audit,
            ..Config::local(dir.path())
        };
        let gateway = Gateway::start(config).await.unwrap();
        let client = Client::admin(&gateway, dir.path());
        let testbed = Testbed { gateway, client, dir };
        let (status, answer) = testbed
            .client
            .call(Method::POST, "/api/v1/clusters", json!({ "name": "prod" }))
            .await;
        assert_eq!(status, expected, "{answer}");
        if expected == 503 {
            assert_eq!(answer["code"], "KTA-AUDIT-001");
            let (_, list) = testbed
                .client
                .call(Method::GET, "/api/v1/clusters", Value::Null)
                .await;
            assert_eq!(list["items"], json!([]), "nothing was done");
        }
        let metrics = testbed.admin("/metrics").await;
        let lost = metrics
            .lines()
            .find(|line| line.starts_with("kantaloupe_gateway_audit_lost_total "));
        assert_ne!(lost.unwrap().rsplit(' ').next(), Some("0"));
    }
}
