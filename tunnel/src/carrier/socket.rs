//! Options of the TCP connection under a carrier.

use std::{io, time::Duration};

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

/// Bytes that the kernel holds unsent. What waits there cannot be overtaken: 16 KiB are 1.3 ms at 100 Mbit/s.
const NOTSENT_LOWAT: u32 = 16 << 10;
/// The kernel gives up unacknowledged data after this; the link's own timers are shorter, this ends what they miss.
const USER_TIMEOUT: Duration = Duration::from_secs(30);
/// Silence before the kernel probes; keeps connection tracking of NATs alive beside the link's pings.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// Ciphertext that the TLS library may hold; to be set on every carrier's TLS connection. Its default of 64 KiB is
/// another queue that nothing can overtake.
pub const TLS_BUFFER: usize = 32 << 10;

/// Sets what every carrier wants of its socket: no Nagle delay, a short unsent queue, and timeouts.
pub fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE))?;
    #[cfg(target_os = "linux")]
    {
        socket.set_tcp_notsent_lowat(NOTSENT_LOWAT)?;
        socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    }
    Ok(())
}
