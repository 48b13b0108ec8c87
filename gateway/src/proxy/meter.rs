//! Counts the bytes of a request as they pass, for the audit, and slows them down to the limits.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};

use super::backlog::Listed;
use crate::{audit::Pending, limits::Admitted};

/// Shorter waits are left to add up: a timer is no more exact than this.
const LEAST_PAUSE: Duration = Duration::from_millis(2);

/// One direction of one request.
#[derive(Debug)]
pub(super) struct Meter {
    pub(super) pending: Arc<Pending>,
    admitted: Arc<Admitted>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Meter {
    pub(super) fn new(pending: Arc<Pending>, admitted: Arc<Admitted>) -> Self {
        Self {
            pending,
            admitted,
            pause: None,
        }
    }

    /// The same request's other direction.
    pub(super) fn other(&self) -> Self {
        Self::new(Arc::clone(&self.pending), Arc::clone(&self.admitted))
    }

    /// Waits until more may pass.
    pub(super) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        Poll::Ready(())
    }

    pub(super) fn received(&mut self, bytes: usize) {
        self.pending.received(bytes);
        self.pass(bytes);
    }

    pub(super) fn sent(&mut self, bytes: usize) {
        self.pending.sent(bytes);
        self.pass(bytes);
    }

    fn pass(&mut self, bytes: usize) {
        let wait = self.admitted.moved(bytes, Instant::now());
        if wait >= LEAST_PAUSE {
            self.pause = Some(Box::pin(sleep(wait)));
        }
    }
}

/// A body from the caller.
#[derive(Debug)]
pub(super) struct Received<B> {
    body: B,
    meter: Meter,
}

impl<B> Received<B> {
    pub(super) const fn new(body: B, meter: Meter) -> Self {
        Self { body, meter }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Received<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.get_mut();
        ready!(this.meter.poll_ready(cx));
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            this.meter.received(data.len());
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The caller's connection after an upgrade.
#[derive(Debug)]
pub(super) struct Metered<IO> {
    io: IO,
    up: Meter,
    down: Meter,
    /// Hears whether the caller takes what comes for him.
    listed: Option<Arc<Listed>>,
}

impl<IO> Metered<IO> {
    pub(super) fn new(io: IO, meter: Meter, listed: Option<Arc<Listed>>) -> Self {
        Self {
            io,
            up: meter.other(),
            down: meter,
            listed,
        }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Metered<IO> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let this = self.get_mut();
        ready!(this.up.poll_ready(cx));
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
        this.up.received(buf.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Metered<IO> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.down.poll_ready(cx));
        let written = Pin::new(&mut this.io).poll_write(cx, buf);
        if let Some(listed) = &this.listed {
            if written.is_pending() {
                listed.waits();
            } else {
                listed.goes_on();
            }
        }
        let written = ready!(written)?;
        this.down.sent(written);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}
