//! The gateway's end of a control session: gRPC calls on HTTP/2, and nothing that they do not need.
//!
//! hyper's client has a queue with room for 32 requests and two tasks for each connection, which is 13 KiB. A control session
//! has a few calls in its life, so that here whoever makes one gives it to h2 by himself; a gateway has thousands of them.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::{
    RecvStream,
    client::{Builder, SendRequest},
};
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use tokio::time::Instant;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tracing::{Instrument as _, debug};

use super::{BoxError, HEADER_LIST, Kind, RESET_MEMORY, RESET_STREAMS};
use crate::link::{Handle, Link};

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The HTTP/2 handshake failed.
    #[error("the HTTP/2 session could not be started: {0}")]
    Handshake(#[source] h2::Error),
    /// The message to send could not be read.
    #[error("the call's own message could not be read: {0}")]
    Message(#[source] BoxError),
    /// The session ended, or the peer reset the stream.
    #[error("the tunnel gave no answer: {0}")]
    Call(#[from] h2::Error),
}

/// A control session, and a service for tonic's generated clients: calls with one message, and one or many in the answer.
/// Clones share the session. It ends, with every call on it, when the last clone and the last answer are dropped.
#[derive(Clone)]
pub struct Calls {
    sender: SendRequest<Bytes>,
    session: Arc<Session>,
}

struct Session {
    link: Handle,
    /// No more calls.
    closed: CancellationToken,
    _driver: AbortOnDropHandle<()>,
}

impl Calls {
    /// Starts HTTP/2 on a new link.
    pub async fn handshake(link: Link) -> Result<Self, CallError> {
        let handle = link.handle();
        let (sender, connection) = http2().handshake(link).await.map_err(CallError::Handshake)?;
        let closed = CancellationToken::new();
        let guard = closed.clone().drop_guard();
        let driver = async move {
            let _guard = guard; // also when the task is aborted
            if let Err(error) = connection.await {
                debug!(%error, session = Kind::Control.as_str(), "session ended");
            }
        };
        let driver = AbortOnDropHandle::new(tokio::spawn(driver.in_current_span()));
        let session = Session {
            link: handle,
            closed,
            _driver: driver,
        };
        Ok(Self {
            sender,
            session: Arc::new(session),
        })
    }

    /// Since when the session has had no connection, while its link waits for a new one.
    pub fn down_since(&self) -> Option<Instant> {
        self.session.link.state().down_since
    }

    /// Whether the session takes no more calls.
    pub fn is_closed(&self) -> bool {
        self.session.closed.is_cancelled()
    }

    /// Waits until the session takes no more calls.
    pub async fn closed(&self) {
        self.session.closed.cancelled().await;
    }

    /// Ends the session and every call on it, now.
    pub fn close(&self) {
        self.session.link.close();
    }

    async fn call<B>(self, request: Request<B>) -> Result<Response<Answer>, CallError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let Self { sender, session } = self;
        let (head, body) = request.into_parts();
        let message = body.collect().await.map_err(|e| CallError::Message(e.into()))?;
        let message = message.to_bytes();
        // Fails after the peer's GOAWAY, of which nothing else tells while a call is open.
        let ready = sender.ready().await;
        let mut sender = ready.inspect_err(|_| session.closed.cancel())?;
        let head = Request::from_parts(head, ());
        let (answer, mut upload) = sender.send_request(head, message.is_empty())?;
        if !message.is_empty() {
            upload.send_data(message, true)?;
        }
        Ok(answer.await?.map(|stream| Answer {
            stream,
            whole: false,
            _session: session,
        }))
    }
}

fn http2() -> Builder {
    let settings = Kind::Control.settings();
    let mut builder = Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(settings.stream_window)
        .initial_connection_window_size(settings.connection_window)
        .max_frame_size(settings.frame)
        .max_send_buffer_size(settings.send_buffer)
        .max_header_list_size(HEADER_LIST)
        .max_concurrent_reset_streams(RESET_STREAMS)
        .reset_stream_duration(RESET_MEMORY)
        .max_local_error_reset_streams(None);
    builder
}

impl<B> tower::Service<Request<B>> for Calls
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Answer>;
    type Error = CallError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, CallError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), CallError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        Box::pin(self.clone().call(request))
    }
}

/// The body of an answer. Dropping it resets the stream.
pub struct Answer {
    stream: RecvStream,
    /// All data has come; trailers follow.
    whole: bool,
    _session: Arc<Session>,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Answer").field(&self.stream).finish()
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        let me = self.get_mut();
        if !me.whole {
            match ready!(me.stream.poll_data(cx)) {
                Some(Ok(data)) => {
                    // What is handed on is bounded by who takes it.
                    me.stream.flow_control().release_capacity(data.len())?;
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => me.whole = true,
            }
        }
        let trailers = ready!(me.stream.poll_trailers(cx))?;
        Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }
}
