//! `query-api`: the read API on MySQL and Elasticsearch.

use std::process::ExitCode;

use query_api::cli::{Cli, run};
use service::program;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    program::run("query-api", run(program::parse::<Cli>(include_str!("../../variables.txt"))))
}
