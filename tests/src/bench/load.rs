//! Load and its figures: HTTP/1.1 over TLS, as kubectl speaks it.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::{body::Incoming, client::conn::http1::SendRequest};
use hyper_util::rt::TokioIo;
use kantaloupe_tunnel::session::Body;
use tokio::{net::TcpStream, time::Instant};

use crate::{
    service::Pattern,
    tunnel::{Tls, empty, localhost},
};

/// Where requests go: directly, or through what is measured.
#[derive(Clone)]
pub struct Target {
    pub addr: SocketAddr,
    pub tls: Tls,
    /// Before the path of the service.
    pub prefix: String,
    /// Value of the Authorization header.
    pub authorization: String,
}

/// One connection.
pub struct Connection {
    sender: SendRequest<Body>,
    target: Target,
}

impl Target {
    /// A server itself.
    pub fn direct(addr: SocketAddr, tls: &Tls) -> Self {
        Self {
            addr,
            tls: tls.clone(),
            prefix: String::new(),
            authorization: "Bearer x".into(),
        }
    }

    pub async fn connect(&self) -> anyhow::Result<Connection> {
        let tcp = TcpStream::connect(self.addr).await?;
        tcp.set_nodelay(true)?;
        let stream = self.tls.connector.connect(localhost(), tcp).await?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Connection {
            sender,
            target: self.clone(),
        })
    }

    /// MB/s of `streams` downloads, each on a connection of its own, `bytes` together.
    pub async fn down(&self, streams: u64, bytes: u64) -> anyhow::Result<f64> {
        self.bulk(streams, bytes, async |connection, n| {
            connection.read(&format!("/bulk?{n}")).await
        })
        .await
    }

    /// MB/s of `streams` uploads.
    pub async fn up(&self, streams: u64, bytes: u64) -> anyhow::Result<f64> {
        self.bulk(streams, bytes, async |connection, n| {
            let body = Pattern::new(n, 64 << 10)
                .map_err(|never| match never {})
                .boxed_unsync();
            let answer = connection
                .send("POST", "/count", body)
                .await?
                .into_body()
                .collect()
                .await?
                .to_bytes();
            let counted = std::str::from_utf8(&answer)?.parse()?;
            Ok(counted)
        })
        .await
    }

    async fn bulk<F>(&self, streams: u64, bytes: u64, each: F) -> anyhow::Result<f64>
    where
        F: AsyncFn(&mut Connection, u64) -> anyhow::Result<u64>,
    {
        let mut connections = vec![];
        for _ in 0..streams {
            connections.push(self.connect().await?);
        }
        let share = bytes / streams;
        let start = Instant::now();
        let all = connections.iter_mut().map(|connection| each(connection, share));
        for moved in futures::future::try_join_all(all).await? {
            anyhow::ensure!(moved == share, "{moved} bytes instead of {share}");
        }
        #[allow(clippy::cast_precision_loss)]
        Ok(bytes as f64 / 1e6 / start.elapsed().as_secs_f64())
    }

    /// Times of `n` small requests, one after the other on one connection, in ascending order.
    pub async fn small(&self, n: usize) -> anyhow::Result<Vec<Duration>> {
        let mut connection = self.connect().await?;
        for _ in 0..n / 10 {
            connection.read("/small").await?; // warm
        }
        let mut times = Vec::with_capacity(n);
        for _ in 0..n {
            let start = Instant::now();
            anyhow::ensure!(connection.read("/small").await? == 1024, "not the small answer");
            times.push(start.elapsed());
        }
        times.sort();
        Ok(times)
    }
}

impl Connection {
    pub async fn send(&mut self, method: &str, path: &str, body: Body) -> anyhow::Result<Response<Incoming>> {
        self.sender.ready().await?;
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.target.prefix))
            .header("host", "localhost")
            .header("authorization", &self.target.authorization)
            .body(body)?;
        let response = self.sender.send_request(request).await?;
        anyhow::ensure!(response.status().is_success(), "{path}: {}", response.status());
        Ok(response)
    }

    /// GET, read to its end: the number of bytes.
    pub async fn read(&mut self, path: &str) -> anyhow::Result<u64> {
        let mut body = self.send("GET", path, empty()).await?.into_body();
        let mut n = 0;
        while let Some(frame) = body.frame().await {
            n += frame?.data_ref().map_or(0, |b: &Bytes| b.len() as u64);
        }
        Ok(n)
    }
}

/// The value below which `share` of the sorted times lie, in milliseconds.
pub fn percentile(sorted: &[Duration], share: f64) -> f64 {
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss
    )]
    let at = ((sorted.len().saturating_sub(1)) as f64 * share) as usize;
    sorted.get(at).map_or(f64::NAN, |t| t.as_secs_f64() * 1e3)
}
