//! What the faults happen to: servers of their own, two command-apis that can be stopped, projectors and a query API.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use clap::Parser;
use distributed::kafka::{Cluster, KafkaLog, PARTITIONS};
use distributed::mysql::MySqlProjections;
use distributed::numbers::Names;
use event_log::{EventLog, ReadLimit};
use events::{Epoch, PartitionId, Position, StreamKey};
use projector::distributed::{Kept, Process};
use read_model::{Projection, ProjectionStore};
use redis::cmd;
use sqlx::mysql::MySqlConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions};
use testcontainers::bollard::Docker;
use testcontainers::core::{CmdWaitFor, ExecCommand};
use testkit::scenarios::{Api, Port, eventually};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use super::clients::Chats;
use super::program::{Program, Servers};
use super::wire::Wire;
use crate::containers::{self, Server, SideDoor, answers, brokers, free_port, redis_url};

/// Chats that are posted to all the time.
const WARM: usize = 4;
/// Chats whose counters are forgotten before each fault.
const COLD: usize = 60;
/// Longest wait for the projections to come to the log's end.
const CAUGHT_UP: Duration = Duration::from_secs(300);
/// Pause between two looks at how far they are.
const LOOK: Duration = Duration::from_millis(50);
/// How much of the log is read at once.
const READ: ReadLimit = ReadLimit { records: 4_096, wait: Duration::from_secs(1) };

/// All of it.
pub(crate) struct Ground {
    pub(crate) kafka: Server,
    pub(crate) redis: Server,
    pub(crate) log: KafkaLog,
    pub(crate) store: MySqlProjections,
    pub(crate) programs: [Program; 2],
    /// Between the first of them and Kafka.
    pub(crate) wire: Wire,
    servers: Servers,
    counts: Projector,
    _views: Projector,
    /// One for each command-api.
    pub(crate) apis: Vec<Api>,
    seen: Seen,
    _reads: DropGuard,
}

/// A projector in this process, until it is stopped or dropped.
struct Projector {
    stop: DropGuard,
    running: JoinHandle<()>,
}

/// How far the log has been looked at, and which epoch was the last to start in each partition.
#[derive(Default)]
struct Seen {
    next: Position,
    epochs: BTreeMap<PartitionId, Epoch>,
}

/// What has come into the log since it was looked at before.
#[derive(Debug, Default)]
pub(crate) struct Came {
    pub(crate) void: usize,
    /// How many epochs have started.
    pub(crate) epochs: usize,
}

impl Ground {
    pub(crate) async fn start() -> Self {
        let side_port = free_port();
        let wire = Wire::to(side_port).await;
        let kafka = containers::own_kafka(Some(SideDoor { port: side_port, advertised: wire.port })).await;
        let (redis, mysql_url) = (containers::changeable_redis().await, own_database().await);
        let servers = Servers { brokers: brokers(&kafka), redis_url: redis_url(&redis), mysql_url };
        let by_wire = Servers { brokers: format!("127.0.0.1:{}", wire.port), ..servers.clone() };
        let programs = [Program::start("command-api-1", &by_wire), Program::start("command-api-2", &servers)];
        let counts = Projector::start(&servers, Kept::Counts(servers.mysql_url.clone())).await;
        let views = Projector::start(&servers, Kept::Views(servers.mysql_url.clone())).await;
        let stop = CancellationToken::new();
        // Nobody searches: so there is no Elasticsearch.
        let arguments = ["query-api", "--read-addr", "127.0.0.1:0", "--mysql-url", &servers.mysql_url];
        let arguments = arguments.into_iter().chain(["--elasticsearch-url", "http://127.0.0.1:9"]);
        let config = query_api::distributed::Cli::parse_from(arguments).serve;
        let reads = query_api::distributed::Process::start(&config, stop.clone()).await.unwrap();
        let read_url = format!("http://{}", reads.read_addr());
        tokio::spawn(reads.wait());
        let ground = Self {
            apis: programs.iter().map(|program| Api::new(&program.url(), &read_url)).collect(),
            log: KafkaLog::connect(Cluster::new(servers.brokers.as_str())).unwrap(),
            store: MySqlProjections::new(&servers.mysql_url).unwrap(),
            seen: Seen::default(),
            _reads: stop.drop_guard(),
            _views: views,
            kafka,
            redis,
            programs,
            wire,
            servers,
            counts,
        };
        ground.ready().await;
        ground
    }

    /// Waits until both command-apis say that they are.
    pub(crate) async fn ready(&self) {
        for api in &self.apis {
            eventually("readiness", async || {
                // What is not started yet refuses connections.
                if api.is_ready(Port::Write).await { Ok(()) } else { Err("not ready") }
            })
            .await;
        }
    }

    /// The sum of a metric over both command-apis, whatever its labels.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let mut sum = 0.0;
        for program in &self.programs {
            let metrics = reqwest::get(format!("{}/metrics", program.url())).await.unwrap().text().await.unwrap();
            let values =
                metrics.lines().filter_map(|line| line.strip_prefix(name)).filter(|rest| rest.starts_with(['{', ' ']));
            sum += values.map(|rest| rest.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum::<f64>();
        }
        sum
    }

    /// A new application, with chats that are posted to and such as nobody has posted to for long.
    pub(crate) async fn chats(&self) -> Chats {
        let api = &self.apis[0];
        let application = api.application("faults").await;
        let mut chats = Vec::new();
        for _ in 0..WARM + COLD {
            chats.push(api.chat(&application).await);
            api.post(&chats[chats.len() - 1], &Uuid::new_v4().to_string()).await;
        }
        let cold = chats.split_off(WARM);
        self.forget(&cold).await;
        Chats { application, warm: chats, cold }
    }

