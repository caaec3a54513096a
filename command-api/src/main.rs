//! `command-api`: the write API on Kafka, Redis and MySQL.

use std::process::ExitCode;

use clap::Parser;
use command_api::distributed::{Cli, run};
use service::telemetry::failed;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    match run(Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed("command-api", error.as_ref()),
    }
}
