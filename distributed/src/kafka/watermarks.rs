//! Where partitions begin and end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use event_log::BackendError;
use events::{Offset, PartitionId, Position};
use rdkafka::TopicPartitionList;
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::partition_cursor::Client;
use super::{PARTITIONS, client};

/// How long a broker may take to say where its partitions begin and end.
const ENDS_TIMEOUT: Duration = Duration::from_secs(5);

/// Pause before a partition that is getting another leader is asked for again.
const AGAIN_AFTER: Duration = Duration::from_millis(50);

/// The end of every partition, one request a broker.
pub(super) async fn log_end(client: Arc<Client>, topic: String) -> Result<Position, BackendError> {
    asked(move |timeout| ask(&client, &topic, timeout)).await
}

/// Begin and end of one partition.
pub(super) async fn partition_bounds(
    client: Arc<Client>,
    topic: String,
    partition: PartitionId,
) -> Result<(Offset, Offset), BackendError> {
    asked(move |timeout| {
        let (begin, end) = client.fetch_watermarks(&topic, partition.0.into(), timeout)?;
        Ok((bound(begin), bound(end)))
    })
    .await
}

/// Asks again while what is wrong goes by, in [`ENDS_TIMEOUT`] in all.
async fn asked<T: Send + 'static>(
    ask: impl Fn(Duration) -> Result<T, KafkaError> + Send + 'static,
) -> Result<T, BackendError> {
    client::blocking(move || {
        let deadline = Instant::now() + ENDS_TIMEOUT;
        loop {
            match ask(deadline.saturating_duration_since(Instant::now())) {
                Err(error) if goes_by(&error) && Instant::now() + AGAIN_AFTER < deadline => {
                    std::thread::sleep(AGAIN_AFTER);
                }
                answer => return answer,
            }
        }
    })
    .await
}

fn ask(client: &Client, topic: &str, timeout: Duration) -> Result<Position, KafkaError> {
    let mut asked = TopicPartitionList::with_capacity(PARTITIONS.get().into());
    for partition in PARTITIONS.partitions() {
        // Asked for the moment "end", a broker answers with the high watermark.
        asked.add_partition_offset(topic, partition.0.into(), rdkafka::Offset::End)?;
    }
    let answered = client.offsets_for_times(asked, timeout)?;
    let mut end = Position::default();
    for element in answered.elements() {
        element.error()?;
        let (Ok(partition), rdkafka::Offset::Offset(offset)) = (element.partition().try_into(), element.offset())
        else {
            return Err(KafkaError::OffsetFetch(RDKafkaErrorCode::NoOffset));
        };
        end.merge(&Position::up_to(PartitionId(partition), bound(offset)));
    }
    Ok(end)
}

/// Whether a partition is getting another leader, or is not known everywhere yet: by a broker, where the topic is
/// new, or by the client, where a broker is just back.
fn goes_by(error: &KafkaError) -> bool {
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
fn bound(offset: i64) -> Offset {
    Offset(offset.max(0).cast_unsigned())
}
