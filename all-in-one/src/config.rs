//! The parts of the command line that several commands share.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use service::config::{Connections, Cors, LogArgs, PublicReadUrl, ReadAddr, WriteAddr, collide};

/// The data directory.
#[derive(Debug, Clone, Args)]
pub struct DataArgs {
    /// Directory of the event log and everything made from it; created if it is missing
    #[arg(long, env = "TALLY_DATA", value_name = "DIRECTORY", default_value = "./data")]
    pub data: PathBuf,
}

/// The arguments for serving.
#[derive(Debug, Clone, Args)]
pub struct Config {
    #[command(flatten)]
    pub data: DataArgs,
    #[command(flatten)]
    pub write: WriteAddr,
    #[command(flatten)]
    pub read: ReadAddr,
    #[command(flatten)]
    pub public: PublicReadUrl,
    #[command(flatten)]
    pub cors: Cors,
    #[command(flatten)]
    pub connections: Connections,
    #[command(flatten)]
    pub logs: LogArgs,
}

/// The two APIs cannot listen on one port.
#[derive(Debug, thiserror::Error)]
#[error(
    "the write API and the read API cannot both listen on {0}: give one another port with --write-addr or --read-addr"
)]
pub struct SamePort(SocketAddr);

impl Config {
    /// # Errors
    /// [`SamePort`].
    pub fn refuse_same_port(&self) -> Result<(), SamePort> {
        let (writes, reads) = (self.write.write_addr, self.read.read_addr);
        if collide(writes, reads) { Err(SamePort(reads)) } else { Ok(()) }
    }
}
