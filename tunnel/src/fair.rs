//! Bodies that leave room for others.
//!
//! HTTP/2 sends one DATA frame of each stream in turn. Beside eight downloads in frames of 32 KiB a small answer waits
//! for 256 KiB, which are 21 ms at 100 Mbit/s. On a line that is that slow and busy, bodies are cut into smaller frames.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::link::Handle;

/// Cuts the data frames of a body to the size that is fair on a link.
#[derive(Debug)]
pub struct Fair<B> {
    body: B,
    rest: Bytes,
    link: Handle,
}

impl<B> Fair<B> {
    /// `link` is the one under the session that sends the body.
    pub fn new(body: B, link: Handle) -> Self {
        Self {
            body,
            rest: Bytes::new(),
            link,
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Fair<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let me = self.get_mut();
        if me.rest.is_empty() {
            match ready!(Pin::new(&mut me.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => me.rest = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                other => return Poll::Ready(other),
            }
        }
        let n = me.rest.len().min(me.link.fair_frame());
        Poll::Ready(Some(Ok(Frame::data(me.rest.split_to(n)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = self.body.size_hint();
        let rest = self.rest.len() as u64;
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + rest);
        }
        hint.set_lower(hint.lower() + rest);
        hint
    }
}
