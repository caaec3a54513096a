//! The addresses of the two APIs.

use std::net::SocketAddr;

use clap::Args;

/// The address of the write API.
#[derive(Debug, Clone, Args)]
pub struct WriteAddr {
    /// Address and port of the write API
    #[arg(long, env = "TALLY_WRITE_ADDR", value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080")]
    pub write_addr: SocketAddr,
}

/// The address of the read API.
#[derive(Debug, Clone, Args)]
pub struct ReadAddr {
    /// Address and port of the read API
    #[arg(long, env = "TALLY_READ_ADDR", value_name = "ADDRESS:PORT", default_value = "127.0.0.1:3000")]
    pub read_addr: SocketAddr,
}
