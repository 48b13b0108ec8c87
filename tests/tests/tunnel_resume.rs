//! Streams survive the loss of the connection under them: real TCP, TLS and WebSocket, cut by a relay.
#![allow(clippy::unwrap_used, missing_docs)]

use std::time::Duration;

use http::Request;
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use kantaloupe_tests::{
    relay::{Cut, Relay},
    service::{self, Checker, Pattern, pattern},
    tunnel::{Session, empty},
};
use kantaloupe_tunnel::{
    link::Config,
    session::{Client, Kind, ORIGIN},
    upgrade,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Instant, sleep, timeout},
};

const CUTS: usize = 200;

/// Timers in proportion to loopback, so that blackholes are found fast.
fn quick() -> Config {
    Config {
        ping_busy: Duration::from_millis(50),
        ping_idle: Duration::from_millis(200),
        dead_after: Duration::from_millis(150),
        ..Config::default()
    }
}

async fn through_relay(kind: Kind, config: Config) -> (Session, Relay) {
    let mut relay = None;
    let session = Session::start(
        kind,
        config,
        hyper::service::service_fn(service::serve),
        async |to| {
            let made = Relay::start(to, None).await.unwrap();
            let addr = made.addr;
            relay = Some(made);
            addr
        },
    );
    (session.await.unwrap(), relay.unwrap())
}

async fn download(client: Client, n: u64) {
    let request = Request::get(format!("{ORIGIN}/bulk?{n}")).body(empty()).unwrap();
    let mut body = client.request(request).await.unwrap().into_body();
    let mut checker = Checker::new();
    while let Some(frame) = body.frame().await {
        checker.feed(frame.unwrap().data_ref().unwrap());
        // Slow enough that the cuts fall into it.
        if checker.count % (1 << 20) < 32 << 10 {
            sleep(Duration::from_millis(20)).await;
        }
    }
    assert_eq!(checker.count, n);
}

async fn upload(client: Client, n: u64) {
    let body = Pattern::new(n, 32 << 10)
        .map_err(|never| match never {})
        .boxed_unsync();
    let request = Request::post(format!("{ORIGIN}/count")).body(body).unwrap();
    let answer = client
        .request(request)
        .await
        .unwrap()
        .into_body()
        .collect()
        .await
        .unwrap();
    assert_eq!(answer.to_bytes(), n.to_string());
}

async fn watch(client: Client, n: u64) {
    let request = Request::get(format!("{ORIGIN}/watch?{n}")).body(empty()).unwrap();
    let lines = client
        .request(request)
        .await
        .unwrap()
        .into_body()
        .collect()
        .await
        .unwrap()
        .to_bytes();
    let want = (0..n).fold(String::new(), |all, i| all + &format!("{i}\n"));
    assert_eq!(lines, want);
}

