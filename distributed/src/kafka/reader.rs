//! Reading one partition on from where the last read ended.

use std::sync::Arc;
use std::time::{Duration, Instant};

use event_log::{ReadError, ReadLimit, Stretch};
use events::{EpochStart, Marker, Offset, PartitionId, Recorded};
use futures_util::FutureExt;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer, StreamConsumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::{Message, TopicPartitionList};

use super::codec::{self, Decoded};
use super::partition_number;

/// Longest wait for the answer where a partition begins and ends.
const ANSWER_WAIT: Duration = Duration::from_secs(5);
/// What is fetched ahead, in KiB.
const FETCHED_AHEAD_KIB: &str = "4096";

/// A reader of one partition, with a client of its own that fetches ahead. One client for all partitions would save
/// connections, but its queues cannot be set to another offset without races.
pub(super) struct PartitionReader {
    config: ClientConfig,
    topic: String,
    partition: PartitionId,
    asker: Arc<BaseConsumer>,
    /// The client, and what it gives next.
    at: Option<(StreamConsumer, Offset)>,
    used: Instant,
}

impl PartitionReader {
    pub(super) fn new(mut config: ClientConfig, topic: &str, partition: PartitionId, asker: Arc<BaseConsumer>) -> Self {
        config
            // Named because librdkafka asks for it; partitions are assigned by hand, and nothing is committed.
            .set("group.id", "tally-readers")
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "error")
            .set("fetch.wait.max.ms", "500")
            .set("fetch.error.backoff.ms", "100")
            .set("queued.max.messages.kbytes", FETCHED_AHEAD_KIB);
        Self { config, topic: topic.to_owned(), partition, asker, at: None, used: Instant::now() }
    }

    /// How long nobody has read.
    pub(super) fn idle(&self) -> Duration {
        self.used.elapsed()
    }

    pub(super) async fn read(&mut self, from: Offset, limit: ReadLimit) -> Result<Stretch, ReadError> {
        self.used = Instant::now();
        if self.at.as_ref().is_none_or(|(_, next)| *next != from) {
            // Forgotten first: where anything fails, the next read begins anew.
            self.at = None;
            self.at = Some((self.open(from).await?, from));
        }
        let mut stretch = self.next(from, limit).await?;
        if stretch.next == from && from < self.check_bounds(from).await? {
            // It is not the end: what was asked for is still on its way.
            stretch = self.next(from, ReadLimit { wait: ANSWER_WAIT, ..limit }).await?;
            if stretch.next == from {
                return Err(ReadError::Unavailable("Kafka gives nothing, but says that there is more".into()));
            }
        }
        Ok(stretch)
    }

    /// What comes within the limit's wait.
    async fn next(&mut self, from: Offset, limit: ReadLimit) -> Result<Stretch, ReadError> {
        let Some((client, next)) = &mut self.at else {
            return Err(ReadError::Unavailable("the reader has no client".into()));
        };
        let mut stretch = Stretch { events: Vec::new(), epochs: Vec::new(), next: from };
        let read = fill(client, self.partition, &mut stretch, limit).await;
        *next = stretch.next;
        match read {
            Ok(()) => Ok(stretch),
            // What was read before the failure is given first; it comes again.
            Err(Failure::Kafka(_)) if stretch.next > from => Ok(stretch),
            Err(Failure::Kafka(error)) => Err(self.failed(from, error).await),
            Err(Failure::Damaged(offset)) => {
                self.at = None;
                Err(ReadError::Damaged { partition: self.partition, offset })
            }
        }
    }

    /// A client that begins at `from`, if the partition has that place.
    async fn open(&self, from: Offset) -> Result<StreamConsumer, ReadError> {
        self.check_bounds(from).await?;
        let client: StreamConsumer = self.config.create().map_err(unavailable)?;
        let mut assigned = TopicPartitionList::with_capacity(1);
        let offset = i64::try_from(from.0).map_err(|error| ReadError::Unavailable(error.into()))?;
        assigned
            .add_partition_offset(&self.topic, partition_number(self.partition), rdkafka::Offset::Offset(offset))
            .map_err(unavailable)?;
        client.assign(&assigned).map_err(unavailable)?;
        Ok(client)
    }

    /// Where the partition ends, if it has the place `from`.
    async fn check_bounds(&self, from: Offset) -> Result<Offset, ReadError> {
        let (asker, topic, partition) = (Arc::clone(&self.asker), self.topic.clone(), partition_number(self.partition));
        let asked = tokio::task::spawn_blocking(move || asker.fetch_watermarks(&topic, partition, ANSWER_WAIT)).await;
        let asked = asked.map_err(|error| ReadError::Unavailable(error.into()))?;
        let (begin, end) = asked.map_err(unavailable)?;
        let (begin, end) = (Offset(begin.unsigned_abs()), Offset(end.unsigned_abs()));
        if from > end {
            return Err(ReadError::BeyondEnd { partition: self.partition, from, end });
        }
        if from < begin {
            return Err(ReadError::Truncated { partition: self.partition, from, begin });
        }
        Ok(end)
    }

    /// What a failure of the client says. It goes on by itself unless the place it reads at is no more.
    async fn failed(&mut self, from: Offset, error: KafkaError) -> ReadError {
        let is_out_of_range = matches!(
            error.rdkafka_error_code(),
            Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange)
        );
        if is_out_of_range {
            self.at = None;
            if let Err(bounds) = self.check_bounds(from).await {
                return bounds;
            }
        }
        unavailable(error)
    }
}

enum Failure {
    Kafka(KafkaError),
    Damaged(Offset),
}

/// Waits for a first message, and takes what has been fetched with it.
async fn fill(
    client: &StreamConsumer,
    partition: PartitionId,
    stretch: &mut Stretch,
    limit: ReadLimit,
) -> Result<(), Failure> {
    let Ok(first) = tokio::time::timeout(limit.wait, client.recv()).await else {
        return Ok(());
    };
    take(&first.map_err(Failure::Kafka)?, partition, stretch)?;
    while stretch.events.len() < limit.records as usize {
        match client.recv().now_or_never() {
            Some(message) => take(&message.map_err(Failure::Kafka)?, partition, stretch)?,
            None => return Ok(()),
        }
    }
    Ok(())
}

fn take(message: &BorrowedMessage<'_>, partition: PartitionId, stretch: &mut Stretch) -> Result<(), Failure> {
    let offset = Offset(message.offset().unsigned_abs());
    match codec::decode(message).ok_or(Failure::Damaged(offset))? {
        Decoded::Event(record) => stretch.events.push(Recorded { partition, offset, record }),
        Decoded::Marker(Marker::EpochClaimed) => {}
        Decoded::Marker(Marker::EpochStarted(epoch)) => stretch.epochs.push(EpochStart { partition, offset, epoch }),
    }
    stretch.next = offset.next();
    Ok(())
}

fn unavailable(error: KafkaError) -> ReadError {
    ReadError::Unavailable(error.into())
}
