//! A projector as a process: what ends it, what stops one partition, and what its own address answers.

use distributed::elastic::ElasticIndex;
use distributed::kafka::{Cluster, KafkaLog, PARTITIONS};
use distributed::mysql::MySqlProjections;
use event_log::EventLog;
use events::{ChatKey, Offset, PartitionId, Record};
use projector::process::Process;
use read_model::{Checkpoint, CheckpointMove, CountsChanges, Projection, ProjectionStore, SearchIndex, ViewsChanges};
use service::healthcheck::{NotReady, healthcheck};
use testkit::polling::eventually;
use thiserror_ext::AsReport;
use tokio_util::sync::CancellationToken;

use crate::containers::{self, elasticsearch_url};
use crate::kafka::{DEADLINE, fresh_chat, message};
use crate::topology::{projector_config, servers, start_query_api};

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
    log.append(Record { version: 2, ..message(chat_in(stuck, true), 1) }).await.unwrap();
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
    stop.cancel();
    process.wait().await.unwrap();
    waiting.wait().await.unwrap();
}

tests!(
    a_checkpoint_that_is_not_in_the_log_ends_the_process,
    something_newer_stops_its_partition_alone_until_the_reader_is_upgraded,
    its_own_address_answers_health_and_metrics,
);
