//! One place in one partition, and the records from there on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use event_log::{LogBatch, ReadError, ReadLimit, Unreadable};
use events::{EpochStart, Marker, Offset, PartitionId, RecordedEvent};
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::{Message, TopicPartitionList};
use tokio::sync::Notify;

use super::client::Quiet;
use super::codec::{self, Entry, NoEntry};
use super::watermarks;

/// The client of all places that are numbered alike.
pub(super) type Client = BaseConsumer<Quiet>;

/// How long records that are known to be there may take to come.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);

/// Why records that should be there cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Missing {
    /// The brokers say there is more, and do not give it.
    #[error("partition {partition} ends at {end}, but nothing from {from} on came within 10 s")]
    Stalled {
        /// The partition asked for.
        partition: PartitionId,
        /// The offset asked for.
        from: Offset,
        /// Where the partition ends.
        end: Offset,
    },
    /// As many reads of one partition are under way as one process may have.
    #[error("partition {partition} is being read by too many at once")]
    Busy {
        /// The partition asked for.
        partition: PartitionId,
    },
}

/// A place in a partition. Records from there on are fetched ahead, within the bounds of its client's settings.
pub(super) struct PartitionCursor {
    client: Arc<Client>,
    topic: String,
    partition: PartitionId,
    queue: PartitionQueue<Quiet>,
    /// Told whenever something lies in the queue that was empty.
    arrived: Arc<Notify>,
    /// Whether records are being fetched.
    is_assigned: bool,
    /// The next record of the queue; `None` if that is not known.
    next: Option<Offset>,
    used: Instant,
}

impl PartitionCursor {
    /// `None` if librdkafka has no queue for it.
    pub(super) fn new(client: Arc<Client>, topic: String, partition: PartitionId) -> Option<Self> {
        let mut queue = client.split_partition_queue(&topic, partition.0.into())?;
        let arrived = Arc::new(Notify::new());
        let arrival = Arc::clone(&arrived);
        queue.set_nonempty_callback(move || arrival.notify_one());
        Some(Self { client, topic, partition, queue, arrived, is_assigned: false, next: None, used: Instant::now() })
    }

    /// Whether a read from there goes on where the last one ended.
    pub(super) fn is_at(&self, from: Offset) -> bool {
        self.next == Some(from)
    }

    /// Whether nothing is being fetched.
    pub(super) const fn is_left(&self) -> bool {
        !self.is_assigned
    }

    /// When it was last read from.
    pub(super) const fn used(&self) -> Instant {
        self.used
    }

    /// See [`event_log::EventLog::read`].
    pub(super) async fn read(&mut self, from: Offset, limit: ReadLimit) -> Result<LogBatch, ReadError> {
        let answer = match self.records(from, limit, limit.wait).await {
            Ok(None) => self.at_the_end(from, limit).await,
            Ok(Some(log_batch)) => Ok(log_batch),
            Err(failure) => Err(failure),
        };
        let answer = match answer {
            Ok(log_batch) => Ok(log_batch),
            Err(Failure::Read(error)) => Err(error),
            Err(Failure::Kafka(error)) => Err(self.explained(from, error).await),
        };
        self.used = Instant::now();
        answer
    }

    /// The answer where no record has come: an empty one, if there is none.
    async fn at_the_end(&mut self, from: Offset, limit: ReadLimit) -> Result<LogBatch, Failure> {
        let (_, end) = self.bounds_around(from).await.map_err(Failure::Read)?;
        if from == end {
            return Ok(LogBatch::empty(from));
        }
        match self.records(from, limit, FETCH_TIMEOUT).await? {
            Some(log_batch) => Ok(log_batch),
            None => {
                let stalled = Missing::Stalled { partition: self.partition, from, end };
                self.leave();
                Err(Failure::Read(ReadError::Unavailable(stalled.into())))
            }
        }
    }

    /// What the caller is told where librdkafka has an error: most often that the place does not exist.
    async fn explained(&mut self, from: Offset, error: KafkaError) -> ReadError {
        // After an error librdkafka may have stopped fetching.
        self.leave();
        match self.bounds_around(from).await {
            Ok(_) => ReadError::Unavailable(error.into()),
            Err(outside) => outside,
        }
    }

