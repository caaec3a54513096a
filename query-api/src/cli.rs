//! The command line of `query-api`, and what each command does.

use std::error::Error;

use clap::{Parser, Subcommand};
use service::config::ReadAddr;
use service::healthcheck::healthcheck;
use service::{shutdown, telemetry};

use crate::process::{Config, Process};

/// The read API of Tally: answers queries from the projections in MySQL and Elasticsearch
///
/// Without a command it serves. SIGTERM or Ctrl-C stops it cleanly.
#[derive(Debug, Parser)]
#[command(name = "query-api", version, args_conflicts_with_subcommands = true)]
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
    /// Ask the query-api of this machine whether it is ready; exit code 0 if it is
    Healthcheck(ReadAddr),
}

/// Does what the command line asks for.
///
/// # Errors
/// A message that says what to do.
pub async fn run(cli: Cli) -> Result<(), Box<dyn Error>> {
    match cli.command.unwrap_or(Command::Serve(cli.serve)) {
        Command::Serve(config) => serve(&config).await,
        Command::Healthcheck(address) => Ok(healthcheck(address.read_addr).await?),
    }
}

async fn serve(config: &Config) -> Result<(), Box<dyn Error>> {
    telemetry::init(&config.logs.log, config.logs.log_format)?;
    let stop = shutdown::stop_on_signal()?;
    let process = Process::start(config, stop).await?;
    tracing::info!("query-api is up on http://{}", process.read_addr());
    process.wait().await;
    tracing::info!("stopped");
    Ok(())
}
