//! Wire format of the link: every frame is one message of the carrier.
//!
//! ```text
//! type: u8 | payload length: u24 | value: u64 | payload        (big endian)
//! ```
//!
//! On a carrier that keeps message boundaries the length repeats what the carrier says; it is checked, and a
//! carrier that is a bare byte stream can be framed by it. Byte offsets count the payload of DATA since the link
//! was created; FIN occupies one offset of its own, so that it is acknowledged like a byte.

use bytes::{BufMut, Bytes, BytesMut};

/// Bytes before the payload.
pub const HEADER: usize = 12;
/// Largest payload of one DATA frame: an HTTP/2 frame of 64 KiB with its 9-byte header, and a small one beside it. With
/// the header it stays below glibc's 128 KiB mmap threshold, so that buffers are reused instead of being mapped and
/// cleared each time.
pub const MAX_PAYLOAD: usize = 2 * (32 * 1024 + 9);
/// Largest message a carrier has to accept.
pub const MAX_FRAME: usize = HEADER + MAX_PAYLOAD;
/// Identifies a link at the accepting end.
pub type LinkId = [u8; 16];
/// Proves that whoever resumes a link is the one it was created for.
pub type LinkSecret = [u8; 32];

const DATA: u8 = 0x01;
const ACK: u8 = 0x02;
const PING: u8 = 0x03;
const PONG: u8 = 0x04;
const FIN: u8 = 0x05;
const CLOSE: u8 = 0x06;
const NEW: u8 = 0x10;
const CREATED: u8 = 0x11;
const RESUME: u8 = 0x12;
const RESUMED: u8 = 0x13;
const REFUSED: u8 = 0x14;

/// One message of the link protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// Stream bytes; `offset` is that of the first one.
    Data {
        /// Offset of the first byte of `payload`.
        offset: u64,
        /// 1 to [`MAX_PAYLOAD`] bytes.
        payload: Bytes,
    },
    /// Every byte below this offset was consumed by the reader.
    Ack(u64),
    /// Asks for a [`Frame::Pong`] with the same value.
    Ping(u64),
    /// Answer to a ping.
    Pong(u64),
    /// No byte at or above this offset will follow.
    Fin(u64),
    /// The link is gone and cannot be resumed. The value is for reasons; both ends send 0.
    Close(u64),
    /// Dialer's first frame: create a link. The value is the receive window it grants, in bytes.
    New(u64),
    /// Answer to [`Frame::New`].
    Created {
        /// Receive window granted to the dialer, in bytes.
        window: u64,
        /// Name of the new link.
        id: LinkId,
        /// What a resume has to show.
        secret: LinkSecret,
    },
    /// Dialer's first frame: go on with a link on this carrier.
    Resume {
        /// Offset below which the dialer has received everything.
        received: u64,
        /// Name of the link.
        id: LinkId,
        /// What `Created` gave.
        secret: LinkSecret,
        /// Counts carriers; only a higher one than the current one is taken.
        generation: u64,
    },
    /// Answer to [`Frame::Resume`]: offset below which the accepting end has received everything.
    Resumed(u64),
    /// Answer to [`Frame::New`] or [`Frame::Resume`] when there is no link to go on with.
    Refused(u64),
}

/// Why a message is not a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Fewer bytes than a header.
    #[error("shorter than a frame header")]
    Short,
    /// The header's length differs from the message's.
    #[error("length in the header differs from the message")]
    Length,
    /// The payload has a size that this type does not allow.
    #[error("payload size not allowed for frame type {0:#04x}")]
    Payload(u8),
    /// A type this version does not know.
    #[error("unknown frame type {0:#04x}")]
    Type(u8),
}

impl Frame {
    /// Reads one carrier message. The payload of DATA is a slice of `message`, not a copy.
    pub fn decode(mut message: Bytes) -> Result<Self, DecodeError> {
        let header: [u8; HEADER] = message
            .get(..HEADER)
            .and_then(|h| h.try_into().ok())
            .ok_or(DecodeError::Short)?;
        let (kind, length) = (
            header[0],
            u32::from_be_bytes([0, header[1], header[2], header[3]]) as usize,
        );
        let value = be64(&header[4..]);
        let payload = message.split_off(HEADER);
        if payload.len() != length {
            return Err(DecodeError::Length);
        }
        let fixed = |n: usize| {
            if payload.len() == n {
                Ok(())
            } else {
                Err(DecodeError::Payload(kind))
            }
        };
        Ok(match kind {
            DATA if (1..=MAX_PAYLOAD).contains(&payload.len()) => Self::Data {
                offset: value,
                payload,
            },
            DATA => return Err(DecodeError::Payload(kind)),
            CREATED => {
                fixed(48)?;
                Self::Created {
                    window: value,
                    id: array(&payload[..16]),
                    secret: array(&payload[16..]),
                }
            }
            RESUME => {
                fixed(56)?;
                Self::Resume {
                    received: value,
                    id: array(&payload[..16]),
                    secret: array(&payload[16..48]),
                    generation: be64(&payload[48..]),
                }
            }
            ACK | PING | PONG | FIN | CLOSE | NEW | RESUMED | REFUSED => {
                fixed(0)?;
                match kind {
                    ACK => Self::Ack(value),
                    PING => Self::Ping(value),
                    PONG => Self::Pong(value),
                    FIN => Self::Fin(value),
                    CLOSE => Self::Close(value),
                    NEW => Self::New(value),
                    RESUMED => Self::Resumed(value),
                    _ => Self::Refused(value),
                }
            }
            _ => return Err(DecodeError::Type(kind)),
        })
    }

