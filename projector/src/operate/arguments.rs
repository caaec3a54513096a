//! The subcommands of the operator and their arguments.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use read_model::Projection;
use serde::{Deserialize, Serialize};
use service::config::LogArgs;

use crate::dead_letters::DeadLettersCommand;
use crate::transfer::{ExportArgs, ImportArgs};

/// The operator's subcommands, on the system that the arguments `S` name: a data directory, or servers.
#[derive(Debug, Clone, Subcommand)]
pub enum OperatorCommand<S: Args> {
    /// Show how far each projection is behind the log, how fast it follows, and its dead letters
    Status(StatusArgs<S>),
    /// Make projections anew beside those that readers use, compare the two, and say what differs
    ///
    /// An embedded tally also checks its whole log. A rebuild that was stopped is given up.
    Verify(VerifyArgs<S>),
    /// Make projections anew from the start of the log while readers use them, and swap the two
    ///
    /// Readers see no error, nothing empty and no step back. Ctrl-C stops it, and the next start goes on within the projection that it
    /// was making; a tally that runs goes on by itself. If the new projection cannot show what the current one shows, the current one stays.
    Rebuild(RebuildArgs<S>),
    /// Let a projection apply nothing more, until it is resumed; readers use what it has
    Pause(PauseArgs<S>),
    /// Let paused projections go on
    Resume(ResumeArgs<S>),
    /// Write all events of the log to a file, as lines of JSON; also while everything runs
    ///
    /// It is the backup, and the way to another system. Tokens are in it, so keep it as you keep the log.
    Export(TransferArgs<ExportArgs, S>),
    /// Bring an export into a new, empty system
    ///
    /// If it is stopped, the same command goes on where it was. Further parts (export --since) are imported in order, before the
    /// system is used. The projections are made afterwards, as at any start.
    Import(TransferArgs<ImportArgs, S>),
    /// List, show, park and discard what the views cannot show, or what stops a projection
    // So that the system may be named behind list, show, park and discard, as behind every other command.
    #[command(mut_args = |argument| argument.global(true))]
    DeadLetters(DeadLettersArgs<S>),
}

/// The projections that a command is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// Applications, chats and messages
    Views,
    /// How many chats and messages there are
    Counts,
    /// The search index
    Search,
    /// All three, one after the other
    All,
}

impl Target {
    /// Its word on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Views => "views",
            Self::Counts => "counts",
            Self::Search => "search",
            Self::All => "all",
        }
    }

    /// The projections.
    pub fn projections(self) -> Vec<Projection> {
        match self {
            Self::Views => vec![Projection::Views],
            Self::Counts => vec![Projection::Counts],
            Self::Search => vec![Projection::Search],
            Self::All => Projection::ALL.into(),
        }
    }
}

/// The arguments of `status`.
#[derive(Debug, Clone, Args)]
pub struct StatusArgs<S: Args> {
    /// Which projection
    #[arg(value_enum, value_name = "PROJECTION", default_value = "all")]
    pub target: Target,
    /// Look again and again until Ctrl-C, and show each projection in a line
    #[arg(long)]
    pub watch: bool,
    /// JSON instead of a table; with --watch, an object in each line
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub system: S,
}

/// The arguments of `verify`.
#[derive(Debug, Clone, Args)]
pub struct VerifyArgs<S: Args> {
    /// Which projection
    #[arg(value_enum, value_name = "PROJECTION", default_value = "all")]
    pub target: Target,
    /// Mend: let readers use the projection that was made anew, if the one that they use differs from it
    #[arg(long)]
    pub swap: bool,
    #[command(flatten)]
    pub keep: KeepArgs,
    #[command(flatten)]
    pub system: S,
    #[command(flatten)]
    pub logs: LogArgs,
}

/// The arguments of `rebuild`.
#[derive(Debug, Clone, Args)]
pub struct RebuildArgs<S: Args> {
    /// Which projection
    #[arg(value_enum, value_name = "PROJECTION", default_value = "all")]
    pub target: Target,
    #[command(flatten)]
    pub keep: KeepArgs,
    #[command(flatten)]
    pub system: S,
    #[command(flatten)]
    pub logs: LogArgs,
}

/// The arguments of `pause`. Nobody pauses everything by leaving a word out.
#[derive(Debug, Clone, Args)]
pub struct PauseArgs<S: Args> {
    /// Which projection
    #[arg(value_enum, value_name = "PROJECTION")]
    pub target: Target,
    #[command(flatten)]
    pub system: S,
    #[command(flatten)]
    pub logs: LogArgs,
}

/// The arguments of `resume`.
#[derive(Debug, Clone, Args)]
pub struct ResumeArgs<S: Args> {
    /// Which projection
    #[arg(value_enum, value_name = "PROJECTION", default_value = "all")]
    pub target: Target,
    #[command(flatten)]
    pub system: S,
    #[command(flatten)]
    pub logs: LogArgs,
}

