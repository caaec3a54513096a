//! `projector`: one projection, fed from Kafka.

use std::process::ExitCode;

use clap::Parser;
use projector::distributed::{Cli, run};
use service::telemetry::failed;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    match run(Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed("projector", error.as_ref()),
    }
}
