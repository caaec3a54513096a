//! A running read API on MySQL and Elasticsearch.

use std::error::Error;
use std::future::ready;
use std::net::SocketAddr;
use std::sync::Arc;

use access::{ACCESS_PART, AuthArgs, Authority, AuthorityConfig};
use clap::Args;
use distributed::args::{ElasticsearchArgs, MysqlArgs};
use distributed::elastic::ElasticIndex;
use distributed::kafka::PARTITIONS;
use distributed::mysql::MySqlProjections;
use service::config::{DEFAULT_WRITE_ADDR, HttpArgs, LogArgs, OperatorAddr, PublicReadUrl, PublicWriteUrl, ReadAddr};
use service::front_page;
use service::host::Host;
use service::program::WrongUsage;
use service::startup::monitor;
use tokio_util::sync::CancellationToken;
use utoipa_axum::router::OpenApiRouter;

use crate::feed::FeedQueries;
use crate::queries::Queries;

/// The arguments for serving.
#[derive(Debug, Clone, Args)]
pub struct Config {
    #[command(flatten)]
    pub read: ReadAddr,
    #[command(flatten)]
    pub operator: OperatorAddr,
    #[command(flatten)]
    pub public: PublicReadUrl,
    #[command(flatten)]
    pub public_write: PublicWriteUrl,
    #[command(flatten)]
    pub http: HttpArgs,
    #[command(flatten)]
    pub auth: AuthArgs,
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
        let mode = config.auth.mode(&[config.read.read_addr]);
        let credentials = config.auth.credentials().map_err(WrongUsage::new)?;
        credentials.refuse_missing(mode).map_err(WrongUsage::new)?;
        let mut host = Host::new(stop)?;
        let operators = host.bind(config.operator.operator_addr, "--operator-addr").await?;
        let views = Arc::new(MySqlProjections::new(&config.mysql.mysql_url)?);
        let search = Arc::new(ElasticIndex::new(&config.elasticsearch.elasticsearch_url)?);
        let (write_url, read_url) =
            (config.public_write.or_at(DEFAULT_WRITE_ADDR), config.public.or_at(config.read.read_addr));
        let page = front_page::routes(crate::front_page::front_page(&write_url, &read_url));
        let queries = Queries::new(Arc::clone(&views) as _, Arc::clone(&search) as _, host.stop().clone());
        let max_age_while_away = config.auth.max_age_while_away;
        let authority_config = AuthorityConfig { mode, credentials, partitions: PARTITIONS, max_age_while_away };
        let authority = Authority::new(authority_config, Arc::clone(&views) as _, host.stop().clone());
        let (streams, stop) = (host.streams().clone(), host.stop().clone());
        let feed = FeedQueries::new(queries.clone(), Arc::clone(&views) as _, authority.clone(), streams, stop);
        let routes = crate::routes(queries, Arc::clone(&views) as _, feed, &authority)?.merge(page);
        host.spawn(authority.clone().follow(host.stop().clone()));
        let part = host.readiness().part(ACCESS_PART);
        host.spawn(monitor(part, host.stop().clone(), move || ready(authority.check_current())));
        let port = crate::routes::port(&config.http, &write_url);
        let read_addr = host.bind_and_serve(config.read.read_addr, "--read-addr", port, routes).await?;
        host.serve_operator(operators, OpenApiRouter::new(), Vec::new());
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
