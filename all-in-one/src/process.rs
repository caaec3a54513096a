//! Which adapter serves which port, and in what order all of it starts and stops.

use std::net::SocketAddr;
use std::sync::Arc;

use command_api::Commands;
use embedded::SqliteSequencer;
use projector::run_loop;
use projector::{Fatal, RunLoop, RunLoops};
use query_api::Queries;
use service::health::Readiness;
use service::listen::{BindError, bind};
use service::metrics::{Metrics, MetricsError};
use service::router::{Surroundings, finish};
use service::serve::serve;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::data::{Data, DataError};
use crate::progress;

/// What is not ready when the file of the projections is found to be damaged.
const PROJECTIONS_PART: &str = "views.sqlite";

/// A running Tally.
pub struct Process {
    write_addr: SocketAddr,
    read_addr: SocketAddr,
    readiness: Readiness,
    commands: Commands,
    data: Data,
    servers: TaskTracker,
    run_loops: RunLoops,
    /// What looks after the projections beside the run loops.
    watches: TaskTracker,
    /// Stops the servers.
    stop: CancellationToken,
    /// Stops the run loops, once no command can write any more.
    stop_projecting: CancellationToken,
}

/// Why Tally does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory cannot be used.
    #[error(transparent)]
    Data(DataError),
    /// An address cannot be listened on.
    #[error(transparent)]
    Bind(BindError),
    /// Metrics cannot be recorded.
    #[error(transparent)]
    Metrics(MetricsError),
}

impl Process {
    /// Opens the data directory and both ports, and begins to answer. `stop` ends it, see [`Process::wait`].
    ///
    /// # Errors
    /// [`StartError`] says what to do.
    pub async fn start(config: &Config, stop: CancellationToken) -> Result<Self, StartError> {
        let data = Data::open(&config.data.data).await.map_err(StartError::Data)?;
        let write_listener = bind(config.write.write_addr, "--write-addr").await.map_err(StartError::Bind)?;
        let read_listener = bind(config.read.read_addr, "--read-addr").await.map_err(StartError::Bind)?;
        let commands = Commands::new(Arc::clone(&data.log) as _, Arc::new(SqliteSequencer::new(&data.log)));
        let queries = Queries::new(Arc::clone(&data.projections) as _, Arc::clone(&data.projections) as _);
        let metrics = Metrics::install().map_err(StartError::Metrics)?;
        let mut process = Self {
            write_addr: local_addr(&write_listener, config.write.write_addr),
            read_addr: local_addr(&read_listener, config.read.read_addr),
            readiness: Readiness::new(),
            commands,
            data,
            servers: TaskTracker::new(),
            run_loops: RunLoops::new(),
            watches: TaskTracker::new(),
            stop,
            stop_projecting: CancellationToken::new(),
        };
        process.project().await?;
        process.watch_for_damage();
        process.listen(write_listener, read_listener, config, &metrics, queries);
        Ok(process)
    }

    /// Begins to feed the projections.
    async fn project(&mut self) -> Result<(), StartError> {
        let feeds = self.data.feeds().await.map_err(StartError::Data)?;
        self.watches.spawn(progress::watch(feeds.clone(), self.stop_projecting.clone()));
        for feed in feeds {
            let part = self.readiness.part(feed.target.projection().name());
            self.run_loops.spawn(RunLoop::new(feed, part).run(self.stop_projecting.clone()));
        }
        Ok(())
    }

    /// Nothing that was read from a damaged file can be trusted: whoever sends requests here should stop.
    fn watch_for_damage(&self) {
        let part = self.readiness.part(PROJECTIONS_PART);
        part.ready();
        let (projections, stop) = (Arc::clone(&self.data.projections), self.stop_projecting.clone());
        self.watches.spawn(async move {
            if stop.run_until_cancelled(projections.damaged()).await.is_some() {
                part.failed(
                    "the file is damaged; stop tally, delete the file, start tally: it is rebuilt from the log",
                );
            }
        });
    }

    /// Begins to answer.
    fn listen(
        &self,
        write_listener: TcpListener,
        read_listener: TcpListener,
        config: &Config,
        metrics: &Metrics,
        queries: Queries,
    ) {
        let surroundings = |port, other_port| Surroundings {
            readiness: self.readiness.clone(),
            other_port,
            cors_origins: config.cors.cors_origins.clone(),
            metrics: metrics.clone().at_port(port),
        };
        let writes = command_api::routes(self.commands.clone(), config.public.public_read_url.clone());
        let writes = finish(writes, surroundings("write", command_api::routes::OTHER_PORT));
        let reads = finish(query_api::routes(queries), surroundings("read", query_api::routes::OTHER_PORT));
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
    ///
    /// # Errors
    /// [`Fatal`] has stopped it: what is shown would not go on to follow what is written.
    pub async fn wait(mut self) -> Result<(), Fatal> {
        let first = tokio::select! {
            () = self.stop.cancelled() => Ok(()),
            fatal = run_loop::fatal(&mut self.run_loops) => Err(fatal),
        };
        self.stop.cancel();
        self.readiness.drain();
        self.servers.close();
        self.servers.wait().await;
        self.commands.drain().await;
        self.stop_projecting.cancel();
        let ended = run_loop::ended(self.run_loops).await;
        self.watches.close();
        self.watches.wait().await;
        self.data.close().await;
        first.and(ended)
    }
}

/// The address with the port that the system chose, where it was asked to.
fn local_addr(listener: &TcpListener, asked: SocketAddr) -> SocketAddr {
    listener.local_addr().unwrap_or(asked)
}
