//! What the faults happen to: servers of their own, two command-apis that can be stopped, projectors and a query API.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::{Duration, Instant};

use clap::Parser;
use distributed::kafka::{Cluster, KafkaLog, PARTITIONS};
use distributed::mysql::MySqlProjections;
use distributed::sequencer::RedisKeys;
use event_log::{EventLog, LogBatch, ReadLimit};
use events::{Epoch, Event, Offset, PartitionId, Position, Record, StreamKey};
use projector::process::Process;
use read_model::{Projection, ProjectionStore};
use redis::cmd;
use sqlx::mysql::MySqlConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions};
use testcontainers::core::{CmdWaitFor, ExecCommand};
use testkit::scenarios::{Api, Port, eventually};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use super::clients::Chats;
use super::program::{Program, Servers};
use crate::containers::{self, Server, SideDoor, answers, brokers, free_port, redis_url};
use crate::topology::projector_config;
use crate::wire::Wire;

/// Chats that are posted to all the time.
const WARM: usize = 4;
/// Chats whose counters are forgotten before each fault.
const COLD: usize = 60;
/// Longest wait for the projections to come to the log's end.
const CAUGHT_UP: Duration = Duration::from_secs(300);
/// Pause between two looks at how far they are.
const LOOK: Duration = Duration::from_millis(50);
/// Where epochs are claimed.
const CLAIMS: PartitionId = PartitionId(0);
/// How much of the log is read at once.
const READ: ReadLimit = ReadLimit { records: 4_096, wait: Duration::from_secs(1) };

/// All of it.
pub(crate) struct Fixture {
    pub(crate) kafka: Server,
    pub(crate) redis: Server,
    pub(crate) log: KafkaLog,
    pub(crate) store: MySqlProjections,
    pub(crate) programs: [Program; 2],
    /// Between the first of them and Kafka.
    pub(crate) kafka_wire: Wire,
    /// Between the first of them and Redis.
    pub(crate) redis_wire: Wire,
    /// The projector of the views.
    pub(crate) views: Program,
    servers: Servers,
    counts: Projector,
    /// One for each command-api.
    pub(crate) apis: Vec<Api>,
    read_url: String,
    seen: CountsSnapshot,
    _reads: DropGuard,
}

/// A projector in this process, until it is stopped or dropped.
struct Projector {
    stop: DropGuard,
    running: JoinHandle<()>,
}

/// How far the log has been looked at, and which epoch was the last to start in each partition.
#[derive(Clone, Default)]
struct CountsSnapshot {
    next: Position,
    epochs: BTreeMap<PartitionId, Epoch>,
}

/// What has come into the log since it was looked at before.
#[derive(Debug, Default)]
pub(crate) struct Came {
    pub(crate) void: usize,
    /// The epochs that have been claimed: what is neither an event nor a start.
    pub(crate) claims: BTreeSet<Epoch>,
    /// Those that have started, be it in one partition.
    pub(crate) epochs: BTreeSet<Epoch>,
    pub(crate) valid: usize,
}