/// The arguments of `dead-letters`.
#[derive(Debug, Clone, Args)]
pub struct DeadLettersArgs<S: Args> {
    /// What to do
    #[command(subcommand)]
    pub command: DeadLettersCommand,
    #[command(flatten)]
    pub system: S,
    #[command(flatten)]
    pub logs: LogArgs,
}

/// The arguments of `export` and `import`: `A` are those of either.
#[derive(Debug, Clone, Args)]
pub struct TransferArgs<A: Args, S: Args> {
    #[command(flatten)]
    pub transfer: A,
    #[command(flatten)]
    pub system: S,
    #[command(flatten)]
    pub logs: LogArgs,
}

/// What becomes of the projection that readers used before a swap.
#[derive(Debug, Clone, Copy, Args)]
pub struct KeepArgs {
    /// How long servers keep what readers used before a swap, 10s at least, since reads that began before still use it
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = parse_keep)]
    pub keep: Duration,
}

/// Longer than any read takes. A read uses one generation from its beginning to its end.
const SHORTEST_KEEP: Duration = Duration::from_secs(10);

fn parse_keep(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(keep) if keep >= SHORTEST_KEEP => Ok(keep),
        Ok(_) => Err("reads that began before the swap may take 10s; write 10s or more".to_owned()),
        Err(error) => Err(format!("{error}; write a duration such as 1m or 2h")),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use clap::error::ErrorKind;

    use super::*;

    #[derive(Debug, Clone, Args)]
    struct Nothing {}

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(subcommand)]
        command: OperatorCommand<Nothing>,
    }

    fn parse(arguments: &[&str]) -> Result<OperatorCommand<Nothing>, ErrorKind> {
        let cli = Cli::try_parse_from(["test"].iter().chain(arguments));
        cli.map(|cli| cli.command).map_err(|error| error.kind())
    }

    #[test]
    fn a_rebuild_takes_one_projection_or_all_and_keeps_what_reads_need() {
        let rebuild = |arguments: &[&str]| match parse(&[&["rebuild"], arguments].concat())? {
            OperatorCommand::Rebuild(args) => Ok((args.target.projections(), args.keep.keep)),
            other => panic!("{other:?}"),
        };
        let minute = Duration::from_secs(60);
        assert_eq!(rebuild(&["search"]), Ok((vec![Projection::Search], minute)));
        assert_eq!(rebuild(&[]), Ok((Projection::ALL.to_vec(), minute)));
        assert_eq!(rebuild(&["all", "--keep", "2h"]), Ok((Projection::ALL.to_vec(), 120 * minute)));
        for wrong in [&["all", "--keep", "9s"][..], &["all", "--keep", "x"]] {
            assert_eq!(rebuild(wrong), Err(ErrorKind::ValueValidation), "{wrong:?}");
        }
        assert_eq!(rebuild(&["everything"]), Err(ErrorKind::InvalidValue));
    }

    #[test]
    fn an_export_goes_to_a_file_or_to_standard_output_and_begins_where_it_is_told() {
        let export = |arguments: &[&str]| match parse(&[&["export"], arguments].concat())? {
            OperatorCommand::Export(TransferArgs { transfer, .. }) => {
                Ok((transfer.file, transfer.since.map(|since| since.to_string()), transfer.zstd))
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(export(&[]), Ok((None, None, false)));
        let all = export(&["--zstd", "--since", "0:7.3:9", "part.zst"]);
        assert_eq!(all, Ok((Some("part.zst".into()), Some("0:7.3:9".to_owned()), true)));
        let marked = export(&["--since", "a1b2c3d4~0:7"]);
        assert_eq!(marked, Ok((None, Some("a1b2c3d4~0:7".to_owned()), false)));
        assert_eq!(export(&["--since", "seven"]), Err(ErrorKind::ValueValidation));
    }

    #[test]
    fn what_dead_letters_takes_may_stand_before_and_behind_its_own_command() {
        for arguments in [["--log", "debug", "list"], ["list", "--log", "debug"]] {
            match parse(&[&["dead-letters"][..], &arguments].concat()) {
                Ok(OperatorCommand::DeadLetters(args)) => assert_eq!(args.logs.log, "debug", "{arguments:?}"),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_pause_names_its_projection_and_a_resume_need_not() {
        assert!(matches!(parse(&["pause"]), Err(ErrorKind::MissingRequiredArgument)));
        let target = |arguments: &[&str]| {
            parse(arguments).map(|command| match command {
                OperatorCommand::Pause(args) => args.target,
                OperatorCommand::Resume(args) => args.target,
                other => panic!("{other:?}"),
            })
        };
        assert_eq!(target(&["pause", "all"]), Ok(Target::All));
        assert_eq!(target(&["resume", "views"]), Ok(Target::Views));
        assert_eq!(target(&["resume"]), Ok(Target::All));
    }
}
