//! HTTP/1.1 byte by byte: what no client library would send, and exactly what came back.

use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::client::TlsStream;

use crate::tunnel::{Tls, localhost};

/// Longest wait for an answer that has to come.
const ANSWER: Duration = Duration::from_secs(20);
/// How long a connection may be silent before it counts as having nothing more to say.
const QUIET: Duration = Duration::from_millis(400);
/// Bytes of an answer that are kept.
const MOST: usize = 1 << 20;

/// Headers of an upgrade as kubectl asks for it over SPDY.
pub const SPDY: [&str; 3] = [
    "connection: Upgrade",
    "upgrade: SPDY/3.1",
    "x-stream-protocol-version: v4.channel.k8s.io",
];
/// The same over WebSocket.
pub const WEBSOCKET: [&str; 5] = [
    "connection: Upgrade",
    "upgrade: websocket",
    "sec-websocket-version: 13",
    "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
    "sec-websocket-protocol: v4.channel.k8s.io",
];

/// An answer: its head as sent, and its body.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    /// The one value of a header, in lower case.
    pub fn header(&self, name: &str) -> Option<String> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found
                .eq_ignore_ascii_case(name)
                .then(|| value.trim().to_ascii_lowercase())
        })
    }
}

/// One connection.
pub struct Raw {
    stream: TlsStream<TcpStream>,
    buffer: Vec<u8>,
}

impl Raw {
    pub async fn connect(addr: std::net::SocketAddr, tls: &Tls) -> anyhow::Result<Self> {
        let tcp = TcpStream::connect(addr).await?;
        tcp.set_nodelay(true)?;
        let stream = tls.speaking("http/1.1").connect(localhost(), tcp).await?;
        Ok(Self {
            stream,
            buffer: vec![],
        })
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> anyhow::Result<()> {
        timeout(ANSWER, async {
            self.stream.write_all(bytes.as_ref()).await?;
            self.stream.flush().await
        })
        .await
        .context("the server takes no more")??;
        Ok(())
    }

    /// The next answer, by its length; one without a length goes on to the end of the connection or to silence.
    pub async fn answer(&mut self) -> anyhow::Result<Answer> {
        let end = loop {
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                break at + 4;
            }
            ensure!(
                self.more(ANSWER).await?,
                "the connection ended before an answer: {:?}",
                self.text()
            );
        };
        let head = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
        self.buffer.drain(..end);
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok())
            .with_context(|| head.clone())?;
        let mut answer = Answer {
            status,
            head,
            body: String::new(),
        };
        if status == 101 {
            return Ok(answer);
        }
        let length = answer
            .header("content-length")
            .and_then(|text| text.parse::<usize>().ok());
        let chunked = answer.header("transfer-encoding").is_some();
        let body = match length {
            Some(length) => {
                while self.buffer.len() < length && self.more(ANSWER).await? {}
                let length = length.min(self.buffer.len());
                self.buffer.drain(..length).collect::<Vec<_>>()
            }
            None if chunked => {
                // A watch says nothing more for a while.
                while find(&self.buffer, b"0\r\n\r\n").is_none() && matches!(self.more(QUIET).await, Ok(true))
                {
                }
                let end = find(&self.buffer, b"0\r\n\r\n").map_or(self.buffer.len(), |at| at + 5);
                self.buffer.drain(..end).collect()
            }
            None => vec![],
        };
        answer.body = String::from_utf8_lossy(&body).into_owned();
        Ok(answer)
    }

    /// Everything that comes until the end or silence, and whether it was the end.
    pub async fn rest(&mut self) -> anyhow::Result<(String, bool)> {
        while self.buffer.len() < MOST {
            match timeout(QUIET, self.more(ANSWER)).await {
                Ok(Ok(true)) => {}
                Ok(Ok(false) | Err(_)) => return Ok((self.text(), true)),
                Err(_) => return Ok((self.text(), false)),
            }
        }
        Ok((self.text(), false))
    }

    /// Whether the server ends the connection within a time.
    pub async fn ends(&mut self, within: Duration) -> bool {
        timeout(within, async {
            while matches!(self.more(within).await, Ok(true)) {}
        })
        .await
        .is_ok()
    }

    async fn more(&mut self, within: Duration) -> anyhow::Result<bool> {
        let mut block = [0; 8192];
        match timeout(within, self.stream.read(&mut block)).await {
            Ok(Ok(n)) => {
                self.buffer.extend_from_slice(&block[..n]);
                Ok(n > 0)
            }
            // A connection that is cut has ended too.
            Ok(Err(_)) => Ok(false),
            Err(_) => anyhow::bail!("silence after {:?}", self.text()),
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.buffer).into_owned()
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
