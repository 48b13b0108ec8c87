use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use kantaloupe_checks::Code;
use kantaloupe_gpu::{
    inventory::Gpu,
    metrics::{answer::AnswerError, devices::Devices, server::ServerKind},
};
use parking_lot::Mutex;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use url::Url;

use super::*;
use crate::{
    config::{Auth, Monitoring},
    testing::{self, Certificate, TlsServer, handler, kubernetes::Kubernetes},
};

/// How a fake answers.
#[derive(Clone)]
enum Reply {
    /// These bytes, then the end.
    Whole(String),
    /// This beginning, and then the second text again and again, so fast as it is taken.
    Endless(String, &'static str),
    /// This beginning, and then a blank every 20 ms.
    Drip(String),
    /// Nothing, with the connection open.
    Silence,
}

/// A server on loopback that is no Prometheus but answers like one, or worse.
struct Fake {
    address: SocketAddr,
    /// Heads of the requests, as they came.
    heads: Arc<Mutex<Vec<String>>>,
    /// Bytes that were taken from it.
    sent: Arc<AtomicUsize>,
    _task: AbortOnDropHandle<()>,
}

impl Fake {
    /// `reply` gets path and query of the request.
    async fn start(reply: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Self {
        testing::install_provider();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heads: Arc<Mutex<Vec<String>>> = Arc::default();
        let sent: Arc<AtomicUsize> = Arc::default();
        let (reply, shared, counter) = (Arc::new(reply), Arc::clone(&heads), Arc::clone(&sent));
        let task = async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (reply, heads, sent) = (Arc::clone(&reply), Arc::clone(&shared), Arc::clone(&counter));
                connections.spawn(async move { serve(stream, &*reply, &heads, &sent).await });
            }
        };
        Self {
            address,
            heads,
            sent,
            _task: AbortOnDropHandle::new(tokio::spawn(task)),
        }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn client(&self, limits: Limits) -> Client {
        Client::new(&self.url(), None, Auth::None, limits).unwrap()
    }
}

/// One request on each connection. Ends when the client goes away.
async fn serve(
    mut stream: TcpStream,
    reply: &(impl Fn(&str) -> Reply + Sync),
    heads: &Mutex<Vec<String>>,
    sent: &AtomicUsize,
) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap();
    let target = head.split(' ').nth(1).unwrap().to_owned();
    heads.lock().push(head);
    let mut write = async |text: &str| {
        stream.write_all(text.as_bytes()).await.ok()?;
        sent.fetch_add(text.len(), Ordering::SeqCst);
        Some(())
    };
    match reply(&target) {
        Reply::Whole(text) => write(&text).await,
        Reply::Endless(begin, more) => {
            write(&begin).await?;
            let more = more.repeat(1000);
            loop {
                write(&more).await?;
            }
        }
        Reply::Drip(begin) => {
            write(&begin).await?;
            loop {
                write(" ").await?;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Reply::Silence => std::future::pending().await,
    }
}

fn http(status: &str, headers: &str, body: &str) -> Reply {
    Reply::Whole(format!(
        "HTTP/1.1 {status}\r\nconnection: close\r\n{headers}\r\n{body}"
    ))
}

fn ok(body: &str) -> Reply {
    http("200 OK", "content-type: application/json\r\n", body)
}

fn vector(elements: &str) -> String {
    format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{elements}]}}}}"#)
}

const BEGIN: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n";
const BEGIN_VECTOR: &str = r#"{"status":"success","data":{"resultType":"vector","result":["#;
const ONE: &str = r#"{"metric":{"UUID":"GPU-1"},"value":[1,"2"]}"#;

fn quick() -> Limits {
    Limits {
        time: Duration::from_millis(300),
        bytes: 1 << 20,
        series: 1000,
    }
}

fn patient() -> Limits {
    Limits {
        time: Duration::from_secs(20),
        ..quick()
    }
}

