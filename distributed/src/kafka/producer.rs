//! Appends records to the topic.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use event_log::AppendError;
use events::{ImportMark, LogId, Marker, Offset, PartitionId, Position, Record};
use parking_lot::RwLock;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, ClientContext};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::background_drop::BackgroundDrop;
use super::client::{self, ConnectError};
use super::cluster::Cluster;
use super::codec;
use super::producer_health::ProducerHealth;

/// Most appends that wait for brokers; the producer refuses one more.
const MAX_WAITING: &str = "16384";
/// Most bytes that wait for brokers, in KiB.
const MAX_WAITING_KIB: &str = "65536";
/// How long an append may take, in milliseconds. A reservation is good for no longer.
const APPEND_TIMEOUT_MS: &str = "5000";
/// How long the first record of a batch waits for others, in milliseconds. With acks=all this setting decides
/// throughput: at zero each append is a request of its own, and a longer wait delays each append.
const LINGER_MS: &str = "0.5";
/// How long a probe of the brokers may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// How long `close` waits for appends under way: as long as an append may take, and one tick of librdkafka.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(6);

/// Most records in a batch. Where the broker already had a batch, librdkafka reports [`Offset::Invalid`] for its first
/// record and counts up from there for the others. This bound keeps all of them below zero: so none looks like an
/// offset.
///
/// [`Offset::Invalid`]: rdkafka::Offset::Invalid
const MAX_BATCH_RECORDS: &str = "1000";

type Delivery = Result<Offset, DeliveryError>;

/// Why the offset of a record is not known.
#[derive(Debug, thiserror::Error)]
enum DeliveryError {
    /// The log may or may not have the record.
    #[error(transparent)]
    Kafka(KafkaError),
    /// The log has the record. An acknowledgement was lost, the producer sent the record again, and the broker answered
    /// only that it has it.
    #[error("Kafka has the record, but does not say at which offset")]
    OffsetUnknown,
}

fn to_offset(reported: i64) -> Delivery {
    u64::try_from(reported).map(Offset).map_err(|_| DeliveryError::OffsetUnknown)
}

/// Passes each delivery report to the append that waits for it.
struct DeliveryContext {
    health: Arc<ProducerHealth>,
}

impl ClientContext for DeliveryContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        client::log_line(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        client::log_error(&error, reason);
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AllBrokersDown) => self.health.mark_away(),
            Some(RDKafkaErrorCode::Fatal) => self.health.mark_broken(),
            _ => {}
        }
    }
}

impl ProducerContext for DeliveryContext {
    type DeliveryOpaque = Box<oneshot::Sender<Delivery>>;

    fn delivery(&self, result: &DeliveryResult<'_>, delivery_sender: Self::DeliveryOpaque) {
        let delivery = match result {
            Ok(message) => {
                self.health.record_delivery();
                to_offset(message.offset())
            }
            Err((error, _)) => {
                if error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageTimedOut) {
                    self.health.suspect();
                }
                Err(DeliveryError::Kafka(error.clone()))
            }
        };
        // The caller may have stopped waiting; that changes nothing in the log.
        drop(delivery_sender.send(delivery));
    }
}

/// Appends to the topic.
pub(super) struct LogProducer {
    config: ClientConfig,
    topic: String,
    health: Arc<ProducerHealth>,
    producer: RwLock<BackgroundDrop<ThreadedProducer<DeliveryContext>>>,
    closed: AtomicBool,
}

impl LogProducer {
    pub(super) fn new(cluster: &Cluster) -> Result<Self, ConnectError> {
        let mut config = client::base_config(cluster);
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("linger.ms", LINGER_MS)
            .set("batch.num.messages", MAX_BATCH_RECORDS)
            // Compression costs no measurable throughput, and the topic is kept for ever.
            .set("compression.type", "lz4")
            .set("queue.buffering.max.messages", MAX_WAITING)
            .set("queue.buffering.max.kbytes", MAX_WAITING_KIB)
            .set("message.timeout.ms", APPEND_TIMEOUT_MS)
            .set("request.timeout.ms", APPEND_TIMEOUT_MS);
        let health = Arc::new(ProducerHealth::default());
        let producer = RwLock::new(create_producer(&config, &health)?);
        Ok(Self { config, topic: cluster.topic.clone(), health, producer, closed: AtomicBool::new(false) })
    }

    /// Appends a record to `partition` and returns its offset.
    pub(super) async fn append(&self, partition: PartitionId, record: &Record) -> Result<Offset, AppendError> {
        let headers = codec::record_headers(record).map_err(|error| AppendError::Unacknowledged(error.into()))?;
        let key = record.stream.to_text();
        self.send(partition, Some((&key, &record.data)), headers).await
    }

    /// Appends records in their order, each to its partition. Returns a position that covers all of them.
    pub(super) async fn append_all(&self, records: &[(PartitionId, Record)]) -> Result<Position, AppendError> {
        let mut deliveries = Vec::with_capacity(records.len());
        for (partition, record) in records {
            let headers = codec::record_headers(record).map_err(|error| AppendError::Unacknowledged(error.into()))?;
            let key = record.stream.to_text();
            deliveries.push((*partition, self.queue(*partition, Some((&key, &record.data)), headers)?));
        }
        let mut covered = Position::default();
        for (partition, delivery) in deliveries {
            covered.merge(&Position::up_to(partition, wait_for_delivery(delivery).await?.next()));
        }
        Ok(covered)
    }

