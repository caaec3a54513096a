//! A system for faults: its own servers, two command-apis that can be stopped, projectors and a query-api.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use distributed::kafka::{Cluster, KafkaLog, PARTITIONS};
use distributed::mysql::MySqlProjections;
use distributed::sequencer::RedisKeys;
use event_log::{EventLog, LogBatch, ReadLimit};
use events::{Epoch, Event, Marker, PartitionId, Place, Position, Record, StreamKey};
use projector::process::Process;
use read_model::{Projection, ProjectionStore};
use redis::cmd;
use testcontainers::core::{CmdWaitFor, ExecCommand};
use testkit::polling::{eventually, eventually_within};
use testkit::scenarios::{Api, Port};
use thiserror_ext::AsReport;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use super::clients::Chats;
use super::followers::ValidEvents;
use super::program::{Program, Release, Servers};
use crate::containers::{self, SecondListener, Server, brokers, free_port, redis_url, wait_for_redis};
use crate::fault_proxy::FaultProxy;
use crate::topology::{NOBODY, projector_config, start_query_api};

/// Chats that are posted to all the time.
const WARM: usize = 4;
/// Chats whose counters are deleted before each fault.
const COLD: usize = 60;
/// Longest wait for the projections to reach the log's end.
const CAUGHT_UP: Duration = Duration::from_secs(300);
/// The partition where epochs are claimed.
const CLAIMS: PartitionId = PartitionId(0);
const READ: ReadLimit = ReadLimit { records: 4_096, wait: Duration::from_secs(1) };

pub(crate) struct Fixture {
    pub(crate) kafka: Server,
    pub(crate) redis: Server,
    pub(crate) log: KafkaLog,
    pub(crate) store: MySqlProjections,
    pub(crate) programs: [Program; 2],
    /// Between the first command-api and Kafka.
    pub(crate) kafka_proxy: FaultProxy,
    /// Between the first command-api and Redis.
    pub(crate) redis_proxy: FaultProxy,
    /// The projector of the views.
    pub(crate) views: Program,
    servers: Servers,
    counts: Projector,
    /// A client of each command-api.
    pub(crate) apis: Vec<Api>,
    read_url: String,
    /// Two query-apis for those who follow the feed.
    pub(crate) query_apis: [Program; 2],
    /// How far the log was read.
    read: LogState,
    /// The valid events of the application that is followed, as far as the log was read.
    pub(crate) valid: Option<ValidEvents>,
    _reads: DropGuard,
}

/// A projector in this process. It stops when the value is dropped.
struct Projector {
    stop: DropGuard,
    running: JoinHandle<()>,
}

/// How far the log was read, and the last epoch that has started in each partition.
#[derive(Clone, Default)]
struct LogState {
    next: Position,
    epochs: BTreeMap<PartitionId, Epoch>,
}

/// What was appended to the log since the last read.
#[derive(Debug, Default)]
pub(crate) struct Appended {
    pub(crate) void: usize,
    /// The epochs that were claimed: the offsets without an event or a start.
    pub(crate) claims: BTreeSet<Epoch>,
    /// The epochs that have started in at least one partition.
    pub(crate) epochs: BTreeSet<Epoch>,
    pub(crate) valid: usize,
}

