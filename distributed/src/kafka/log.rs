//! The event log on Kafka.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use event_log::{AppendError, EventLog, LogBatch, ReadError, ReadLimit};
use events::{Marker, Offset, PartitionCount, PartitionId, Position, Record};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::consumer_pool::ConsumerPool;
use super::producer::LogProducer;
use super::{Cluster, ConnectError, PARTITIONS, PrepareError, topic, watermarks};
use crate::ports::MarkerLog;

/// How often brokers that are away are looked for, and unused places left.
const TEND_EVERY: Duration = Duration::from_secs(1);

/// [`EventLog`] on a topic of Kafka.
///
/// An append is answered after all in-sync replicas have it (acks=all, idempotent producer), or given up after 5 s (and up
/// to a second more, for librdkafka looks once a second); then its outcome is unknown, and it may still land later.
pub struct KafkaLog {
    cluster: Cluster,
    appender: Arc<LogProducer>,
    readers: Arc<ConsumerPool>,
    /// Ends the task that looks after the clients.
    _stop: DropGuard,
}

impl KafkaLog {
    /// A log on `cluster`, whether its brokers are there or not. Must be called in a tokio runtime. Before anything is
    /// read or written, [`Self::prepare`] must have succeeded once.
    ///
    /// # Errors
    /// If librdkafka refuses a setting.
    pub fn connect(cluster: Cluster) -> Result<Self, ConnectError> {
        let appender = Arc::new(LogProducer::new(&cluster)?);
        let readers = Arc::new(ConsumerPool::new(&cluster)?);
        let stop = CancellationToken::new();
        tokio::spawn(look_after(Arc::clone(&appender), Arc::clone(&readers), stop.clone()));
        Ok(Self { cluster, appender, readers, _stop: stop.drop_guard() })
    }

    /// Makes the topic if there is none, and refuses one that would lose events or put them elsewhere. Any number of
    /// processes may do so at once.
    ///
    /// # Errors
    /// [`PrepareError::Unavailable`] goes by on its own; each other says what to do.
    pub async fn prepare(&self) -> Result<(), PrepareError> {
        topic::prepare(&self.cluster).await
    }

    /// Takes no more appends, and waits until the outcome of those under way is known, 6 s at most.
    pub async fn close(&self) {
        let appender = Arc::clone(&self.appender);
        if let Err(error) = tokio::task::spawn_blocking(move || appender.close()).await {
            tracing::error!(%error, "the log was not closed cleanly");
        }
    }
}

impl std::fmt::Debug for KafkaLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaLog").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

#[async_trait]
impl EventLog for KafkaLog {
    async fn append(&self, record: Record) -> Result<Position, AppendError> {
        let partition = PARTITIONS.partition_of(&record.stream);
        let offset = self.appender.append(partition, &record).await?;
        Ok(Position::up_to(partition, offset.next()))
    }

    async fn read(&self, partition: PartitionId, from: Offset, limit: ReadLimit) -> Result<LogBatch, ReadError> {
        self.readers.place(partition, from).await?.place().read(from, limit).await
    }

    async fn end(&self) -> Result<Position, ReadError> {
        let client = self.readers.client(0).map_err(|error| ReadError::Unavailable(error.into()))?;
        watermarks::log_end(client, self.readers.topic()).await.map_err(ReadError::Unavailable)
    }

    fn is_away(&self) -> bool {
        self.appender.is_away()
    }
}

#[async_trait]
impl MarkerLog for KafkaLog {
    fn partitions(&self) -> PartitionCount {
        PARTITIONS
    }

    async fn append_marker(&self, partition: PartitionId, marker: Marker) -> Result<Offset, AppendError> {
        self.appender.append_marker(partition, marker).await
    }
}

/// Tends the clients every second, and at once when the brokers go away, until `stop`.
async fn look_after(appender: Arc<LogProducer>, readers: Arc<ConsumerPool>, stop: CancellationToken) {
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = appender.away() => {}
            () = tokio::time::sleep(TEND_EVERY) => {}
        }
        let (appender, readers) = (Arc::clone(&appender), Arc::clone(&readers));
        let tended = tokio::task::spawn_blocking(move || {
            appender.tend();
            readers.tend(Instant::now());
        });
        if let Err(error) = tended.await {
            tracing::error!(%error, "the clients of Kafka were not looked after");
        }
    }
}
