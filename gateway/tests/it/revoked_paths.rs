//! How long a stream lives after its right is gone, on every path and also if its user neither reads nor writes.

use std::{any::Any, time::Duration};

use bytes::Bytes;
use http::{Method, Request};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::{Instant, sleep, timeout},
};

use super::{
    agent::{MOMENT, connected},
    client::{Body, Client, Testbed, empty},
    events::Events,
    proxy::{REVOKED_WITHIN, open_streams, opened},
};

const API: &str = "/clusters/prod/kubernetes/api/v1/namespaces/default";

static CHUNK: [u8; 65536] = [b'x'; 65536];

/// What keeps a stream open on the user's side.
type Held = Box<dyn Any + Send>;

fn upgrade(client: &Client, protocol: &str) -> Request<Body> {
    let method = if protocol == "websocket" {
        Method::GET
    } else {
        Method::POST
    };
    let mut request = client.request(method, &format!("{API}/pods/p/exec?command=sh"), empty());
    for (name, value) in [
        ("connection", "Upgrade"),
        ("upgrade", protocol),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-protocol", "v5.channel.k8s.io"),
    ] {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    request
}

/// An exec that has echoed one byte.
async fn exec(client: &Client, protocol: &str) -> TokioIo<hyper::upgrade::Upgraded> {
    let response = client
        .http1()
        .await
        .send_request(upgrade(client, protocol))
        .await
        .unwrap();
    assert_eq!(response.status(), 101, "{protocol}");
    let mut stream = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    stream.write_all(b"x").await.unwrap();
    stream.read_exact(&mut [0]).await.unwrap();
    stream
}

/// An upload of which one part has come back; more follows if `more`, which nobody reads.
async fn upload(client: &Client, http2: bool, more: bool) -> Held {
    let first = futures::stream::once(async { Ok(Frame::data(Bytes::from_static(b"first"))) });
    let rest = futures::stream::repeat_with(|| Ok(Frame::data(Bytes::from_static(&CHUNK))));
    let body = if more {
        StreamBody::new(futures::StreamExt::chain(first, rest)).boxed_unsync()
    } else {
        StreamBody::new(futures::StreamExt::chain(first, futures::stream::pending())).boxed_unsync()
    };
    let request = client.request(Method::POST, &format!("{API}/configmaps"), body);
    if http2 {
        let mut sender = client.http2().await;
        let mut response = sender.send_request(request).await.unwrap().into_body();
        response.frame().await.unwrap().unwrap();
        Box::new((sender, response))
    } else {
        let mut sender = client.http1().await;
        let mut response = sender.send_request(request).await.unwrap().into_body();
        response.frame().await.unwrap().unwrap();
        Box::new((sender, response))
    }
}

async fn open(path: &str, client: &Client) -> Held {
    let watch = || {
        client.request(
            Method::GET,
            &format!("{}/pods?watch=1", API.replace("/namespaces/default", "")),
            empty(),
        )
    };
    let log = || client.request(Method::GET, &format!("{API}/pods/big/log"), empty());
    match path {
        "HTTP/1.1" => {
            let mut sender = client.http1().await;
            let body = opened(sender.send_request(watch()).await.unwrap()).await;
            Box::new((sender, body))
        }
        "HTTP/2" => {
            let mut sender = client.http2().await;
            let body = opened(sender.send_request(watch()).await.unwrap()).await;
            Box::new((sender, body))
        }
        "HTTP/1.1, never reading" => Box::new(client.http1().await.send_request(log()).await.unwrap()),
        "HTTP/2, never reading" => {
            let mut sender = client.http2().await;
            let response = sender.send_request(log()).await.unwrap();
            Box::new((sender, response))
        }
        "HTTP/1.1 upload, never writing" => upload(client, false, false).await,
        "HTTP/2 upload, never writing" => upload(client, true, false).await,
        "HTTP/1.1 upload, never reading" => upload(client, false, true).await,
        "HTTP/2 upload, never reading" => upload(client, true, true).await,
        "SPDY" => Box::new(exec(client, "SPDY/3.1").await),
        "WebSocket" => Box::new(exec(client, "websocket").await),
        "WebSocket, never reading" => {
            let mut stream = exec(client, "websocket").await;
            // Until nothing goes any more, in either direction.
            let block = vec![b'x'; 1 << 20];
            while timeout(MOMENT, stream.write_all(&block)).await.is_ok() {}
            Box::new(stream)
        }
        other => unreachable!("{other}"),
    }
}

const PATHS: [&str; 11] = [
    "HTTP/1.1",
    "HTTP/2",
    "HTTP/1.1, never reading",
    "HTTP/2, never reading",
    "HTTP/1.1 upload, never writing",
    "HTTP/2 upload, never writing",
    "HTTP/1.1 upload, never reading",
    "HTTP/2 upload, never reading",
    "SPDY",
    "WebSocket",
    "WebSocket, never reading",
];

async fn token(testbed: &Testbed, name: &str) -> (Client, String) {
    let (status, made) = testbed
        .client
        .call(Method::POST, "/api/v1/tokens", json!({ "name": name }))
        .await;
    assert_eq!(status, 201, "{made}");
    let text = |name: &str| made[name].as_str().unwrap().to_owned();
    (testbed.client.with_token(&text("token")), text("id"))
}

/// Waits until the gateway has no stream of users any more; how long that took.
async fn gone(testbed: &Testbed, what: &str) -> Duration {
    let start = Instant::now();
    let ended = async {
        while open_streams(testbed).await > 0 {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(REVOKED_WITHIN, ended)
        .await
        .unwrap_or_else(|_| panic!("{what}: open after two seconds"));
    start.elapsed()
}

#[tokio::test]
async fn every_path_ends_within_two_seconds_of_its_token_and_its_cluster() {
    let testbed = Testbed::start().await;
    let (_agent, _tunnel) = connected(&testbed, "prod").await;
    for path in PATHS {
        let (client, id) = token(&testbed, path).await;
        let held = open(path, &client).await;
        sleep(MOMENT).await;
        assert_eq!(open_streams(&testbed).await, 1, "{path}");
        let path_of = format!("/api/v1/tokens/{id}");
        let (status, _) = testbed.client.call(Method::DELETE, &path_of, Value::Null).await;
        assert_eq!(status, 204);
        let took = gone(&testbed, path).await;
        eprintln!("{path}: {} ms after its token was deleted", took.as_millis());
        drop(held);
    }
    let mut all = Vec::new();
    for path in PATHS {
        all.push(open(path, &testbed.client).await);
    }
    let mut events = Events::open(&testbed.client, "/clusters/prod/inventory/events").await;
    events.named("state").await;
    sleep(MOMENT).await;
    assert_eq!(open_streams(&testbed).await, u64::try_from(PATHS.len()).unwrap());
    let (status, _) = testbed
        .client
        .call(Method::POST, "/api/v1/clusters/prod/revoke", Value::Null)
        .await;
    assert_eq!(status, 200);
    let took = gone(&testbed, "all").await;
    let sse = async { while events.next().await.is_some() {} };
    timeout(REVOKED_WITHIN.saturating_sub(took), sse)
        .await
        .expect("server-sent events end too");
    eprintln!(
        "all of them: {} ms after their cluster was revoked",
        took.as_millis()
    );
    drop(all);
    // The audit says of each why it ended.
    let (_, audit) = testbed
        .client
        .call(
            Method::GET,
            "/api/v1/audit?phase=end&cluster=prod&limit=1000",
            Value::Null,
        )
        .await;
    let items = audit["items"].as_array().unwrap();
    let revoked = items
        .iter()
        .filter(|entry| entry["reason"].as_str().is_some_and(|reason| !reason.is_empty()));
    assert!(revoked.count() >= 2 * PATHS.len(), "{audit}");
}