impl Fixture {
    pub(crate) async fn start() -> Self {
        let side_port = free_port();
        let kafka_wire = Wire::to(side_port).await;
        let kafka = containers::own_kafka(Some(SideDoor { port: side_port, advertised: kafka_wire.port })).await;
        let (redis, mysql_url) = (containers::changeable_redis().await, own_database().await);
        let redis_wire = Wire::to(redis.port).await;
        let servers = Servers { brokers: brokers(&kafka), redis_url: redis_url(&redis), mysql_url };
        let by_wire = Servers {
            brokers: format!("127.0.0.1:{}", kafka_wire.port),
            redis_url: format!("redis://127.0.0.1:{}", redis_wire.port),
            ..servers.clone()
        };
        let programs =
            [Program::command_api("command-api-1", &by_wire), Program::command_api("command-api-2", &servers)];
        let counts = Projector::start(&servers, Projection::Counts).await;
        let views = Program::views(&servers);
        let stop = CancellationToken::new();
        // Nobody searches: so there is no Elasticsearch.
        let arguments = ["query-api", "--read-addr", "127.0.0.1:0", "--mysql-url", &servers.mysql_url];
        let arguments = arguments.into_iter().chain(["--elasticsearch-url", "http://127.0.0.1:9"]);
        let config = query_api::cli::Cli::parse_from(arguments).serve;
        let reads = query_api::process::Process::start(&config, stop.clone()).await.unwrap();
        let read_url = format!("http://{}", reads.read_addr());
        tokio::spawn(reads.wait());
        let fixture = Self {
            apis: programs.iter().map(|program| Api::new(&program.url(), &read_url)).collect(),
            log: KafkaLog::connect(Cluster::new(servers.brokers.as_str())).unwrap(),
            store: MySqlProjections::new(&servers.mysql_url).unwrap(),
            read_url,
            seen: CountsSnapshot::default(),
            _reads: stop.drop_guard(),
            kafka,
            redis,
            programs,
            kafka_wire,
            redis_wire,
            views,
            servers,
            counts,
        };
        fixture.ready().await;
        fixture
    }

    /// Waits until both command-apis say that they are.
    pub(crate) async fn ready(&self) {
        for api in &self.apis {
            is_ready(api).await;
        }
    }

    /// A third command-api, which nobody else posts through.
    pub(crate) async fn quiet_command_api(&self) -> (Program, Api) {
        let program = Program::command_api("command-api-3", &self.servers);
        let api = Api::new(&program.url(), &self.read_url);
        is_ready(&api).await;
        (program, api)
    }

    /// The sum of a metric over both command-apis.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let mut sum = 0.0;
        for program in &self.programs {
            sum += program.metric(name).await;
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
        let epoch = self.epoch().await;
        let counters: Vec<_> = chats.iter().map(|chat| RedisKeys::default().counter(epoch, &stream(chat))).collect();
        let forgotten: usize = cmd("DEL").arg(counters).query_async(&mut self.connection().await).await.unwrap();
        assert_eq!(forgotten, chats.len());
    }

    /// The epoch that is in force, as Redis has it.
    pub(crate) async fn epoch(&self) -> Epoch {
        let value: String = cmd("GET").arg("tally:epoch").query_async(&mut self.connection().await).await.unwrap();
        Epoch(value.split('@').next().unwrap().parse().unwrap())
    }

    /// The number that Redis has given last in a chat, in an epoch.
    pub(crate) async fn counter(&self, epoch: Epoch, chat: &str) -> Option<u64> {
        let counter = RedisKeys::default().counter(epoch, &stream(chat));
        cmd("GET").arg(counter).query_async(&mut self.connection().await).await.unwrap()
    }

    pub(crate) async fn connection(&self) -> redis::aio::MultiplexedConnection {
        let client = redis::Client::open(self.servers.redis_url.as_str()).unwrap();
        client.get_multiplexed_async_connection().await.unwrap()
    }

    /// Deletes every key.
    pub(crate) async fn flush(&self) {
        let () = cmd("FLUSHALL").query_async(&mut self.connection().await).await.unwrap();
    }

    /// Waits until somebody holds the lock of those who begin an epoch; the answer is who.
    pub(crate) async fn somebody_fences(&self) -> String {
        let redis = self.connection().await;
        eventually("a fence", async || {
            let held: Option<String> = cmd("GET").arg("tally:lock").query_async(&mut redis.clone()).await.unwrap();
            held.ok_or("nobody holds the lock")
        })
        .await
    }

    /// Runs a command where Redis is.
    pub(crate) async fn in_redis(&self, command: &str) {
        let command = ExecCommand::new(["sh", "-c", command]).with_cmd_ready_condition(CmdWaitFor::exit_code(0));
        self.redis.container.exec(command).await.unwrap();
    }

    /// Kills Redis and starts it again.
    pub(crate) async fn restart_redis(&self) {
        self.redis.restart().await;
        answers(&self.redis).await;
    }

