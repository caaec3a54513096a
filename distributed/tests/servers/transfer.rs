//! Exports and imports on servers: a system moves from one machine to servers and back, and an import into Kafka goes on.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Parser;
use distributed::kafka::{Cluster, KafkaLog, PrepareError};
use embedded::DataDir;
use event_log::{EventLog, ImportLog, MarkerLog};
use events::{ImportMark, ImportPhase, LogDigest, Marker, Offset, PartitionId, Record};
use projector::dead_letters::masking::Disclosure;
use projector::dead_letters::{DeadLettersCommand, Place};
use projector::export::{ExportOptions, export};
use projector::export_file::{ExportFileError, ExportInput, ExportOutput};
use projector::import::{ImportError, Imported, OpenedExport, import};
use projector::operate::{Operation, Step};
use read_model::Projection;
use reqwest::Method;
use serde_json::json;
use tempfile::TempDir;
use testkit::moved_system::Contents;
use testkit::polling::eventually;
use testkit::scenarios::{Api, BASE, Port};
use thiserror_ext::AsReport;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::containers;
use crate::kafka::support::{fresh, fresh_chat, message, open_at, server};
use crate::mysql::server::Database;
use crate::topology::{open_operator, projector_config, start_command_api, start_query_api};

/// A running system.
struct System {
    api: Api,
    stop: CancellationToken,
    processes: JoinSet<()>,
}

impl System {
    /// One process on a data directory.
    async fn embedded(data: &Path) -> Self {
        let ports = ["--write-addr", "--read-addr", "--operator-addr"].into_iter();
        let ports = ports.flat_map(|flag| [flag, "127.0.0.1:0"]);
        let arguments = ["tally", "--data", data.to_str().unwrap()].into_iter().chain(ports);
        let (stop, mut processes) = (CancellationToken::new(), JoinSet::new());
        let config = all_in_one::cli::Cli::parse_from(arguments).serve;
        let process = all_in_one::Process::start(&config, stop.clone()).await.unwrap();
        let api = api(process.write_addr(), process.read_addr());
        processes.spawn(async move { process.wait().await.unwrap() });
        Self::ready(api, stop, processes).await
    }

    /// On servers, a query-api and one projector of each kind: what may run before an import. The API has no port for writes.
    async fn readers_on_servers(brokers: &str, mysql: &str, elasticsearch: &str) -> (Self, SocketAddr) {
        let (stop, mut processes) = (CancellationToken::new(), JoinSet::new());
        let reads = start_query_api(mysql, elasticsearch, &stop).await;
        let read_addr = reads.read_addr();
        processes.spawn(reads.wait());
        for projection in Projection::ALL {
            let store = if projection == Projection::Search { elasticsearch } else { mysql };
            let config = projector_config(projection, brokers, store);
            let process = projector::process::Process::start(&config, stop.clone()).await.unwrap();
            processes.spawn(async move { process.wait().await.unwrap() });
        }
        let api = api(read_addr, read_addr);
        api.wait_until_ready(Port::Read).await;
        (Self { api, stop, processes }, read_addr)
    }

    /// With a command-api beside the readers.
    async fn with_writer(mut self, read_addr: SocketAddr, [brokers, redis, mysql]: [&str; 3]) -> Self {
        let writes = start_command_api(brokers, redis, mysql, &self.stop).await;
        let api = api(writes.write_addr(), read_addr);
        self.processes.spawn(async move { writes.wait().await.unwrap() });
        Self::ready(api, self.stop, self.processes).await
    }

    async fn ready(api: Api, stop: CancellationToken, processes: JoinSet<()>) -> Self {
        for port in [Port::Write, Port::Read] {
            api.wait_until_ready(port).await;
        }
        Self { api, stop, processes }
    }

    async fn stop(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.processes.join_next().await {
            ended.unwrap();
        }
    }
}

fn api(writes: SocketAddr, reads: SocketAddr) -> Api {
    Api::new(&format!("http://{writes}"), &format!("http://{reads}"))
}

async fn export_to(file: &Path, log: Arc<dyn EventLog>) -> u64 {
    let output = ExportOutput::create(Some(file), true).unwrap();
    export(log, &ExportOptions::default(), output).await.unwrap().events
}

async fn import_from(file: &Path, log: Arc<dyn ImportLog>) -> Result<Imported, ImportError> {
    import(log, OpenedExport::open(ExportInput::new(Some(file.to_owned()))).await?).await
}

