//! A real session on one side, a real HTTP/1.1 server with TLS on the other.

mod audit;
mod broken;

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use futures::{StreamExt, future::BoxFuture, stream};
use http::{HeaderMap, HeaderValue, Method, uri::PathAndQuery};
use http_body::Frame;
use http_body_util::{Full, StreamBody};
use hyper::service::service_fn;
use kantaloupe_policy::{LocalPolicy, Profile};
use kantaloupe_tunnel::{
    carrier::{BoxCarrier, websocket},
    link::{self, Acceptor, DialError, Dialer},
    session::{self, Client, Kind, ORIGIN},
};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    sync::{mpsc, oneshot},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::*;
use crate::testing::{
    ConnectionNumber, Handler, eventually, full, handler,
    kubernetes::{BEARER, Kubernetes, status_object},
    soon,
};

struct MemoryDialer(mpsc::Sender<DuplexStream>);

impl Dialer for MemoryDialer {
    fn dial(&self) -> BoxFuture<'_, Result<BoxCarrier, DialError>> {
        Box::pin(async {
            let (near, far) = tokio::io::duplex(256 * 1024);
            self.0.send(far).await.unwrap();
            Ok(websocket::client(near))
        })
    }
}

/// The gateway's end of a data session whose other end is a proxy to the API server of `config`.
struct Bench {
    client: Client,
    streams: TaskTracker,
    metrics: ProxyMetrics,
    _agent: AbortOnDropHandle<()>,
}

impl Bench {
    async fn new(config: &kube::Config) -> Self {
        Self::with(config, LocalPolicy::new(Profile::Admin)).await
    }

    async fn with(config: &kube::Config, policy: LocalPolicy) -> Self {
        crate::testing::install_provider();
        let (sender, mut dialed) = mpsc::channel(1);
        let acceptor = Acceptor::new(link::Config::default());
        let accept = async {
            let far = dialed.recv().await.unwrap();
            acceptor
                .accept(websocket::server(far), "agent")
                .await
                .unwrap()
                .unwrap()
        };
        let dialer = Arc::new(MemoryDialer(sender));
        let (near, far) =
            soon(async { tokio::join!(link::open(dialer, link::Config::default()), accept) }).await;
        let streams = TaskTracker::new();
        let metrics = ProxyMetrics::default();
        let near = near.unwrap();
        let proxy = Proxy::new(
            Upstream::new(config).unwrap(),
            crate::testing::guard(policy),
            metrics.clone(),
            near.handle(),
            streams.clone(),
        );
        let service = service_fn(move |request| {
            let proxy = proxy.clone();
            async move { Ok::<_, Infallible>(proxy.handle(request).await) }
        });
        let serving = session::serve(near, Kind::Data, service, CancellationToken::new());
        let agent = tokio::spawn(async move {
            let _test_ended = serving.await;
        });
        let client = Client::handshake(far, Kind::Data).await.unwrap();
        Self {
            client,
            streams,
            metrics,
            _agent: AbortOnDropHandle::new(agent),
        }
    }

    async fn send(&self, request: Request<Body>) -> Response<Incoming> {
        soon(self.client.request(request)).await.unwrap()
    }

    async fn get(&self, path: &str) -> Response<Incoming> {
        self.send(ask(Method::GET, path, empty())).await
    }

    /// Asks for an upgrade as the gateway does; gives the answer as the user gets it.
    async fn upgrade(
        &self,
        path: &'static str,
        protocol: &'static str,
    ) -> (StatusCode, HeaderMap, Response<Incoming>) {
        let mut headers = HeaderMap::new();
        headers.insert("kantaloupe-user", HeaderValue::from_static("alice"));
        headers.insert("kantaloupe-role", HeaderValue::from_static("admin"));
        headers.insert("kantaloupe-request-id", HeaderValue::from_static("r-2"));
        headers.insert(
            "x-stream-protocol-version",
            HeaderValue::from_static("v4.channel.k8s.io"),
        );
        let path = PathAndQuery::from_static(path);
        let protocol = HeaderValue::from_static(protocol);
        let request = upgrade::connect_request(&Method::POST, &protocol, path, headers, empty()).unwrap();
        let (parts, body) = self.send(request).await.into_parts();
        let user = upgrade::user_response(&parts).unwrap();
        (user.status, user.headers, Response::from_parts(parts, body))
    }
}

