//! What an agent answers to its own users: at most they are hurt.

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::FutureExt as _;
use http::{HeaderName, HeaderValue, Method, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::{body::Incoming, service::service_fn};
use kantaloupe_tunnel::session::{self, Kind};
use tokio::time::{sleep, timeout};

use super::{
    agent::Serve,
    client::{Body, BoxError, empty, text},
    siege::{Siege, resident},
};

const VERSION: &str = "/clusters/evil/kubernetes/version";

/// Answers every request with what a function makes.
fn serving(answer: fn(&Request<Incoming>) -> Response<Body>) -> Serve {
    Arc::new(move |link, leave| {
        async move {
            let service = service_fn(move |request| async move { Ok::<_, Infallible>(answer(&request)) });
            let _ = session::serve(link, Kind::Data, service, leave).await;
        }
        .boxed()
    })
}

fn endless(_: &Request<Incoming>) -> Response<Body> {
    static CHUNK: [u8; 65536] = [b'x'; 65536];
    let chunks = futures::stream::repeat_with(|| Ok::<_, BoxError>(Frame::data(Bytes::from_static(&CHUNK))));
    Response::new(StreamBody::new(chunks).boxed_unsync())
}

/// Headers that are not an answer's to set.
fn lying(request: &Request<Incoming>) -> Response<Body> {
    let mut response = Response::new(text("lies"));
    let upgrade = request.method() == Method::CONNECT;
    for (name, value) in [
        ("set-cookie", "session=stolen; Domain=localhost"),
        ("www-authenticate", "Basic realm=\"gateway\""),
        ("connection-x", "y"),
        ("kantaloupe-upgrade-status", if upgrade { "999" } else { "101" }),
        ("kantaloupe-upgrade-protocol", "h2c"),
    ] {
        response
            .headers_mut()
            .append(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    response
}

#[tokio::test]
async fn h38_to_h40_answers() {
    let siege = Siege::start().await;
    // h38: answers that never end, which their users do not read.
    let evil = siege.evil.connect_serving(serving(endless)).await;
    siege.testbed.wait_for("evil", "connected").await;
    let before = resident();
    let mut unread = vec![];
    for _ in 0..40 {
        let request = siege.testbed.client.request(Method::GET, VERSION, empty());
        let response = siege
            .testbed
            .client
            .http1()
            .await
            .send_request(request)
            .await
            .unwrap();
        unread.push(response);
    }
    sleep(Duration::from_secs(2)).await;
    siege
        .holds("h38: 40 answers without an end that nobody reads")
        .await;
    let grown = resident().saturating_sub(before);
    assert!(grown < 256 << 20, "h38: {} MiB more", grown >> 20);
    drop(unread);
    drop(evil);
    siege.testbed.wait_for("evil", "reconnecting").await;
    // h39: headers that are not an answer's to set, and an upgrade that is none.
    let evil = siege.evil.connect_serving(serving(lying)).await;
    siege.testbed.wait_for("evil", "connected").await;
    let client = &siege.testbed.client;
    let (_, headers, _) = client
        .exchange(client.request(Method::GET, VERSION, empty()))
        .await;
    for name in ["set-cookie", "www-authenticate"] {
        assert!(!headers.contains_key(name), "h39: {headers:?}");
    }
    let mut upgrade = client.request(
        Method::POST,
        "/clusters/evil/kubernetes/api/v1/namespaces/a/pods/b/exec",
        empty(),
    );
    upgrade
        .headers_mut()
        .insert("connection", HeaderValue::from_static("Upgrade"));
    upgrade
        .headers_mut()
        .insert("upgrade", HeaderValue::from_static("SPDY/3.1"));
    let response = client.http1().await.send_request(upgrade).await.unwrap();
    assert_eq!(response.status(), 502, "h39: an upgrade to something else");
    siege.holds("h39: headers that are not an answer's to set").await;
    drop(evil);
    // h40: an agent that takes its leave and comes back, again and again.
    for _ in 0..30 {
        let evil = siege.evil.connect().await;
        evil.leave();
        drop(evil);
    }
    siege.holds("h40: 30 farewells").await;
    let last = siege.evil.connect().await;
    siege.testbed.wait_for("evil", "connected").await;
    let served = timeout(
        Duration::from_secs(10),
        client.call(Method::GET, VERSION, serde_json::Value::Null),
    )
    .await;
    assert_eq!(served.unwrap().0, 200, "h40: who behaves again is served again");
    drop(last);
}