    pub(crate) async fn stop_counts(&mut self) {
        let stopped = Projector { stop: CancellationToken::new().drop_guard(), running: tokio::spawn(async {}) };
        let counts = std::mem::replace(&mut self.counts, stopped);
        drop(counts.stop);
        counts.running.await.unwrap();
    }

    pub(crate) async fn start_counts(&mut self) {
        self.counts = Projector::start(&self.servers, Projection::Counts).await;
    }

    /// Where the log ends. A client that was idle while Kafka was away was seen to know no partition for 5 s afterwards, which is
    /// as long as it asks by itself.
    async fn end(&self) -> Position {
        eventually("the end of the log", async || self.log.end().await).await
    }

    /// Waits until a projection has come to what the log's end is now.
    pub(crate) async fn caught_up(&self, projection: Projection) {
        let (end, deadline) = (self.end().await, Instant::now() + CAUGHT_UP);
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
        let (seen, came) = self.look(&HashSet::new()).await;
        self.seen = seen;
        came
    }

    /// What has come since of these messages. The next look begins where this one did.
    pub(crate) async fn came_of(&self, bodies: &HashSet<String>) -> Came {
        self.look(bodies).await.1
    }

    async fn look(&self, bodies: &HashSet<String>) -> (CountsSnapshot, Came) {
        let (end, mut seen, mut came) = (self.end().await, self.seen.clone(), Came::default());
        for (partition, bound) in end.bounds() {
            let mut next = seen.next.bound(partition);
            while next < bound {
                let log_batch = self.log.read(partition, next, READ).await.unwrap();
                came.add(&log_batch, partition, next, seen.epochs.entry(partition).or_default(), bodies);
                next = log_batch.next;
            }
            seen.next.merge(&Position::up_to(partition, next));
        }
        (seen, came)
    }
}

impl Came {
    /// Adds what lies in a batch of a partition; of the events only these messages, if any are named.
    fn add(
        &mut self,
        log_batch: &LogBatch,
        partition: PartitionId,
        from: Offset,
        highest: &mut Epoch,
        bodies: &HashSet<String>,
    ) {
        let mut starts = log_batch.epochs.iter().peekable();
        for event in &log_batch.events {
            while let Some(start) = starts.next_if(|start| start.offset < event.offset) {
                *highest = start.epoch.max(*highest);
            }
            if bodies.is_empty() || is_one_of(&event.record, bodies) {
                let is_void = event.record.epoch.is_some_and(|epoch| epoch < *highest);
                self.void += usize::from(is_void);
                self.valid += usize::from(!is_void);
            }
        }
        starts.for_each(|start| *highest = start.epoch.max(*highest));
        self.epochs.extend(log_batch.epochs.iter().map(|start| start.epoch));
        if partition == CLAIMS {
            let others = log_batch.events.iter().map(|event| event.offset);
            let others: HashSet<_> = others.chain(log_batch.epochs.iter().map(|start| start.offset)).collect();
            let claims = (from.0..log_batch.next.0).filter(|offset| !others.contains(&Offset(*offset)));
            self.claims.extend(claims.map(Epoch));
        }
    }
}

/// Whether this is one of these messages.
fn is_one_of(record: &Record, bodies: &HashSet<String>) -> bool {
    matches!(record.decode(), Ok(Event::MessagePosted(posted)) if bodies.contains(&posted.body))
}

impl Projector {
    async fn start(servers: &Servers, projection: Projection) -> Self {
        let stop = CancellationToken::new();
        let config = projector_config(projection, &servers.brokers, &servers.mysql_url);
        let process = Process::start(&config, stop.clone()).await.unwrap();
        let running = tokio::spawn(async move { process.wait().await.unwrap() });
        Self { stop: stop.drop_guard(), running }
    }
}

/// Waits until a command-api says that it is.
async fn is_ready(api: &Api) {
    // What is not started yet refuses connections.
    eventually("readiness", async || if api.is_ready(Port::Write).await { Ok(()) } else { Err("not ready") }).await;
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