    /// The message that carries this frame.
    pub fn encode(&self) -> Bytes {
        match self {
            Self::Data { offset, payload } => build(DATA, *offset, &[payload]),
            Self::Ack(v) => build(ACK, *v, &[]),
            Self::Ping(v) => build(PING, *v, &[]),
            Self::Pong(v) => build(PONG, *v, &[]),
            Self::Fin(v) => build(FIN, *v, &[]),
            Self::Close(v) => build(CLOSE, *v, &[]),
            Self::New(v) => build(NEW, *v, &[]),
            Self::Created { window, id, secret } => build(CREATED, *window, &[id, secret]),
            Self::Resume {
                received,
                id,
                secret,
                generation,
            } => build(RESUME, *received, &[id, secret, &generation.to_be_bytes()]),
            Self::Resumed(v) => build(RESUMED, *v, &[]),
            Self::Refused(v) => build(REFUSED, *v, &[]),
        }
    }
}

/// Header of a DATA frame, for a buffer whose payload is already behind it.
pub(crate) fn data_header(length: usize, offset: u64) -> [u8; HEADER] {
    header(DATA, length, offset)
}

fn header(kind: u8, length: usize, value: u64) -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    let length = u32::try_from(length)
        .expect("frame payloads are far below 4 GiB")
        .to_be_bytes();
    bytes[0] = kind;
    bytes[1..4].copy_from_slice(&length[1..]);
    bytes[4..].copy_from_slice(&value.to_be_bytes());
    bytes
}

fn build(kind: u8, value: u64, parts: &[&[u8]]) -> Bytes {
    let length = parts.iter().map(|p| p.len()).sum();
    let mut bytes = BytesMut::with_capacity(HEADER + length);
    bytes.put_slice(&header(kind, length, value));
    for part in parts {
        bytes.put_slice(part);
    }
    bytes.freeze()
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().expect("the length was checked")
}

fn be64(bytes: &[u8]) -> u64 {
    u64::from_be_bytes(array(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frames() -> impl Strategy<Value = Frame> {
        prop_oneof![
            (any::<u64>(), proptest::collection::vec(any::<u8>(), 1..2000)).prop_map(|(offset, p)| {
                Frame::Data {
                    offset,
                    payload: p.into(),
                }
            }),
            any::<u64>().prop_map(Frame::Ack),
            any::<u64>().prop_map(Frame::Ping),
            any::<u64>().prop_map(Frame::Pong),
            any::<u64>().prop_map(Frame::Fin),
            any::<u64>().prop_map(Frame::Close),
            any::<u64>().prop_map(Frame::New),
            any::<u64>().prop_map(Frame::Resumed),
            any::<u64>().prop_map(Frame::Refused),
            (any::<u64>(), any::<LinkId>(), any::<LinkSecret>())
                .prop_map(|(window, id, secret)| Frame::Created { window, id, secret }),
            (any::<u64>(), any::<LinkId>(), any::<LinkSecret>(), any::<u64>()).prop_map(
                |(received, id, secret, generation)| Frame::Resume {
                    received,
                    id,
                    secret,
                    generation
                }
            ),
        ]
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(frame in frames()) {
            prop_assert_eq!(Frame::decode(frame.encode()), Ok(frame));
        }

        #[test]
        fn any_bytes_decode_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Frame::decode(bytes.into());
        }

        #[test]
        fn a_cut_frame_is_refused(frame in frames(), cut in any::<prop::sample::Index>()) {
            let wire = frame.encode();
            let n = cut.index(wire.len());
            prop_assert!(Frame::decode(wire.slice(..n)).is_err());
        }
    }

    /// The format on the wire, so that a change of it is seen.
    #[test]
    fn wire_snapshots() {
        let hex = |f: &Frame| {
            f.encode()
                .iter()
                .fold(String::new(), |text, b| text + &format!("{b:02x}"))
        };
        //                                                      type len    value
        assert_eq!(hex(&Frame::Ack(258)), "020000000000000000000102");
        assert_eq!(hex(&Frame::Close(1)), "060000000000000000000001");
        let data = Frame::Data {
            offset: 7,
            payload: Bytes::from_static(b"hi"),
        };
        assert_eq!(hex(&data), "0100000200000000000000076869");
        let resume = Frame::Resume {
            received: 1,
            id: [2; 16],
            secret: [3; 32],
            generation: 4,
        };
        let want = format!(
            "12000038{:016x}{}{}{:016x}",
            1,
            "02".repeat(16),
            "03".repeat(32),
            4
        );
        assert_eq!(hex(&resume), want);
    }

    #[test]
    fn sizes_that_a_type_does_not_allow_are_refused() {
        let oversize = header(DATA, MAX_PAYLOAD + 1, 0)
            .into_iter()
            .chain(vec![0; MAX_PAYLOAD + 1])
            .collect();
        assert_eq!(Frame::decode(oversize), Err(DecodeError::Payload(DATA)));
        assert_eq!(
            Frame::decode(build(DATA, 0, &[])),
            Err(DecodeError::Payload(DATA))
        );
        assert_eq!(
            Frame::decode(build(ACK, 0, &[b"x"])),
            Err(DecodeError::Payload(ACK))
        );
        assert_eq!(Frame::decode(build(0x7f, 0, &[])), Err(DecodeError::Type(0x7f)));
    }
}
