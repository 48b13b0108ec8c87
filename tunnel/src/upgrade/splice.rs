//! Two byte streams joined until both have ended.
//!
//! The two directions fail apart. An API server that is done with an exec sends what is left and closes, while kubectl
//! still sends a ping or the end of its input: that ping cannot be delivered any more, but the rest of the output must
//! be. So a direction whose receiver is gone reads on and throws away, for as long as the other one has bytes. And no ping goes to a
//! server whose output waits ([`super::frames`]).

use std::{
    future::poll_fn,
    io,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::sleep,
};

use super::frames::{Frames, Framing, MAX_KEPT};

/// One DATA frame per read; tokio's default of 8 KiB would make four times as many.
const BUFFER: usize = 32 << 10;
/// How long an end may take to see that the other one is gone, after the last byte was given to its connection. Closing earlier, with
/// its bytes unread, would make a reset of the close, and a reset overtakes what is still on its way to it: up to 4 MiB in the
/// kernel's queue, which a line of 1 Mbit/s moves in half of this.
const LINGER: Duration = Duration::from_mins(1);
/// Before and behind what is read: for the beginning of a frame that came earlier, and for an answer between two frames.
const ROOM: usize = MAX_KEPT;

/// Moves bytes both ways until both ends have finished; an end that finishes is passed on as such. Gives the bytes
/// moved from `a` to `b` and from `b` to `a`; an error if an end broke off or could not take everything.
pub async fn splice<A, B>(a: A, b: B) -> io::Result<(u64, u64)>
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    splice_answering_pings(a, b, None).await
}

/// The same, where `b` is a server: while what it sends has to wait, pings from `a` are answered here, if it is known how the stream is
/// cut into frames. Everything else passes as it is.
pub async fn splice_answering_pings<A, B>(
    mut a: A,
    mut b: B,
    framing: Option<Framing>,
) -> io::Result<(u64, u64)>
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let (mut up, mut down) = (OneWay::new(framing), OneWay::new(framing));
    let mut linger = pin!(None);
    poll_fn(|cx| {
        let down_ended = down.poll(cx, Pin::new(&mut b), Pin::new(&mut a)).is_ready();
        up.takes_pings = down.waits();
        let up_ended = up.poll(cx, Pin::new(&mut a), Pin::new(&mut b)).is_ready();
        down.answer = up.found.take().or_else(|| down.answer.take());
        if (up_ended && down_ended) || up.source_broke || down.source_broke {
            return Poll::Ready(());
        }
        let useless = (up_ended && down.discards()) || (down_ended && up.discards());
        if !useless {
            return Poll::Pending;
        }
        if linger.is_none() {
            linger.set(Some(sleep(LINGER)));
        }
        linger
            .as_mut()
            .as_pin_mut()
            .map_or(Poll::Ready(()), |sleep| sleep.poll(cx))
    })
    .await;
    match up.error.or(down.error) {
        Some(error) => Err(error),
        None => Ok((up.moved, down.moved)),
    }
}

enum Stage {
    /// Reads and writes.
    Copy,
    /// The source has ended: the rest is written, then the end.
    Finish,
    Ended,
}

/// One direction.
struct OneWay {
    buffer: Box<[u8]>,
    /// Not yet written: `start..end`.
    start: usize,
    end: usize,
    moved: u64,
    stage: Stage,
    /// Bytes were written since the last flush.
    unflushed: bool,
    /// The first error.
    error: Option<io::Error>,
    /// Reading failed, and all that had been read is delivered.
    source_broke: bool,
    frames: Option<Frames>,
    /// Pings are taken out; the answer to the last one is in `found`.
    takes_pings: bool,
    found: Option<Vec<u8>>,
    /// To be put between two frames.
    answer: Option<Vec<u8>>,
}

impl OneWay {
    fn new(framing: Option<Framing>) -> Self {
        Self {
            buffer: vec![0; ROOM + BUFFER + ROOM].into_boxed_slice(),
            start: 0,
            end: 0,
            moved: 0,
            stage: Stage::Copy,
            unflushed: false,
            error: None,
            source_broke: false,
            frames: framing.map(Frames::new),
            takes_pings: false,
            found: None,
            answer: None,
        }
    }

    /// The receiver takes no more for now.
    fn waits(&self) -> bool {
        self.start < self.end
    }

