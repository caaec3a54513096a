//! Reads one partition from an offset on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use event_log::{LogBatch, NewerRecord, PlacedImportMark, ReadError, ReadLimit, Unreadable};
use events::{Offset, PartitionId, RecordedEvent, RecordedMarker};
use rdkafka::consumer::Consumer;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::{Message, TopicPartitionList};
use tokio::sync::Notify;

use super::client::{LogConsumer, LoggingContext};
use super::cluster::PARTITIONS;
use super::codec::{self, DecodeError, LogEntry};
use super::watermarks;

/// How long records before the partition's end may take to arrive.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);

/// Why an event is no record of the log: readers of its stream do not look for it in this partition.
const WRONG_PARTITION: &str = "it is not in the partition of its stream";

/// Why no record arrives although the partition has some.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    /// The brokers say that there are more records, and do not send them.
    #[error("partition {partition} ends at {end}, but no record from {from} on arrived within 10 s")]
    Stalled { partition: PartitionId, from: Offset, end: Offset },
    /// The checksum of the record does not match, on the brokers' disk or after it.
    #[error(
        "partition {partition} has a record at {from}, but it does not arrive whole; it may be damaged on the disk of a broker, which its \
         log says: restore the partition from a replica or a copy"
    )]
    Damaged {
        partition: PartitionId,
        from: Offset,
        #[source]
        source: KafkaError,
    },
    /// The process already has as many concurrent reads of the partition as it may have.
    #[error("partition {partition} has too many concurrent reads")]
    Busy { partition: PartitionId },
}

/// A position in a partition. The consumer fetches records ahead of it, within the bounds of its settings.
pub(super) struct PartitionCursor {
    consumer: Arc<LogConsumer>,
    topic: String,
    partition: PartitionId,
    queue: PartitionQueue<LoggingContext>,
    /// Notified when the empty queue gets a record.
    arrived: Arc<Notify>,
    /// Whether the consumer fetches records.
    is_assigned: bool,
    /// The offset of the queue's next record; `None` if it is not known.
    next: Option<Offset>,
    last_used: Instant,
}

impl PartitionCursor {
    /// `None` if librdkafka has no queue for the partition.
    pub(super) fn new(consumer: Arc<LogConsumer>, topic: String, partition: PartitionId) -> Option<Self> {
        let mut queue = consumer.split_partition_queue(&topic, partition.0.into())?;
        let arrived = Arc::new(Notify::new());
        let arrival = Arc::clone(&arrived);
        queue.set_nonempty_callback(move || arrival.notify_one());
        let last_used = Instant::now();
        Some(Self { consumer, topic, partition, queue, arrived, is_assigned: false, next: None, last_used })
    }

    /// Whether a read from `from` continues the last one.
    pub(super) fn is_at(&self, from: Offset) -> bool {
        self.next == Some(from)
    }

    pub(super) const fn is_assigned(&self) -> bool {
        self.is_assigned
    }

    pub(super) const fn last_used(&self) -> Instant {
        self.last_used
    }

    /// See [`event_log::EventLog::read`].
    pub(super) async fn read(&mut self, from: Offset, limit: ReadLimit) -> Result<LogBatch, ReadError> {
        let result = match self.try_read(from, limit).await {
            Ok(log_batch) => Ok(log_batch),
            Err(Failure::Read(error)) => Err(error),
            Err(Failure::Kafka(error)) => Err(self.explain(from, error).await),
        };
        self.last_used = Instant::now();
        result
    }

    async fn try_read(&mut self, from: Offset, limit: ReadLimit) -> Result<LogBatch, Failure> {
        if let Some(log_batch) = self.wait_for_records(from, limit, limit.wait).await? {
            return Ok(log_batch);
        }
        // Either `from` is the end of the partition, or its records need more time than the caller wants to wait.
        let end = self.check_bounds(from).await.map_err(Failure::Read)?;
        if from == end {
            return Ok(LogBatch::empty(from));
        }
        match self.wait_for_records(from, limit, FETCH_TIMEOUT).await? {
            Some(log_batch) => Ok(log_batch),
            None => {
                let stalled = FetchError::Stalled { partition: self.partition, from, end };
                self.unassign();
                Err(Failure::Read(ReadError::Unavailable(stalled.into())))
            }
        }
    }

    /// Converts an error of librdkafka to the caller's error. Most often, the offset does not exist.
    async fn explain(&mut self, from: Offset, error: KafkaError) -> ReadError {
        // After an error librdkafka may have stopped fetching.
        self.unassign();
        match self.check_bounds(from).await {
            Ok(_) if is_damage(&error) => {
                let damaged = FetchError::Damaged { partition: self.partition, from, source: error };
                ReadError::Unavailable(damaged.into())
            }
            Ok(_) => ReadError::Unavailable(error.into()),
            Err(outside) => outside,
        }
    }

