//! The event log on Kafka.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use event_log::{AppendError, EventLog, LogBatch, MarkerLog, ReadError, ReadLimit};
use events::{Marker, Offset, PartitionCount, PartitionId, Position, Record};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::client::ConnectError;
use super::cluster::{Cluster, PARTITIONS};
use super::consumer_pool::ConsumerPool;
use super::producer::LogProducer;
use super::topic::{self, PrepareError};

/// How often the log probes brokers that are away and pauses unused cursors.
const MAINTENANCE_INTERVAL: Duration = Duration::from_secs(1);

/// [`EventLog`] on a topic of Kafka.
///
/// An append succeeds once all in-sync replicas have the record (acks=all, idempotent producer). After 5 s it fails (up
/// to a second later, since librdkafka looks for expired records once a second); its outcome is unknown then, and the
/// record may still arrive.
pub struct KafkaLog {
    cluster: Cluster,
    pub(super) producer: Arc<LogProducer>,
    consumers: Arc<ConsumerPool>,
    /// Whether [`Self::prepare_to_write`] has found that an import has not ended.
    pub(super) is_importing: AtomicBool,
    /// Ends the task that maintains the clients.
    _stop: DropGuard,
}

impl KafkaLog {
    /// A log on `cluster`, whether its brokers can be reached or not. Must be called in a tokio runtime.
    /// [`Self::prepare`] must have succeeded once before anybody reads or appends.
    pub fn connect(cluster: Cluster) -> Result<Self, ConnectError> {
        let producer = Arc::new(LogProducer::new(&cluster)?);
        let consumers = Arc::new(ConsumerPool::new(&cluster)?);
        let stop = CancellationToken::new();
        tokio::spawn(maintain_clients(Arc::clone(&producer), Arc::clone(&consumers), stop.clone()));
        Ok(Self { cluster, producer, consumers, is_importing: AtomicBool::new(false), _stop: stop.drop_guard() })
    }

    /// Creates the topic if it is missing, and refuses one that would lose events or place them in other partitions.
    /// Any number of processes may call it at once.
    ///
    /// # Errors
    /// [`PrepareError::Unavailable`] is temporary; each other error says what the operator has to do.
    pub async fn prepare(&self) -> Result<(), PrepareError> {
        topic::prepare(&self.cluster).await
    }

    /// As [`Self::prepare`], for a process that appends. While an import has not ended, appends and markers are refused.
    ///
    /// # Errors
    /// Those of [`Self::prepare`], and [`PrepareError::Importing`], which is temporary.
    pub async fn prepare_to_write(&self) -> Result<(), PrepareError> {
        self.prepare().await?;
        let topic = &self.cluster.topic;
        let is_importing = self.has_unfinished_import().await;
        let is_importing =
            is_importing.map_err(|error| PrepareError::Unavailable { topic: topic.clone(), source: error.into() })?;
        self.is_importing.store(is_importing, Ordering::Relaxed);
        if is_importing { Err(PrepareError::Importing { topic: topic.clone() }) } else { Ok(()) }
    }

    fn refuse_during_import(&self) -> Result<(), AppendError> {
        if self.is_importing.load(Ordering::Relaxed) { Err(AppendError::Importing) } else { Ok(()) }
    }

    /// Refuses further appends, and waits until the outcome of those under way is known, 6 s at most.
    pub async fn close(&self) {
        let producer = Arc::clone(&self.producer);
        if let Err(error) = tokio::task::spawn_blocking(move || producer.close()).await {
            tracing::error!(%error, "the event log was not closed cleanly");
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
        self.refuse_during_import()?;
        let partition = PARTITIONS.partition_of(&record.stream);
        let offset = self.producer.append(partition, &record).await?;
        Ok(Position::up_to(partition, offset.next()))
    }

    async fn read(&self, partition: PartitionId, from: Offset, limit: ReadLimit) -> Result<LogBatch, ReadError> {
        self.consumers.checkout(partition, from).await?.read(from, limit).await
    }

    async fn end(&self) -> Result<Position, ReadError> {
        self.consumers.fetch_log_end().await
    }

    fn is_away(&self) -> bool {
        self.producer.is_away()
    }
}

#[async_trait]
impl MarkerLog for KafkaLog {
    fn partitions(&self) -> PartitionCount {
        PARTITIONS
    }

    async fn append_marker(&self, partition: PartitionId, marker: Marker) -> Result<Offset, AppendError> {
        self.refuse_during_import()?;
        self.producer.append_marker(partition, marker).await
    }
}

/// Maintains the clients every [`MAINTENANCE_INTERVAL`], and at once when the brokers go away, until `stop`.
async fn maintain_clients(producer: Arc<LogProducer>, consumers: Arc<ConsumerPool>, stop: CancellationToken) {
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = producer.wait_until_away() => {}
            () = tokio::time::sleep(MAINTENANCE_INTERVAL) => {}
        }
        let producer = Arc::clone(&producer);
        let consumers = Arc::clone(&consumers);
        let maintained = tokio::task::spawn_blocking(move || {
            producer.maintain();
            consumers.maintain(Instant::now());
        });
        if let Err(error) = maintained.await {
            tracing::error!(%error, "the maintenance of the Kafka clients failed");
        }
    }
}
