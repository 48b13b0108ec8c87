//! The API when the store fails; what needs no failure is tested over TLS in `tests/it`.

use http::{Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::*;
use crate::{app::Gateway, config::Config};

async fn call(router: &Router, method: Method, path: &str, token: &str, body: Value) -> (StatusCode, Value) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("authorization", format!("Bearer {token}"))
        .body(axum::body::Body::from(body.to_string()))
        .unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    let status = response.status();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&bytes).unwrap_or_default())
}

#[tokio::test]
async fn a_full_disk_is_answered_with_507_and_reading_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(Config::local(dir.path())).await.unwrap();
    let token = std::fs::read_to_string(dir.path().join("admin-token")).unwrap();
    let token = token.trim();
    let router = router(gateway.app());
    gateway.app().store.simulate_full_disk().await;
    let mut problem = Value::Null;
    for n in 0..500 {
        let body = json!({ "name": format!("cluster-{n}"), "displayName": "x".repeat(100) });
        let (status, answer) = call(&router, Method::POST, "/api/v1/clusters", token, body).await;
        if status != StatusCode::CREATED {
            assert_eq!(status, StatusCode::INSUFFICIENT_STORAGE);
            problem = answer;
            break;
        }
    }
    assert_eq!(problem["code"], "KTA-SRV-006");
    assert!(
        problem["detail"].as_str().unwrap().contains("disk is full"),
        "{problem}"
    );
    let (status, list) = call(&router, Method::GET, "/api/v1/clusters", token, Value::Null).await;
    assert_eq!(status, StatusCode::OK);
    let name = list["items"][0]["name"].as_str().unwrap().to_owned();
    // Revoking works in memory at once, whatever the disk says.
    call(
        &router,
        Method::POST,
        &format!("/api/v1/clusters/{name}/revoke"),
        token,
        Value::Null,
    )
    .await;
    let (_, shown) = call(
        &router,
        Method::GET,
        &format!("/api/v1/clusters/{name}"),
        token,
        Value::Null,
    )
    .await;
    assert_eq!(shown["state"], "revoked");
    gateway.shutdown().await;
}
