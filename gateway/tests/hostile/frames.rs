//! Frames of HTTP/2 and of links that no agent would send.

use bytes::Bytes;
use kantaloupe_proto::assertion::SessionKind;
use kantaloupe_tunnel::frame::Frame;

use super::{
    siege::Siege,
    wire::{
        CONTINUATION, DATA, END_HEADERS, GOAWAY, HEADERS, PING, PUSH_PROMISE, RST_STREAM, SETTINGS, Server,
        WINDOW_UPDATE, carrier, frame, is_cut, literal, put, take,
    },
};

/// Frames of one flood.
const FLOOD: usize = 50_000;

#[tokio::test]
async fn h26_to_h29_frames_on_streams_that_are_not_open() {
    let siege = Siege::start().await;
    let ok = [0x88];
    // h26: streams that the gateway never opened, odd and even; h27: pushes; h28: windows beyond any.
    let largest = 0x7fff_ffff_u32.to_be_bytes();
    let mut promise = 2_u32.to_be_bytes().to_vec();
    promise.extend([0x82, 0x86, 0x84]);
    for (what, bytes) in [
        ("h26: an answer on stream 2", frame(HEADERS, END_HEADERS, 2, &ok)),
        (
            "h26: an answer on stream 1001",
            frame(HEADERS, END_HEADERS, 1001, &ok),
        ),
        ("h26: data on stream 999", frame(DATA, 0, 999, b"x")),
        (
            "h26: a reset of stream 77",
            frame(RST_STREAM, 0, 77, &0_u32.to_be_bytes()),
        ),
        ("h26: headers on stream 0", frame(HEADERS, END_HEADERS, 0, &ok)),
        ("h26: data on stream 0", frame(DATA, 0, 0, b"x")),
        ("h27: a push", frame(PUSH_PROMISE, END_HEADERS, 1, &promise)),
        (
            "h28: a window beyond any",
            [
                frame(WINDOW_UPDATE, 0, 0, &largest),
                frame(WINDOW_UPDATE, 0, 0, &largest),
            ]
            .concat(),
        ),
        (
            "h28: a window of nothing",
            frame(WINDOW_UPDATE, 0, 0, &0_u32.to_be_bytes()),
        ),
        (
            "h28: an initial window beyond any",
            frame(SETTINGS, 0, 0, &[0, 4, 0xff, 0xff, 0xff, 0xff]),
        ),
        (
            "h28: frames of 4 bytes",
            frame(SETTINGS, 0, 0, &[0, 5, 0, 0, 0, 4]),
        ),
        (
            "h29: a frame of 16 MiB",
            frame(DATA, 0, 1, &[0; 200])[..9]
                .iter()
                .copied()
                .enumerate()
                .map(|(i, b)| if i < 3 { 0xff } else { b })
                .chain([0; 1000])
                .collect(),
        ),
        ("h29: settings of 5 bytes", frame(SETTINGS, 0, 0, &[0; 5])),
        ("h29: a ping of 7 bytes", frame(PING, 0, 0, &[0; 7])),
        (
            "h29: no frames at all",
            b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".repeat(10),
        ),
    ] {
        let mut server = Server::control(&siege.evil).await;
        server.request().await;
        server.say(&bytes).await;
        assert!(server.ends().await, "{what}: the session goes on");
        siege.holds(what).await;
    }
    // Of these nothing is wrong with the session: they are nothing.
    let mut server = Server::control(&siege.evil).await;
    server.request().await;
    server.flood(&frame(0x42, 0xff, 0, &[1; 64]), 1000).await;
    siege.holds("h29: unknown frames").await;
}

