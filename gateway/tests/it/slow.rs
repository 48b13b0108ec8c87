//! Clients that take their time: each is let go, and nobody else waits for it.

use std::{net::SocketAddr, time::Duration};

use http::Method;
use kantaloupe_gateway::{app::Gateway, config::Config};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

use super::client::{Client, PATIENCE, Testbed};

/// Instead of 100 seconds.
const HEAD: Duration = Duration::from_millis(1500);
/// Between the bytes of those who send some.
const DRIP: Duration = Duration::from_millis(200);

async fn testbed() -> Testbed {
    let dir = tempfile::tempdir().unwrap();
    let config = Config {
        head_timeout: HEAD,
        ..Config::local(dir.path())
    };
    let gateway = Gateway::start(config).await.unwrap();
    let client = Client::admin(&gateway, dir.path());
    Testbed { gateway, client, dir }
}

/// Sends `bytes` one by one, and then nothing; how long the connection lived.
async fn drip<IO: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(
    mut io: IO,
    bytes: &[u8],
) -> Duration {
    let start = Instant::now();
    let ended = async {
        for byte in bytes {
            if io.write_all(&[*byte]).await.is_err() || io.flush().await.is_err() {
                return;
            }
            sleep(DRIP).await;
        }
        let mut rest = [0; 1024];
        while matches!(io.read(&mut rest).await, Ok(n) if n > 0) {}
    };
    timeout(PATIENCE, ended)
        .await
        .expect("the connection is ended by the other side");
    start.elapsed()
}

/// A head that goes on for longer than anybody waits.
fn endless() -> Vec<u8> {
    let mut head = b"GET /api/v1/whoami HTTP/1.1\r\nhost: a\r\nx-slow: ".to_vec();
    head.extend([b'x'; 200]);
    head
}

#[tokio::test]
async fn slow_heads_end_on_every_way_in_while_others_are_served() {
    let testbed = testbed().await;
    let client = &testbed.client;
    let whoami = async || {
        client
            .call(Method::GET, "/api/v1/whoami", Value::Null)
            .await
            .0
            .as_u16()
    };
    let tcp = async |addr: SocketAddr| TcpStream::connect(addr).await.unwrap();
    let (main, admin) = (testbed.gateway.addr, testbed.gateway.admin_addr);
    let h1 = client.connect("http/1.1").await.unwrap();
    let silent1 = client.connect("http/1.1").await.unwrap();
    let h2 = client.connect("h2").await.unwrap();
    let silent2 = client.connect("h2").await.unwrap();
    // Preface and settings, and then no request.
    let idle2 = client.connect("h2").await.unwrap();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";
    let all = async {
        let endless = endless();
        tokio::join!(
            drip(h1, &endless),
            drip(silent1, b""),
            drip(h2, &preface[..10]),
            drip(silent2, b""),
            async {
                let mut idle2 = idle2;
                idle2.write_all(preface).await.unwrap();
                drip(idle2, b"").await
            },
            // No TLS at all, and one byte of it after the other: 10 seconds.
            async { drip(tcp(main).await, b"").await },
            async { drip(tcp(main).await, &[0x16, 3, 1, 2, 0, 1]).await },
            // The second port: 5 seconds.
            async { drip(tcp(admin).await, &endless).await },
            async { drip(tcp(admin).await, b"").await },
        )
    };
    let served = async {
        sleep(MOMENT).await;
        assert_eq!(whoami().await, 200);
    };
    let (lived, ()) = tokio::join!(all, served);
    let (h1, silent1, h2, silent2, idle2, bare, tls, admin1, admin2) = lived;
    for (what, lived) in [
        ("a slow head", h1),
        ("silence", silent1),
        ("half a preface", h2),
        ("no preface", silent2),
        ("no request", idle2),
    ] {
        assert!(lived < HEAD + Duration::from_secs(2), "{what}: {lived:?}");
    }
    for (what, lived) in [("no handshake", bare), ("a slow handshake", tls)] {
        assert!(lived < Duration::from_secs(13), "{what}: {lived:?}");
    }
    for (what, lived) in [("a slow head", admin1), ("silence", admin2)] {
        assert!(
            lived < Duration::from_secs(8),
            "{what} at the admin port: {lived:?}"
        );
    }
    assert_eq!(whoami().await, 200);
}

/// Long enough for all of them to be connected.
const MOMENT: Duration = Duration::from_millis(300);

#[tokio::test]
async fn a_crowd_at_the_admin_port_is_bounded_and_goes() {
    let testbed = testbed().await;
    let mut crowd = Vec::new();
    for _ in 0..200 {
        crowd.push(TcpStream::connect(testbed.gateway.admin_addr).await.unwrap());
    }
    sleep(MOMENT).await;
    let mut open = 0;
    for tcp in &mut crowd {
        let closed = timeout(Duration::from_millis(5), tcp.read(&mut [0; 1])).await;
        open += usize::from(closed.is_err());
    }
    assert!(open <= 64, "{open} connections are open");
    assert_eq!(
        testbed
            .client
            .call(Method::GET, "/api/v1/whoami", Value::Null)
            .await
            .0,
        200
    );
    sleep(Duration::from_secs(6)).await;
    assert!(testbed.admin("/livez").await.starts_with("HTTP/1.1 200"));
}