impl Fixture {
    pub(crate) async fn start() -> Self {
        let side_port = free_port();
        let kafka_proxy = FaultProxy::start(&format!("127.0.0.1:{side_port}")).await;
        let kafka = containers::own_kafka(Some(SecondListener { port: side_port, advertised: kafka_proxy.port })).await;
        let redis = containers::changeable_redis().await;
        let redis_proxy = FaultProxy::start(&format!("127.0.0.1:{}", redis.port)).await;
        let mysql_url = containers::database("faults").await;
        let elasticsearch_url = NOBODY.to_owned();
        let servers = Servers { brokers: brokers(&kafka), redis_url: redis_url(&redis), mysql_url, elasticsearch_url };
        let proxied = Servers {
            brokers: kafka_proxy.address(),
            redis_url: format!("redis://{}", redis_proxy.address()),
            ..servers.clone()
        };
        let programs = [
            Program::command_api(Release::Current, "command-api-1", &proxied),
            Program::former_command_api("command-api-2", &servers),
        ];
        let counts = Projector::start(&servers, Projection::Counts).await;
        let views = Program::projector(Release::Current, "projector-views", Projection::Views, &servers);
        let stop = CancellationToken::new();
        // Nobody searches, so there is no Elasticsearch.
        let reads = start_query_api(&servers.mysql_url, NOBODY, &stop).await;
        let read_url = format!("http://{}", reads.read_addr());
        tokio::spawn(reads.wait());
        let query_apis =
            ["query-api-1", "query-api-2"].map(|name| Program::query_api(Release::Current, name, &servers));
        let fixture = Self {
            query_apis,
            valid: None,
            apis: programs.iter().map(|program| Api::new(&program.url(), &read_url)).collect(),
            log: KafkaLog::connect(Cluster::new(servers.brokers.as_str())).unwrap(),
            store: MySqlProjections::new(&servers.mysql_url).unwrap(),
            read_url,
            read: LogState::default(),
            _reads: stop.drop_guard(),
            kafka,
            redis,
            programs,
            kafka_proxy,
            redis_proxy,
            views,
            servers,
            counts,
        };
        fixture.wait_until_ready().await;
        fixture
    }

    /// Waits until both command-apis are ready.
    pub(crate) async fn wait_until_ready(&self) {
        for api in &self.apis {
            api.wait_until_ready(Port::Write).await;
        }
    }

    /// A client of each query-api that is followed.
    pub(crate) fn feeds(&self) -> Vec<Api> {
        self.query_apis.iter().map(|program| Api::new(&self.programs[0].url(), &program.url())).collect()
    }

    /// Starts a third command-api, without load.
    pub(crate) async fn idle_command_api(&self) -> (Program, Api) {
        let program = Program::command_api(Release::Current, "command-api-3", &self.servers);
        let api = Api::new(&program.url(), &self.read_url);
        api.wait_until_ready(Port::Write).await;
        (program, api)
    }

    /// The logs of both command-apis.
    pub(crate) fn logs(&self) -> String {
        self.programs.iter().map(Program::log).collect::<Vec<_>>().join("\n")
    }

