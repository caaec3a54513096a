//! Runs the commands.

use std::error::Error;
use std::process::ExitCode;

use clap::CommandFactory;
use projector::operate;
use service::program::print_line;
use service::{shutdown, telemetry};

use crate::cli::{Cli, Command};
use crate::config::Config;
use crate::process::Process;

/// Runs the command of the command line.
///
/// # Errors
/// A message that says what to do.
pub async fn run(cli: Cli) -> Result<ExitCode, Box<dyn Error>> {
    match cli.command.unwrap_or_else(|| Command::Serve(Box::new(cli.serve))) {
        Command::Serve(config) => serve(&config).await?,
        Command::Operate(command) => return operate::command::run(command).await,
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
