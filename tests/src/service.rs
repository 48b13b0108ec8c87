//! An HTTP service whose every byte can be checked: what a test puts at the far end of a tunnel.
//!
//! * `GET /small`: 1 KiB
//! * `GET /bulk?N`: N bytes of [`pattern`]
//! * `GET /tiny?N`: N bytes, each in a DATA frame of its own
//! * `GET /watch?N`: N numbered lines, one each 2 ms
//! * `GET /stall`: a body that never ends and never gives more
//! * `POST /count`: reads the body, checks it against [`pattern`], answers its length
//! * `CONNECT`: echoes until the end of the input

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Body as _, Incoming};
use hyper_util::rt::TokioIo;
use kantaloupe_tunnel::{session::Body, upgrade};

use crate::tunnel::{empty, full};

const BLOCK: usize = 64 << 10;

/// The byte at an offset.
#[allow(clippy::cast_possible_truncation)]
pub fn pattern(offset: u64) -> u8 {
    (offset % 251) as u8
}

/// A block that starts at any of the 251 phases of the pattern.
fn blocks() -> Bytes {
    (0..(BLOCK + 251) as u64).map(pattern).collect::<Vec<_>>().into()
}

/// Checks that bytes follow the pattern.
pub struct Checker {
    blocks: Bytes,
    /// Bytes so far.
    pub count: u64,
}

impl Checker {
    pub fn new() -> Self {
        Self {
            blocks: blocks(),
            count: 0,
        }
    }

    /// Panics at the first byte that differs.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let phase = usize::try_from(self.count % 251).unwrap();
            let n = bytes.len().min(BLOCK);
            assert_eq!(
                bytes[..n],
                self.blocks[phase..phase + n],
                "after {} bytes",
                self.count
            );
            self.count += n as u64;
            bytes = &bytes[n..];
        }
    }
}

impl Default for Checker {
    fn default() -> Self {
        Self::new()
    }
}

/// A body of `left` bytes of the pattern.
pub struct Pattern {
    blocks: Bytes,
    at: u64,
    left: u64,
    frame: usize,
}

impl Pattern {
    pub fn new(n: u64, frame: usize) -> Self {
        Self {
            blocks: blocks(),
            at: 0,
            left: n,
            frame: frame.min(BLOCK),
        }
    }
}

impl http_body::Body for Pattern {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let n = usize::try_from(self.left).unwrap_or(usize::MAX).min(self.frame);
        let phase = usize::try_from(self.at % 251).unwrap();
        self.at += n as u64;
        self.left -= n as u64;
        Poll::Ready(Some(Ok(Frame::data(self.blocks.slice(phase..phase + n)))))
    }
}

/// Answers one request.
pub async fn serve(mut request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let n: u64 = request.uri().query().and_then(|q| q.parse().ok()).unwrap_or(0);
    if upgrade::is_connect(&request) {
        tokio::spawn(async move {
            let (mut r, mut w) = tokio::io::split(TokioIo::new(hyper::upgrade::on(&mut request).await?));
            tokio::io::copy(&mut r, &mut w).await?;
            tokio::io::AsyncWriteExt::shutdown(&mut w).await?;
            Ok::<_, anyhow::Error>(())
        });
        return Ok(Response::new(empty()));
    }
    let infallible = |never: Infallible| match never {};
    let body = match request.uri().path() {
        "/small" => full(vec![7; 1024]),
        "/bulk" => Pattern::new(n, BLOCK).map_err(infallible).boxed_unsync(),
        "/tiny" => Pattern::new(n, 1).map_err(infallible).boxed_unsync(),
        "/watch" => watch(n),
        "/stall" => {
            let never = futures::stream::pending::<Result<Frame<Bytes>, Infallible>>();
            StreamBody::new(never).map_err(infallible).boxed_unsync()
        }
        "/count" => match count(request.into_body()).await {
            Ok(n) => full(n.to_string()),
            Err(_) => return Ok(status(StatusCode::BAD_REQUEST)),
        },
        _ => return Ok(status(StatusCode::NOT_FOUND)),
    };
    Ok(Response::new(body))
}

fn status(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(empty());
    *response.status_mut() = status;
    response
}

fn watch(n: u64) -> Body {
    let lines = futures::stream::unfold(0, move |i| async move {
        if i == n {
            return None;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
        Some((
            Ok::<_, Infallible>(Frame::data(Bytes::from(format!("{i}\n")))),
            i + 1,
        ))
    });
    StreamBody::new(lines)
        .map_err(|never| match never {})
        .boxed_unsync()
}

async fn count(mut body: Incoming) -> hyper::Result<u64> {
    let mut checker = Checker::new();
    while !body.is_end_stream() {
        let Some(frame) = body.frame().await else { break };
        if let Ok(bytes) = frame?.into_data() {
            checker.feed(&bytes);
        }
    }
    Ok(checker.count)
}
