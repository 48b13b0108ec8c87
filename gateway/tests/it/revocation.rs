//! Rights that are taken away: the next request is refused, and what is open ends, on every path; nothing else does.

use bytes::Bytes;
use http::Method;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::mpsc,
    time::{Instant, sleep, timeout},
};

use super::{
    agent::{MOMENT, connected},
    client::{Client, PATIENCE, Testbed, empty},
    events::Events,
    people::{bind, made, of_cluster, organization, selected, service},
    proxy::{REVOKED_WITHIN, open_streams, opened, upgrade_request},
};

const VERSION: &str = "/clusters/prod/kubernetes/version";
const WATCH: &str = "/clusters/prod/kubernetes/api/v1/namespaces/default/pods?watch=1";
const EXEC: &str = "/clusters/prod/kubernetes/api/v1/namespaces/default/pods/p/exec?command=sh";
const LOG: &str = "/clusters/prod/kubernetes/api/v1/namespaces/default/pods/big/log";

/// One of each kind of stream of a user.
struct Open {
    watches: Vec<Incoming>,
    exec: TokioIo<hyper::upgrade::Upgraded>,
    of_cluster: Events,
    fleet: Events,
    _connections: Vec<Box<dyn std::any::Any>>,
}

impl Open {
    async fn of(client: &Client) -> Self {
        let mut h1 = client.http1().await;
        let mut h2 = client.http2().await;
        let request = || client.request(Method::GET, WATCH, empty());
        let watches = vec![
            opened(h1.send_request(request()).await.unwrap()).await,
            opened(h2.send_request(request()).await.unwrap()).await,
        ];
        let mut connection = client.http1().await;
        let exec = connection
            .send_request(upgrade_request(client, EXEC))
            .await
            .unwrap();
        assert_eq!(exec.status(), 101);
        let mut exec = TokioIo::new(hyper::upgrade::on(exec).await.unwrap());
        exec.write_all(b"x").await.unwrap();
        exec.read_exact(&mut [0]).await.unwrap();
        let mut of_cluster = Events::open(client, "/clusters/prod/inventory/events").await;
        of_cluster.named("state").await;
        let mut fleet = Events::open(client, "/inventory/events").await;
        fleet.named("ready").await;
        Self {
            watches,
            exec,
            of_cluster,
            fleet,
            _connections: vec![Box::new(h1), Box::new(h2), Box::new(connection)],
        }
    }

    /// Waits until all of them have ended.
    async fn ended(mut self, why: &str) {
        let start = Instant::now();
        let ends = async {
            for watch in &mut self.watches {
                assert!(watch.frame().await.unwrap().is_err(), "{why}");
            }
            let ended = self.exec.read(&mut [0; 16]).await;
            assert!(matches!(ended, Ok(0) | Err(_)), "{why}: {ended:?}");
            while self.of_cluster.next().await.is_some() {}
            while self.fleet.next().await.is_some() {}
        };
        timeout(REVOKED_WITHIN, ends).await.expect(why);
        assert!(start.elapsed() < REVOKED_WITHIN, "{why}");
    }

    /// Makes sure that the streams to the cluster go on.
    async fn goes_on(&mut self) {
        for watch in &mut self.watches {
            timeout(MOMENT, watch.frame()).await.unwrap_err();
        }
        self.exec.write_all(b"y").await.unwrap();
        let mut byte = [0];
        timeout(PATIENCE, self.exec.read_exact(&mut byte))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(&byte, b"y");
    }
}

async fn status(client: &Client) -> u16 {
    client.call(Method::GET, VERSION, Value::Null).await.0.as_u16()
}

async fn patch(client: &Client, path: &str, body: Value) {
    let (status, answer) = client.call(Method::PATCH, path, body).await;
    assert_eq!(status, 200, "{path}: {answer}");
}

async fn delete(client: &Client, path: &str) {
    let (status, answer) = client.call(Method::DELETE, path, Value::Null).await;
    assert_eq!(status, 204, "{path}: {answer}");
}

