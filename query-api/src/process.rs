//! A running read API on MySQL and Elasticsearch.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;

use clap::Args;
use distributed::args::{ElasticsearchArgs, MysqlArgs};
use distributed::elastic::ElasticIndex;
use distributed::mysql::MySqlProjections;
use service::config::{Connections, Cors, LogArgs, ReadAddr};
use service::host::Host;
use service::startup::monitor;
use tokio_util::sync::CancellationToken;

use crate::queries::Queries;

/// The arguments for serving.
#[derive(Debug, Clone, Args)]
pub struct Config {
    #[command(flatten)]
    pub read: ReadAddr,
    #[command(flatten)]
    pub cors: Cors,
    #[command(flatten)]
    pub connections: Connections,
    #[command(flatten)]
    pub mysql: MysqlArgs,
    #[command(flatten)]
    pub elasticsearch: ElasticsearchArgs,
    #[command(flatten)]
    pub logs: LogArgs,
}

/// A running read API.
pub struct Process {
    read_addr: SocketAddr,
    host: Host,
}

impl Process {
    /// Opens the port and begins to answer, even if the servers are still away. `stop` ends it, see [`Process::wait`].
    ///
    /// # Errors
    /// A message that says what to do.
    pub async fn start(config: &Config, stop: CancellationToken) -> Result<Self, Box<dyn Error>> {
        let mut host = Host::new(stop)?;
        let views = Arc::new(MySqlProjections::new(&config.mysql.mysql_url)?);
        let search = Arc::new(ElasticIndex::new(&config.elasticsearch.elasticsearch_url)?);
        let routes = crate::routes(Queries::new(Arc::clone(&views) as _, search, host.stop().clone()));
        let port = crate::routes::port(config.cors.cors_origins.clone(), config.connections.idle_timeout());
        let read_addr = host.bind_and_serve(config.read.read_addr, "--read-addr", port, routes).await?;
        let part = host.readiness().part("views");
        let stop = host.stop().clone();
        // Elasticsearch is no part of readiness: without it the process answers everything but searches.
        host.spawn(monitor(part, stop, move || Arc::clone(&views).check()));
        host.mark_started();
        Ok(Self { read_addr, host })
    }

    /// The address of the read API.
    pub const fn read_addr(&self) -> SocketAddr {
        self.read_addr
    }

    /// Waits for the stop, and then until every request is answered.
    pub async fn wait(mut self) {
        self.host.wait().await;
    }
}
