//! The command line of `tally`.

use std::path::PathBuf;

use clap::Parser;
use service::config::{LogArgs, PublicReadUrl, ReadAddr, WriteAddr};

/// A chat backend in one process: a write API, a read API, and all data in one directory
///
/// Applications own chats, chats own messages, and everything is numbered 1, 2, 3 … within its parent. Events are the
/// truth; what is read is made from them. Ctrl-C or SIGTERM stops it cleanly; nothing that was acknowledged is lost.
#[derive(Debug, Parser)]
#[command(name = "tally", version)]
pub struct Config {
    /// Directory of the event log and everything made from it; made if it is missing
    #[arg(long, env = "TALLY_DATA", value_name = "DIRECTORY", default_value = "./data")]
    pub data: PathBuf,
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
    pub logs: LogArgs,
}
