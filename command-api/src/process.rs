//! A running write API on Kafka, Redis and MySQL.

use std::error::Error;
use std::future::ready;
use std::net::SocketAddr;
use std::sync::Arc;

use access::{ACCESS_PART, AuthArgs, Authority, AuthorityConfig};
use clap::Args;
use distributed::args::{KafkaArgs, MysqlArgs, RedisArgs};
use distributed::kafka::{Cluster, KafkaLog, PARTITIONS, PrepareError};
use distributed::mysql::{MySqlCounts, MySqlProjections};
use distributed::sequencer::{RedisKeys, RedisSequencer};
use event_log::EventLog;
use futures_util::FutureExt;
use service::config::{
    CommandOperatorAddr, DEFAULT_READ_ADDR, HttpArgs, LogArgs, PublicReadUrl, PublicWriteUrl, WriteAddr,
};
use service::front_page;
use service::health::Part;
use service::host::Host;
use service::program::WrongUsage;
use service::startup::{monitor, retry_until_ready};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use utoipa_axum::router::OpenApiRouter;

use crate::commands::Commands;

/// The arguments for serving.
#[derive(Debug, Clone, Args)]
pub struct Config {
    #[command(flatten)]
    pub write: WriteAddr,
    #[command(flatten)]
    pub operator: CommandOperatorAddr,
    #[command(flatten)]
    pub public: PublicReadUrl,
    #[command(flatten)]
    pub public_write: PublicWriteUrl,
    #[command(flatten)]
    pub http: HttpArgs,
    #[command(flatten)]
    pub auth: AuthArgs,
    #[command(flatten)]
    pub kafka: KafkaArgs,
    #[command(flatten)]
    pub redis: RedisArgs,
    #[command(flatten)]
    pub mysql: MysqlArgs,
    #[command(flatten)]
    pub logs: LogArgs,
}

/// A running write API.
pub struct Process {
    write_addr: SocketAddr,
    host: Host,
    commands: Commands,
    log: Arc<KafkaLog>,
    /// The task that runs `watch_log`.
    log_watcher: JoinHandle<Result<(), PrepareError>>,
}

impl Process {
    /// Opens the port and begins to answer, even if the servers are still away. `stop` ends it, see [`Process::wait`].
    ///
    /// # Errors
    /// A message that says what to do.
    pub async fn start(config: &Config, stop: CancellationToken) -> Result<Self, Box<dyn Error>> {
        let mode = config.auth.mode(&[config.write.write_addr]);
        let credentials = config.auth.credentials().map_err(WrongUsage::new)?;
        credentials.refuse_missing(mode).map_err(WrongUsage::new)?;
        let mut host = Host::new(stop)?;
        let operators = host.bind(config.operator.operator_addr, "--operator-addr").await?;
        let log = Arc::new(KafkaLog::connect(Cluster::new(&config.kafka.kafka_brokers))?);
        let counts = Arc::new(MySqlCounts::new(&config.mysql.mysql_url)?);
        let sequencer = Arc::new(RedisSequencer::start(&config.redis.redis_url, RedisKeys::default(), &log, counts)?);
        let commands = Commands::new(Arc::clone(&log) as _, Arc::clone(&sequencer) as _);
        let access = Arc::new(MySqlProjections::new(&config.mysql.mysql_url)?);
        let (write_url, read_url) =
            (config.public_write.or_at(config.write.write_addr), config.public.or_at(DEFAULT_READ_ADDR));
        let page = front_page::routes(crate::front_page::front_page(&write_url, &read_url));
        let max_age_while_away = config.auth.max_age_while_away;
        let authority_config = AuthorityConfig { mode, credentials, partitions: PARTITIONS, max_age_while_away };
        let authority = Authority::new(authority_config, Arc::clone(&access) as _, host.stop().clone());
        let port = crate::routes::port(&config.http, &read_url);
        let routes = crate::routes(commands.clone(), access, read_url, &authority)?.merge(page);
        host.spawn(authority.clone().follow(host.stop().clone()));
        let part = host.readiness().part(ACCESS_PART);
        host.spawn(monitor(part, host.stop().clone(), move || ready(authority.check_current())));
        let write_addr = host.bind_and_serve(config.write.write_addr, "--write-addr", port, routes).await?;
        host.serve_operator(operators, OpenApiRouter::new(), Vec::new());
        let readiness = host.readiness().clone();
        let stop = host.stop().clone();
        host.spawn(watch_sequencer(sequencer, readiness.part("numbers"), stop.clone()));
        let log_watcher = tokio::spawn(watch_log(Arc::clone(&log), readiness.part("log"), stop));
        host.mark_started();
        Ok(Self { write_addr, host, commands, log, log_watcher })
    }

    /// The address of the write API.
    pub const fn write_addr(&self) -> SocketAddr {
        self.write_addr
    }

    /// Waits for the stop, and then until every request is answered and every append acknowledged.
    ///
    /// # Errors
    /// If somebody must change something before the log can be used.
    pub async fn wait(mut self) -> Result<(), Box<dyn Error>> {
        let watched = self.host.wait_for_task(self.log_watcher).await;
        self.commands.drain().await;
        self.log.close().await;
        Ok(watched??)
    }
}

/// Prepares the log. From then on, marks `part` as failed while the log is away.
async fn watch_log(log: Arc<KafkaLog>, part: Part, stop: CancellationToken) -> Result<(), PrepareError> {
    if retry_until_ready(&part, &stop, PrepareError::is_lasting, || log.prepare_to_write().boxed()).await?.is_some() {
        monitor(part, stop, || async { if log.is_away() { Err(LogAway) } else { Ok(()) } }).await;
    }
    Ok(())
}

/// The reason in /health/ready while Kafka is away.
#[derive(Debug, thiserror::Error)]
#[error("Kafka is away")]
struct LogAway;

/// Marks `part` as failed while no number can be reserved.
async fn watch_sequencer(sequencer: Arc<RedisSequencer>, part: Part, stop: CancellationToken) {
    let mut reason = sequencer.unavailable_reason();
    loop {
        match reason.borrow_and_update().clone() {
            None => part.ready(),
            Some(reason) => part.failed(reason),
        }
        match stop.run_until_cancelled(reason.changed()).await {
            Some(Ok(())) => {}
            Some(Err(_)) | None => return,
        }
    }
}