async fn failure(reply: Reply) -> QueryError {
    let fake = Fake::start(move |_| reply.clone()).await;
    fake.client(patient()).present().await.unwrap_err()
}

#[tokio::test]
async fn refusals_are_told_apart() {
    assert_eq!(
        failure(http("401 Unauthorized", "", "no")).await,
        QueryError::Unauthorized
    );
    assert_eq!(
        failure(http("403 Forbidden", "", "no")).await,
        QueryError::Forbidden
    );
    assert_eq!(
        failure(http("404 Not Found", "", "no")).await,
        QueryError::NotFound
    );
    assert_eq!(
        failure(http("502 Bad Gateway", "", "<html>")).await,
        QueryError::Status(502)
    );
    let location = "location: https://login.example.com/auth?state=secret#x\r\n";
    let redirect = QueryError::Redirect("https://login.example.com/auth".to_owned());
    assert_eq!(failure(http("302 Found", location, "")).await, redirect);
    let html = failure(ok("<html>login</html>")).await;
    assert!(
        matches!(&html, QueryError::Answer(AnswerError::Malformed(text)) if text.contains("<html>login")),
        "{html}"
    );
    let busy = r#"{"status":"error","errorType":"timeout","error":"query timed out"}"#;
    let busy = failure(http(
        "503 Service Unavailable",
        "content-type: application/json\r\n",
        busy,
    ))
    .await;
    assert_eq!(
        busy.to_string(),
        "it answered with the error timeout: query timed out"
    );
    let broken = failure(Reply::Whole(
        "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{".to_owned(),
    ))
    .await;
    assert!(matches!(broken, QueryError::Broken(_)), "{broken}");

    let codes: Vec<_> = [QueryError::Unauthorized, redirect]
        .iter()
        .map(|error| error.fault("http://p").code())
        .collect();
    assert_eq!(codes, [Code::MON_001, Code::MON_001]);
}

#[tokio::test]
async fn without_a_connection_the_error_says_which_part_failed() {
    testing::install_provider();
    let free = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let ask = async |url: String, ca: Option<&std::path::Path>| {
        let client = Client::new(&url, ca, Auth::None, patient()).unwrap();
        client.present().await.map(|_| ()).unwrap_err()
    };
    let refused = ask(format!("http://{free}"), None).await;
    assert!(
        matches!(&refused, QueryError::Connect(text) if text.contains("refused")),
        "{refused:?}"
    );

    let certificate = Certificate::new("localhost");
    let server = TlsServer::start(
        &certificate,
        handler(|_| async { testing::json(200, &json!({})) }),
    )
    .await;
    let url = format!("https://localhost:{}", server.address.port());
    let untrusted = ask(url.clone(), None).await;
    assert!(matches!(untrusted, QueryError::Tls(_)), "{untrusted:?}");
    let dir = tempfile::tempdir().unwrap();
    let ca = dir.path().join("ca.crt");
    std::fs::write(&ca, &certificate.pem).unwrap();
    let trusted = ask(url, Some(&ca)).await;
    assert!(
        matches!(trusted, QueryError::Answer(AnswerError::Malformed(_))),
        "{trusted:?}"
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let not_tls = listener.local_addr().unwrap();
    let _answers = AbortOnDropHandle::new(tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .await
            .unwrap();
        std::future::pending::<()>().await;
    }));
    let no_tls = ask(format!("https://localhost:{}", not_tls.port()), None).await;
    assert!(matches!(no_tls, QueryError::Tls(_)), "{no_tls:?}");
    let missing = Client::new(
        "https://p",
        Some(std::path::Path::new("/none")),
        Auth::None,
        quick(),
    );
    assert!(matches!(missing.err(), Some(QueryError::Setup(text)) if text.contains("/none")));
}

