//! The REST API.

use http::{Method, header};
use serde_json::{Value, json};

use super::client::{Testbed, empty, text};

#[tokio::test]
async fn a_cluster_is_made_listed_shown_revoked_and_deleted() {
    let testbed = Testbed::start().await;
    let client = &testbed.client;
    let body = json!({ "name": "prod", "displayName": "Prod 上海", "profile": "operate" });
    let (status, made) = client.call(Method::POST, "/api/v1/clusters", body).await;
    assert_eq!(status, 201);
    let id = made["cluster"]["id"].as_str().unwrap();
    assert!(id.starts_with("c-") && id.len() == 10, "{id}");
    assert_eq!(
        (&made["cluster"]["state"], &made["cluster"]["displayName"]),
        (&json!("pending"), &json!("Prod 上海"))
    );
    let command = made["enrollment"]["installCommand"].as_str().unwrap();
    let url = format!("https://{}", testbed.gateway.addr);
    for part in [
        &url,
        id,
        &testbed.gateway.pin,
        made["enrollment"]["token"].as_str().unwrap(),
        "access.profile=operate",
    ] {
        assert!(command.contains(part), "{part} is not in {command}");
    }
    let expires: jiff::Timestamp = made["enrollment"]["expiresAt"].as_str().unwrap().parse().unwrap();
    let minutes = (expires.as_second() - jiff::Timestamp::now().as_second()) / 60;
    assert!((59..=60).contains(&minutes), "{minutes}");

    testbed.cluster("alpha").await;
    let (_, list) = client.call(Method::GET, "/api/v1/clusters", Value::Null).await;
    let names: Vec<_> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["alpha", "prod"]);
    for path in [
        format!("/api/v1/clusters/{id}"),
        "/api/v1/clusters/prod".to_owned(),
    ] {
        let (status, one) = client.call(Method::GET, &path, Value::Null).await;
        assert_eq!((status.as_u16(), &one["id"]), (200, &json!(id)));
    }

    let (status, again) = client
        .call(
            Method::POST,
            "/api/v1/clusters/prod/enrollment-token",
            Value::Null,
        )
        .await;
    assert_eq!(status, 201);
    assert_ne!(again["enrollment"]["token"], made["enrollment"]["token"]);
    let (status, revoked) = client
        .call(Method::POST, "/api/v1/clusters/prod/revoke", Value::Null)
        .await;
    assert_eq!((status.as_u16(), &revoked["state"]), (200, &json!("revoked")));
    let (status, deleted) = client
        .call(Method::DELETE, "/api/v1/clusters/prod", Value::Null)
        .await;
    assert_eq!(status, 200);
    assert!(
        deleted["uninstallCommand"]
            .as_str()
            .unwrap()
            .starts_with("helm uninstall kantaloupe-agent")
    );
    let (status, problem) = client
        .call(Method::GET, "/api/v1/clusters/prod", Value::Null)
        .await;
    assert_eq!((status.as_u16(), &problem["code"]), (404, &json!("KTA-SRV-009")));
    let (status, _) = client
        .call(Method::POST, "/api/v1/clusters", json!({ "name": "prod" }))
        .await;
    assert_eq!(status, 201, "the name is free again");
}

#[tokio::test]
async fn bad_requests_name_what_is_wrong() {
    let testbed = Testbed::start().await;
    testbed.cluster("prod").await;
    let (status, problem) = testbed
        .client
        .call(Method::POST, "/api/v1/clusters", json!({ "name": "prod" }))
        .await;
    assert_eq!((status.as_u16(), &problem["code"]), (409, &json!("KTA-SRV-008")));
    assert!(problem["detail"].as_str().unwrap().contains("prod"));
    let cases = [
        (json!({ "name": "Not A Label" }), "Not A Label"),
        (json!({ "name": "" }), "name"),
        (json!({ "name": "x".repeat(64) }), "63"),
        (json!({ "name": "c-12345678" }), "looks like an id"),
        (json!({ "name": "a", "colour": "blue" }), "colour"),
        (json!({ "name": "a", "profile": "root" }), "root"),
        (json!({ "name": "a", "displayName": "a\nb" }), "displayName"),
        (json!({}), "name"),
        (json!([]), "expected"),
    ];
    for (body, word) in cases {
        let (status, problem) = testbed
            .client
            .call(Method::POST, "/api/v1/clusters", body.clone())
            .await;
        let detail = problem["detail"].as_str().unwrap();
        assert_eq!(
            (status.as_u16(), &problem["code"]),
            (400, &json!("KTA-SRV-008")),
            "{body}"
        );
        assert!(detail.contains(word), "{word:?} is not in {detail:?}");
        assert!(!problem["fix"].as_str().unwrap().is_empty());
    }
    let large = testbed
        .client
        .request(Method::POST, "/api/v1/clusters", text(&" ".repeat(70_000)));
    let (status, headers, _) = testbed.client.exchange(large).await;
    assert_eq!(
        (status.as_u16(), &headers[header::CONTENT_TYPE]),
        (413, &"application/problem+json".parse().unwrap())
    );
    for (method, path, want) in [
        (Method::GET, "/nothing", 404),
        (Method::PUT, "/api/v1/clusters", 405),
    ] {
        let (status, problem) = testbed.client.call(method, path, Value::Null).await;
        assert_eq!((status.as_u16(), &problem["status"]), (want, &json!(want)));
    }
}

