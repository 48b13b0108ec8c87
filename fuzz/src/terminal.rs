//! Terminal sessions that are recorded: WebSocket with Kubernetes' channels, and SPDY/3.1.

use kantaloupe_gateway::fuzzing::{Event, Output, Protocol, Terminal, Undecodable};

/// What was seen, joined.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    shown: [Vec<u8>; 2],
    sizes: Vec<(u16, u16)>,
    error: Option<Undecodable>,
}

/// The protocol, and what client and server send: the first byte picks the protocol, two more say how many of the rest are the client's, which
/// come first.
fn split(data: &[u8]) -> Option<(Protocol, &[u8], &[u8])> {
    let [protocol, high, low, rest @ ..] = data else {
        return None;
    };
    let protocol = if protocol & 1 == 0 {
        Protocol::WebSocket
    } else {
        Protocol::Spdy
    };
    let of_client = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
    let (client, server) = rest.split_at(of_client);
    Some((protocol, client, server))
}

/// Whatever the pieces in which they come, the same is seen, up to the same mistake.
pub fn run(data: &[u8]) {
    let Some((protocol, client, server)) = split(data) else {
        return;
    };
    let whole = read(protocol, client, server, usize::MAX);
    let shown: usize = whole.shown.iter().map(Vec::len).sum();
    assert!(shown <= server.len(), "more was shown than came");
    assert!(whole.sizes.len() <= client.len(), "more sizes than bytes");
    for piece in [1, 5] {
        assert_eq!(
            read(protocol, client, server, piece),
            whole,
            "in pieces of {piece}"
        );
    }
}

fn read(protocol: Protocol, client: &[u8], server: &[u8], piece: usize) -> Seen {
    let mut terminal = Terminal::new(protocol);
    let mut seen = Seen::default();
    let mut error = None;
    let mut take = |event: Event<'_>| match event {
        Event::Output { from, bytes } => {
            seen.shown[usize::from(from == Output::Err)].extend_from_slice(bytes);
        }
        Event::Resize { columns, rows } => seen.sizes.push((columns, rows)),
    };
    for piece in client.chunks(piece.min(client.len().max(1))) {
        if error.is_none() {
            error = terminal.client_sends(piece, &mut take).err();
        }
    }
    for piece in server.chunks(piece.min(server.len().max(1))) {
        if error.is_none() {
            error = terminal.server_sends(piece, &mut take).err();
        }
    }
    seen.error = error;
    seen
}

/// Whether all of an input can be read along.
pub fn is_sound(data: &[u8]) -> bool {
    split(data)
        .is_some_and(|(protocol, client, server)| read(protocol, client, server, usize::MAX).error.is_none())
}
