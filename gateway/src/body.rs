//! The body of every answer: one type for the three sources, without a box for the one that matters.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use kantaloupe_tunnel::session::BoxError;

use crate::proxy::ClusterBody;

/// An answer's body.
#[derive(Debug)]
pub(crate) enum Body {
    /// Nothing, or a text that was made here.
    Text(Option<Bytes>),
    /// What a cluster sends.
    Cluster(ClusterBody),
    /// What the API sends.
    Api(axum::body::Body),
}

impl Body {
    pub(crate) const fn empty() -> Self {
        Self::Text(None)
    }
}

impl From<Vec<u8>> for Body {
    fn from(text: Vec<u8>) -> Self {
        Self::Text(Some(text.into()))
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.get_mut() {
            Self::Text(text) => Poll::Ready(text.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Cluster(body) => Pin::new(body).poll_frame(cx),
            Self::Api(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Text(text) => text.is_none(),
            Self::Cluster(body) => body.is_end_stream(),
            Self::Api(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Text(text) => SizeHint::with_exact(text.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Cluster(body) => body.size_hint(),
            Self::Api(body) => body.size_hint(),
        }
    }
}
