use std::future::poll_fn;

use futures::{SinkExt, StreamExt};
use proptest::prelude::*;
use tokio::io::{AsyncWriteExt, DuplexStream, duplex};
use tokio_tungstenite::{WebSocketStream, tungstenite::Message};

use super::*;
use crate::carrier::{self, BoxCarrier, websocket};

fn bytes(n: usize) -> Bytes {
    (0..n).map(|i| u8::try_from(i % 251).unwrap()).collect()
}

/// Lengths at the edges of the header's three length formats and of our reads.
const LENGTHS: [usize; 9] = [1, 125, 126, 241, 256, 65_535, 65_536, 20_000, MAX_FRAME];

async fn library(io: DuplexStream, role: Role) -> WebSocketStream<DuplexStream> {
    WebSocketStream::from_raw_socket(io, role, None).await
}

/// Against the library that everybody uses, both ways and in both roles.
#[tokio::test]
async fn speaks_with_tungstenite() {
    for ours in [Role::Client, Role::Server] {
        let (a, b) = duplex(1000);
        let mut carrier: BoxCarrier = Box::new(Messages::new(a, ours));
        let theirs = if ours == Role::Client {
            Role::Server
        } else {
            Role::Client
        };
        let mut peer = library(b, theirs).await;
        for n in LENGTHS {
            let (sent, got) = tokio::join!(carrier::send(&mut carrier, bytes(n)), peer.next());
            sent.unwrap();
            assert_eq!(
                got.unwrap().unwrap(),
                Message::Binary(bytes(n)),
                "{ours:?} sends {n}"
            );
            let (sent, got) = tokio::join!(peer.send(Message::Binary(bytes(n))), carrier::recv(&mut carrier));
            sent.unwrap();
            assert_eq!(got.unwrap(), bytes(n), "{ours:?} receives {n}");
        }
        // A ping is answered, and what follows still arrives.
        peer.send(Message::Ping(bytes(5))).await.unwrap();
        peer.send(Message::Binary(bytes(9))).await.unwrap();
        assert_eq!(carrier::recv(&mut carrier).await.unwrap(), bytes(9));
        assert_eq!(peer.next().await.unwrap().unwrap(), Message::Pong(bytes(5)));
        let _ = peer.close(None).await;
        assert_eq!(poll_fn(|cx| carrier.poll_recv(cx)).await.unwrap(), None);
    }
}

#[tokio::test]
async fn fragments_with_a_ping_between_them_are_one_message() {
    let (a, mut b) = duplex(1 << 20);
    let mut carrier = websocket::client(a);
    b.write_all(&[0x02, 2, 1, 2]).await.unwrap(); // binary, not final
    b.write_all(&[0x89, 1, 9]).await.unwrap(); // ping
    b.write_all(&[0x00, 1, 3]).await.unwrap(); // continuation
    b.write_all(&[0x80, 1, 4]).await.unwrap(); // final
    assert_eq!(carrier::recv(&mut carrier).await.unwrap(), &[1, 2, 3, 4][..]);
}

#[tokio::test]
async fn what_the_protocol_forbids_is_refused() {
    let long = u64::try_from(MAX_FRAME + 1).unwrap().to_be_bytes();
    let cases: [(&str, Vec<u8>); 9] = [
        ("masked for a client", vec![0x82, 0x81, 0, 0, 0, 0, 1]),
        ("text", vec![0x81, 1, b'x']),
        ("reserved bit", vec![0xc2, 1, 1]),
        ("reserved opcode", vec![0x83, 1, 1]),
        ("continuation of nothing", vec![0x80, 1, 1]),
        ("fragmented control", vec![0x09, 1, 1]),
        ("long control", [vec![0x89, 126, 0, 200], vec![0; 200]].concat()),
        ("oversize", [vec![0x82, 127], long.to_vec()].concat()),
        ("second message inside one", vec![0x02, 1, 1, 0x82, 1, 1]),
    ];
    for (name, wire) in cases {
        let (a, mut b) = duplex(4096);
        let mut carrier = websocket::client(a);
        b.write_all(&wire).await.unwrap();
        assert!(carrier::recv(&mut carrier).await.is_err(), "{name}");
    }
    let (a, mut b) = duplex(4096);
    let mut carrier = websocket::server(a);
    b.write_all(&[0x82, 1, 1]).await.unwrap();
    assert!(
        carrier::recv(&mut carrier).await.is_err(),
        "unmasked for a server"
    );
    drop(b);
    assert!(carrier::recv(&mut carrier).await.is_err(), "end without close");
}

/// Fragments count together, so that a limit per frame is no way around it.
#[tokio::test]
async fn fragments_together_keep_to_the_limit() {
    let (a, mut b) = duplex(1 << 20);
    let mut carrier = websocket::client(a);
    let part = [vec![0x02, 126, 0xff, 0xff], vec![0; 65_535]].concat();
    let rest = [vec![0x00, 126, 0xff, 0xff], vec![0; 65_535]].concat();
    b.write_all(&part).await.unwrap();
    b.write_all(&rest).await.unwrap();
    assert!(carrier::recv(&mut carrier).await.is_err());
}

#[tokio::test]
async fn pings_of_a_peer_that_does_not_read_pile_up_no_further() {
    let (a, mut b) = duplex(64);
    let mut carrier = Messages::new(a, Role::Client);
    let flood = async {
        for _ in 0..1000 {
            b.write_all(&[0x89, 125]).await.unwrap();
            b.write_all(&[7; 125]).await.unwrap();
        }
        b.write_all(&[0x82, 1, 1]).await.unwrap();
    };
    let (message, ()) = tokio::join!(poll_fn(|cx| carrier.poll_recv(cx)), flood);
    assert_eq!(message.unwrap().unwrap(), &[1][..]);
    assert!(carrier.queued <= MAX_PONGS * (MAX_HEADER + 125));
}

proptest! {
    #[test]
    fn masking_twice_changes_nothing(data in proptest::collection::vec(any::<u8>(), 0..300), key in any::<[u8; 4]>()) {
        let mut masked = data.clone();
        mask(&mut masked, key);
        for (i, byte) in data.iter().enumerate() {
            prop_assert_eq!(masked[i], byte ^ key[i % 4]);
        }
        mask(&mut masked, key);
        prop_assert_eq!(masked, data);
    }

    #[test]
    fn any_bytes_are_read_without_panic(data in proptest::collection::vec(any::<u8>(), 0..400), server in any::<bool>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (a, mut b) = duplex(1 << 16);
            b.write_all(&data).await.unwrap();
            drop(b);
            let mut carrier = if server { websocket::server(a) } else { websocket::client(a) };
            while carrier::recv(&mut carrier).await.is_ok() {}
        });
    }
}
