//! `tally`: the whole of Tally in one process.

use std::io::{Write, stderr};
use std::process::ExitCode;

use all_in_one::cli::Cli;
use all_in_one::run::run;
use clap::Parser;
use service::telemetry::chain;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    match run(Cli::parse()).await {
        Ok(code) => code,
        Err(error) => {
            // Where not even this can be written, the exit code has to say it.
            drop(writeln!(stderr(), "tally: {}", chain(error.as_ref())));
            ExitCode::FAILURE
        }
    }
}
