//! `projector`: one projection, fed from Kafka.

use std::io::{Write, stderr};
use std::process::ExitCode;

use clap::Parser;
use projector::distributed::{Cli, run};
use service::telemetry::chain;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    match run(Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Where not even this can be written, the exit code has to say it.
            drop(writeln!(stderr(), "projector: {}", chain(error.as_ref())));
            ExitCode::FAILURE
        }
    }
}
