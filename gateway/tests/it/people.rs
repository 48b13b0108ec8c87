//! People, bindings and tokens through the API, and what they let through to clusters.

use http::{HeaderValue, Method};
use kantaloupe_gateway::{
    app::{self, Gateway},
    config::Config,
};
use serde_json::{Value, json};

use super::{
    agent::connected,
    audit::entries,
    client::{Client, Testbed, empty},
};

/// A service account with a token.
pub(crate) async fn service(admin: &Client, name: &str) -> Client {
    let user = json!({ "name": name, "kind": "service" });
    made(admin, "/api/v1/users", user).await;
    let path = format!("/api/v1/users/{name}/tokens");
    let token = made(admin, &path, json!({ "name": "test" })).await;
    admin.with_token(token["token"].as_str().unwrap())
}

/// Posts what has to be made.
pub(crate) async fn made(client: &Client, path: &str, body: Value) -> Value {
    let (status, answer) = client.call(Method::POST, path, body).await;
    assert_eq!(status, 201, "{path}: {answer}");
    answer
}

/// Gives a user a role; the binding's id.
pub(crate) async fn bind(admin: &Client, user: &str, role: &str, scope: Value, namespaces: Value) -> String {
    let body = json!({
        "subject": { "kind": "user", "name": user }, "role": role, "scope": scope, "namespaces": namespaces,
    });
    let binding = made(admin, "/api/v1/bindings", body).await;
    binding["id"].as_str().unwrap().to_owned()
}

pub(crate) fn organization() -> Value {
    json!({ "kind": "organization" })
}

pub(crate) fn of_cluster(name: &str) -> Value {
    json!({ "kind": "cluster", "cluster": name })
}

pub(crate) fn selected(selector: &str) -> Value {
    json!({ "kind": "selector", "selector": selector })
}

/// Another organisation with its administrator.
pub(crate) async fn other_organization(testbed: &Testbed, name: &str) -> Client {
    let body = json!({ "name": name, "administrator": { "name": "root" } });
    let answer = made(&testbed.client, "/api/v1/organizations", body).await;
    assert_eq!(answer["organization"]["name"], name);
    testbed.client.with_token(answer["token"].as_str().unwrap())
}

/// Status and message of a request to the cluster `prod`.
async fn ask(client: &Client, method: Method, path: &str) -> (u16, String) {
    let path = format!("/clusters/prod/kubernetes{path}");
    let (status, _, body) = client.exchange(client.request(method, &path, empty())).await;
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let message = body["message"].as_str().unwrap_or_default();
    (status.as_u16(), message.to_owned())
}