    /// The sum of a metric over both command-apis.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let mut sum = 0.0;
        for program in &self.programs {
            sum += program.metric(name).await;
        }
        sum
    }

    /// Creates an application with warm and cold chats.
    pub(crate) async fn create_chats(&self) -> Chats {
        let api = &self.apis[0];
        let application = api.application("faults").await;
        let mut warm = api.chats(&application, WARM + COLD).await;
        for chat in &warm {
            api.post(chat, &Uuid::new_v4().to_string()).await;
        }
        let cold = warm.split_off(WARM);
        self.forget(&cold).await;
        Chats { application, warm, cold }
    }

    /// Deletes the counters of chats. Redis does so itself when they were not used for a day.
    async fn forget(&self, chats: &[String]) {
        let epoch = self.epoch().await;
        let counters: Vec<_> =
            chats.iter().map(|chat| RedisKeys::default().counter(epoch, &parse_stream(chat))).collect();
        let forgotten: usize = cmd("DEL").arg(counters).query_async(&mut self.connection().await).await.unwrap();
        assert_eq!(forgotten, chats.len());
    }

    /// The epoch in force, from Redis.
    pub(crate) async fn epoch(&self) -> Epoch {
        let value: String = cmd("GET").arg("tally:epoch").query_async(&mut self.connection().await).await.unwrap();
        Epoch(value.split('@').next().unwrap().parse().unwrap())
    }

    /// The last number that Redis has given in a chat, in an epoch.
    pub(crate) async fn counter(&self, epoch: Epoch, chat: &str) -> Option<u64> {
        let counter = RedisKeys::default().counter(epoch, &parse_stream(chat));
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

    /// Waits until a process holds the lock of a fence, and returns the owner's token.
    pub(crate) async fn wait_for_fencer(&self) -> String {
        let redis = self.connection().await;
        eventually("a fence", async || {
            let held: Option<String> = cmd("GET").arg("tally:lock").query_async(&mut redis.clone()).await.unwrap();
            held.ok_or("the lock is free")
        })
        .await
    }

    /// Runs a command in the container of Redis.
    pub(crate) async fn in_redis(&self, command: &str) {
        let command = ExecCommand::new(["sh", "-c", command]).with_cmd_ready_condition(CmdWaitFor::exit_code(0));
        self.redis.container.exec(command).await.unwrap();
    }

    /// Kills Redis and starts it again.
    pub(crate) async fn restart_redis(&self) {
        self.redis.restart().await;
        wait_for_redis(&self.redis).await;
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

    /// The log's end. Polls, because Kafka may still be coming back.
    async fn end(&self) -> Position {
        eventually("the end of the log", async || self.log.end().await).await
    }

    /// Waits until a projection has passed the current end of the log.
    pub(crate) async fn wait_until_caught_up(&self, projection: Projection) {
        let end = self.end().await;
        eventually_within(CAUGHT_UP, &format!("end of {projection:?}"), async || {
            for (partition, bound) in end.bounds() {
                // On a machine that is busy, MySQL closes connections that were idle for too long.
                let checkpoint = self.store.checkpoint(projection, partition).await;
                let next = checkpoint.map_err(|error| error.to_report_string())?.next;
                if next < bound {
                    return Err(format!("partition {partition} is at {next} of {bound}"));
                }
            }
            Ok(())
        })
        .await;
    }

    /// The number of dead letters.
    pub(crate) async fn dead_letters(&self) -> usize {
        let mut dead_letters = 0;
        for partition in PARTITIONS.partitions() {
            dead_letters += self.store.dead_letters(partition, 10).await.unwrap().len();
        }
        dead_letters
    }

    /// Reads the rest of the log.
    pub(crate) async fn read_log(&mut self) -> Appended {
        let mut valid = self.valid.take();
        let (read, appended) = self.read_from(&HashSet::new(), valid.as_mut()).await;
        (self.read, self.valid) = (read, valid);
        appended
    }

    /// Reads the rest of the log, and counts these messages alone. The next call begins at the same place.
    pub(crate) async fn peek_at_log(&self, bodies: &HashSet<String>) -> Appended {
        self.read_from(bodies, None).await.1
    }

    async fn read_from(&self, bodies: &HashSet<String>, mut valid: Option<&mut ValidEvents>) -> (LogState, Appended) {
        let end = self.end().await;
        let mut read = self.read.clone();
        let mut appended = Appended::default();
        for (partition, bound) in end.bounds() {
            let mut next = read.next.bound(partition);
            while next < bound {
                let log_batch = self.log.read(partition, next, READ).await.unwrap();
                let highest = read.epochs.entry(partition).or_default();
                appended.add(&log_batch, partition, highest, bodies, valid.as_deref_mut());
                next = log_batch.next;
            }
            read.next.merge(&Position::up_to(partition, next));
        }
        (read, appended)
    }
}

impl Appended {
    /// Adds a batch of a partition. Of the events it counts these messages alone, or all if there are none.
    fn add(
        &mut self,
        log_batch: &LogBatch,
        partition: PartitionId,
        highest: &mut Epoch,
        bodies: &HashSet<String>,
        mut valid: Option<&mut ValidEvents>,
    ) {
        let mut starts = log_batch.epoch_starts().peekable();
        for event in &log_batch.events {
            while let Some((_, started)) = starts.next_if(|(offset, _)| *offset < event.offset) {
                *highest = started.max(*highest);
            }
            if bodies.is_empty() || is_one_of(&event.record, bodies) {
                let is_void = event.record.epoch.is_some_and(|epoch| epoch < *highest);
                self.void += usize::from(is_void);
                self.valid += usize::from(!is_void);
                if let (Some(valid), false) = (&mut valid, is_void) {
                    let place = Place { partition, offset: event.offset };
                    valid.add(place, event.record.event_id, &event.record.decode().unwrap());
                }
            }
        }
        starts.for_each(|(_, started)| *highest = started.max(*highest));
        self.epochs.extend(log_batch.epoch_starts().map(|(_, started)| started));
        if partition == CLAIMS {
            let claims = log_batch.markers.iter().filter(|marker| marker.marker == Marker::EpochClaimed);
            self.claims.extend(claims.map(|marker| Epoch(marker.offset.0)));
        }
    }
}

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

/// Parses the path of a chat.
pub(crate) fn parse_stream(chat: &str) -> StreamKey {
    let mut parts = chat.rsplit('/');
    let (number, token) = (parts.next().unwrap(), parts.nth(1).unwrap());
    format!("{token}:{number}").parse().unwrap()
}
