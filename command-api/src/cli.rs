//! The command line of `command-api`, and what each command does.

use std::error::Error;

use clap::{Parser, Subcommand};
use service::config::WriteAddr;
use service::healthcheck::healthcheck;
use service::{shutdown, telemetry};

use crate::process::{Config, Process};

/// The write API of Tally: turns commands into events in Kafka, with numbers from Redis
///
/// Without a command it serves. SIGTERM or Ctrl-C stops it cleanly; nothing that was acknowledged is lost.
#[derive(Debug, Parser)]
#[command(name = "command-api", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What to do
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub serve: Config,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Answer requests until Ctrl-C or SIGTERM (this is what happens without a command, too)
    Serve(Config),
    /// Ask the command-api of this machine whether it is ready; exit code 0 if it is
    Healthcheck(WriteAddr),
}

/// Does what the command line asks for.
///
/// # Errors
/// A message that says what to do.
pub async fn run(cli: Cli) -> Result<(), Box<dyn Error>> {
    match cli.command.unwrap_or(Command::Serve(cli.serve)) {
        Command::Serve(config) => serve(&config).await,
        Command::Healthcheck(address) => Ok(healthcheck(address.write_addr).await?),
    }
}

async fn serve(config: &Config) -> Result<(), Box<dyn Error>> {
    telemetry::init(&config.logs.log, config.logs.log_format)?;
    let stop = shutdown::stop_on_signal()?;
    let process = Process::start(config, stop).await?;
    tracing::info!("command-api is up on http://{}", process.write_addr());
    process.wait().await?;
    tracing::info!("stopped");
    Ok(())
}