fn ask(method: Method, path: &str, body: Body) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(format!("{ORIGIN}/kubernetes{path}"))
        .header("kantaloupe-user", "alice")
        .header("kantaloupe-role", "admin")
        .header("kantaloupe-request-id", "r-1")
        .body(body)
        .unwrap()
}

/// An API server with the requests that it got.
async fn api(handler: Handler) -> Kubernetes {
    Kubernetes::start_with(handler).await
}

/// A body that the test writes frame by frame.
fn channel_body() -> (mpsc::Sender<Bytes>, Body) {
    let (sender, receiver) = mpsc::channel::<Bytes>(1);
    let frames = stream::unfold(receiver, |mut receiver| async {
        receiver
            .recv()
            .await
            .map(|bytes| (Ok::<_, BoxError>(Frame::data(bytes)), receiver))
    });
    (sender, StreamBody::new(frames.boxed()).boxed_unsync())
}

async fn text(response: Response<Incoming>) -> String {
    let bytes = soon(response.into_body().collect()).await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn an_answer_streams_down_before_it_ends() {
    let (release, released) = oneshot::channel::<()>();
    let released = Mutex::new(Some(released));
    let kubernetes = api(handler(move |_| {
        let released = released.lock().take().unwrap();
        async move {
            let frames = stream::once(async { Ok::<_, BoxError>(Frame::data(Bytes::from("first"))) }).chain(
                stream::once(async move {
                    released.await.unwrap();
                    Ok(Frame::data(Bytes::from("second")))
                }),
            );
            Response::new(StreamBody::new(frames.boxed()).boxed_unsync())
        }
    }))
    .await;
    let bench = Bench::new(&kubernetes.config()).await;
    let mut body = bench.get("/api/v1/pods?watch=1").await.into_body();
    let first = soon(body.frame()).await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(first, "first");
    assert_eq!(bench.metrics.in_flight.get(), 1);
    release.send(()).unwrap();
    assert_eq!(soon(body.collect()).await.unwrap().to_bytes(), "second");
    eventually("the request is no longer in flight", || {
        bench.metrics.in_flight.get() == 0
    })
    .await;
    assert_eq!(bench.metrics.sent.get(), 11);
}

#[tokio::test]
async fn an_upload_streams_up_before_it_ends() {
    let (seen, saw) = oneshot::channel::<Bytes>();
    let seen = Mutex::new(Some(seen));
    let kubernetes = api(handler(move |request: Request<Incoming>| {
        let seen = seen.lock().take().unwrap();
        async move {
            let mut body = request.into_body();
            let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
            seen.send(first).unwrap();
            let rest = body.collect().await.unwrap().to_bytes();
            Response::new(full(rest))
        }
    }))
    .await;
    let bench = Bench::new(&kubernetes.config()).await;
    let (sender, body) = channel_body();
    let answer = async { text(bench.send(ask(Method::PUT, "/api/v1/x", body)).await).await };
    let upload = async {
        sender.send(Bytes::from("first")).await.unwrap();
        assert_eq!(soon(saw).await.unwrap(), "first");
        sender.send(Bytes::from("second")).await.unwrap();
        drop(sender);
    };
    let (answer, ()) = tokio::join!(answer, upload);
    assert_eq!(answer, "second");
}

#[tokio::test]
async fn errors_redirects_and_compressed_bodies_pass_as_they_are_and_once() {
    const GZIP: &[u8] = &[
        0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0x4b, 4, 0, 0x43, 0xbe, 0xb7, 0xe8, 1, 0, 0, 0,
    ];
    let hits: Arc<AtomicUsize> = Arc::default();
    let counter = Arc::clone(&hits);
    let kubernetes = api(handler(move |request: Request<Incoming>| {
        counter.fetch_add(1, Ordering::SeqCst);
        async move {
            let response = Response::builder();
            match request.uri().path() {
                "/busy" => response.status(503).header("retry-after", "1").body(full("busy")),
                "/many" => response
                    .status(429)
                    .header("retry-after", "1")
                    .body(full("slow down")),
                "/moved" => response
                    .status(302)
                    .header("location", "/elsewhere")
                    .body(full("moved")),
                "/gzip" => response.header("content-encoding", "gzip").body(full(GZIP)),
                _ => response.status(404).body(full("")),
            }
            .unwrap()
        }
    }))
    .await;
    let bench = Bench::new(&kubernetes.config()).await;
    for (number, (path, status)) in [("/busy", 503), ("/many", 429), ("/moved", 302)]
        .into_iter()
        .enumerate()
    {
        let response = bench.get(path).await;
        assert_eq!(response.status(), status);
        if status == 302 {
            assert_eq!(response.headers()["location"], "/elsewhere");
        } else {
            assert_eq!(response.headers()["retry-after"], "1");
        }
        text(response).await;
        assert_eq!(
            hits.load(Ordering::SeqCst),
            number + 1,
            "{path} was asked for once"
        );
    }
    let mut request = ask(Method::GET, "/gzip", empty());
    request
        .headers_mut()
        .insert("accept-encoding", HeaderValue::from_static("gzip"));
    let response = bench.send(request).await;
    assert_eq!(response.headers()["content-encoding"], "gzip");
    assert_eq!(
        soon(response.into_body().collect()).await.unwrap().to_bytes(),
        GZIP
    );
}

#[tokio::test]
async fn exactly_the_right_headers_reach_the_api_server() {
    let got: Arc<Mutex<Vec<String>>> = Arc::default();
    let log = Arc::clone(&got);
    let kubernetes = api(handler(move |request: Request<Incoming>| {
        let mut lines: Vec<_> = request
            .headers()
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        lines.sort();
        *log.lock() = lines;
        async { Response::new(full("ok")) }
    }))
    .await;
    let bench = Bench::new(&kubernetes.config()).await;
    let mut request = ask(
        Method::POST,
        "/api/v1/namespaces/a/pods",
        Full::from("{}").map_err(|e| match e {}).boxed_unsync(),
    );
    for (name, value) in [
        ("impersonate-user", "system:admin"),
        ("impersonate-group", "system:masters"),
        ("impersonate-uid", "0"),
        ("impersonate-extra-scopes.example.com", "all"),
        ("x-remote-user", "root"),
        ("x-remote-group", "system:masters"),
        ("x-remote-extra-a", "b"),
        ("x-forwarded-for", "10.0.0.1"),
        ("forwarded", "for=10.0.0.1"),
        ("authorization", "Bearer stolen"),
        ("proxy-authorization", "Basic stolen"),
        ("cookie", "a=b"),
        ("kantaloupe-other", "x"),
        ("audit-id", "somebody-elses"),
        ("content-type", "application/json"),
        ("user-agent", "kubectl/v1.32"),
    ] {
        request
            .headers_mut()
            .append(name, HeaderValue::from_static(value));
    }
    assert_eq!(text(bench.send(request).await).await, "ok");
    let host = format!("host: localhost:{}", kubernetes.server.address.port());
    let mut want = vec![
        "audit-id: r-1".to_owned(),
        format!("authorization: Bearer {BEARER}"),
        "content-length: 2".to_owned(),
        "content-type: application/json".to_owned(),
        host.clone(),
        "impersonate-group: kantaloupe:role:admin".to_owned(),
        "impersonate-user: kantaloupe:user:alice".to_owned(),
        "user-agent: kubectl/v1.32".to_owned(),
    ];
    assert_eq!(*got.lock(), want);

    // The same on the way of an upgrade.
    bench
        .upgrade("/kubernetes/api/v1/namespaces/a/pods/b/exec", "SPDY/3.1")
        .await;
    want = vec![
        "audit-id: r-2".to_owned(),
        format!("authorization: Bearer {BEARER}"),
        "connection: Upgrade".to_owned(),
        host,
        "impersonate-group: kantaloupe:role:admin".to_owned(),
        "impersonate-user: kantaloupe:user:alice".to_owned(),
        "upgrade: SPDY/3.1".to_owned(),
        "x-stream-protocol-version: v4.channel.k8s.io".to_owned(),
    ];
    assert_eq!(*got.lock(), want);
}

/// Answers every upgrade, echoes until the user has finished, then says goodbye.
fn echo() -> Handler {
    handler(|mut request: Request<Incoming>| async move {
        let protocol = request.headers()["upgrade"].clone();
        let upgraded = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let mut io = TokioIo::new(upgraded.await.unwrap());
            let mut buffer = vec![0; 16 * 1024];
            loop {
                let count = io.read(&mut buffer).await.unwrap();
                if count == 0 {
                    break;
                }
                io.write_all(&buffer[..count]).await.unwrap();
                io.flush().await.unwrap();
            }
            io.write_all(b"goodbye").await.unwrap();
            io.shutdown().await.unwrap();
        });
        Response::builder()
            .status(101)
            .header("connection", "Upgrade")
            .header("upgrade", protocol)
            .header("x-stream-protocol-version", "v4.channel.k8s.io")
            .body(full(""))
            .unwrap()
    })
}

