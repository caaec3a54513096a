//! Topics on a real Kafka.

use std::sync::Arc;
use std::time::Duration;

use distributed::kafka::{Cluster, KafkaLog};
use event_log::{EventLog, ImportLog, LogBatch, ReadLimit};
use events::{
    ApplicationToken, ChatKey, ChatNumber, Event, EventId, MessageNumber, MessagePosted, Offset, PartitionId, Position,
    Record, UnixMillis,
};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::{FutureProducer, FutureRecord};
use testkit::polling;
use uuid::Uuid;

use crate::containers;

/// Longest wait for an event that must happen.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// The brokers of a real Kafka.
pub(crate) async fn server() -> String {
    containers::kafka().await.to_owned()
}

/// A topic that no other test uses; it does not exist yet.
pub(crate) fn fresh(brokers: impl Into<String>) -> Cluster {
    Cluster { brokers: brokers.into(), topic: format!("test.{}", Uuid::new_v4()) }
}

/// A log on its own topic.
pub(crate) async fn open(brokers: String) -> Arc<KafkaLog> {
    open_at(&fresh(brokers)).await
}

/// A log on a topic that may exist.
pub(crate) async fn open_at(cluster: &Cluster) -> Arc<KafkaLog> {
    let log = KafkaLog::connect(cluster.clone()).unwrap();
    log.prepare().await.unwrap();
    Arc::new(log)
}

/// A topic that no other test uses, and its log.
pub(crate) struct Topic {
    cluster: Cluster,
    log: Arc<KafkaLog>,
}

impl Topic {
    pub(crate) fn log(&self) -> Arc<dyn EventLog> {
        Arc::clone(&self.log) as _
    }

    pub(crate) fn import(&self) -> Arc<dyn ImportLog> {
        Arc::clone(&self.log) as _
    }

    pub(crate) fn spoil(&self) -> impl AsyncFnOnce(PartitionId) {
        async |partition| send(&self.cluster, partition, None, Some("from a console"), OwnedHeaders::new()).await
    }
}

/// Runs a test on its own topic.
pub(crate) async fn on_a_topic(test: impl AsyncFnOnce(Topic)) {
    let cluster = fresh(server().await);
    let log = open_at(&cluster).await;
    test(Topic { cluster, log }).await;
}

/// Appends a record to a partition as another program would, with this key and value.
pub(crate) async fn send(
    cluster: &Cluster,
    partition: PartitionId,
    key: Option<&str>,
    value: Option<&str>,
    headers: OwnedHeaders,
) {
    let producer: FutureProducer = config(cluster).create().unwrap();
    let record = FutureRecord::<str, str>::to(&cluster.topic).partition(partition.0.into()).headers(headers);
    producer.send_result(FutureRecord { key, payload: value, ..record }).unwrap().await.unwrap().unwrap();
}

/// Creates the topic with other settings than Tally does.
pub(crate) async fn create_topic(cluster: &Cluster, partitions: i32, settings: &[(&str, &str)]) {
    let topic = NewTopic::new(&cluster.topic, partitions, TopicReplication::Fixed(-1));
    let topic = settings.iter().fold(topic, |topic, (name, value)| topic.set(name, value));
    let results = admin(cluster).create_topics([&topic], &AdminOptions::new()).await.unwrap();
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

/// A chat that no other test uses.
pub(crate) fn fresh_chat() -> ChatKey {
    let token = ApplicationToken::from_bytes(Uuid::new_v4().into_bytes());
    ChatKey { token, number: ChatNumber::new(1).unwrap() }
}

/// A message of a chat.
pub(crate) fn message(chat: ChatKey, number: u32) -> Record {
    let number = MessageNumber::new(number).unwrap();
    let posted = MessagePosted {
        token: chat.token,
        chat_number: chat.number,
        number,
        body: format!("body {number}"),
        author: None,
    };
    Record::encode(&Event::MessagePosted(posted), EventId(Uuid::now_v7()), UnixMillis(1_782_898_200_123)).unwrap()
}

/// Appends messages `1..=count` of a chat in turn, and returns their partition.
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

/// Polls until a condition holds.
pub(crate) async fn until(what: &str, holds: impl Fn() -> bool) {
    polling::until(DEADLINE, what, async || holds()).await;
}
