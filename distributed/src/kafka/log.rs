//! The event log: appending, reading, and where it ends.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use event_log::{AppendError, EventLog, ReadError, ReadLimit, Stretch};
use events::{Marker, Offset, PartitionCount, PartitionId, Position, Record, UnixMillis};
use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::reader::PartitionReader;
use super::topic::{self, PrepareError};
use super::{ClientError, PARTITIONS, TOPIC, client_config, codec, partition_number};
use crate::numbers::MarkerLog;

/// Appends that wait for their acknowledgement; one more is refused.
const MAX_WAITING: u32 = 16_384;
/// How long an append is tried; then its outcome is unknown.
const APPEND_WAIT: Duration = Duration::from_secs(5);
/// How long an append waits for others to travel with. Of the settings that were tried this gave most appends a second at
/// 16 and at 64 at once.
const LINGER_MILLIS: &str = "0.5";
/// Longest wait for the answer to a question about the log.
const ANSWER_WAIT: Duration = Duration::from_secs(5);
/// How often Kafka is asked where the log ends before that is a failure, and the pause after the first time.
const END_ATTEMPTS: u32 = 4;
const END_PAUSE: Duration = Duration::from_millis(50);
/// How often a log that is away is looked for.
const LOOK: Duration = Duration::from_secs(1);
/// Readers that nobody has used for this long are closed.
const READER_IDLE: Duration = Duration::from_secs(60);
/// Longest wait for appends under way when the log is closed.
const CLOSE_WAIT: Duration = Duration::from_secs(10);

/// [`EventLog`] on a topic of Kafka.
pub struct KafkaLog {
    topic: String,
    config: ClientConfig,
    producer: FutureProducer<Watch>,
    /// Answers questions; reads nothing.
    asker: Arc<BaseConsumer>,
    readers: Mutex<HashMap<PartitionId, Arc<tokio::sync::Mutex<PartitionReader>>>>,
    is_away: Arc<AtomicBool>,
    is_closed: AtomicBool,
    _looking: DropGuard,
}

/// Hears from the producer that no broker can be reached.
struct Watch {
    is_away: Arc<AtomicBool>,
}

impl ClientContext for Watch {
    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown)
            && !self.is_away.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(reason, "no broker of Kafka can be reached; writes are refused until one can");
        }
    }
}

impl KafkaLog {
    /// The log in the topic [`TOPIC`], whether or not a broker can be reached now. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn new(brokers: &str) -> Result<Self, ClientError> {
        Self::in_topic(brokers, TOPIC)
    }

    /// The log in another topic.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn in_topic(brokers: &str, topic: &str) -> Result<Self, ClientError> {
        let config = client_config(brokers);
        let is_away = Arc::new(AtomicBool::new(false));
        let watch = Watch { is_away: Arc::clone(&is_away) };
        let producer: FutureProducer<Watch> =
            producer_config(config.clone()).create_with_context(watch).map_err(ClientError)?;
        let asker: Arc<BaseConsumer> = Arc::new(config.create().map_err(ClientError)?);
        let stop = CancellationToken::new();
        tokio::spawn({
            let (stop, asker, is_away, topic) =
                (stop.clone(), Arc::clone(&asker), Arc::clone(&is_away), topic.to_owned());
            async move { stop.run_until_cancelled(look_for_brokers(asker, topic, is_away)).await }
        });
        Ok(Self {
            topic: topic.to_owned(),
            config,
            producer,
            asker,
            readers: Mutex::default(),
            is_away,
            is_closed: AtomicBool::new(false),
            _looking: stop.drop_guard(),
        })
    }

    /// Makes the topic if it is missing, and looks whether it is as it must be.
    ///
    /// # Errors
    /// [`PrepareError`] says what to do; see [`PrepareError::is_lasting`].
    pub async fn prepare(&self) -> Result<(), PrepareError> {
        topic::prepare(&self.config, &self.topic).await
    }

    /// Waits until the appends under way have ended, and takes no more.
    pub async fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
        let producer = self.producer.clone();
        let flushed = tokio::task::spawn_blocking(move || producer.flush(CLOSE_WAIT)).await;
        if !matches!(flushed, Ok(Ok(()))) {
            tracing::warn!("some appends were not acknowledged before the event log was closed");
        }
        self.readers().clear();
    }

    async fn send(&self, record: FutureRecord<'_, str, [u8]>) -> Result<Offset, AppendError> {
        if self.is_closed.load(Ordering::SeqCst) {
            return Err(AppendError::Closed);
        }
        let delivery = self.producer.send_result(record).map_err(|(error, _)| match error {
            KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) => AppendError::Overloaded,
            error => AppendError::Unacknowledged(error.into()),
        })?;
        match delivery.await {
            Ok(Ok(delivery)) => {
                self.is_away.store(false, Ordering::Relaxed);
                Ok(Offset(delivery.offset.unsigned_abs()))
            }
            Ok(Err((error, _))) => {
                if error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageTimedOut) {
                    self.is_away.store(true, Ordering::Relaxed);
                }
                Err(AppendError::Unacknowledged(error.into()))
            }
            Err(canceled) => Err(AppendError::Unacknowledged(canceled.into())),
        }
    }

    /// The reader of a partition. Those that are idle are closed meanwhile.
    fn reader(&self, partition: PartitionId) -> Arc<tokio::sync::Mutex<PartitionReader>> {
        let mut readers = self.readers();
        readers.retain(|_, reader| {
            reader.try_lock().is_ok_and(|reader| reader.idle() < READER_IDLE) || { Arc::strong_count(reader) > 1 }
        });
        let new = || PartitionReader::new(self.config.clone(), &self.topic, partition, Arc::clone(&self.asker));
        Arc::clone(readers.entry(partition).or_insert_with(|| Arc::new(tokio::sync::Mutex::new(new()))))
    }

    fn readers(&self) -> std::sync::MutexGuard<'_, HashMap<PartitionId, Arc<tokio::sync::Mutex<PartitionReader>>>> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn producer_config(mut config: ClientConfig) -> ClientConfig {
    config
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("linger.ms", LINGER_MILLIS)
        .set("compression.type", "lz4")
        .set("message.timeout.ms", APPEND_WAIT.as_millis().to_string())
        .set("request.timeout.ms", APPEND_WAIT.as_millis().to_string())
        .set("queue.buffering.max.messages", MAX_WAITING.to_string());
    config
}