#[tokio::test]
async fn upgrades_echo_and_close_in_halves() {
    let kubernetes = api(echo()).await;
    let bench = Bench::new(&kubernetes.config()).await;
    for protocol in ["SPDY/3.1", "websocket"] {
        let (status, headers, response) = bench
            .upgrade("/kubernetes/api/v1/namespaces/a/pods/b/exec?command=sh", protocol)
            .await;
        assert_eq!(status, StatusCode::SWITCHING_PROTOCOLS);
        assert_eq!(headers["upgrade"], protocol);
        assert_eq!(headers["x-stream-protocol-version"], "v4.channel.k8s.io");
        let (mut read, mut write) =
            tokio::io::split(TokioIo::new(soon(hyper::upgrade::on(response)).await.unwrap()));
        assert_eq!(bench.metrics.upgrades.get(), 1);

        write.write_all(b"ping").await.unwrap();
        write.flush().await.unwrap();
        let mut four = [0; 4];
        soon(read.read_exact(&mut four)).await.unwrap();
        assert_eq!(&four, b"ping");

        let sent: Vec<u8> = (0..2_000_000_u32).map(|n| (n % 251) as u8).collect();
        let upload = async {
            write.write_all(&sent).await.unwrap();
            write.shutdown().await.unwrap();
        };
        let download = async {
            let mut received = Vec::new();
            read.read_to_end(&mut received).await.unwrap();
            received
        };
        let ((), received) = soon(async { tokio::join!(upload, download) }).await;
        let (echo, goodbye) = received.split_at(sent.len());
        assert!(echo == sent, "the echo differs");
        assert_eq!(goodbye, b"goodbye", "what came after our end of stream");
        eventually("the stream is closed", || {
            bench.metrics.upgrades.get() == 0 && bench.streams.is_empty()
        })
        .await;
    }
}

