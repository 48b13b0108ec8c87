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