#[tokio::test]
async fn nothing_is_open_without_a_valid_token_but_health() {
    let testbed = Testbed::start().await;
    testbed.cluster("prod").await;
    let nobody = testbed
        .client
        .with_token("kta_aaaaaaaaaaaa_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa_00000000");
    for (method, path) in [
        (Method::GET, "/api/v1/clusters"),
        (Method::POST, "/api/v1/clusters"),
        (Method::GET, "/api/v1/clusters/prod"),
        (Method::DELETE, "/api/v1/clusters/prod"),
        (Method::POST, "/api/v1/clusters/prod/revoke"),
        (Method::POST, "/api/v1/clusters/prod/enrollment-token"),
        (Method::GET, "/api/v1/clusters/prod/kubeconfig"),
        (Method::GET, "/api/v1/tokens"),
        (Method::POST, "/api/v1/tokens"),
        (Method::DELETE, "/api/v1/tokens/x"),
        (Method::GET, "/api/v1/whoami"),
    ] {
        let (status, problem) = nobody.call(method.clone(), path, Value::Null).await;
        assert_eq!(
            (status.as_u16(), &problem["code"]),
            (401, &json!("KTA-SRV-010")),
            "{method} {path}"
        );
    }
    let (status, _, body) = nobody
        .exchange(nobody.request(Method::GET, "/healthz", empty()))
        .await;
    assert_eq!((status.as_u16(), &body[..]), (200, &b"ok\n"[..]));
}

#[tokio::test]
async fn tokens_are_made_listed_used_and_deleted() {
    let testbed = Testbed::start().await;
    let body = json!({ "name": "ci", "expiresInSeconds": 3600 });
    let (status, made) = testbed.client.call(Method::POST, "/api/v1/tokens", body).await;
    assert_eq!(status, 201);
    let ci = testbed.client.with_token(made["token"].as_str().unwrap());
    let (status, who) = ci.call(Method::GET, "/api/v1/whoami", Value::Null).await;
    assert_eq!(status, 200);
    assert_eq!(
        (&who["name"], &who["role"], &who["tokenId"]),
        (&json!("admin"), &json!("admin"), &made["id"])
    );
    let (_, list) = ci.call(Method::GET, "/api/v1/tokens", Value::Null).await;
    assert_eq!(list["items"].as_array().unwrap().len(), 2);
    assert!(
        !list.to_string().contains(made["token"].as_str().unwrap()),
        "a token is shown once"
    );
    let path = format!("/api/v1/tokens/{}", made["id"].as_str().unwrap());
    assert_eq!(
        testbed.client.call(Method::DELETE, &path, Value::Null).await.0,
        204
    );
    assert_eq!(ci.call(Method::GET, "/api/v1/whoami", Value::Null).await.0, 401);
    assert_eq!(
        testbed.client.call(Method::DELETE, &path, Value::Null).await.0,
        404
    );
    for bad in [
        json!({ "name": "" }),
        json!({ "name": "a", "expiresInSeconds": 0 }),
        json!({ "name": "a", "x": 1 }),
    ] {
        assert_eq!(
            testbed.client.call(Method::POST, "/api/v1/tokens", bad).await.0,
            400
        );
    }
}

#[tokio::test]
async fn a_kubeconfig_leads_to_the_cluster_with_the_callers_token() {
    let testbed = Testbed::start().await;
    let (id, _) = testbed.cluster("prod").await;
    let request = testbed
        .client
        .request(Method::GET, "/api/v1/clusters/prod/kubeconfig", empty());
    let (status, headers, body) = testbed.client.exchange(request).await;
    assert_eq!(
        (status.as_u16(), &headers["cache-control"]),
        (200, &"no-store".parse().unwrap())
    );
    let config: serde_yaml_ng::Value = serde_yaml_ng::from_slice(&body).unwrap();
    let server = format!("https://{}/clusters/{id}/kubernetes", testbed.gateway.addr);
    assert_eq!(
        config["clusters"][0]["cluster"]["server"].as_str(),
        Some(server.as_str())
    );
    assert_eq!(config["current-context"].as_str(), Some("prod"));
    assert_eq!(
        config["users"][0]["user"]["token"].as_str(),
        Some(testbed.client.token.as_str())
    );
    let ca = config["clusters"][0]["cluster"]["certificate-authority-data"]
        .as_str()
        .unwrap();
    let pem = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, ca).unwrap();
    assert_eq!(Some(String::from_utf8(pem).unwrap()), testbed.gateway.own_ca);
}
