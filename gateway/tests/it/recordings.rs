//! Recordings of terminal sessions through the API.

use http::{Method, Request};
use hyper_util::rt::TokioIo;
use kantaloupe_gateway::config::{AuditFailure, RecordMode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{
    agent::{SHOWN, connected},
    audit::{entries, pair, testbed},
    client::{Body, Client, PATIENCE, Testbed, empty, whole},
    people::{bind, organization, other_organization, service},
};

const POD: &str = "/clusters/prod/kubernetes/api/v1/namespaces/default/pods";
const TERMINAL: &str = "terminal/exec?command=sh&tty=true";
/// `secret`, typed, under a mask.
const TYPED: &[u8] = b"\x82\x87\x01\x01\x01\x01\x01\x72\x64\x62\x73\x64\x75";

async fn recording() -> Testbed {
    testbed(|config| config.recording.mode = RecordMode::Terminals).await
}

fn exec(client: &Client, path: &str, protocols: &str) -> Request<Body> {
    let mut request = client.request(Method::GET, &format!("{POD}/{path}"), empty());
    for (name, value) in [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-protocol", protocols),
    ] {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    request
}

/// A session in which something is shown and typed; the id that the answer names.
async fn session(client: &Client, path: &str) -> Option<String> {
    let request = exec(client, path, "base64.channel.k8s.io, v5.channel.k8s.io");
    let mut sender = client.http1().await;
    let mut response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), 101);
    let id = response.headers().get("kantaloupe-recording");
    let id = id.map(|id| id.to_str().unwrap().to_owned());
    if id.is_some() {
        assert_eq!(response.headers()["sec-websocket-protocol"], "v5.channel.k8s.io");
    }
    let mut io = TokioIo::new(hyper::upgrade::on(&mut response).await.unwrap());
    let mut shown = vec![0; SHOWN.len()];
    io.read_exact(&mut shown).await.unwrap();
    assert_eq!(shown, SHOWN);
    io.write_all(TYPED).await.unwrap();
    io.shutdown().await.unwrap();
    io.read_to_end(&mut shown).await.unwrap();
    id
}

async fn list(client: &Client, query: &str) -> Vec<Value> {
    let path = format!("/api/v1/recordings?{query}");
    let (status, page) = client.call(Method::GET, &path, Value::Null).await;
    assert_eq!(status, 200, "{page}");
    page["items"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_terminal_is_recorded_named_in_the_audit_and_read_by_auditors_of_its_organisation() {
    let testbed = recording().await;
    let (agent, _tunnel) = connected(&testbed, "prod").await;
    let admin = &testbed.client;
    let id = session(admin, TERMINAL)
        .await
        .expect("the answer says that it is recorded");
    let (begin, end) = pair(admin, &format!("id={id}")).await;
    let file = begin["recording"]["file"].as_str().unwrap();
    assert!(
        file.starts_with("default/20") && file.ends_with(&format!("/{id}.cast")),
        "{file}"
    );
    assert_eq!(begin["recording"], json!({ "file": file }));
    let content = std::fs::read(testbed.dir.path().join("recordings").join(file)).unwrap();
    assert_eq!(end["recording"]["bytes"], content.len());
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &content);
    let sha256 = hex::encode(digest.as_ref());
    assert_eq!(end["recording"]["sha256"], sha256.as_str());
    let text = std::str::from_utf8(&content).unwrap();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        (&lines[0]["version"], &lines[0]["title"]),
        (&json!(2), &json!("admin: exec default/terminal in prod"))
    );
    assert_eq!(
        (lines.len(), &lines[1][1], &lines[1][2]),
        (2, &json!("o"), &json!("$ hello"))
    );

    let found = list(admin, "cluster=prod&user=admin&from=2026-01-01T00:00:00Z").await;
    assert_eq!(found.len(), 1);
    let item = &found[0];
    assert_eq!(
        (&item["id"], &item["sha256"], &item["bytes"], &item["available"]),
        (&json!(id), &json!(sha256), &json!(content.len()), &json!(true))
    );
    assert_eq!(
        (
            &item["cluster"],
            &item["namespace"],
            &item["pod"],
            &item["subresource"],
            &item["user"]
        ),
        (
            &json!(agent.identity.cluster_id),
            &json!("default"),
            &json!("terminal"),
            &json!("exec"),
            &json!("admin")
        )
    );
    for none in ["user=ann", "to=2026-01-01T00:00:00Z", "id=x", "cluster=none"] {
        assert!(list(admin, none).await.is_empty(), "{none}");
    }
    let path = format!("/api/v1/recordings/{id}");
    let (status, headers, body) = admin.exchange(admin.request(Method::GET, &path, empty())).await;
    assert_eq!((status.as_u16(), &body[..]), (200, &content[..]));
    assert_eq!(headers["content-type"], "application/x-asciicast");
    assert!(headers["repr-digest"].to_str().unwrap().starts_with("sha-256=:"));
    let read = entries(admin, "verb=get&phase=event").await;
    assert_eq!(
        (&read[0]["resource"], &read[0]["name"]),
        (&json!("recordings"), &json!(id))
    );

    // Others: a viewer, an operator, an auditor; another organisation, whose administrator finds nothing.
    for (name, role, expected) in [
        ("v", "viewer", 403),
        ("o", "operator", 403),
        ("a", "auditor", 200),
    ] {
        let other = service(admin, name).await;
        bind(admin, name, role, organization(), Value::Null).await;
        let (status, ..) = other.exchange(other.request(Method::GET, &path, empty())).await;
        assert_eq!(status, expected, "{role}");
        let (status, _) = other.call(Method::GET, "/api/v1/recordings", Value::Null).await;
        assert_eq!(status, expected, "{role}");
    }
    let other = other_organization(&testbed, "acme").await;
    assert_eq!(other.call(Method::GET, &path, Value::Null).await.0, 404);
    assert!(list(&other, "").await.is_empty());
    for wrong in ["usr=ann", "before=x", "from=yesterday"] {
        let path = format!("/api/v1/recordings?{wrong}");
        assert_eq!(
            admin.call(Method::GET, &path, Value::Null).await.0,
            400,
            "{wrong}"
        );
    }

    // A page at a time.
    for _ in 0..2 {
        session(admin, TERMINAL).await;
    }
    let all = async {
        while list(admin, "").await.len() < 3 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, all).await.unwrap();
    let (mut pages, mut before) = (Vec::new(), String::new());
    loop {
        let path = format!("/api/v1/recordings?limit=1{before}");
        let (_, page) = admin.call(Method::GET, &path, Value::Null).await;
        pages.push(page["items"][0]["id"].clone());
        match page["before"].as_u64() {
            Some(seq) => before = format!("&before={seq}"),
            None => break,
        }
    }
    assert_eq!((pages.len(), &pages[2]), (3, &json!(id)));
    // A file that is gone is told apart from a recording that never was.
    std::fs::remove_file(testbed.dir.path().join("recordings").join(file)).unwrap();
    let (status, gone) = admin.call(Method::GET, &path, Value::Null).await;
    assert_eq!(status, 404);
    assert!(gone["detail"].as_str().unwrap().contains("any more"), "{gone}");
    let items = list(admin, &format!("id={id}")).await;
    assert_eq!(items[0]["available"], false);
}

