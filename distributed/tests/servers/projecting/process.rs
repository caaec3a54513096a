//! A projector as a process: what ends it, what stops it in part, and what its own address answers.

use distributed::kafka::{Cluster, KafkaLog, PARTITIONS};
use distributed::mysql::MySqlProjections;
use event_log::EventLog;
use events::{ChatKey, Offset, PartitionId, Record};
use projector::process::Process;
use read_model::{Checkpoint, CheckpointMove, CountsChanges, Projection, ProjectionStore};
use service::healthcheck::{NotReady, healthcheck};
use service::telemetry::chain;
use testkit::scenarios::eventually;
use tokio_util::sync::CancellationToken;

use crate::containers;
use crate::kafka::{DEADLINE, fresh_chat, message};
use crate::topology::{projector_config, servers};

/// What is asked of a projector, with status and body of the answer.
async fn asked(process: &Process, path: &str) -> (u16, String) {
    let answer = reqwest::get(format!("http://{}{path}", process.addr())).await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

async fn log(brokers: &str) -> KafkaLog {
    let log = KafkaLog::connect(Cluster::new(brokers)).unwrap();
    log.prepare().await.unwrap();
    log
}

/// Tables that are as they must be, with nothing in them.
async fn tables(url: &str) -> MySqlProjections {
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
    tables(&url).await.apply_counts(checkpoint_move, CountsChanges::default()).await.unwrap();
    let stop = CancellationToken::new();
    let process = Process::start(&projector_config(Projection::Counts, brokers, &url), stop.clone()).await.unwrap();
    let ended = tokio::time::timeout(DEADLINE, process.wait()).await.unwrap().unwrap_err();
    let told = chain(ended.as_ref());
    assert!(told.contains("offset 1000000 of partition 3 lies beyond the log's end"), "{told}");
    assert!(stop.is_cancelled(), "what is beside it does not end");
}

/// A chat of this partition, or of another.
fn chat_in(partition: PartitionId, is_in: bool) -> ChatKey {
    let is_it = |chat: &ChatKey| (PARTITIONS.partition_of(&(*chat).into()) == partition) == is_in;
    std::iter::repeat_with(fresh_chat).find(is_it).unwrap()
}

async fn applied(store: &MySqlProjections, log: &KafkaLog, partition: PartitionId) {
    let end = log.end().await.unwrap().bound(partition);
    eventually("the partition's end", async || {
        let next = store.checkpoint(Projection::Views, partition).await.unwrap().next;
        if next >= end { Ok(()) } else { Err(next) }
    })
    .await;
}

async fn something_newer_stops_its_partition_alone_until_the_reader_is_upgraded() {
    let (brokers, url) = (containers::spoilt_kafka().await, containers::database("newer").await);
    let (log, store, stop) = (log(brokers).await, tables(&url).await, CancellationToken::new());
    let stuck = PartitionId(5);
    let stuck_at = log.end().await.unwrap().bound(stuck);
    log.append(Record { version: 2, ..message(chat_in(stuck, true), 1) }).await.unwrap();
    log.append(message(chat_in(stuck, true), 1)).await.unwrap();
    let process = Process::start(&projector_config(Projection::Views, brokers, &url), stop.clone()).await.unwrap();
    let told = eventually("what is not ready", async || {
        let (status, told) = asked(&process, "/health/ready").await;
        if told.contains("newer") { Ok((status, told)) } else { Err(told) }
    })
    .await;
    assert_eq!(told.0, 503);
    assert!(told.1.contains("cannot go on in partition 5") && told.1.contains("upgrade this reader"), "{}", told.1);
    assert!(matches!(healthcheck(process.addr()).await, Err(NotReady::Reported { .. })));
    // The others go on.
    for number in 1..=3 {
        let partition = PARTITIONS.partition_of(&chat_in(stuck, false).into());
        log.append(message(chat_in(partition, true), number)).await.unwrap();
        applied(&store, &log, partition).await;
    }
    assert_eq!(store.checkpoint(Projection::Views, stuck).await.unwrap().next, stuck_at);
    stop.cancel();
    process.wait().await.unwrap();
}

async fn its_own_address_tells_how_it_is() {
    let (servers, stop) = (servers().await, CancellationToken::new());
    let nowhere = projector_config(Projection::Views, "127.0.0.1:9", "mysql://nobody@127.0.0.1:9/nothing");
    let waiting = Process::start(&nowhere, stop.clone()).await.unwrap();
    let (status, told) = asked(&waiting, "/health/ready").await;
    assert!(status == 503 && told.contains("partitions"), "{told}");
    assert!(matches!(healthcheck(waiting.addr()).await, Err(NotReady::Reported { .. })));
    let config = projector_config(Projection::Counts, servers.brokers, &servers.mysql_url);
    let process = Process::start(&config, stop.clone()).await.unwrap();
    eventually("a projector that is ready", async || healthcheck(process.addr()).await).await;
    assert_eq!(asked(&process, "/health/ready").await, (200, r#"{"status":"ok"}"#.to_owned()));
    assert_eq!(asked(&process, "/health/live").await.0, 200);
    eventually("how far it is behind", async || {
        let (status, metrics) = asked(&process, "/metrics").await;
        assert_eq!(status, 200);
        let is_lag = |line: &str| line.starts_with("tally_projection_lag_events{projection=\"counts\"");
        if metrics.lines().any(is_lag) { Ok(()) } else { Err(metrics) }
    })
    .await;
    assert_eq!(asked(&process, "/api/v1/chat_applications").await.0, 404);
    stop.cancel();
    process.wait().await.unwrap();
    waiting.wait().await.unwrap();
}

tests!(
    a_checkpoint_that_is_not_in_the_log_ends_the_process,
    something_newer_stops_its_partition_alone_until_the_reader_is_upgraded,
    its_own_address_tells_how_it_is,
);
