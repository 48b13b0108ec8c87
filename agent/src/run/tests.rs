//! Whole agents between a gateway and an API server, all in this process and over real TLS.

use std::{io, path::PathBuf};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use kantaloupe_tunnel::session::BoxError;
use tokio::{
    net::TcpListener,
    sync::mpsc,
    time::{Instant, timeout},
};
use tracing_subscriber::{filter::LevelFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use super::*;
use crate::testing::{
    self, Handler, eventually, full,
    gateway::{DATA_NONCE, Gateway, Tunnel, hello, open_data, token},
    handler,
    kubernetes::{BEARER, CLUSTER_UID, Kubernetes},
    plain_get, soon,
};

struct Bench {
    gateway: Gateway,
    kubernetes: Kubernetes,
    config: Config,
    token_text: String,
    shutdown: CancellationToken,
    /// Writes the body of every answer to `/stream`, until dropped.
    lines: mpsc::Sender<Bytes>,
    _directory: tempfile::TempDir,
}

impl Bench {
    async fn new() -> Self {
        let (lines, receiver) = mpsc::channel(1);
        let gateway = Gateway::start().await;
        let kubernetes = Kubernetes::start_with(api(receiver)).await;
        let directory = tempfile::tempdir().unwrap();
        let token_file = directory.path().join("token");
        let config = testing::config(gateway.address, Some(gateway.certificate.pin()), &token_file);
        let mut bench = Self {
            gateway,
            kubernetes,
            config,
            token_text: String::new(),
            shutdown: CancellationToken::new(),
            lines,
            _directory: directory,
        };
        bench.give_token();
        bench
    }

    fn token_file(&self) -> &PathBuf {
        &self.config.token_file
    }

    fn give_token(&mut self) {
        self.token_text = token().1;
        std::fs::write(self.token_file(), &self.token_text).unwrap();
    }

    async fn start(&self) -> Agent {
        start(
            self.config.clone(),
            self.kubernetes.config(),
            self.shutdown.clone(),
        )
        .await
        .unwrap()
    }

    /// Starts an agent and answers its first tunnel.
    async fn connected(&mut self) -> (Agent, Tunnel) {
        let agent = self.start().await;
        let tunnel = self.gateway.tunnel().await;
        tunnel.hello().await;
        soon(agent.ready()).await;
        (agent, tunnel)
    }
}

/// `/stream` is written by the test; everything else is a short text.
fn api(lines: mpsc::Receiver<Bytes>) -> Handler {
    let lines = Mutex::new(Some(lines));
    handler(move |request: Request<Incoming>| {
        let lines = (request.uri().path() == "/stream").then(|| lines.lock().take().unwrap());
        async move {
            let Some(lines) = lines else {
                return Response::new(full("short"));
            };
            let frames = stream::unfold(lines, |mut lines| async {
                lines
                    .recv()
                    .await
                    .map(|bytes| (Ok::<_, BoxError>(Frame::data(bytes)), lines))
            });
            Response::new(StreamBody::new(frames.boxed()).boxed_unsync())
        }
    })
}

async fn next_line(body: &mut Incoming) -> Bytes {
    soon(body.frame()).await.unwrap().unwrap().into_data().unwrap()
}

/// The stream ends as its sender ended it, with nothing more in it.
async fn assert_ended(body: Incoming) {
    let rest = soon(body.collect()).await.unwrap();
    assert!(rest.trailers().is_none());
    assert_eq!(rest.to_bytes(), "");
}

async fn not_ready_for(agent: &Agent, code: &str) -> String {
    let address = agent.health_address();
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let (status, body) = plain_get(address, "/readyz").await;
        if status == 503 && body.contains(code) {
            return body;
        }
        assert!(
            Instant::now() < deadline,
            "{code} never came; the last answer was {status} {body}"
        );
        sleep(READY_POLL).await;
    }
}