async fn a_system_moves_from_one_machine_to_servers_and_back() {
    let files = TempDir::new().unwrap();
    let [old, new] = ["old", "new"].map(|name| files.path().join(name));
    let [there, back] = ["there.zst", "back.zst"].map(|name| files.path().join(name));
    let system = System::embedded(&old).await;
    let mut contents = Contents::fill(&system.api).await;
    export_to(&there, Arc::new(DataDir::open_log_read_only(&old).unwrap())).await;
    system.stop().await;

    let (kafka, redis) = (containers::own_kafka(None).await, containers::own_redis().await);
    let (elasticsearch, database) = (containers::own_elasticsearch().await, Database::empty().await);
    let brokers = containers::brokers(&kafka);
    let log = open_at(&Cluster::new(&brokers)).await;
    let (redis, search) = (containers::redis_url(&redis), containers::elasticsearch_url(&elasticsearch));
    let (readers, read_addr) = System::readers_on_servers(&brokers, &database.url(), &search).await;
    let nothing = readers.api.read(BASE).await;
    assert_eq!((&nothing.json, nothing.header("log-position")), (&json!([]), "0:0"), "the log has no mark yet");
    import_from(&there, Arc::clone(&log) as _).await.unwrap();
    let system = readers.with_writer(read_addr, [&brokers, &redis, &database.url()]).await;
    contents.expect(&system.api).await;
    contents.go_on(&system.api).await;
    system.stop().await;
    let refused = import_from(&there, Arc::clone(&log) as _).await.unwrap();
    assert_eq!(refused, Imported::WasThere);
    let events = export_to(&back, log).await;

    let directory = DataDir::open(&new).unwrap();
    let log = Arc::new(directory.open_log_to_import().unwrap());
    let imported = import_from(&back, Arc::clone(&log) as _).await.unwrap();
    assert!(matches!(imported, Imported::Done { events: all, .. } if all == events), "{imported:?}");
    log.close().await;
    drop((log, directory));
    let system = System::embedded(&new).await;
    contents.expect(&system.api).await;
    contents.go_on(&system.api).await;
    system.stop().await;
}

/// A file with chats of 1,300 messages together, and a copy of it that is cut off.
async fn large_export(files: &Path) -> (PathBuf, PathBuf) {
    let [whole, cut] = ["whole", "cut"].map(|name| files.join(name));
    let directory = DataDir::open(files.join("data")).unwrap();
    let log = Arc::new(directory.open_log().unwrap());
    for _ in 0..13 {
        let chat = fresh_chat();
        log.append_imported((1..=100).map(|number| message(chat, number)).collect()).await.unwrap();
    }
    let output = ExportOutput::create(Some(&whole), false).unwrap();
    export(Arc::clone(&log) as _, &ExportOptions::default(), output).await.unwrap();
    log.close().await;
    let text = std::fs::read_to_string(&whole).unwrap();
    std::fs::write(&cut, text.split_inclusive('\n').take(700).collect::<String>()).unwrap();
    (whole, cut)
}

async fn an_import_into_kafka_that_was_stopped_goes_on_where_it_was() {
    let files = TempDir::new().unwrap();
    let (whole, cut) = large_export(files.path()).await;
    let cluster = fresh(server().await);
    let log = open_at(&cluster).await;
    let stopped = import_from(&cut, Arc::clone(&log) as _).await.unwrap_err();
    assert!(matches!(stopped, ImportError::File(ExportFileError::Incomplete { .. })), "{stopped}");
    // Another process goes on.
    let log: Arc<KafkaLog> = open_at(&cluster).await;
    match import_from(&whole, Arc::clone(&log) as _).await.unwrap() {
        Imported::Done { events, already, .. } => assert_eq!((events, already), (1_300, 512)),
        Imported::WasThere => panic!("it was there"),
    }
    let again = files.path().join("again");
    assert_eq!(export_to(&again, log).await, 1_300, "no event is there twice");
}

/// Otherwise it would give numbers that the rest of the import has.
async fn a_command_api_writes_nothing_before_an_import_has_ended() {
    let files = TempDir::new().unwrap();
    let (whole, cut) = large_export(files.path()).await;
    let (kafka, redis) = (containers::own_kafka(None).await, containers::own_redis().await);
    let (database, stop) = (Database::empty().await, CancellationToken::new());
    let brokers = containers::brokers(&kafka);
    let log = open_at(&Cluster::new(&brokers)).await;
    import_from(&cut, Arc::clone(&log) as _).await.unwrap_err();
    let process = start_command_api(&brokers, &containers::redis_url(&redis), &database.url(), &stop).await;
    let api = api(process.write_addr(), process.write_addr());
    let running = tokio::spawn(async move { process.wait().await.unwrap() });
    let refused = eventually("a reason", async || {
        let health = api.plain(Port::Write, Method::GET, "/health").await.json.to_string();
        if health.contains("an import into the topic chat.events has not ended") { Ok(()) } else { Err(health) }
    });
    refused.await;
    refuse_decisions(&log, &brokers, &database).await;
    let application = json!({ "chat_application": { "name": "too early" } });
    let answer = api.write(Method::POST, BASE, &application).await;
    assert_eq!((answer.status, &answer.json["code"]), (503, &"log-unavailable".into()), "{answer:?}");
    import_from(&whole, log).await.unwrap();
    let mut projectors = JoinSet::new();
    for projection in [Projection::Views, Projection::Counts] {
        let config = projector_config(projection, &brokers, &database.url());
        let process = projector::process::Process::start(&config, stop.clone()).await.unwrap();
        projectors.spawn(async move { process.wait().await.unwrap() });
    }
    api.wait_until_ready(Port::Write).await;
    assert_eq!(api.write(Method::POST, BASE, &application).await.status, 201);
    stop.cancel();
    running.await.unwrap();
    projectors.join_all().await;
}