#[tokio::test]
async fn another_answer_to_an_upgrade_is_a_plain_one_and_ends_its_connection() {
    let numbers: Arc<Mutex<Vec<ConnectionNumber>>> = Arc::default();
    let log = Arc::clone(&numbers);
    let kubernetes = api(handler(move |request: Request<Incoming>| {
        log.lock()
            .push(*request.extensions().get::<ConnectionNumber>().unwrap());
        async move {
            match request.uri().path() {
                "/api/v1/namespaces/a/pods/denied/exec" => status_object(403),
                "/api/v1/namespaces/a/pods/odd/exec" => Response::new(full("no upgrade here")),
                "/api/v1/namespaces/a/pods/moved/exec" => Response::builder()
                    .status(302)
                    .header("location", "http://169.254.169.254/")
                    .body(full(""))
                    .unwrap(),
                _ => Response::new(full("plain")),
            }
        }
    }))
    .await;
    let bench = Bench::new(&kubernetes.config()).await;
    for (path, expected, part) in [
        ("/kubernetes/api/v1/namespaces/a/pods/denied/exec", 403, "Status"),
        (
            "/kubernetes/api/v1/namespaces/a/pods/odd/exec",
            200,
            "no upgrade here",
        ),
        ("/kubernetes/api/v1/namespaces/a/pods/moved/exec", 302, ""),
    ] {
        let (status, headers, response) = bench.upgrade(path, "websocket").await;
        assert_eq!(status, expected);
        assert!(!headers.contains_key("upgrade"));
        let body = text(response).await;
        assert!(body.contains(part), "{body}");
        eventually("the connection is closed", || {
            kubernetes.server.open.load(Ordering::SeqCst) == 0
        })
        .await;
    }
    // Ordinary requests reuse a connection, but never one that an upgrade was asked on.
    for _ in 0..2 {
        assert_eq!(text(bench.get("/api").await).await, "plain");
    }
    let numbers = numbers.lock();
    assert_eq!(numbers.len(), 5);
    assert!(!numbers[..3].contains(&numbers[3]), "{numbers:?}");
    assert_eq!(numbers[3], numbers[4], "the pool is used");
}

