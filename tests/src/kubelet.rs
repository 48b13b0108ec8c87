//! A node that says what a test wants: the real API server asks it for exec, attach, port-forward and logs, and it answers
//! bytes that no kubelet would.
//!
//! The pod's name says how (see `answer`).

use std::{net::SocketAddr, sync::Arc, time::Duration};

use http::Method;
use parking_lot::Mutex;
use serde_json::json;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
    time::sleep,
};
use tokio_util::task::AbortOnDropHandle;

use crate::{client::Client, tunnel::Tls};

/// The node's name in the cluster.
pub const NODE: &str = "fake-node";
/// Names of pods, and so of answers.
pub const PODS: [&str; 7] = ["good", "says200", "says403", "says500", "moved", "late", "second"];
/// Before [`PODS`]' "late" upgrades after all.
const LATE: Duration = Duration::from_millis(300);
/// Bytes of a request's head that are read.
const HEAD: usize = 64 << 10;

/// A running one; it ends with its handle.
pub struct Kubelet {
    pub addr: SocketAddr,
    /// Where [`PODS`]' "moved" sends; nothing should ever come there.
    pub elsewhere: SocketAddr,
    /// Heads of requests, as sent.
    pub heads: Arc<Mutex<Vec<String>>>,
    /// Connections to `elsewhere`.
    pub followed: Arc<Mutex<usize>>,
    _tasks: [AbortOnDropHandle<()>; 2],
}

impl Kubelet {
    pub async fn start(tls: &Tls) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let trap = TcpListener::bind("127.0.0.1:0").await?;
        let (addr, elsewhere) = (listener.local_addr()?, trap.local_addr()?);
        let heads: Arc<Mutex<Vec<String>>> = Arc::default();
        let followed: Arc<Mutex<usize>> = Arc::default();
        let (log, acceptor) = (Arc::clone(&heads), tls.acceptor.clone());
        let serve = tokio::spawn(async move {
            loop {
                let Ok((tcp, _)) = listener.accept().await else {
                    continue;
                };
                let (log, acceptor) = (Arc::clone(&log), acceptor.clone());
                tokio::spawn(async move {
                    let stream = acceptor.accept(tcp).await.ok()?;
                    answer(stream, &log, elsewhere).await.ok()
                });
            }
        });
        let count = Arc::clone(&followed);
        let wait = tokio::spawn(async move {
            while trap.accept().await.is_ok() {
                *count.lock() += 1;
            }
        });
        Ok(Self {
            addr,
            elsewhere,
            heads,
            followed,
            _tasks: [AbortOnDropHandle::new(serve), AbortOnDropHandle::new(wait)],
        })
    }

    /// Makes the node and its pods, in the namespaces given.
    pub async fn register(&self, api: &mut Client, namespaces: &[&str]) -> anyhow::Result<()> {
        let node = json!({"metadata": {"name": NODE}});
        api.ok(Method::POST, "/api/v1/nodes", Some(&node)).await?;
        let status = json!({"status": {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": self.addr.port()}}}});
        let path = format!("/api/v1/nodes/{NODE}/status");
        api.ok(Method::PATCH, &path, Some(&status)).await?;
        for namespace in namespaces {
            for name in PODS {
                let pod = json!({"metadata": {"name": name},
                    "spec": {"nodeName": NODE, "containers": [{"name": "main", "image": "none"}]}});
                let path = format!("/api/v1/namespaces/{namespace}/pods");
                api.ok(Method::POST, &path, Some(&pod)).await?;
            }
        }
        Ok(())
    }
}

/// Answers the one request of a connection. An upgraded stream sends back what it gets.
async fn answer(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    log: &Mutex<Vec<String>>,
    elsewhere: SocketAddr,
) -> anyhow::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < HEAD {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    log.lock().push(head.clone());
    let is = |pod: &str| {
        head.lines()
            .next()
            .is_some_and(|line| line.contains(&format!("/{pod}/")))
    };
    let plain = |status: &str, more: &str| {
        format!(
            "HTTP/1.1 {status}\r\ncontent-type: text/plain\r\nset-cookie: node=secret\r\n{more}content-length: 5\r\n\r\nplain"
        )
    };
    let switch = || {
        let protocol = head
            .lines()
            .find_map(|line| line.strip_prefix("Upgrade: "))
            .unwrap_or("SPDY/3.1");
        let subprotocol = head
            .lines()
            .find_map(|line| line.strip_prefix("Sec-Websocket-Protocol: "))
            .map(|_| "sec-websocket-protocol: v4.channel.k8s.io\r\n")
            .unwrap_or_default();
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: {protocol}\r\n{subprotocol}\r\n"
        )
    };
    if is("says200") {
        stream.write_all(plain("200 OK", "").as_bytes()).await?;
    } else if is("says403") {
        stream.write_all(plain("403 Forbidden", "").as_bytes()).await?;
    } else if is("says500") {
        stream
            .write_all(plain("500 Internal Server Error", "").as_bytes())
            .await?;
    } else if is("moved") {
        let location = format!("location: https://{elsewhere}/exec/stolen\r\n");
        stream.write_all(plain("302 Found", &location).as_bytes()).await?;
    } else if is("late") {
        stream.write_all(plain("200 OK", "").as_bytes()).await?;
        sleep(LATE).await;
        stream.write_all(switch().as_bytes()).await?;
        echo(stream).await?;
        return Ok(());
    } else if head.starts_with("GET /containerLogs/") {
        stream.write_all(plain("200 OK", "").as_bytes()).await?;
    } else {
        stream.write_all(switch().as_bytes()).await?;
        echo(stream).await?;
        return Ok(());
    }
    stream.shutdown().await?;
    Ok(())
}

async fn echo(stream: impl AsyncRead + AsyncWrite) -> std::io::Result<()> {
    let (mut read, mut write) = tokio::io::split(stream);
    tokio::io::copy(&mut read, &mut write).await?;
    write.shutdown().await
}
