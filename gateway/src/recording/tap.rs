//! Reads along with a caller's connection: what is decoded is with the writer before it goes on.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    time::{Instant, timeout},
};

use super::{
    cast::Encoder,
    terminal::{Event, Terminal, Undecodable},
    writer::{Shared, Stop},
};

/// Longest wait for a client to take the reason why its session ends.
const FAREWELL: Duration = Duration::from_secs(2);

/// A caller's connection whose session is recorded.
#[derive(Debug)]
pub(crate) struct Tap<IO> {
    io: IO,
    terminal: Terminal,
    encoder: Encoder,
    shared: Arc<Shared>,
    begun: Instant,
    /// Bytes that were decoded and not yet taken by the caller's connection: they come again.
    ahead: usize,
    /// Lines on their way.
    lines: Vec<u8>,
}

impl<IO> Tap<IO> {
    pub(super) fn new(io: IO, terminal: Terminal, shared: Arc<Shared>, begun: Instant) -> Self {
        Self {
            io,
            terminal,
            encoder: Encoder::default(),
            shared,
            begun,
            ahead: 0,
            lines: Vec::new(),
        }
    }

    /// Makes lines of what a decoder finds, and gives them to the writer.
    fn record(
        &mut self,
        decode: impl FnOnce(&mut Terminal, &mut dyn FnMut(Event<'_>)) -> Result<(), Undecodable>,
    ) -> Result<(), Undecodable> {
        let at = self.begun.elapsed();
        let (encoder, lines) = (&mut self.encoder, &mut self.lines);
        let decoded = decode(&mut self.terminal, &mut |event| match event {
            Event::Output { from, bytes } => encoder.output(at, from, bytes, lines),
            Event::Resize { columns, rows } => Encoder::resize(at, columns, rows, lines),
        });
        self.shared.push(lines);
        if let Err(error) = decoded {
            self.shared.stop(Stop::Undecodable(error));
        }
        decoded
    }

    /// Nothing more comes: what was begun is written as it is.
    pub(crate) fn finish(&mut self) {
        self.encoder.finish(self.begun.elapsed(), &mut self.lines);
        self.shared.push(&mut self.lines);
    }
}

impl<IO: AsyncWrite + Unpin> Tap<IO> {
    /// Tells the caller why the session ends, as far as its protocol allows it at this moment.
    pub(crate) async fn farewell(&mut self, status: &[u8]) {
        // What was decoded has not gone out as a whole: nothing can be put behind it.
        if self.ahead > 0 {
            return;
        }
        if let Some(bytes) = self.terminal.farewell(status) {
            let told = async {
                self.io.write_all(&bytes).await?;
                self.io.shutdown().await
            };
            let _ = timeout(FAREWELL, told).await;
        }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Tap<IO> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.shared.is_recording() {
            return Pin::new(&mut this.io).poll_read(cx, buf);
        }
        ready!(this.shared.poll_room(cx));
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
        let new = &buf.filled()[before..];
        let decoded = this.record(|terminal, mut each| terminal.client_sends(new, &mut each));
        if decoded.is_err() {
            buf.set_filled(before);
            return Poll::Pending; // for ever: the session is being ended
        }
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Tap<IO> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if !this.shared.is_recording() {
            let written = ready!(Pin::new(&mut this.io).poll_write(cx, buf))?;
            this.ahead = this.ahead.saturating_sub(written);
            return Poll::Ready(Ok(written));
        }
        ready!(this.shared.poll_room(cx));
        let new = buf.get(this.ahead..).unwrap_or_default();
        if !new.is_empty() {
            let decoded = this.record(|terminal, mut each| terminal.server_sends(new, &mut each));
            this.ahead = buf.len();
            if decoded.is_err() {
                return Poll::Pending; // for ever: the session is being ended
            }
            // The limit may be reached with these bytes: they are recorded, and go out.
        }
        let written = ready!(Pin::new(&mut this.io).poll_write(cx, buf))?;
        this.ahead -= written;
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}
