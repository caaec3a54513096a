//! A projector as a process: what ends it, what stops one partition, and what its own address answers.
//!
//! Projectors of one kind on one Kafka share out the partitions. So a test whose projector must get a certain one has its own Kafka.

use std::sync::Arc;

use distributed::elastic::ElasticIndex;
use distributed::kafka::{Cluster, KafkaLog, PARTITIONS};
use distributed::mysql::MySqlProjections;
use event_log::{EventLog, MarkerLog};
use events::{ChatKey, KnownRecord, LogId, Marker, Offset, PartitionId, Record, RecordId};
use projector::dead_letters::masking::Disclosure;
use projector::dead_letters::{self, DeadLettersCommand, Place};
use projector::process::Process;
use read_model::{Checkpoint, CheckpointMove, CountsChanges, Projection, ProjectionStore, SearchIndex, ViewsChanges};
use service::healthcheck::{NotReady, healthcheck};
use sqlx::ConnectOptions;
use sqlx::mysql::MySqlConnectOptions;
use testkit::polling::eventually;
use thiserror_ext::AsReport;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::containers::{self, elasticsearch_url};
use crate::kafka::{DEADLINE, fresh_chat, message};
use crate::topology::{projector_config, servers, start_command_api, start_query_api};

/// Sends a GET to a projector's own address. Returns the status and the body of the answer.
async fn get(process: &Process, path: &str) -> (u16, String) {
    let answer = reqwest::get(format!("http://{}{path}", process.addr())).await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

async fn open_log(brokers: &str) -> KafkaLog {
    let log = KafkaLog::connect(Cluster::new(brokers)).unwrap();
    log.prepare().await.unwrap();
    log
}

/// Creates the tables, and returns the store.
async fn migrated_store(url: &str) -> MySqlProjections {
    let store = MySqlProjections::new(url).unwrap();
    eventually("tables", async || store.migrate().await).await;
    store
}

async fn a_checkpoint_that_is_not_in_the_log_ends_the_process() {
    let (brokers, url) = (containers::spoilt_kafka().await, containers::database("beyond").await);
    let checkpoint_move = CheckpointMove {
        partition: PartitionId(3),
        from: Offset::START,
        to: Checkpoint { next: Offset(1_000_000), ..Checkpoint::START },
    };
    migrated_store(&url).await.apply_counts(checkpoint_move, CountsChanges::default()).await.unwrap();
    let stop = CancellationToken::new();
    let process = Process::start(&projector_config(Projection::Counts, brokers, &url), stop.clone()).await.unwrap();
    let ended = tokio::time::timeout(DEADLINE, process.wait()).await.unwrap().unwrap_err();
    let report = ended.to_report_string();
    assert!(report.contains("offset 1000000 of partition 3 lies beyond the log's end"), "{report}");
    assert!(stop.is_cancelled(), "the other parts of the process do not stop");
}

/// Starts a projector of `views` and waits until it ends. Returns why, as it says and as the processes of readers are told.
async fn wait_for_end(brokers: &str, url: &str, store: MySqlProjections) -> [String; 2] {
    let stop = CancellationToken::new();
    let process = Process::start(&projector_config(Projection::Views, brokers, url), stop.clone()).await.unwrap();
    let ended = tokio::time::timeout(DEADLINE, process.wait()).await.unwrap().unwrap_err();
    let noted = Arc::new(store).check().await.unwrap_err().to_report_string();
    [ended.to_report_string(), noted]
}

/// Moves a checkpoint of `views` from the start.
async fn set_checkpoint(store: &MySqlProjections, partition: PartitionId, to: Checkpoint) {
    let checkpoint_move = CheckpointMove { partition, from: Offset::START, to };
    store.apply_views(checkpoint_move, ViewsChanges::default()).await.unwrap();
}

async fn another_log_ends_the_process() {
    let (kafka, url) = (containers::own_kafka(None).await, containers::database("other_log").await);
    let brokers = &containers::brokers(&kafka);
    let (log, store) = (open_log(brokers).await, migrated_store(&url).await);
    log.append_marker(PartitionId(0), Marker::EpochClaimed).await.unwrap();
    let partition = PartitionId(7);
    let next = log.append(message(chat_in(partition, true), 1)).await.unwrap().bound(partition);
    let to = Checkpoint { next, log: Some(LogId(Uuid::now_v7())), ..Checkpoint::START };
    set_checkpoint(&store, partition, to).await;
    for report in wait_for_end(brokers, &url, store).await {
        assert!(report.contains("the projection was made from the log"), "{report}");
    }
    // With the right log, the note goes although no record comes.
    let right_log = log.id().await.unwrap().unwrap();
    let mut connection = url.parse::<MySqlConnectOptions>().unwrap().connect().await.unwrap();
    let change = sqlx::query("UPDATE checkpoints SET log_id = ?").bind(right_log.0.as_bytes().as_slice());
    change.execute(&mut connection).await.unwrap();
    let stop = CancellationToken::new();
    let process = Process::start(&projector_config(Projection::Views, brokers, &url), stop.clone()).await.unwrap();
    let store = Arc::new(migrated_store(&url).await);
    eventually("no note of a stop", async || Arc::clone(&store).check().await).await;
    stop.cancel();
    process.wait().await.unwrap();
}

/// The log has grown beyond the checkpoint again.
async fn another_record_at_the_checkpoint_ends_the_process() {
    let (kafka, url) = (containers::own_kafka(None).await, containers::database("other_record").await);
    let brokers = &containers::brokers(&kafka);
    let (log, store) = (open_log(brokers).await, migrated_store(&url).await);
    let partition = PartitionId(1);
    let (chat, record) = (chat_in(partition, true), RecordId(Uuid::now_v7()));
    let next = log.append(message(chat, 1)).await.unwrap().bound(partition);
    log.append(message(chat, 2)).await.unwrap();
    let record = Some(KnownRecord { offset: Offset(next.0 - 1), id: record });
    set_checkpoint(&store, partition, Checkpoint { next, record, ..Checkpoint::START }).await;
    for report in wait_for_end(brokers, &url, store).await {
        assert!(report.contains("of partition 1 has another record") && report.contains("rebuild"), "{report}");
    }
}

/// It does not know the column with the record, so the record is older than the checkpoint.
async fn a_checkpoint_that_the_last_release_has_moved_is_accepted() {
    let (kafka, url) = (containers::own_kafka(None).await, containers::database("last_release").await);
    let brokers = &containers::brokers(&kafka);
    let (log, store) = (open_log(brokers).await, migrated_store(&url).await);
    let chat = fresh_chat();
    let partition = PARTITIONS.partition_of(&chat.into());
    let first = message(chat, 1);
    let next = log.append(first.clone()).await.unwrap().bound(partition);
    let record = Some(KnownRecord { offset: Offset(next.0 - 1), id: first.event_id.into() });
    let log_id = log.id().await.unwrap();
    set_checkpoint(&store, partition, Checkpoint { next, record, log: log_id, ..Checkpoint::START }).await;
    let moved = log.append(message(chat, 2)).await.unwrap().bound(partition);
    let mut connection = url.parse::<MySqlConnectOptions>().unwrap().connect().await.unwrap();
    let of_last_release = sqlx::query(
        "UPDATE checkpoints SET next_offset = ?, epoch = 0 \
         WHERE projection = 'views' AND generation = 1 AND partition_id = ?",
    );
    of_last_release.bind(moved.0).bind(partition.0).execute(&mut connection).await.unwrap();
    log.append(message(chat, 3)).await.unwrap();
    let stop = CancellationToken::new();
    let process = Process::start(&projector_config(Projection::Views, brokers, &url), stop.clone()).await.unwrap();
    wait_until_applied(&store, &log, partition).await;
    let checkpoint = store.checkpoint(Projection::Views, partition).await.unwrap();
    assert_eq!(checkpoint.record.map(|record| record.offset.next()), Some(checkpoint.next));
    stop.cancel();
    process.wait().await.unwrap();
}

/// A chat in this partition, or in another one.
fn chat_in(partition: PartitionId, is_in: bool) -> ChatKey {
    let is_it = |chat: &ChatKey| (PARTITIONS.partition_of(&(*chat).into()) == partition) == is_in;
    std::iter::repeat_with(fresh_chat).find(is_it).unwrap()
}

/// Waits until the views have applied a partition up to its end.
async fn wait_until_applied(store: &MySqlProjections, log: &KafkaLog, partition: PartitionId) {
    let end = log.end().await.unwrap().bound(partition);
    eventually("the partition's end", async || {
        let next = store.checkpoint(Projection::Views, partition).await.unwrap().next;
        if next >= end { Ok(()) } else { Err(next) }
    })
    .await;
}

/// Waits until a projector's address says that it cannot go on in this partition.
async fn wait_until_stopped(process: &Process, partition: PartitionId) {
    let (status, body) = eventually("report of the newer event", async || {
        let (status, body) = get(process, "/health/ready").await;
        if body.contains("newer") { Ok((status, body)) } else { Err(body) }
    })
    .await;
    assert_eq!(status, 503);
    let reason = format!("cannot go on in partition {partition}");
    assert!(body.contains(&reason) && body.contains("upgrade this reader"), "{body}");
    assert!(matches!(healthcheck(process.addr()).await, Err(NotReady::Reported { .. })));
}

/// Waits until a read port is not ready because these projections, and no others, stand still in this partition.
async fn wait_for_stops(ready: &str, projections: &[&str], partition: PartitionId) {
    eventually("report of the newer event at the read port", async || {
        let answer = reqwest::get(ready).await.unwrap();
        let (status, body) = (answer.status().as_u16(), answer.text().await.unwrap());
        let is_told =
            |projection| body.contains(&format!("the projection {projection} stands still in partition {partition}: "));
        let are_told = ["views", "search"].iter().all(|name| is_told(name) == projections.contains(name));
        if status == 503 && body.contains("newer") && are_told { Ok(()) } else { Err(body) }
    })
    .await;
}

async fn something_newer_stops_its_partition_alone_until_the_reader_is_upgraded() {
    let (brokers, url) = (containers::spoilt_kafka().await, containers::database("newer").await);
    let elasticsearch = containers::own_elasticsearch().await;
    let (log, store, stop) = (open_log(brokers).await, migrated_store(&url).await, CancellationToken::new());
    let index = ElasticIndex::new(&elasticsearch_url(&elasticsearch)).unwrap();
    let stuck = PartitionId(5);
    let stuck_at = log.end().await.unwrap().bound(stuck);
    log.append(Record { version: 3, ..message(chat_in(stuck, true), 1) }).await.unwrap();
    log.append(message(chat_in(stuck, true), 1)).await.unwrap();
    let views = projector_config(Projection::Views, brokers, &url);
    let views = Process::start(&views, stop.clone()).await.unwrap();
    let search = projector_config(Projection::Search, brokers, &elasticsearch_url(&elasticsearch));
    let search = Process::start(&search, stop.clone()).await.unwrap();
    for process in [&views, &search] {
        wait_until_stopped(process, stuck).await;
    }
    // Readers are in another process.
    let reads = start_query_api(&url, &elasticsearch_url(&elasticsearch), &stop).await;
    let ready = format!("http://{}/health/ready", reads.read_addr());
    wait_for_stops(&ready, &["views", "search"], stuck).await;
    // The other partitions continue.
    for number in 1..=3 {
        let partition = PARTITIONS.partition_of(&chat_in(stuck, false).into());
        log.append(message(chat_in(partition, true), number)).await.unwrap();
        wait_until_applied(&store, &log, partition).await;
    }
    assert_eq!(store.checkpoint(Projection::Views, stuck).await.unwrap().next, stuck_at);
    assert_eq!(index.checkpoint(stuck).await.unwrap().next, stuck_at);
    // Projectors of the newer version go on.
    let to = Checkpoint { next: stuck_at.next(), ..Checkpoint::START };
    let checkpoint_move = CheckpointMove { partition: stuck, from: stuck_at, to };
    store.apply_views(checkpoint_move, ViewsChanges::default()).await.unwrap();
    wait_for_stops(&ready, &["search"], stuck).await;
    index.index(checkpoint_move, vec![]).await.unwrap();
    eventually("a read port that is ready", async || {
        let answer = reqwest::get(&ready).await.unwrap();
        if answer.status() == 200 { Ok(()) } else { Err(answer.text().await) }
    })
    .await;
    stop.cancel();
    for process in [views, search] {
        process.wait().await.unwrap();
    }
    reads.wait().await;
}

async fn a_partition_that_stands_still_goes_on_when_the_record_is_parked() {
    let (kafka, url) = (containers::own_kafka(None).await, containers::database("parked").await);
    let brokers = &containers::brokers(&kafka);
    let (log, store, stop) = (open_log(brokers).await, migrated_store(&url).await, CancellationToken::new());
    let partition = PartitionId(9);
    let stuck_at = log.end().await.unwrap().bound(partition);
    log.append(Record { version: 3, ..message(chat_in(partition, true), 1) }).await.unwrap();
    log.append(message(chat_in(partition, true), 1)).await.unwrap();
    let process = Process::start(&projector_config(Projection::Views, brokers, &url), stop.clone()).await.unwrap();
    eventually("report of the newer event", async || {
        let (_, body) = get(&process, "/health/ready").await;
        if body.contains("dead-letters park 9") { Ok(()) } else { Err(body) }
    })
    .await;
    let listed =
        dead_letters::run(&DeadLettersCommand::List { show: Disclosure::None, from: Place::default() }, &log, &store)
            .await
            .unwrap();
    assert!(listed.contains(&format!("partition 9 offset {stuck_at}: the views stand still")), "{listed}");
    let park = DeadLettersCommand::Park { partition: partition.0, offset: stuck_at.0 };
    dead_letters::run(&park, &log, &store).await.unwrap();
    wait_until_applied(&store, &log, partition).await;
    let letters = store.dead_letters(partition, 10).await.unwrap();
    assert_eq!(letters.iter().map(|letter| letter.source.offset).collect::<Vec<_>>(), [stuck_at]);
    eventually("the gauge", async || {
        let (_, metrics) = get(&process, "/metrics").await;
        if metrics.contains("tally_dead_letters{partition=\"9\"} 1") { Ok(()) } else { Err(metrics) }
    })
    .await;
    stop.cancel();
    process.wait().await.unwrap();
}

async fn its_own_address_answers_health_and_metrics() {
    let (servers, stop) = (servers().await, CancellationToken::new());
    let nowhere = projector_config(Projection::Views, "127.0.0.1:9", "mysql://nobody@127.0.0.1:9/nothing");
    let waiting = Process::start(&nowhere, stop.clone()).await.unwrap();
    let (status, body) = get(&waiting, "/health/ready").await;
    assert!(status == 503 && body.contains("partitions"), "{body}");
    assert!(matches!(healthcheck(waiting.addr()).await, Err(NotReady::Reported { .. })));
    let config = projector_config(Projection::Counts, servers.brokers, &servers.mysql_url);
    let process = Process::start(&config, stop.clone()).await.unwrap();
    // Kafka may assign partitions in several steps, and the process is not ready while it takes one over.
    eventually("a projector that is ready", async || {
        let answer = get(&process, "/health/ready").await;
        if answer == (200, "{\"status\":\"ok\"}\n".to_owned()) { Ok(()) } else { Err(answer) }
    })
    .await;
    eventually("a health check that passes", async || healthcheck(process.addr()).await).await;
    assert_eq!(get(&process, "/health/live").await.0, 200);
    eventually("how far it is behind", async || {
        let (status, metrics) = get(&process, "/metrics").await;
        assert_eq!(status, 200);
        let is_lag = |line: &str| line.starts_with("tally_projection_lag_events{projection=\"counts\"");
        if metrics.lines().any(is_lag) { Ok(()) } else { Err(metrics) }
    })
    .await;
    assert_eq!(get(&process, "/api/v1/chat_applications").await.0, 404);
    every_metric_says_what_it_is(&process, &stop).await;
    stop.cancel();
    process.wait().await.unwrap();
    waiting.wait().await.unwrap();
}

/// All processes of this program share their metrics, so those of numbers are there once there is a command-api.
async fn every_metric_says_what_it_is(process: &Process, stop: &CancellationToken) {
    let servers = servers().await;
    let api = start_command_api(servers.brokers, servers.redis_url, &servers.mysql_url, stop).await;
    let text = eventually("metrics of numbers", async || {
        let (_, text) = get(process, "/metrics").await;
        let is_there = ["tally_numbers_epoch ", "tally_numbers_fence_seconds_count "].map(|name| text.contains(name));
        if is_there == [true; 2] { Ok(text) } else { Err(text) }
    })
    .await;
    for name in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()) {
        assert!(text.contains(&format!("# HELP {name} ")), "{name} says nowhere what it is");
    }
    stop.cancel();
    api.wait().await.unwrap();
}

tests!(
    a_checkpoint_that_is_not_in_the_log_ends_the_process,
    another_log_ends_the_process,
    another_record_at_the_checkpoint_ends_the_process,
    a_checkpoint_that_the_last_release_has_moved_is_accepted,
    a_partition_that_stands_still_goes_on_when_the_record_is_parked,
    something_newer_stops_its_partition_alone_until_the_reader_is_upgraded,
    its_own_address_answers_health_and_metrics,
);