    /// Makes Redis forget counters, as it does by itself when they have not been used for a day.
    async fn forget(&self, chats: &[String]) {
        let mut redis = self.connection().await;
        let value: String = cmd("GET").arg("tally:epoch").query_async(&mut redis).await.unwrap();
        let epoch = Epoch(value.split('@').next().unwrap().parse().unwrap());
        let counter = |chat: &String| Names::default().counter(epoch, &stream(chat));
        let counters: Vec<_> = chats.iter().map(counter).collect();
        let forgotten: usize = cmd("DEL").arg(counters).query_async(&mut redis).await.unwrap();
        assert_eq!(forgotten, chats.len());
    }

    pub(crate) async fn connection(&self) -> redis::aio::MultiplexedConnection {
        let client = redis::Client::open(self.servers.redis_url.as_str()).unwrap();
        client.get_multiplexed_async_connection().await.unwrap()
    }

    /// Deletes every key.
    pub(crate) async fn flush(&self) {
        let () = cmd("FLUSHALL").query_async(&mut self.connection().await).await.unwrap();
    }

    /// Waits until somebody holds the lock of those who begin an epoch.
    pub(crate) async fn somebody_fences(&self) {
        let redis = self.connection().await;
        eventually("a fence", async || {
            let held: Option<String> = cmd("GET").arg("tally:lock").query_async(&mut redis.clone()).await.unwrap();
            held.ok_or("nobody holds the lock")
        })
        .await;
    }

    /// Runs a command where Redis is.
    pub(crate) async fn in_redis(&self, command: &str) {
        let command = ExecCommand::new(["sh", "-c", command]).with_cmd_ready_condition(CmdWaitFor::exit_code(0));
        self.redis.container.exec(command).await.unwrap();
    }

    /// Kills Redis and starts it again.
    pub(crate) async fn restart_redis(&self) {
        let docker = Docker::connect_with_defaults().unwrap();
        docker.kill_container(self.redis.container.id(), None).await.unwrap();
        eventually("the end of Redis", async || {
            if self.redis.container.is_running().await.unwrap() { Err("it runs") } else { Ok(()) }
        })
        .await;
        self.redis.container.start().await.unwrap();
        answers(&self.redis).await;
    }

    pub(crate) async fn stop_counts(&mut self) {
        let stopped = Projector { stop: CancellationToken::new().drop_guard(), running: tokio::spawn(async {}) };
        let counts = std::mem::replace(&mut self.counts, stopped);
        drop(counts.stop);
        counts.running.await.unwrap();
    }

    pub(crate) async fn start_counts(&mut self) {
        self.counts = Projector::start(&self.servers, Kept::Counts(self.servers.mysql_url.clone())).await;
    }

    /// Waits until a projection has come to what the log's end is now.
    pub(crate) async fn caught_up(&self, projection: Projection) {
        let (end, deadline) = (self.log.end().await.unwrap(), Instant::now() + CAUGHT_UP);
        for (partition, bound) in end.bounds() {
            while self.store.checkpoint(projection, partition).await.unwrap().next < bound {
                assert!(Instant::now() < deadline, "{projection:?} did not come to the end of {partition:?}");
                tokio::time::sleep(LOOK).await;
            }
        }
    }

    /// How many events were parked.
    pub(crate) async fn parked(&self) -> usize {
        let mut parked = 0;
        for partition in PARTITIONS.partitions() {
            parked += self.store.dead_letters(partition, 10).await.unwrap().len();
        }
        parked
    }

    /// Reads the log on, from where it was read to before.
    pub(crate) async fn came(&mut self) -> Came {
        let (end, mut came) = (self.log.end().await.unwrap(), Came::default());
        let before = self.seen.highest();
        for (partition, bound) in end.bounds() {
            let mut next = self.seen.next.bound(partition);
            while next < bound {
                let stretch = self.log.read(partition, next, READ).await.unwrap();
                let highest = self.seen.epochs.entry(partition).or_default();
                let mut starts = stretch.epochs.iter().peekable();
                for event in &stretch.events {
                    while let Some(start) = starts.next_if(|start| start.offset < event.offset) {
                        *highest = start.epoch.max(*highest);
                    }
                    came.void += usize::from(event.record.epoch.is_some_and(|epoch| epoch < *highest));
                }
                starts.for_each(|start| *highest = start.epoch.max(*highest));
                next = stretch.next;
            }
            self.seen.next.merge(&Position::of(partition, next));
        }
        came.epochs = usize::from(self.seen.highest() > before);
        came
    }
}

impl Seen {
    fn highest(&self) -> Epoch {
        self.epochs.values().copied().max().unwrap_or_default()
    }
}

impl Projector {
    async fn start(servers: &Servers, kept: Kept) -> Self {
        let stop = CancellationToken::new();
        let address = (std::net::Ipv4Addr::LOCALHOST, 0).into();
        let process = Process::start(address, &servers.brokers, &kept, stop.clone()).await.unwrap();
        let running = tokio::spawn(async move { process.wait().await.unwrap() });
        Self { stop: stop.drop_guard(), running }
    }
}

async fn own_database() -> String {
    let (server, name) = (containers::mysql().await, format!("faults_{}", Uuid::new_v4().simple()));
    let mut connection = server.parse::<MySqlConnectOptions>().unwrap().connect().await.unwrap();
    sqlx::query(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut connection).await.unwrap();
    format!("{server}/{name}")
}

/// The stream of a chat by its path.
pub(crate) fn stream(chat: &str) -> StreamKey {
    let mut parts = chat.rsplit('/');
    let (number, token) = (parts.next().unwrap(), parts.nth(1).unwrap());
    format!("{token}:{number}").parse().unwrap()
}
