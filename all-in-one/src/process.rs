//! Which adapter serves which port, and in what order all of it starts and stops.

use std::net::SocketAddr;
use std::sync::Arc;

use command_api::Commands;
use embedded::{DataDir, OpenError, SqliteLog, SqliteProjections, SqliteSequencer};
use event_log::{EventLog, ReadError};
use projector::target::ApplyError;
use projector::{RunLoop, Target};
use query_api::Queries;
use service::health::Readiness;
use service::listen::{BindError, bind};
use service::serve::serve;
use service::telemetry::chain;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;

/// A running Tally.
pub struct Process {
    write_addr: SocketAddr,
    read_addr: SocketAddr,
    readiness: Readiness,
    commands: Commands,
    log: Arc<SqliteLog>,
    projections: Arc<SqliteProjections>,
    servers: TaskTracker,
    run_loops: TaskTracker,
    /// Stops the servers.
    stop: CancellationToken,
    /// Stops the run loops, once no command can write any more.
    stop_projecting: CancellationToken,
    /// Held until everything is closed.
    _data_dir: DataDir,
}

/// Why Tally does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory or a file in it cannot be used.
    #[error(transparent)]
    Data(OpenError),
    /// An address cannot be listened on.
    #[error(transparent)]
    Bind(BindError),
    /// Where the projections stand cannot be told.
    #[error("the projections cannot be asked where they stand")]
    Projections(#[source] ApplyError),
    /// Where the log ends cannot be told.
    #[error("the event log cannot be asked where it ends")]
    Log(#[source] ReadError),
    /// The projections have seen events that the log does not have.
    #[error(
        "the projection {projection} has seen {ahead} more events than the event log holds: a part of the log was lost; \
         restore the data directory from a copy, or, to go on without those events, delete views.sqlite in it"
    )]
    LogShortened {
        /// Which projection.
        projection: &'static str,
        /// How many events are missing at least.
        ahead: u64,
    },
}

impl Process {
    /// Opens the data directory and both ports, and begins to answer. `stop` ends it, see [`Process::wait`].
    ///
    /// # Errors
    /// [`StartError`] says what to do.
    pub async fn start(config: &Config, stop: CancellationToken) -> Result<Self, StartError> {
        let data_dir = DataDir::open(&config.data).map_err(StartError::Data)?;
        let write_listener = bind(config.write.write_addr, "--write-addr").await.map_err(StartError::Bind)?;
        let read_listener = bind(config.read.read_addr, "--read-addr").await.map_err(StartError::Bind)?;
        let log = Arc::new(data_dir.open_log().await.map_err(StartError::Data)?);
        let projections = data_dir.open_projections(log.log_id()).await.map_err(StartError::Data)?;
        let projections = Arc::new(projections);

        let targets = [
            Target::Views(Arc::clone(&projections) as _),
            Target::Counts(Arc::clone(&projections) as _),
            Target::Search(Arc::clone(&projections) as _),
        ];
        refuse_shortened_log(&log, &targets).await?;
        let commands = Commands::new(Arc::clone(&log) as _, Arc::new(SqliteSequencer::new(&log)));
        let queries = Queries::new(Arc::clone(&projections) as _, Arc::clone(&projections) as _);
        let process = Self {
            write_addr: local_addr(&write_listener, config.write.write_addr),
            read_addr: local_addr(&read_listener, config.read.read_addr),
            readiness: Readiness::new(),
            commands,
            log,
            projections,
            servers: TaskTracker::new(),
            run_loops: TaskTracker::new(),
            stop,
            stop_projecting: CancellationToken::new(),
            _data_dir: data_dir,
        };
        process.project(targets).await?;
        process.listen(write_listener, read_listener, config, queries);
        Ok(process)
    }

    /// Begins to feed the projections.
    async fn project(&self, targets: [Target; 3]) -> Result<(), StartError> {
        let end = self.log.end().await.map_err(StartError::Log)?;
        for (partition, _) in end.bounds() {
            for target in &targets {
                let part = self.readiness.part(target.projection().name());
                let log = Arc::clone(&self.log) as _;
                let run_loop = RunLoop { log, target: target.clone(), partition, part };
                let stop = self.stop_projecting.clone();
                self.run_loops.spawn(async move {
                    if let Err(stopped) = run_loop.run(stop).await {
                        tracing::error!(error = %chain(&stopped), "a projection has stopped");
                    }
                });
            }
        }
        Ok(())
    }

    /// Begins to answer.
    fn listen(&self, write_listener: TcpListener, read_listener: TcpListener, config: &Config, queries: Queries) {
        let writes = command_api::routes(self.commands.clone(), config.public.public_read_url.clone());
        let writes = service::router::finish(writes, self.readiness.clone(), command_api::routes::OTHER_PORT);
        let reads = query_api::routes(queries);
        let reads = service::router::finish(reads, self.readiness.clone(), query_api::routes::OTHER_PORT);
        self.servers.spawn(serve(write_listener, writes, self.stop.clone()));
        self.servers.spawn(serve(read_listener, reads, self.stop.clone()));
    }

    /// Where writes are answered.
    pub const fn write_addr(&self) -> SocketAddr {
        self.write_addr
    }

    /// Where reads are answered.
    pub const fn read_addr(&self) -> SocketAddr {
        self.read_addr
    }

    /// Waits for the stop, and then until what is under way is answered, committed and closed.
    pub async fn wait(self) {
        self.stop.cancelled().await;
        self.readiness.drain();
        self.servers.close();
        self.servers.wait().await;
        self.commands.drain().await;
        self.stop_projecting.cancel();
        self.run_loops.close();
        self.run_loops.wait().await;
        if let Err(error) = self.projections.close().await {
            tracing::warn!(error = %chain(&error), "the projections were not closed cleanly; nothing is lost");
        }
        self.log.close().await;
    }
}

/// The address with the port that the system chose, where it was asked to.
fn local_addr(listener: &TcpListener, asked: SocketAddr) -> SocketAddr {
    listener.local_addr().unwrap_or(asked)
}

async fn refuse_shortened_log(log: &SqliteLog, targets: &[Target]) -> Result<(), StartError> {
    let end = log.end().await.map_err(StartError::Log)?;
    for target in targets {
        for (partition, end) in end.bounds() {
            let checkpoint = target.checkpoint(partition).await.map_err(StartError::Projections)?;
            if checkpoint > end {
                let projection = target.projection().name();
                return Err(StartError::LogShortened { projection, ahead: checkpoint.0 - end.0 });
            }
        }
    }
    Ok(())
}
