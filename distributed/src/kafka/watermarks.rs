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
    retry_transient(consumer, topic, fetch_end_offsets).await
}

/// Begin and end of one partition.
pub(super) async fn fetch_bounds(
    consumer: Arc<LogConsumer>,
    topic: String,
    partition: PartitionId,
) -> Result<(Offset, Offset), BackendError> {
    retry_transient(consumer, topic, move |consumer, topic, timeout| {
        let (begin, end) = consumer.fetch_watermarks(topic, partition.0.into(), timeout)?;
        Ok((to_offset(begin), to_offset(end)))
    })
    .await
}

/// Repeats `fetch` while its error is transient. One deadline bounds requests and pauses together, so each request gets
/// the time that is left.
///
/// librdkafka remembers for 15 minutes that a partition had no leader, and does not ask again on behalf of these requests. So
/// a retry asks for the topic's metadata first.
async fn retry_transient<T: Send + 'static>(
    consumer: Arc<LogConsumer>,
    topic: String,
    fetch: impl Fn(&LogConsumer, &str, Duration) -> Result<T, KafkaError> + Send + 'static,
) -> Result<T, BackendError> {
    client::run_blocking(move || {
        let deadline = Instant::now() + WATERMARK_TIMEOUT;
        let time_left = || deadline.saturating_duration_since(Instant::now());
        loop {
            match fetch(&consumer, &topic, time_left()) {
                Err(error) if is_transient(&error) && time_left() > RETRY_PAUSE => {
                    std::thread::sleep(RETRY_PAUSE);
                    consumer.fetch_metadata(Some(&topic), time_left())?;
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

/// Whether the partition is getting another leader, or is not known everywhere yet. A broker does not know the partitions of
/// a new topic at once. The client calls partitions unknown while none of them has a leader.
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

#[cfg(test)]
mod tests {
    use rdkafka::ClientContext;
    use rdkafka::mocking::MockCluster;

    use super::*;
    use crate::kafka::client::LoggingContext;
    use crate::kafka::cluster::Cluster;

    const TOPIC: &str = "events";
    /// The mock numbers its brokers from 1.
    const BROKER: i32 = 1;

    fn set_leaders(cluster: &MockCluster<'_, impl ClientContext>, leader: Option<i32>) {
        for partition in PARTITIONS.partitions() {
            cluster.partition_leader(TOPIC, partition.0.into(), leader).unwrap();
        }
    }

    /// No server can be told to have no leader for a moment, so this one is librdkafka's own mock.
    #[tokio::test]
    async fn a_client_that_heard_of_no_leader_asks_again() {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic(TOPIC, PARTITIONS.get().into(), 1).unwrap();
        let consumer: LogConsumer = client::base_config(&Cluster::new(cluster.bootstrap_servers()))
            .set("group.id", "reader")
            .create_with_context(LoggingContext)
            .unwrap();
        let consumer = Arc::new(consumer);
        set_leaders(&cluster, None);
        fetch_end_offsets(&consumer, TOPIC, WATERMARK_TIMEOUT).unwrap_err();
        set_leaders(&cluster, Some(BROKER));

        fetch_log_end(Arc::clone(&consumer), TOPIC.to_owned()).await.unwrap();
        assert_eq!(fetch_bounds(consumer, TOPIC.to_owned(), PartitionId(3)).await.unwrap(), (Offset(0), Offset(0)));
    }
}