#[tokio::test]
async fn what_is_no_terminal_or_does_not_come_about_leaves_no_recording() {
    let testbed = recording().await;
    let (_agent, _tunnel) = connected(&testbed, "prod").await;
    let admin = &testbed.client;
    assert_eq!(session(admin, "terminal/exec?command=sh&tty=false").await, None);
    assert_eq!(session(admin, "terminal/exec?command=tty=true").await, None);
    // The cluster refuses; the client offers nothing that can be read along.
    let refused = async |path: &str, protocols: &str| {
        let request = exec(admin, path, protocols);
        let response = admin.http1().await.send_request(request).await.unwrap();
        let (status, _, body) = whole(response).await;
        (status.as_u16(), String::from_utf8(body.to_vec()).unwrap())
    };
    let (status, _) = refused("denied/exec?tty=true", "v5.channel.k8s.io").await;
    assert_eq!(status, 403);
    let (status, message) = refused(TERMINAL, "base64.channel.k8s.io").await;
    assert_eq!(status, 400);
    assert!(
        message.contains("KTA-AUDIT-005") && message.contains("\"Status\""),
        "{message}"
    );
    let mut kubelet = exec(admin, TERMINAL, "v5.channel.k8s.io");
    *kubelet.uri_mut() = "/clusters/prod/kubernetes/api/v1/nodes/n/proxy/exec/default/p/c"
        .parse()
        .unwrap();
    let response = admin.http1().await.send_request(kubelet).await.unwrap();
    let (status, _, body) = whole(response).await;
    let message = String::from_utf8_lossy(&body);
    assert_eq!(status, 403);
    assert!(message.contains("KTA-AUDIT-005"), "{message}");
    assert!(list(admin, "").await.is_empty());
    let folder = testbed.dir.path().join("recordings");
    let left = walk(&folder);
    assert!(left.is_empty(), "{left:?}");
}

/// Files under a folder.
fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .flat_map(|entry| {
            if entry.file_type().unwrap().is_dir() {
                walk(&entry.path())
            } else {
                vec![entry.path()]
            }
        })
        .collect()
}

#[tokio::test]
async fn off_by_default() {
    let testbed = Testbed::start().await;
    let (_agent, _tunnel) = connected(&testbed, "prod").await;
    assert_eq!(session(&testbed.client, TERMINAL).await, None);
    let (begin, end) = pair(&testbed.client, "verb=connect").await;
    assert_eq!(
        (&begin["recording"], &end["recording"]),
        (&Value::Null, &Value::Null)
    );
    assert!(!testbed.dir.path().join("recordings").exists());
}

#[tokio::test]
async fn without_a_disk_there_is_no_session_unless_that_is_wanted() {
    for failure in [AuditFailure::Refuse, AuditFailure::Allow] {
        let testbed = testbed(|config| {
            config.recording.mode = RecordMode::Terminals;
            config.audit.failure = failure;
        })
        .await;
        let (_agent, _tunnel) = connected(&testbed, "prod").await;
        let admin = &testbed.client;
        std::fs::write(testbed.dir.path().join("recordings"), "in the way").unwrap();
        if failure == AuditFailure::Allow {
            assert_eq!(session(admin, TERMINAL).await, None);
        } else {
            let request = exec(admin, TERMINAL, "v5.channel.k8s.io");
            let response = admin.http1().await.send_request(request).await.unwrap();
            let (status, _, body) = whole(response).await;
            let message = String::from_utf8_lossy(&body);
            assert_eq!(status, 503);
            assert!(message.contains("KTA-AUDIT-004"), "{message}");
        }
        let (_, end) = pair(admin, "verb=connect").await;
        assert_eq!(end["recording"], Value::Null);
        assert!(
            end["reason"]
                .as_str()
                .unwrap()
                .contains("recording of the session cannot be written"),
            "{end}"
        );
    }
}
