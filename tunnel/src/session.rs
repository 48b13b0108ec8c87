//! HTTP/2 on a link, reversed: the end that dialed is the server.
//!
//! Each agent has two sessions. *Control* carries gRPC between agent and gateway and is never behind bulk; *data*
//! carries what users ask for. Each session has a link, and so a connection, of its own.
//!
//! The defaults of HTTP/2 libraries are made for short connections between a browser and a server. On a tunnel that
//! lives for weeks three of them stop everything at once, so they are set here, and each has a test
//! (`tests/defaults.rs`):
//!
//! * Unread data of stalled streams uses up the *connection* window: it is many times the stream window.
//! * Late frames of cancelled streams count against a limit over the connection's *lifetime*: it is off.
//! * Small DATA frames use up a budget that follows the connection window: it is large.
//!
//! HTTP/2 PING keepalive stays off: while the link waits for a new connection a missing PONG would kill the session.
//! Liveness is the link's business.

mod calls;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::{
    body::Incoming,
    client::conn::http2::{self as client, SendRequest},
    server::conn::http2 as server,
    service::HttpService,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::time::Instant;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tracing::{Instrument, debug};

pub use self::calls::{Answer, CallError, Calls};
use crate::link::{Handle, Link};

/// Any error.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// Any body, in both directions.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// Scheme and authority of requests inside the tunnel; nobody resolves them.
pub const ORIGIN: &str = "http://agent";
/// Headers of one request or response: tokens, cookies and impersonation included.
const HEADER_LIST: u32 = 64 << 10;
/// Bytes of one stream of the data session that may wait to be read. One stream reaches 100 Mbit/s at 40 ms with it.
pub const DATA_STREAM_WINDOW: u32 = 1 << 20;
/// The same for all of them together: 64 that stalled leave nothing for the others.
pub const DATA_CONNECTION_WINDOW: u32 = 64 << 20;
/// Streams that were reset here are remembered this long, and so many of them, so that their late frames are dropped
/// instead of being taken for an error of the connection.
const RESET_STREAMS: usize = 1024;
const RESET_MEMORY: Duration = Duration::from_secs(30);

/// Which of an agent's two sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// gRPC between agent and gateway.
    Control,
    /// What users ask for.
    Data,
}

impl Kind {
    /// "control" or "data", for logs and metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Data => "data",
        }
    }

    fn settings(self) -> Settings {
        match self {
            Self::Control => Settings {
                stream_window: 256 << 10,
                connection_window: 8 << 20,
                frame: 16 << 10,
                send_buffer: 64 << 10,
                streams: 256,
            },
            Self::Data => Settings {
                stream_window: DATA_STREAM_WINDOW,
                connection_window: DATA_CONNECTION_WINDOW,
                // As much as one read of the agent's gives, and one message of the link takes.
                frame: 64 << 10,
                send_buffer: 64 << 10,
                streams: 4096,
            },
        }
    }
}

struct Settings {
    stream_window: u32,
    connection_window: u32,
    frame: u32,
    send_buffer: usize,
    streams: u32,
}

/// Why there is no session, or no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The HTTP/2 handshake failed.
    #[error("the HTTP/2 session could not be started: {0}")]
    Handshake(#[source] hyper::Error),
    /// The session ended, or the peer reset the stream.
    #[error("the tunnel gave no answer: {0}")]
    Request(#[source] hyper::Error),
}

/// A request without an answer.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct Unanswered {
    /// Why.
    #[source]
    pub error: Error,
    /// The request, if nothing of it was sent: the session was about to end, and another one may have it.
    pub unsent: Option<Box<Request<Body>>>,
}

/// HTTP/2 as the gateway speaks it on a session.
pub fn http2_client(kind: Kind) -> client::Builder<TokioExecutor> {
    let s = kind.settings();
    let mut builder = client::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(s.stream_window)
        .initial_connection_window_size(s.connection_window)
        .max_frame_size(s.frame)
        .max_send_buf_size(s.send_buffer)
        .max_header_list_size(HEADER_LIST)
        .max_concurrent_reset_streams(RESET_STREAMS)
        .reset_stream_duration(RESET_MEMORY)
        .max_local_error_reset_streams(None);
    builder
}