#[tokio::test]
async fn each_way_to_take_a_right_away_ends_what_it_opened() {
    let testbed = Testbed::start().await;
    let (_agent, _tunnel) = connected(&testbed, "prod").await;
    let admin = &testbed.client;
    patch(
        admin,
        "/api/v1/clusters/prod",
        json!({ "labels": { "env": "prod" } }),
    )
    .await;
    let bystander = service(admin, "bystander").await;
    bind(admin, "bystander", "operator", of_cluster("prod"), Value::Null).await;
    let mut other = Open::of(&bystander).await;

    for (index, (way, after)) in [
        ("the token is deleted", 401),
        ("the user is disabled", 401),
        ("the user is deleted", 401),
        ("the binding is deleted", 404),
        ("the role becomes less", 200),
        ("the namespaces become fewer", 200),
        ("the group is left", 404),
        ("the binding of the group is deleted", 404),
        ("the label is another one", 404),
        ("the label is gone", 404),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("user{index}");
        let client = service(admin, &name).await;
        let by_group = way.contains("group");
        let binding = if by_group {
            patch(
                admin,
                &format!("/api/v1/users/{name}"),
                json!({ "groups": [name] }),
            )
            .await;
            let body = json!({
                "subject": { "kind": "group", "name": name }, "role": "operator", "scope": organization(),
            });
            let binding = made(admin, "/api/v1/bindings", body).await;
            binding["id"].as_str().unwrap().to_owned()
        } else if way.contains("label") {
            patch(
                admin,
                "/api/v1/clusters/prod",
                json!({ "labels": { "env": "prod" } }),
            )
            .await;
            bind(admin, &name, "operator", selected("env in (prod)"), Value::Null).await
        } else {
            bind(
                admin,
                &name,
                "operator",
                of_cluster("prod"),
                json!(["default", "a"]),
            )
            .await
        };
        let open = Open::of(&client).await;
        let (user, binding) = (
            format!("/api/v1/users/{name}"),
            format!("/api/v1/bindings/{binding}"),
        );
        match way {
            "the token is deleted" => {
                let (_, who) = client.call(Method::GET, "/api/v1/whoami", Value::Null).await;
                delete(
                    admin,
                    &format!("/api/v1/tokens/{}", who["tokenId"].as_str().unwrap()),
                )
                .await;
            }
            "the user is disabled" => patch(admin, &user, json!({ "disabled": true })).await,
            "the user is deleted" => delete(admin, &user).await,
            "the binding is deleted" | "the binding of the group is deleted" => delete(admin, &binding).await,
            "the role becomes less" => {
                // Of what is shown of the inventory, too.
                patch(admin, &binding, json!({ "role": "viewer", "namespaces": ["a"] })).await;
            }
            "the namespaces become fewer" => patch(admin, &binding, json!({ "namespaces": ["a"] })).await,
            "the group is left" => patch(admin, &user, json!({ "groups": ["x"] })).await,
            "the label is another one" => {
                patch(
                    admin,
                    "/api/v1/clusters/prod",
                    json!({ "labels": { "env": "test" } }),
                )
                .await;
            }
            _ => {
                patch(
                    admin,
                    "/api/v1/clusters/prod",
                    json!({ "labels": { "env": null } }),
                )
                .await;
            }
        }
        assert_eq!(status(&client).await, after, "{way}: from the next request on");
        open.ended(way).await;
        other.goes_on().await;
    }
}

#[tokio::test]
async fn a_token_whose_time_is_over_ends_what_it_opened() {
    let testbed = Testbed::start().await;
    let (_agent, _tunnel) = connected(&testbed, "prod").await;
    let body = json!({ "name": "short", "expiresInSeconds": 2 });
    let token = made(&testbed.client, "/api/v1/tokens", body).await;
    let short = testbed.client.with_token(token["token"].as_str().unwrap());
    let mut connection = short.http2().await;
    let request = short.request(Method::GET, WATCH, empty());
    let mut watch = opened(connection.send_request(request).await.unwrap()).await;
    let end = timeout(REVOKED_WITHIN * 2, watch.frame()).await.unwrap();
    assert!(end.unwrap().is_err());
    assert_eq!(status(&short).await, 401);
}

#[tokio::test]
async fn a_change_that_is_still_coming_in_is_not_made() {
    let testbed = Testbed::start().await;
    let admin = &testbed.client;
    let boss = service(admin, "boss").await;
    let binding = bind(admin, "boss", "admin", organization(), Value::Null).await;
    let (tx, rx) = mpsc::channel::<&'static str>(1);
    let frames = futures::stream::unfold(rx, async |mut rx| {
        let part = rx.recv().await?;
        Some((Ok(Frame::data(Bytes::from_static(part.as_bytes()))), rx))
    });
    let body = StreamBody::new(frames).boxed_unsync();
    let request = boss.request(Method::POST, "/api/v1/users", body);
    let mut connection = boss.http1().await;
    let answer = tokio::spawn(connection.send_request(request));
    tx.send("{\"name\": ").await.unwrap();
    // It has been looked at: its beginning is in the audit.
    let begun = async {
        loop {
            let (_, audit) = admin
                .call(Method::GET, "/api/v1/audit?user=boss", Value::Null)
                .await;
            if audit["items"].as_array().is_some_and(|items| !items.is_empty()) {
                break;
            }
        }
    };
    timeout(PATIENCE, begun).await.unwrap();
    sleep(MOMENT).await;
    delete(admin, &format!("/api/v1/bindings/{binding}")).await;
    tx.send("\"late\"}").await.unwrap();
    drop(tx);
    let answer = timeout(PATIENCE, answer).await.unwrap().unwrap().unwrap();
    assert_eq!(answer.status(), 403);
    let late = admin.call(Method::GET, "/api/v1/users/late", Value::Null).await.0;
    assert_eq!(late, 404);
}

