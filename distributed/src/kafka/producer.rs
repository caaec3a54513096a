//! The producer: appends, and whether the brokers are away.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use event_log::AppendError;
use events::{Marker, Offset, PartitionId, Record};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, ClientContext};
use tokio::sync::{Notify, oneshot};
use uuid::Uuid;

use super::off_thread::OffThread;
use super::{Cluster, ConnectError, client, codec};

/// Appends that wait for brokers; one more is refused.
const MAX_WAITING: &str = "16384";
/// And their bytes, in KiB.
const MAX_WAITING_KIB: &str = "65536";
/// How long an append may take, in milliseconds. A reservation is good for no longer.
const APPEND_TIMEOUT_MS: &str = "5000";
/// How long a first append waits for others to travel with, in milliseconds. With acks=all it is the one number that
/// matters: without a pause each append is a request of its own, with more of it each append waits.
const LINGER_MS: &str = "0.5";
/// How long one look whether brokers are back may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// How long the appends under way are waited for at the end: as long as they may take, and librdkafka's tick.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(6);

/// Records that travel together at most. Where a record lies that the broker had already is told as [`Offset::Invalid`],
/// and counted up from there for those that travelled with it: fewer than that is below zero, and none becomes a place.
///
/// [`Offset::Invalid`]: rdkafka::Offset::Invalid
const MAX_TOGETHER: &str = "1000";

type Answer = Result<Offset, Undelivered>;

/// Why the place of a record is not known.
#[derive(Debug, thiserror::Error)]
enum Undelivered {
    /// It may lie there or not.
    #[error(transparent)]
    Kafka(KafkaError),
    /// It lies there: it was sent again because an answer was lost, and the broker says only that it has it.
    #[error("Kafka has the record, but does not say where")]
    PlaceUnknown,
}

/// Where a delivered record lies.
fn placed(offset: i64) -> Answer {
    u64::try_from(offset).map(Offset).map_err(|_| Undelivered::PlaceUnknown)
}

/// What is known of the way to the brokers.
#[derive(Debug, Default)]
struct Link {
    away: AtomicBool,
    /// An append was given up. That may be for its partition alone, so it is looked at before the log is away.
    doubted: AtomicBool,
    /// Something was delivered since the last look.
    delivered: AtomicBool,
    /// The producer has met an error after which it takes nothing more. Nobody is woken for it: should every new producer
    /// break at once, they come at the pace of [`LogProducer::tend`].
    broken: AtomicBool,
    went: Notify,
}

impl Link {
    fn lost(&self) {
        if !self.away.swap(true, Ordering::Relaxed) {
            tracing::warn!("Kafka is away");
            self.went.notify_one();
        }
    }

    fn doubt(&self) {
        self.doubted.store(true, Ordering::Relaxed);
    }

    fn delivered(&self) {
        // Looked at first, so that appends do not fight for the cache line.
        if !self.delivered.load(Ordering::Relaxed) {
            self.delivered.store(true, Ordering::Relaxed);
        }
        self.found();
    }

    fn found(&self) {
        if self.away.load(Ordering::Relaxed) && self.away.swap(false, Ordering::Relaxed) {
            tracing::info!("Kafka is back");
        }
    }

    fn broke(&self) {
        self.broken.store(true, Ordering::Relaxed);
    }
}

/// Gives each delivery report to the append that waits for it.
struct Deliveries {
    link: Arc<Link>,
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        client::pass_on(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        client::pass_on_error(&error, reason);
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AllBrokersDown) => self.link.lost(),
            Some(RDKafkaErrorCode::Fatal) => self.link.broke(),
            _ => {}
        }
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<oneshot::Sender<Answer>>;

    fn delivery(&self, result: &DeliveryResult<'_>, asked: Self::DeliveryOpaque) {
        let answer = match result {
            Ok(message) => {
                self.link.delivered();
                placed(message.offset())
            }
            Err((error, _)) => {
                if error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageTimedOut) {
                    self.link.doubt();
                }
                Err(Undelivered::Kafka(error.clone()))
            }
        };
        // Whoever asked may have stopped waiting; the record lies where it lies.
        drop(asked.send(answer));
    }
}

/// Appends to the topic.
pub(super) struct LogProducer {
    config: ClientConfig,
    topic: String,
    link: Arc<Link>,
    producer: RwLock<OffThread<ThreadedProducer<Deliveries>>>,
    closed: AtomicBool,
}

impl LogProducer {
    pub(super) fn new(cluster: &Cluster) -> Result<Self, ConnectError> {
        let mut config = client::config(cluster);
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("linger.ms", LINGER_MS)
            .set("batch.num.messages", MAX_TOGETHER)
            // Costs no throughput that could be measured, and the topic is kept for ever.
            .set("compression.type", "lz4")
            .set("queue.buffering.max.messages", MAX_WAITING)
            .set("queue.buffering.max.kbytes", MAX_WAITING_KIB)
            .set("message.timeout.ms", APPEND_TIMEOUT_MS)
            .set("request.timeout.ms", APPEND_TIMEOUT_MS);
        let link = Arc::new(Link::default());
        let producer = RwLock::new(produce(&config, &link)?);
        Ok(Self { config, topic: cluster.topic.clone(), link, producer, closed: AtomicBool::new(false) })
    }

