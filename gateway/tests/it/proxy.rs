//! Users' requests through the gateway to a cluster.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use http::{Method, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::mpsc,
    time::{Instant, timeout},
};

use super::{
    agent::{MOMENT, connected},
    client::{Body, Client, PATIENCE, Testbed, empty, text, whole},
};

/// How long a revoked stream may go on.
pub(crate) const REVOKED_WITHIN: Duration = Duration::from_secs(2);
pub(crate) const WATCH: &str = "/clusters/prod/kubernetes/api/v1/pods?watch=1";
pub(crate) const EXEC: &str = "/clusters/prod/kubernetes/api/v1/namespaces/default/pods/p/exec?command=sh";

pub(crate) fn upgrade_request(client: &Client, path: &str) -> Request<Body> {
    let mut request = client.request(Method::POST, path, empty());
    request
        .headers_mut()
        .insert("connection", "Upgrade".parse().unwrap());
    request
        .headers_mut()
        .insert("upgrade", "SPDY/3.1".parse().unwrap());
    request
}

/// Reads the first frame of a watch, so that it is known to be open.
pub(crate) async fn opened(response: Response<Incoming>) -> Incoming {
    assert_eq!(response.status(), 200);
    let mut body = response.into_body();
    let frame = timeout(PATIENCE, body.frame()).await.unwrap().unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), "event\n");
    body
}

#[tokio::test]
async fn a_request_arrives_with_the_user_and_without_what_the_user_must_not_say() {
    let testbed = Testbed::start().await;
    let (agent, _tunnel) = connected(&testbed, "prod").await;
    for cluster in ["prod", &agent.identity.cluster_id] {
        let path = format!("/clusters/{cluster}/kubernetes/version?a=1&b=%20");
        let mut request = testbed.client.request(Method::GET, &path, empty());
        for (name, value) in [
            ("cookie", "a=b"),
            ("x-remote-user", "root"),
            ("x-forwarded-for", "1.2.3.4"),
            ("kantaloupe-user", "root"),
            ("connection", "x-secret"),
            ("x-secret", "1"),
            ("accept", "application/json"),
        ] {
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        let (status, headers, body) = testbed.client.exchange(request).await;
        assert_eq!(
            (status.as_u16(), &headers["content-type"]),
            (200, &"application/json".parse().unwrap())
        );
        let seen: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            (&seen["method"], &seen["query"]),
            (&json!("GET"), &json!("a=1&b=%20"))
        );
        let mut names: Vec<_> = seen["headers"]
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                "accept",
                "kantaloupe-organization",
                "kantaloupe-request-id",
                "kantaloupe-role",
                "kantaloupe-user"
            ]
        );
        assert_eq!(
            (
                &seen["headers"]["kantaloupe-user"],
                &seen["headers"]["kantaloupe-role"]
            ),
            (&json!("admin"), &json!("admin"))
        );
    }
}

#[tokio::test]
async fn what_may_not_pass_is_refused_as_kubernetes_would() {
    let testbed = Testbed::start().await;
    let (_agent, _tunnel) = connected(&testbed, "prod").await;
    let ask = async |method: Method, path: &str, header: Option<(&'static str, &'static str)>| {
        let mut request = testbed.client.request(method, path, empty());
        if let Some((name, value)) = header {
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        let (status, headers, body) = testbed.client.exchange(request).await;
        assert!(!headers.contains_key("retry-after"));
        let status_object: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            (&status_object["kind"], &status_object["code"]),
            (&json!("Status"), &json!(status.as_u16()))
        );
        (
            status.as_u16(),
            status_object["message"].as_str().unwrap().to_owned(),
        )
    };
    let base = "/clusters/prod/kubernetes";
    for path in [
        "/api//v1",
        "/api/v1/../x",
        "/api/v1/%2e%2e/x",
        "/api/v1/namespaces/a%2fb",
        "/api;v1",
    ] {
        let (status, message) = ask(Method::GET, &format!("{base}{path}"), None).await;
        assert_eq!(status, 400, "{path}");
        assert!(message.contains("KTA-SRV-005"), "{message}");
    }
    let mut smuggle = testbed
        .client
        .request(Method::GET, &format!("{base}/version"), empty());
    smuggle.headers_mut().insert("upgrade", "h2c".parse().unwrap());
    smuggle
        .headers_mut()
        .insert("connection", "upgrade".parse().unwrap());
    assert_eq!(
        testbed.client.exchange(smuggle).await.0,
        400,
        "no other protocol behind our back"
    );
    assert_eq!(ask(Method::TRACE, &format!("{base}/version"), None).await.0, 400);
    let (status, message) = ask(
        Method::GET,
        &format!("{base}/version"),
        Some(("Impersonate-User", "root")),
    )
    .await;
    assert_eq!(status, 403);
    assert!(
        message.contains("impersonation") && message.contains("KTA-SRV-002"),
        "{message}"
    );
    assert_eq!(
        ask(
            Method::GET,
            &format!("{base}/version"),
            Some(("authorization", "Bearer kta_x"))
        )
        .await
        .0,
        401
    );
    assert_eq!(
        ask(Method::GET, "/clusters/none/kubernetes/version", None)
            .await
            .0,
        404
    );
    assert_eq!(
        ask(Method::GET, "/clusters/prod/prometheus/api", None).await.0,
        404
    );
}

