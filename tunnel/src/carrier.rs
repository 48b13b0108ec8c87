//! Carriers: one connection that moves messages both ways.
//!
//! A carrier keeps message boundaries, so that one link frame is one message without another copy. Its peer is
//! already authenticated when the link gets it.

pub mod blocks;
pub mod readahead;
pub mod socket;
pub mod websocket;

use std::{
    future::poll_fn,
    io,
    task::{Context, Poll},
};

use bytes::Bytes;

/// One connection that moves messages. All methods are called from one task at a time.
pub trait Carrier: Send + Unpin + 'static {
    /// Ready when one more message may be given to [`Carrier::start_send`].
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
    /// Takes a message of at most [`crate::frame::MAX_FRAME`] bytes; it may stay in a bounded buffer until flushed.
    fn start_send(&mut self, message: Bytes) -> io::Result<()>;
    /// Ready when all that was taken has left.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
    /// The next message; `None` when the peer closed the carrier.
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>>;
}

/// Any carrier.
pub type BoxCarrier = Box<dyn Carrier>;

/// Sends one message and flushes it.
pub(crate) async fn send(carrier: &mut BoxCarrier, message: Bytes) -> io::Result<()> {
    poll_fn(|cx| carrier.poll_ready(cx)).await?;
    carrier.start_send(message)?;
    poll_fn(|cx| carrier.poll_flush(cx)).await
}

/// Waits for one message.
pub(crate) async fn recv(carrier: &mut BoxCarrier) -> io::Result<Bytes> {
    poll_fn(|cx| carrier.poll_recv(cx))
        .await?
        .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}
