//! Three defaults of HTTP/2 libraries each stop a whole tunnel. Each is provoked here; other requests stay served.
#![allow(clippy::unwrap_used, missing_docs)]

use std::time::Duration;

use http::Request;
use http_body_util::BodyExt;
use kantaloupe_tests::{
    service::{self, Checker},
    tunnel::{Session, empty},
};
use kantaloupe_tunnel::{
    link::Config,
    session::{Client, Kind, ORIGIN},
};
use tokio::time::{sleep, timeout};

async fn session() -> Session {
    let service = hyper::service::service_fn(service::serve);
    Session::start(Kind::Data, Config::default(), service, async |to| to)
        .await
        .unwrap()
}

async fn get(client: &Client, path: &str) -> http::Response<hyper::body::Incoming> {
    let request = Request::get(format!("{ORIGIN}{path}")).body(empty()).unwrap();
    timeout(Duration::from_secs(5), client.request(request))
        .await
        .expect("the tunnel is frozen")
        .unwrap()
}

async fn others_are_served(client: &Client) {
    let small = get(client, "/small").await.into_body().collect();
    assert_eq!(
        timeout(Duration::from_secs(5), small)
            .await
            .unwrap()
            .unwrap()
            .to_bytes()
            .len(),
        1024
    );
    let mut body = get(client, "/bulk?8000000").await.into_body();
    let mut checker = Checker::new();
    while let Some(frame) = timeout(Duration::from_secs(5), body.frame())
        .await
        .expect("bulk is frozen")
    {
        checker.feed(frame.unwrap().data_ref().unwrap());
    }
    assert_eq!(checker.count, 8_000_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stalled_reader_40() {
    let session = session().await;
    let mut stalled = vec![];
    for _ in 0..40 {
        stalled.push(get(&session.client, "/bulk?1000000000").await);
    }
    sleep(Duration::from_secs(1)).await; // until every stream window is full
    others_are_served(&session.client).await;
    // They were stalled, not dead: each still has what it was sent.
    for response in stalled {
        let frame = timeout(Duration::from_secs(5), response.into_body().frame())
            .await
            .unwrap();
        Checker::new().feed(frame.unwrap().unwrap().data_ref().unwrap());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancel_storm_5000() {
    let session = session().await;
    for round in 0..50 {
        let asks = (0..100).map(|_| get(&session.client, "/bulk?1000000"));
        let answers = futures::future::join_all(asks).await;
        assert_eq!(answers.len(), 100, "round {round}");
        drop(answers); // each resets its stream while its data is under way
    }
    others_are_served(&session.client).await;
    assert!(!session.client.is_closed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tiny_frames_300000() {
    let session = session().await;
    let mut body = get(&session.client, "/tiny?300000").await.into_body();
    let mut checker = Checker::new();
    while let Some(frame) = timeout(Duration::from_secs(10), body.frame())
        .await
        .expect("frozen")
    {
        checker.feed(frame.expect("the session was ended").data_ref().unwrap());
    }
    assert_eq!(checker.count, 300_000);
    // The same while nobody reads it.
    let stalled = get(&session.client, "/tiny?100000").await;
    sleep(Duration::from_secs(1)).await;
    others_are_served(&session.client).await;
    drop(stalled);
}