#[tokio::test]
async fn what_is_still_allowed_goes_on() {
    let testbed = Testbed::start().await;
    let (_agent, _tunnel) = connected(&testbed, "prod").await;
    testbed.cluster("other").await;
    let admin = &testbed.client;
    let ci = service(admin, "ci").await;
    let first = bind(admin, "ci", "operator", of_cluster("prod"), json!(["default"])).await;
    let elsewhere = bind(admin, "ci", "admin", of_cluster("other"), Value::Null).await;
    let mut open = Open::of(&ci).await;
    let path = format!("/api/v1/bindings/{first}");
    // More of it, what is for another cluster, and what is for other people.
    patch(admin, &path, json!({ "namespaces": ["default", "more"] })).await;
    open.goes_on().await;
    patch(admin, &path, json!({ "role": "admin", "namespaces": null })).await;
    open.goes_on().await;
    delete(admin, &format!("/api/v1/bindings/{elsewhere}")).await;
    service(admin, "somebody").await;
    bind(admin, "somebody", "admin", organization(), Value::Null).await;
    patch(admin, "/api/v1/clusters/prod", json!({ "labels": { "a": "b" } })).await;
    delete(admin, "/api/v1/users/somebody").await;
    open.goes_on().await;
    // And what has outgrown it is taken away in turn.
    patch(admin, &path, json!({ "role": "viewer" })).await;
    assert_eq!(status(&ci).await, 200);
    open.ended("outgrown").await;
}

#[tokio::test]
async fn who_acts_as_another_loses_it_with_the_right_and_with_the_other() {
    let testbed = Testbed::start().await;
    let (_agent, _tunnel) = connected(&testbed, "prod").await;
    let admin = &testbed.client;
    let boss = service(admin, "boss").await;
    for way in [
        "the right is taken away",
        "the other is disabled",
        "the other's binding is deleted",
    ] {
        let name = format!("ci-{}", way.len());
        service(admin, &name).await;
        let binding = bind(admin, &name, "viewer", of_cluster("prod"), Value::Null).await;
        let right = made(
            admin,
            "/api/v1/impersonators",
            json!({ "user": "boss", "target": name }),
        )
        .await;
        let mut request = boss.request(Method::GET, WATCH, empty());
        request
            .headers_mut()
            .insert("impersonate-user", name.parse().unwrap());
        let mut connection = boss.http2().await;
        let mut watch = opened(connection.send_request(request).await.unwrap()).await;
        match way {
            "the right is taken away" => {
                delete(
                    admin,
                    &format!("/api/v1/impersonators/{}", right["id"].as_str().unwrap()),
                )
                .await;
            }
            "the other is disabled" => {
                patch(
                    admin,
                    &format!("/api/v1/users/{name}"),
                    json!({ "disabled": true }),
                )
                .await;
            }
            _ => delete(admin, &format!("/api/v1/bindings/{binding}")).await,
        }
        let end = timeout(REVOKED_WITHIN, watch.frame()).await.expect(way);
        assert!(end.unwrap().is_err(), "{way}");
    }
}

#[tokio::test]
async fn a_right_that_is_gone_ends_streams_also_of_users_who_do_not_read() {
    let testbed = Testbed::start().await;
    let (_agent, _tunnel) = connected(&testbed, "prod").await;
    let admin = &testbed.client;
    let ci = service(admin, "ci").await;
    let binding = bind(admin, "ci", "operator", of_cluster("prod"), Value::Null).await;
    let request = || ci.request(Method::GET, LOG, empty());
    let over1 = ci.http1().await.send_request(request()).await.unwrap();
    let mut sender = ci.http2().await;
    let over2 = sender.send_request(request()).await.unwrap();
    sleep(MOMENT).await;
    assert_eq!(open_streams(&testbed).await, 2);
    delete(admin, &format!("/api/v1/bindings/{binding}")).await;
    let ended = async {
        while open_streams(&testbed).await > 0 {
            sleep(std::time::Duration::from_millis(20)).await;
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