    /// So many bytes were read.
    fn arrived(&mut self, n: usize) {
        (self.start, self.end) = (ROOM, ROOM + n);
        let Some(frames) = &mut self.frames else { return };
        self.start -= frames.kept.len();
        self.buffer[self.start..ROOM].copy_from_slice(&frames.kept);
        frames.kept.clear();
        let piece = &mut self.buffer[self.start..self.end];
        if self.takes_pings {
            let (length, found) = frames.take_pings(piece);
            self.end = self.start + length;
            self.found = found.or_else(|| self.found.take());
            return;
        }
        let (length, boundary) = frames.pass(piece);
        self.end = self.start + length;
        if let Some(at) = boundary {
            self.put_answer(self.start + at);
        }
    }

    fn put_answer(&mut self, at: usize) {
        if let Some(answer) = self.answer.take() {
            self.buffer.copy_within(at..self.end, at + answer.len());
            self.buffer[at..at + answer.len()].copy_from_slice(&answer);
            self.end += answer.len();
        }
    }

    /// The receiver is gone.
    fn discards(&self) -> bool {
        self.error.is_some() && !self.source_broke && matches!(self.stage, Stage::Copy)
    }

    /// Ready once the source has ended, or broke, and everything is with the receiver.
    fn poll<R, W>(&mut self, cx: &mut Context<'_>, mut from: Pin<&mut R>, mut to: Pin<&mut W>) -> Poll<()>
    where
        R: AsyncRead + ?Sized,
        W: AsyncWrite + ?Sized,
    {
        loop {
            match self.stage {
                Stage::Ended => return Poll::Ready(()),
                Stage::Copy if self.discards() => {
                    let mut buffer = ReadBuf::new(&mut self.buffer);
                    match ready!(from.as_mut().poll_read(cx, &mut buffer)) {
                        Ok(()) if !buffer.filled().is_empty() => {}
                        _ => self.stage = Stage::Ended,
                    }
                }
                Stage::Copy => {
                    if let Err(error) = ready!(self.poll_copy(cx, from.as_mut(), to.as_mut())) {
                        self.error = Some(error);
                    }
                }
                Stage::Finish => {
                    let finished = ready!(self.poll_finish(cx, to.as_mut()));
                    self.source_broke = self.error.is_some();
                    self.error = self.error.take().or_else(|| finished.err());
                    self.stage = Stage::Ended;
                }
            }
        }
    }

    /// Ready with `Ok` once the stage has changed, with an error if the receiver takes no more.
    fn poll_copy<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        mut from: Pin<&mut R>,
        mut to: Pin<&mut W>,
    ) -> Poll<io::Result<()>>
    where
        R: AsyncRead + ?Sized,
        W: AsyncWrite + ?Sized,
    {
        loop {
            ready!(self.poll_write(cx, to.as_mut()))?;
            let mut buffer = ReadBuf::new(&mut self.buffer[ROOM..ROOM + BUFFER]);
            match from.as_mut().poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    let n = buffer.filled().len();
                    self.arrived(n);
                }
                Poll::Ready(ended) => {
                    if let Some(frames) = &mut self.frames {
                        // Half a header is passed on as it is.
                        self.end = frames.kept.len();
                        self.start = 0;
                        self.buffer[..self.end].copy_from_slice(&frames.kept);
                        frames.kept.clear();
                    }
                    // Kept apart from a receiver's error by the stage.
                    self.error = ended.err();
                    self.stage = Stage::Finish;
                    return Poll::Ready(Ok(()));
                }
                Poll::Pending => {
                    if self.answer.is_some() && self.frames.as_ref().is_some_and(Frames::at_boundary) {
                        (self.start, self.end) = (ROOM, ROOM);
                        self.put_answer(ROOM);
                        continue;
                    }
                    if self.unflushed {
                        ready!(to.as_mut().poll_flush(cx))?;
                        self.unflushed = false;
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    fn poll_write<W: AsyncWrite + ?Sized>(
        &mut self,
        cx: &mut Context<'_>,
        mut to: Pin<&mut W>,
    ) -> Poll<io::Result<()>> {
        while self.start < self.end {
            let written = ready!(to.as_mut().poll_write(cx, &self.buffer[self.start..self.end]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.start += written;
            self.moved += written as u64;
            self.unflushed = true;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_finish<W: AsyncWrite + ?Sized>(
        &mut self,
        cx: &mut Context<'_>,
        mut to: Pin<&mut W>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_write(cx, to.as_mut()))?;
        ready!(to.as_mut().poll_flush(cx))?;
        to.poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