/// Looks for brokers while there are none, so that writes are let in again.
async fn look_for_brokers(asker: Arc<BaseConsumer>, topic: String, is_away: Arc<AtomicBool>) {
    loop {
        tokio::time::sleep(LOOK).await;
        if !is_away.load(Ordering::Relaxed) {
            continue;
        }
        let (asker, topic) = (Arc::clone(&asker), topic.clone());
        let found = tokio::task::spawn_blocking(move || asker.fetch_metadata(Some(&topic), LOOK).is_ok()).await;
        if matches!(found, Ok(true)) {
            is_away.store(false, Ordering::Relaxed);
            tracing::info!("Kafka can be reached again");
        }
    }
}

/// Where every partition of the topic ends. A client whose knowledge of the brokers is old learns from its first failure.
fn ends(asker: &BaseConsumer, topic: &str) -> Result<Position, KafkaError> {
    let mut attempt = 1;
    loop {
        match ends_once(asker, topic) {
            Err(_) if attempt < END_ATTEMPTS => std::thread::sleep(END_PAUSE * attempt),
            outcome => return outcome,
        }
        attempt += 1;
    }
}

fn ends_once(asker: &BaseConsumer, topic: &str) -> Result<Position, KafkaError> {
    let mut asked = rdkafka::TopicPartitionList::with_capacity(PARTITIONS.get().into());
    for partition in PARTITIONS.partitions() {
        asked.add_partition_offset(topic, partition_number(partition), rdkafka::Offset::End)?;
    }
    let answered = asker.offsets_for_times(asked, ANSWER_WAIT)?;
    let mut end = Position::default();
    for element in answered.elements() {
        element.error()?;
        let partition = u16::try_from(element.partition()).map_err(|_| NO_OFFSET)?;
        let rdkafka::Offset::Offset(offset) = element.offset() else {
            return Err(NO_OFFSET);
        };
        end.merge(&Position::of(PartitionId(partition), Offset(offset.unsigned_abs())));
    }
    Ok(end)
}

/// Kafka left out of its answer what was asked for.
const NO_OFFSET: KafkaError = KafkaError::OffsetFetch(RDKafkaErrorCode::NoOffset);

#[async_trait]
impl EventLog for KafkaLog {
    async fn append(&self, record: Record) -> Result<Position, AppendError> {
        let partition = PARTITIONS.partition_of(&record.stream);
        let (key, headers) = (record.stream.to_text(), codec::headers(&record));
        let message = FutureRecord::to(&self.topic)
            .partition(partition_number(partition))
            .key(key.as_str())
            .payload(record.data.as_slice())
            .headers(headers);
        Ok(Position::of(partition, self.send(message).await?.next()))
    }

    async fn read(&self, partition: PartitionId, from: Offset, limit: ReadLimit) -> Result<Stretch, ReadError> {
        if partition.0 >= PARTITIONS.get() {
            return Err(ReadError::UnknownPartition(partition));
        }
        let reader = self.reader(partition);
        let mut reader = reader.lock().await;
        reader.read(from, limit).await
    }

    async fn end(&self) -> Result<Position, ReadError> {
        let (asker, topic) = (Arc::clone(&self.asker), self.topic.clone());
        let end = tokio::task::spawn_blocking(move || ends(&asker, &topic)).await;
        let end = end.map_err(|error| ReadError::Unavailable(error.into()))?;
        end.map_err(|error| ReadError::Unavailable(error.into()))
    }

    fn is_away(&self) -> bool {
        self.is_away.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl MarkerLog for KafkaLog {
    fn partitions(&self) -> PartitionCount {
        PARTITIONS
    }

    async fn append_marker(&self, partition: PartitionId, marker: Marker) -> Result<Offset, AppendError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = UnixMillis(now.as_millis().try_into().unwrap_or(u64::MAX));
        let message = FutureRecord::to(&self.topic)
            .partition(partition_number(partition))
            .headers(codec::marker_headers(marker, now));
        self.send(message).await
    }
}
