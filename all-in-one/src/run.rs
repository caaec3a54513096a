//! Runs the commands.

use std::error::Error;
use std::process::ExitCode;

use clap::CommandFactory;
use service::program::print_line;
use service::{shutdown, telemetry};

use crate::cli::{Cli, Command, RebuildArgs, StatusArgs};
use crate::config::Config;
use crate::operator;
use crate::process::Process;

/// The exit code of a verification that finds a difference or dead letters; see `tally --help`.
const DIFFERENCE_EXIT_CODE: u8 = 3;

/// Runs the command of the command line.
///
/// # Errors
/// A message that says what to do.
pub async fn run(cli: Cli) -> Result<ExitCode, Box<dyn Error>> {
    match cli.command.unwrap_or_else(|| Command::Serve(Box::new(cli.serve))) {
        Command::Serve(config) => serve(&config).await?,
        Command::Status(StatusArgs { data, json }) => {
            let status = operator::status(&data.data).await?;
            let text = if json { serde_json::to_string_pretty(&status)? } else { status.to_string() };
            print_line(text)?;
        }
        Command::Verify(data) => {
            let verdict = operator::verify(&data.data).await?;
            print_line(&verdict)?;
            if !verdict.is_good() {
                return Ok(ExitCode::from(DIFFERENCE_EXIT_CODE));
            }
        }
        Command::Rebuild(RebuildArgs { projection, data }) => {
            let projections = projection.projections();
            let events = operator::rebuild(&data.data, &projections).await?;
            let names = projections.iter().map(|projection| projection.name()).collect::<Vec<_>>().join(", ");
            print_line(format_args!("made {names} anew from {events} events"))?;
        }
        Command::Completions { shell } => {
            // The generator would panic at a closed pipe.
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "tally", &mut script);
            print_line(String::from_utf8(script)?.trim_end())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn serve(config: &Config) -> Result<(), Box<dyn Error>> {
    telemetry::init(&config.logs.log, config.logs.log_format)?;
    let stop = shutdown::stop_on_signal()?;
    let process = Process::start(config, stop).await?;
    tracing::info!(
        "tally is up: writes on http://{}, reads on http://{}, data in {}",
        process.write_addr(),
        process.read_addr(),
        config.data.data.display()
    );
    process.wait().await?;
    tracing::info!("stopped");
    Ok(())
}