    /// Begin and end of the partition, between which `from` is.
    async fn bounds_around(&self, from: Offset) -> Result<(Offset, Offset), ReadError> {
        let partition = self.partition;
        let (begin, end) = watermarks::partition_bounds(Arc::clone(&self.client), self.topic.clone(), partition)
            .await
            .map_err(ReadError::Unavailable)?;
        if from > end {
            return Err(ReadError::BeyondEnd { partition, from, end });
        }
        if from < begin {
            return Err(ReadError::Truncated { partition, from, begin });
        }
        Ok((begin, end))
    }

    /// The records from `from` on as soon as there are some, or `None` after `wait`.
    async fn records(&mut self, from: Offset, limit: ReadLimit, wait: Duration) -> Result<Option<LogBatch>, Failure> {
        if !self.is_at(from) {
            self.go_to(from)?;
        }
        let timeout = tokio::time::sleep(wait);
        tokio::pin!(timeout);
        let arrived = Arc::clone(&self.arrived);
        loop {
            let log_batch = self.fetched(from, limit.records)?;
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

    /// What lies in the queue.
    ///
    /// `self.next` follows each record that is taken from the queue, so that a read whose answer nobody got, and one that
    /// left a newer record for the next, begin anew.
    fn fetched(&mut self, from: Offset, records: u32) -> Result<LogBatch, Failure> {
        let mut log_batch = LogBatch::empty(from);
        for _ in 0..records.max(1) {
            let message = match self.queue.poll(Duration::ZERO) {
                None => break,
                Some(Ok(message)) => message,
                Some(Err(error)) if log_batch.next == from => return Err(Failure::Kafka(error)),
                Some(Err(_)) => {
                    // It is met again by the next read.
                    self.next = None;
                    break;
                }
            };
            let offset = Offset(message.offset().cast_unsigned());
            self.next = Some(offset.next());
            match codec::decode(&message) {
                Err(NoEntry::Newer(what)) if log_batch.next == from => {
                    return Err(Failure::Read(ReadError::Newer { partition: self.partition, offset, what }));
                }
                Err(NoEntry::Newer(_)) => break,
                Err(NoEntry::Broken(reason)) => log_batch.push(self.partition, offset, Err(reason)),
                Ok(entry) => log_batch.push(self.partition, offset, Ok(entry)),
            }
        }
        Ok(log_batch)
    }

    /// Begins to fetch at `from`.
    fn go_to(&mut self, from: Offset) -> KafkaResult<()> {
        self.leave();
        // Offsets of Kafka have 63 bits. One beyond is beyond the end as well as the highest.
        let offset = i64::try_from(from.0).unwrap_or(i64::MAX);
        let mut assigned = TopicPartitionList::with_capacity(1);
        assigned.add_partition_offset(&self.topic, self.partition.0.into(), rdkafka::Offset::Offset(offset))?;
        self.client.incremental_assign(&assigned)?;
        (self.is_assigned, self.next) = (true, Some(from));
        Ok(())
    }

    /// Stops fetching and forgets what was fetched.
    pub(super) fn leave(&mut self) {
        if !self.is_assigned {
            return;
        }
        let mut assigned = TopicPartitionList::with_capacity(1);
        assigned.add_partition(&self.topic, self.partition.0.into());
        // An error says that it was not assigned.
        drop(self.client.incremental_unassign(&assigned));
        (self.is_assigned, self.next) = (false, None);
    }
}

enum Failure {
    /// Said of the place by librdkafka.
    Kafka(KafkaError),
    /// What the caller is told.
    Read(ReadError),
}

impl From<KafkaError> for Failure {
    fn from(error: KafkaError) -> Self {
        Self::Kafka(error)
    }
}

trait Push {
    /// Adds what lies at `offset`, and passes it.
    fn push(&mut self, partition: PartitionId, offset: Offset, entry: Result<Entry, &str>);
}

impl Push for LogBatch {
    fn push(&mut self, partition: PartitionId, offset: Offset, entry: Result<Entry, &str>) {
        match entry {
            Ok(Entry::Event(record)) => self.events.push(RecordedEvent { partition, offset, record }),
            Ok(Entry::Marker(Marker::EpochStarted(epoch))) => self.epochs.push(EpochStart { partition, offset, epoch }),
            Ok(Entry::Marker(Marker::EpochClaimed)) => {}
            Err(reason) => self.unreadable.push(Unreadable { partition, offset, reason: reason.to_owned() }),
        }
        self.next = offset.next();
    }
}