/// An operator cannot discard a dead letter while the import has not ended.
async fn refuse_decisions(log: &KafkaLog, brokers: &str, database: &Database) {
    let operator = open_operator(brokers, &database.url(), "http://127.0.0.1:9").await.unwrap();
    let run = async |command| operator.run(Operation::DeadLetters(command), &watch::channel(Step::none()).0).await;
    run(DeadLettersCommand::List { show: Disclosure::None, from: Place::default() }).await.unwrap();
    // The last record of a partition is an event, but in the partition of the marks.
    let end = log.end().await.unwrap();
    let (PartitionId(partition), Offset(next)) =
        end.bounds().filter(|(id, _)| id.0 > 0).max_by_key(|&(_, next)| next).unwrap();
    let offset = next - 1;
    let mut connection = database.connect().await;
    let letter = "INSERT INTO dead_letters (generation, partition_id, log_offset, event_id, reason) \
         SELECT generation, ?, ?, UNHEX(REPEAT('00', 16)), 'no reason' FROM projections WHERE name = 'views'";
    sqlx::query(letter).bind(partition).bind(offset).execute(&mut connection).await.unwrap();
    let refused = run(DeadLettersCommand::Discard { partition, offset }).await.unwrap_err().to_report_string();
    assert!(refused.contains("an import into the event log has not ended"), "{refused}");
    operator.close().await;
}

/// The marks lie among the records that are looked at, but more than one fetch brings lies between them.
async fn a_writer_sees_that_an_import_of_large_events_has_ended() {
    const BODY_BYTES: usize = 60_000;
    let log = open_at(&fresh(server().await)).await;
    let in_first =
        || std::iter::repeat_with(fresh_chat).find(|chat| log.partition_of(&(*chat).into()) == PartitionId(0));
    let chat = in_first().unwrap();
    let large = |number| Record { data: random_text(BODY_BYTES).into_bytes(), ..message(chat, number) };
    let digest = LogDigest::from_bytes([7; LogDigest::BYTES]);
    let mark = async |phase| {
        let end = log.end().await.unwrap();
        log.append_import_mark(ImportMark { phase, before: LogDigest::of_nothing(), through: digest, end })
            .await
            .unwrap();
    };
    mark(ImportPhase::Began).await;
    for block in 0..8 {
        log.append_imported((1..=10).map(|number| large(10 * block + number)).collect()).await.unwrap();
    }
    let refused = log.prepare_to_write().await.unwrap_err();
    assert!(matches!(refused, PrepareError::Importing { .. }), "{refused}");
    mark(ImportPhase::Ended).await;
    log.prepare_to_write().await.unwrap();
    // The mark is the last record no more.
    log.append_marker(PartitionId(0), Marker::EpochClaimed).await.unwrap();
    log.prepare_to_write().await.unwrap();
}

/// A text that hardly shrinks when it is compressed.
fn random_text(bytes: usize) -> String {
    std::iter::repeat_with(|| Uuid::new_v4().simple().to_string()).take(bytes.div_ceil(32)).collect()
}

/// A command-api that starts during an import begins an epoch.
async fn a_writer_beside_an_import_into_kafka_is_noticed() {
    let files = TempDir::new().unwrap();
    let (whole, cut) = large_export(files.path()).await;
    for partition in [PartitionId(0), PartitionId(11)] {
        let log = open_at(&fresh(server().await)).await;
        import_from(&cut, Arc::clone(&log) as _).await.unwrap_err();
        log.append_marker(partition, Marker::EpochClaimed).await.unwrap();
        let refused = import_from(&whole, Arc::clone(&log) as _).await.unwrap_err();
        assert!(matches!(refused, ImportError::OtherWriter(_) | ImportError::OtherEvent { .. }), "{refused}");
    }
}

tests!(
    a_system_moves_from_one_machine_to_servers_and_back,
    an_import_into_kafka_that_was_stopped_goes_on_where_it_was,
    a_command_api_writes_nothing_before_an_import_has_ended,
    a_writer_sees_that_an_import_of_large_events_has_ended,
    a_writer_beside_an_import_into_kafka_is_noticed,
);
