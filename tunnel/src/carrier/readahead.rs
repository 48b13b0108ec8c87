//! Reads from a socket in large pieces, for a TLS library that asks for small ones.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, BytesMut};
use hyper_util::client::legacy::connect::{Connected, Connection};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::io::poll_read_buf;

use super::blocks::append;

/// Read at once while there is much to read: two TLS records. Four fewer system calls per megabyte are not worth the
/// cache that twice as much would fill: 64 KiB took 5 to 10 % more CPU.
const CAPACITY: usize = 32 << 10;

/// A connection whose reads are larger than those that its user asks for.
///
/// rustls asks its socket for 4 KiB at a time, which is four system calls per record of a bulk transfer. Here a read
/// that could have given more makes the next ones large. The buffer exists only while there is something to read, so
/// that an idle connection costs nothing.
#[derive(Debug)]
pub struct ReadAhead<S> {
    io: S,
    buffer: BytesMut,
    /// The last read was filled to the end: there is probably more.
    busy: bool,
}

impl<S> ReadAhead<S> {
    /// Around a fresh connection.
    pub fn new(io: S) -> Self {
        Self {
            io,
            buffer: BytesMut::new(),
            busy: false,
        }
    }

    /// The connection itself, for its options. Reading from it would lose what was read ahead.
    pub fn get_ref(&self) -> &S {
        &self.io
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ReadAhead<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let me = self.get_mut();
        if me.buffer.is_empty() {
            if !me.busy || buf.remaining() >= CAPACITY {
                let before = buf.filled().len();
                ready!(Pin::new(&mut me.io).poll_read(cx, buf))?;
                me.busy = buf.remaining() == 0 && buf.filled().len() > before;
                return Poll::Ready(Ok(()));
            }
            me.buffer.reserve(CAPACITY);
            let Poll::Ready(result) = poll_read_buf(Pin::new(&mut me.io), cx, &mut me.buffer) else {
                me.busy = false;
                me.buffer = BytesMut::new();
                return Poll::Pending;
            };
            if result? == 0 {
                return Poll::Ready(Ok(()));
            }
        }
        let n = me.buffer.len().min(buf.remaining());
        append(buf, &me.buffer[..n]);
        me.buffer.advance(n);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ReadAhead<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

impl<S: Connection> Connection for ReadAhead<S> {
    fn connected(&self) -> Connected {
        self.io.connected()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn gives_every_byte_once_in_reads_of_any_size() {
        let (mut far, near) = duplex(CAPACITY / 2);
        let sent: Vec<u8> = (0..500_000u32).map(|i| u8::try_from(i % 251).unwrap()).collect();
        let write = async {
            far.write_all(&sent).await.unwrap();
            drop(far);
        };
        let read = async {
            let (mut io, mut got, mut size) = (ReadAhead::new(near), vec![], 1);
            loop {
                let mut buf = vec![0; size];
                match io.read(&mut buf).await.unwrap() {
                    0 => return got,
                    n => got.extend_from_slice(&buf[..n]),
                }
                size = size * 7 % 100_003;
            }
        };
        let ((), got) = tokio::join!(write, read);
        assert!(got == sent);
    }

    #[tokio::test]
    async fn holds_no_buffer_while_idle() {
        let (mut far, near) = duplex(1 << 20);
        let mut io = ReadAhead::new(near);
        far.write_all(&vec![1; 100_000]).await.unwrap();
        let mut buf = vec![0; 4096];
        let mut got = 0;
        while got < 100_000 {
            got += io.read(&mut buf).await.unwrap();
        }
        assert!(io.busy);
        let idle = std::future::poll_fn(|cx| {
            Poll::Ready(
                Pin::new(&mut io)
                    .poll_read(cx, &mut ReadBuf::new(&mut buf))
                    .is_pending(),
            )
        });
        assert!(idle.await);
        assert_eq!(io.buffer.capacity(), 0);
    }
}