/// HTTP/2 as the agent speaks it on a session.
pub fn http2_server(kind: Kind) -> server::Builder<TokioExecutor> {
    let s = kind.settings();
    let mut builder = server::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .enable_connect_protocol()
        .initial_stream_window_size(s.stream_window)
        .initial_connection_window_size(s.connection_window)
        .max_frame_size(s.frame)
        .max_send_buf_size(s.send_buffer)
        .max_concurrent_streams(s.streams)
        .max_header_list_size(HEADER_LIST)
        .max_pending_accept_reset_streams(RESET_STREAMS)
        .max_local_error_reset_streams(None);
    builder
}

/// The gateway's end of a data session. Clones share it. When the last one is dropped, the peer gets GOAWAY and the session
/// ends with its last stream.
#[derive(Clone)]
pub struct Client {
    sender: SendRequest<Body>,
    shared: Arc<ClientShared>,
}

struct ClientShared {
    link: Handle,
    closed: CancellationToken,
    _driver: AbortOnDropHandle<()>,
}

impl Client {
    /// Starts HTTP/2 on a new link.
    pub async fn handshake(link: Link, kind: Kind) -> Result<Self, Error> {
        let handle = link.handle();
        let (sender, connection) = http2_client(kind)
            .handshake(TokioIo::new(link))
            .await
            .map_err(Error::Handshake)?;
        let closed = CancellationToken::new();
        let guard = closed.clone().drop_guard();
        let driver = async move {
            let _guard = guard; // also when the task is aborted
            if let Err(error) = connection.await {
                debug!(%error, session = kind.as_str(), "session ended");
            }
        };
        let driver = AbortOnDropHandle::new(tokio::spawn(driver.in_current_span()));
        Ok(Self {
            sender,
            shared: Arc::new(ClientShared {
                link: handle,
                closed,
                _driver: driver,
            }),
        })
    }

    /// Sends a request and waits for the answer's head. Dropping the future, or the answer's body, resets the stream.
    pub async fn request(&self, request: Request<Body>) -> Result<Response<Incoming>, Error> {
        self.try_request(request).await.map_err(|failed| failed.error)
    }

    /// The same, but a request that was not sent comes back: one that met the peer's GOAWAY.
    pub async fn try_request(&self, request: Request<Body>) -> Result<Response<Incoming>, Unanswered> {
        let mut sender = self.sender.clone();
        if let Err(error) = sender.ready().await {
            return Err(Unanswered {
                error: Error::Request(error),
                unsent: Some(Box::new(request)),
            });
        }
        sender
            .try_send_request(request)
            .await
            .map_err(|mut failed| Unanswered {
                unsent: failed.take_message().map(Box::new),
                error: Error::Request(failed.into_error()),
            })
    }

    /// Since when the session has had no connection, while its link waits for a new one.
    pub fn down_since(&self) -> Option<Instant> {
        self.shared.link.state().down_since
    }

    /// The link under the session.
    pub fn link(&self) -> &Handle {
        &self.shared.link
    }

    /// Whether the session takes no more requests. Streams on it may go on after the peer's GOAWAY.
    pub fn is_closed(&self) -> bool {
        self.shared.closed.is_cancelled() || self.sender.is_closed()
    }

    /// Waits until the session takes no more requests.
    pub async fn closed(&self) {
        self.shared.closed.cancelled().await;
    }

    /// Waits until nothing of the session is left: its link has ended. The future holds no clone of the session.
    pub fn ended(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut state = self.shared.link.subscribe();
        async move {
            // The sender lives in the link; a closed channel says the same.
            let _ended = state.wait_for(|state| state.ended.is_some()).await;
        }
    }

    /// Ends the session and every stream on it, now. Dropping the last clone ends it with its last stream instead.
    pub fn close(&self) {
        self.shared.link.close();
    }
}

/// The agent's end: answers requests until the session ends. After `drain` the gateway is told to send no more
/// (GOAWAY), and the session ends with its last stream. Dropping the future ends it at once.
pub async fn serve<S, B>(link: Link, kind: Kind, service: S, drain: CancellationToken) -> hyper::Result<()>
where
    S: HttpService<Incoming, ResBody = B> + Send,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let connection = http2_server(kind).serve_connection(TokioIo::new(link), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        biased;
        () = drain.cancelled() => connection.as_mut().graceful_shutdown(),
        result = connection.as_mut() => return result,
    }
    connection.await
}
