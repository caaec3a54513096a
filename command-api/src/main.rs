//! `command-api`: the write API on Kafka, Redis and MySQL.

use std::process::ExitCode;

use command_api::cli::{Cli, run};
use service::program;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    program::run("command-api", run(program::parse::<Cli>(include_str!("../../variables.txt"))))
}
