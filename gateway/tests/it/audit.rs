//! The audit through the API.

use http::Method;
use hyper_util::rt::TokioIo;
use kantaloupe_gateway::{
    app::Gateway,
    config::{AuditConfig, AuditFailure, Config},
};
use serde_json::{Value, json};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{
    agent::connected,
    client::{Client, PATIENCE, Testbed, empty, text},
};

const API: &str = "/clusters/prod/kubernetes";
const EXEC: &str = "/clusters/prod/kubernetes/api/v1/namespaces/default/pods/p/exec?command=sh";

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

/// A gateway with other settings than usual.
pub(crate) async fn testbed(change: impl FnOnce(&mut Config)) -> Testbed {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config::local(dir.path());
    change(&mut config);
    let gateway = Gateway::start(config).await.unwrap();
    let client = Client::admin(&gateway, dir.path());
    Testbed { gateway, client, dir }
}

/// The entries of the only request for a query, once its end is there: begin and end.
pub(crate) async fn pair(client: &Client, query: &str) -> (Value, Value) {
    let both = async {
        loop {
            let found = entries(client, query).await;
            if let [end, begin] = &found[..]
                && end["phase"] == "end"
            {
                return (begin.clone(), end.clone());
            }
            assert!(found.len() < 2, "{found:?}");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, both).await.expect("begin and end")
}

#[tokio::test]
async fn a_request_has_an_entry_before_it_leaves_and_one_when_it_has_ended() {
    let testbed = Testbed::start().await;
    let (agent, _tunnel) = connected(&testbed, "prod").await;
    let client = &testbed.client;
    // Open yet: only its begin is there.
    let watch = client.request(
        Method::GET,
        &format!("{API}/api/v1/pods?watch=1&token=x"),
        empty(),
    );
    let watch = client.http2().await.send_request(watch).await.unwrap();
    let open = entries(client, "verb=watch").await;
    assert_eq!(open.len(), 1, "{open:?}");
    let begin = &open[0];
    assert_eq!(
        (
            &begin["phase"],
            &begin["user"],
            &begin["resource"],
            &begin["role"],
            &begin["decision"]
        ),
        (
            &json!("begin"),
            &json!("admin"),
            &json!("pods"),
            &json!("admin"),
            &json!("allow")
        )
    );
    assert_eq!(
        (&begin["cluster"], &begin["source"], &begin["organization"]),
        (
            &json!(agent.identity.cluster_id),
            &json!("127.0.0.1"),
            &json!("default")
        )
    );
    drop(watch);
    let (begin, end) = pair(client, "verb=watch").await;
    assert_eq!((&begin["id"], &end["status"]), (&end["id"], &json!(200)));
    assert_eq!(end["reason"], "the caller left before the end of the answer");
    assert_eq!(end["sent"], 6, "one event");

    let path = format!("{API}/api/v1/namespaces/default/configmaps");
    let sent = client.request(Method::POST, &path, text(&"y".repeat(100_000)));
    assert_eq!(client.exchange(sent).await.0, 200);
    let (_, end) = pair(client, "verb=create&cluster=prod&user=admin").await;
    assert_eq!(
        (&end["received"], &end["sent"], &end["namespace"], &end["reason"]),
        (&json!(100_000), &json!(100_000), &json!("default"), &Value::Null)
    );
    assert!(end["ms"].is_u64());
    // What is no resource has its path, without the query.
    client
        .call(Method::GET, &format!("{API}/version?a=b"), Value::Null)
        .await;
    let (begin, _) = pair(client, "verb=get&cluster=prod").await;
    assert_eq!(
        (&begin["path"], &begin["resource"]),
        (&json!("/version"), &Value::Null)
    );
}

#[tokio::test]
async fn an_exec_is_measured_and_its_content_is_nowhere() {
    let testbed = Testbed::start().await;
    let (_agent, _tunnel) = connected(&testbed, "prod").await;
    let client = &testbed.client;
    let mut request = client.request(Method::POST, EXEC, empty());
    for (name, value) in [("connection", "Upgrade"), ("upgrade", "SPDY/3.1")] {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    let response = client.http1().await.send_request(request).await.unwrap();
    assert_eq!(response.status(), 101);
    let mut stream = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    stream.write_all(b"secret-typed-by-ann").await.unwrap();
    stream.read_exact(&mut [0; 19]).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(120)).await;
    stream.shutdown().await.unwrap();
    stream.read_to_end(&mut Vec::new()).await.unwrap();
    let (begin, end) = pair(client, "verb=connect").await;
    assert_eq!(
        (&begin["subresource"], &begin["name"], &end["status"]),
        (&json!("exec"), &json!("p"), &json!(101))
    );
    assert_eq!((&end["received"], &end["sent"]), (&json!(19), &json!(19)));
    assert!(end["ms"].as_u64().unwrap() >= 120, "{end}");
    let request = client.request(Method::GET, "/api/v1/audit/export", empty());
    let (_, _, body) = client.exchange(request).await;
    let text = String::from_utf8(body.to_vec()).unwrap();
    assert!(
        !text.contains("secret-typed") && !text.contains("command="),
        "{text}"
    );
}

#[tokio::test]
async fn refusals_have_one_entry_that_says_why() {
    let testbed = Testbed::start().await;
    let (_agent, _tunnel) = connected(&testbed, "prod").await;
    let client = &testbed.client;
    client
        .call(Method::GET, &format!("{API}/api//v1"), Value::Null)
        .await;
    client
        .call(Method::GET, "/clusters/none/kubernetes/version", Value::Null)
        .await;
    let stranger = client.with_token("kta_x");
    stranger
        .call(Method::GET, &format!("{API}/version"), Value::Null)
        .await;
    let mut impersonating = client.request(Method::GET, &format!("{API}/version"), empty());
    impersonating
        .headers_mut()
        .insert("impersonate-user", "root".parse().unwrap());
    client.exchange(impersonating).await;
    let found = entries(client, "decision=deny").await;
    let told: Vec<_> = found
        .iter()
        .map(|entry| {
            (
                entry["status"].as_u64().unwrap(),
                entry["user"].as_str().unwrap_or("nobody"),
            )
        })
        .collect();
    assert_eq!(
        told,
        [(403, "admin"), (401, "nobody"), (404, "admin"), (400, "admin")]
    );
    assert!(found.iter().all(|entry| entry["phase"] == "end"));
    assert!(
        found[0]["reason"].as_str().unwrap().contains("impersonation"),
        "{found:?}"
    );
    // A cluster without an agent: let through, and answered by the gateway.
    testbed.cluster("new").await;
    client
        .call(Method::GET, "/clusters/new/kubernetes/version", Value::Null)
        .await;
    let (_, end) = pair(client, "cluster=new").await;
    assert_eq!((&end["decision"], &end["status"]), (&json!("allow"), &json!(503)));
    assert!(end["reason"].as_str().unwrap().contains("KTA-SRV-001"), "{end}");
}

#[tokio::test]
async fn a_request_that_cannot_be_written_does_not_leave() {
    for (failure, expected) in [(AuditFailure::Refuse, 503), (AuditFailure::Allow, 200)] {
        let testbed = testbed_with_backlog(failure).await;
        // Enrolling is an event too, but of somebody who has no token yet: it is not refused.
        let (_agent, _tunnel) = connected(&testbed, "prod").await;
        fill(&testbed).await;
        let (status, answer) = testbed
            .client
            .call(Method::GET, &format!("{API}/version"), Value::Null)
            .await;
        assert_eq!(status, expected, "{answer}");
        if expected == 503 {
            assert_eq!(
                (&answer["kind"], &answer["code"]),
                (&json!("Status"), &json!(503))
            );
            assert!(
                answer["message"].as_str().unwrap().contains("KTA-AUDIT-001"),
                "{answer}"
            );
        }
    }
}

/// A gateway whose journal takes a few entries more than it needs to start.
async fn testbed_with_backlog(failure: AuditFailure) -> Testbed {
    testbed(|config| {
        config.audit.failure = failure;
        config.audit.max_backlog = (64 << 10) + 20_000;
    })
    .await
}

/// Makes so many entries that the journal is full before the database has taken them: it is asked more than it may hold
/// in far less than the second after which it is looked at.
async fn fill(testbed: &Testbed) {
    let mut sender = testbed.client.http2().await;
    for _ in 0..100 {
        let request = testbed
            .client
            .request(Method::GET, "/clusters/none/kubernetes/version", empty());
        sender.send_request(request).await.unwrap();
    }
}

#[tokio::test]
async fn limits_answer_429_as_kubernetes_does() {
    let testbed = testbed(|config| {
        config.limits.user.requests = 2;
        config.limits.user.streams = 3;
    })
    .await;
    let (_agent, _tunnel) = connected(&testbed, "prod").await;
    let client = &testbed.client;
    let mut sender = client.http2().await;
    let mut open = Vec::new();
    for _ in 0..3 {
        let request = client.request(Method::GET, &format!("{API}/api/v1/pods?watch=1"), empty());
        open.push(sender.send_request(request).await.unwrap());
    }
    let ask = async || {
        client
            .exchange(client.request(Method::GET, &format!("{API}/version"), empty()))
            .await
    };
    let (status, headers, body) = ask().await;
    let answer: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(
        (status.as_u16(), &answer["reason"]),
        (429, &json!("TooManyRequests")),
        "{answer}"
    );
    assert_eq!(headers["retry-after"], "1");
    assert_eq!(answer["details"]["retryAfterSeconds"], 1);
    assert!(
        answer["message"].as_str().unwrap().contains("open at once"),
        "{answer}"
    );
    drop(open);
    let mut limited = None;
    for _ in 0..20 {
        let (status, _, body) = ask().await;
        if status == 429 && String::from_utf8_lossy(&body).contains("2 requests a second") {
            limited = Some(status);
            break;
        }
    }
    assert!(limited.is_some());
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    assert_eq!(ask().await.0, 200, "after the time that Retry-After says");
    // Others are not held up.
    let (status, made) = client
        .call(
            Method::POST,
            "/api/v1/users",
            json!({ "name": "bob", "kind": "person" }),
        )
        .await;
    assert_eq!(status, 201, "{made}");
}

#[tokio::test]
async fn bytes_beyond_their_limit_make_a_stream_slower_and_do_not_end_it() {
    let testbed = testbed(|config| config.limits.cluster.mib_per_minute = 60).await;
    let (_agent, _tunnel) = connected(&testbed, "prod").await;
    let client = &testbed.client;
    // 64 MiB: a minute's worth at once, and 4 MiB at 1 MiB a second.
    let path = format!("{API}/api/v1/namespaces/default/pods/big/log");
    let start = tokio::time::Instant::now();
    let (status, _, body) = client.exchange(client.request(Method::GET, &path, empty())).await;
    assert_eq!((status.as_u16(), body.len()), (200, 64 << 20));
    let took = start.elapsed().as_secs_f64();
    assert!((3.0..15.0).contains(&took), "{took} s");
}

#[tokio::test]
async fn no_token_is_anywhere_in_the_audit_whatever_it_is_put_into() {
    let testbed = Testbed::start().await;
    let (_agent, _tunnel) = connected(&testbed, "prod").await;
    let client = &testbed.client;
    let token = client.token.clone();
    let secret = token.split('_').nth(2).unwrap().to_owned();
    for path in [
        format!("{API}/api/v1/namespaces/{token}/pods/{token}"),
        format!("{API}/{token}"),
        format!("/clusters/{token}/kubernetes/version"),
        format!("{API}/version?access_token={token}"),
    ] {
        client.exchange(client.request(Method::GET, &path, empty())).await;
    }
    client
        .call(Method::DELETE, &format!("/api/v1/users/{token}"), Value::Null)
        .await;
    let (_, made) = client
        .call(Method::POST, "/api/v1/tokens", json!({ "name": "ci" }))
        .await;
    let made = made["token"]
        .as_str()
        .unwrap()
        .split('_')
        .nth(2)
        .unwrap()
        .to_owned();
    let request = client.request(Method::GET, "/api/v1/audit/export", empty());
    let (_, _, body) = client.exchange(request).await;
    let audit = String::from_utf8(body.to_vec()).unwrap();
    assert!(audit.contains("[token removed]"), "the tries are there: {audit}");
    let metrics = testbed.admin("/metrics").await;
    for (place, content) in [("audit", &audit), ("metrics", &metrics)] {
        for secret in [&secret, &made] {
            assert!(!content.contains(secret.as_str()), "a token is in the {place}");
        }
    }
    // And in no file but the one that is for it.
    let mut files = vec![testbed.dir.path().to_owned()];
    let mut looked = 0;
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(std::fs::read_dir(&path).unwrap().map(|file| file.unwrap().path()));
        } else if path.file_name().unwrap() != "admin-token" {
            let content = std::fs::read(&path).unwrap();
            for secret in [&secret, &made] {
                let found = content
                    .windows(secret.len())
                    .any(|window| window == secret.as_bytes());
                assert!(!found, "{}", path.display());
            }
            looked += 1;
        }
    }
    assert!(looked >= 4, "{looked} files");
}
