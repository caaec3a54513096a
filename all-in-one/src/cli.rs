//! The command line of `tally`.

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use service::config::LogArgs;

use crate::config::{Config, DataArgs};
use crate::operator::Target;

/// The exit codes, for `tally --help`. [`crate::run`] and `main` return these.
const EXIT_CODES: &str = "Exit codes: 0 done, 1 could not be done (standard error says why), 2 wrong usage, \
                          3 verify has found a difference or damaged records.";

/// A chat backend in one process: a write API, a read API, and all data in one directory
///
/// Applications own chats, chats own messages, and everything is numbered 1, 2, 3 … within its parent. The event
/// log is the truth; everything that clients read is made from it. Ctrl-C or SIGTERM stops tally cleanly; nothing that
/// was acknowledged is lost.
///
/// Without a command, tally serves. The other commands work on a data directory, or ask the tally that serves it.
#[derive(Debug, Parser)]
#[command(name = "tally", version, args_conflicts_with_subcommands = true, after_help = EXIT_CODES)]
pub struct Cli {
    /// What to do
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub serve: Config,
}

/// The commands of `tally`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Answer requests until Ctrl-C or SIGTERM (this is what happens without a command, too)
    Serve(Box<Config>),
    /// Show how many events the log has and each projection has applied, and the sizes of the files
    Status(StatusArgs),
    /// Check the whole log, make every projection anew beside the real ones, compare them row by row, look for dead letters
    Verify(VerifyArgs),
    /// Make projections anew from the event log, beside those that are there, and swap the two
    Rebuild(RebuildArgs),
    /// Print the completions of a shell, such as: tally completions bash > /etc/bash_completion.d/tally
    Completions {
        /// Which shell
        shell: Shell,
    },
}

/// The arguments of `tally rebuild`.
#[derive(Debug, Args)]
pub struct RebuildArgs {
    /// Which projection
    #[arg(value_enum, default_value = "all")]
    pub projection: Target,
    #[command(flatten)]
    pub data: DataArgs,
    #[command(flatten)]
    pub logs: LogArgs,
}

/// The arguments of `tally verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    #[command(flatten)]
    pub data: DataArgs,
    #[command(flatten)]
    pub logs: LogArgs,
}

/// The arguments of `tally status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    #[command(flatten)]
    pub data: DataArgs,
    /// One JSON object instead of a table
    #[arg(long)]
    pub json: bool,
}
