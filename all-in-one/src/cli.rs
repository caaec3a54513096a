//! The command line of `tally`.

use clap::{Parser, Subcommand};
use clap_complete::Shell;
use projector::operate::OperatorCommand;
use projector::operate::command::EXIT_CODES;

use crate::config::{Config, DataArgs, PortArgs};

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
    #[command(flatten)]
    Operate(OperatorCommand<DataArgs>),
    /// Ask the tally of this machine whether both ports are ready; exit code 0 if they are
    Healthcheck(PortArgs),
    /// Print the completions of a shell, such as: tally completions bash > /etc/bash_completion.d/tally
    Completions {
        /// Which shell
        shell: Shell,
    },
}
