//! A running Tally: its adapters, and the order in which everything starts and stops.

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;

use access::{ACCESS_PART, AuthMode, Authority, AuthorityConfig};
use command_api::Commands;
use embedded::SqliteSequencer;
use event_log::{EventLog, MarkerLog};
use projector::run_loop::PAUSED_PART;
use projector::upgrade::Upgrade;
use projector::{Fatal, RunLoop, RunLoops, lag, run_loop};
use query_api::{FeedQueries, Queries};
use read_model::{Access, Feed, Projection};
use service::codes::bodies::BODY_CODES;
use service::front_page;
use service::host::{Host, Port};
use service::program::WrongUsage;
use service::startup::monitor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::config::Config;
use crate::data::{Data, DataError};
use crate::operator::{self, Operated, Operator};
use crate::progress;
use crate::secrets::{self, SecretsError};

/// The part of readiness that fails while a live projection is damaged.
const PROJECTIONS_PART: &str = "projections";

/// The part of readiness that fails while the log cannot be written, or once it was found damaged.
const LOG_PART: &str = "log.sqlite";

/// The parts that reads do not need. They are answered from the projections, also from paused ones.
const NOT_FOR_READS: &[&str] = &[LOG_PART, PAUSED_PART];

/// The parts that writes do not need. A projection that lags, is damaged or paused does not keep the write port from writing.
const NOT_FOR_WRITES: &[&str] =
    &[Projection::Views.name(), Projection::Counts.name(), Projection::Search.name(), PROJECTIONS_PART, PAUSED_PART];

/// A running Tally.
pub struct Process {
    write_addr: SocketAddr,
    read_addr: SocketAddr,
    operator_addr: SocketAddr,
    auth_mode: AuthMode,
    operator: Operator,
    host: Host,
    commands: Commands,
    data: Data,
    run_loops: RunLoops,
    /// The tasks that draw progress bars, look for damage and free memory.
    watches: TaskTracker,
    /// Stops the run loops and the watches, once no command can write any more.
    stop_projecting: CancellationToken,
}

impl Process {
    /// Opens the data directory and both ports, and begins to answer. `stop` ends the process; see [`Process::wait`].
    ///
    /// # Errors
    /// A message that says what to do.
    pub async fn start(config: &Config, stop: CancellationToken) -> Result<Self, Box<dyn Error>> {
        config.refuse_same_port().map_err(WrongUsage::new)?;
        let host = Host::new(stop)?;
        // Before the data: a start on a port in use leaves no data directory behind.
        let writes = host.bind(config.ports.write.write_addr, "--write-addr").await?;
        let reads = host.bind(config.ports.read.read_addr, "--read-addr").await?;
        let operators = host.bind(config.operator.operator_addr, "--operator-addr").await?;
        let data = Data::open(&config.data.data).await?;
        data.look_for_damaged_letters().await?;
        let operator_key = Uuid::new_v4();
        data.directory.publish_operator(operators.addr, operator_key)?;
        let commands = Commands::new(Arc::clone(&data.log) as _, Arc::new(SqliteSequencer::new(&data.log)));
        let projections = &data.projections;
        let queries = Queries::new(Arc::clone(projections) as _, Arc::clone(projections) as _, host.stop().clone())
            .with_log(Arc::clone(&data.log) as _);
        let feed: Arc<dyn Feed> = Arc::clone(projections) as _;
        let mut process = Self {
            write_addr: writes.addr,
            read_addr: reads.addr,
            operator_addr: operators.addr,
            auth_mode: config.auth.mode(&[config.ports.write.write_addr, config.ports.read.read_addr]),
            operator: Operator::new(Operated::serving(&data), operator_key, host.stop().clone()),
            host,
            commands,
            data,
            run_loops: RunLoops::new(),
            watches: TaskTracker::new(),
            stop_projecting: CancellationToken::new(),
        };
        process.start_projecting().await?;
        process.start_upgrading();
        process.watch_for_damage();
        process.watch_log();
        process.free_unused_memory();
        let read_url = config.public.or_at(process.read_addr);
        let write_url = config.public_write.or_at(process.write_addr);
        let hosts = config.http.hosts.hosts.clone().with_url(&read_url).with_url(&write_url);
        let write_page = front_page::routes(command_api::front_page::front_page(&write_url, &read_url));
        let read_page = front_page::routes(query_api::front_page::front_page(&write_url, &read_url));
        let write_port = command_api::routes::port(&config.http, &read_url);
        let access: Arc<dyn Access> = Arc::clone(&process.data.projections) as _;
        let authority = process.start_authority(config, Arc::clone(&access))?;
        let write_routes = command_api::routes(process.commands.clone(), Arc::clone(&access), read_url, &authority)?;
        let (streams, stop) = (process.host.streams().clone(), process.host.stop().clone());
        let feed = FeedQueries::new(queries.clone(), feed, authority.clone(), streams, stop);
        let read_routes = query_api::routes(queries, access, feed, &authority)?;
        let read_port = query_api::routes::port(&config.http, &write_url);
        let write_port = Port { hosts: hosts.clone(), ignored_parts: NOT_FOR_WRITES, ..write_port };
        process.host.serve(writes, write_port, write_routes.merge(write_page));
        let read_port = Port { hosts, ignored_parts: NOT_FOR_READS, ..read_port };
        process.host.serve(reads, read_port, read_routes.merge(read_page));
        let operator_codes = vec![BODY_CODES, operator::codes::CODES];
        process.host.serve_operator(operators, operator::port::routes(process.operator.clone()), operator_codes);
        process.host.mark_started();
        Ok(process)
    }