#[tokio::test]
async fn it_enrols_connects_says_who_it_is_and_serves() {
    let mut bench = Bench::new().await;
    let agent = bench.start().await;
    let tunnel = bench.gateway.tunnel().await;
    assert!(!agent.is_ready(), "a tunnel is ready after Hello, not before");
    let hello = tunnel.hello().await;
    soon(agent.ready()).await;
    assert_eq!(hello.agent_version, crate::VERSION);
    assert_eq!(hello.protocol_version, 1);
    assert_eq!(hello.cluster_uid, CLUSTER_UID);
    assert_eq!(hello.pod_name, "agent-0");
    assert_eq!(hello.access_profile, "admin");
    let limits = hello.access_limits.unwrap();
    assert!(limits.exec && limits.logs && limits.port_forward && !limits.proxy);
    assert!(limits.namespaces.is_empty() && limits.services.is_empty() && limits.organization.is_empty());
    assert_eq!(tunnel.claims.cluster_id, "c-1a2b3c4d");
    assert_eq!(tunnel.claims.cluster_uid, CLUSTER_UID);
    assert_eq!(tunnel.claims.audience, "test-gateway");
    assert_eq!(tunnel.claims.nonce, "nonce-1");
    assert_eq!(tunnel.claims.instance, "agent-0");

    let body = tunnel
        .get("/api/v1/pods")
        .await
        .into_body()
        .collect()
        .await
        .unwrap()
        .to_bytes();
    assert_eq!(body, "short");
    let (status, metrics) = plain_get(agent.health_address(), "/metrics").await;
    assert_eq!(status, 200);
    for line in [
        "kantaloupe_agent_tunnel_ready 1",
        "kantaloupe_agent_tunnel_opened_total 1",
        "kantaloupe_agent_tunnel_dials_total{session=\"data\",result=\"ok\"} 1",
        "kantaloupe_agent_proxy_requests_total{verb=\"list\",code=\"2xx\"} 1",
        "kantaloupe_agent_proxy_sent_bytes_total 5",
    ] {
        assert!(metrics.contains(line), "{line} is missing in\n{metrics}");
    }
}

#[tokio::test]
async fn data_sessions_come_when_asked_for_and_go_without_the_tunnel() {
    let mut bench = Bench::new().await;
    let agent = bench.start().await;
    let control = bench.gateway.session().await.calls().await;
    let mut tunnel = {
        let data = bench.gateway.data(&control).await;
        assert_eq!(data.claims.nonce, DATA_NONCE, "the nonce that came with the wish");
        Tunnel {
            id: data.claims.tunnel_id.clone(),
            claims: data.claims.clone(),
            control,
            data: data.client().await,
        }
    };
    tunnel.hello().await;
    soon(agent.ready()).await;
    let mut running = tunnel.get("/stream").await.into_body();
    for round in 0..3 {
        // As the gateway ends an idle one: the last clone goes. What runs on it goes on.
        let next = bench.gateway.data(&tunnel.control).await.client().await;
        let old = std::mem::replace(&mut tunnel.data, next);
        let link = old.link().clone();
        drop(old);
        assert_eq!(tunnel.get("/api").await.status(), 200);
        let line = Bytes::from(format!("line {round}"));
        bench.lines.send(line.clone()).await.unwrap();
        assert_eq!(next_line(&mut running).await, line);
        if round == 0 {
            bench.gateway.cut();
            assert!(link.state().ended.is_none(), "it has a stream");
        } else {
            eventually("the idle session ends", || link.state().ended.is_some()).await;
        }
    }
    assert!(agent.is_ready());
    let (_, metrics) = plain_get(agent.health_address(), "/metrics").await;
    assert!(
        metrics.contains("kantaloupe_agent_tunnel_opened_total 1\n"),
        "{metrics}"
    );

    let wishes = futures::future::join_all((0..8).map(|_| open_data(&tunnel.control))).await;
    assert!(wishes.iter().any(Result::is_err), "there is a limit");
    let mut idle = vec![];
    for () in wishes.iter().flatten() {
        idle.push(bench.gateway.session().await.client().await);
    }
    bench.shutdown.cancel();
    let Bench { lines, .. } = bench;
    drop(lines);
    assert_ended(running).await;
    soon(agent.join()).await.unwrap();
}

#[tokio::test]
async fn an_idle_tunnel_drains_at_once() {
    let mut bench = Bench::new().await;
    let agent = bench.start().await;
    let control = bench.gateway.session().await.calls().await;
    hello(&control).await;
    soon(agent.ready()).await;
    let began = Instant::now();
    bench.shutdown.cancel();
    soon(agent.join()).await.unwrap();
    soon(control.closed()).await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    open_data(&control).await.unwrap_err();
}