#[tokio::test]
async fn an_answer_of_the_cluster_comes_back_as_it_is() {
    let testbed = Testbed::start().await;
    let (_agent, _tunnel) = connected(&testbed, "prod").await;
    let missing = testbed
        .client
        .request(Method::GET, "/clusters/prod/kubernetes/api/v1/none", empty());
    let (status, _, body) = testbed.client.exchange(missing).await;
    assert_eq!((status.as_u16(), &body[..]), (404, &b"no such thing"[..]));

    let mut sender = testbed.client.http2().await;
    let request = testbed
        .client
        .request(Method::GET, "/clusters/prod/kubernetes/api/v1/nodes", empty());
    let collected = sender
        .send_request(request)
        .await
        .unwrap()
        .into_body()
        .collect()
        .await
        .unwrap();
    assert_eq!(collected.trailers().unwrap()["x-sum"], "7");
    assert_eq!(collected.to_bytes(), "nodes");

    let path = "/clusters/prod/kubernetes/api/v1/namespaces/default/pods/big/log";
    for http2 in [false, true] {
        let request = testbed.client.request(Method::GET, path, empty());
        let response = if http2 {
            testbed.client.http2().await.send_request(request).await.unwrap()
        } else {
            testbed.client.http1().await.send_request(request).await.unwrap()
        };
        let (_, _, body) = timeout(PATIENCE, whole(response)).await.unwrap();
        assert_eq!(body.len(), 64 << 20);
    }
}

#[tokio::test]
async fn bodies_stream_both_ways_at_once() {
    let testbed = Testbed::start().await;
    let (_agent, _tunnel) = connected(&testbed, "prod").await;
    let (tx, rx) = mpsc::channel::<Bytes>(1);
    let frames = futures::stream::unfold(
        rx,
        |mut rx| async move { rx.recv().await.map(|chunk| (chunk, rx)) },
    );
    let body = StreamBody::new(frames.map(|chunk| Ok(Frame::data(chunk)))).boxed_unsync();
    let path = "/clusters/prod/kubernetes/api/v1/namespaces/default/configmaps";
    let request = testbed.client.request(Method::POST, path, body);
    let mut sender = testbed.client.http2().await;
    let response = sender.send_request(request);
    tx.send(Bytes::from_static(b"ping 0")).await.unwrap();
    let mut body = timeout(PATIENCE, response).await.unwrap().unwrap().into_body();
    for n in 0..10 {
        let frame = timeout(PATIENCE, body.frame()).await.unwrap().unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), format!("ping {n}"));
        tx.send(format!("ping {}", n + 1).into()).await.unwrap();
    }
    drop(tx);
    let rest = timeout(PATIENCE, body.collect()).await.unwrap().unwrap();
    assert_eq!(rest.to_bytes(), "ping 10");
    // And with a length, over HTTP/1.1.
    let request = testbed
        .client
        .request(Method::POST, path, text(&"y".repeat(3 << 20)));
    let (status, _, body) = testbed.client.exchange(request).await;
    assert_eq!((status.as_u16(), body.len()), (200, 3 << 20));
}

