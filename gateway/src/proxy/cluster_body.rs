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
    lease: Lease,
    /// Made when the body first has nothing to give: an answer that comes in one piece never pays for it.
    revoked: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl ClusterBody {
    pub(super) fn new(body: Incoming, lease: Lease) -> Self {
        Self {
            body,
            lease,
            revoked: None,
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
            return Poll::Ready(Some(Err(Revoked.into())));
        }
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) {
            return Poll::Ready(frame.map(|result| result.map_err(Into::into)));
        }
        let revoked = this.revoked.get_or_insert_with(|| Box::pin(this.lease.revoked()));
        revoked.as_mut().poll(cx).map(|()| Some(Err(Revoked.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
