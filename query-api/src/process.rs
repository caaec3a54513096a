//! A running read API on MySQL and Elasticsearch.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;

use clap::Args;
use distributed::args::{ElasticsearchArgs, MysqlArgs};
use distributed::elastic::ElasticIndex;
use distributed::kafka::PARTITIONS;
use distributed::mysql::MySqlProjections;
use service::config::{HttpArgs, LogArgs, ReadAddr};
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
    pub http: HttpArgs,
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
        let routes =
            crate::routes(Queries::new(Arc::clone(&views) as _, Arc::clone(&search) as _, host.stop().clone()));
        let port = crate::routes::port(&config.http);
        let read_addr = host.bind_and_serve(config.read.read_addr, "--read-addr", port, routes).await?;
        let (part, stop) = (host.readiness().part("views"), host.stop().clone());
        host.spawn(monitor(part, stop, move || Arc::clone(&views).check()));
        // A search that stands still ends readiness. An Elasticsearch that is away does not: the process answers everything but
        // searches.
        let (part, stop) = (host.readiness().part("search"), host.stop().clone());
        host.spawn(monitor(part, stop, move || Arc::clone(&search).check(PARTITIONS.partitions().collect())));
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
