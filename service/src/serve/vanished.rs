//! Clients that vanish: they close nothing, and answer nothing any more.

use std::io;
#[cfg(target_os = "linux")]
use std::time::Duration;

use tokio::net::TcpStream;

/// Longest time in which a client acknowledges nothing of what it was sent, or makes no room for more. A stream sends something every 15
/// seconds, so one whose client has vanished ends within a minute. Otherwise it would keep its place for as long as the system sends
/// again, some 15 minutes.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED_TIMEOUT: Duration = Duration::from_secs(45);

/// Lets the system end the connection of a client that has vanished.
#[cfg(target_os = "linux")]
pub(super) fn bound(stream: &TcpStream) -> io::Result<()> {
    let milliseconds = u32::try_from(UNACKNOWLEDGED_TIMEOUT.as_millis()).unwrap_or(u32::MAX);
    rustix::net::sockopt::set_tcp_user_timeout(stream, milliseconds)?;
    Ok(())
}

/// Other systems have a bound of their own.
#[cfg(not(target_os = "linux"))]
pub(super) fn bound(_: &TcpStream) -> io::Result<()> {
    Ok(())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn the_system_has_the_bound() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (_client, (stream, _)) = (client.unwrap(), accepted.unwrap());
        bound(&stream).unwrap();
        assert_eq!(rustix::net::sockopt::tcp_user_timeout(&stream).unwrap(), 45_000);
    }
}