    /// Appends a record to `partition`; the answer is its place.
    pub(super) async fn append(&self, partition: PartitionId, record: &Record) -> Result<Offset, AppendError> {
        let headers = codec::record_headers(record).map_err(|error| AppendError::Unacknowledged(error.into()))?;
        let key = record.stream.to_text();
        self.send(partition, Some((&key, &record.data)), headers)?.outcome().await
    }

    /// Appends a marker to `partition`; the answer is its place.
    pub(super) async fn append_marker(&self, partition: PartitionId, marker: Marker) -> Result<Offset, AppendError> {
        let headers = codec::marker_headers(marker, Uuid::now_v7());
        self.send(partition, None, headers)?.outcome().await
    }

    /// Hands a record to librdkafka, which copies key and value.
    fn send(
        &self,
        partition: PartitionId,
        key_and_value: Option<(&String, &Vec<u8>)>,
        headers: OwnedHeaders,
    ) -> Result<Sent, AppendError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(AppendError::Closed);
        }
        let (asked, answer) = oneshot::channel();
        let mut record = BaseRecord::<String, Vec<u8>, _>::with_opaque_to(&self.topic, Box::new(asked))
            .partition(i32::from(partition.0))
            .headers(headers);
        if let Some((key, value)) = key_and_value {
            record = record.key(key).payload(value);
        }
        let producer = self.producer.read().unwrap_or_else(PoisonError::into_inner);
        producer.send(record).map_err(|(error, _)| self.refused(error))?;
        Ok(Sent(answer))
    }

    fn refused(&self, error: KafkaError) -> AppendError {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::QueueFull) => AppendError::Overloaded,
            code => {
                if code == Some(RDKafkaErrorCode::Fatal) {
                    self.link.broke();
                }
                AppendError::Unacknowledged(error.into())
            }
        }
    }

    /// Whether the brokers are known to be away.
    pub(super) fn is_away(&self) -> bool {
        self.link.away.load(Ordering::Relaxed)
    }

    /// Waits until the brokers go away.
    pub(super) async fn away(&self) {
        self.link.went.notified().await;
    }

    /// Looks whether brokers that were away are back, and whether those that let an append wait are there, and puts a new
    /// producer in the place of a broken one. May wait for a broker, [`PROBE_TIMEOUT`] at most.
    pub(super) fn tend(&self) {
        if self.link.broken.swap(false, Ordering::Relaxed) {
            self.replace();
        }
        let is_doubted = self.link.doubted.swap(false, Ordering::Relaxed);
        if is_doubted || self.is_away() {
            self.look();
        }
    }

    /// The log is away where nothing at all is appended. One partition without a leader refuses its own appends alone.
    fn look(&self) {
        self.link.delivered.store(false, Ordering::Relaxed);
        if self.some_partition_is_led() || self.link.delivered.load(Ordering::Relaxed) {
            self.link.found();
        } else {
            self.link.lost();
        }
    }

    fn replace(&self) {
        match produce(&self.config, &self.link) {
            Ok(producer) => {
                tracing::warn!("the producer was broken, and a new one is in its place");
                *self.producer.write().unwrap_or_else(PoisonError::into_inner) = producer;
            }
            Err(error) => {
                tracing::error!(%error, "the producer is broken, and there is no other");
                self.link.broke();
            }
        }
    }

    fn some_partition_is_led(&self) -> bool {
        let producer = self.producer.read().unwrap_or_else(PoisonError::into_inner);
        let Ok(metadata) = producer.client().fetch_metadata(Some(&self.topic), PROBE_TIMEOUT) else {
            return false;
        };
        let mut partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
        partitions.any(|partition| partition.leader() >= 0)
    }

    /// Takes no more appends and waits, a bounded while, until the outcome of those under way is known. Blocks.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        let producer = self.producer.read().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = producer.flush(FLUSH_TIMEOUT) {
            tracing::warn!(%error, "appends were under way when the log was closed; their outcome is unknown");
        }
    }
}

/// A record on its way.
struct Sent(oneshot::Receiver<Answer>);

impl Sent {
    async fn outcome(self) -> Result<Offset, AppendError> {
        match self.0.await {
            Ok(Ok(offset)) => Ok(offset),
            Ok(Err(error)) => Err(AppendError::Unacknowledged(error.into())),
            Err(gone) => Err(AppendError::Unacknowledged(gone.into())),
        }
    }
}

fn produce(config: &ClientConfig, link: &Arc<Link>) -> Result<OffThread<ThreadedProducer<Deliveries>>, ConnectError> {
    let context = Deliveries { link: Arc::clone(link) };
    config.create_with_context(context).map(OffThread::new).map_err(ConnectError)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_offset_of_the_log_is_a_place() {
        for offset in [0, 1, i64::MAX] {
            assert_eq!(placed(offset).unwrap(), Offset(offset.unsigned_abs()));
        }
        let together = MAX_TOGETHER.parse::<i64>().unwrap();
        let first = rdkafka::Offset::Invalid.to_raw().unwrap();
        for none in (first..first + together).chain([-1, i64::MIN]) {
            assert!(matches!(placed(none), Err(Undelivered::PlaceUnknown)), "{none}");
        }
    }
}
