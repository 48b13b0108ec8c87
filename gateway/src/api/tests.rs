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

/// What is taken away is gone at once, also if the store cannot keep that: until the next start, and the answer says so.
#[tokio::test]
async fn tokens_and_users_are_refused_though_the_store_cannot_be_written() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(Config::local(dir.path())).await.unwrap();
    let app = gateway.app();
    let root = std::fs::read_to_string(dir.path().join("admin-token")).unwrap();
    let root = root.trim();
    let router = router(gateway.app());
    let mut tokens = Vec::new();
    for name in ["a", "b", "c"] {
        let user = json!({ "name": name, "kind": "service" });
        let (status, _) = call(&router, Method::POST, "/api/v1/users", root, user).await;
        assert_eq!(status, 201);
        let path = format!("/api/v1/users/{name}/tokens");
        let (status, made) = call(&router, Method::POST, &path, root, json!({ "name": "t" })).await;
        assert_eq!(status, 201);
        let text = |field: &str| made[field].as_str().unwrap().to_owned();
        tokens.push((text("token"), text("id")));
    }
    let who = async |token: &str| {
        call(&router, Method::GET, "/api/v1/whoami", token, Value::Null)
            .await
            .0
    };
    // The second was never used: it is not in memory yet.
    assert_eq!(
        (who(&tokens[0].0).await, who(&tokens[2].0).await),
        (StatusCode::OK, StatusCode::OK)
    );
    app.store.fail_writes(true).await;
    let calls = [
        (
            Method::DELETE,
            format!("/api/v1/tokens/{}", tokens[0].1),
            Value::Null,
        ),
        (
            Method::PATCH,
            "/api/v1/users/b".to_owned(),
            json!({ "disabled": true }),
        ),
        (Method::DELETE, "/api/v1/users/c".to_owned(), Value::Null),
    ];
    for (method, path, body) in &calls {
        let (status, problem) = call(&router, method.clone(), path, root, body.clone()).await;
        assert_eq!(
            (status.as_u16(), &problem["code"]),
            (500, &json!("KTA-SRV-006")),
            "{problem}"
        );
        assert!(
            problem["detail"]
                .as_str()
                .unwrap()
                .contains("until the gateway's next start"),
            "{problem}"
        );
    }
    for (token, _) in &tokens {
        assert_eq!(who(token).await, StatusCode::UNAUTHORIZED);
    }
    // Other changes fail and change nothing.
    let (status, problem) = call(
        &router,
        Method::PATCH,
        "/api/v1/users/a",
        root,
        json!({ "displayName": "x" }),
    )
    .await;
    assert_eq!(status, 500);
    assert!(
        !problem["detail"].as_str().unwrap().contains("next start"),
        "{problem}"
    );
    // Once the store can be written it decides again: one is deleted, one is let in again.
    app.store.fail_writes(false).await;
    for token in [&tokens[0].0, &tokens[1].0] {
        assert_eq!(
            who(token).await,
            StatusCode::UNAUTHORIZED,
            "nothing has changed by that alone"
        );
    }
    let enable = json!({ "disabled": false });
    assert_eq!(
        call(&router, Method::PATCH, "/api/v1/users/b", root, enable)
            .await
            .0,
        200
    );
    assert_eq!(who(&tokens[1].0).await, StatusCode::OK);
    for (method, path, body) in [&calls[0], &calls[2]] {
        let (status, _) = call(&router, method.clone(), path, root, body.clone()).await;
        assert_eq!(status, 204);
    }
    assert_eq!(who(&tokens[0].0).await, StatusCode::UNAUTHORIZED);
    gateway.shutdown().await;
}