async fn echo(client: Client, n: u64) {
    let connect = upgrade::connect_request(
        &http::Method::GET,
        &"SPDY/3.1".parse().unwrap(),
        "/echo".parse().unwrap(),
        http::HeaderMap::new(),
        empty(),
    );
    let response = client.request(connect.unwrap()).await.unwrap();
    let (mut r, mut w) = tokio::io::split(TokioIo::new(hyper::upgrade::on(response).await.unwrap()));
    let send = async {
        for block in 0..n / 1000 {
            let bytes: Vec<u8> = (block * 1000..(block + 1) * 1000).map(pattern).collect();
            w.write_all(&bytes).await.unwrap();
            sleep(Duration::from_millis(1)).await;
        }
        w.shutdown().await.unwrap();
    };
    let receive = async {
        let (mut checker, mut buf) = (Checker::new(), [0; 4096]);
        loop {
            match r.read(&mut buf).await.unwrap() {
                0 => return checker.count,
                n => checker.feed(&buf[..n]),
            }
        }
    };
    let ((), got) = tokio::join!(send, receive);
    assert_eq!(got, n / 1000 * 1000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn download_upload_watch_and_echo_survive_200_cuts_of_every_kind() {
    let (session, relay) = through_relay(Kind::Data, quick()).await;
    let client = || session.client.clone();
    let cuts = async {
        let kinds = [
            Cut::Reset,
            Cut::Blackhole,
            Cut::ResetDialer,
            Cut::FinDialer,
            Cut::ResetAcceptor,
        ];
        for i in 0..CUTS {
            // Not in step with anything: primes.
            sleep(Duration::from_millis([7, 31, 61, 97, 13][i % 5])).await;
            relay.cut(kinds[i % kinds.len()]);
        }
    };
    let mut work = tokio::task::JoinSet::new();
    let mut done = [0; 4];
    let start = |work: &mut tokio::task::JoinSet<usize>, which: usize| {
        let client = client();
        work.spawn(async move {
            match which {
                0 => download(client, 40 << 20).await,
                1 => upload(client, 40 << 20).await,
                2 => watch(client, 2000).await,
                _ => echo(client, 1_000_000).await,
            }
            which
        });
    };
    (0..4).for_each(|which| start(&mut work, which));
    let mut cuts = std::pin::pin!(cuts);
    let mut cutting = true;
    while cutting {
        tokio::select! {
            () = &mut cuts, if cutting => cutting = false,
            Some(which) = work.join_next() => {
                let which = which.unwrap();
                done[which] += 1;
                start(&mut work, which);
            }
        }
    }
    while let Some(which) = timeout(Duration::from_mins(1), work.join_next()).await.unwrap() {
        done[which.unwrap()] += 1;
    }
    assert!(
        done.iter().all(|n| *n > 0),
        "each ran to its end at least once: {done:?}"
    );
    assert!(!session.client.is_closed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_made_while_the_connection_is_gone_is_answered_when_it_is_back() {
    let (session, relay) = through_relay(Kind::Control, quick()).await;
    relay.refuse(true);
    relay.cut(Cut::Reset);
    timeout(
        Duration::from_secs(5),
        session
            .client
            .link()
            .subscribe()
            .wait_for(|s| s.down_since.is_some()),
    )
    .await
    .unwrap()
    .unwrap();
    let ask = session.get("/small");
    let back = async {
        sleep(Duration::from_millis(300)).await;
        relay.refuse(false);
    };
    let (answer, ()) = tokio::join!(timeout(Duration::from_secs(10), ask), back);
    assert_eq!(answer.unwrap().unwrap().status(), 200);
    assert_eq!(session.client.down_since(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_without_a_connection_expires_and_its_streams_end_with_an_error() {
    let config = Config {
        expiry: Duration::from_millis(500),
        ..quick()
    };
    let (session, relay) = through_relay(Kind::Data, config).await;
    let mut body = session.get("/stall").await.unwrap().into_body();
    relay.refuse(true);
    relay.cut(Cut::Reset);
    let start = Instant::now();
    let end = timeout(Duration::from_secs(10), body.frame()).await.unwrap();
    assert!(end.unwrap().is_err());
    assert!(start.elapsed() >= Duration::from_millis(450));
    timeout(Duration::from_secs(1), session.client.closed())
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_a_session_ends_its_streams_at_both_ends_at_once() {
    let (session, _relay) = through_relay(Kind::Data, Config::default()).await;
    let mut body = session.get("/stall").await.unwrap().into_body();
    session.client.close();
    let end = timeout(Duration::from_secs(1), body.frame()).await.unwrap();
    assert!(end.unwrap().is_err());
    timeout(Duration::from_secs(1), session.server)
        .await
        .unwrap()
        .unwrap();
    assert!(session.listener.acceptor.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn draining_lets_a_stream_finish_and_then_ends_the_session() {
    let (session, _relay) = through_relay(Kind::Data, Config::default()).await;
    let running = tokio::spawn(watch(session.client.clone(), 300));
    sleep(Duration::from_millis(100)).await;
    session.drain.cancel();
    running.await.unwrap();
    timeout(Duration::from_secs(2), session.server)
        .await
        .unwrap()
        .unwrap();
}
