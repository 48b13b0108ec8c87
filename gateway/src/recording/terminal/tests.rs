use proptest::prelude::*;

use super::*;

/// What spdystream itself wrote: settings, streams for errors, stdin, stdout and sizes, headers, sizes, typing, farewells.
const SPDY_CLIENT: &[u8] = include_bytes!("spdystream-client.bin");

/// What was seen, adjacent output together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Seen {
    out: Vec<u8>,
    err: Vec<u8>,
    sizes: Vec<(u16, u16)>,
}

impl Seen {
    fn take(&mut self, event: Event<'_>) {
        match event {
            Event::Output {
                from: Output::Out,
                bytes,
            } => self.out.extend_from_slice(bytes),
            Event::Output { bytes, .. } => self.err.extend_from_slice(bytes),
            Event::Resize { columns, rows } => self.sizes.push((columns, rows)),
        }
    }
}

fn client(terminal: &mut Terminal, bytes: &[u8], piece: usize, seen: &mut Seen) -> Result<(), Undecodable> {
    bytes
        .chunks(piece)
        .try_for_each(|piece| terminal.client_sends(piece, &mut |event| seen.take(event)))
}

fn server(terminal: &mut Terminal, bytes: &[u8], piece: usize, seen: &mut Seen) -> Result<(), Undecodable> {
    bytes
        .chunks(piece)
        .try_for_each(|piece| terminal.server_sends(piece, &mut |event| seen.take(event)))
}

