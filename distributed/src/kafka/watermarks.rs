//! Where partitions begin and end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use event_log::BackendError;
use events::{Offset, PartitionId, Position};
use rdkafka::TopicPartitionList;
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::client::{self, LogConsumer};
use super::cluster::PARTITIONS;

/// How long a broker may take to say where its partitions begin and end, all retries included.
const WATERMARK_TIMEOUT: Duration = Duration::from_secs(5);

/// Pause before a retry, while a partition gets another leader.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// The end of every partition, by one request for each broker.
pub(super) async fn fetch_log_end(consumer: Arc<LogConsumer>, topic: String) -> Result<Position, BackendError> {
    retry_transient(move |timeout| fetch_end_offsets(&consumer, &topic, timeout)).await
}

/// Begin and end of one partition.
pub(super) async fn fetch_bounds(
    consumer: Arc<LogConsumer>,
    topic: String,
    partition: PartitionId,
) -> Result<(Offset, Offset), BackendError> {
    retry_transient(move |timeout| {
        let (begin, end) = consumer.fetch_watermarks(&topic, partition.0.into(), timeout)?;
        Ok((to_offset(begin), to_offset(end)))
    })
    .await
}

/// Repeats `fetch` while its error is transient. One deadline bounds requests and pauses together, so each request gets
/// the time that is left.
async fn retry_transient<T: Send + 'static>(
    fetch: impl Fn(Duration) -> Result<T, KafkaError> + Send + 'static,
) -> Result<T, BackendError> {
    client::run_blocking(move || {
        let deadline = Instant::now() + WATERMARK_TIMEOUT;
        loop {
            match fetch(deadline.saturating_duration_since(Instant::now())) {
                Err(error) if is_transient(&error) && Instant::now() + RETRY_PAUSE < deadline => {
                    std::thread::sleep(RETRY_PAUSE);
                }
                result => return result,
            }
        }
    })
    .await
}

fn fetch_end_offsets(consumer: &LogConsumer, topic: &str, timeout: Duration) -> Result<Position, KafkaError> {
    let mut requested = TopicPartitionList::with_capacity(PARTITIONS.get().into());
    for partition in PARTITIONS.partitions() {
        // For the time "end" a broker answers with the high watermark.
        requested.add_partition_offset(topic, partition.0.into(), rdkafka::Offset::End)?;
    }
    let fetched = consumer.offsets_for_times(requested, timeout)?;
    let mut end = Position::default();
    for element in fetched.elements() {
        element.error()?;
        let (Ok(partition), rdkafka::Offset::Offset(offset)) = (element.partition().try_into(), element.offset())
        else {
            return Err(KafkaError::OffsetFetch(RDKafkaErrorCode::NoOffset));
        };
        end.merge(&Position::up_to(PartitionId(partition), to_offset(offset)));
    }
    Ok(end)
}

/// Whether the partition is getting another leader, or is not known everywhere yet. A broker does not know the
/// partitions of a new topic at once, and the client does not know them while a broker comes back.
fn is_transient(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::NotLeaderForPartition
                | RDKafkaErrorCode::LeaderNotAvailable
                | RDKafkaErrorCode::OffsetNotAvailable
                | RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownPartition
                | RDKafkaErrorCode::FencedLeaderEpoch
                | RDKafkaErrorCode::UnknownLeaderEpoch
                | RDKafkaErrorCode::NoOffset
        )
    )
}

/// Watermarks are not negative.
fn to_offset(watermark: i64) -> Offset {
    Offset(watermark.max(0).cast_unsigned())
}
