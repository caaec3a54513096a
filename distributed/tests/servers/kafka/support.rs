//! A Kafka for tests, and topics of their own on it.

use std::sync::Arc;
use std::time::Duration;

use distributed::kafka::{Cluster, KafkaLog};
use event_log::{EventLog, LogBatch, ReadLimit};
use events::{
    ApplicationToken, ChatKey, ChatNumber, Event, EventId, MessageNumber, MessagePosted, Offset, PartitionId, Position,
    Record, UnixMillis,
};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use uuid::Uuid;

use crate::containers;

/// Longest that a test waits for something that must come.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// Brokers of a real Kafka.
pub(crate) async fn server() -> String {
    containers::kafka().await.to_owned()
}

/// A topic that no other test uses; it does not exist yet.
pub(crate) fn fresh(brokers: impl Into<String>) -> Cluster {
    Cluster { brokers: brokers.into(), topic: format!("test.{}", Uuid::new_v4()) }
}

/// A log on a topic of its own.
pub(crate) async fn open(brokers: String) -> Arc<KafkaLog> {
    open_at(&fresh(brokers)).await
}

/// A log on a topic that may exist.
pub(crate) async fn open_at(cluster: &Cluster) -> Arc<KafkaLog> {
    let log = KafkaLog::connect(cluster.clone()).unwrap();
    log.prepare().await.unwrap();
    Arc::new(log)
}

/// Makes the topic in a way that is not the product's.
pub(crate) async fn make_topic(cluster: &Cluster, partitions: i32, settings: &[(&str, &str)]) {
    let new = NewTopic::new(&cluster.topic, partitions, TopicReplication::Fixed(-1));
    let new = settings.iter().fold(new, |new, (name, value)| new.set(name, value));
    let results = admin(cluster).create_topics([&new], &AdminOptions::new()).await.unwrap();
    assert!(results.iter().all(Result::is_ok), "{results:?}");
}

pub(crate) fn admin(cluster: &Cluster) -> AdminClient<DefaultClientContext> {
    config(cluster).create().unwrap()
}

pub(crate) fn config(cluster: &Cluster) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &cluster.brokers);
    config
}

/// A chat that nothing else uses.
pub(crate) fn fresh_chat() -> ChatKey {
    let token = ApplicationToken::from_bytes(Uuid::new_v4().into_bytes());
    ChatKey { token, number: ChatNumber::new(1).unwrap() }
}

/// A message of a chat.
pub(crate) fn message(chat: ChatKey, number: u32) -> Record {
    let number = MessageNumber::new(number).unwrap();
    let posted = MessagePosted { token: chat.token, chat_number: chat.number, number, body: format!("body {number}") };
    Record::encode(&Event::MessagePosted(posted), EventId(Uuid::now_v7()), UnixMillis(1_782_898_200_123)).unwrap()
}

/// Appends messages `1..=count` of a chat in turn; the answer is their partition.
pub(crate) async fn append_messages(log: &KafkaLog, chat: ChatKey, count: u32) -> PartitionId {
    let mut partition = None;
    for number in 1..=count {
        partition = Some(only_bound(&log.append(message(chat, number)).await.unwrap()).0);
    }
    partition.unwrap()
}

pub(crate) fn only_bound(position: &Position) -> (PartitionId, Offset) {
    let bounds: Vec<_> = position.bounds().collect();
    assert_eq!(bounds.len(), 1, "{position}");
    bounds[0]
}

/// Reads at least one record from `from` on, at most `records`.
pub(crate) async fn read(log: &KafkaLog, partition: PartitionId, from: u64, records: u32) -> LogBatch {
    log.read(partition, Offset(from), ReadLimit { records, wait: DEADLINE }).await.unwrap()
}

/// The numbers of the messages in a batch.
pub(crate) fn numbers(log_batch: &LogBatch) -> Vec<u32> {
    log_batch.events.iter().map(|recorded| recorded.record.number.unwrap().get()).collect()
}

/// Waits until something holds, looking at it again and again.
pub(crate) async fn until(what: &str, holds: impl Fn() -> bool) {
    let looking = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(DEADLINE, looking).await.unwrap_or_else(|_| panic!("never: {what}"));
}
