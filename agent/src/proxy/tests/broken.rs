//! API servers that break off, are away, or say things that only raw bytes can say.

use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::testing::{Certificate, kubernetes};

/// A server that answers each connection with these bytes, whatever is asked, and then closes.
async fn raw_server(answer: &'static [u8]) -> (kube::Config, Arc<AtomicUsize>, AbortOnDropHandle<()>) {
    crate::testing::install_provider();
    let certificate = Certificate::new("localhost");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = kubernetes::config(listener.local_addr().unwrap().port(), &certificate);
    let acceptor = TlsAcceptor::from(certificate.server_config());
    let hits: Arc<AtomicUsize> = Arc::default();
    let counter = Arc::clone(&hits);
    let task = tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let mut stream = acceptor.accept(socket).await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            counter.fetch_add(1, Ordering::SeqCst);
            stream.write_all(answer).await.unwrap();
            stream.shutdown().await.unwrap();
        }
    });
    (config, hits, AbortOnDropHandle::new(task))
}

#[tokio::test]
async fn trailers_pass() {
    let (config, ..) = &raw_server(
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-checksum\r\n\r\n3\r\nabc\r\n0\r\nx-checksum: 42\r\n\r\n",
    )
    .await;
    let bench = Bench::new(config).await;
    let response = bench.get("/api").await;
    assert!(!response.headers().contains_key("transfer-encoding"));
    let body = soon(response.into_body().collect()).await.unwrap();
    assert_eq!(body.trailers().unwrap()["x-checksum"], "42");
    assert_eq!(body.to_bytes(), "abc");
}

#[tokio::test]
async fn a_server_that_breaks_off_is_a_bad_gateway_and_is_not_asked_again() {
    let (config, hits, _task) = raw_server(b"").await;
    let bench = Bench::new(&config).await;
    for (number, method) in [Method::GET, Method::POST].into_iter().enumerate() {
        let response = bench
            .send(ask(method, "/api/v1/namespaces/a/pods", empty()))
            .await;
        assert_eq!(response.status(), 502);
        let body = text(response).await;
        assert!(
            body.contains(r#""kind":"Status""#) && body.contains("KTA-K8S-001"),
            "{body}"
        );
        assert_eq!(hits.load(Ordering::SeqCst), number + 1);
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_not_a_whole_one() {
    let (config, _hits, _task) = raw_server(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly this").await;
    let bench = Bench::new(&config).await;
    let response = bench.get("/api").await;
    assert_eq!(response.status(), 200);
    assert!(soon(response.into_body().collect()).await.is_err());
}

#[tokio::test]
async fn a_server_that_is_away_is_unavailable() {
    let kubernetes = api(handler(|_| async { Response::new(full("")) })).await;
    let config = kubernetes.config();
    drop(kubernetes);
    let bench = Bench::new(&config).await;
    let response = bench.get("/api").await;
    assert_eq!(response.status(), 503);
    assert!(
        !response.headers().contains_key("retry-after"),
        "clients would repeat by themselves"
    );
    let body = text(response).await;
    assert!(
        body.contains(r#""reason":"ServiceUnavailable""#) && body.contains("KTA-K8S-001"),
        "{body}"
    );
    let (status, _, response) = bench
        .upgrade("/kubernetes/api/v1/namespaces/a/pods/b/exec", "websocket")
        .await;
    assert_eq!(status, 503);
    assert!(text(response).await.contains("KTA-K8S-001"));
}
