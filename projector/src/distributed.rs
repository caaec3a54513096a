//! The composition root of the binary `projector`: one projection, fed from Kafka into MySQL or Elasticsearch.

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use clap::{Args, Parser, Subcommand, ValueEnum};
use distributed::elastic::{self, ElasticIndex};
use distributed::kafka::{self, Cluster, KafkaLog, Membership};
use distributed::mysql::{self, MySqlProjections};
use futures_util::FutureExt;
use read_model::Projection;
use service::config::{self, CorsOrigins, ElasticsearchArgs, KafkaArgs, LogArgs, MysqlArgs};
use service::health::{Part, Readiness};
use service::healthcheck::healthcheck;
use service::host::{Host, HostError, Port};
use service::startup::{retry_uninterrupted, retry_until_ready};
use service::{shutdown, telemetry};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use utoipa_axum::router::OpenApiRouter;

use crate::assignment::AssignedPartitions;
use crate::run_loop::Fatal;
use crate::target::Target;

/// What a client is told who asks the address of health and metrics for something else.
const OTHER_PORT: &str = "This process feeds a projection; it answers /health and /metrics only.";

/// Feeds a projection of Tally from the events in Kafka
///
/// Any number of processes may feed one projection: they share out the partitions of the log among themselves.
#[derive(Debug, Parser)]
#[command(name = "projector", version)]
pub struct Cli {
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// What `projector` can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Feed applications, chats and messages into MySQL until Ctrl-C or SIGTERM
    Views(MySqlConfig),
    /// Feed the numbers of chats and messages into MySQL until Ctrl-C or SIGTERM
    Counts(MySqlConfig),
    /// Feed the search index in Elasticsearch until Ctrl-C or SIGTERM
    Search(SearchConfig),
    /// Bring the tables in MySQL up to date (views and counts do so at their start, too)
    Migrate(MigrateConfig),
    /// Ask the projector of this machine that feeds this, or has this address, whether it is ready; exit code 0 if it is
    Healthcheck(HealthcheckConfig),
}

/// What every projection needs.
#[derive(Debug, Clone, Args)]
pub struct CommonConfig {
    /// Address and port of health and metrics; by default port 9101 for views, 9102 for counts, 9103 for search
    #[arg(long, env = "TALLY_PROJECTOR_ADDR", value_name = "ADDRESS:PORT")]
    pub projector_addr: Option<SocketAddr>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment would become the program's own help")]
    pub kafka: KafkaArgs,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment would become the program's own help")]
    pub logs: LogArgs,
}

/// How `views` and `counts` are fed.
#[derive(Debug, Clone, Args)]
pub struct MySqlConfig {
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment would become the program's own help")]
    pub common: CommonConfig,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment would become the program's own help")]
    pub mysql: MysqlArgs,
}

/// How `search` is fed.
#[derive(Debug, Clone, Args)]
pub struct SearchConfig {
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment would become the program's own help")]
    pub common: CommonConfig,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment would become the program's own help")]
    pub elasticsearch: ElasticsearchArgs,
}

/// What is brought up to date.
#[derive(Debug, Clone, Args)]
pub struct MigrateConfig {
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment would become the program's own help")]
    pub mysql: MysqlArgs,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment would become the program's own help")]
    pub logs: LogArgs,
}

/// Who is asked.
#[derive(Debug, Clone, Args)]
pub struct HealthcheckConfig {
    /// What it feeds, where it has the address that is the default for that
    #[arg(required_unless_present = "projector_addr")]
    pub fed: Option<Fed>,
    /// Address and port of its health and metrics
    #[arg(long, env = "TALLY_PROJECTOR_ADDR", value_name = "ADDRESS:PORT")]
    pub projector_addr: Option<SocketAddr>,
}

/// A projection, as the command line names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Fed {
    /// In MySQL
    Views,
    /// In MySQL
    Counts,
    /// In Elasticsearch
    Search,
}

/// A projection, and where it is kept.
#[derive(Debug, Clone)]
pub enum Kept {
    /// `views`, in the MySQL at this URL.
    Views(String),
    /// `counts`, in the MySQL at this URL.
    Counts(String),
    /// `search`, in the Elasticsearch at this URL.
    Search(String),
}

