//! Brokers go away and come back. They are librdkafka's mock cluster.

use std::time::{Duration, Instant};

use distributed::kafka::{Cluster, KafkaLog, PARTITIONS};
use event_log::{AppendError, EventLog};
use futures_util::future::join_all;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use testkit::polling;

use super::support::{DEADLINE, fresh, fresh_chat, message, until};

/// Longest time that an append may take: its own time-out, and librdkafka's tick.
const APPEND_BOUND: Duration = Duration::from_secs(8);
const ALL_BROKERS: i32 = -1;
/// Within this time the log checks its brokers.
const CHECK_INTERVAL: Duration = Duration::from_secs(3);

type Brokers = MockCluster<'static, DefaultProducerContext>;

fn brokers() -> (Brokers, Cluster) {
    let brokers = MockCluster::new(1).unwrap();
    let cluster = fresh(brokers.bootstrap_servers());
    brokers.create_topic(&cluster.topic, PARTITIONS.get().into(), 1).unwrap();
    (brokers, cluster)
}

fn open() -> (Brokers, KafkaLog) {
    let (brokers, cluster) = brokers();
    (brokers, KafkaLog::connect(cluster).unwrap())
}

async fn append(log: &KafkaLog) -> Result<(), AppendError> {
    log.append(message(fresh_chat(), 1)).await.map(drop)
}

async fn brokers_that_go_away_and_return_are_noticed() {
    let (brokers, log) = open();
    append(&log).await.unwrap();
    assert!(!log.is_away());
    brokers.broker_down(ALL_BROKERS).unwrap();
    until("notice that the brokers are away", || log.is_away()).await;
    let began = Instant::now();
    let answer = append(&log).await;
    assert!(matches!(answer, Err(AppendError::Unacknowledged(_))), "{answer:?}");
    assert!(began.elapsed() < APPEND_BOUND, "{:?}", began.elapsed());
    assert!(log.is_away());
    brokers.broker_up(ALL_BROKERS).unwrap();
    until("notice that the brokers are back", || !log.is_away()).await;
    append(&log).await.unwrap();
}

/// As when a broker is paused, connections stay open and no answer comes.
async fn brokers_that_do_not_answer_are_away_too() {
    let (brokers, log) = open();
    append(&log).await.unwrap();
    brokers.broker_round_trip_time(ALL_BROKERS, DEADLINE).unwrap();
    let began = Instant::now();
    let answer = append(&log).await;
    assert!(matches!(answer, Err(AppendError::Unacknowledged(_))), "{answer:?}");
    assert!(began.elapsed() < APPEND_BOUND, "{:?}", began.elapsed());
    until("notice that the brokers are away", || log.is_away()).await;
    brokers.broker_round_trip_time(ALL_BROKERS, Duration::ZERO).unwrap();
    until("notice that the brokers are back", || !log.is_away()).await;
    append(&log).await.unwrap();
}

/// Appends to this partition fail. Appends to the others succeed, so the log is not away.
async fn one_partition_without_its_leader_does_not_make_the_log_away() {
    const LEADS_ONE: i32 = 2;
    let brokers = MockCluster::new(2).unwrap();
    let cluster = fresh(brokers.bootstrap_servers());
    brokers.create_topic(&cluster.topic, PARTITIONS.get().into(), 1).unwrap();
    let stuck = PARTITIONS.partition_of(&fresh_chat().into());
    for partition in PARTITIONS.partitions() {
        let leader = if partition == stuck { LEADS_ONE } else { 1 };
        brokers.partition_leader(&cluster.topic, partition.0.into(), Some(leader)).unwrap();
    }
    brokers.broker_down(LEADS_ONE).unwrap();
    let log = KafkaLog::connect(cluster).unwrap();
    let in_partition = |is_stuck: bool| {
        let mut chats = std::iter::repeat_with(fresh_chat);
        chats.find(|chat| (PARTITIONS.partition_of(&(*chat).into()) == stuck) == is_stuck).unwrap()
    };
    for _ in 0..2 {
        let answer = log.append(message(in_partition(true), 1)).await;
        assert!(matches!(answer, Err(AppendError::Unacknowledged(_))), "{answer:?}");
        let appending = async {
            loop {
                assert!(!log.is_away(), "the log is away");
                log.append(message(in_partition(false), 1)).await.unwrap();
            }
        };
        tokio::time::timeout(CHECK_INTERVAL, appending).await.unwrap_err();
    }
}

async fn more_appends_than_the_queue_takes_are_refused_at_once() {
    const QUEUE: usize = 16_384;
    let (brokers, log) = open();
    brokers.broker_down(ALL_BROKERS).unwrap();
    let began = Instant::now();
    let answers = join_all((0..QUEUE + 10).map(|_| append(&log))).await;
    let overloaded = answers.iter().filter(|answer| matches!(answer, Err(AppendError::Overloaded))).count();
    let unknown = answers.iter().filter(|answer| matches!(answer, Err(AppendError::Unacknowledged(_)))).count();
    assert_eq!((overloaded, unknown), (10, QUEUE));
    assert!(began.elapsed() < 2 * APPEND_BOUND, "{:?}", began.elapsed());
}

async fn a_closed_log_refuses_appends() {
    let (_brokers, log) = open();
    append(&log).await.unwrap();
    log.close().await;
    assert!(matches!(append(&log).await, Err(AppendError::Closed)));
    log.close().await;
}

async fn closing_waits_for_appends_under_way_but_not_for_ever() {
    let (brokers, log) = open();
    brokers.broker_down(ALL_BROKERS).unwrap();
    let began = Instant::now();
    let (answer, ()) = tokio::join!(append(&log), log.close());
    assert!(matches!(answer, Err(AppendError::Unacknowledged(_))), "{answer:?}");
    assert!(began.elapsed() < APPEND_BOUND, "{:?}", began.elapsed());
}

/// Some errors make a producer useless. The log then makes another one.
async fn a_producer_that_broke_is_replaced() {
    let (brokers, cluster) = brokers();
    let broken = RDKafkaRespErr::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED;
    brokers.request_errors(RDKafkaApiKey::InitProducerId, &[broken]);
    let log = KafkaLog::connect(cluster).unwrap();
    assert!(matches!(append(&log).await, Err(AppendError::Unacknowledged(_))), "the producer is not broken");
    polling::until(DEADLINE, "append by another producer", async || append(&log).await.is_ok()).await;
}

tests!(
    brokers_that_go_away_and_return_are_noticed,
    brokers_that_do_not_answer_are_away_too,
    one_partition_without_its_leader_does_not_make_the_log_away,
    more_appends_than_the_queue_takes_are_refused_at_once,
    a_closed_log_refuses_appends,
    closing_waits_for_appends_under_way_but_not_for_ever,
    a_producer_that_broke_is_replaced,
);