#[tokio::test]
async fn the_version_of_kubernetes_is_told() {
    let mut bench = Bench::new().await;
    let (_agent, tunnel) = bench.connected().await;
    // The version is read beside dialing; the next Hello has it in any case.
    sleep(Duration::from_millis(100)).await;
    assert_eq!(tunnel.hello().await.kubernetes_version, "v1.34.4");
}

#[tokio::test]
async fn it_comes_back_after_the_gateway_restarts() {
    let mut bench = Bench::new().await;
    let (agent, first) = bench.connected().await;
    let restarted = Instant::now();
    bench.gateway.restart();
    eventually("the loss is noticed", || !agent.is_ready()).await;
    let second = bench.gateway.tunnel().await;
    second.hello().await;
    soon(agent.ready()).await;
    assert!(
        restarted.elapsed() < Duration::from_secs(5),
        "it took {:?}",
        restarted.elapsed()
    );
    assert_ne!(first.id, second.id);
    assert_eq!(second.get("/api").await.status(), 200);
    assert_eq!(bench.gateway.state.lock().keys.len(), 1, "it did not enrol again");
}

#[tokio::test]
async fn a_cut_connection_is_not_seen_by_a_running_stream() {
    let mut bench = Bench::new().await;
    let (agent, tunnel) = bench.connected().await;
    let mut running = tunnel.get("/stream").await.into_body();
    for number in 0..5 {
        bench.gateway.cut();
        let line = Bytes::from(format!("line {number}"));
        bench.lines.send(line.clone()).await.unwrap();
        assert_eq!(next_line(&mut running).await, line);
        assert_eq!(tunnel.get("/api").await.status(), 200);
    }
    assert!(agent.is_ready());
    let (_, metrics) = plain_get(agent.health_address(), "/metrics").await;
    assert!(
        metrics.contains("kantaloupe_agent_tunnel_opened_total 1\n"),
        "{metrics}"
    );
    let resumes = metrics
        .lines()
        .find_map(|line| line.strip_prefix("kantaloupe_agent_link_resumes_total "))
        .unwrap();
    // Both links each time, unless a cut came while one was still dialing.
    assert!(
        (5..=10).contains(&resumes.parse::<u32>().unwrap()),
        "{resumes} resumes"
    );
}

