//! A running write API on Kafka, Redis and MySQL.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;

use distributed::kafka::{Cluster, KafkaLog, PrepareError};
use distributed::mysql::MySqlCounts;
use distributed::sequencer::{RedisKeys, RedisSequencer};
use event_log::EventLog;
use futures_util::FutureExt;
use service::health::Part;
use service::host::Host;
use service::startup::{monitor, retry_until_ready};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::cli::Config;
use crate::commands::Commands;

/// A running write API.
pub struct Process {
    write_addr: SocketAddr,
    host: Host,
    commands: Commands,
    log: Arc<KafkaLog>,
    /// Prepares the log, and then watches whether it is away.
    watching: JoinHandle<Result<(), PrepareError>>,
}

impl Process {
    /// Opens the port and begins to answer, even if the servers are still away. `stop` ends it, see [`Process::wait`].
    ///
    /// # Errors
    /// A message that says what to do.
    pub async fn start(config: &Config, stop: CancellationToken) -> Result<Self, Box<dyn Error>> {
        let mut host = Host::new(stop)?;
        let log = Arc::new(KafkaLog::connect(Cluster::new(&config.kafka.kafka_brokers))?);
        let counts = Arc::new(MySqlCounts::new(&config.mysql.mysql_url)?);
        let sequencer = Arc::new(RedisSequencer::start(&config.redis.redis_url, RedisKeys::default(), &log, counts)?);
        let commands = Commands::new(Arc::clone(&log) as _, Arc::clone(&sequencer) as _);
        let routes = crate::routes(commands.clone(), config.public.public_read_url.clone());
        let port = crate::routes::port(config.cors.cors_origins.clone());
        let write_addr = host.bind_and_serve(config.write.write_addr, "--write-addr", port, routes).await?;
        let readiness = host.readiness().clone();
        let stop = host.stop().clone();
        host.spawn(watch_sequencer(sequencer, readiness.part("numbers"), stop.clone()));
        let watching = tokio::spawn(watch_log(Arc::clone(&log), readiness.part("log"), stop));
        host.mark_started();
        Ok(Self { write_addr, host, commands, log, watching })
    }

    /// The address of the write API.
    pub const fn write_addr(&self) -> SocketAddr {
        self.write_addr
    }

    /// Waits for the stop, and then until every request is answered and every append acknowledged.
    ///
    /// # Errors
    /// If the log cannot be used until somebody acts.
    pub async fn wait(mut self) -> Result<(), Box<dyn Error>> {
        let watched = self.host.wait_for_task(self.watching).await;
        self.commands.drain().await;
        self.log.close().await;
        Ok(watched??)
    }
}

/// Prepares the log, and from then on keeps its part up to date.
async fn watch_log(log: Arc<KafkaLog>, part: Part, stop: CancellationToken) -> Result<(), PrepareError> {
    if retry_until_ready(&part, &stop, PrepareError::is_lasting, || log.prepare().boxed()).await?.is_some() {
        monitor(part, stop, || async { if log.is_away() { Err(LogAway) } else { Ok(()) } }).await;
    }
    Ok(())
}

/// The reason in /health/ready while Kafka is away.
#[derive(Debug, thiserror::Error)]
#[error("Kafka is away")]
struct LogAway;

/// Keeps the part of the numbers up to date: it fails while no number can be reserved.
async fn watch_sequencer(sequencer: Arc<RedisSequencer>, part: Part, stop: CancellationToken) {
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
