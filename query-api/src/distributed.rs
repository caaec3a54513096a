//! The composition root of the binary `query-api`: the read API on MySQL and Elasticsearch.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;

use clap::{Args, Parser, Subcommand};
use distributed::elastic::ElasticIndex;
use distributed::mysql::MySqlProjections;
use service::config::{self, Cors, ElasticsearchArgs, LogArgs, MysqlArgs, ReadAddr};
use service::healthcheck::healthcheck;
use service::host::{Host, HostError};
use service::startup::monitor;
use service::{shutdown, telemetry};
use tokio_util::sync::CancellationToken;

use crate::queries::Queries;

/// The read API of Tally: what the projectors have made of the events, from MySQL and Elasticsearch
///
/// Without a command it serves. SIGTERM or Ctrl-C stops it cleanly.
#[derive(Debug, Parser)]
#[command(name = "query-api", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What to do
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment would become the program's own help")]
    pub serve: Config,
}

/// What `query-api` can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Answer requests until Ctrl-C or SIGTERM (this is what happens without a command, too)
    Serve(Config),
    /// Ask the query-api of this machine whether it is ready; exit code 0 if it is
    Healthcheck(ReadAddr),
}

/// How the process serves.
#[derive(Debug, Clone, Args)]
pub struct Config {
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment would become the program's own help")]
    pub read: ReadAddr,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment would become the program's own help")]
    pub cors: Cors,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment would become the program's own help")]
    pub mysql: MysqlArgs,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment would become the program's own help")]
    pub elasticsearch: ElasticsearchArgs,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment would become the program's own help")]
    pub logs: LogArgs,
}

/// Does what the command line asks for.
///
/// # Errors
/// Whatever keeps it from being done, with what to do.
pub async fn run(cli: Cli) -> Result<(), Box<dyn Error>> {
    config::refuse_unknown_variables()?;
    match cli.command.unwrap_or(Command::Serve(cli.serve)) {
        Command::Healthcheck(address) => Ok(healthcheck(address.read_addr).await?),
        Command::Serve(config) => {
            telemetry::init(&config.logs.log, config.logs.log_format)?;
            let stop = shutdown::stop_on_signal()?;
            let process = Process::start(&config, stop).await?;
            tracing::info!("query-api is up on http://{}", process.read_addr());
            process.wait().await;
            tracing::info!("stopped");
            Ok(())
        }
    }
}

/// A running read API.
pub struct Process {
    read_addr: SocketAddr,
    host: Host,
}

/// Why the process does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The MySQL client cannot be made.
    #[error(transparent)]
    MySql(distributed::mysql::ClientError),
    /// The Elasticsearch client cannot be made.
    #[error(transparent)]
    Elastic(distributed::elastic::UrlError),
    /// It cannot begin to answer.
    #[error(transparent)]
    Host(HostError),
}

impl Process {
    /// Opens the port and begins to answer; what it needs may come later. `stop` ends it, see [`Process::wait`].
    ///
    /// # Errors
    /// [`StartError`] says what to do.
    pub async fn start(config: &Config, stop: CancellationToken) -> Result<Self, StartError> {
        let mut host = Host::new(stop).map_err(StartError::Host)?;
        let views = Arc::new(MySqlProjections::new(&config.mysql.mysql_url).map_err(StartError::MySql)?);
        let search = ElasticIndex::new(&config.elasticsearch.elasticsearch_url).map_err(StartError::Elastic)?;
        let bound = host.bind(config.read.read_addr, "--read-addr").await.map_err(StartError::Host)?;
        let read_addr = bound.addr;
        let routes = crate::routes(Queries::new(Arc::clone(&views) as _, Arc::new(search)));
        host.serve(bound, crate::routes::port(config.cors.cors_origins.clone()), routes);
        // Elasticsearch is no part of this: without it all but search is answered.
        let (part, stop) = (host.readiness().part("views"), host.stop().clone());
        host.spawn(monitor(part, stop, move || Arc::clone(&views).check()));
        host.mark_started();
        Ok(Self { read_addr, host })
    }

    /// Where reads are answered.
    pub const fn read_addr(&self) -> SocketAddr {
        self.read_addr
    }

    /// Waits for the stop, and then until what is under way is answered.
    pub async fn wait(mut self) {
        self.host.wait().await;
    }
}
