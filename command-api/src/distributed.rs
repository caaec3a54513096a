//! The composition root of the binary `command-api`: the write API on Kafka, Redis and MySQL.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;

use clap::{Args, Parser, Subcommand};
use distributed::kafka::{Cluster, KafkaLog, PrepareError};
use distributed::mysql::MySqlCounts;
use distributed::sequencer::{RedisKeys, RedisSequencer, StartError as NumbersError};
use event_log::EventLog;
use futures_util::FutureExt;
use service::config::{self, Cors, KafkaArgs, LogArgs, MysqlArgs, PublicReadUrl, RedisArgs, WriteAddr};
use service::health::Part;
use service::healthcheck::healthcheck;
use service::host::{Host, HostError};
use service::startup::{monitor, retry_until_ready};
use service::{shutdown, telemetry};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::commands::Commands;

/// The write API of Tally: commands become events in Kafka, under numbers from Redis
///
/// Without a command it serves. SIGTERM or Ctrl-C stops it cleanly; nothing that was acknowledged is lost.
#[derive(Debug, Parser)]
#[command(name = "command-api", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What to do
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment would become the program's own help")]
    pub serve: Config,
}

/// What `command-api` can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Answer requests until Ctrl-C or SIGTERM (this is what happens without a command, too)
    Serve(Config),
    /// Ask the command-api of this machine whether it is ready; exit code 0 if it is
    Healthcheck(WriteAddr),
}

/// How the process serves.
#[derive(Debug, Clone, Args)]
pub struct Config {
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment would become the program's own help")]
    pub write: WriteAddr,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment would become the program's own help")]
    pub public: PublicReadUrl,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment would become the program's own help")]
    pub cors: Cors,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment would become the program's own help")]
    pub kafka: KafkaArgs,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment would become the program's own help")]
    pub redis: RedisArgs,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment would become the program's own help")]
    pub mysql: MysqlArgs,
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
        Command::Healthcheck(address) => Ok(healthcheck(address.write_addr).await?),
        Command::Serve(config) => {
            telemetry::init(&config.logs.log, config.logs.log_format)?;
            let stop = shutdown::stop_on_signal()?;
            let process = Process::start(&config, stop).await?;
            tracing::info!("command-api is up on http://{}", process.write_addr());
            process.wait().await?;
            tracing::info!("stopped");
            Ok(())
        }
    }
}

/// A running write API.
pub struct Process {
    write_addr: SocketAddr,
    host: Host,
    commands: Commands,
    log: Arc<KafkaLog>,
    /// What makes the log ready, and looks after it.
    watching: JoinHandle<Result<(), PrepareError>>,
}

/// Why the process does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The Kafka client cannot be made.
    #[error(transparent)]
    Kafka(distributed::kafka::ConnectError),
    /// The MySQL client cannot be made.
    #[error(transparent)]
    MySql(distributed::mysql::ClientError),
    /// The sequencer cannot be made.
    #[error(transparent)]
    Numbers(NumbersError),
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
        let log = Arc::new(KafkaLog::connect(Cluster::new(&config.kafka.kafka_brokers)).map_err(StartError::Kafka)?);
        let counts = MySqlCounts::new(&config.mysql.mysql_url).map_err(StartError::MySql)?;
        let sequencer = RedisSequencer::start(&config.redis.redis_url, RedisKeys::default(), &log, Arc::new(counts));
        let sequencer = Arc::new(sequencer.map_err(StartError::Numbers)?);
        let commands = Commands::new(Arc::clone(&log) as _, Arc::clone(&sequencer) as _);
        let bound = host.bind(config.write.write_addr, "--write-addr").await.map_err(StartError::Host)?;
        let write_addr = bound.addr;
        let routes = crate::routes(commands.clone(), config.public.public_read_url.clone());
        host.serve(bound, crate::routes::port(config.cors.cors_origins.clone()), routes);
        let (readiness, stop) = (host.readiness().clone(), host.stop().clone());
        host.spawn(tell_of_numbers(sequencer, readiness.part("numbers"), stop.clone()));
        let watching = tokio::spawn(watch_log(Arc::clone(&log), readiness.part("log"), stop));
        host.mark_started();
        Ok(Self { write_addr, host, commands, log, watching })
    }

    /// Where writes are answered.
    pub const fn write_addr(&self) -> SocketAddr {
        self.write_addr
    }

    /// Waits for the stop, and then until what is under way is answered and acknowledged.
    ///
    /// # Errors
    /// What makes it of no use to go on.
    pub async fn wait(mut self) -> Result<(), Box<dyn Error>> {
        let watched = self.host.wait_for_task(self.watching).await;
        self.commands.drain().await;
        self.log.close().await;
        Ok(watched??)
    }
}

/// Makes the log ready, and tells whether it is away from then on.
async fn watch_log(log: Arc<KafkaLog>, part: Part, stop: CancellationToken) -> Result<(), PrepareError> {
    if retry_until_ready(&part, &stop, PrepareError::is_lasting, || log.prepare().boxed()).await?.is_some() {
        monitor(part, stop, || async { if log.is_away() { Err(LogAway) } else { Ok(()) } }).await;
    }
    Ok(())
}

/// What /health/ready says of the log.
#[derive(Debug, thiserror::Error)]
#[error("Kafka is away")]
struct LogAway;

/// Tells whether numbers can be given.
async fn tell_of_numbers(sequencer: Arc<RedisSequencer>, part: Part, stop: CancellationToken) {
    let mut trouble = sequencer.unavailable_reason();
    loop {
        match trouble.borrow_and_update().clone() {
            None => part.ready(),
            Some(reason) => part.failed(reason),
        }
        match stop.run_until_cancelled(trouble.changed()).await {
            Some(Ok(())) => {}
            Some(Err(_)) | None => return,
        }
    }
}
