//! Enrolment.

use aws_lc_rs::signature::Ed25519KeyPair;
use http::Method;
use kantaloupe_proto::agent_api::ENROLL_PATH;
use serde_json::{Value, json};

use super::{
    agent::{enrollment, now},
    client::Testbed,
};

fn key() -> Ed25519KeyPair {
    Ed25519KeyPair::generate().unwrap()
}

async fn ask(testbed: &Testbed, body: Value) -> (u16, Value) {
    let (status, answer) = testbed.client.call(Method::POST, ENROLL_PATH, body).await;
    (status.as_u16(), answer)
}

async fn refused(testbed: &Testbed, body: Value) -> (u16, String) {
    let (status, problem) = ask(testbed, body).await;
    (status, problem["code"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn a_token_enrols_one_key_however_often_it_asks() {
    let testbed = Testbed::start().await;
    let (id, token) = testbed.cluster("prod").await;
    let key = key();
    let (status, first) = ask(&testbed, enrollment(&token, &key, now())).await;
    assert_eq!(
        (status, &first["clusterId"], &first["clusterName"]),
        (200, &json!(id), &json!("prod"))
    );
    let (status, again) = ask(&testbed, enrollment(&token, &key, now())).await;
    assert_eq!(
        (status, &again),
        (200, &first),
        "the answer was lost; the same comes again"
    );
    testbed.wait_for("prod", "connecting").await;
    assert_eq!(
        refused(&testbed, enrollment(&token, &self::key(), now())).await,
        (409, "KTA-AUTH-004".to_owned())
    );
}

#[tokio::test]
async fn bad_tokens_and_clocks_are_told_apart() {
    let testbed = Testbed::start().await;
    let (_, token) = testbed.cluster("prod").await;
    let truncated = &token[..token.len() - 3];
    assert_eq!(
        refused(&testbed, enrollment(truncated, &key(), now())).await,
        (401, "KTA-AUTH-001".to_owned())
    );
    let foreign =
        kantaloupe_proto::token::Token::generate(kantaloupe_proto::token::TokenKind::Enrollment).reveal();
    let foreign = secrecy::ExposeSecret::expose_secret(&foreign);
    assert_eq!(
        refused(&testbed, enrollment(foreign, &key(), now())).await,
        (401, "KTA-AUTH-002".to_owned())
    );
    let (status, problem) = ask(&testbed, enrollment(&token, &key(), now() - 600)).await;
    assert_eq!((status, &problem["code"]), (401, &json!("KTA-TIME-001")));
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("behind the gateway's"),
        "{problem}"
    );
    // A new token takes the place of the one before.
    testbed
        .client
        .call(
            Method::POST,
            "/api/v1/clusters/prod/enrollment-token",
            Value::Null,
        )
        .await;
    let (status, problem) = ask(&testbed, enrollment(&token, &key(), now())).await;
    assert_eq!((status, &problem["code"]), (401, &json!("KTA-AUTH-003")));
    assert!(!problem.to_string().contains(&token), "{problem}");
    let mut no_key = enrollment(&token, &key(), now());
    no_key["publicKey"] = json!("AAAA");
    assert_eq!(refused(&testbed, no_key).await, (400, "KTA-SRV-008".to_owned()));
}

#[tokio::test]
async fn another_kubernetes_cluster_cannot_take_the_place() {
    let testbed = Testbed::start().await;
    let (_, token) = testbed.cluster("prod").await;
    ask(&testbed, enrollment(&token, &key(), now())).await;
    let (_, again) = testbed
        .client
        .call(
            Method::POST,
            "/api/v1/clusters/prod/enrollment-token",
            Value::Null,
        )
        .await;
    let mut foreign = enrollment(again["enrollment"]["token"].as_str().unwrap(), &key(), now());
    foreign["clusterUid"] = json!("another-uid");
    assert_eq!(refused(&testbed, foreign).await, (401, "KTA-AUTH-005".to_owned()));
}

#[tokio::test]
async fn a_source_that_keeps_failing_has_to_wait() {
    let testbed = Testbed::start().await;
    let mut statuses = Vec::new();
    for _ in 0..25 {
        statuses.push(refused(&testbed, enrollment("kte_short", &key(), now())).await);
    }
    assert_eq!(statuses[0], (401, "KTA-AUTH-001".to_owned()));
    assert_eq!(statuses[24], (429, "KTA-SRV-003".to_owned()));
}

#[tokio::test]
async fn revoked_and_deleted_clusters_enrol_nobody() {
    let testbed = Testbed::start().await;
    let (_, unused) = testbed.cluster("prod").await;
    testbed
        .client
        .call(Method::POST, "/api/v1/clusters/prod/revoke", Value::Null)
        .await;
    assert_eq!(
        refused(&testbed, enrollment(&unused, &key(), now())).await,
        (401, "KTA-AUTH-003".to_owned())
    );
    testbed
        .client
        .call(Method::DELETE, "/api/v1/clusters/prod", Value::Null)
        .await;
    assert_eq!(
        refused(&testbed, enrollment(&unused, &key(), now())).await,
        (401, "KTA-AUTH-002".to_owned())
    );
}
