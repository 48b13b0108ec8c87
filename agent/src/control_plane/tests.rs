use std::path::Path;

use kantaloupe_checks::Code;
use kantaloupe_proto::agent_api::ChallengeResponse;
use serde_json::json;
use tokio::{io::AsyncWriteExt, net::TcpListener};

use super::*;
use crate::testing::{self, Certificate, TlsServer, full, handler, problem, soon};

const BUDGET: Duration = Duration::from_secs(15);

fn plane(address: SocketAddr, certificate: Option<&Certificate>) -> ControlPlane {
    testing::install_provider();
    ControlPlane::new(&testing::config(
        address,
        certificate.map(Certificate::pin),
        Path::new("/none"),
    ))
    .unwrap()
}

async fn challenge(plane: &ControlPlane) -> Result<ChallengeResponse, Failure> {
    soon(async { plane.connect(BUDGET).await?.get("/agent/v1/challenge").await }).await
}

async fn upgrade(plane: &ControlPlane) -> Result<(), Failure> {
    let authorization = HeaderValue::from_static("Kantaloupe a.b");
    soon(async {
        plane
            .connect(BUDGET)
            .await?
            .upgrade("/agent/v1/tunnel", authorization)
            .await
            .map(drop)
    })
    .await
}

fn assert_failure<T: std::fmt::Debug>(result: Result<T, Failure>, code: Code, permanent: bool, text: &str) {
    let failure = result.expect_err(text);
    assert_eq!(failure.fault.code(), code, "{failure}");
    assert_eq!(failure.permanent, permanent, "{failure}");
    assert!(
        failure.to_string().contains(text),
        "{text} is missing in: {failure}"
    );
}

/// A port on which nobody listens.
async fn dead_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
}

#[tokio::test]
async fn a_name_that_does_not_exist() {
    let mut config = testing::config("127.0.0.1:1".parse().unwrap(), None, Path::new("/none"));
    config.url = "https://gateway.invalid".parse().unwrap();
    config.pin = Some(Certificate::new("a").pin());
    let plane = ControlPlane::new(&config).unwrap();
    assert_failure(challenge(&plane).await, Code::NET_002, false, "gateway.invalid");
}

#[tokio::test]
async fn a_port_where_nobody_listens() {
    let address = dead_port().await;
    let plane = plane(address, Some(&Certificate::new("localhost")));
    assert_failure(
        challenge(&plane).await,
        Code::NET_003,
        false,
        &address.port().to_string(),
    );
}

#[tokio::test]
async fn a_port_that_stays_silent_is_noticed_within_the_budget() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let plane = plane(
        listener.local_addr().unwrap(),
        Some(&Certificate::new("localhost")),
    );
    let failure = soon(plane.connect(Duration::from_millis(200))).await.map(drop);
    assert_failure(failure, Code::TLS_001, false, "did not end in time");
}

#[tokio::test]
async fn a_port_that_speaks_plain_http() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let plane = plane(
        listener.local_addr().unwrap(),
        Some(&Certificate::new("localhost")),
    );
    let server = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        socket
            .write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
            .await
            .unwrap();
        // Held open: a reset could overtake the answer.
        socket
    });
    assert_failure(challenge(&plane).await, Code::TLS_001, false, "not with TLS");
    server.await.unwrap();
}

#[tokio::test]
async fn certificates_that_are_not_trusted() {
    let certificate = Certificate::new("localhost");
    let server = TlsServer::start(&certificate, handler(|_| async { full_ok("{}") })).await;
    let other = Certificate::new("localhost");
    let refused = challenge(&plane(server.address, Some(&other))).await;
    assert_failure(refused, Code::TLS_002, true, &certificate.pin().to_string());
    let refused = challenge(&plane(server.address, Some(&other))).await;
    assert_failure(refused, Code::TLS_002, true, &other.pin().to_string());

    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &other.pem).unwrap();
    let mut config = testing::config(server.address, None, Path::new("/none"));
    config.ca_file = Some(file.path().to_owned());
    let refused = challenge(&ControlPlane::new(&config).unwrap()).await;
    assert_failure(refused, Code::TLS_001, false, "not trusted");
}

fn full_ok(text: &'static str) -> Response<kantaloupe_tunnel::session::Body> {
    Response::new(full(text))
}

