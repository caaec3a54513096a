//! `tally`: the whole of Tally in one process.

use std::error::Error;
use std::process::ExitCode;

use all_in_one::{Config, Process};
use clap::Parser;
use service::{config, shutdown, telemetry};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    match run(Config::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "logs may not have been set up, and this is for the one who typed")]
            {
                eprintln!("tally: {}", telemetry::chain(error.as_ref()));
            }
            ExitCode::FAILURE
        }
    }
}

async fn run(config: Config) -> Result<(), Box<dyn Error>> {
    telemetry::init(&config.logs.log)?;
    config::refuse_unknown_variables()?;
    let stop = shutdown::stop_on_signal()?;
    let process = Process::start(&config, stop).await?;
    tracing::info!(
        "tally is up: writes on http://{}, reads on http://{}, data in {}",
        process.write_addr(),
        process.read_addr(),
        config.data.display()
    );
    process.wait().await;
    tracing::info!("stopped");
    Ok(())
}
