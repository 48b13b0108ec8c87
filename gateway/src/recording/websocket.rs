//! The frames of one direction of a WebSocket (RFC 6455) whose messages begin with the number of a channel, as Kubernetes has them
//! (`k8s.io/apimachinery/pkg/util/httpstream/wsstream`). Nothing is collected: a message goes on as it comes, whatever its length.

use super::terminal::Undecodable;

/// Longest head of a frame: two bytes, eight of length, four of mask.
const HEAD: usize = 14;
/// Longest payload of a control frame (section 5.5).
const CONTROL: u64 = 125;
const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
const MASKED: u8 = 0x80;
const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// Whose bytes a direction has: a client masks all its frames, a server none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    Client,
    Server,
}

/// Where one direction stands.
#[derive(Debug)]
pub(super) struct Direction {
    peer: Peer,
    head: [u8; HEAD],
    /// Bytes of the head that are there.
    have: usize,
    /// The frame whose head is whole.
    frame: Option<Frame>,
    message: Message,
    /// The channel's bytes without their mask.
    plain: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    left: u64,
    mask: [u8; 4],
    /// Bytes of the payload so far: where in the mask the next one is.
    at: usize,
    control: bool,
    last: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Message {
    None,
    /// Without its first byte yet.
    Begun,
    Channel(u8),
}

impl Direction {
    pub(super) fn new(peer: Peer) -> Self {
        Self {
            peer,
            head: [0; HEAD],
            have: 0,
            frame: None,
            message: Message::None,
            plain: Vec::new(),
        }
    }

    /// Whether the last message is whole, and none has begun.
    pub(super) fn is_between_messages(&self) -> bool {
        self.have == 0 && self.frame.is_none() && self.message == Message::None
    }

    /// Takes bytes as they come. `each` gets pieces of channels.
    pub(super) fn feed(
        &mut self,
        mut bytes: &[u8],
        each: &mut impl FnMut(u8, &[u8]) -> Result<(), Undecodable>,
    ) -> Result<(), Undecodable> {
        loop {
            let Some(frame) = self.frame else {
                let Some((byte, rest)) = bytes.split_first() else {
                    return Ok(());
                };
                bytes = rest;
                self.head[self.have] = *byte;
                self.have += 1;
                self.look_at_head()?;
                continue;
            };
            if frame.left > 0 {
                if bytes.is_empty() {
                    return Ok(());
                }
                let len = usize::try_from(frame.left).unwrap_or(usize::MAX).min(bytes.len());
                let (payload, rest) = bytes.split_at(len);
                bytes = rest;
                self.take(payload, frame, each)?;
                self.frame = Some(Frame {
                    left: frame.left - len as u64,
                    at: (frame.at + len) % 4,
                    ..frame
                });
                continue;
            }
            if !frame.control && frame.last {
                self.message = Message::None;
            }
            (self.frame, self.have) = (None, 0);
        }
    }

    /// Begins the frame as soon as its head is whole.
    fn look_at_head(&mut self) -> Result<(), Undecodable> {
        let [first, second, ..] = self.head;
        if self.have < 2 {
            return Ok(());
        }
        let masked = second & MASKED != 0;
        let extended = match second & !MASKED {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let mask_at = 2 + extended;
        if self.have < mask_at + if masked { 4 } else { 0 } {
            return Ok(());
        }
        let left = match extended {
            0 => u64::from(second & !MASKED),
            _ => self.head[2..mask_at]
                .iter()
                .fold(0, |length, byte| length << 8 | u64::from(*byte)),
        };
        let mut mask = [0; 4];
        if masked {
            mask.copy_from_slice(&self.head[mask_at..mask_at + 4]);
        }
        let (opcode, last) = (first & 0x0f, first & FIN != 0);
        if first & RESERVED != 0 {
            return Err(Undecodable("a frame uses an extension of WebSocket"));
        }
        if masked != (self.peer == Peer::Client) {
            return Err(Undecodable(
                "a frame is masked that must not be, or is not that must",
            ));
        }
        if left >> 63 != 0 {
            return Err(Undecodable("a frame has an impossible length"));
        }
        let control = match opcode {
            CONTINUATION if self.message != Message::None => false,
            TEXT | BINARY if self.message == Message::None => {
                self.message = Message::Begun;
                false
            }
            CONTINUATION | TEXT | BINARY => {
                return Err(Undecodable("a message is in a wrong order of frames"));
            }
            CLOSE | PING | PONG if last && left <= CONTROL => true,
            _ => return Err(Undecodable("a control frame is none")),
        };
        self.frame = Some(Frame {
            left,
            mask,
            at: 0,
            control,
            last,
        });
        Ok(())
    }

    fn take(
        &mut self,
        payload: &[u8],
        frame: Frame,
        each: &mut impl FnMut(u8, &[u8]) -> Result<(), Undecodable>,
    ) -> Result<(), Undecodable> {
        if frame.control {
            return Ok(());
        }
        let payload = match self.peer {
            Peer::Server => payload,
            Peer::Client => {
                self.plain.clear();
                let mask = frame.mask.iter().cycle().skip(frame.at);
                self.plain
                    .extend(payload.iter().zip(mask).map(|(byte, mask)| byte ^ mask));
                &self.plain
            }
        };
        if let Message::Channel(channel) = self.message {
            return each(channel, payload);
        }
        let Some((channel, rest)) = payload.split_first() else {
            return Ok(());
        };
        self.message = Message::Channel(*channel);
        each(*channel, rest)
    }
}

/// A whole message of a server, and the end of the connection after it.
pub(super) fn last_message(payload: &[u8]) -> Vec<u8> {
    /// Policy violation: what is asked for cannot be had (section 7.4.1).
    const REASON: u16 = 1008;
    let mut frame = vec![FIN | BINARY];
    match u16::try_from(payload.len()) {
        Ok(length @ ..126) => frame.push(u8::try_from(length).expect("below 126")),
        Ok(length) => {
            frame.push(126);
            frame.extend_from_slice(&length.to_be_bytes());
        }
        Err(_) => {
            frame.push(127);
            frame.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(payload);
    frame.extend_from_slice(&[FIN | CLOSE, 2]);
    frame.extend_from_slice(&REASON.to_be_bytes());
    frame
}
