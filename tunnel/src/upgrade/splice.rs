//! Two byte streams joined until both have ended.
//!
//! The two directions fail apart. An API server that is done with an exec sends what is left and closes, while kubectl
//! still sends a ping or the end of its input: that ping cannot be delivered any more, but the rest of the output must
//! be. So a direction whose receiver is gone reads on and throws away, for as long as the other one has bytes.

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

/// One DATA frame per read; tokio's default of 8 KiB would make four times as many.
const BUFFER: usize = 32 << 10;
/// How long an end may take to see that the other one is gone, after it got the last byte. Closing earlier, with its
/// bytes unread, would make a reset of the close, and a reset overtakes what is still on its way to it.
const LINGER: Duration = Duration::from_secs(5);

/// Moves bytes both ways until both ends have finished; an end that finishes is passed on as such. Gives the bytes
/// moved from `a` to `b` and from `b` to `a`; an error if an end broke off or could not take everything.
pub async fn splice<A, B>(mut a: A, mut b: B) -> io::Result<(u64, u64)>
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let (mut up, mut down) = (OneWay::new(), OneWay::new());
    let mut linger = pin!(None);
    poll_fn(|cx| {
        let up_ended = up.poll(cx, Pin::new(&mut a), Pin::new(&mut b)).is_ready();
        let down_ended = down.poll(cx, Pin::new(&mut b), Pin::new(&mut a)).is_ready();
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
}

impl OneWay {
    fn new() -> Self {
        Self {
            buffer: vec![0; BUFFER].into_boxed_slice(),
            start: 0,
            end: 0,
            moved: 0,
            stage: Stage::Copy,
            unflushed: false,
            error: None,
            source_broke: false,
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
            let mut buffer = ReadBuf::new(&mut self.buffer);
            match from.as_mut().poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    (self.start, self.end) = (0, buffer.filled().len());
                }
                Poll::Ready(ended) => {
                    // Kept apart from a receiver's error by the stage.
                    self.error = ended.err();
                    self.stage = Stage::Finish;
                    return Poll::Ready(Ok(()));
                }
                Poll::Pending => {
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