#[tokio::test]
async fn silence_and_drops_end_in_time() {
    for reply in [
        Reply::Silence,
        Reply::Drip(BEGIN.to_owned()),
        Reply::Drip("HTTP/1.1 200 OK\r\nx: ".to_owned()),
        Reply::Drip(format!("{BEGIN}{BEGIN_VECTOR}{ONE}")),
    ] {
        let fake = Fake::start(move |_| reply.clone()).await;
        let begin = Instant::now();
        let error = fake.client(quick()).present().await.unwrap_err();
        assert_eq!(error, QueryError::Timeout(quick().time));
        assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    }
}

#[tokio::test]
async fn what_does_not_end_is_cut_off_at_the_limits() {
    let begin = |text: &str| format!("{BEGIN}{text}");
    for (reply, wanted) in [
        (Reply::Endless(begin(""), " "), "too_large"),
        (Reply::Endless(begin(BEGIN_VECTOR), " "), "too_large"),
        (Reply::Endless(begin(r#"{"status":""#), "x"), "too_large"),
        (
            Reply::Endless(
                begin(&format!("{BEGIN_VECTOR}{ONE}")),
                r#",{"metric":{"UUID":"GPU-1"},"value":[1,"2"]}"#,
            ),
            "too_large",
        ),
        (
            Reply::Endless(begin(&format!(r#"{BEGIN_VECTOR}{{"metric":{{"a":""#)), "x"),
            "too_large",
        ),
        (Reply::Endless(begin(""), "["), "malformed"),
    ] {
        let fake = Fake::start(move |_| reply.clone()).await;
        let error = fake.client(patient()).present().await.unwrap_err();
        assert_eq!(error.kind(), wanted, "{error}");
        // What is beyond the limit of 1 MiB is in the sockets' buffers.
        assert!(
            fake.sent.load(Ordering::SeqCst) < 24 << 20,
            "{}",
            fake.sent.load(Ordering::SeqCst)
        );
    }
}

#[tokio::test]
async fn credentials_come_from_files_and_show_nowhere() {
    let fake = Fake::start(|_| ok(&vector(""))).await;
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let basic = Auth::Basic {
        username: file("user", "agent\n"),
        password: file("password", "pass-canary"),
    };
    let client = Client::new(&fake.url(), None, basic, patient()).unwrap();
    client.present().await.unwrap();
    assert!(fake.heads.lock()[0].contains("authorization: Basic YWdlbnQ6cGFzcy1jYW5hcnk=\r\n"));

    let token = file("token", "token-canary-1\n");
    let client = Client::new(&fake.url(), None, Auth::Bearer(token.clone()), patient()).unwrap();
    client.present().await.unwrap();
    file("token", "token-canary-2");
    client.present().await.unwrap();
    let heads = fake.heads.lock().clone();
    assert!(heads[1].contains("authorization: Bearer token-canary-1\r\n"));
    assert!(
        heads[2].contains("authorization: Bearer token-canary-2\r\n"),
        "it is read anew"
    );

    file("token", "two\nlines-canary");
    let error = client.present().await.unwrap_err();
    assert!(matches!(error, QueryError::Credentials { .. }));
    assert!(!format!("{error} {error:?} {}", error.fault(&fake.url())).contains("canary"));
    std::fs::remove_file(token).unwrap();
    assert_eq!(client.present().await.unwrap_err().kind(), "setup");

    let refusing = Fake::start(|_| http("401 Unauthorized", "", "")).await;
    file("token", "token-canary-3");
    let client = Client::new(
        &refusing.url(),
        None,
        Auth::Bearer(dir.path().join("token")),
        patient(),
    )
    .unwrap();
    assert_eq!(client.present().await.unwrap_err(), QueryError::WrongCredentials);
}

#[tokio::test]
async fn servers_are_told_apart() {
    const VICTORIA: &str = r#"{"status":"success","data":{"version":"2.24.0"}}"#;
    let identify = async |reply: fn(&str) -> Reply| {
        let fake = Fake::start(reply).await;
        let client = Client::new(
            &format!("{}/select/0/prometheus", fake.url()),
            None,
            Auth::None,
            patient(),
        )
        .unwrap();
        client.identify().await.unwrap()
    };
    let server =
        identify(|_| ok(r#"{"status":"success","data":{"version":"3.5.0","revision":"8be3"}}"#)).await;
    assert_eq!(
        (server.kind, server.version.as_deref()),
        (ServerKind::Prometheus, Some("3.5.0"))
    );
    let server = identify(|target| match target {
        "/select/0/prometheus/api/v1/status/buildinfo" => ok(VICTORIA),
        "/metrics" => ok("vm_app_version{version=\"x\", short_version=\"v1.97.0\"} 1\n"),
        _ => http("404 Not Found", "", ""),
    })
    .await;
    assert_eq!(
        (server.kind, server.version.as_deref()),
        (ServerKind::VictoriaMetrics, Some("v1.97.0"))
    );
    let server = identify(|target| match target {
        "/metrics" => http("401 Unauthorized", "", ""),
        _ => ok(VICTORIA),
    })
    .await;
    assert_eq!(
        (server.kind, server.version, server.name),
        (ServerKind::VictoriaMetrics, None, None)
    );
    let server = identify(|target| match target {
        target if target.contains("buildinfo") => ok("{}"),
        _ => ok(&vector("")),
    })
    .await;
    assert_eq!(server.kind, ServerKind::Other);
}

fn devices() -> Devices {
    let gpu = Gpu {
        id: "n/GPU-1".to_owned(),
        uuid: "GPU-1".to_owned(),
        node: "n".to_owned(),
        vendor: "nvidia".to_owned(),
        ..Gpu::default()
    };
    Devices::new([&gpu], [])
}

/// A Prometheus with three metrics, of which one gives too much.
fn prometheus(target: &str) -> Reply {
    let pairs: Vec<_> = url::form_urlencoded::parse(target.as_bytes())
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let target = pairs.concat();
    let series = |labels: &str, value: &str| {
        format!(r#"{{"metric":{{"instance":"10.0.0.1:9400"{labels}}},"value":[5,"{value}"]}}"#)
    };
    if target.contains("buildinfo") {
        ok(r#"{"status":"success","data":{"version":"3.5.0","revision":"8be3"}}"#)
    } else if target.contains("count by (__name__)") {
        let names = [
            "DCGM_FI_DEV_GPU_UTIL",
            "DCGM_FI_DEV_FB_USED",
            "DCGM_FI_DEV_GPU_TEMP",
            "unasked",
        ];
        ok(&vector(
            &names
                .map(|name| series(&format!(",\"__name__\":\"{name}\""), "7"))
                .join(","),
        ))
    } else if target.contains("min by (instance)") {
        let seconds = Timestamp::now().as_second() - 20;
        ok(&vector(&series("", &seconds.to_string())))
    } else if target.contains("(DCGM_FI_DEV_GPU_UTIL and") {
        ok(&vector(&series(r#","UUID":"GPU-1""#, "42")))
    } else if target.contains("(DCGM_FI_DEV_FB_USED and") {
        Reply::Endless(BEGIN.to_owned(), " ")
    } else {
        ok(&vector(""))
    }
}

#[tokio::test]
async fn a_round_keeps_what_is_good_and_says_what_failed() {
    let fake = Fake::start(prometheus).await;
    let now = Timestamp::now();
    let round = round(&fake.client(patient()), &devices(), now).await.unwrap();
    let usage = &round.usage.gpus[0];
    assert_eq!((usage.utilization, usage.memory_used_mib), (Some(42.0), None));
    let age = now.duration_since(usage.at.unwrap());
    assert!((19..=22).contains(&age.as_secs()), "{age:?}");
    assert_eq!(
        round
            .failed
            .iter()
            .map(|(name, error)| (*name, error.kind()))
            .collect::<Vec<_>>(),
        [("DCGM_FI_DEV_FB_USED", "too_large")]
    );
    assert_eq!(round.usage.seen.fresh["DCGM_FI_DEV_GPU_UTIL"], 1);
    assert_eq!(
        round.usage.seen.stale["DCGM_FI_DEV_GPU_TEMP"], 7,
        "there, but not fresh"
    );
    assert_eq!((round.queries, round.series), (5, 2));
    let asked = fake.heads.lock().clone();
    assert!(
        asked
            .iter()
            .all(|head| head.starts_with("GET /api/v1/query?query=")),
        "only instant queries"
    );
}

/// A cluster whose API server lists these Services, and refuses or lacks the rest.
async fn cluster(services: serde_json::Value) -> Kubernetes {
    let services = Arc::new(services);
    Kubernetes::start_with(handler(move |request| {
        let services = Arc::clone(&services);
        async move {
            let next = request.uri().query().unwrap_or_default().contains("continue=two");
            match request.uri().path() {
                // Two pages.
                "/api/v1/services" if next => {
                    testing::json(200, &json!({"items": *services, "metadata": {}}))
                }
                "/api/v1/services" => {
                    testing::json(200, &json!({"items": [], "metadata": {"continue": "two"}}))
                }
                path if path.contains("monitoring.coreos.com") => testing::kubernetes::status_object(403),
                _ => testing::kubernetes::status_object(404),
            }
        }
    }))
    .await
}

fn service(name: &str, address: SocketAddr) -> serde_json::Value {
    json!({
        "metadata": {"name": name, "namespace": "monitoring"},
        "spec": {"clusterIP": address.ip().to_string(), "ports": [{"name": "http", "port": address.port()}]},
    })
}

fn discovering() -> Monitoring {
    Monitoring {
        discover: true,
        ..Monitoring::default()
    }
}

#[tokio::test]
async fn of_what_the_cluster_leads_to_the_one_with_gpu_metrics_is_it() {
    let closed = Fake::start(|_| http("401 Unauthorized", "", "")).await;
    let empty = Fake::start(|target| match target {
        target if target.contains("buildinfo") => prometheus(target),
        _ => ok(&vector("")),
    })
    .await;
    let right = Fake::start(prometheus).await;
    let listed = json!([
        service("prometheus-k8s", closed.address),
        service("prometheus-server", empty.address),
        service("other-prometheus", right.address),
        service("web", "10.0.0.1:80".parse().unwrap()),
    ]);
    let cluster_of_three = cluster(listed).await;
    let found = find(&discovering(), &cluster_of_three.client(), patient())
        .await
        .ok()
        .unwrap();
    assert_eq!(found.client.address(), right.url());
    assert_eq!(
        found.found_by,
        "Service monitoring/other-prometheus (the Service's name)"
    );
    assert_eq!(
        (found.names.len(), found.server.version.as_deref()),
        (3, Some("3.5.0"))
    );

    let cluster_of_two = cluster(json!([
        service("prometheus-k8s", closed.address),
        service("prometheus-server", empty.address)
    ]))
    .await;
    let found = find(&discovering(), &cluster_of_two.client(), patient())
        .await
        .ok()
        .unwrap();
    assert_eq!(
        (found.client.address(), found.names.len()),
        (empty.url().as_str(), 0)
    );
}

#[tokio::test]
async fn credentials_do_not_go_to_what_was_found() {
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    std::fs::write(&token, "canary").unwrap();
    let impostor = Fake::start(prometheus).await;
    let kubernetes = cluster(json!([service("prometheus-server", impostor.address)])).await;
    let settings = Monitoring {
        auth: Auth::Bearer(token),
        ..discovering()
    };
    find(&settings, &kubernetes.client(), patient())
        .await
        .ok()
        .unwrap();
    assert!(
        impostor
            .heads
            .lock()
            .iter()
            .all(|head| !head.contains("canary") && !head.contains("authorization"))
    );
    let settings = Monitoring {
        url: Some(Url::parse(&impostor.url()).unwrap()),
        ..settings
    };
    find(&settings, &kubernetes.client(), patient())
        .await
        .ok()
        .unwrap();
    assert!(
        impostor
            .heads
            .lock()
            .iter()
            .any(|head| head.contains("authorization: Bearer canary"))
    );
}

#[tokio::test]
async fn when_none_is_found_the_fault_says_what_was_tried_and_what_is_forbidden() {
    let closed = Fake::start(|_| http("403 Forbidden", "", "")).await;
    let html = Fake::start(|_| http("302 Found", "location: /login\r\n", "")).await;
    let kubernetes = cluster(json!([
        service("prometheus-k8s", closed.address),
        service("prometheus-server", html.address)
    ]))
    .await;
    let none = find(&discovering(), &kubernetes.client(), patient())
        .await
        .err()
        .unwrap();
    assert_eq!(none.tried.len(), 2);
    let fault = none.fault();
    assert_eq!(fault.code(), Code::MON_001);
    let text = fault.what_and_detail();
    for part in [
        "HTTP 403",
        "it redirects to",
        "may not list prometheuses",
        &closed.url(),
        &html.url(),
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let nothing = cluster(json!([])).await;
    let none = find(&discovering(), &nothing.client(), patient())
        .await
        .err()
        .unwrap();
    assert!(
        none.fault()
            .what_and_detail()
            .contains("no object of the cluster leads to one")
    );
}

/// Keeps what it is told.
#[derive(Clone, Default)]
struct Kept {
    rounds: Arc<Mutex<Vec<Round>>>,
    faults: Arc<Mutex<Vec<String>>>,
}

impl Feed for Kept {
    fn devices(&self) -> Devices {
        devices()
    }

    fn measured(&self, round: Round, _: &kantaloupe_gpu::metrics::server::Server, _: &str, _: Timestamp) {
        self.rounds.lock().push(round);
    }

    fn failed(&self, fault: Arc<kantaloupe_checks::Fault>, _: Timestamp) {
        self.faults.lock().push(fault.to_string());
    }
}

#[tokio::test]
async fn the_loop_measures_until_it_is_stopped() {
    let fake = Fake::start(prometheus).await;
    let kubernetes = cluster(json!([service("prometheus-server", fake.address)])).await;
    let kept = Kept::default();
    let mut registry = prometheus_client::registry::Registry::with_prefix("kantaloupe_agent");
    let monitor = Monitor {
        settings: discovering(),
        kube: kubernetes.client(),
        limits: patient(),
        metrics: PrometheusMetrics::register(&mut registry),
        feed: kept.clone(),
    };
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(monitor.run(shutdown.clone()));
    testing::eventually("a round", || !kept.rounds.lock().is_empty()).await;
    shutdown.cancel();
    testing::soon(running).await.unwrap();
    assert_eq!(kept.rounds.lock()[0].usage.gpus[0].utilization, Some(42.0));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    for line in [
        "kantaloupe_agent_prometheus_up 1",
        "kantaloupe_agent_prometheus_rounds_total 1",
        "kantaloupe_agent_prometheus_devices_measured 1",
        "kantaloupe_agent_prometheus_failures_total{reason=\"too_large\"} 1",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
}

#[tokio::test]
async fn the_loop_reports_failures_with_the_code() {
    let kubernetes = cluster(json!([])).await;
    let kept = Kept::default();
    let monitor = Monitor {
        settings: discovering(),
        kube: kubernetes.client(),
        limits: quick(),
        metrics: PrometheusMetrics::default(),
        feed: kept.clone(),
    };
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(monitor.run(shutdown.clone()));
    testing::eventually("a failure", || !kept.faults.lock().is_empty()).await;
    shutdown.cancel();
    testing::soon(running).await.unwrap();
    assert!(kept.faults.lock()[0].contains("[KTA-MON-001]"));
    assert!(kept.rounds.lock().is_empty());
}
