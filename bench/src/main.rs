//! `bench`: measures Tally beside its limit.

mod access;
mod application;
mod cli;
mod embedded;
mod error;
mod feed;
mod fill;
mod growth;
mod http;
mod limit;
mod limit_process;
mod load;
mod machine;
mod messages;
mod plot;
mod process;
mod reader;
mod rebuild;
mod report;
mod results;
mod run;
mod servers;
mod statistics;
mod table;
mod tally;
mod work;
mod workload;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use thiserror_ext::AsReport;

use crate::cli::Cli;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match run::run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            drop(writeln!(std::io::stderr(), "bench: {}", error.as_report()));
            ExitCode::FAILURE
        }
    }
}
