//! A cluster's answer on its way to the user: ends at once when cluster or token are revoked, and when it is not read while
//! others need its place.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use kantaloupe_tunnel::session::BoxError;
use uuid::Uuid;

use super::{Lease, backlog::Listed};
use crate::{auth::Identity, streams::Entry};

/// Why an answer ended early.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("access was revoked")]
struct Revoked;

/// An answer.
#[derive(Debug)]
pub(crate) struct ClusterBody(Place);

/// Where an answer is.
enum Place {
    /// Here: nothing of it has come yet, or all of it came at once.
    Own(Option<Answering>),
    /// In the backlog of its session, which may end it.
    Listed {
        listed: Listed,
        /// The connection's list goes on to know the stream after that, since some of it may be in the connection's buffers.
        _entry: Option<Entry>,
    },
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Own(_) => "Own",
            Self::Listed { .. } => "Listed",
        })
    }
}

/// An answer's body, with what it holds.
pub(super) struct Answering {
    body: Incoming,
    /// All of it has gone out.
    ended: bool,
    lease: Lease,
    /// Made when the body first has nothing to give: an answer that comes in one piece never pays for it.
    revoked: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

type Polled = Option<Result<Frame<Bytes>, BoxError>>;

impl ClusterBody {
    pub(super) fn new(body: Incoming, lease: Lease) -> Self {
        Self(Place::Own(Some(Answering {
            body,
            ended: false,
            lease,
            revoked: None,
        })))
    }
}

impl Answering {
    pub(super) fn identity(&self) -> Arc<Identity> {
        Arc::clone(&self.lease.identity)
    }

    pub(super) fn request(&self) -> Uuid {
        self.lease.meter.pending.id()
    }

    /// What the audit says of its end, unless something else was said before.
    pub(super) fn because(&self, why: &impl ToString) {
        self.lease.meter.pending.because(why.to_string());
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn end_revoked(&mut self) -> Poll<Polled> {
        self.because(&Revoked);
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
                self.because(&format_args!("the cluster's answer broke off: {error}"));
                Some(Err(error.into()))
            }
            None => {
                self.ended = true;
                None
            }
        }
    }

    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Polled> {
        // Before the body: what is buffered must not leave any more.
        if self.lease.is_revoked() {
            return self.end_revoked();
        }
        if self.lease.meter.poll_ready(cx).is_ready()
            && let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx)
        {
            return Poll::Ready(self.passed(frame));
        }
        let revoked = self.revoked.get_or_insert_with(|| Box::pin(self.lease.revoked()));
        match revoked.as_mut().poll(cx) {
            Poll::Ready(()) => self.end_revoked(),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        if !self.ended && !self.is_end_stream() {
            self.because(&"the caller left before the end of the answer");
        }
    }
}

impl fmt::Debug for Answering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answering")
            .field("body", &self.body)
            .finish_non_exhaustive()
    }
}

impl http_body::Body for ClusterBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Polled> {
        let place = &mut self.get_mut().0;
        let answer = match place {
            Place::Listed { listed, .. } => return listed.poll_frame(cx),
            Place::Own(answer) => answer,
        };
        let Some(own) = answer else {
            return Poll::Ready(None);
        };
        let frame = own.poll_frame(cx);
        // There is more than one piece: what comes from now on may wait for a reader.
        if let Poll::Ready(Some(Ok(_))) = &frame
            && !own.is_end_stream()
            && let Some(session) = &own.lease.session
        {
            let backlog = Arc::clone(session.backlog());
            if let Some(mut own) = answer.take() {
                let entry = own.lease.entry.take();
                let listed = backlog.add_answer(own);
                listed.waits();
                *place = Place::Listed {
                    listed,
                    _entry: entry,
                };
            }
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Place::Own(answer) => answer.as_ref().is_none_or(Answering::is_end_stream),
            // One that was ended has its error still to tell.
            Place::Listed { listed, .. } => listed.answer(Answering::is_end_stream).unwrap_or(false),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Place::Own(answer) => answer.as_ref().map(Answering::size_hint),
            Place::Listed { listed, .. } => listed.answer(Answering::size_hint),
        }
        .unwrap_or_default()
    }
}
