//! `command-api`: the write API on Kafka, Redis and MySQL.

use std::process::ExitCode;

use clap::Parser;
use command_api::cli::{Cli, run};
use service::program;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    program::run("command-api", run(Cli::parse()))
}
