//! Projections are made anew under a running system, by the command for it and after their tables were deleted.
//!
//! The tables are deleted under a running system. Projectors fill them from the log again. Until then, reads that
//! await a position are refused; they never show incomplete data.

mod damaged_log;
mod former_release;
mod operating;
mod special_logs;
mod upgrade;
mod while_running;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use distributed::kafka::PARTITIONS;
use distributed::mysql::{MySqlProjections, migrate};
use events::Epoch;
use projector::operate::{Operation, Operator, Report, Step, Target};
use read_model::{BackendError, Projection, ProjectionStore};
use reqwest::Method;
use serde_json::{Value, json};
use testkit::polling::eventually;
use testkit::scenarios::{Api, BASE, Port};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::containers::{self, brokers, redis_url};
use crate::mysql::server::Database;
use crate::topology::{NOBODY, open_operator, projector_config, start_command_api, start_query_api};

const CHATS: usize = 4;
/// Messages of each chat before the tables are deleted.
const MESSAGES: usize = 12;
/// Messages that each client posts after the tables are filled.
const MORE: usize = 5;
/// Pause of a client between two posts. It keeps the messages of a chat few enough for one page.
const PAUSE: Duration = Duration::from_millis(100);

/// A system with its own servers, since other tests must not share its log or its tables.
struct System {
    api: Api,
    database: Database,
    redis: containers::Server,
    kafka: containers::Server,
    stop: CancellationToken,
    processes: JoinSet<()>,
    projectors: Projectors,
}

/// The projectors of a system.
struct Projectors {
    /// Of health and metrics.
    addresses: Vec<SocketAddr>,
    stop: CancellationToken,
    running: JoinSet<()>,
}

impl Projectors {
    /// Nobody searches, so there is none for search.
    async fn start(brokers: &str, mysql_url: &str) -> Self {
        let (stop, mut running, mut addresses) = (CancellationToken::new(), JoinSet::new(), Vec::new());
        for projection in [Projection::Views, Projection::Counts] {
            let config = projector_config(projection, brokers, mysql_url);
            let process = projector::process::Process::start(&config, stop.clone()).await.unwrap();
            addresses.push(process.addr());
            running.spawn(async move { process.wait().await.unwrap() });
        }
        Self { stop, running, addresses }
    }

    async fn stop(&mut self) {
        self.stop.cancel();
        while let Some(ended) = self.running.join_next().await {
            ended.unwrap();
        }
    }
}

impl System {
    async fn start() -> Self {
        let (kafka, redis) = (containers::own_kafka(None).await, containers::own_redis().await);
        let (database, stop, mut processes) = (Database::empty().await, CancellationToken::new(), JoinSet::new());
        let (brokers, redis_url, mysql_url) = (brokers(&kafka), redis_url(&redis), database.url());
        let writes = start_command_api(&brokers, &redis_url, &mysql_url, &stop).await;
        let write_url = format!("http://{}", writes.write_addr());
        processes.spawn(async move { writes.wait().await.unwrap() });
        let projectors = Projectors::start(&brokers, &mysql_url).await;
        // Nobody searches, so there is no Elasticsearch.
        let reads = start_query_api(&mysql_url, NOBODY, &stop).await;
        let api = Api::new(&write_url, &format!("http://{}", reads.read_addr()));
        processes.spawn(reads.wait());
        let system = Self { api, database, redis, kafka, stop, processes, projectors };
        system.wait_until_ready().await;
        system
    }

    async fn wait_until_ready(&self) {
        for port in [Port::Write, Port::Read] {
            self.api.wait_until_ready(port).await;
        }
    }

    /// Replaces the projectors by new ones.
    async fn restart_projectors(&mut self) {
        self.projectors.stop().await;
        self.projectors = Projectors::start(&brokers(&self.kafka), &self.database.url()).await;
    }

    /// Deletes all counters, as a replaced Redis has none.
    async fn empty_redis(&self) {
        let client = redis::Client::open(redis_url(&self.redis)).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let () = redis::cmd("FLUSHALL").query_async(&mut connection).await.unwrap();
    }

    /// The operator's commands, as a process of its own carries them out.
    async fn operator(&self) -> Result<Box<dyn Operator>, BackendError> {
        open_operator(&brokers(&self.kafka), &self.database.url(), NOBODY).await
    }

    async fn operate(&self, operation: Operation) -> Result<Report, BackendError> {
        let operator = self.operator().await?;
        let (steps, _) = watch::channel(Step::none());
        let report = operator.run(operation, &steps).await;
        operator.close().await;
        report
    }

    /// Makes a projection anew, and keeps nothing of the former one.
    async fn rebuild(&self, target: Target) -> Result<Report, BackendError> {
        self.operate(Operation::Rebuild { target, keep_ms: 0 }).await
    }

    /// The epoch in force.
    async fn epoch(&self) -> Option<Epoch> {
        let client = redis::Client::open(redis_url(&self.redis)).unwrap();
        let read = async || {
            let mut connection = client.get_multiplexed_async_connection().await?;
            redis::cmd("GET").arg("tally:epoch").query_async::<Option<String>>(&mut connection).await
        };
        let value = eventually("an answer of Redis", read).await;
        value.map(|value| Epoch(value.split('@').next().unwrap().parse().unwrap()))
    }

    /// Waits until an epoch above this one is in force and both APIs are ready.
    async fn wait_for_epoch_above(&self, epoch: Epoch) {
        eventually("a higher epoch", async || match self.epoch().await {
            Some(higher) if higher > epoch => Ok(()),
            other => Err(other),
        })
        .await;
        self.wait_until_ready().await;
    }