    /// Decides from now on who may use both APIs.
    fn start_authority(&mut self, config: &Config, access: Arc<dyn Access>) -> Result<Authority, SecretsError> {
        let credentials = secrets::load(&config.auth, self.data.directory.path())?;
        let stop = self.host.stop().clone();
        let authority_config = AuthorityConfig {
            mode: self.auth_mode,
            credentials,
            partitions: self.data.log.partitions(),
            max_age_while_away: config.auth.max_age_while_away,
        };
        let authority = Authority::new(authority_config, access, stop.clone());
        self.host.spawn(authority.clone().follow(stop.clone()));
        let (part, checked) = (self.host.readiness().part(ACCESS_PART), authority.clone());
        self.host.spawn(monitor(part, stop, move || std::future::ready(checked.check_current())));
        Ok(authority)
    }

    async fn start_projecting(&mut self) -> Result<(), DataError> {
        let feeds = self.data.feeds().await?;
        self.watches.spawn(progress::show_catching_up(feeds.clone(), self.stop_projecting.clone()));
        let mut reached = Vec::new();
        for feed in feeds {
            let (projection, partition, readiness) = (feed.projection(), feed.partition, self.host.readiness());
            let (part, paused) = (readiness.part(projection.name()), readiness.part(PAUSED_PART));
            let run_loop = RunLoop::new(feed, part).with_pauses(Arc::clone(&self.data.projections) as _, paused);
            reached.push((projection, partition, run_loop.subscribe()));
            self.run_loops.spawn(run_loop.run(self.stop_projecting.clone()));
        }
        let (log, stop) = (Arc::clone(&self.data.log) as Arc<dyn EventLog>, self.stop_projecting.clone());
        self.watches.spawn(async move {
            let _stopped: Option<Infallible> = stop.run_until_cancelled(lag::report_all(log, &reached)).await;
        });
        Ok(())
    }

    /// Makes anew what an earlier release has left, while people read it.
    fn start_upgrading(&self) {
        for projection in Projection::ALL {
            let upgrade = Upgrade { projection, generations: Arc::clone(&self.data.projections) as _ };
            let (log, stop) = (Arc::clone(&self.data.log), self.stop_projecting.clone());
            let open_log = async move || Ok(Arc::clone(&log) as Arc<dyn EventLog>);
            self.watches.spawn(async move {
                let _stopped: Option<Infallible> = stop.run_until_cancelled(upgrade.run(open_log)).await;
            });
        }
    }

    /// Ends readiness while a live projection is damaged, because answers from it may be wrong.
    fn watch_for_damage(&self) {
        let (part, projections) = (self.host.readiness().part(PROJECTIONS_PART), Arc::clone(&self.data.projections));
        part.ready();
        self.watches
            .spawn(monitor(part, self.stop_projecting.clone(), move || std::future::ready(projections.check_whole())));
    }

    /// Ends the readiness of the write port while the log cannot be written, and once it was found damaged.
    fn watch_log(&self) {
        let (part, log) = (self.host.readiness().part(LOG_PART), Arc::clone(&self.data.log));
        part.ready();
        self.watches
            .spawn(monitor(part, self.stop_projecting.clone(), move || std::future::ready(log.check_writable())));
    }

    fn free_unused_memory(&self) {
        let (log, projections) = (Arc::clone(&self.data.log), Arc::clone(&self.data.projections));
        self.watches.spawn(Data::free_unused_memory(log, projections, self.stop_projecting.clone()));
    }

    /// The address of the write API.
    pub const fn write_addr(&self) -> SocketAddr {
        self.write_addr
    }

    /// The address of the read API.
    pub const fn read_addr(&self) -> SocketAddr {
        self.read_addr
    }

    /// The address of the operator's port.
    pub const fn operator_addr(&self) -> SocketAddr {
        self.operator_addr
    }

    /// Who may use both APIs without a credential.
    pub const fn auth_mode(&self) -> AuthMode {
        self.auth_mode
    }

    /// Waits for the stop, and then until every request is answered, every event is committed and every file is closed.
    ///
    /// # Errors
    /// [`Fatal`] if a run loop has ended fatally: the views would no longer follow the log.
    pub async fn wait(mut self) -> Result<(), Fatal> {
        let outcome = tokio::select! {
            () = self.host.stop().cancelled() => Ok(()),
            fatal = run_loop::wait_for_fatal(&mut self.run_loops) => Err(fatal),
        };
        self.host.stop().cancel();
        self.host.wait().await;
        self.operator.wait().await;
        self.commands.drain().await;
        self.stop_projecting.cancel();
        let ended = run_loop::wait_for_ends(self.run_loops).await;
        self.watches.close();
        self.watches.wait().await;
        self.data.close().await;
        outcome.and(ended)
    }
}