#[tokio::test]
async fn answers_are_told_apart() {
    let certificate = Certificate::new("localhost");
    let server = TlsServer::start(
        &certificate,
        handler(|request| async move {
            assert_eq!(request.headers()["user-agent"], crate::USER_AGENT);
            match request.uri().path() {
                "/good/agent/v1/challenge" => {
                    testing::json(200, &json!({"nonce": "n", "time": 1, "protocolVersion": 1}))
                }
                "/used/agent/v1/challenge" => {
                    problem(409, "KTA-AUTH-004", "the token was used by cluster c-1")
                }
                "/clock/agent/v1/challenge" => problem(401, "KTA-TIME-001", "agent 10:00, gateway 10:10"),
                "/html/agent/v1/challenge" => Response::builder()
                    .status(404)
                    .header("content-type", "text/html")
                    .body(full("<html>not here</html>"))
                    .unwrap(),
                "/huge/agent/v1/challenge" => Response::new(full(vec![b' '; MAX_BODY_BYTES + 1])),
                _ => full_ok("<html>a portal that answers everything</html>"),
            }
        }),
    )
    .await;
    let at = |prefix: &str| {
        let mut config = testing::config(server.address, Some(certificate.pin()), Path::new("/none"));
        config.url.set_path(prefix);
        ControlPlane::new(&config).unwrap()
    };
    assert_eq!(challenge(&at("/good")).await.unwrap().nonce, "n");
    assert_failure(
        challenge(&at("/used")).await,
        Code::AUTH_004,
        true,
        "used by cluster c-1",
    );
    assert_failure(
        challenge(&at("/clock")).await,
        Code::TIME_001,
        false,
        "gateway 10:10",
    );
    assert_failure(
        challenge(&at("/html")).await,
        Code::NET_007,
        false,
        "HTTP 404 Not Found (text/html)",
    );
    assert_failure(
        challenge(&at("/html")).await,
        Code::NET_007,
        false,
        "is this the gateway's URL",
    );
    assert_failure(
        challenge(&at("/portal")).await,
        Code::NET_007,
        false,
        "is this the gateway's URL",
    );
    assert_failure(
        challenge(&at("/huge")).await,
        Code::NET_007,
        false,
        "length limit",
    );
}

#[tokio::test]
async fn upgrades_that_are_none() {
    let certificate = Certificate::new("localhost");
    let server = TlsServer::start(
        &certificate,
        handler(|request| async move {
            let mode = request.uri().path().split('/').nth(1).unwrap().to_owned();
            match mode.as_str() {
                "plain" => full_ok("ok"),
                "revoked" => problem(403, "KTA-AUTH-007", "cluster c-1 is revoked"),
                // 101 without the proof that the request was read.
                "fake" => Response::builder()
                    .status(101)
                    .header("connection", "upgrade")
                    .header("upgrade", "websocket")
                    .header("sec-websocket-protocol", websocket::PROTOCOL)
                    .body(full(""))
                    .unwrap(),
                _ => {
                    let response = websocket::server_response(&request).unwrap();
                    response.map(|()| full(""))
                }
            }
        }),
    )
    .await;
    let at = |prefix: &str| {
        let mut config = testing::config(server.address, Some(certificate.pin()), Path::new("/none"));
        config.url.set_path(prefix);
        ControlPlane::new(&config).unwrap()
    };
    upgrade(&at("/good")).await.unwrap();
    assert_failure(
        upgrade(&at("/plain")).await,
        Code::NET_007,
        false,
        "instead of 101",
    );
    assert_failure(
        upgrade(&at("/revoked")).await,
        Code::AUTH_007,
        true,
        "c-1 is revoked",
    );
    assert_failure(
        upgrade(&at("/fake")).await,
        Code::NET_007,
        false,
        "Sec-WebSocket-Accept",
    );
}

#[tokio::test]
async fn a_server_that_hangs_up() {
    let certificate = Certificate::new("localhost");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let plane = plane(listener.local_addr().unwrap(), Some(&certificate));
    let acceptor = tokio_rustls::TlsAcceptor::from(certificate.server_config());
    let server = tokio::spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        drop(acceptor.accept(socket).await.unwrap());
    });
    assert_failure(challenge(&plane).await, Code::NET_007, false, "No HTTP answer");
    server.await.unwrap();
}

#[tokio::test]
async fn the_host_header_has_the_port_unless_it_is_the_default() {
    testing::install_provider();
    let host = |url: &str| {
        let mut config = testing::config("127.0.0.1:1".parse().unwrap(), None, Path::new("/none"));
        config.pin = Some(Certificate::new("a").pin());
        config.url = url.parse().unwrap();
        let plane = ControlPlane::new(&config).unwrap();
        (
            plane.authority.to_str().unwrap().to_owned(),
            plane.host.clone(),
            plane.port,
        )
    };
    assert_eq!(
        host("https://gw.example.com"),
        ("gw.example.com".to_owned(), "gw.example.com".to_owned(), 443)
    );
    assert_eq!(
        host("https://[::1]:8443/a"),
        ("[::1]:8443".to_owned(), "::1".to_owned(), 8443)
    );
}