    /// Checks that `from` lies between begin and end of the partition; returns the end.
    async fn check_bounds(&self, from: Offset) -> Result<Offset, ReadError> {
        let partition = self.partition;
        let (begin, end) = watermarks::fetch_bounds(Arc::clone(&self.consumer), self.topic.clone(), partition)
            .await
            .map_err(ReadError::Unavailable)?;
        if from > end {
            return Err(ReadError::BeyondEnd { partition, from, end });
        }
        if from < begin {
            return Err(ReadError::Truncated { partition, from, begin });
        }
        Ok(end)
    }

    /// The records from `from` on, as soon as one has arrived; `None` if none arrives within `wait`.
    async fn wait_for_records(
        &mut self,
        from: Offset,
        limit: ReadLimit,
        wait: Duration,
    ) -> Result<Option<LogBatch>, Failure> {
        if !self.is_at(from) {
            self.seek(from)?;
        }
        let timeout = tokio::time::sleep(wait);
        tokio::pin!(timeout);
        let arrived = Arc::clone(&self.arrived);
        loop {
            let log_batch = self.drain_queue(from, limit.records)?;
            if log_batch.next > from {
                return Ok(Some(log_batch));
            }
            tokio::select! {
                biased;
                () = arrived.notified() => {}
                () = &mut timeout => return Ok(None),
            }
        }
    }

    /// Takes the records that the queue has, `max_records` at most.
    ///
    /// `self.next` follows each record that leaves the queue. So the next read seeks again if this read is cancelled
    /// before the caller gets its batch.
    fn drain_queue(&mut self, from: Offset, max_records: u32) -> Result<LogBatch, Failure> {
        let mut log_batch = LogBatch::empty(from);
        for _ in 0..max_records.max(1) {
            let message = match self.queue.poll(Duration::ZERO) {
                None => break,
                Some(Ok(message)) => message,
                Some(Err(error)) if log_batch.next == from => return Err(Failure::Kafka(error)),
                Some(Err(_)) => {
                    // The next read seeks, and meets the error again.
                    self.next = None;
                    break;
                }
            };
            let offset = Offset(message.offset().cast_unsigned());
            self.next = Some(offset.next());
            let partition = self.partition;
            match codec::decode(&message) {
                Err(DecodeError::Newer(what)) => {
                    let id = codec::identify(&message);
                    log_batch.newer.push(NewerRecord { partition, offset, id, what });
                }
                Err(DecodeError::Broken(reason)) => {
                    let id = Some(codec::identify(&message));
                    log_batch.unreadable.push(Unreadable { partition, offset, id, reason: reason.to_owned() });
                }
                Ok(LogEntry::Event(record)) if PARTITIONS.partition_of(&record.stream) != partition => {
                    let id = Some(record.event_id.into());
                    log_batch.unreadable.push(Unreadable { partition, offset, id, reason: WRONG_PARTITION.to_owned() });
                }
                Ok(LogEntry::Event(record)) => log_batch.events.push(RecordedEvent { partition, offset, record }),
                Ok(LogEntry::Marker(marker)) => {
                    let id = codec::identify(&message);
                    log_batch.markers.push(RecordedMarker { partition, offset, id, marker });
                }
                Ok(LogEntry::Import(mark)) => {
                    let id = codec::identify(&message);
                    log_batch.imports.push(PlacedImportMark { offset, id, mark });
                }
            }
            log_batch.next = offset.next();
        }
        Ok(log_batch)
    }

    /// Starts fetching at `from`.
    fn seek(&mut self, from: Offset) -> KafkaResult<()> {
        self.unassign();
        // Kafka's offsets have 63 bits. Any higher offset lies beyond the end, as the highest does.
        let offset = i64::try_from(from.0).unwrap_or(i64::MAX);
        let mut assigned = TopicPartitionList::with_capacity(1);
        assigned.add_partition_offset(&self.topic, self.partition.0.into(), rdkafka::Offset::Offset(offset))?;
        self.consumer.incremental_assign(&assigned)?;
        self.is_assigned = true;
        self.next = Some(from);
        Ok(())
    }

    /// Stops fetching, and discards the records that were fetched ahead.
    pub(super) fn unassign(&mut self) {
        if !self.is_assigned {
            return;
        }
        let mut assigned = TopicPartitionList::with_capacity(1);
        assigned.add_partition(&self.topic, self.partition.0.into());
        // An error means that the partition was not assigned.
        drop(self.consumer.incremental_unassign(&assigned));
        self.is_assigned = false;
        self.next = None;
    }
}

/// Whether a record that exists could not be taken out of what a broker has sent. After such an error librdkafka may have no offset to go
/// on from.
fn is_damage(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(RDKafkaErrorCode::BadMessage | RDKafkaErrorCode::InvalidMessage | RDKafkaErrorCode::AutoOffsetReset)
    )
}

enum Failure {
    /// An error of librdkafka, which [`PartitionCursor::explain`] converts.
    Kafka(KafkaError),
    /// The caller's error.
    Read(ReadError),
}

impl From<KafkaError> for Failure {
    fn from(error: KafkaError) -> Self {
        Self::Kafka(error)
    }
}