#[tokio::test]
async fn an_upgrade_passes_opaquely_and_a_refused_one_as_an_answer() {
    let testbed = Testbed::start().await;
    let (_agent, _tunnel) = connected(&testbed, "prod").await;
    let response = testbed
        .client
        .http1()
        .await
        .send_request(upgrade_request(&testbed.client, EXEC))
        .await
        .unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["upgrade"]),
        (101, &"SPDY/3.1".parse().unwrap())
    );
    assert_eq!(response.headers()["x-method"], "POST");
    let mut stream = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    let sent: Vec<u8> = (0..2_000_000_u32)
        .flat_map(u32::to_be_bytes)
        .take(2_000_000)
        .collect();
    let (mut read, mut write) = tokio::io::split(&mut stream);
    let upload = async {
        write.write_all(&sent).await.unwrap();
        write.shutdown().await.unwrap();
    };
    let mut got = Vec::new();
    let echo = async { tokio::join!(upload, read.read_to_end(&mut got)).1 };
    timeout(PATIENCE, echo).await.unwrap().unwrap();
    assert!(got == sent, "{} of {} bytes came back", got.len(), sent.len());

    let denied = upgrade_request(&testbed.client, &EXEC.replace("/p/", "/denied/"));
    let (status, _, body) = testbed.client.exchange(denied).await;
    assert_eq!((status.as_u16(), &body[..]), (403, &b"not allowed"[..]));
}

#[tokio::test]
async fn a_cluster_without_an_agent_says_since_when() {
    let testbed = Testbed::start().await;
    testbed.cluster("new").await;
    let (status, answer) = testbed
        .client
        .call(Method::GET, "/clusters/new/kubernetes/version", Value::Null)
        .await;
    assert_eq!(
        (status.as_u16(), &answer["reason"]),
        (503, &json!("ServiceUnavailable"))
    );
    assert!(
        answer["message"]
            .as_str()
            .unwrap()
            .contains("never been connected"),
        "{answer}"
    );
    let (_agent, tunnel) = connected(&testbed, "prod").await;
    drop(tunnel);
    let shown = testbed.wait_for("prod", "reconnecting").await;
    let path = "/clusters/prod/kubernetes/version";
    let (status, answer) = testbed.client.call(Method::GET, path, Value::Null).await;
    let message = answer["message"].as_str().unwrap();
    assert_eq!(status, 503);
    assert!(
        message.contains(shown["since"].as_str().unwrap()) && message.contains("KTA-SRV-001"),
        "{message}"
    );
}

#[tokio::test]
async fn revoking_the_cluster_ends_open_streams() {
    let testbed = Testbed::start().await;
    let (_agent, _tunnel) = connected(&testbed, "prod").await;
    let client = &testbed.client;
    let mut h2 = client.http2().await;
    let mut watch2 = opened(
        h2.send_request(client.request(Method::GET, WATCH, empty()))
            .await
            .unwrap(),
    )
    .await;
    let mut h1 = client.http1().await;
    let mut watch1 = opened(
        h1.send_request(client.request(Method::GET, WATCH, empty()))
            .await
            .unwrap(),
    )
    .await;
    let exec = client
        .http1()
        .await
        .send_request(upgrade_request(client, EXEC))
        .await
        .unwrap();
    let mut exec = TokioIo::new(hyper::upgrade::on(exec).await.unwrap());
    exec.write_all(b"x").await.unwrap();
    exec.read_exact(&mut [0]).await.unwrap();

    let start = Instant::now();
    let (status, _) = client
        .call(Method::POST, "/api/v1/clusters/prod/revoke", Value::Null)
        .await;
    assert_eq!(status, 200);
    let ends = async {
        assert!(watch2.frame().await.unwrap().is_err());
        assert!(watch1.frame().await.unwrap().is_err());
        let ended = exec.read(&mut [0; 16]).await;
        assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
    };
    timeout(REVOKED_WITHIN, ends).await.unwrap();
    assert!(start.elapsed() < REVOKED_WITHIN);
    let (status, _) = client
        .call(Method::GET, "/clusters/prod/kubernetes/version", Value::Null)
        .await;
    assert_eq!(status, 503);
    // The connection itself, and so other clusters' streams on it, goes on.
    let request = client.request(Method::GET, "/api/v1/whoami", empty());
    assert_eq!(h2.send_request(request).await.unwrap().status(), 200);
}

