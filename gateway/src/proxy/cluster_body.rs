//! A cluster's answer on its way to the user: ends at once when cluster or token are revoked.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use kantaloupe_tunnel::session::BoxError;

use super::Lease;

/// Why an answer ended early.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("access was revoked")]
struct Revoked;

/// The body, with what it holds.
pub(crate) struct ClusterBody {
    body: Incoming,
    /// All of it has gone out.
    ended: bool,
    lease: Lease,
    /// Made when the body first has nothing to give: an answer that comes in one piece never pays for it.
    revoked: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl ClusterBody {
    pub(super) fn new(body: Incoming, lease: Lease) -> Self {
        Self {
            body,
            ended: false,
            lease,
            revoked: None,
        }
    }
}

type Polled = Option<Result<Frame<Bytes>, BoxError>>;

impl ClusterBody {
    fn end_revoked(&mut self) -> Poll<Polled> {
        self.lease.meter.pending.because(Revoked.to_string());
        Poll::Ready(Some(Err(Revoked.into())))
    }

    /// Counts what has come.
    fn passed(&mut self, frame: Option<Result<Frame<Bytes>, hyper::Error>>) -> Polled {
        match frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    self.lease.meter.sent(data.len());
                }
                Some(Ok(frame))
            }
            Some(Err(error)) => {
                let why = format!("the cluster's answer broke off: {error}");
                self.lease.meter.pending.because(why);
                Some(Err(error.into()))
            }
            None => {
                self.ended = true;
                None
            }
        }
    }
}

impl Drop for ClusterBody {
    fn drop(&mut self) {
        if !self.ended && !http_body::Body::is_end_stream(&self.body) {
            let why = "the caller left before the end of the answer";
            self.lease.meter.pending.because(why);
        }
    }
}

impl fmt::Debug for ClusterBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterBody")
            .field("body", &self.body)
            .finish_non_exhaustive()
    }
}

impl http_body::Body for ClusterBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        // Before the body: what is buffered must not leave any more.
        if this.lease.is_revoked() {
            return this.end_revoked();
        }
        if this.lease.meter.poll_ready(cx).is_ready()
            && let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx)
        {
            return Poll::Ready(this.passed(frame));
        }
        let revoked = this.revoked.get_or_insert_with(|| Box::pin(this.lease.revoked()));
        match revoked.as_mut().poll(cx) {
            Poll::Ready(()) => this.end_revoked(),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