    /// Appends the mark of an import to `partition`. The first record of a log is its identity: a mark that is it says that the positions
    /// of the log are marked.
    pub(super) async fn append_import_mark(
        &self,
        partition: PartitionId,
        mark: &ImportMark,
    ) -> Result<Offset, AppendError> {
        let is_first = mark.end.bound(partition) == Offset::START;
        let id = if is_first { LogId::of_marked_log(Uuid::new_v4().into_bytes()).0 } else { Uuid::now_v7() };
        self.send(partition, None, codec::import_mark_headers(mark, id)).await
    }

    /// Appends a marker to `partition` and returns its offset.
    pub(super) async fn append_marker(&self, partition: PartitionId, marker: Marker) -> Result<Offset, AppendError> {
        let headers = codec::marker_headers(marker, Uuid::now_v7());
        self.send(partition, None, headers).await
    }

    /// Hands a record to librdkafka, which copies key and value, and waits for its delivery.
    async fn send(
        &self,
        partition: PartitionId,
        key_and_value: Option<(&String, &Vec<u8>)>,
        headers: OwnedHeaders,
    ) -> Result<Offset, AppendError> {
        wait_for_delivery(self.queue(partition, key_and_value, headers)?).await
    }

    /// Hands a record to librdkafka. Records of a partition are appended in the order of these calls.
    fn queue(
        &self,
        partition: PartitionId,
        key_and_value: Option<(&String, &Vec<u8>)>,
        headers: OwnedHeaders,
    ) -> Result<oneshot::Receiver<Delivery>, AppendError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(AppendError::Closed);
        }
        let (delivery_sender, delivery) = oneshot::channel();
        let mut record = BaseRecord::<String, Vec<u8>, _>::with_opaque_to(&self.topic, Box::new(delivery_sender))
            .partition(i32::from(partition.0))
            .headers(headers);
        if let Some((key, value)) = key_and_value {
            record = record.key(key).payload(value);
        }
        self.producer.read().send(record).map_err(|(error, _)| self.to_append_error(error))?;
        Ok(delivery)
    }

    fn to_append_error(&self, error: KafkaError) -> AppendError {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::QueueFull) => AppendError::Overloaded,
            code => {
                if code == Some(RDKafkaErrorCode::Fatal) {
                    self.health.mark_broken();
                }
                AppendError::Unacknowledged(error.into())
            }
        }
    }

    pub(super) fn is_away(&self) -> bool {
        self.health.is_away()
    }

    pub(super) async fn wait_until_away(&self) {
        self.health.wait_until_away().await;
    }

    /// Replaces a broken producer, and probes brokers that are away or let an append time out. Blocks,
    /// [`PROBE_TIMEOUT`] at most.
    pub(super) fn maintain(&self) {
        if self.health.take_broken() {
            self.replace_producer();
        }
        if self.health.take_suspicion() {
            // The log is away if nothing can be appended at all. A partition without a leader stops its own appends
            // only.
            self.health.decide(|| self.has_partition_with_leader());
        }
    }

    fn replace_producer(&self) {
        match create_producer(&self.config, &self.health) {
            Ok(producer) => {
                tracing::warn!("the Kafka producer was broken; a new one replaces it");
                *self.producer.write() = producer;
            }
            Err(error) => {
                tracing::error!(%error, "the Kafka producer is broken, and no new one can be created");
                self.health.mark_broken();
            }
        }
    }

    fn has_partition_with_leader(&self) -> bool {
        let producer = self.producer.read();
        let Ok(metadata) = producer.client().fetch_metadata(Some(&self.topic), PROBE_TIMEOUT) else {
            return false;
        };
        let mut partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
        partitions.any(|partition| partition.leader() >= 0)
    }

    /// Refuses further appends and waits until the outcome of those under way is known. Blocks, [`FLUSH_TIMEOUT`] at
    /// most.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        if let Err(error) = self.producer.read().flush(FLUSH_TIMEOUT) {
            tracing::warn!(%error, "the event log was closed during appends; their outcome is unknown");
        }
    }
}

async fn wait_for_delivery(delivery: oneshot::Receiver<Delivery>) -> Result<Offset, AppendError> {
    match delivery.await {
        Ok(delivery) => delivery.map_err(|error| AppendError::Unacknowledged(error.into())),
        Err(dropped) => Err(AppendError::Unacknowledged(dropped.into())),
    }
}

fn create_producer(
    config: &ClientConfig,
    health: &Arc<ProducerHealth>,
) -> Result<BackgroundDrop<ThreadedProducer<DeliveryContext>>, ConnectError> {
    let context = DeliveryContext { health: Arc::clone(health) };
    config.create_with_context(context).map(BackgroundDrop::new).map_err(ConnectError)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_offset_of_the_log_is_accepted() {
        for offset in [0, 1, i64::MAX] {
            assert_eq!(to_offset(offset).unwrap(), Offset(offset.unsigned_abs()));
        }
        let batch = MAX_BATCH_RECORDS.parse::<i64>().unwrap();
        let first = rdkafka::Offset::Invalid.to_raw().unwrap();
        for none in (first..first + batch).chain([-1, i64::MIN]) {
            assert!(matches!(to_offset(none), Err(DeliveryError::OffsetUnknown)), "{none}");
        }
    }
}