#[tokio::test]
async fn h30_to_h33_floods_of_frames() {
    let siege = Siege::start().await;
    let interim = [literal(":status", "103"), literal("link", "</x>; rel=preload")].concat();
    let endless = literal("x-endless", &"y".repeat(100));
    // A table of 4 KiB that is filled with one entry, and then named again and again: 60 bytes become megabytes.
    let mut bomb = vec![0x88, 0x40, 1, b'x', 127, 0xa0, 0x1e];
    bomb.extend(vec![b'z'; 127 + 0x20 + (0x1e << 7)]);
    bomb.extend(vec![0xbe; 12_000]);
    for (what, first, flood) in [
        ("h30: settings", vec![], frame(SETTINGS, 0, 0, &[])),
        ("h30: pings", vec![], frame(PING, 0, 0, &[0; 8])),
        (
            "h30: resets",
            vec![],
            frame(RST_STREAM, 0, 1, &8_u32.to_be_bytes()),
        ),
        (
            "h30: windows",
            vec![],
            frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes()),
        ),
        (
            "h30: empty data",
            frame(HEADERS, END_HEADERS, 1, &[0x88]),
            frame(DATA, 0, 1, &[]),
        ),
        (
            "h30: goodbyes",
            vec![],
            frame(GOAWAY, 0, 0, &[0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0]),
        ),
        (
            "h31: interim answers",
            vec![],
            frame(HEADERS, END_HEADERS, 1, &interim),
        ),
        (
            "h32: headers without an end",
            frame(HEADERS, 0, 1, &[0x88]),
            frame(CONTINUATION, 0, 1, &endless),
        ),
        (
            "h32: a table that grows",
            vec![],
            frame(HEADERS, END_HEADERS, 1, &bomb),
        ),
        (
            "h33: trailers after trailers",
            frame(HEADERS, END_HEADERS, 1, &[0x88]),
            frame(HEADERS, END_HEADERS | 1, 1, &literal("x", "y")),
        ),
    ] {
        let mut server = Server::control(&siege.evil).await;
        server.request().await;
        server.say(&first).await;
        let ((), ()) = tokio::join!(server.flood(&flood, FLOOD), siege.holds(what));
        siege.holds(what).await;
    }
}

#[tokio::test]
async fn h34_to_h37_frames_of_links() {
    let siege = Siege::start().await;
    let data = |offset: u64| Frame::Data {
        offset,
        payload: Bytes::from_static(b"x"),
    };
    // h34: first frames that start nothing.
    for (what, first) in [
        ("a window of 0", Frame::New(0).encode()),
        ("a window beyond any", Frame::New(u64::MAX).encode()),
        ("data", data(0).encode()),
        ("an answer", Frame::Resumed(0).encode()),
        ("nothing", Bytes::new()),
        (
            "an unknown type",
            Bytes::from_static(&[0x7f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        ),
        ("half a header", Bytes::from_static(&[1, 0])),
        (
            "a length that lies",
            Bytes::from_static(&[1, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
        ),
    ] {
        let mut carrier = carrier(&siege.evil, "t-1", SessionKind::Control).await;
        put(&mut carrier, first).await.unwrap();
        assert!(is_cut(&mut carrier).await, "h34: {what}");
    }
    siege.holds("h34: first frames that start nothing").await;
    // h35: frames that break the rules of a link.
    for (what, bad) in [
        ("a gap", data(1000)),
        ("an offset beyond any", data(u64::MAX)),
        ("an acknowledgement of what was never sent", Frame::Ack(u64::MAX)),
        ("a second start", Frame::New(1 << 20)),
        ("an end in the future", Frame::Fin(1 << 40)),
        ("an end at the end of numbers", Frame::Fin(u64::MAX)),
    ] {
        let mut carrier = carrier(&siege.evil, "t-2", SessionKind::Control).await;
        put(&mut carrier, Frame::New(1 << 20).encode()).await.unwrap();
        assert!(matches!(take(&mut carrier).await, Some(Frame::Created { .. })));
        put(&mut carrier, bad.encode()).await.unwrap();
        assert!(is_cut(&mut carrier).await, "h35: {what}");
    }
    siege.holds("h35: frames that break the rules").await;
    // h36: carriers that are opened and stay silent.
    let mut silent = vec![];
    for n in 0..100 {
        silent.push(carrier(&siege.evil, &format!("t-{n}"), SessionKind::Control).await);
    }
    siege.holds("h36: 100 silent carriers").await;
    for mut carrier in silent {
        assert!(is_cut(&mut carrier).await, "h36: a silent carrier is kept");
    }
    // h37: pings without end, by one who never reads the answers.
    let mut pings = carrier(&siege.evil, "t-3", SessionKind::Control).await;
    put(&mut pings, Frame::New(1 << 20).encode()).await.unwrap();
    for n in 0..FLOOD as u64 {
        if put(&mut pings, Frame::Ping(n).encode()).await.is_err() {
            break;
        }
    }
    siege.holds("h37: pings whose answers nobody reads").await;
}
