//! The connect assertion, and what a cluster's state makes of it.

use std::time::Duration;

use http::Method;
use kantaloupe_proto::assertion::SessionKind;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use super::{
    agent::{self, MOMENT, connected, enrolled, now},
    client::{PATIENCE, Testbed},
};

#[tokio::test]
async fn a_connected_agent_is_shown_with_what_it_said() {
    let testbed = Testbed::start().await;
    let (agent, tunnel) = connected(&testbed, "prod").await;
    let shown = testbed.wait_for("prod", "connected").await;
    assert_eq!(shown["agent"]["kubernetesVersion"], "v1.34.4");
    assert_eq!(shown["agent"]["podName"], "kantaloupe-agent-0");
    assert_eq!(shown["agent"]["remoteAddr"], "127.0.0.1");
    assert!(shown["lastSeen"].is_string());
    // A second tunnel takes over before the first one ends, and its end changes nothing.
    let second = agent.connect().await;
    sleep(MOMENT).await;
    drop(tunnel);
    sleep(MOMENT).await;
    testbed.wait_for("prod", "connected").await;
    drop(second);
    testbed.wait_for("prod", "reconnecting").await;
}

#[tokio::test]
async fn assertions_that_are_not_right_are_refused_with_the_cause() {
    let testbed = Testbed::start().await;
    let agent = enrolled(&testbed, "prod").await;
    let other = enrolled(&testbed, "other").await.identity;
    let code = |status: u16, code: &str| (http::StatusCode::from_u16(status).unwrap(), code.to_owned());
    assert_eq!(
        agent.refused(|c| c.issued_at = now() - 600).await,
        code(401, "KTA-TIME-001")
    );
    assert_eq!(
        agent.refused(|c| c.cluster_uid = "clone".to_owned()).await,
        code(401, "KTA-AUTH-005")
    );
    assert_eq!(
        agent.refused(|c| c.audience = "other".to_owned()).await,
        code(401, "KTA-AUTH-002")
    );
    assert_eq!(
        agent.refused(|c| c.key_id = "k-unknown".to_owned()).await,
        code(401, "KTA-AUTH-002")
    );
    assert_eq!(
        agent.refused(|c| c.key_id = other.key_id.clone()).await,
        code(401, "KTA-AUTH-007")
    );
    assert_eq!(
        agent.refused(|c| c.cluster_id = other.cluster_id.clone()).await,
        code(401, "KTA-AUTH-007")
    );
    assert_eq!(
        agent.refused(|c| c.nonce = "made-up".to_owned()).await,
        code(401, "KTA-NET-007")
    );
    assert_eq!(
        agent.refused(|c| c.tunnel_id = "a/b".to_owned()).await,
        code(400, "KTA-SRV-008")
    );
    let mut nonce = String::new();
    let (response, _) = agent
        .upgrade("t-1", SessionKind::Data, |c| nonce.clone_from(&c.nonce))
        .await
        .unwrap();
    assert_eq!(response.status(), 101);
    assert_eq!(
        agent.refused(|c| c.nonce = nonce).await,
        code(401, "KTA-NET-007"),
        "a nonce is good once"
    );
}

#[tokio::test]
async fn a_revoked_agent_is_cut_and_refused_until_it_enrols_again() {
    let testbed = Testbed::start().await;
    let (agent, _tunnel) = connected(&testbed, "prod").await;
    let (status, _) = testbed
        .client
        .call(Method::POST, "/api/v1/clusters/prod/revoke", Value::Null)
        .await;
    assert_eq!(status, 200);
    let forbidden = (http::StatusCode::FORBIDDEN, "KTA-AUTH-007".to_owned());
    assert_eq!(agent.refused(|_| {}).await, forbidden);
    testbed.wait_for("prod", "revoked").await;
    let (_, again) = testbed
        .client
        .call(
            Method::POST,
            "/api/v1/clusters/prod/enrollment-token",
            Value::Null,
        )
        .await;
    let token = again["enrollment"]["token"].as_str().unwrap();
    let new = agent::Agent::enroll(&testbed.client, token).await;
    let _tunnel = new.connect().await;
    testbed.wait_for("prod", "connected").await;
    assert_eq!(agent.refused(|_| {}).await, forbidden, "the old key stays out");

    testbed
        .client
        .call(Method::DELETE, "/api/v1/clusters/prod", Value::Null)
        .await;
    assert_eq!(new.refused(|_| {}).await, forbidden, "deleted is told as revoked");
}

#[tokio::test]
async fn a_data_session_alone_is_no_tunnel() {
    let testbed = Testbed::start().await;
    let agent = enrolled(&testbed, "prod").await;
    let (response, _) = agent.upgrade("t-1", SessionKind::Data, |_| {}).await.unwrap();
    assert_eq!(response.status(), 101);
    sleep(MOMENT).await;
    let (_, shown) = testbed
        .client
        .call(Method::GET, "/api/v1/clusters/prod", Value::Null)
        .await;
    assert_eq!(shown["state"], "connecting");
}

#[tokio::test]
async fn a_gateway_that_was_killed_knows_its_agents_again() {
    let testbed = Testbed::start().await;
    let (agent, tunnel) = connected(&testbed, "prod").await;
    let pin = testbed.gateway.pin.clone();
    let testbed = testbed.restart().await;
    assert_eq!(testbed.gateway.pin, pin);
    let (_, shown) = testbed
        .client
        .call(Method::GET, "/api/v1/clusters/prod", Value::Null)
        .await;
    assert_eq!(
        (&shown["state"], &shown["agent"]["version"]),
        (&json!("reconnecting"), &json!("0.1.0"))
    );
    drop(tunnel);
    let _tunnel = agent.connect().await;
    testbed.wait_for("prod", "connected").await;
}

#[tokio::test]
async fn a_stopping_gateway_sends_its_agents_elsewhere_and_waits_for_streams_only_so_long() {
    let testbed = Testbed::start().await;
    let (_agent, tunnel) = connected(&testbed, "prod").await;
    let Testbed { gateway, client, .. } = testbed;
    let start = Instant::now();
    timeout(PATIENCE, gateway.shutdown()).await.unwrap();
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "nothing was open, so nothing is waited for"
    );
    let drained = tunnel.drained.lock().clone();
    assert_eq!((drained.len(), drained[0].reason.as_str()), (1, "shutdown"));
    client.connect("http/1.1").await.unwrap_err();
}
