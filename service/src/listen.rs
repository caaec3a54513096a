//! Listening on an address.

use std::io::ErrorKind;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket};

/// Connections that the system keeps until they are accepted.
const BACKLOG: u32 = 1_024;
/// How many bytes of answers the system keeps for a connection. By default it would keep several MiB for a client that reads
/// slowly, or not at all.
const SEND_BUFFER_BYTES: u32 = 256 * 1024;

#[derive(Debug, thiserror::Error)]
#[error("{address} {reason} choose another address with {flag}")]
pub struct BindError {
    address: SocketAddr,
    flag: &'static str,
    reason: &'static str,
    #[source]
    source: std::io::Error,
}

/// Listens on `address`. An error names `flag` as the way to choose another one.
pub async fn bind(address: SocketAddr, flag: &'static str) -> Result<TcpListener, BindError> {
    listen(address).map_err(|source| {
        let reason = match source.kind() {
            ErrorKind::AddrInUse => "is in use by another process: stop that process or",
            ErrorKind::PermissionDenied => "may not be listened on by this user:",
            ErrorKind::AddrNotAvailable => "is no address of this machine:",
            _ => "cannot be listened on:",
        };
        BindError { address, flag, reason, source }
    })
}

/// Connections inherit the settings of the socket.
fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Elsewhere than on Unix this would let another program take the port.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_error_for_a_port_in_use_says_what_to_do() {
        let first = bind(([127, 0, 0, 1], 0).into(), "--write-addr").await.unwrap();
        let address = first.local_addr().unwrap();
        let error = bind(address, "--write-addr").await.unwrap_err();
        let expected = format!(
            "{address} is in use by another process: stop that process or choose another address with --write-addr"
        );
        assert_eq!(error.to_string(), expected);
    }
}