#[tokio::test]
async fn a_gateway_that_takes_tunnels_and_drops_them_is_not_hammered() {
    let mut bench = Bench::new().await;
    let _agent = bench.start().await;
    let began = Instant::now();
    for _ in 0..4 {
        let tunnel = bench.gateway.tunnel().await;
        tunnel.data.close();
        tunnel.control.close();
    }
    // 200 + 300 + 450 ms, each with up to as much jitter on top.
    assert!(
        began.elapsed() >= Duration::from_millis(950),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn a_revoked_agent_stays_unready_and_asks_seldom() {
    let mut bench = Bench::new().await;
    let (agent, tunnel) = bench.connected().await;
    let before = bench.gateway.state.lock().attempts;
    bench.gateway.state.lock().refuse_tunnel = Some((403, "KTA-AUTH-007", "cluster prod is revoked"));
    tunnel.data.close();
    tunnel.control.close();
    let body = not_ready_for(&agent, "KTA-AUTH-007").await;
    assert!(body.contains("luster prod is revoked"), "{body}");
    sleep(Duration::from_secs(1)).await;
    let attempts = bench.gateway.state.lock().attempts - before;
    assert!(
        (1..=2).contains(&attempts),
        "one attempt, perhaps with its resume, not {attempts}"
    );
}

#[tokio::test]
async fn a_new_token_brings_a_revoked_agent_back() {
    let mut bench = Bench::new().await;
    let (agent, tunnel) = bench.connected().await;
    bench.give_token();
    {
        let mut state = bench.gateway.state.lock();
        state.refuse_tunnel = Some((403, "KTA-AUTH-007", "revoked"));
        state.refuse_key = Some("k-1".to_owned());
    }
    tunnel.data.close();
    tunnel.control.close();
    let again = bench.gateway.tunnel().await;
    assert_eq!(again.claims.key_id, "k-2");
    again.hello().await;
    soon(agent.ready()).await;
}

#[tokio::test]
async fn a_new_token_ends_the_wait_after_a_refused_one() {
    let mut bench = Bench::new().await;
    bench.gateway.state.lock().refuse_enrolment = Some((401, "KTA-AUTH-003", "the token expired"));
    let agent = bench.start().await;
    not_ready_for(&agent, "KTA-AUTH-003").await;
    bench.gateway.state.lock().refuse_enrolment = None;
    bench.give_token();
    // Well before the minute that a permanent failure waits.
    bench.gateway.tunnel().await.hello().await;
    soon(agent.ready()).await;
}

#[tokio::test]
async fn drain_asks_for_another_tunnel_before_the_old_one_ends() {
    let mut bench = Bench::new().await;
    let (agent, old) = bench.connected().await;
    let mut running = old.get("/stream").await.into_body();
    bench.lines.send(Bytes::from("one")).await.unwrap();
    assert_eq!(next_line(&mut running).await, "one");

    old.ask_to_drain().await;
    let new = bench.gateway.tunnel().await;
    assert_ne!(new.id, old.id);
    assert_eq!(
        old.get("/api").await.status(),
        200,
        "the old tunnel serves until the new one is ready"
    );
    assert!(agent.is_ready());
    new.hello().await;
    assert_eq!(new.get("/api").await.status(), 200);
    // GOAWAY: no new requests on the old one, but what runs goes on.
    soon(async {
        while old.try_get("/api").await.is_ok() {
            sleep(READY_POLL).await;
        }
    })
    .await;
    bench.lines.send(Bytes::from("two")).await.unwrap();
    assert_eq!(next_line(&mut running).await, "two");
    let Bench { lines, .. } = bench;
    drop(lines);
    assert_ended(running).await;
    soon(old.data.closed()).await;
    assert!(!new.data.is_closed());
    assert!(agent.is_ready());
}

#[tokio::test]
async fn shutdown_lets_a_running_stream_finish() {
    let mut bench = Bench::new().await;
    let (agent, tunnel) = bench.connected().await;
    let health = agent.health_address();
    let mut running = tunnel.get("/stream").await.into_body();
    bench.lines.send(Bytes::from("one")).await.unwrap();
    assert_eq!(next_line(&mut running).await, "one");

    bench.shutdown.cancel();
    soon(async {
        while tunnel.try_get("/api").await.is_ok() {
            sleep(READY_POLL).await;
        }
    })
    .await;
    assert_eq!(plain_get(health, "/readyz").await, (503, "draining\n".to_owned()));
    let Bench { lines, .. } = bench;
    lines.send(Bytes::from("two")).await.unwrap();
    assert_eq!(next_line(&mut running).await, "two");
    drop(lines);
    assert_ended(running).await;
    soon(agent.join()).await.unwrap();
    soon(tunnel.data.closed()).await;
}

#[tokio::test]
async fn shutdown_cuts_what_does_not_end_in_time() {
    let mut bench = Bench::new().await;
    bench.config.drain_timeout = Duration::from_millis(300);
    let (agent, tunnel) = bench.connected().await;
    let mut running = tunnel.get("/stream").await.into_body();
    let began = Instant::now();
    bench.shutdown.cancel();
    soon(agent.join()).await.unwrap();
    assert!(began.elapsed() >= Duration::from_millis(300));
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    assert!(
        soon(running.frame()).await.unwrap().is_err(),
        "a cut stream must not look like a whole one"
    );
}

#[tokio::test]
async fn shutdown_without_a_tunnel_ends_at_once() {
    let bench = Bench::new().await;
    bench.gateway.state.lock().refuse_enrolment = Some((401, "KTA-AUTH-003", "the token expired at 14:02"));
    let agent = bench.start().await;
    let body = not_ready_for(&agent, "KTA-AUTH-003").await;
    assert!(body.contains("expired at 14:02"), "{body}");
    bench.shutdown.cancel();
    timeout(Duration::from_secs(2), agent.join())
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn without_token_and_identity_it_ends_with_a_fault() {
    let bench = Bench::new().await;
    std::fs::remove_file(bench.token_file()).unwrap();
    let agent = bench.start().await;
    let fault = soon(agent.join()).await.unwrap_err();
    assert_eq!(fault.code(), Code::CFG_003);
    assert!(
        fault.to_string().contains(bench.token_file().to_str().unwrap()),
        "{fault}"
    );
}

#[tokio::test]
async fn an_occupied_health_port_is_a_fault() {
    let mut bench = Bench::new().await;
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    bench.config.health_listen = taken.local_addr().unwrap();
    let started = start(
        bench.config.clone(),
        bench.kubernetes.config(),
        bench.shutdown.clone(),
    )
    .await;
    assert_eq!(started.err().unwrap().code(), Code::SRV_007);
}

#[tokio::test]
async fn a_missing_ca_file_is_a_fault() {
    let mut bench = Bench::new().await;
    bench.config.pin = None;
    bench.config.ca_file = Some("/nonexistent/ca.pem".into());
    let started = start(
        bench.config.clone(),
        bench.kubernetes.config(),
        bench.shutdown.clone(),
    )
    .await;
    let fault = started.err().unwrap();
    assert_eq!(fault.code(), Code::CFG_001);
    assert!(fault.to_string().contains("/nonexistent/ca.pem"), "{fault}");
}

#[tokio::test]
async fn an_api_server_that_is_away_is_waited_for() {
    let bench = Bench::new().await;
    let kube = bench.kubernetes.config();
    let Bench {
        config,
        shutdown,
        kubernetes,
        ..
    } = bench;
    drop(kubernetes);
    let agent = start(config, kube, shutdown.clone()).await.unwrap();
    not_ready_for(&agent, "KTA-K8S-001").await;
    assert_eq!(
        plain_get(agent.health_address(), "/livez").await.0,
        200,
        "a restart would not help"
    );
    shutdown.cancel();
    soon(agent.join()).await.unwrap();
}

/// Keeps every byte of the log.
#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl io::Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_log_line_at_any_level_holds_a_secret() {
    let captured = Captured::default();
    let writer = captured.clone();
    let subscriber = tracing_subscriber::registry()
        .with(LevelFilter::TRACE)
        .with(fmt::layer().with_ansi(false).with_writer(move || writer.clone()));
    // While there is one dispatcher only, tracing takes a callsite's interest from the thread that comes to it first,
    // and that may be another test's, without a subscriber. With a second one it asks all.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    // All tasks of this test run on this thread; lines of the `log` crate (rustls) are captured as well.
    let _guard = subscriber.set_default();

    let mut bench = Bench::new().await;
    // A refusal first, so that the paths of errors are logged too.
    bench.gateway.state.lock().refuse_enrolment = Some((401, "KTA-AUTH-003", "the token expired"));
    let agent = bench.start().await;
    not_ready_for(&agent, "KTA-AUTH-003").await;
    bench.shutdown.cancel();
    soon(agent.join()).await.unwrap();
    bench.gateway.state.lock().refuse_enrolment = None;
    bench.shutdown = CancellationToken::new();
    let (agent, tunnel) = bench.connected().await;
    let answer = tunnel.get("/api/v1/secrets").await;
    answer.into_body().collect().await.unwrap();
    bench.kubernetes.store.lock().refuse_writes = Some(403);
    tunnel.get("/api/%2e%2e/x").await;
    bench.shutdown.cancel();
    soon(agent.join()).await.unwrap();

    let log = String::from_utf8(captured.0.lock().clone()).unwrap();
    for proof in ["enrolled", "connected", "TRACE", "h2::", "rustls"] {
        assert!(log.contains(proof), "the capture does not see {proof:?}");
    }
    let key = {
        let store = bench.kubernetes.store.lock();
        STANDARD
            .decode(
                store.secret.as_ref().unwrap()["data"]["private-key"]
                    .as_str()
                    .unwrap(),
            )
            .unwrap()
    };
    // The seed sits after the 16 bytes that every such document begins with.
    let seed = &key[16..48];
    let decimal = seed[..8].iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
    let secret_part = bench.token_text.split('_').nth(2).unwrap().to_owned();
    let mut canaries = vec![
        BEARER.to_owned(),
        secret_part,
        STANDARD.encode(&key),
        hex::encode(&seed[..8]),
        decimal,
        STANDARD.encode(seed),
    ];
    for authorization in &bench.gateway.state.lock().authorizations {
        let signature = authorization.rsplit('.').next().unwrap().to_owned();
        assert!(signature.len() > 80);
        canaries.push(signature);
    }
    assert!(canaries.len() > 7);
    for canary in canaries {
        let found = log.lines().find(|line| line.contains(&canary));
        assert!(found.is_none(), "a secret is in the log: {found:?}");
    }
}
