//! Which adapter serves which port, and in what order all of it starts and stops.

use std::net::SocketAddr;
use std::sync::Arc;

use command_api::Commands;
use embedded::SqliteSequencer;
use projector::run_loop;
use projector::{Fatal, RunLoop, RunLoops};
use query_api::Queries;
use service::host::{Host, HostError};
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
    host: Host,
    commands: Commands,
    data: Data,
    run_loops: RunLoops,
    /// What looks after the projections beside the run loops.
    watches: TaskTracker,
    /// Stops the run loops, once no command can write any more.
    stop_projecting: CancellationToken,
}

/// Why Tally does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory cannot be used.
    #[error(transparent)]
    Data(DataError),
    /// It cannot begin to answer.
    #[error(transparent)]
    Host(HostError),
}

impl Process {
    /// Opens the data directory and both ports, and begins to answer. `stop` ends it, see [`Process::wait`].
    ///
    /// # Errors
    /// [`StartError`] says what to do.
    pub async fn start(config: &Config, stop: CancellationToken) -> Result<Self, StartError> {
        let host = Host::new(stop).map_err(StartError::Host)?;
        let data = Data::open(&config.data.data).await.map_err(StartError::Data)?;
        let writes = host.bind(config.write.write_addr, "--write-addr").await.map_err(StartError::Host)?;
        let reads = host.bind(config.read.read_addr, "--read-addr").await.map_err(StartError::Host)?;
        let commands = Commands::new(Arc::clone(&data.log) as _, Arc::new(SqliteSequencer::new(&data.log)));
        let queries = Queries::new(Arc::clone(&data.projections) as _, Arc::clone(&data.projections) as _);
        let mut process = Self {
            write_addr: writes.addr,
            read_addr: reads.addr,
            host,
            commands,
            data,
            run_loops: RunLoops::new(),
            watches: TaskTracker::new(),
            stop_projecting: CancellationToken::new(),
        };
        process.project().await?;
        process.watch_for_damage();
        let (public_read_url, cors_origins) = (&config.public.public_read_url, &config.cors.cors_origins);
        let write_routes = command_api::routes(process.commands.clone(), public_read_url.clone());
        process.host.serve(writes, command_api::routes::port(cors_origins.clone()), write_routes);
        process.host.serve(reads, query_api::routes::port(cors_origins.clone()), query_api::routes(queries));
        process.host.mark_started();
        Ok(process)
    }

    /// Begins to feed the projections.
    async fn project(&mut self) -> Result<(), StartError> {
        let feeds = self.data.feeds().await.map_err(StartError::Data)?;
        self.watches.spawn(progress::watch(feeds.clone(), self.stop_projecting.clone()));
        for feed in feeds {
            let part = self.host.readiness().part(feed.target.projection().name());
            self.run_loops.spawn(RunLoop::new(feed, part).run(self.stop_projecting.clone()));
        }
        Ok(())
    }

    /// Nothing that was read from a damaged file can be trusted: whoever sends requests here should stop.
    fn watch_for_damage(&self) {
        let part = self.host.readiness().part(PROJECTIONS_PART);
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
            () = self.host.stop().cancelled() => Ok(()),
            fatal = run_loop::fatal(&mut self.run_loops) => Err(fatal),
        };
        self.host.stop().cancel();
        self.host.wait().await;
        self.commands.drain().await;
        self.stop_projecting.cancel();
        let ended = run_loop::ended(self.run_loops).await;
        self.watches.close();
        self.watches.wait().await;
        self.data.close().await;
        first.and(ended)
    }
}
