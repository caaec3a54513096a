//! The parts of the command line that several commands share.

use std::path::PathBuf;

use clap::Args;
use service::config::{Cors, LogArgs, PublicReadUrl, ReadAddr, WriteAddr};

/// The data directory.
#[derive(Debug, Clone, Args)]
pub struct DataArgs {
    /// Directory of the event log and everything made from it; made if it is missing
    #[arg(long, env = "TALLY_DATA", value_name = "DIRECTORY", default_value = "./data")]
    pub data: PathBuf,
}

/// The arguments for serving.
#[derive(Debug, Clone, Args)]
pub struct Config {
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment would become the program's own help")]
    pub data: DataArgs,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment would become the program's own help")]
    pub write: WriteAddr,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment would become the program's own help")]
    pub read: ReadAddr,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment would become the program's own help")]
    pub public: PublicReadUrl,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment would become the program's own help")]
    pub cors: Cors,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment would become the program's own help")]
    pub logs: LogArgs,
}
