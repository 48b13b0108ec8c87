//! WebSocket frames on a carrier, from either end.

use std::{
    io::Cursor,
    task::{Context, Poll, Waker},
};

use kantaloupe_tunnel::{
    carrier::websocket,
    frame::{Frame, MAX_FRAME},
};

/// The first byte picks the end, the rest is what the other one sends. No message is longer than a frame of the link.
pub fn run(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else {
        return;
    };
    let io = tokio::io::join(Cursor::new(rest.to_vec()), tokio::io::sink());
    let mut carrier = if first & 1 == 0 {
        websocket::server(io)
    } else {
        websocket::client(io)
    };
    let mut cx = Context::from_waker(Waker::noop());
    let mut messages = 0;
    loop {
        assert!(messages <= rest.len(), "every message takes at least one byte");
        messages += 1;
        match carrier.poll_recv(&mut cx) {
            Poll::Ready(Ok(Some(message))) => {
                assert!(message.len() <= MAX_FRAME, "a message of {} bytes", message.len());
                let _refused = Frame::decode(message);
            }
            _ => return,
        }
    }
}