#[tokio::test]
async fn deleting_a_token_ends_its_streams_and_no_others() {
    let testbed = Testbed::start().await;
    let (_agent, _tunnel) = connected(&testbed, "prod").await;
    let (_, made) = testbed
        .client
        .call(Method::POST, "/api/v1/tokens", json!({ "name": "ci" }))
        .await;
    let ci = testbed.client.with_token(made["token"].as_str().unwrap());
    let mut theirs = opened(
        ci.http2()
            .await
            .send_request(ci.request(Method::GET, WATCH, empty()))
            .await
            .unwrap(),
    )
    .await;
    let mine = testbed.client.request(Method::GET, WATCH, empty());
    let mut mine = opened(testbed.client.http2().await.send_request(mine).await.unwrap()).await;
    let path = format!("/api/v1/tokens/{}", made["id"].as_str().unwrap());
    assert_eq!(
        testbed.client.call(Method::DELETE, &path, Value::Null).await.0,
        204
    );
    assert!(
        timeout(REVOKED_WITHIN, theirs.frame())
            .await
            .unwrap()
            .unwrap()
            .is_err()
    );
    timeout(MOMENT, mine.frame()).await.unwrap_err();
}

#[tokio::test]
async fn a_cluster_has_so_many_streams_and_gives_them_back() {
    let testbed = Testbed::start().await;
    let (_agent, _tunnel) = connected(&testbed, "prod").await;
    let client = &testbed.client;
    let mut h2 = client.http2().await;
    let mut open = Vec::new();
    for _ in 0..512 {
        open.push(
            opened(
                h2.send_request(client.request(Method::GET, WATCH, empty()))
                    .await
                    .unwrap(),
            )
            .await,
        );
    }
    let (status, answer) = client
        .call(Method::GET, "/clusters/prod/kubernetes/version", Value::Null)
        .await;
    assert_eq!(
        (status.as_u16(), &answer["reason"]),
        (429, &json!("TooManyRequests"))
    );
    assert!(
        answer["message"].as_str().unwrap().contains("KTA-SRV-003"),
        "{answer}"
    );
    // Hanging up gives the place back.
    drop(open);
    let retry = async {
        while client
            .call(Method::GET, "/clusters/prod/kubernetes/version", Value::Null)
            .await
            .0
            != 200
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, retry).await.unwrap();
}

#[tokio::test]
async fn open_streams_go_on_while_the_gateway_drains_until_the_deadline() {
    let dir = tempfile::tempdir().unwrap();
    let config = kantaloupe_gateway::config::Config {
        drain_timeout: Duration::from_secs(1),
        ..kantaloupe_gateway::config::Config::local(dir.path())
    };
    let gateway = kantaloupe_gateway::app::Gateway::start(config).await.unwrap();
    let client = Client::admin(&gateway, dir.path());
    let testbed = Testbed { gateway, client, dir };
    let (_agent, _tunnel) = connected(&testbed, "prod").await;
    let request = testbed.client.request(Method::GET, WATCH, empty());
    let mut watch = opened(testbed.client.http2().await.send_request(request).await.unwrap()).await;
    let start = Instant::now();
    let shutdown = tokio::spawn(testbed.gateway.shutdown());
    let end = timeout(PATIENCE, watch.frame()).await.unwrap();
    assert!(end.is_none_or(|frame| frame.is_err()));
    assert!(
        start.elapsed() > Duration::from_millis(900),
        "the stream had until the deadline"
    );
    timeout(PATIENCE, shutdown).await.unwrap().unwrap();
}

#[tokio::test]
async fn revoking_ends_streams_also_of_users_who_do_not_read() {
    let testbed = Testbed::start().await;
    let (_agent, _tunnel) = connected(&testbed, "prod").await;
    let path = "/clusters/prod/kubernetes/api/v1/namespaces/default/pods/big/log";
    let request = || testbed.client.request(Method::GET, path, empty());
    let over1 = testbed
        .client
        .http1()
        .await
        .send_request(request())
        .await
        .unwrap();
    let mut sender = testbed.client.http2().await;
    let over2 = sender.send_request(request()).await.unwrap();
    tokio::time::sleep(MOMENT).await;
    assert_eq!(open_streams(&testbed).await, 2);
    testbed
        .client
        .call(Method::POST, "/api/v1/clusters/prod/revoke", Value::Null)
        .await;
    let ended = async {
        while open_streams(&testbed).await > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(REVOKED_WITHIN, ended).await.unwrap();
    for stalled in [over1, over2] {
        timeout(PATIENCE, stalled.into_body().collect())
            .await
            .unwrap()
            .unwrap_err();
    }
}

/// What the gateway's metrics say.
pub(crate) async fn open_streams(testbed: &Testbed) -> u64 {
    let metrics = testbed.admin("/metrics").await;
    let line = metrics
        .lines()
        .find(|line| line.starts_with("kantaloupe_gateway_streams "))
        .unwrap();
    line.rsplit(' ').next().unwrap().parse().unwrap()
}
