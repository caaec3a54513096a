//! Runs the commands.

use std::error::Error;
use std::process::ExitCode;

use clap::CommandFactory;
use service::config::LogArgs;
use service::program::print_line;
use service::{shutdown, telemetry};

use crate::cli::{Cli, Command, RebuildArgs, StatusArgs, VerifyArgs};
use crate::config::{Config, DataArgs};
use crate::operator::{Operation, commands};
use crate::process::Process;
use crate::progress;

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
            let status = commands::status(&data.data).await?;
            let text = if json { serde_json::to_string_pretty(&status)? } else { status.to_string() };
            print_line(text)?;
        }
        Command::Verify(VerifyArgs { data, logs }) => return operate(&data, &logs, Operation::Verify).await,
        Command::Rebuild(RebuildArgs { projection, data, logs }) => {
            return operate(&data, &logs, Operation::Rebuild(projection)).await;
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

async fn operate(data: &DataArgs, logs: &LogArgs, operation: Operation) -> Result<ExitCode, Box<dyn Error>> {
    telemetry::init(&logs.log, logs.log_format)?;
    let report = progress::show_steps(async |steps| commands::run(&data.data, operation, &steps).await).await?;
    print_line(&report.text)?;
    Ok(if report.is_good { ExitCode::SUCCESS } else { ExitCode::from(DIFFERENCE_EXIT_CODE) })
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
