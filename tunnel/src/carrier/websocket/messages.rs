//! The WebSocket carrier after the upgrade: messages in and out.
//!
//! Frame headers are coded by tungstenite. Its `WebSocket` is not used: it copies every message into an output buffer
//! whose rest it moves to the front after each partial write, and clears its input buffer before each read. Over it the
//! link cost a quarter more CPU (docs/benchmarks.md). Here a message is sent from where it is (the
//! accepting end) or from its masked copy (the dialing end), and received into memory of its own size.

use std::{
    collections::VecDeque,
    io::{self, Cursor, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use aws_lc_rs::rand;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::tungstenite::protocol::{
    Role,
    frame::{
        FrameHeader,
        coding::{Control, Data, OpCode},
    },
};
use tokio_util::io::poll_read_buf;

use crate::{
    carrier::{
        Carrier,
        blocks::{BLOCK, BLOCKS, cut},
    },
    frame::MAX_FRAME,
};

/// Longest header: two bytes, 64-bit length, mask.
const MAX_HEADER: usize = 14;
/// Read while a header is expected. More would have to be copied to where the message is put together; less would
/// cost a call more for small messages.
const HEAD_READ: usize = 256;
/// Read at once into a message: one TLS record.
const BODY_READ: usize = 16 << 10;
/// Queued bytes above which no further message is taken. What is queued here cannot be overtaken; the link bounds the
/// size of messages on a slow line.
const QUEUE: usize = 32 << 10;
/// RFC 6455 5.5: longest payload of a control frame.
const MAX_CONTROL: u64 = 125;
/// Pings may be answered while the peer does not read; so many answers are kept and no more.
const MAX_PONGS: usize = 4;

pub(super) struct Messages<S> {
    io: S,
    role: Role,
    // outwards
    queue: VecDeque<Bytes>,
    queued: usize,
    pongs: usize,
    // inwards
    head: BytesMut,
    frame: Option<Incoming>,
    /// Fragments of a message so far: a proxy between may cut messages into several frames.
    fragments: Option<BytesMut>,
    closed: bool,
}

/// A frame whose header has been read.
struct Incoming {
    header: FrameHeader,
    length: usize,
    payload: BytesMut,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Messages<S> {
    pub(super) fn new(io: S, role: Role) -> Self {
        Self {
            io,
            role,
            queue: VecDeque::new(),
            queued: 0,
            pongs: 0,
            head: BytesMut::new(),
            frame: None,
            fragments: None,
            closed: false,
        }
    }

    // === outwards ===

    fn enqueue(&mut self, opcode: OpCode, payload: Bytes) -> io::Result<()> {
        let mut header = FrameHeader {
            opcode,
            is_final: true,
            ..FrameHeader::default()
        };
        let length = payload.len() as u64;
        let mut room = header.len(length);
        if self.role == Role::Client {
            let mut key = [0; 4];
            rand::fill(&mut key).map_err(|_| io::Error::other("the system gives no random bytes"))?;
            header.mask = Some(key);
            room = header.len(length) + payload.len();
        }
        let mut wire = BytesMut::with_capacity(room);
        header
            .format(length, &mut (&mut wire).writer())
            .map_err(io::Error::other)?;
        let Some(key) = header.mask else {
            self.push(wire.freeze());
            self.push(payload);
            return Ok(());
        };
        // In blocks, so that the second step finds the bytes in the first-level cache. Their size is a multiple of 4.
        for block in payload.chunks(BLOCK) {
            let start = wire.len();
            wire.extend_from_slice(block);
            mask(&mut wire[start..], key);
        }
        self.push(wire.freeze());
        Ok(())
    }

    fn push(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.queued += bytes.len();
            self.queue.push_back(bytes);
        }
    }

    /// Writes until the queue is empty.
    fn poll_write_queue(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.queue.is_empty() {
            let mut blocks = [IoSlice::new(&[]); BLOCKS];
            let n = cut(self.queue.iter().map(|bytes| &bytes[..]), &mut blocks);
            let mut n = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, &blocks[..n]))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.queued -= n;
            while let Some(front) = self.queue.front_mut() {
                if n < front.len() {
                    front.advance(n);
                    break;
                }
                n -= front.len();
                self.queue.pop_front();
            }
        }
        self.pongs = 0;
        Poll::Ready(Ok(()))
    }

    // === inwards ===

    /// One read; at the end of the stream an error, since every carrier ends with a close frame or is broken.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let n = match &mut self.frame {
            None => {
                self.head.reserve(HEAD_READ);
                poll_read_buf(Pin::new(&mut self.io), cx, &mut (&mut self.head).limit(HEAD_READ))
            }
            Some(frame) => {
                let left = frame.length - frame.payload.len();
                poll_read_buf(
                    Pin::new(&mut self.io),
                    cx,
                    &mut (&mut frame.payload).limit(left.min(BODY_READ)),
                )
            }
        };
        match ready!(n)? {
            0 => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            _ => Poll::Ready(Ok(())),
        }
    }

    /// Reads a header from what is there. False: more bytes are needed.
    fn parse_head(&mut self) -> io::Result<bool> {
        let mut cursor = Cursor::new(&self.head[..]);
        let Some((header, length)) = FrameHeader::parse(&mut cursor).map_err(io::Error::other)? else {
            return if self.head.len() < MAX_HEADER {
                Ok(false)
            } else {
                Err(invalid("a header that never ends"))
            };
        };
        let used = usize::try_from(cursor.position()).expect("a header has 14 bytes at most");
        let limit = match header.opcode {
            OpCode::Control(_) if !header.is_final => return Err(invalid("a control frame in fragments")),
            OpCode::Control(_) => MAX_CONTROL,
            OpCode::Data(_) => (MAX_FRAME - self.fragments.as_ref().map_or(0, BytesMut::len)) as u64,
        };
        if length > limit {
            return Err(invalid("a message above the limit"));
        }
        if header.rsv1 || header.rsv2 || header.rsv3 {
            return Err(invalid("a reserved bit, though no extension was agreed on"));
        }
        if header.mask.is_some() != (self.role == Role::Server) {
            return Err(invalid(
                "wrong masking: the dialing end masks, the accepting end does not",
            ));
        }
        self.head.advance(used);
        let length = usize::try_from(length).expect("bounded above");
        let mut payload = BytesMut::with_capacity(length);
        let there = self.head.len().min(length);
        payload.put_slice(&self.head[..there]);
        self.head.advance(there);
        self.frame = Some(Incoming {
            header,
            length,
            payload,
        });
        Ok(true)
    }

    /// A whole frame. `Some` when it completes a message.
    fn on_frame(&mut self, mut frame: Incoming) -> io::Result<Option<Bytes>> {
        if let Some(key) = frame.header.mask {
            mask(&mut frame.payload, key);
        }
        match frame.header.opcode {
            OpCode::Data(Data::Binary) if self.fragments.is_none() => {
                if frame.header.is_final {
                    return Ok(Some(frame.payload.freeze()));
                }
                self.fragments = Some(frame.payload);
            }
            OpCode::Data(Data::Continue) => {
                let Some(message) = &mut self.fragments else {
                    return Err(invalid("a fragment of no message"));
                };
                message.extend_from_slice(&frame.payload);
                if frame.header.is_final {
                    return Ok(self.fragments.take().map(BytesMut::freeze));
                }
            }
            OpCode::Control(Control::Ping) => {
                if self.pongs < MAX_PONGS {
                    self.pongs += 1;
                    self.enqueue(OpCode::Control(Control::Pong), frame.payload.freeze())?;
                }
            }
            OpCode::Control(Control::Pong) => {}
            OpCode::Control(Control::Close) => self.closed = true,
            OpCode::Data(_) | OpCode::Control(Control::Reserved(_)) => {
                return Err(invalid("a frame that is not expected here"));
            }
        }
        Ok(None)
    }
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Carrier for Messages<S> {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.queued >= QUEUE {
            ready!(self.poll_write_queue(cx))?;
        }
        Poll::Ready(Ok(()))
    }

    fn start_send(&mut self, message: Bytes) -> io::Result<()> {
        self.enqueue(OpCode::Data(Data::Binary), message)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_write_queue(cx))?;
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        while !self.closed {
            if self.frame.is_none() && !self.parse_head()? {
                ready!(self.poll_fill(cx))?;
                continue;
            }
            if self.frame.as_ref().is_some_and(|f| f.payload.len() < f.length) {
                ready!(self.poll_fill(cx))?;
                continue;
            }
            if let Some(frame) = self.frame.take()
                && let Some(message) = self.on_frame(frame)?
            {
                return Poll::Ready(Ok(Some(message)));
            }
            if self.pongs > 0 {
                // A peer that does not read blocks its own answers, not us.
                let _ = self.poll_write_queue(cx)?;
            }
        }
        Poll::Ready(Ok(None))
    }
}

/// RFC 6455 5.3: XOR with the key, repeated.
fn mask(bytes: &mut [u8], key: [u8; 4]) {
    let wide = u128::from_ne_bytes(std::array::from_fn(|i| key[i % 4]));
    // Arrays, not slices: a slice's copy is a call per chunk where this is one instruction.
    let (chunks, rest) = bytes.as_chunks_mut::<16>();
    for chunk in chunks {
        *chunk = (u128::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests;
