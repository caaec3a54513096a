//! `tally`: the whole of Tally in one process.

use std::process::ExitCode;

use all_in_one::cli::Cli;
use all_in_one::run::run;
use clap::Parser;
use service::telemetry::failed;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    match run(Cli::parse()).await {
        Ok(code) => code,
        Err(error) => failed("tally", error.as_ref()),
    }
}
