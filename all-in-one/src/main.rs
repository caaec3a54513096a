//! `tally`: all of Tally in one process.

use std::process::ExitCode;

use all_in_one::cli::Cli;
use all_in_one::run::run;
use service::program;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    program::run("tally", run(program::parse::<Cli>(include_str!("../../variables.txt"))))
}
