//! HTTP/2 frame by frame: heads and frames that no client library would send.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::client::TlsStream;

use crate::tunnel::{Tls, localhost};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Longest wait for what has to come.
const ANSWER: Duration = Duration::from_secs(20);

/// Types of frames.
pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;
/// Flags.
pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// A frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    pub fn new(kind: u8, flags: u8, stream: u32, payload: impl Into<Vec<u8>>) -> Self {
        Self {
            kind,
            flags,
            stream,
            payload: payload.into(),
        }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let length = u32::try_from(self.payload.len())
            .unwrap_or(u32::MAX)
            .to_be_bytes();
        let mut bytes = vec![length[1], length[2], length[3], self.kind, self.flags];
        bytes.extend(self.stream.to_be_bytes());
        bytes.extend(&self.payload);
        bytes
    }

    /// The error code of RST_STREAM or GOAWAY.
    pub fn error(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        self.payload
            .get(at..at + 4)
            .and_then(|code| code.try_into().ok())
            .map_or(u32::MAX, u32::from_be_bytes)
    }
}

/// How the server took a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// An answer; its body.
    Answer(String),
    /// The stream was reset with this error.
    Reset(u32),
    /// The connection was ended.
    Ended,
}

impl Outcome {
    /// The status that a refusal of the gateway states in its body.
    pub fn code(&self) -> Option<u64> {
        let Self::Answer(body) = self else { return None };
        let value: serde_json::Value = serde_json::from_str(body).ok()?;
        value["code"].as_u64().or_else(|| value["status"].as_u64())
    }
}

/// A header block of literals, neither compressed nor checked.
pub fn block<'a>(headers: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<u8> {
    let mut bytes = vec![];
    for (name, value) in headers {
        bytes.push(0);
        for text in [name, value] {
            integer(&mut bytes, text.len());
            bytes.extend(text.as_bytes());
        }
    }
    bytes
}

/// RFC 7541, 5.1, with a prefix of seven bits.
fn integer(bytes: &mut Vec<u8>, mut value: usize) {
    if value < 127 {
        bytes.push(u8::try_from(value).unwrap_or(127));
        return;
    }
    bytes.push(127);
    value -= 127;
    while value >= 128 {
        bytes.push(u8::try_from(value % 128).unwrap_or(0) | 128);
        value /= 128;
    }
    bytes.push(u8::try_from(value).unwrap_or(0));
}

/// One connection, greeted.
pub struct Raw2 {
    read: ReadHalf<TlsStream<TcpStream>>,
    write: WriteHalf<TlsStream<TcpStream>>,
    next: u32,
}

impl Raw2 {
    /// With these settings (RFC 9113, 6.5.1) from the start.
    pub async fn connect(addr: SocketAddr, tls: &Tls, settings: &[(u16, u32)]) -> anyhow::Result<Self> {
        let tcp = TcpStream::connect(addr).await?;
        let stream = tls.speaking("h2").connect(localhost(), tcp).await?;
        let (read, write) = tokio::io::split(stream);
        let mut raw = Self { read, write, next: 1 };
        let mut payload = vec![];
        for (id, value) in settings {
            payload.extend(id.to_be_bytes());
            payload.extend(value.to_be_bytes());
        }
        let mut hello = PREFACE.to_vec();
        hello.extend(Frame::new(SETTINGS, 0, 0, payload).bytes());
        raw.send(&hello).await?;
        Ok(raw)
    }

    pub async fn send(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        timeout(ANSWER, async {
            self.write.write_all(bytes).await?;
            self.write.flush().await
        })
        .await
        .context("the server takes no more")??;
        Ok(())
    }

    /// The id of a new stream.
    pub fn stream(&mut self) -> u32 {
        self.next += 2;
        self.next - 2
    }

    /// The next frame; `None` at the end.
    pub async fn frame(&mut self) -> anyhow::Result<Option<Frame>> {
        let mut head = [0; 9];
        let got = timeout(ANSWER, self.read.read_exact(&mut head))
            .await
            .context("silence")?;
        if got.is_err() {
            return Ok(None);
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        ensure!(length <= 1 << 20, "a frame of {length} bytes");
        let mut payload = vec![0; length];
        if timeout(ANSWER, self.read.read_exact(&mut payload))
            .await
            .context("silence")?
            .is_err()
        {
            return Ok(None);
        }
        let stream = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
        Ok(Some(Frame::new(head[3], head[4], stream, payload)))
    }

    /// One request without a body, and how the server took it.
    pub async fn request(&mut self, headers: &[(&str, &str)]) -> anyhow::Result<Outcome> {
        let stream = self.stream();
        let block = block(headers.iter().copied());
        self.send(&Frame::new(HEADERS, END_STREAM | END_HEADERS, stream, block).bytes())
            .await?;
        self.outcome(stream).await
    }

    /// How a stream ends.
    pub async fn outcome(&mut self, stream: u32) -> anyhow::Result<Outcome> {
        let mut body = vec![];
        loop {
            let Some(frame) = self.frame().await? else {
                return Ok(Outcome::Ended);
            };
            match frame.kind {
                GOAWAY if frame.error() != 0 => return Ok(Outcome::Ended),
                RST_STREAM if frame.stream == stream => return Ok(Outcome::Reset(frame.error())),
                DATA if frame.stream == stream => body.extend(&frame.payload),
                SETTINGS if frame.flags & ACK == 0 => {
                    self.send(&Frame::new(SETTINGS, ACK, 0, []).bytes()).await?;
                }
                PING if frame.flags & ACK == 0 => {
                    self.send(&Frame::new(PING, ACK, 0, frame.payload).bytes())
                        .await?;
                    continue;
                }
                _ => {}
            }
            if frame.stream == stream && matches!(frame.kind, DATA | HEADERS) && frame.flags & END_STREAM != 0
            {
                return Ok(Outcome::Answer(String::from_utf8_lossy(&body).into_owned()));
            }
        }
    }
}
