//! `tally`: the whole of Tally in one process.

use std::error::Error;
use std::io::{Write, stderr, stdout};
use std::process::ExitCode;

use all_in_one::cli::{Cli, Command, StatusArgs};
use all_in_one::{Config, Process, operator};
use clap::{CommandFactory, Parser};
use service::{config, shutdown, telemetry};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// See the exit codes in `tally --help`.
const FOUND_A_DIFFERENCE: u8 = 3;

#[tokio::main]
async fn main() -> ExitCode {
    match run(Cli::parse()).await {
        Ok(code) => code,
        Err(error) => {
            // Where not even this can be written, the exit code has to say it.
            drop(writeln!(stderr(), "tally: {}", telemetry::chain(error.as_ref())));
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> Result<ExitCode, Box<dyn Error>> {
    config::refuse_unknown_variables()?;
    match cli.command.unwrap_or(Command::Serve(cli.serve)) {
        Command::Serve(config) => serve(&config).await?,
        Command::Status(StatusArgs { data, json }) => {
            let status = operator::status(&data.data).await?;
            let text = if json { serde_json::to_string_pretty(&status)? } else { status.to_string() };
            writeln!(stdout(), "{text}")?;
        }
        Command::Verify(data) => {
            let verdict = operator::verify(&data.data).await?;
            writeln!(stdout(), "{verdict}")?;
            if !verdict.is_good() {
                return Ok(ExitCode::from(FOUND_A_DIFFERENCE));
            }
        }
        Command::Rebuild(data) => {
            let events = operator::rebuild(&data.data).await?;
            writeln!(stdout(), "made every projection anew from {events} events")?;
        }
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "tally", &mut stdout());
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn serve(config: &Config) -> Result<(), Box<dyn Error>> {
    telemetry::init_as(&config.logs.log, config.logs.log_format)?;
    let stop = shutdown::stop_on_signal()?;
    let process = Process::start(config, stop).await?;
    tracing::info!(
        "tally is up: writes on http://{}, reads on http://{}, data in {}",
        process.write_addr(),
        process.read_addr(),
        config.data.data.display()
    );
    process.wait().await;
    tracing::info!("stopped");
    Ok(())
}
