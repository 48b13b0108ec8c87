//! What passes, counted: into the metrics, and into the audit log's entry.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use http_body::Frame;
use hyper::body::{Body as HttpBody, Incoming, SizeHint};
use kantaloupe_tunnel::session::BoxError;
use prometheus_client::metrics::{counter::Counter, gauge::Gauge};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::task::AbortOnDropHandle;

use crate::audit::Pending;

/// Counts something as open for as long as it lives, and keeps what must live as long.
#[derive(Debug)]
pub(super) struct InFlight {
    gauge: Gauge,
    /// Its drop ends the connection.
    driver: Option<AbortOnDropHandle<()>>,
}

impl InFlight {
    pub(super) fn start(gauge: &Gauge) -> Self {
        gauge.inc();
        Self {
            gauge: gauge.clone(),
            driver: None,
        }
    }

    pub(super) fn driving(mut self, driver: AbortOnDropHandle<()>) -> Self {
        self.driver = Some(driver);
        self
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}

/// Where bytes of one request or stream are counted.
#[derive(Clone)]
pub(super) struct Meter {
    pub(super) received: Counter,
    pub(super) sent: Counter,
    pub(super) pending: Arc<Pending>,
}

impl Meter {
    fn received(&self, bytes: usize) {
        self.received.inc_by(bytes as u64);
        self.pending.received(bytes as u64);
    }

    fn sent(&self, bytes: usize) {
        self.sent.inc_by(bytes as u64);
        self.pending.sent(bytes as u64);
    }
}

/// A body that passes unchanged and is counted.
pub(super) struct Counted {
    body: Incoming,
    meter: Meter,
    /// From the API server; else from the user.
    is_answer: bool,
    _in_flight: Option<InFlight>,
}

impl Counted {
    /// The body of a request.
    pub(super) const fn request(body: Incoming, meter: Meter) -> Self {
        Self {
            body,
            meter,
            is_answer: false,
            _in_flight: None,
        }
    }

    /// The body of an answer, with what must live until it ends.
    pub(super) const fn answer(body: Incoming, meter: Meter, in_flight: InFlight) -> Self {
        Self {
            body,
            meter,
            is_answer: true,
            _in_flight: Some(in_flight),
        }
    }
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            if self.is_answer {
                self.meter.sent(data.remaining());
            } else {
                self.meter.received(data.remaining());
            }
        }
        Poll::Ready(frame.map(|result| result.map_err(BoxError::from)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The user's end of an upgraded stream: what is read from it was received, what is written to it was sent.
pub(super) struct CountedStream<S> {
    pub(super) stream: S,
    pub(super) meter: Meter,
}

impl<S: AsyncRead + Unpin> AsyncRead for CountedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        self.meter.received(buffer.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for CountedStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        self.meter.sent(written);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
