//! The agent's end of a session and of a link, byte by byte.

use std::{future::poll_fn, io, time::Duration};

use bytes::Bytes;
use kantaloupe_proto::assertion::SessionKind;
use kantaloupe_tunnel::{
    carrier::{BoxCarrier, websocket},
    frame::Frame as LinkFrame,
    link::{self, Link},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

use super::agent::Agent;

/// Longest wait for a gateway that takes no more, or for an end.
const WAIT: Duration = Duration::from_secs(10);
const PREFACE: usize = 24;

/// Types and flags of HTTP/2 frames.
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// A frame of HTTP/2.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A header as a literal, neither indexed nor compressed.
pub(crate) fn literal(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![0];
    for text in [name, value] {
        let length = u8::try_from(text.len()).unwrap();
        assert!(length < 127, "longer ones take more bytes");
        bytes.push(length);
        bytes.extend(text.as_bytes());
    }
    bytes
}

/// The agent's end of an HTTP/2 session: a server that says anything.
pub(crate) struct Server(Link);

impl Server {
    pub(crate) async fn control(agent: &Agent) -> Self {
        let tunnel = uuid::Uuid::new_v4().to_string();
        let dialer = agent.dialer(&tunnel, SessionKind::Control);
        Self::on(link::open(dialer, link::Config::default()).await.unwrap()).await
    }

    /// Reads the client's preface and says hello with empty settings.
    pub(crate) async fn on(mut link: Link) -> Self {
        timeout(WAIT, link.read_exact(&mut [0; PREFACE]))
            .await
            .unwrap()
            .unwrap();
        link.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
        link.flush().await.unwrap();
        Self(link)
    }

    /// The stream of the next request.
    pub(crate) async fn request(&mut self) -> u32 {
        loop {
            let mut head = [0; 9];
            timeout(WAIT, self.0.read_exact(&mut head))
                .await
                .unwrap()
                .unwrap();
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let mut payload = vec![0; length];
            self.0.read_exact(&mut payload).await.unwrap();
            match head[3] {
                SETTINGS if head[4] & ACK == 0 => assert!(self.say(&frame(SETTINGS, ACK, 0, &[])).await),
                HEADERS => return u32::from_be_bytes([head[5], head[6], head[7], head[8]]),
                _ => {}
            }
        }
    }

    /// Sends bytes; whether the gateway took them.
    pub(crate) async fn say(&mut self, bytes: &[u8]) -> bool {
        let say = async {
            self.0.write_all(bytes).await?;
            self.0.flush().await
        };
        matches!(timeout(WAIT, say).await, Ok(Ok(())))
    }

    /// Sends the same bytes again and again, until the gateway has had enough.
    pub(crate) async fn flood(&mut self, bytes: &[u8], times: usize) {
        let many = bytes.repeat(64);
        for _ in 0..times.div_ceil(64) {
            if !self.say(&many).await {
                return;
            }
        }
    }

    /// Whether the gateway ends the session.
    pub(crate) async fn ends(mut self) -> bool {
        let mut buffer = vec![0; 64 << 10];
        let end = async {
            loop {
                match self.0.read(&mut buffer).await {
                    Ok(0) | Err(_) => return,
                    Ok(_) => {}
                }
            }
        };
        timeout(WAIT, end).await.is_ok()
    }
}

/// A carrier before any link is on it.
pub(crate) async fn carrier(agent: &Agent, tunnel: &str, session: SessionKind) -> BoxCarrier {
    let (response, key) = agent.upgrade(tunnel, session, |_| {}).await.unwrap();
    websocket::check_response(&response, &key).unwrap();
    let io = hyper::upgrade::on(response).await.unwrap();
    websocket::client(hyper_util::rt::TokioIo::new(io))
}

/// Sends a message.
pub(crate) async fn put(carrier: &mut BoxCarrier, message: Bytes) -> io::Result<()> {
    let put = async {
        poll_fn(|cx| carrier.poll_ready(cx)).await?;
        carrier.start_send(message)?;
        poll_fn(|cx| carrier.poll_flush(cx)).await
    };
    timeout(WAIT, put)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// The next message; `None` at the end.
pub(crate) async fn take(carrier: &mut BoxCarrier) -> Option<LinkFrame> {
    let message = timeout(WAIT, poll_fn(|cx| carrier.poll_recv(cx)))
        .await
        .ok()?
        .ok()??;
    LinkFrame::decode(message).ok()
}

/// Waits for the end of a carrier.
pub(crate) async fn is_cut(carrier: &mut BoxCarrier) -> bool {
    let end = async { while matches!(poll_fn(|cx| carrier.poll_recv(cx)).await, Ok(Some(_))) {} };
    timeout(WAIT, end).await.is_ok()
}
