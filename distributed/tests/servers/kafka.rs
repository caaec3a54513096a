//! The event log on a real Kafka.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use distributed::kafka::{KafkaLog, Membership, PARTITIONS, PrepareError};
use distributed::numbers::MarkerLog;
use event_log::{EventLog, ReadLimit, conformance as suite};
use events::{Epoch, Marker, Offset, PartitionId, StreamKey};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{FutureProducer, FutureRecord};
use tokio::sync::watch;
use uuid::Uuid;

use crate::containers;

/// Longest wait for what must come.
const DEADLINE: Duration = Duration::from_secs(60);

fn topic() -> String {
    format!("test-{}", Uuid::new_v4())
}

/// A log in a topic of its own.
async fn log() -> Arc<KafkaLog> {
    let log = Arc::new(KafkaLog::in_topic(containers::kafka().await, &topic()).unwrap());
    containers::ready("the topic", async || log.prepare().await.ok()).await;
    log
}

macro_rules! conforms {
    ($($name:ident),+ $(,)?) => {
        $(async fn $name() {
            suite::$name(log().await).await;
        })+
    };
}

conforms!(
    records_come_back_to_the_byte,
    reading_starts_where_it_is_asked_to,
    the_number_of_records_is_bounded,
    end_covers_every_answered_append,
    the_end_is_waited_at_and_left_when_a_record_comes,
    the_wait_at_the_end_is_bounded,
    reading_beyond_the_end_is_refused,
    appends_at_once_are_all_there_once,
    writers_in_turn_lie_in_turn,
    concurrent_readers_see_one_order,
);

async fn streams_lie_where_javas_partitioner_puts_them() {
    let (brokers, topic) = (containers::kafka().await, topic());
    create(brokers, NewTopic::new(&topic, PARTITIONS.get().into(), TopicReplication::Fixed(1))).await;
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        // librdkafka's own of what Java's clients do.
        .set("partitioner", "murmur2_random")
        .create()
        .unwrap();
    for number in 1..=100 {
        let key = format!("0123456789abcdef0123456789abcdef:{number}");
        let sent = producer.send(FutureRecord::to(&topic).key(&key).payload("x"), DEADLINE).await.unwrap();
        let stream: StreamKey = key.parse().unwrap();
        assert_eq!(i32::from(PARTITIONS.partition_of(&stream).0), sent.partition, "{key}");
    }
}

async fn markers_are_passed_over_and_epochs_told() {
    let log = log().await;
    let partition = PartitionId(0);
    let claimed = log.append_marker(partition, Marker::EpochClaimed).await.unwrap();
    let started = log.append_marker(partition, Marker::EpochStarted(Epoch(claimed.0))).await.unwrap();
    let (mut next, mut epochs) = (Offset::START, Vec::new());
    while next <= started {
        let read = log.read(partition, next, ReadLimit { records: 10, wait: DEADLINE }).await.unwrap();
        assert!(read.next > next && read.events.is_empty(), "{read:?}");
        epochs.extend(read.epochs.iter().map(|start| (start.offset, start.epoch)));
        next = read.next;
    }
    assert_eq!(epochs, [(started, Epoch(claimed.0))]);
    assert_eq!(log.end().await.unwrap().bound(partition), next);
}

async fn a_topic_that_is_not_as_it_must_be_is_refused() {
    let brokers = containers::kafka().await;
    for (partitions, setting, says) in [
        (3, None, "has 3 partitions"),
        (12, Some(("cleanup.policy", "compact")), "cleanup.policy=delete"),
        (12, Some(("retention.ms", "86400000")), "retention.ms=-1"),
        (12, Some(("retention.bytes", "1000000")), "retention.bytes=-1"),
    ] {
        let topic = topic();
        let mut new = NewTopic::new(&topic, partitions, TopicReplication::Fixed(1));
        for (name, value) in [("cleanup.policy", "delete"), ("retention.ms", "-1"), ("retention.bytes", "-1")] {
            let given = setting.filter(|(given, _)| *given == name);
            new = new.set(name, given.map_or(value, |(_, value)| value));
        }
        create(brokers, new).await;
        let log = KafkaLog::in_topic(brokers, &topic).unwrap();
        let refused = containers::ready("a refusal", async || match log.prepare().await {
            Err(PrepareError::Unavailable { .. }) => None,
            other => Some(other),
        });
        let refused = refused.await.unwrap_err();
        assert!(refused.is_lasting() && refused.to_string().contains(says), "{refused}");
    }
}

async fn several_processes_may_make_the_topic_at_once() {
    let (brokers, topic) = (containers::kafka().await, topic());
    let logs: Vec<_> = (0..4).map(|_| KafkaLog::in_topic(brokers, &topic).unwrap()).collect();
    let preparing = logs.iter().map(|log| containers::ready("the topic", async || log.prepare().await.ok()));
    futures_util::future::join_all(preparing).await;
}

async fn the_members_of_a_group_share_out_all_partitions() {
    let (brokers, topic, group) = (containers::kafka().await, topic(), Uuid::new_v4().to_string());
    let log = KafkaLog::in_topic(brokers, &topic).unwrap();
    containers::ready("the topic", async || log.prepare().await.ok()).await;
    let join = || Membership::join_for(brokers, &topic, &group).unwrap();
    let all: BTreeSet<_> = PARTITIONS.partitions().collect();
    let one = join();
    own(&mut one.owned(), |owned| *owned == all).await;
    let other = join();
    let (mut of_one, mut of_other) = (one.owned(), other.owned());
    own(&mut of_one, |owned| owned.len() == 6).await;
    own(&mut of_other, |owned| owned.len() == 6).await;
    let both: BTreeSet<_> = of_one.borrow().union(&of_other.borrow()).copied().collect();
    assert_eq!(both, all);
    one.report(PartitionId(0), Offset(0));
    one.leave().await;
    own(&mut of_other, |owned| *owned == all).await;
}

async fn own(owned: &mut watch::Receiver<BTreeSet<PartitionId>>, is: impl FnMut(&BTreeSet<PartitionId>) -> bool) {
    let waited = tokio::time::timeout(DEADLINE, owned.wait_for(is)).await;
    assert!(waited.is_ok_and(|owned| owned.is_ok()), "the partitions were not shared out");
}

async fn create(brokers: &str, topic: NewTopic<'_>) {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
    let made = admin.create_topics([&topic], &AdminOptions::new()).await.unwrap();
    assert!(made.iter().all(Result::is_ok), "{made:?}");
}

tests!(
    records_come_back_to_the_byte,
    reading_starts_where_it_is_asked_to,
    the_number_of_records_is_bounded,
    end_covers_every_answered_append,
    the_end_is_waited_at_and_left_when_a_record_comes,
    the_wait_at_the_end_is_bounded,
    reading_beyond_the_end_is_refused,
    appends_at_once_are_all_there_once,
    writers_in_turn_lie_in_turn,
    concurrent_readers_see_one_order,
    streams_lie_where_javas_partitioner_puts_them,
    markers_are_passed_over_and_epochs_told,
    a_topic_that_is_not_as_it_must_be_is_refused,
    several_processes_may_make_the_topic_at_once,
    the_members_of_a_group_share_out_all_partitions,
);
