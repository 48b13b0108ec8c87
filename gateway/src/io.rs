//! Connections of users and agents, and what becomes of them after an upgrade.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf as _, Bytes};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use kantaloupe_tunnel::carrier::{blocks::Blocks, readahead::ReadAhead, socket};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;

/// A connection as accepted.
pub(crate) type ServerIo = Blocks<TlsStream<ReadAhead<TcpStream>>>;

/// A connection after an upgrade, without hyper's `dyn` layer, with what hyper had read beyond the request in front.
#[derive(Debug)]
pub(crate) struct UpgradedIo {
    early: Bytes,
    io: ServerIo,
}

impl UpgradedIo {
    /// Takes hyper's layer off. Fails only for a connection that this gateway did not accept over HTTP/1.1.
    pub(crate) fn new(upgraded: Upgraded) -> io::Result<Self> {
        match upgraded.downcast::<TokioIo<ServerIo>>() {
            Ok(parts) => {
                // An empty one would still hold the memory of hyper's read buffer, for as long as the tunnel lives.
                let early = if parts.read_buf.is_empty() {
                    Bytes::new()
                } else {
                    parts.read_buf
                };
                Ok(Self {
                    early,
                    io: parts.io.into_inner(),
                })
            }
            Err(_) => Err(io::Error::other(
                "the upgraded connection is not one of this listener",
            )),
        }
    }

    /// Sets what a carrier wants of its connection.
    pub(crate) fn tune(&self) -> io::Result<()> {
        socket::tune(self.io.get_ref().get_ref().0.get_ref())
    }
}

impl AsyncRead for UpgradedIo {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.early.is_empty() {
            let len = this.early.len().min(buf.remaining());
            buf.put_slice(&this.early[..len]);
            this.early.advance(len);
            if this.early.is_empty() {
                this.early = Bytes::new();
            }
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut this.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for UpgradedIo {
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