#[tokio::test]
async fn head_and_no_content_have_no_body() {
    let kubernetes = api(handler(|request: Request<Incoming>| async move {
        match *request.method() {
            Method::HEAD => Response::builder()
                .header("content-length", "1234")
                .body(full(""))
                .unwrap(),
            _ => Response::builder().status(204).body(full("")).unwrap(),
        }
    }))
    .await;
    let bench = Bench::new(&kubernetes.config()).await;
    let response = bench.send(ask(Method::HEAD, "/api", empty())).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-length"], "1234");
    assert_eq!(text(response).await, "");
    let response = bench
        .send(ask(Method::DELETE, "/api/v1/namespaces/a", empty()))
        .await;
    assert_eq!(response.status(), 204);
    assert_eq!(text(response).await, "");
}

#[tokio::test]
async fn refusals_are_status_objects_and_reach_nobody() {
    let hits: Arc<AtomicUsize> = Arc::default();
    let counter = Arc::clone(&hits);
    let kubernetes = api(handler(move |_| {
        counter.fetch_add(1, Ordering::SeqCst);
        async { Response::new(full("")) }
    }))
    .await;
    let bench = Bench::new(&kubernetes.config()).await;
    let response = bench.get("/api/v1/%2e%2e/secrets").await;
    assert_eq!(response.status(), 400);
    assert!(text(response).await.contains(r#""reason":"BadRequest""#));
    let anonymous = Request::get(format!("{ORIGIN}/kubernetes/api"))
        .body(empty())
        .unwrap();
    assert_eq!(bench.send(anonymous).await.status(), 400);
    let elsewhere = Request::get(format!("{ORIGIN}/metrics")).body(empty()).unwrap();
    assert_eq!(bench.send(elsewhere).await.status(), 404);
    let (status, ..) = bench.upgrade("/kubernetes/api//exec", "websocket").await;
    assert_eq!(status, 400);
    assert_eq!(hits.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_user_who_leaves_frees_the_connection_to_the_api_server() {
    let kubernetes = api(handler(|_| async {
        let endless = stream::unfold((), |()| async {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            Some((Ok::<_, BoxError>(Frame::data(Bytes::from_static(b"line\n"))), ()))
        });
        Response::new(StreamBody::new(endless.boxed()).boxed_unsync())
    }))
    .await;
    let bench = Bench::new(&kubernetes.config()).await;
    let mut body = bench
        .get("/api/v1/namespaces/a/pods/b/log?follow=1")
        .await
        .into_body();
    soon(body.frame()).await.unwrap().unwrap();
    assert_eq!(kubernetes.server.open.load(Ordering::SeqCst), 1);
    drop(body);
    eventually("the API server sees the end", || {
        kubernetes.server.open.load(Ordering::SeqCst) == 0
    })
    .await;
    assert_eq!(bench.metrics.in_flight.get(), 0);
}
