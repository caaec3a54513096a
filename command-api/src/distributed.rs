//! The composition root of the binary `command-api`: the write API on Kafka, Redis and MySQL.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;

use clap::{Args, Parser, Subcommand};
use distributed::kafka::{Cluster, KafkaLog, PrepareError};
use distributed::mysql::MySqlCounts;
use distributed::numbers::{Names, RedisSequencer, StartError as NumbersError};
use event_log::EventLog;
use futures_util::FutureExt;
use service::config::{self, Cors, KafkaArgs, LogArgs, MysqlArgs, PublicReadUrl, RedisArgs, WriteAddr};
use service::health::{Part, Readiness};
use service::healthcheck::healthcheck;
use service::listen::{BindError, bind};
use service::metrics::{Metrics, MetricsError};
use service::preparing::{look_after, prepared};
use service::router::{Surroundings, finish};
use service::serve::serve;
use service::{shutdown, telemetry};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

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
    readiness: Readiness,
    commands: Commands,
    log: Arc<KafkaLog>,
    servers: TaskTracker,
    /// What makes ready, and looks after what is.
    watching: tokio::task::JoinHandle<Result<(), PrepareError>>,
    stop: CancellationToken,
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
    /// The address cannot be listened on.
    #[error(transparent)]
    Bind(BindError),
    /// Metrics cannot be recorded.
    #[error(transparent)]
    Metrics(MetricsError),
}

impl Process {
    /// Opens the port and begins to answer; what it needs may come later. `stop` ends it, see [`Process::wait`].
    ///
    /// # Errors
    /// [`StartError`] says what to do.
    pub async fn start(config: &Config, stop: CancellationToken) -> Result<Self, StartError> {
        let log = Arc::new(KafkaLog::connect(Cluster::new(&config.kafka.kafka_brokers)).map_err(StartError::Kafka)?);
        let counts = MySqlCounts::new(&config.mysql.mysql_url).map_err(StartError::MySql)?;
        let sequencer = RedisSequencer::start(&config.redis.redis_url, Names::default(), &log, Arc::new(counts));
        let sequencer = Arc::new(sequencer.map_err(StartError::Numbers)?);
        let listener = bind(config.write.write_addr, "--write-addr").await.map_err(StartError::Bind)?;
        let metrics = Metrics::install().map_err(StartError::Metrics)?;
        let readiness = Readiness::new();
        let commands = Commands::new(Arc::clone(&log) as _, Arc::clone(&sequencer) as _);
        let write_addr = listener.local_addr().unwrap_or(config.write.write_addr);
        let routes = crate::routes(commands.clone(), config.public.public_read_url.clone());
        let router = finish(
            routes,
            Surroundings {
                readiness: readiness.clone(),
                other_port: crate::routes::OTHER_PORT,
                cors_origins: config.cors.cors_origins.clone(),
                metrics: metrics.at_port("write"),
            },
        );
        let servers = TaskTracker::new();
        servers.spawn(serve(listener, router, stop.clone()));
        servers.spawn(tell_of_numbers(sequencer, readiness.part("numbers"), stop.clone()));
        let watching = tokio::spawn(watch_log(Arc::clone(&log), readiness.part("log"), stop.clone()));
        Ok(Self { write_addr, readiness, commands, log, servers, watching, stop })
    }

    /// Where writes are answered.
    pub const fn write_addr(&self) -> SocketAddr {
        self.write_addr
    }

    /// Waits for the stop, and then until what is under way is answered and acknowledged.
    ///
    /// # Errors
    /// What makes it of no use to go on.
    pub async fn wait(self) -> Result<(), Box<dyn Error>> {
        let watched = self.watching.await;
        // Also where nothing could be made ready: the others must end, too.
        self.stop.cancel();
        self.readiness.drain();
        self.servers.close();
        self.servers.wait().await;
        self.commands.drain().await;
        self.log.close().await;
        Ok(watched??)
    }
}

/// Makes the log ready, and tells whether it is away from then on.
async fn watch_log(log: Arc<KafkaLog>, part: Part, stop: CancellationToken) -> Result<(), PrepareError> {
    if prepared(&part, &stop, PrepareError::is_lasting, || log.prepare().boxed()).await?.is_some() {
        look_after(part, stop, || async { if log.is_away() { Err(LogAway) } else { Ok(()) } }).await;
    }
    Ok(())
}

/// What /health/ready says of the log.
#[derive(Debug, thiserror::Error)]
#[error("Kafka is away")]
struct LogAway;

/// Tells whether numbers can be given.
async fn tell_of_numbers(sequencer: Arc<RedisSequencer>, part: Part, stop: CancellationToken) {
    let mut trouble = sequencer.trouble();
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
