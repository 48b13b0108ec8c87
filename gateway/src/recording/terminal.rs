//! Reads along with a terminal session of Kubernetes (`pods/exec`, `pods/attach`), in both of its protocols, and says what was shown and how large
//! the terminal was. No I/O, no clock.
//!
//! It has to see what both ends see: whoever can make it see something else has a terminal that is not recorded. So whatever the two ends of
//! Kubernetes do not send, and might read in another way than this module, is an error.

use super::{
    resize::Resizes,
    spdy, websocket,
    websocket::{Direction, Peer},
};

/// What a decoder has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// Shown to the user. A piece of it, not a line and not always whole characters.
    Output {
        /// Of which of the program's two outputs.
        from: Output,
        /// As the program wrote it.
        bytes: &'a [u8],
    },
    /// The user's terminal has this size.
    Resize {
        /// Characters of a line.
        columns: u16,
        /// Lines.
        rows: u16,
    },
}

/// One of a program's two outputs; with a terminal everything is on the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// Bytes that no client and no API server of Kubernetes sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stream is not what Kubernetes sends: {0}")]
pub struct Undecodable(pub(super) &'static str);

/// The protocol that both ends have agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Channels of Kubernetes over WebSocket: `channel.k8s.io`, `v4.` and `v5.channel.k8s.io`.
    WebSocket,
    /// SPDY/3.1.
    Spdy,
}

/// A session that is read along.
#[derive(Debug)]
pub struct Terminal {
    decoder: Decoder,
    resizes: Resizes,
}

#[derive(Debug)]
enum Decoder {
    WebSocket { client: Direction, server: Direction },
    Spdy(Box<spdy::Session>),
}

/// Numbers of Kubernetes' channels: the first byte of each WebSocket message.
const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
/// Of `v5.channel.k8s.io`: the channel that the second byte names is closed.
const CLOSE: u8 = 255;

impl Terminal {
    /// A session that begins now.
    pub fn new(protocol: Protocol) -> Self {
        let decoder = match protocol {
            Protocol::WebSocket => Decoder::WebSocket {
                client: Direction::new(Peer::Client),
                server: Direction::new(Peer::Server),
            },
            Protocol::Spdy => Decoder::Spdy(Box::default()),
        };
        Self {
            decoder,
            resizes: Resizes::default(),
        }
    }

    /// Takes bytes that the client sends, before they go on.
    pub fn client_sends(
        &mut self,
        bytes: &[u8],
        each: &mut impl FnMut(Event<'_>),
    ) -> Result<(), Undecodable> {
        let resizes = &mut self.resizes;
        match &mut self.decoder {
            Decoder::WebSocket { client, .. } => client.feed(bytes, &mut |channel, bytes| match channel {
                STDIN | CLOSE => Ok(()),
                RESIZE => {
                    resizes.feed(bytes, each);
                    Ok(())
                }
                _ if bytes.is_empty() => Ok(()),
                _ => Err(Undecodable("the client sends on a channel that is not its own")),
            }),
            Decoder::Spdy(session) => session.client_sends(bytes, &mut |bytes| resizes.feed(bytes, each)),
        }
    }

    /// Takes bytes that the server sends, before they go on.
    pub fn server_sends(
        &mut self,
        bytes: &[u8],
        each: &mut impl FnMut(Event<'_>),
    ) -> Result<(), Undecodable> {
        match &mut self.decoder {
            Decoder::WebSocket { server, .. } => server.feed(bytes, &mut |channel, bytes| {
                let from = match channel {
                    STDOUT => Output::Out,
                    STDERR => Output::Err,
                    ERROR | CLOSE => return Ok(()),
                    // At the beginning the server sends an empty message on each channel.
                    _ if bytes.is_empty() => return Ok(()),
                    _ => return Err(Undecodable("the server sends on a channel that is not its own")),
                };
                each(Event::Output { from, bytes });
                Ok(())
            }),
            Decoder::Spdy(session) => {
                session.server_sends(bytes, &mut |from, bytes| each(Event::Output { from, bytes }))
            }
        }
    }

    /// What tells the client why its session ends, if all that the server has sent so far is whole: a Status on the error channel.
    pub(crate) fn farewell(&self, status: &[u8]) -> Option<Vec<u8>> {
        match &self.decoder {
            Decoder::WebSocket { server, .. } if server.is_between_messages() => {
                let mut message = vec![ERROR];
                message.extend_from_slice(status);
                Some(websocket::last_message(&message))
            }
            Decoder::WebSocket { .. } => None,
            Decoder::Spdy(session) => session.farewell(status),
        }
    }
}

#[cfg(test)]
mod tests;
