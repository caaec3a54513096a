//! The parts of the command line that several commands share.

use std::net::SocketAddr;
use std::path::PathBuf;

use access::AuthArgs;
use clap::Args;
use service::config::{HttpArgs, LogArgs, OperatorAddr, PublicReadUrl, PublicWriteUrl, ReadAddr, WriteAddr, collide};

/// The data directory.
#[derive(Debug, Clone, Args)]
pub struct DataArgs {
    /// Directory of the event log and everything made from it; serving creates it
    #[arg(long, env = "TALLY_DATA", value_name = "DIRECTORY", default_value = "./data")]
    pub data: PathBuf,
}

/// The two ports of the API.
#[derive(Debug, Clone, Args)]
pub struct PortArgs {
    #[command(flatten)]
    pub write: WriteAddr,
    #[command(flatten)]
    pub read: ReadAddr,
}

/// The arguments for serving.
#[derive(Debug, Clone, Args)]
pub struct Config {
    #[command(flatten)]
    pub data: DataArgs,
    #[command(flatten)]
    pub ports: PortArgs,
    #[command(flatten)]
    pub operator: OperatorAddr,
    #[command(flatten)]
    pub public: PublicReadUrl,
    #[command(flatten)]
    pub public_write: PublicWriteUrl,
    #[command(flatten)]
    pub http: HttpArgs,
    #[command(flatten)]
    pub auth: AuthArgs,
    #[command(flatten)]
    pub logs: LogArgs,
}

/// Two ports cannot be one.
#[derive(Debug, thiserror::Error)]
#[error("{one} and {other} cannot both listen on {address}: give one of them another port")]
pub struct SamePort {
    one: &'static str,
    other: &'static str,
    address: SocketAddr,
}

impl Config {
    /// # Errors
    /// [`SamePort`].
    pub fn refuse_same_port(&self) -> Result<(), SamePort> {
        let ports = [
            ("--write-addr", self.ports.write.write_addr),
            ("--read-addr", self.ports.read.read_addr),
            ("--operator-addr", self.operator.operator_addr),
        ];
        for (index, (other, address)) in ports.into_iter().enumerate() {
            for (one, earlier) in &ports[..index] {
                if collide(*earlier, address) {
                    return Err(SamePort { one, other, address });
                }
            }
        }
        Ok(())
    }
}