/// What the agent was told of a request that passed.
async fn told(client: &Client, path: &str, header: Option<(&'static str, &str)>) -> Value {
    let path = format!("/clusters/prod/kubernetes{path}");
    let mut request = client.request(Method::GET, &path, empty());
    if let Some((name, value)) = header {
        request
            .headers_mut()
            .insert(name, HeaderValue::from_str(value).unwrap());
    }
    let (status, _, body) = client.exchange(request).await;
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
    let body: Value = serde_json::from_slice(&body).unwrap();
    body["headers"].clone()
}

#[tokio::test]
async fn a_request_passes_by_the_least_of_the_roles_that_allow_it() {
    let testbed = Testbed::start().await;
    let (_agent, _tunnel) = connected(&testbed, "prod").await;
    let admin = &testbed.client;
    let ci = service(admin, "ci").await;
    assert_eq!(
        ask(&ci, Method::GET, "/version").await.0,
        404,
        "no binding, no cluster"
    );

    bind(admin, "ci", "viewer", of_cluster("prod"), Value::Null).await;
    bind(admin, "ci", "operator", organization(), json!(["b", "a"])).await;
    let seen = told(&ci, "/version", None).await;
    assert_eq!(
        (
            &seen["kantaloupe-user"],
            &seen["kantaloupe-role"],
            &seen["kantaloupe-organization"]
        ),
        (&json!("ci"), &json!("viewer"), &json!("default"))
    );
    assert_eq!(seen.get("kantaloupe-namespaces"), None);
    assert_eq!(seen.get("kantaloupe-actor"), None);
    let log = "/api/v1/namespaces/a/pods/x/log";
    assert_eq!(ask(&ci, Method::GET, log).await.0, 404, "the API server's answer");
    let (status, message) = ask(&ci, Method::DELETE, "/api/v1/namespaces/c/pods/x").await;
    assert_eq!(status, 403);
    assert!(
        message.contains("cannot delete resource \"pods\" in API group \"\" in the namespace \"c\"")
            && message.contains("KTA-SRV-002"),
        "{message}"
    );

    // As an upgrade, and by whatever protocol: it is an exec.
    for (namespace, status) in [("a", 101), ("c", 403)] {
        let path = format!("/clusters/prod/kubernetes/api/v1/namespaces/{namespace}/pods/p/exec?command=sh");
        for (method, protocol) in [(Method::GET, "websocket"), (Method::POST, "SPDY/3.1")] {
            let mut request = ci.request(method, &path, empty());
            let headers = request.headers_mut();
            headers.insert("connection", HeaderValue::from_static("Upgrade"));
            headers.insert("upgrade", HeaderValue::from_str(protocol).unwrap());
            let answer = ci.http1().await.send_request(request).await.unwrap();
            assert_eq!(answer.status(), status, "{namespace} {protocol}");
        }
    }
}

#[tokio::test]
async fn a_role_for_namespaces_sees_these_and_is_told_which() {
    let testbed = Testbed::start().await;
    let (_agent, _tunnel) = connected(&testbed, "prod").await;
    let admin = &testbed.client;
    let ci = service(admin, "ci").await;
    bind(admin, "ci", "operator", of_cluster("prod"), json!(["b", "a"])).await;
    let seen = told(&ci, "/api/v1/namespaces/a/pods/shown", None).await;
    assert_eq!(
        (&seen["kantaloupe-namespaces"], &seen["kantaloupe-role"]),
        (&json!("a,b"), &json!("operator"))
    );
    for path in [
        "/api/v1/pods",
        "/api/v1/pods?watch=1",
        "/api/v1/pods?fieldSelector=metadata.namespace%3Da",
        "/api/v1/nodes",
        "/api/v1/namespaces",
        "/api/v1/namespaces/c/pods",
    ] {
        let (status, message) = ask(&ci, Method::GET, path).await;
        assert_eq!(status, 403, "{path}");
        assert!(message.contains("the namespaces a, b only"), "{message}");
    }
}

#[tokio::test]
async fn bindings_follow_labels_and_groups() {
    let testbed = Testbed::start().await;
    let (_agent, _tunnel) = connected(&testbed, "prod").await;
    let admin = &testbed.client;
    let ci = service(admin, "ci").await;
    let group = json!({
        "subject": { "kind": "group", "name": "/team ml" }, "role": "viewer", "scope": selected("env=prod,!legacy"),
    });
    made(admin, "/api/v1/bindings", group).await;
    let label = async |labels: Value| {
        let body = json!({ "labels": labels });
        let (status, answer) = admin.call(Method::PATCH, "/api/v1/clusters/prod", body).await;
        assert_eq!(status, 200, "{answer}");
        answer["labels"].clone()
    };
    let group = async |groups: Value| {
        let body = json!({ "groups": groups });
        assert_eq!(admin.call(Method::PATCH, "/api/v1/users/ci", body).await.0, 200);
    };
    assert_eq!(
        label(json!({ "env": "prod", "tier": "a" })).await,
        json!({ "env": "prod", "tier": "a" })
    );
    assert_eq!(ask(&ci, Method::GET, "/version").await.0, 404);
    group(json!(["/team ml", "other"])).await;
    assert_eq!(ask(&ci, Method::GET, "/version").await.0, 200);
    assert_eq!(
        label(json!({ "legacy": "", "tier": null })).await,
        json!({ "env": "prod", "legacy": "" })
    );
    assert_eq!(ask(&ci, Method::GET, "/version").await.0, 404);
    label(json!({ "legacy": null })).await;
    assert_eq!(ask(&ci, Method::GET, "/version").await.0, 200);
    group(json!([])).await;
    assert_eq!(ask(&ci, Method::GET, "/version").await.0, 404);
}

#[tokio::test]
async fn acting_as_another_takes_a_right_and_gives_no_more_than_the_other_has() {
    let testbed = Testbed::start().await;
    let (_agent, _tunnel) = connected(&testbed, "prod").await;
    let admin = &testbed.client;
    let (boss, ci) = (service(admin, "boss").await, service(admin, "ci").await);
    bind(admin, "boss", "admin", organization(), Value::Null).await;
    bind(admin, "ci", "viewer", of_cluster("prod"), json!(["a"])).await;
    let shown = "/api/v1/namespaces/a/pods/shown";
    let refused = async |client: &Client, headers: &[(&'static str, &str)]| {
        let mut request = client.request(Method::GET, &format!("/clusters/prod/kubernetes{shown}"), empty());
        for (name, value) in headers {
            request
                .headers_mut()
                .append(*name, HeaderValue::from_str(value).unwrap());
        }
        let (status, _, body) = client.exchange(request).await;
        (status.as_u16(), String::from_utf8(body.to_vec()).unwrap())
    };
    let (status, message) = refused(&boss, &[("impersonate-user", "ci")]).await;
    assert_eq!(status, 403, "an administrator has to be allowed too: {message}");
    let right = made(
        admin,
        "/api/v1/impersonators",
        json!({ "user": "boss", "target": "ci" }),
    )
    .await;
    let seen = told(&boss, shown, Some(("impersonate-user", "ci"))).await;
    assert_eq!(
        (
            &seen["kantaloupe-user"],
            &seen["kantaloupe-role"],
            &seen["kantaloupe-namespaces"],
            &seen["kantaloupe-actor"]
        ),
        (&json!("ci"), &json!("viewer"), &json!("a"), &json!("boss"))
    );
    for wrong in [
        &[("impersonate-user", "admin")][..],
        &[("impersonate-user", "nobody")],
        &[("impersonate-user", "CI")],
        &[("impersonate-user", "system:masters")],
        &[("impersonate-user", "")],
        &[("impersonate-user", "ci"), ("impersonate-user", "ci")],
        &[
            ("impersonate-user", "ci"),
            ("impersonate-group", "system:masters"),
        ],
        &[("impersonate-user", "ci"), ("impersonate-uid", "1")],
        &[("impersonate-user", "ci"), ("impersonate-extra-scopes", "x")],
        &[("impersonate-group", "a")],
        &[("impersonate-foo", "a")],
    ] {
        let (status, message) = refused(&boss, wrong).await;
        assert_eq!(status, 403, "{wrong:?}");
        assert!(message.contains("KTA-SRV-002"), "{message}");
    }
    assert_eq!(refused(&ci, &[("impersonate-user", "boss")]).await.0, 403);
    let (status, message) = refused(&boss, &[("impersonate-user", "nobody")]).await;
    let (again, of_admin) = refused(&boss, &[("impersonate-user", "admin")]).await;
    assert_eq!(
        (status, message.replace("nobody", "admin")),
        (again, of_admin),
        "nobody learns who there is"
    );

    let mut own = boss.request(Method::GET, "/api/v1/users", empty());
    own.headers_mut()
        .insert("impersonate-user", HeaderValue::from_static("ci"));
    assert_eq!(boss.exchange(own).await.0, 403, "at clusters only");

    // The scope of the caller's own token cuts what the other has.
    let scope = json!({ "name": "s", "scope": { "namespaces": ["b"] } });
    let scoped = made(admin, "/api/v1/users/boss/tokens", scope).await;
    let scoped = admin.with_token(scoped["token"].as_str().unwrap());
    assert_eq!(refused(&scoped, &[("impersonate-user", "ci")]).await.0, 404);

    admin
        .call(Method::PATCH, "/api/v1/users/ci", json!({ "disabled": true }))
        .await;
    assert_eq!(refused(&boss, &[("impersonate-user", "ci")]).await.0, 403);
    admin
        .call(Method::PATCH, "/api/v1/users/ci", json!({ "disabled": false }))
        .await;
    assert_eq!(refused(&boss, &[("impersonate-user", "ci")]).await.0, 200);
    let path = format!("/api/v1/impersonators/{}", right["id"].as_str().unwrap());
    assert_eq!(admin.call(Method::DELETE, &path, Value::Null).await.0, 204);
    assert_eq!(refused(&boss, &[("impersonate-user", "ci")]).await.0, 403);
}

#[tokio::test]
async fn another_organisation_is_not_there() {
    let testbed = Testbed::start().await;
    let (mine, _tunnel) = connected(&testbed, "prod").await;
    let admin = &testbed.client;
    let theirs = other_organization(&testbed, "acme").await;
    let my_id = mine.identity.cluster_id.clone();
    let their_cluster = made(&theirs, "/api/v1/clusters", json!({ "name": "prod" })).await;
    assert_ne!(their_cluster["cluster"]["id"], json!(my_id));
    let (_, who) = theirs.call(Method::GET, "/api/v1/whoami", Value::Null).await;
    assert_eq!(
        (&who["organization"]["name"], &who["name"], &who["role"]),
        (&json!("acme"), &json!("root"), &json!("admin"))
    );

    // By its name each gets his own, and by id only his own.
    let (_, list) = theirs.call(Method::GET, "/api/v1/clusters", Value::Null).await;
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    assert_eq!(list["items"][0]["id"], their_cluster["cluster"]["id"]);
    assert_eq!(
        ask(&theirs, Method::GET, "/version").await.0,
        503,
        "never connected"
    );
    let (_, who) = admin.call(Method::GET, "/api/v1/whoami", Value::Null).await;
    let (user_id, token_id) = (who["id"].as_str().unwrap(), who["tokenId"].as_str().unwrap());
    let (_, bindings) = admin.call(Method::GET, "/api/v1/bindings", Value::Null).await;
    let binding_id = bindings["items"][0]["id"].as_str().unwrap();
    let shown = format!("/clusters/{my_id}/kubernetes/version");
    let (status, body) = theirs.call(Method::GET, &shown, Value::Null).await;
    assert_eq!((status.as_u16(), &body["reason"]), (404, &json!("NotFound")));
    let patch = json!({ "displayName": "x" });
    for (method, path, body) in [
        (Method::GET, format!("/api/v1/clusters/{my_id}"), Value::Null),
        (
            Method::PATCH,
            format!("/api/v1/clusters/{my_id}"),
            json!({ "labels": { "a": "b" } }),
        ),
        (Method::DELETE, format!("/api/v1/clusters/{my_id}"), Value::Null),
        (
            Method::POST,
            format!("/api/v1/clusters/{my_id}/revoke"),
            Value::Null,
        ),
        (
            Method::POST,
            format!("/api/v1/clusters/{my_id}/enrollment-token"),
            Value::Null,
        ),
        (
            Method::GET,
            format!("/api/v1/clusters/{my_id}/kubeconfig"),
            Value::Null,
        ),
        (
            Method::GET,
            format!("/api/v1/clusters/{my_id}/inventory"),
            Value::Null,
        ),
        (
            Method::GET,
            format!("/api/v1/clusters/{my_id}/summary"),
            Value::Null,
        ),
        (Method::GET, format!("/api/v1/clusters/{my_id}/gpus"), Value::Null),
        (
            Method::GET,
            format!("/api/v1/clusters/{my_id}/inventory/events"),
            Value::Null,
        ),
        (Method::GET, format!("/api/v1/gpus?cluster={my_id}"), Value::Null),
        (Method::GET, format!("/api/v1/fit?cluster={my_id}"), Value::Null),
        (Method::GET, format!("/api/v1/users/{user_id}"), Value::Null),
        (Method::GET, "/api/v1/users/admin".to_owned(), Value::Null),
        (Method::PATCH, format!("/api/v1/users/{user_id}"), patch.clone()),
        (Method::DELETE, format!("/api/v1/users/{user_id}"), Value::Null),
        (
            Method::GET,
            format!("/api/v1/users/{user_id}/tokens"),
            Value::Null,
        ),
        (
            Method::POST,
            format!("/api/v1/users/{user_id}/tokens"),
            json!({ "name": "x" }),
        ),
        (Method::DELETE, format!("/api/v1/tokens/{token_id}"), Value::Null),
        (Method::GET, format!("/api/v1/bindings/{binding_id}"), Value::Null),
        (
            Method::PATCH,
            format!("/api/v1/bindings/{binding_id}"),
            json!({ "role": "viewer" }),
        ),
        (
            Method::DELETE,
            format!("/api/v1/bindings/{binding_id}"),
            Value::Null,
        ),
        (
            Method::GET,
            "/api/v1/organizations/default".to_owned(),
            Value::Null,
        ),
        (
            Method::PATCH,
            "/api/v1/organizations/default".to_owned(),
            patch.clone(),
        ),
    ] {
        let (status, answer) = theirs.call(method.clone(), &path, body).await;
        assert_eq!(status, 404, "{method} {path}: {answer}");
    }
    let binding = json!({
        "subject": { "kind": "user", "name": "root" }, "role": "admin", "scope": of_cluster(&my_id),
    });
    assert_eq!(
        theirs.call(Method::POST, "/api/v1/bindings", binding).await.0,
        404
    );
    let binding = json!({
        "subject": { "kind": "user", "name": user_id }, "role": "admin", "scope": organization(),
    });
    assert_eq!(
        theirs.call(Method::POST, "/api/v1/bindings", binding).await.0,
        404
    );
    let right = json!({ "user": "root", "target": user_id });
    assert_eq!(
        theirs.call(Method::POST, "/api/v1/impersonators", right).await.0,
        404
    );
    // Only the first organisation makes others, and does not see into them.
    let more = json!({ "name": "evil", "administrator": { "name": "root" } });
    assert_eq!(
        theirs.call(Method::POST, "/api/v1/organizations", more).await.0,
        403
    );
    let (_, list) = admin
        .call(Method::GET, "/api/v1/organizations", Value::Null)
        .await;
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    assert_eq!(
        admin
            .call(Method::GET, "/api/v1/organizations/acme", Value::Null)
            .await
            .0,
        404
    );
    let (_, users) = admin.call(Method::GET, "/api/v1/users", Value::Null).await;
    assert_eq!(users["items"].as_array().unwrap().len(), 1);
    let (status, _) = admin
        .call(
            Method::POST,
            "/api/v1/organizations",
            json!({ "name": "acme", "administrator": { "name": "a" } }),
        )
        .await;
    assert_eq!(status, 409);
}

#[tokio::test]
async fn a_tokens_scope_narrows_it_and_it_makes_no_other() {
    let testbed = Testbed::start().await;
    let (_agent, _tunnel) = connected(&testbed, "prod").await;
    testbed.cluster("other").await;
    let admin = &testbed.client;
    let scope = json!({ "role": "viewer", "clusters": ["prod"], "namespaces": ["a"] });
    let token = made(admin, "/api/v1/tokens", json!({ "name": "s", "scope": scope })).await;
    let id = token["id"].as_str().unwrap();
    let scoped = admin.with_token(token["token"].as_str().unwrap());
    let seen = told(&scoped, "/api/v1/namespaces/a/pods/shown", None).await;
    assert_eq!(
        (&seen["kantaloupe-role"], &seen["kantaloupe-namespaces"]),
        (&json!("viewer"), &json!("a"))
    );
    assert_eq!(ask(&scoped, Method::GET, "/api/v1/nodes").await.0, 403);
    assert_eq!(
        ask(&scoped, Method::DELETE, "/api/v1/namespaces/a/pods/x")
            .await
            .0,
        403
    );
    let (_, list) = scoped.call(Method::GET, "/api/v1/clusters", Value::Null).await;
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    for (method, path, body, expected) in [
        (Method::GET, "/api/v1/clusters/other", Value::Null, 404),
        (Method::POST, "/api/v1/clusters/prod/revoke", Value::Null, 403),
        (Method::POST, "/api/v1/clusters", json!({ "name": "x" }), 403),
        (Method::GET, "/api/v1/users", Value::Null, 403),
        (Method::POST, "/api/v1/tokens", json!({ "name": "x" }), 403),
    ] {
        let (status, answer) = scoped.call(method.clone(), path, body).await;
        assert_eq!(status, expected, "{method} {path}: {answer}");
    }
    let (_, who) = scoped.call(Method::GET, "/api/v1/whoami", Value::Null).await;
    assert_eq!(
        (
            &who["role"],
            &who["tokenScope"]["role"],
            &who["tokenScope"]["namespaces"]
        ),
        (&Value::Null, &json!("viewer"), &json!(["a"]))
    );
    // It ends itself and nothing else.
    let (_, own) = admin.call(Method::GET, "/api/v1/whoami", Value::Null).await;
    let path = format!("/api/v1/tokens/{}", own["tokenId"].as_str().unwrap());
    assert_eq!(scoped.call(Method::DELETE, &path, Value::Null).await.0, 403);
    let path = format!("/api/v1/tokens/{id}");
    assert_eq!(scoped.call(Method::DELETE, &path, Value::Null).await.0, 204);
    assert_eq!(
        scoped.call(Method::GET, "/api/v1/whoami", Value::Null).await.0,
        401
    );
    for bad in [
        json!({ "role": "root" }),
        json!({ "clusters": [] }),
        json!({ "namespaces": [] }),
        json!({ "namespaces": ["A"] }),
        json!({ "everything": true }),
    ] {
        let body = json!({ "name": "x", "scope": bad });
        assert_eq!(
            admin.call(Method::POST, "/api/v1/tokens", body).await.0,
            400,
            "{bad}"
        );
    }
    let body = json!({ "name": "x", "scope": { "clusters": ["nowhere"] } });
    assert_eq!(admin.call(Method::POST, "/api/v1/tokens", body).await.0, 404);
}

#[tokio::test]
async fn tokens_end_and_are_seen_and_ended_by_administrators() {
    let testbed = Testbed::start().await;
    let admin = &testbed.client;
    let ci = service(admin, "ci").await;
    let seconds = |token: &Value| {
        let at: jiff::Timestamp = token["expiresAt"].as_str().unwrap().parse().unwrap();
        at.as_second() - jiff::Timestamp::now().as_second()
    };
    let plain = made(admin, "/api/v1/tokens", json!({ "name": "plain" })).await;
    assert!(
        (90 * 86_400 - 60..=90 * 86_400).contains(&seconds(&plain)),
        "{plain}"
    );
    let year = json!({ "name": "long", "expiresInSeconds": 367_i64 * 86_400 });
    assert_eq!(admin.call(Method::POST, "/api/v1/tokens", year).await.0, 400);
    // A token makes none that is good for longer than itself.
    let short = made(
        admin,
        "/api/v1/tokens",
        json!({ "name": "s", "expiresInSeconds": 100 }),
    )
    .await;
    let short = admin.with_token(short["token"].as_str().unwrap());
    let child = made(&short, "/api/v1/tokens", json!({ "name": "child" })).await;
    assert!(seconds(&child) <= 100, "{child}");
    let longer = json!({ "name": "x", "expiresInSeconds": 1000 });
    assert_eq!(short.call(Method::POST, "/api/v1/tokens", longer).await.0, 400);

    let (_, tokens) = admin
        .call(Method::GET, "/api/v1/users/ci/tokens", Value::Null)
        .await;
    assert_eq!(
        (&tokens["items"][0]["kind"], &tokens["items"][0]["lastUsedAt"]),
        (&json!("service"), &Value::Null)
    );
    assert_eq!(ci.call(Method::GET, "/api/v1/whoami", Value::Null).await.0, 200);
    let (_, tokens) = ci.call(Method::GET, "/api/v1/tokens", Value::Null).await;
    let used = tokens["items"][0]["lastUsedAt"].as_str().unwrap().to_owned();
    let id = tokens["items"][0]["id"].as_str().unwrap().to_owned();

    // It is stored when the gateway stops, at the latest.
    let Testbed { gateway, dir, .. } = testbed;
    gateway.shutdown().await;
    let gateway = Gateway::start(Config::local(dir.path())).await.unwrap();
    let admin = &Client::admin(&gateway, dir.path());
    let ci = admin.with_token(&ci.token);
    let (_, tokens) = admin
        .call(Method::GET, "/api/v1/users/ci/tokens", Value::Null)
        .await;
    assert!(
        tokens["items"][0]["lastUsedAt"].as_str().unwrap() >= used.as_str(),
        "{tokens}"
    );
    let path = format!("/api/v1/tokens/{id}");
    assert_eq!(admin.call(Method::DELETE, &path, Value::Null).await.0, 204);
    assert_eq!(ci.call(Method::GET, "/api/v1/whoami", Value::Null).await.0, 401);

    // People make their own tokens.
    made(admin, "/api/v1/users", json!({ "name": "ada" })).await;
    let body = json!({ "name": "x" });
    assert_eq!(
        admin.call(Method::POST, "/api/v1/users/ada/tokens", body).await.0,
        403
    );
}

#[tokio::test]
async fn users_are_made_changed_and_deleted_and_somebody_stays_administrator() {
    let testbed = Testbed::start().await;
    let admin = &testbed.client;
    let ada = json!({ "name": "ada@example.com", "displayName": "Ada", "groups": ["ml"] });
    let made_user = made(admin, "/api/v1/users", ada).await;
    assert_eq!(
        (&made_user["kind"], &made_user["groups"], &made_user["disabledAt"]),
        (&json!("person"), &json!(["ml"]), &Value::Null)
    );
    for (name, status) in [
        ("ADA@example.com", 409),
        ("system:admin", 400),
        ("a b", 400),
        ("", 400),
        ("0b2f3c52-0000-4000-8000-000000000001", 400),
    ] {
        let (got, answer) = admin
            .call(Method::POST, "/api/v1/users", json!({ "name": name }))
            .await;
        assert_eq!(got, status, "{name}: {answer}");
    }
    let path = format!("/api/v1/users/{}", made_user["id"].as_str().unwrap());
    let (_, changed) = admin
        .call(
            Method::PATCH,
            &path,
            json!({ "displayName": "Ada L.", "disabled": true }),
        )
        .await;
    assert!(
        changed["disabledAt"].is_string() && changed["displayName"] == "Ada L.",
        "{changed}"
    );
    let (_, list) = admin.call(Method::GET, "/api/v1/users", Value::Null).await;
    assert_eq!(list["items"].as_array().unwrap().len(), 2);

    // Nobody can lock everybody out.
    let (_, bindings) = admin.call(Method::GET, "/api/v1/bindings", Value::Null).await;
    let last = format!(
        "/api/v1/bindings/{}",
        bindings["items"][0]["id"].as_str().unwrap()
    );
    for (method, path, body) in [
        (Method::DELETE, last.as_str(), Value::Null),
        (Method::PATCH, &last, json!({ "role": "operator" })),
        (Method::PATCH, &last, json!({ "namespaces": ["a"] })),
        (Method::PATCH, "/api/v1/users/admin", json!({ "disabled": true })),
        (Method::DELETE, "/api/v1/users/admin", Value::Null),
    ] {
        let (status, answer) = admin.call(method.clone(), path, body).await;
        assert_eq!(status, 409, "{method} {path}: {answer}");
        assert!(
            answer["detail"]
                .as_str()
                .unwrap()
                .contains("without an administrator")
        );
    }
    assert_eq!(admin.call(Method::GET, "/api/v1/users", Value::Null).await.0, 200);
    bind(admin, "ada@example.com", "admin", organization(), Value::Null).await;
    assert_eq!(
        admin.call(Method::DELETE, &last, Value::Null).await.0,
        409,
        "who is disabled is no administrator"
    );
    admin
        .call(Method::PATCH, &path, json!({ "disabled": false }))
        .await;
    assert_eq!(admin.call(Method::DELETE, &last, Value::Null).await.0, 204);
    let (status, answer) = admin.call(Method::GET, "/api/v1/users", Value::Null).await;
    assert_eq!(status, 403);
    assert!(
        answer["detail"].as_str().unwrap().contains("admin or auditor"),
        "{answer}"
    );
}

#[tokio::test]
async fn bindings_are_checked_and_changed() {
    let testbed = Testbed::start().await;
    testbed.cluster("prod").await;
    let admin = &testbed.client;
    service(admin, "ci").await;
    let user = json!({ "kind": "user", "name": "ci" });
    for (body, status) in [
        (
            json!({ "subject": user, "role": "root", "scope": organization() }),
            400,
        ),
        (
            json!({ "subject": user, "role": "viewer", "scope": { "kind": "everything" } }),
            400,
        ),
        (
            json!({ "subject": user, "role": "viewer", "scope": selected("") }),
            400,
        ),
        (
            json!({ "subject": user, "role": "viewer", "scope": selected("a in (") }),
            400,
        ),
        (
            json!({ "subject": user, "role": "viewer", "scope": of_cluster("nowhere") }),
            404,
        ),
        (
            json!({ "subject": user, "role": "viewer", "scope": organization(), "namespaces": [] }),
            400,
        ),
        (
            json!({ "subject": user, "role": "viewer", "scope": organization(), "namespaces": ["*"] }),
            400,
        ),
        (
            json!({ "subject": user, "role": "auditor", "scope": organization(), "namespaces": ["a"] }),
            400,
        ),
        (
            json!({ "subject": { "kind": "user", "name": "nobody" }, "role": "viewer", "scope": organization() }),
            404,
        ),
        (
            json!({ "subject": { "kind": "group", "name": "" }, "role": "viewer", "scope": organization() }),
            400,
        ),
        (json!({ "role": "viewer", "scope": organization() }), 400),
    ] {
        let (got, answer) = admin.call(Method::POST, "/api/v1/bindings", body.clone()).await;
        assert_eq!(got, status, "{body}: {answer}");
    }
    let id = bind(admin, "ci", "operator", of_cluster("prod"), json!(["b", "a"])).await;
    let path = format!("/api/v1/bindings/{id}");
    let (_, shown) = admin.call(Method::GET, &path, Value::Null).await;
    assert_eq!(
        (
            &shown["subject"]["name"],
            &shown["scope"]["cluster"]["name"],
            &shown["namespaces"]
        ),
        (&json!("ci"), &json!("prod"), &json!(["a", "b"]))
    );
    let (_, shown) = admin
        .call(Method::PATCH, &path, json!({ "role": "viewer" }))
        .await;
    assert_eq!(
        (&shown["role"], &shown["namespaces"]),
        (&json!("viewer"), &json!(["a", "b"]))
    );
    let (_, shown) = admin
        .call(Method::PATCH, &path, json!({ "namespaces": null }))
        .await;
    assert_eq!(
        (&shown["role"], &shown["namespaces"]),
        (&json!("viewer"), &Value::Null)
    );
    // They go with the cluster.
    assert_eq!(
        admin
            .call(Method::DELETE, "/api/v1/clusters/prod", Value::Null)
            .await
            .0,
        200
    );
    assert_eq!(admin.call(Method::GET, &path, Value::Null).await.0, 404);
}

#[tokio::test]
async fn whoever_is_locked_out_gets_in_again() {
    let testbed = Testbed::start().await;
    let admin = testbed.client.clone();
    service(&admin, "boss").await;
    bind(&admin, "boss", "admin", organization(), Value::Null).await;
    let boss = service(&admin, "boss2").await;
    bind(&admin, "boss2", "admin", organization(), Value::Null).await;
    let body = json!({ "disabled": true });
    assert_eq!(boss.call(Method::PATCH, "/api/v1/users/admin", body).await.0, 200);
    let (_, bindings) = boss.call(Method::GET, "/api/v1/bindings", Value::Null).await;
    let path = format!(
        "/api/v1/bindings/{}",
        bindings["items"][0]["id"].as_str().unwrap()
    );
    assert_eq!(boss.call(Method::DELETE, &path, Value::Null).await.0, 204);
    assert_eq!(
        admin.call(Method::GET, "/api/v1/whoami", Value::Null).await.0,
        401
    );
    let Testbed { gateway, dir, .. } = testbed;
    gateway.shutdown().await;

    let file = app::reset_admin(dir.path()).await.unwrap();
    assert_eq!(file, dir.path().join("admin-token"));
    let gateway = Gateway::start(Config::local(dir.path())).await.unwrap();
    let again = Client::admin(&gateway, dir.path());
    assert_ne!(again.token, admin.token);
    assert_eq!(again.call(Method::GET, "/api/v1/users", Value::Null).await.0, 200);
    let old = again.with_token(&admin.token);
    assert_eq!(old.call(Method::GET, "/api/v1/whoami", Value::Null).await.0, 401);
    // It is in the audit, between the two gateways, whose chain goes on.
    let found = entries(&again, "verb=reset").await;
    assert_eq!(found.len(), 1);
    assert_eq!(
        (
            &found[0]["phase"],
            &found[0]["resource"],
            &found[0]["name"],
            &found[0]["decision"]
        ),
        (&json!("event"), &json!("users"), &json!("admin"), &json!("allow"))
    );
    let all = entries(&again, "limit=1000").await;
    let verbs: Vec<_> = all
        .iter()
        .filter(|entry| entry["resource"] == "gateway")
        .map(|entry| &entry["verb"])
        .collect();
    assert_eq!(verbs, ["start", "stop", "start", "stop", "start"]);
    for pair in all.windows(2) {
        assert_eq!(
            pair[0]["prev"], pair[1]["hash"],
            "newest first, each with the hash of the one before"
        );
    }
    // A gateway that runs is not passed by.
    app::reset_admin(dir.path()).await.unwrap_err();
    assert_eq!(again.call(Method::GET, "/api/v1/users", Value::Null).await.0, 200);
    // A mistyped folder is not made into one.
    let nowhere = dir.path().join("nowhere");
    app::reset_admin(&nowhere).await.unwrap_err();
    assert!(!nowhere.exists());
}

#[tokio::test]
async fn lists_of_users_bindings_and_tokens_come_in_pages() {
    let testbed = Testbed::start().await;
    let admin = &testbed.client;
    for n in 0..7 {
        let name = format!("u{n}");
        service(admin, &name).await;
        bind(admin, &name, "viewer", organization(), Value::Null).await;
        made(admin, "/api/v1/tokens", json!({ "name": name })).await;
    }
    for (path, field, count) in [("users", "name", 8), ("bindings", "id", 8), ("tokens", "id", 8)] {
        let path = format!("/api/v1/{path}");
        let values = |page: &Value| -> Vec<Value> {
            page["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|item| item[field].clone())
                .collect()
        };
        let (_, whole) = admin.call(Method::GET, &path, Value::Null).await;
        assert_eq!(
            (values(&whole).len(), whole.get("nextCursor")),
            (count, None),
            "{path}: as before"
        );
        let (mut paged, mut cursor) = (Vec::new(), String::new());
        loop {
            let (status, page) = admin
                .call(Method::GET, &format!("{path}?limit=3{cursor}"), Value::Null)
                .await;
            assert_eq!(status, 200, "{page}");
            assert!(values(&page).len() <= 3);
            paged.extend(values(&page));
            match page["nextCursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        let key = |value: &Value| value.to_string();
        let (mut a, mut b) = (values(&whole), paged.clone());
        a.sort_by_key(key);
        b.sort_by_key(key);
        assert_eq!(a, b, "{path}: each once");
        for wrong in ["limit=x", "cursor=%21", "user=a"] {
            let (status, _) = admin
                .call(Method::GET, &format!("{path}?{wrong}"), Value::Null)
                .await;
            assert_eq!(status, 400, "{path}?{wrong}");
        }
    }
}
