//! The addresses of the two APIs and of the operator's ports.

use std::net::{Ipv4Addr, SocketAddr};

use clap::Args;

/// The address of the read API by default.
pub const DEFAULT_READ_ADDR: SocketAddr = SocketAddr::new(LOCALHOST, 3000);
/// The address of the write API by default.
pub const DEFAULT_WRITE_ADDR: SocketAddr = SocketAddr::new(LOCALHOST, 8080);
const DEFAULT_OPERATOR_ADDR: SocketAddr = SocketAddr::new(LOCALHOST, 8070);
/// On one machine command-api runs beside query-api, which has the one above, and projectors, which have those between.
const DEFAULT_COMMAND_OPERATOR_ADDR: SocketAddr = SocketAddr::new(LOCALHOST, 8074);
const LOCALHOST: std::net::IpAddr = std::net::IpAddr::V4(Ipv4Addr::LOCALHOST);

/// The address of the write API.
#[derive(Debug, Clone, Args)]
pub struct WriteAddr {
    /// Address and port of the write API; a port alone is one of 127.0.0.1
    #[arg(long, env = "TALLY_WRITE_ADDR", value_name = "ADDRESS:PORT", default_value_t = DEFAULT_WRITE_ADDR,
        value_parser = parse_address)]
    pub write_addr: SocketAddr,
}

/// The address of the read API.
#[derive(Debug, Clone, Args)]
pub struct ReadAddr {
    /// Address and port of the read API; a port alone is one of 127.0.0.1
    #[arg(long, env = "TALLY_READ_ADDR", value_name = "ADDRESS:PORT", default_value_t = DEFAULT_READ_ADDR,
        value_parser = parse_address)]
    pub read_addr: SocketAddr,
}

/// The address of the operator's port.
#[derive(Debug, Clone, Args)]
pub struct OperatorAddr {
    /// Address and port of metrics and of the health of all parts, and for the commands of tally, such as a rebuild, which need
    /// the key in the data directory's lock file
    #[arg(long, env = "TALLY_OPERATOR_ADDR", value_name = "ADDRESS:PORT", default_value_t = DEFAULT_OPERATOR_ADDR,
        value_parser = parse_address)]
    pub operator_addr: SocketAddr,
}

/// The address of command-api's operator's port.
#[derive(Debug, Clone, Args)]
pub struct CommandOperatorAddr {
    /// Address and port of metrics and of the health of all parts
    #[arg(long, env = "TALLY_OPERATOR_ADDR", value_name = "ADDRESS:PORT", default_value_t = DEFAULT_COMMAND_OPERATOR_ADDR,
        value_parser = parse_address)]
    pub operator_addr: SocketAddr,
}

/// Why a text is no address to listen on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "write an IP address and a port, such as 127.0.0.1:8080 for this machine alone, 0.0.0.0:8080 for all networks, or \
     [::1]:8080; localhost:8080, :8080 and 8080 mean 127.0.0.1:8080"
)]
pub struct MalformedAddress;

/// Parses an address to listen on. Without an address, or with the name localhost, it is 127.0.0.1: nobody opens a port to
/// other machines by leaving something out.
pub fn parse_address(text: &str) -> Result<SocketAddr, MalformedAddress> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
    let is_port = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    if !is_port || !(host.is_empty() || host.eq_ignore_ascii_case("localhost")) {
        return Err(MalformedAddress);
    }
    Ok(SocketAddr::new(LOCALHOST, port.parse().map_err(|_| MalformedAddress)?))
}

/// Whether two addresses cannot both be listened on: they have the same port, and one is a part of the other.
pub fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let is_same_ip = one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
    // Port 0 is any free port.
    one.port() == other.port() && one.port() != 0 && is_same_ip
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_accepted_as_people_write_them() {
        for (text, address) in [
            ("127.0.0.1:8080", "127.0.0.1:8080"),
            ("0.0.0.0:80", "0.0.0.0:80"),
            ("[::1]:8080", "[::1]:8080"),
            ("localhost:8080", "127.0.0.1:8080"),
            ("LocalHost:8080", "127.0.0.1:8080"),
            (":8080", "127.0.0.1:8080"),
            ("8080", "127.0.0.1:8080"),
            ("0", "127.0.0.1:0"),
        ] {
            assert_eq!(parse_address(text).map(|address| address.to_string()).as_deref(), Ok(address), "{text}");
        }
        for text in [
            "",
            ":",
            "localhost",
            "localhost:",
            "127.0.0.1",
            "::1",
            "a.example:80",
            "99999",
            "+80",
            "http://localhost:80",
        ] {
            assert_eq!(parse_address(text), Err(MalformedAddress), "{text}");
        }
    }

    #[test]
    fn addresses_collide_on_one_port_of_one_machine() {
        let collide = |one: &str, other: &str| collide(one.parse().unwrap(), other.parse().unwrap());
        assert!(collide("127.0.0.1:8080", "127.0.0.1:8080"));
        assert!(collide("0.0.0.0:8080", "127.0.0.1:8080"));
        assert!(collide("[::1]:8080", "[::]:8080"));
        assert!(!collide("127.0.0.1:8080", "127.0.0.1:8081"));
        assert!(!collide("127.0.0.1:8080", "127.0.0.2:8080"));
        assert!(!collide("127.0.0.1:0", "127.0.0.1:0"));
    }
}