/// A frame of WebSocket.
fn frame(first: u8, mask: Option<[u8; 4]>, payload: &[u8]) -> Vec<u8> {
    let bit = if mask.is_some() { 0x80 } else { 0 };
    let mut frame = vec![first];
    match payload.len() {
        len @ ..126 => frame.push(bit | u8::try_from(len).unwrap()),
        len @ ..65536 => {
            frame.push(bit | 0x7e);
            frame.extend_from_slice(&u16::try_from(len).unwrap().to_be_bytes());
        }
        len => {
            frame.push(bit | 0x7f);
            frame.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    let mask_bytes = mask.unwrap_or_default();
    frame.extend(mask.into_iter().flatten());
    frame.extend(
        payload
            .iter()
            .zip(mask_bytes.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    frame
}

/// A message in fragments that end at these places, with a ping between them.
fn message(mask: Option<[u8; 4]>, payload: &[u8], cuts: &[usize]) -> Vec<u8> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (payload.len() + 1)).collect();
    cuts.sort_unstable();
    cuts.push(payload.len());
    let (mut bytes, mut from) = (Vec::new(), 0);
    for (index, cut) in cuts.iter().enumerate() {
        let opcode = if index == 0 { 2 } else { 0 };
        let last = if index + 1 == cuts.len() { 0x80 } else { 0 };
        bytes.extend(frame(opcode | last, mask, &payload[from..*cut]));
        bytes.extend(frame(0x89, mask, b"ping"));
        from = *cut;
    }
    bytes
}

/// A data frame of SPDY.
fn data(stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = stream.to_be_bytes().to_vec();
    frame.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

proptest! {
    #[test]
    fn messages_are_seen_whatever_their_fragments_and_reads(
        messages in prop::collection::vec((0_u8..5, prop::collection::vec(any::<u8>(), 0..300), prop::collection::vec(any::<usize>(), 0..4)), 0..20),
        mask: [u8; 4],
        piece in 1_usize..400,
    ) {
        let (mut terminal, mut seen, mut expected) = (Terminal::new(Protocol::WebSocket), Seen::default(), Seen::default());
        for (channel, payload, cuts) in messages {
            let (of_server, payload) = match channel {
                0 => (false, payload),
                4 => {
                    let columns = u16::try_from(payload.len()).unwrap() + 1;
                    expected.sizes.push((columns, 7));
                    (false, format!("{{\"Width\":{columns},\"Height\":7}}\n").into_bytes())
                }
                1 => {
                    expected.out.extend_from_slice(&payload);
                    (true, payload)
                }
                2 => {
                    expected.err.extend_from_slice(&payload);
                    (true, payload)
                }
                _ => (true, payload),
            };
            let payload = [&[channel], &payload[..]].concat();
            if of_server {
                server(&mut terminal, &message(None, &payload, &cuts), piece, &mut seen).unwrap();
                let whole = terminal.farewell(b"x").is_some();
                prop_assert!(whole);
            } else {
                client(&mut terminal, &message(Some(mask), &payload, &cuts), piece, &mut seen).unwrap();
            }
        }
        prop_assert_eq!(seen, expected);
    }
}

#[test]
fn what_spdystream_sends_is_seen_in_pieces_of_any_size() {
    let mut expected = Seen {
        out: b"$ hello\r\n".to_vec(),
        sizes: vec![(77, 33), (120, 40)],
        ..Seen::default()
    };
    // Settings, an answer to a stream, a ping; errors are not shown.
    let mut answers = vec![0x80, 3, 0, 4, 0, 0, 0, 4, 0, 0, 0, 0];
    answers.extend([0x80, 3, 0, 2, 0, 0, 0, 6, 0, 0, 0, 1, 1, 2]);
    answers.extend([0x80, 3, 0, 6, 0, 0, 0, 4, 0, 0, 0, 1]);
    answers.extend(
        [
            data(5, b"$ hel"),
            data(5, b""),
            data(5, b"lo\r\n"),
            data(1, b"{}"),
            data(7, b""),
        ]
        .concat(),
    );
    for piece in [1, 2, 3, 7, 8, 64, 1000] {
        let (mut terminal, mut seen) = (Terminal::new(Protocol::Spdy), Seen::default());
        client(&mut terminal, SPDY_CLIENT, piece, &mut seen).unwrap();
        server(&mut terminal, &answers, piece, &mut seen).unwrap();
        assert_eq!(seen, expected, "pieces of {piece}");
        let farewell = terminal.farewell(b"bye").unwrap();
        assert_eq!(farewell, [0, 0, 0, 1, 1, 0, 0, 3, b'b', b'y', b'e']);
        server(&mut terminal, &answers[..5], piece, &mut seen).unwrap();
        assert_eq!(terminal.farewell(b"bye"), None, "in the middle of a frame");
    }
    // A terminal's stream that is not open yet, or that is not the server's.
    let mut early = Terminal::new(Protocol::Spdy);
    server(&mut early, &data(5, b"x"), 100, &mut expected).unwrap_err();
    let mut wrong = Terminal::new(Protocol::Spdy);
    client(&mut wrong, SPDY_CLIENT, 100, &mut expected).unwrap();
    server(&mut wrong, &data(3, b"x"), 100, &mut expected).unwrap_err();
}

/// Each of these could be read in another way by one of the ends, and hide something there.
#[test]
fn what_the_ends_of_kubernetes_do_not_send_ends_the_session() {
    let mask = Some([1, 2, 3, 4]);
    let refused = |of_client: bool, bytes: &[u8], what: &str| {
        let (mut terminal, mut seen) = (Terminal::new(Protocol::WebSocket), Seen::default());
        let fed = if of_client {
            client(&mut terminal, bytes, 1, &mut seen)
        } else {
            server(&mut terminal, bytes, 1, &mut seen)
        };
        assert!(fed.is_err(), "{what}");
        assert!(seen.out.is_empty(), "{what}");
    };
    refused(true, &frame(0x82, None, b"\x00a"), "a client without mask");
    refused(false, &frame(0x82, mask, b"\x01a"), "a server with one");
    refused(false, &frame(0xc2, None, b"\x01a"), "compressed");
    refused(false, &frame(0x83, None, b"\x01a"), "an unknown opcode");
    refused(false, &frame(0x80, None, b"\x01a"), "nothing to continue");
    refused(
        false,
        &[frame(0x02, None, b"\x03"), frame(0x82, None, b"\x01a")].concat(),
        "within a message",
    );
    refused(false, &frame(0x09, None, b""), "a ping in pieces");
    refused(false, &frame(0x89, None, &[0; 126]), "a long ping");
    refused(
        false,
        &[0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 1],
        "an impossible length",
    );
    refused(false, &frame(0x82, None, b"\x05a"), "an unknown channel");
    refused(false, &frame(0x82, None, b"\x00a"), "the client's channel");
    refused(true, &frame(0x82, mask, b"\x01a"), "the server's channel");
    // The longest possible is not collected.
    let (mut terminal, mut seen) = (Terminal::new(Protocol::WebSocket), Seen::default());
    let longest = [0x82, 127, 0x7f, 255, 255, 255, 255, 255, 255, 255, 1, b'a', b'b'];
    server(&mut terminal, &longest, 1, &mut seen).unwrap();
    assert_eq!((seen.out, terminal.farewell(b"x")), (b"ab".to_vec(), None));

    let control = |kind: u8, payload: &[u8]| {
        let mut frame = vec![0x80, 3, 0, kind];
        frame.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_be_bytes());
        frame.extend_from_slice(payload);
        frame
    };
    let opened = SPDY_CLIENT
        .windows(2)
        .position(|pair| pair == [0x78, 0xf9])
        .unwrap();
    let block = &SPDY_CLIENT[opened..opened + 40];
    let syn = |id: [u8; 4], block: &[u8]| control(1, &[&id[..], &[0; 6], block].concat());
    for (bytes, what) in [
        (control(6, &[0; 12]), "a ping that hides a frame"),
        (control(3, &[0; 16]), "a reset that hides one"),
        (control(9, &[0; 4]), "a window without its change"),
        (control(4, &[0; 5]), "settings of no form"),
        (control(10, &[0; 8]), "an unknown frame"),
        (
            [&[0x80, 2], &control(6, &[0; 4])[2..]].concat(),
            "another version",
        ),
        (syn([0, 0, 0, 2], block), "a server's number"),
        (syn([0x80, 0, 0, 1], block), "a number with the reserved bit"),
        (
            [syn([0, 0, 0, 1], block), syn([0, 0, 0, 3], &block[6..])].concat(),
            "the same stream twice",
        ),
        (syn([0, 0, 0, 1], &block[..30]), "headers that break off"),
        (syn([0, 0, 0, 1], &[0x78, 0x9c, 3, 0]), "no dictionary"),
        (
            syn([0, 0, 0, 1], &[&block[..6], &[0xff; 40]].concat()),
            "what is not compressed",
        ),
        (syn([0, 0, 0, 1], &vec![0; 17 << 10]), "endless headers"),
        (control(1, &[0; 3]), "no stream"),
        (data(1, b"x"), "a stream that is not open"),
    ] {
        let (mut terminal, mut seen) = (Terminal::new(Protocol::Spdy), Seen::default());
        assert!(client(&mut terminal, &bytes, 3, &mut seen).is_err(), "{what}");
    }
    let mut terminal = Terminal::new(Protocol::Spdy);
    client(
        &mut terminal,
        &syn([0, 0, 0, 1], block),
        1000,
        &mut Seen::default(),
    )
    .unwrap();
    for bytes in [
        syn([0, 0, 0, 2], block),
        data(1 << 30, b"x"),
        control(8, &vec![0; 17 << 10]),
    ] {
        let mut terminal = Terminal::new(Protocol::Spdy);
        server(&mut terminal, &bytes, 5, &mut Seen::default()).unwrap_err();
    }
}

/// Headers that decompress to a thousand times their length.
#[test]
fn a_bomb_of_headers_is_noticed() {
    let zeros = miniz_oxide::deflate::compress_to_vec(&vec![0; 1 << 20], 9);
    let block = [&[0x78, 0xf9, 0xe3, 0xc6, 0xa7, 0xc2], &zeros[..]].concat();
    assert!(block.len() < 8 << 10, "{}", block.len());
    let mut bytes = vec![0x80, 3, 0, 1];
    bytes.extend_from_slice(&u32::try_from(block.len() + 10).unwrap().to_be_bytes());
    bytes.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    bytes.extend_from_slice(&block);
    let error = client(
        &mut Terminal::new(Protocol::Spdy),
        &bytes,
        512,
        &mut Seen::default(),
    )
    .unwrap_err();
    assert!(error.to_string().contains("too long"), "{error}");
}

#[test]
fn sizes_may_come_in_pieces_and_nonsense_ends_them() {
    let (mut terminal, mut seen) = (Terminal::new(Protocol::WebSocket), Seen::default());
    let mut say = |text: &[u8], seen: &mut Seen| {
        let bytes = frame(0x82, Some([9; 4]), &[b"\x04", text].concat());
        client(&mut terminal, &bytes, 100, seen).unwrap();
    };
    say(b"{\"Width\":1", &mut seen);
    say(
        b"00,\"Height\":20}{\"width\":1,\"height\":2}\n{\"Width\":0,\"Height\":0}",
        &mut seen,
    );
    assert_eq!(seen.sizes, [(100, 20), (1, 2)]);
    say(b"{\"Width\":70000,\"Height\":1}", &mut seen);
    say(b"{\"Width\":5,\"Height\":5}", &mut seen);
    assert_eq!(seen.sizes.len(), 2, "the server reads no further either");
}
