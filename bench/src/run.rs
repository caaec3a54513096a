//! Runs the commands.

use std::path::{Path, PathBuf};

use crate::cli::{Command, ProgramArgs};
use crate::error::BenchError;
use crate::report::say;
use crate::results::Results;
use crate::{cli, embedded, growth, limit, plot, rebuild, servers, table};

/// Runs the command of the command line.
pub(crate) fn run(command: Command) -> Result<(), BenchError> {
    let root = root();
    match command {
        Command::Embedded(args) => {
            let embedded = embedded::run(&find_tally(&args.program), &scratch()?, &root, &args.settings())?;
            keep(|results| results.embedded = Some(embedded))
        }
        Command::Growth(args) => {
            let growth = growth::run(&find_tally(&args.program), &scratch()?, &root, &args.settings())?;
            keep(|results| results.growth = Some(growth))
        }
        Command::Rebuild(args) => {
            let rebuild = rebuild::run(&find_tally(&args.program), &scratch()?, &root, &args.settings())?;
            keep(|results| results.rebuild = Some(rebuild))
        }
        Command::Servers(args) => {
            let servers = servers::run(&programs(), &root, &args.settings())?;
            keep(|results| results.servers = Some(servers))
        }
        Command::Feed(args) if args.servers => {
            let feed = servers::run_feed(&programs(), &root, &args.settings())?;
            keep(|results| results.feed_servers = Some(feed))
        }
        Command::Feed(args) => {
            let feed = embedded::run_feed(&find_tally(&args.program), &scratch()?, &root, &args.settings())?;
            keep(|results| results.feed = Some(feed))
        }
        Command::Access(args) if args.servers => {
            let access = servers::run_access(&programs(), &root, &args.settings())?;
            keep(|results| results.access_servers = Some(access))
        }
        Command::Access(args) => {
            let access = embedded::run_access(&find_tally(&args.program), &scratch()?, &root, &args.settings())?;
            keep(|results| results.access = Some(access))
        }
        Command::Short(program) => {
            let (tally, scratch) = (find_tally(&program), scratch()?);
            embedded::run(&tally, &scratch, &root, &cli::short_settings())?;
            embedded::run_feed(&tally, &scratch, &root, &cli::short_feed_settings())?;
            embedded::run_access(&tally, &scratch, &root, &cli::short_access_settings())?;
            say("every answer was as expected");
            Ok(())
        }
        Command::Table => keep(|_| ()),
        Command::Limit(args) => Ok(limit::run(&args)?),
    }
}

/// Changes the results, and writes everything that is made from them.
fn keep(change: impl FnOnce(&mut Results)) -> Result<(), BenchError> {
    let path = root().join("bench/results.json");
    let mut results = Results::read(&path)?;
    change(&mut results);
    results.write(&path)?;
    plot::write(&results, &root().join("bench/plots"))?;
    table::write(&results, &root())
}

/// The top of the repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Where data directories are made: not in the directory for temporary files, which may be in memory.
fn scratch() -> Result<PathBuf, BenchError> {
    let directory = root().join("target");
    std::fs::create_dir_all(&directory).map_err(BenchError::file(&directory))?;
    Ok(directory)
}

fn find_tally(program: &ProgramArgs) -> PathBuf {
    program.tally.clone().unwrap_or_else(|| programs().join("tally"))
}

/// The directory of this program, where cargo builds the others too.
fn programs() -> PathBuf {
    let this = std::env::current_exe().unwrap_or_default();
    this.parent().map(Path::to_owned).unwrap_or_default()
}