/// Does what the command line asks for.
///
/// # Errors
/// Whatever keeps it from being done, with what to do.
pub async fn run(cli: Cli) -> Result<(), Box<dyn Error>> {
    config::refuse_unknown_variables()?;
    match cli.command {
        Command::Views(config) => feed(&config.common, Kept::Views(config.mysql.mysql_url)).await,
        Command::Counts(config) => feed(&config.common, Kept::Counts(config.mysql.mysql_url)).await,
        Command::Search(config) => feed(&config.common, Kept::Search(config.elasticsearch.elasticsearch_url)).await,
        Command::Migrate(config) => {
            telemetry::init(&config.logs.log, config.logs.log_format)?;
            mysql::migrate(&config.mysql.mysql_url).await?;
            tracing::info!("the tables are up to date");
            Ok(())
        }
        Command::Healthcheck(config) => Ok(healthcheck(config.address()).await?),
    }
}

async fn feed(config: &CommonConfig, kept: Kept) -> Result<(), Box<dyn Error>> {
    telemetry::init(&config.logs.log, config.logs.log_format)?;
    let stop = shutdown::stop_on_signal()?;
    let address = config.projector_addr.unwrap_or_else(|| default_addr(kept.projection()));
    let process = Process::start(address, &config.kafka.kafka_brokers, &kept, stop).await?;
    tracing::info!("projector {} is up; health on http://{}", kept.projection().name(), process.addr());
    process.wait().await?;
    tracing::info!("stopped");
    Ok(())
}

impl HealthcheckConfig {
    fn address(&self) -> SocketAddr {
        // One of the two is there: the command line is refused otherwise.
        self.projector_addr.unwrap_or_else(|| default_addr(self.fed.map_or(Projection::Views, Fed::projection)))
    }
}

impl Fed {
    const fn projection(self) -> Projection {
        match self {
            Self::Views => Projection::Views,
            Self::Counts => Projection::Counts,
            Self::Search => Projection::Search,
        }
    }
}

/// Where health and metrics are, unless something else is said.
fn default_addr(projection: Projection) -> SocketAddr {
    let port = match projection {
        Projection::Views => 9101,
        Projection::Counts => 9102,
        Projection::Search => 9103,
    };
    (Ipv4Addr::LOCALHOST, port).into()
}

impl Kept {
    const fn projection(&self) -> Projection {
        match self {
            Self::Views(_) => Projection::Views,
            Self::Counts(_) => Projection::Counts,
            Self::Search(_) => Projection::Search,
        }
    }
}

/// A running projector. Dropping it, or its waiting, cuts off what it is doing.
pub struct Process {
    addr: SocketAddr,
    host: Host,
    feeding: AbortOnDropHandle<Result<(), FeedingError>>,
}

/// Why the process does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The Kafka client cannot be made.
    #[error(transparent)]
    Kafka(kafka::ConnectError),
    /// The MySQL client cannot be made.
    #[error(transparent)]
    MySql(mysql::ClientError),
    /// The Elasticsearch client cannot be made.
    #[error(transparent)]
    Elastic(elastic::UrlError),
    /// It cannot begin to answer.
    #[error(transparent)]
    Host(HostError),
}

/// Why the projection is not fed any more, however long is waited.
#[derive(Debug, thiserror::Error)]
pub enum FeedingError {
    /// The topic in Kafka.
    #[error(transparent)]
    Kafka(kafka::PrepareError),
    /// The tables in MySQL.
    #[error(transparent)]
    MySql(mysql::MigrateError),
    /// The index in Elasticsearch.
    #[error(transparent)]
    Elastic(elastic::PrepareError),
    /// The group cannot be joined.
    #[error(transparent)]
    Group(kafka::JoinError),
    /// No run loop can be relied on.
    #[error(transparent)]
    Fatal(Fatal),
}

/// The store of a projection, not yet looked at.
enum Store {
    MySql(Arc<MySqlProjections>),
    Elastic(Arc<ElasticIndex>),
}

impl Process {
    /// Opens the address of health and metrics and begins to feed; what it needs may come later. `stop` ends it, see
    /// [`Process::wait`].
    ///
    /// # Errors
    /// [`StartError`] says what to do.
    pub async fn start(
        address: SocketAddr,
        brokers: &str,
        kept: &Kept,
        stop: CancellationToken,
    ) -> Result<Self, StartError> {
        let mut host = Host::new(stop).map_err(StartError::Host)?;
        let log = Arc::new(KafkaLog::connect(Cluster::new(brokers)).map_err(StartError::Kafka)?);
        let store = kept.store()?;
        let bound = host.bind(address, "--projector-addr").await.map_err(StartError::Host)?;
        let addr = bound.addr;
        let port = Port { name: "projector", other_port: OTHER_PORT, cors_origins: CorsOrigins::default() };
        host.serve(bound, port, OpenApiRouter::new());
        let feeder = Feeder {
            brokers: brokers.to_owned(),
            projection: kept.projection(),
            log,
            store,
            part: host.readiness().part("partitions"),
            readiness: host.readiness().clone(),
            stop: host.stop().clone(),
        };
        let feeding = AbortOnDropHandle::new(tokio::spawn(feeder.feed()));
        host.mark_started();
        Ok(Self { addr, host, feeding })
    }

