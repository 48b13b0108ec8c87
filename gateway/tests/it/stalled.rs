//! Readers who do not read: they do not take a cluster from everybody else.

use std::time::Duration;

use futures::future::join_all;
use http::{Method, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::time::{sleep, timeout};

use super::{
    agent::connected,
    client::{Body, Client, PATIENCE, Testbed, empty},
    people::{bind, organization, service},
    proxy::upgrade_request,
};

/// 64 MiB.
const BIG: &str = "/clusters/prod/kubernetes/api/v1/namespaces/default/pods/big/log";
const SMALL: &str = "/clusters/prod/kubernetes/version";
const EXEC: &str = "/clusters/prod/kubernetes/api/v1/namespaces/default/pods/p/exec?command=sh";
/// What one user may hold of the data session's window of 64 MiB, in answers of a megabyte.
const SHARE: usize = 40;
const WHOLE: usize = 64 << 20;
/// More than can wait on the way.
const SOME: usize = 8 << 20;

type Sender = hyper::client::conn::http1::SendRequest<Body>;

/// An answer of which only the head is read.
async fn stalled(client: &Client) -> (Sender, Response<Incoming>) {
    let mut sender = client.http1().await;
    let request = client.request(Method::GET, BIG, empty());
    let answer = timeout(PATIENCE, sender.send_request(request))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(answer.status(), 200);
    (sender, answer)
}

/// Whether so much of an answer comes.
async fn comes(answer: Response<Incoming>, enough: usize) -> bool {
    let mut body = answer.into_body();
    let mut n = 0;
    while n < enough
        && let Some(frame) = timeout(PATIENCE, body.frame()).await.expect("it stands still")
    {
        match frame {
            Ok(frame) => n += frame.data_ref().map_or(0, bytes::Bytes::len),
            Err(_) => return false,
        }
    }
    n >= enough
}

/// A small answer comes.
async fn small(client: &Client) {
    let request = client.request(Method::GET, SMALL, empty());
    let (status, _, _) = timeout(PATIENCE, client.exchange(request)).await.expect("frozen");
    assert_eq!(status, 200);
}

async fn evicted(testbed: &Testbed) -> usize {
    let metrics = testbed.admin("/metrics").await;
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix("kantaloupe_gateway_evicted_answers_total "));
    line.unwrap().parse().unwrap()
}

/// A user who may read.
async fn viewer(testbed: &Testbed, name: &str) -> Client {
    let client = service(&testbed.client, name).await;
    bind(
        &testbed.client,
        name,
        "operator",
        organization(),
        serde_json::Value::Null,
    )
    .await;
    client
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_who_does_not_read_does_not_freeze_the_cluster_for_others() {
    let testbed = Testbed::start().await;
    let (_agent, _tunnel) = connected(&testbed, "prod").await;
    let (ann, bob) = (viewer(&testbed, "ann").await, viewer(&testbed, "bob").await);
    let patient = stalled(&bob).await;
    let all = join_all((0..100).map(|_| stalled(&ann))).await;
    small(&bob).await;
    assert!(comes(stalled(&bob).await.1, WHOLE).await);
    small(&bob).await;
    // What is left fills its share first.
    let all_that_go = async {
        while evicted(&testbed).await < 100 - SHARE {
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(PATIENCE, all_that_go).await.expect("too few were ended");
    assert_eq!(evicted(&testbed).await, 100 - SHARE);
    // Who holds less than his share was only waited for.
    assert!(comes(patient.1, WHOLE).await);
    // Those that were ended say so; the others go on where they were.
    let read = join_all(all.into_iter().map(async |(sender, answer)| {
        let comes = comes(answer, SOME).await;
        drop(sender);
        comes
    }));
    assert_eq!(read.await.into_iter().filter(|comes| *comes).count(), SHARE);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_nobody_reads_end_too() {
    use tokio::io::AsyncWriteExt as _;

    let testbed = Testbed::start().await;
    let (_agent, _tunnel) = connected(&testbed, "prod").await;
    let (ann, bob) = (viewer(&testbed, "ann").await, viewer(&testbed, "bob").await);
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let mut sender = ann.http1().await;
        let answer = sender.send_request(upgrade_request(&ann, EXEC)).await.unwrap();
        assert_eq!(answer.status(), 101);
        let io = hyper::upgrade::on(answer).await.unwrap();
        // The pod sends back what it gets, and nobody reads that.
        writers.spawn(async move {
            let mut io = hyper_util::rt::TokioIo::new(io);
            let block = vec![7; 64 << 10];
            while io.write_all(&block).await.is_ok() {}
        });
    }
    sleep(Duration::from_secs(4)).await;
    small(&bob).await;
    assert!(comes(stalled(&bob).await.1, WHOLE).await);
    let ended = evicted(&testbed).await;
    assert!((1..=100 - SHARE).contains(&ended), "{ended}");
}
