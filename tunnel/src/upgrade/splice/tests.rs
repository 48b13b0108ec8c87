use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, duplex},
    net::{TcpListener, TcpStream},
    time::{Instant, timeout},
};

use super::*;

const MIB: usize = 1 << 20;

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (near, listener.accept().await.unwrap().0)
}

#[tokio::test]
async fn both_directions_end_on_their_own() {
    let ((mut user, a), (b, mut server)) = (duplex(1000), duplex(1000));
    let joined = tokio::spawn(splice(a, b));
    user.write_all(b"question").await.unwrap();
    user.shutdown().await.unwrap();
    let mut got = vec![];
    server.read_to_end(&mut got).await.unwrap();
    assert_eq!(got, b"question");
    server.write_all(b"the answer").await.unwrap();
    drop(server);
    got.clear();
    user.read_to_end(&mut got).await.unwrap();
    assert_eq!(got, b"the answer");
    assert_eq!(joined.await.unwrap().unwrap(), (8, 10));
}

/// A server that closes while the user still sends: everything that the server had sent arrives.
#[tokio::test]
async fn a_receiver_that_is_gone_does_not_cost_the_other_direction_its_rest() {
    for _ in 0..20 {
        let ((mut user, a), (b, mut server)) = (pair().await, duplex(4 * MIB));
        server.write_all(&vec![7; 4 * MIB]).await.unwrap();
        drop(server);
        let joined = tokio::spawn(splice(a, b));
        user.write_all(b"a ping").await.unwrap();
        let (mut got, mut buffer) = (0, vec![0; 64 << 10]);
        loop {
            let n = user.read(&mut buffer).await.unwrap();
            if n == 0 {
                break;
            }
            got += n;
            // Nobody takes it any more, which has to stay without consequence.
            if got > 2 * MIB {
                let _ = user.write_all(b"another ping").await;
            }
        }
        assert_eq!(got, 4 * MIB);
        drop(user);
        let ended = timeout(LINGER / 2, joined).await.expect("the user is gone too");
        ended.unwrap().unwrap_err();
    }
}

#[tokio::test]
async fn an_end_that_breaks_ends_the_other() {
    let ((user, a), (b, mut server)) = (pair().await, pair().await);
    let joined = tokio::spawn(splice(a, b));
    user.set_zero_linger().unwrap();
    drop(user);
    assert_eq!(server.read(&mut [0; 8]).await.unwrap(), 0);
    joined.await.unwrap().unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn who_does_not_see_that_the_other_end_is_gone_is_waited_for_briefly() {
    let ((mut user, a), (b, server)) = (duplex(1000), duplex(1000));
    let joined = tokio::spawn(splice(a, b));
    drop(server);
    let start = Instant::now();
    user.write_all(b"to nobody").await.unwrap();
    joined.await.unwrap().unwrap_err();
    assert!(start.elapsed() >= LINGER && start.elapsed() < LINGER * 2);
}

const PING: [u8; 8] = [0x89, 0x82, 1, 2, 3, 4, b'h' ^ 1, b'i' ^ 2];
const PONG: [u8; 4] = [0x8a, 2, b'h', b'i'];

/// Frames as a server sends them, of more than a kilobyte each.
fn output(bytes: usize) -> Vec<u8> {
    let payload = [7; 1020];
    let frame = [&[0x82, 126, 3, 252][..], &payload].concat();
    frame.repeat(bytes / frame.len())
}

/// What is left of frames without pongs, and how many pongs there were.
fn without_pongs(mut frames: &[u8]) -> (Vec<u8>, usize) {
    let (mut rest, mut pongs) = (vec![], 0);
    while !frames.is_empty() {
        if let Some(later) = frames.strip_prefix(&PONG) {
            (frames, pongs) = (later, pongs + 1);
            continue;
        }
        let (frame, later) = frames.split_at(1024.min(frames.len()));
        rest.extend(frame);
        frames = later;
    }
    (rest, pongs)
}

/// A server that closes while pings wait at it unread: its kernel would make a reset of that.
#[tokio::test]
async fn a_ping_that_meets_waiting_output_does_not_cost_the_end_of_it() {
    for _ in 0..5 {
        let ((mut user, a), (b, mut server)) = (duplex(64 << 10), pair().await);
        let joined = tokio::spawn(splice_answering_pings(a, b, Some(Framing::WebSocket)));
        // What the kernel takes though nobody reads, and more than it sends.
        let sent = output(MIB);
        timeout(LINGER / 2, server.write_all(&sent))
            .await
            .unwrap()
            .unwrap();
        for ping in [&[], &PING[..3], &PING[3..], &PING] {
            user.write_all(ping).await.unwrap();
            sleep(Duration::from_millis(50)).await;
        }
        drop(server);
        let mut got = vec![];
        timeout(LINGER / 2, user.read_to_end(&mut got))
            .await
            .unwrap()
            .unwrap();
        let (got, pongs) = without_pongs(&got);
        assert!(got == sent, "{} of {} bytes", got.len(), sent.len());
        assert_eq!(pongs, 1, "the last ping is answered");
        drop(user);
        timeout(LINGER / 2, joined).await.unwrap().unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_ping_that_meets_no_output_goes_to_the_server() {
    let ((mut user, a), (b, mut server)) = (duplex(64 << 10), pair().await);
    let joined = tokio::spawn(splice_answering_pings(a, b, Some(Framing::WebSocket)));
    for part in [&PING[..1], &PING[1..]] {
        user.write_all(part).await.unwrap();
        sleep(Duration::from_millis(20)).await;
    }
    let mut got = [0; PING.len()];
    server.read_exact(&mut got).await.unwrap();
    assert_eq!(got, PING);
    server.write_all(&PONG).await.unwrap();
    let mut got = [0; PONG.len()];
    user.read_exact(&mut got).await.unwrap();
    assert_eq!(got, PONG);
    // Half a frame at the end is passed on as well.
    server.write_all(&[0x82]).await.unwrap();
    drop(server);
    let mut got = vec![];
    user.read_to_end(&mut got).await.unwrap();
    assert_eq!(got, [0x82]);
    drop(user);
    joined.await.unwrap().unwrap();
}
