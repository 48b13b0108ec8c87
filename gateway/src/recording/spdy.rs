//! SPDY/3.1 as Kubernetes has it (`github.com/moby/spdystream`): the client opens a stream for each of stdin, stdout, stderr, errors and sizes, and
//! says which is which in the compressed headers of its SYN_STREAM.
//!
//! spdystream does not look at the length of frames whose form is fixed, and reads what is behind them as the next frame. Lengths are checked here
//! for this reason: nothing can be hidden in a PING that is longer than one.

mod inflate;

use self::inflate::Inflate;
use super::terminal::{Output, Undecodable};

/// Bytes of the head of each frame.
const HEAD: usize = 8;
/// Set in the first byte of a frame that is not data.
const CONTROL: u8 = 0x80;
const VERSION: u16 = 3;
/// Bytes of a frame's own form and its compressed headers. kubectl's have less than 200.
const MAX_BLOCK: usize = 16 << 10;
/// Streams of a session; Kubernetes knows five.
const MAX_STREAMS: usize = 8;
/// The last bytes of a stream.
const FIN: u8 = 1;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const SETTINGS: u16 = 4;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const HEADERS: u16 = 8;
const WINDOW_UPDATE: u16 = 9;

/// What a stream is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Stdin,
    Stdout,
    Stderr,
    Error,
    Resize,
}

/// A session.
#[derive(Debug, Default)]
pub(super) struct Session {
    client: Frames,
    server: Frames,
    headers: Inflate,
    streams: Vec<(u32, Kind)>,
}

/// Where one direction stands.
#[derive(Debug, Default)]
struct Frames {
    head: [u8; HEAD],
    have: usize,
    frame: Option<Frame>,
}

#[derive(Debug)]
enum Frame {
    Data {
        stream: u32,
        left: usize,
    },
    /// Nothing in it matters.
    Skip {
        left: usize,
    },
    /// Headers, which all have to go through the decompressor.
    Block {
        opens: bool,
        left: usize,
        bytes: Vec<u8>,
    },
}

/// A frame, or a piece of data.
enum Piece<'a> {
    Data(u32, &'a [u8]),
    Block { opens: bool, bytes: Vec<u8> },
}

impl Session {
    /// Takes bytes of the client. `size` gets what is sent about the terminal's size.
    pub(super) fn client_sends(
        &mut self,
        mut bytes: &[u8],
        size: &mut impl FnMut(&[u8]),
    ) -> Result<(), Undecodable> {
        while let Some(piece) = self.client.next(&mut bytes, true)? {
            match piece {
                Piece::Block { opens, bytes } => self.headers(opens, &bytes)?,
                Piece::Data(stream, bytes) => match kind(&self.streams, stream)? {
                    Kind::Stdin => {}
                    Kind::Resize => size(bytes),
                    _ if bytes.is_empty() => {}
                    _ => return Err(Undecodable("the client sends on a stream that is not its own")),
                },
            }
        }
        Ok(())
    }

    /// Takes bytes of the server. `shown` gets what the user is shown.
    pub(super) fn server_sends(
        &mut self,
        mut bytes: &[u8],
        shown: &mut impl FnMut(Output, &[u8]),
    ) -> Result<(), Undecodable> {
        while let Some(piece) = self.server.next(&mut bytes, false)? {
            let Piece::Data(stream, bytes) = piece else {
                return Err(Undecodable("the server opens a stream"));
            };
            match kind(&self.streams, stream)? {
                Kind::Stdout => shown(Output::Out, bytes),
                Kind::Stderr => shown(Output::Err, bytes),
                Kind::Error => {}
                _ if bytes.is_empty() => {}
                _ => return Err(Undecodable("the server sends on a stream that is not its own")),
            }
        }
        Ok(())
    }

    /// The status as the end of the stream for errors, if the server is between two frames.
    pub(super) fn farewell(&self, status: &[u8]) -> Option<Vec<u8>> {
        let (stream, _) = self.streams.iter().find(|(_, kind)| *kind == Kind::Error)?;
        let length = u32::try_from(status.len())
            .ok()
            .filter(|length| *length < 1 << 24)?;
        if self.server.have > 0 || self.server.frame.is_some() {
            return None;
        }
        let mut frame = stream.to_be_bytes().to_vec();
        frame.extend_from_slice(&(u32::from(FIN) << 24 | length).to_be_bytes());
        frame.extend_from_slice(status);
        Some(frame)
    }

    fn headers(&mut self, opens: bool, bytes: &[u8]) -> Result<(), Undecodable> {
        let (own, compressed) = bytes
            .split_at_checked(if opens { 10 } else { 4 })
            .ok_or(Undecodable("a frame is too short"))?;
        let plain = self.headers.block(compressed)?;
        let kind = stream_type(plain)?;
        if !opens {
            return Ok(());
        }
        let mut id = [0; 4];
        id.copy_from_slice(&own[..4]);
        let id = u32::from_be_bytes(id);
        let kind = kind.ok_or(Undecodable("a stream does not say what it is for"))?;
        let again = self.streams.iter().any(|(other, of)| *other == id || *of == kind);
        if again || id >> 31 != 0 || id.is_multiple_of(2) || self.streams.len() >= MAX_STREAMS {
            return Err(Undecodable("a stream is opened twice"));
        }
        self.streams.push((id, kind));
        Ok(())
    }
}

fn kind(streams: &[(u32, Kind)], stream: u32) -> Result<Kind, Undecodable> {
    let found = streams.iter().find(|(id, _)| *id == stream);
    found
        .map(|(_, kind)| *kind)
        .ok_or(Undecodable("a stream is not open"))
}

