//! Data sessions: opened for the first request, closed when idle, and tunnels whose agents take their leave.

use std::time::Duration;

use futures::future::join_all;
use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use kantaloupe_gateway::{app::Gateway, config::Config};
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};

use super::{
    agent::{MOMENT, connected},
    client::{Client, PATIENCE, Testbed, empty},
};

const VERSION: &str = "/clusters/prod/kubernetes/version";
const WATCH: &str = "/clusters/prod/kubernetes/api/v1/pods?watch=1";
const IDLE: Duration = Duration::from_millis(300);

async fn testbed(data_idle: Duration) -> Testbed {
    let dir = tempfile::tempdir().unwrap();
    let local = Config::local(dir.path());
    let mut limits = local.limits;
    // As many requests as a fast machine makes.
    limits.user.requests = 0;
    limits.cluster.requests = 0;
    let config = Config {
        data_idle,
        limits,
        ..local
    };
    let gateway = Gateway::start(config).await.unwrap();
    let client = Client::admin(&gateway, dir.path());
    Testbed { gateway, client, dir }
}

async fn version(client: &Client) -> (StatusCode, Value) {
    client.call(Method::GET, VERSION, Value::Null).await
}

async fn metric(testbed: &Testbed, line: &str) -> bool {
    testbed.admin("/metrics").await.lines().any(|l| l == line)
}

async fn wait_for_metric(testbed: &Testbed, line: &str) {
    let poll = async {
        while !metric(testbed, line).await {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, poll)
        .await
        .unwrap_or_else(|_| panic!("{line} never came"));
}

#[tokio::test]
async fn first_requests_open_one_session_and_an_idle_one_is_closed() {
    let testbed = testbed(IDLE).await;
    let (_agent, tunnel) = connected(&testbed, "prod").await;
    assert_eq!(tunnel.opened(), 0, "nobody has asked for anything");
    let answers = join_all((0..20).map(|_| version(&testbed.client))).await;
    assert!(answers.iter().all(|(status, _)| *status == 200), "{answers:?}");
    assert_eq!(tunnel.opened(), 1);

    let mut watch = {
        let request = testbed.client.request(Method::GET, WATCH, empty());
        let response = testbed.client.http2().await.send_request(request).await.unwrap();
        response.into_body()
    };
    timeout(PATIENCE, watch.frame()).await.unwrap().unwrap().unwrap();
    sleep(IDLE * 3).await;
    assert!(
        metric(&testbed, "kantaloupe_gateway_data_sessions 1").await,
        "a session with a stream is not idle"
    );
    drop(watch);
    wait_for_metric(&testbed, "kantaloupe_gateway_data_sessions 0").await;
    testbed.wait_for("prod", "connected").await;

    assert_eq!(version(&testbed.client).await.0, 200);
    assert_eq!(tunnel.opened(), 2);
    assert!(
        metric(
            &testbed,
            "kantaloupe_gateway_data_opens_total{outcome=\"accepted\"} 2"
        )
        .await
    );
}

#[tokio::test]
async fn requests_that_meet_the_close_are_served() {
    // So short that sessions close all the time.
    let testbed = testbed(Duration::from_millis(1)).await;
    let (_agent, tunnel) = connected(&testbed, "prod").await;
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(3) {
        let answers = join_all((0..4).map(|_| version(&testbed.client))).await;
        assert!(answers.iter().all(|(status, _)| *status == 200), "{answers:?}");
    }
    assert!(tunnel.opened() > 3, "{} sessions", tunnel.opened());
}

#[tokio::test]
async fn an_agent_that_opens_none_is_told_with_its_cause_and_an_older_tunnel_serves() {
    let testbed = testbed(IDLE).await;
    let (agent, good) = connected(&testbed, "prod").await;
    let bad = agent.connect_for(Some("the firewall refuses it")).await;
    wait_for_metric(&testbed, "kantaloupe_gateway_tunnels 2").await;
    assert_eq!(version(&testbed.client).await.0, 200);
    assert_eq!(good.opened(), 1);
    drop(good);
    wait_for_metric(&testbed, "kantaloupe_gateway_tunnels 1").await;
    let (status, answer) = version(&testbed.client).await;
    assert_eq!(
        (status.as_u16(), &answer["reason"]),
        (503, &"ServiceUnavailable".into())
    );
    let message = answer["message"].as_str().unwrap();
    assert!(message.contains("the firewall refuses it"), "{message}");
    drop(bad);
}

#[tokio::test]
async fn no_request_is_lost_while_the_newest_tunnel_drains() {
    let testbed = testbed(Duration::from_mins(1)).await;
    let (agent, _oldest) = connected(&testbed, "prod").await;
    for round in 0..5 {
        let newest = agent.connect().await;
        wait_for_metric(&testbed, "kantaloupe_gateway_tunnels 2").await;
        // In every other round its data session is open when it leaves.
        if round % 2 == 0 {
            assert_eq!(version(&testbed.client).await.0, 200);
        }
        let requests = async {
            for _ in 0..40 {
                let answers = join_all((0..4).map(|_| version(&testbed.client))).await;
                assert!(answers.iter().all(|(status, _)| *status == 200), "{answers:?}");
            }
        };
        let leave = async {
            sleep(Duration::from_millis(7 * round)).await;
            newest.leave();
        };
        tokio::join!(requests, leave);
        wait_for_metric(&testbed, "kantaloupe_gateway_tunnels 1").await;
    }
}

#[tokio::test]
async fn streams_go_on_after_their_agent_has_taken_its_leave() {
    let testbed = testbed(IDLE).await;
    let (_agent, tunnel) = connected(&testbed, "prod").await;
    let path = "/clusters/prod/kubernetes/api/v1/namespaces/default/pods/p/exec?command=sh";
    let mut request = testbed.client.request(Method::POST, path, empty());
    let headers = request.headers_mut();
    headers.insert("connection", "Upgrade".parse().unwrap());
    headers.insert("upgrade", "SPDY/3.1".parse().unwrap());
    let response = testbed.client.http1().await.send_request(request).await.unwrap();
    assert_eq!(response.status(), 101);
    let upgraded = hyper::upgrade::on(response).await.unwrap();
    let (mut read, mut write) = tokio::io::split(hyper_util::rt::TokioIo::new(upgraded));
    tunnel.leave();
    testbed.wait_for("prod", "reconnecting").await;
    sleep(MOMENT).await;
    for word in [b"one", b"two"] {
        let echo = async {
            tokio::io::AsyncWriteExt::write_all(&mut write, word)
                .await
                .unwrap();
            let mut echoed = [0; 3];
            tokio::io::AsyncReadExt::read_exact(&mut read, &mut echoed)
                .await
                .unwrap();
            assert_eq!(&echoed, word);
        };
        timeout(PATIENCE, echo).await.unwrap();
    }
    // What is revoked ends, also after the leave.
    testbed
        .client
        .call(Method::POST, "/api/v1/clusters/prod/revoke", Value::Null)
        .await;
    let mut rest = Vec::new();
    let end = tokio::io::AsyncReadExt::read_to_end(&mut read, &mut rest);
    let _either = timeout(Duration::from_secs(2), end).await.unwrap();
    assert!(rest.is_empty());
}