    /// Where health and metrics are.
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Waits for the stop, and then until the batches under way are applied.
    ///
    /// # Errors
    /// What makes it of no use to go on.
    pub async fn wait(mut self) -> Result<(), Box<dyn Error>> {
        Ok(self.host.wait_for_task(self.feeding).await??)
    }
}

impl Kept {
    fn store(&self) -> Result<Store, StartError> {
        Ok(match self {
            Self::Views(url) | Self::Counts(url) => {
                Store::MySql(Arc::new(MySqlProjections::new(url).map_err(StartError::MySql)?))
            }
            Self::Search(url) => Store::Elastic(Arc::new(ElasticIndex::new(url).map_err(StartError::Elastic)?)),
        })
    }
}

/// What feeds the projection, from the first look at its servers to the last batch.
struct Feeder {
    brokers: String,
    projection: Projection,
    log: Arc<KafkaLog>,
    store: Store,
    /// Ready once the projection's group has said which partitions are this process's own.
    part: Part,
    readiness: Readiness,
    stop: CancellationToken,
}

impl Feeder {
    async fn feed(self) -> Result<(), FeedingError> {
        let Some(target) = self.prepared().await? else {
            return Ok(());
        };
        let membership =
            Membership::join(&Cluster::new(&self.brokers), self.projection.name()).map_err(FeedingError::Group)?;
        let (log, part, readiness) = (Arc::clone(&self.log) as _, self.part, self.readiness);
        let assignment = AssignedPartitions { log, target, part, readiness };
        let reported = |partition, next| membership.report(partition, next);
        let ended = assignment.run(membership.owned(), reported, self.stop).await;
        membership.close().await;
        self.log.close().await;
        ended.map_err(FeedingError::Fatal)
    }

    /// The target, once the log and the store are as they must be; `None` if the stop came first.
    async fn prepared(&self) -> Result<Option<Target>, FeedingError> {
        let (part, stop, log) = (&self.part, &self.stop, &self.log);
        let made = retry_until_ready(part, stop, kafka::PrepareError::is_lasting, || log.prepare().boxed()).await;
        if made.map_err(FeedingError::Kafka)?.is_none() {
            return Ok(None);
        }
        Ok(match &self.store {
            Store::MySql(store) => {
                let is_lasting = mysql::MigrateError::is_lasting;
                let done = retry_uninterrupted(part, stop, is_lasting, || store.migrate().boxed()).await;
                done.map_err(FeedingError::MySql)?.map(|()| match self.projection {
                    Projection::Counts => Target::Counts(Arc::clone(store) as _),
                    _ => Target::Views(Arc::clone(store) as _),
                })
            }
            Store::Elastic(index) => {
                let is_lasting: fn(&_) -> _ = |error| !matches!(error, elastic::PrepareError::Request(_));
                let done = retry_until_ready(part, stop, is_lasting, || index.prepare().boxed()).await;
                done.map_err(FeedingError::Elastic)?.map(|()| Target::Search(Arc::clone(index) as _))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(arguments: &[&str]) -> Result<String, clap::error::ErrorKind> {
        let cli = Cli::try_parse_from([&["projector", "healthcheck"], arguments].concat());
        match cli.map_err(|error| error.kind())?.command {
            Command::Healthcheck(config) => Ok(config.address().to_string()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_healthcheck_asks_where_a_projector_is_by_default_or_where_it_is_told() {
        for (fed, address) in [("views", "127.0.0.1:9101"), ("counts", "127.0.0.1:9102"), ("search", "127.0.0.1:9103")]
        {
            assert_eq!(asked(&[fed]).unwrap(), address);
        }
        for arguments in [&["--projector-addr", "127.0.0.1:1"][..], &["views", "--projector-addr", "127.0.0.1:1"]] {
            assert_eq!(asked(arguments).unwrap(), "127.0.0.1:1");
        }
        assert_eq!(asked(&[]), Err(clap::error::ErrorKind::MissingRequiredArgument));
    }
}