impl Frames {
    /// The next piece of what has come, with what is used taken off `bytes`.
    fn next<'a>(&mut self, bytes: &mut &'a [u8], of_client: bool) -> Result<Option<Piece<'a>>, Undecodable> {
        loop {
            let take = |bytes: &mut &'a [u8], left: usize| {
                let (taken, rest) = bytes.split_at(left.min(bytes.len()));
                *bytes = rest;
                taken
            };
            match self.frame.take() {
                None => {
                    let head = take(bytes, HEAD - self.have);
                    self.head[self.have..self.have + head.len()].copy_from_slice(head);
                    self.have += head.len();
                    if self.have < HEAD {
                        return Ok(None);
                    }
                    self.have = 0;
                    let (frame, empty) = begin(self.head, of_client)?;
                    if let Frame::Data { stream, .. } = frame
                        && empty
                    {
                        return Ok(Some(Piece::Data(stream, &[])));
                    }
                    self.frame = (!empty).then_some(frame);
                }
                Some(Frame::Data { stream, left }) => {
                    let data = take(bytes, left);
                    if data.is_empty() {
                        self.frame = Some(Frame::Data { stream, left });
                        return Ok(None);
                    }
                    let left = left - data.len();
                    self.frame = (left > 0).then_some(Frame::Data { stream, left });
                    return Ok(Some(Piece::Data(stream, data)));
                }
                Some(Frame::Skip { left }) => {
                    let left = left - take(bytes, left).len();
                    if left > 0 {
                        self.frame = Some(Frame::Skip { left });
                        return Ok(None);
                    }
                }
                Some(Frame::Block {
                    opens,
                    left,
                    bytes: mut block,
                }) => {
                    let more = take(bytes, left);
                    block.extend_from_slice(more);
                    let left = left - more.len();
                    if left == 0 {
                        return Ok(Some(Piece::Block { opens, bytes: block }));
                    }
                    self.frame = Some(Frame::Block {
                        opens,
                        left,
                        bytes: block,
                    });
                    return Ok(None);
                }
            }
        }
    }
}

/// The frame that a head begins, and whether nothing follows.
fn begin(head: [u8; HEAD], of_client: bool) -> Result<(Frame, bool), Undecodable> {
    let [first, second, third, fourth, _flags, length @ ..] = head;
    let left = length.iter().fold(0, |left, byte| left << 8 | usize::from(*byte));
    if first & CONTROL == 0 {
        let stream = u32::from_be_bytes([first, second, third, fourth]);
        return Ok((Frame::Data { stream, left }, left == 0));
    }
    if u16::from_be_bytes([first & !CONTROL, second]) != VERSION {
        return Err(Undecodable("a frame is of another version of SPDY"));
    }
    let opens = match u16::from_be_bytes([third, fourth]) {
        SYN_STREAM if of_client => true,
        SYN_STREAM => return Err(Undecodable("the server opens a stream")),
        SYN_REPLY | HEADERS if of_client => false,
        // Of the server's headers nothing is needed.
        SYN_REPLY | HEADERS if left <= MAX_BLOCK => return Ok((Frame::Skip { left }, false)),
        RST_STREAM | GOAWAY | WINDOW_UPDATE if left == 8 => return Ok((Frame::Skip { left }, false)),
        PING if left == 4 => return Ok((Frame::Skip { left }, false)),
        SETTINGS if left % 8 == 4 && left <= MAX_BLOCK => return Ok((Frame::Skip { left }, false)),
        _ => return Err(Undecodable("a frame has an unknown form")),
    };
    if !(4..=MAX_BLOCK).contains(&left) {
        return Err(Undecodable("a frame has too long or too short headers"));
    }
    let bytes = Vec::with_capacity(left);
    Ok((Frame::Block { opens, left, bytes }, false))
}

/// What a block of headers says of the stream, if it does. Its form: a number of pairs; each name and each value with its length before it.
fn stream_type(mut block: &[u8]) -> Result<Option<Kind>, Undecodable> {
    const SHORT: Undecodable = Undecodable("headers end too early");
    fn number(block: &mut &[u8]) -> Result<usize, Undecodable> {
        let (number, rest) = block.split_first_chunk::<4>().ok_or(SHORT)?;
        *block = rest;
        usize::try_from(u32::from_be_bytes(*number)).map_err(|_| SHORT)
    }
    fn text<'a>(block: &mut &'a [u8]) -> Result<&'a [u8], Undecodable> {
        let length = number(block)?;
        let (text, rest) = block.split_at_checked(length).ok_or(SHORT)?;
        *block = rest;
        Ok(text)
    }
    let mut kind = None;
    for _ in 0..number(&mut block)? {
        let (name, value) = (text(&mut block)?, text(&mut block)?);
        if name.iter().any(u8::is_ascii_uppercase) || !name.is_ascii() {
            return Err(Undecodable("a header's name is not in lower case"));
        }
        if name != b"streamtype" {
            continue;
        }
        let found = match value {
            b"stdin" => Kind::Stdin,
            b"stdout" => Kind::Stdout,
            b"stderr" => Kind::Stderr,
            b"error" => Kind::Error,
            b"resize" => Kind::Resize,
            _ => return Err(Undecodable("a stream is for something unknown")),
        };
        if kind.replace(found).is_some() {
            return Err(Undecodable("a header is there twice"));
        }
    }
    if !block.is_empty() {
        return Err(Undecodable("something is behind the headers"));
    }
    Ok(kind)
}