    async fn stop(mut self) {
        self.projectors.stop().await;
        self.stop.cancel();
        self.processes.join_all().await;
    }
}

/// Posts a message, and returns its number and position, unless it was refused.
async fn post(api: &Api, chat: &str) -> Option<(u64, String)> {
    let body = json!({ "message": { "body": "posted" } });
    let answer = api.write(Method::POST, &format!("{chat}/messages"), &body).await;
    assert!(matches!(answer.status, 201 | 503), "{answer:?}");
    (answer.status == 201).then(|| (answer.number(), answer.header("log-position").to_owned()))
}

/// Creates an application with chats and messages. Returns the application, the chats, and the position that covers everything.
async fn fill(api: &Api) -> (String, Vec<String>, String) {
    let created = api.write(Method::POST, BASE, &json!({ "chat_application": { "name": "deleted" } })).await;
    let application = format!("{BASE}/{}", created.json["token"].as_str().unwrap());
    let (mut chats, mut positions) = (Vec::new(), vec![created.header("log-position").to_owned()]);
    for _ in 0..CHATS {
        let created = api.plain(Port::Write, Method::POST, &format!("{application}/chats")).await;
        let chat = format!("{application}/chats/{}", created.number());
        positions.push(created.header("log-position").to_owned());
        for _ in 0..MESSAGES {
            positions.push(post(api, &chat).await.unwrap().1);
        }
        chats.push(chat);
    }
    (application, chats, positions.join(","))
}

/// Posts to a chat until `enough`, and then [`MORE`] messages. Returns what was acknowledged.
async fn post_until(api: Api, chat: String, enough: CancellationToken) -> Vec<(u64, String)> {
    let (mut acknowledged, mut left) = (Vec::new(), MORE);
    while left > 0 {
        if let Some(posted) = post(&api, &chat).await {
            acknowledged.push(posted);
            left -= usize::from(enough.is_cancelled());
        }
        tokio::time::sleep(PAUSE).await;
    }
    acknowledged
}

/// Reads with `position` until the answer is 200. Asserts that every answer before is 503.
async fn read_awaiting(api: &Api, path: &str, position: &str) -> Value {
    let headers = [("await-position", position), ("prefer", "wait=1")];
    let answer = eventually(path, async || {
        let answer = api.read_with(path, &headers).await;
        assert!(matches!(answer.status, 200 | 503), "{answer:?}");
        if answer.status == 200 { Ok(answer) } else { Err(answer.json) }
    });
    answer.await.json
}

/// Reads the application, and the first messages of each chat.
async fn read_all(api: &Api, application: &str, chats: &[String], position: &str) -> Vec<Value> {
    let mut shown = vec![read_awaiting(api, application, position).await];
    for chat in chats {
        shown.push(read_awaiting(api, &format!("{chat}/messages?limit={MESSAGES}"), position).await);
    }
    shown
}

/// Asserts that every new number was given once, and that every acknowledged message is shown and counted.
async fn assert_numbers_are_given_once(api: &Api, chat: &str, acknowledged: &[(u64, String)]) {
    let numbers: BTreeSet<_> = acknowledged.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers.len(), acknowledged.len(), "a number was given twice in {chat}");
    assert!(numbers.iter().all(|number| *number > MESSAGES as u64), "{numbers:?}");
    // A chat is in one partition, and its client has posted one message after the other, so the last position covers all.
    let position = &acknowledged[acknowledged.len() - 1].1;
    let listed = read_awaiting(api, &format!("{chat}/messages"), position).await;
    let listed: Vec<_> = listed.as_array().unwrap().iter().map(|item| item["number"].as_u64().unwrap()).collect();
    assert!(listed.is_sorted_by(|one, other| one < other), "{listed:?}");
    assert!(numbers.iter().all(|number| listed.contains(number)), "{numbers:?} {listed:?}");
    assert_eq!(read_awaiting(api, chat, position).await["messages_count"], listed.len());
}

async fn tables_that_are_deleted_under_a_running_system_are_filled_again() {
    let system = System::start().await;
    let api = &system.api;
    let (application, chats, position) = fill(api).await;
    let before = read_all(api, &application, &chats, &position).await;
    system.database.recreate().await;
    let enough = CancellationToken::new();
    let clients: Vec<_> =
        chats.iter().map(|chat| tokio::spawn(post_until(api.clone(), chat.clone(), enough.clone()))).collect();
    eventually("missing tables", async || if api.is_ready(Port::Read).await { Err("ready") } else { Ok(()) }).await;
    // Redis has no counters now. Numbers come from the tables that are being filled.
    system.empty_redis().await;
    migrate(&system.database.url()).await.unwrap();
    assert_eq!(read_all(api, &application, &chats, &position).await, before);
    system.wait_until_ready().await;
    enough.cancel();
    for (chat, client) in chats.iter().zip(clients) {
        assert_numbers_are_given_once(api, chat, &client.await.unwrap()).await;
    }
    let store = Arc::new(MySqlProjections::new(&system.database.url()).unwrap());
    for partition in PARTITIONS.partitions() {
        assert_eq!(store.dead_letters(partition, 10).await.unwrap(), []);
    }
    system.stop().await;
}

tests!(tables_that_are_deleted_under_a_running_system_are_filled_again;
    modules: damaged_log, former_release, operating, special_logs, upgrade, while_running);
