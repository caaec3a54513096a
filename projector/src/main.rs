//! `projector`: one projection, fed from Kafka.

use std::process::ExitCode;

use projector::cli::{Cli, run};
use service::program;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    program::run("projector", run(program::parse::<Cli>(include_str!("../../variables.txt"))))
}
