//! `query-api`: the read API on MySQL and Elasticsearch.

use std::process::ExitCode;

use clap::Parser;
use query_api::distributed::{Cli, run};
use service::telemetry::failed;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    match run(Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed("query-api", error.as_ref()),
    }
}
