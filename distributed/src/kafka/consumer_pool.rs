//! Lends a cursor of the process to each read.
//!
//! A consumer of librdkafka has one cursor in a partition, and fetches ahead from it. A read that begins where an
//! earlier read ended gets the cursor of the earlier read. Concurrent reads of one partition get cursors of different
//! consumers, so that they neither wait for nor disturb each other. The pool creates the second consumer and further
//! ones when reads need them.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::{Duration, Instant};

use event_log::ReadError;
use events::{Offset, PartitionId, Position};
use parking_lot::Mutex;
use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::background_drop::BackgroundDrop;
use super::client::{self, ConnectError, LogConsumer, LoggingContext};
use super::cluster::{Cluster, PARTITIONS};
use super::partition_cursor::{FetchError, PartitionCursor};
use super::watermarks;

/// Most concurrent reads of one partition, and so most consumers.
const MAX_CONSUMERS: usize = 4;
/// How long a cursor keeps fetching ahead after its last read.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a read waits for others of its partition.
const CHECKOUT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long one poll waits for a log line of a consumer.
const LOG_POLL: Duration = Duration::from_millis(1);

/// All consumers of the process, and their cursors.
pub(super) struct ConsumerPool {
    // Dropped before `consumers`, because a cursor owns its consumer too: so each consumer's last owner is its
    // `BackgroundDrop`, which drops the consumer on a thread of its own.
    partitions: Vec<PartitionCursors>,
    consumers: Mutex<Vec<BackgroundDrop<Arc<LogConsumer>>>>,
    config: ClientConfig,
    topic: String,
}

/// The cursors of one partition.
struct PartitionCursors {
    permits: Semaphore,
    idle: Mutex<IdleCursors>,
}

#[derive(Default)]
struct IdleCursors {
    cursors: Vec<PartitionCursor>,
    /// Cursors that exist, idle or not: cursor number n belongs to consumer number n.
    created: usize,
}

impl ConsumerPool {
    pub(super) fn new(cluster: &Cluster) -> Result<Self, ConnectError> {
        let partitions = PARTITIONS
            .partitions()
            .map(|_| PartitionCursors { permits: Semaphore::new(MAX_CONSUMERS), idle: Mutex::default() })
            .collect();
        let config = consumer_config(cluster);
        let pool = Self { partitions, consumers: Mutex::default(), config, topic: cluster.topic.clone() };
        pool.get_or_create_consumer(0).map_err(ConnectError)?;
        Ok(pool)
    }

    /// Returns consumer number `number`. Creates it first if it does not exist.
    fn get_or_create_consumer(&self, number: usize) -> Result<Arc<LogConsumer>, KafkaError> {
        let mut consumers = self.consumers.lock();
        while consumers.len() <= number {
            consumers.push(BackgroundDrop::new(Arc::new(self.config.create_with_context(LoggingContext)?)));
        }
        Ok(Arc::clone(&consumers[number]))
    }

    /// See [`event_log::EventLog::end`].
    pub(super) async fn fetch_log_end(&self) -> Result<Position, ReadError> {
        let consumer = self.get_or_create_consumer(0).map_err(|error| ReadError::Unavailable(error.into()))?;
        watermarks::fetch_log_end(consumer, self.topic.clone()).await.map_err(ReadError::Unavailable)
    }

    /// Lends a cursor of `partition`: the idle one that is at `from`, if there is one, otherwise any idle one or a new
    /// one.
    pub(super) async fn checkout(&self, partition: PartitionId, from: Offset) -> Result<CursorGuard<'_>, ReadError> {
        let cursors = self.partitions.get(usize::from(partition.0)).ok_or(ReadError::UnknownPartition(partition))?;
        let busy = || ReadError::Unavailable(FetchError::Busy { partition }.into());
        let permit = tokio::time::timeout(CHECKOUT_TIMEOUT, cursors.permits.acquire()).await;
        let permit = permit.map_err(|_| busy())?.map_err(|_| busy())?;
        let mut idle = cursors.idle.lock();
        let cursor = match idle.take_best(from) {
            Some(cursor) => cursor,
            None => {
                let consumer = self.get_or_create_consumer(idle.created);
                let consumer = consumer.map_err(|error| ReadError::Unavailable(error.into()))?;
                let cursor = PartitionCursor::new(consumer, self.topic.clone(), partition)
                    .ok_or(ReadError::UnknownPartition(partition))?;
                idle.created += 1;
                cursor
            }
        };
        drop(idle);
        Ok(CursorGuard { cursor: Some(cursor), cursors, _permit: permit })
    }

    /// Stops unused cursors from fetching ahead, and polls the consumers, so that they log. Blocks for a few
    /// milliseconds.
    pub(super) fn maintain(&self, now: Instant) {
        for cursors in &self.partitions {
            let unused = |cursor: &&mut PartitionCursor| {
                cursor.is_assigned() && now.saturating_duration_since(cursor.last_used()) > IDLE_TIMEOUT
            };
            cursors.idle.lock().cursors.iter_mut().filter(unused).for_each(PartitionCursor::unassign);
        }
        // Copies the list, so that a caller who needs a consumer does not wait for the polls.
        let consumers: Vec<_> = self.consumers.lock().iter().map(|consumer| Arc::clone(consumer)).collect();
        for consumer in consumers {
            while consumer.poll(LOG_POLL).is_some() {}
        }
    }
}

impl IdleCursors {
    /// Takes the cursor at `from`, otherwise the one that nobody has used for the longest time.
    fn take_best(&mut self, from: Offset) -> Option<PartitionCursor> {
        let index = self.cursors.iter().position(|cursor| cursor.is_at(from)).or_else(|| {
            let oldest = self.cursors.iter().enumerate().min_by_key(|(_, cursor)| cursor.last_used());
            oldest.map(|(index, _)| index)
        })?;
        Some(self.cursors.swap_remove(index))
    }
}

/// Exclusive use of a cursor. Dropping the guard returns the cursor to the pool.
pub(super) struct CursorGuard<'a> {
    cursor: Option<PartitionCursor>,
    cursors: &'a PartitionCursors,
    // Released after the cursor is returned, so that the next reader finds it or may create one.
    _permit: SemaphorePermit<'a>,
}

impl Deref for CursorGuard<'_> {
    type Target = PartitionCursor;

    fn deref(&self) -> &PartitionCursor {
        self.cursor.as_ref().unwrap_or_else(|| unreachable!("only drop takes the cursor"))
    }
}

impl DerefMut for CursorGuard<'_> {
    fn deref_mut(&mut self) -> &mut PartitionCursor {
        self.cursor.as_mut().unwrap_or_else(|| unreachable!("only drop takes the cursor"))
    }
}

impl Drop for CursorGuard<'_> {
    fn drop(&mut self) {
        self.cursors.idle.lock().cursors.extend(self.cursor.take());
    }
}

/// Settings of the consumers. They bound how much is fetched ahead for each partition.
fn consumer_config(cluster: &Cluster) -> ClientConfig {
    let mut config = client::base_config(cluster);
    config
        // librdkafka requires a group id before it lets us assign partitions by hand; nobody ever joins this group.
        .set("group.id", "tally-reader")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        // An offset that does not exist must be an error, and never be replaced by another.
        .set("auto.offset.reset", "error")
        // Nobody uses transactions, so every acknowledged record counts.
        .set("isolation.level", "read_uncommitted")
        // A record that was damaged on the network or on a disk is an error, and never an event.
        .set("check.crcs", "true")
        .set("fetch.min.bytes", "1")
        // A broker answers as soon as it has a record. A new cursor waits for the end of the request under way, hence a
        // short wait.
        .set("fetch.wait.max.ms", "100")
        .set("fetch.error.backoff.ms", "100")
        .set("fetch.queue.backoff.ms", "5")
        .set("queued.min.messages", "10000")
        .set("queued.max.messages.kbytes", "4096")
        .set("fetch.message.max.bytes", "1048576")
        .set("fetch.max.bytes", "8388608");
    config
}

#[cfg(test)]
mod tests {
    use event_log::ReadLimit;
    use events::Marker;
    use rdkafka::mocking::MockCluster;
    use rdkafka::producer::DefaultProducerContext;

    use super::super::producer::LogProducer;
    use super::*;

    const PARTITION: PartitionId = PartitionId(5);
    const AT_ONCE: ReadLimit = ReadLimit { records: 1, wait: Duration::ZERO };

    async fn read_nothing(pool: &ConsumerPool) {
        let mut cursor = pool.checkout(PARTITION, Offset::START).await.unwrap();
        assert_eq!(cursor.read(Offset::START, AT_ONCE).await.unwrap().next, Offset::START);
    }

    /// How many cursors the partition has, and how many of those fetch ahead.
    fn count_cursors(pool: &ConsumerPool) -> (usize, usize) {
        let idle = pool.partitions[usize::from(PARTITION.0)].idle.lock();
        (idle.created, idle.cursors.iter().filter(|cursor| cursor.is_assigned()).count())
    }

    fn create_topic(brokers: &MockCluster<'static, DefaultProducerContext>) -> Cluster {
        let cluster = Cluster::new(brokers.bootstrap_servers());
        brokers.create_topic(&cluster.topic, PARTITIONS.get().into(), 1).unwrap();
        cluster
    }

    #[tokio::test]
    async fn a_read_that_continues_gets_the_cursor_of_the_last_read() {
        let brokers = MockCluster::new(1).unwrap();
        let cluster = create_topic(&brokers);
        let producer = LogProducer::new(&cluster).unwrap();
        for _ in 0..2 {
            producer.append_marker(PARTITION, Marker::EpochClaimed).await.unwrap();
        }
        let pool = ConsumerPool::new(&cluster).unwrap();
        let mut one = pool.checkout(PARTITION, Offset(0)).await.unwrap();
        let mut other = pool.checkout(PARTITION, Offset(1)).await.unwrap();
        one.read(Offset(0), AT_ONCE).await.unwrap();
        other.read(Offset(1), AT_ONCE).await.unwrap();
        drop((one, other));
        for next in [2, 1, 2, 2, 1, 1] {
            let again = pool.checkout(PARTITION, Offset(next)).await.unwrap();
            assert!(again.is_at(Offset(next)));
        }
    }

    #[tokio::test]
    async fn cursors_are_shared_kept_and_paused() {
        let brokers = MockCluster::new(1).unwrap();
        let pool = ConsumerPool::new(&create_topic(&brokers)).unwrap();
        read_nothing(&pool).await;
        read_nothing(&pool).await;
        assert_eq!(count_cursors(&pool), (1, 1), "a read that continues gets the cursor of the last read");
        let first = pool.checkout(PARTITION, Offset::START).await.unwrap();
        read_nothing(&pool).await;
        drop(first);
        assert_eq!(count_cursors(&pool), (2, 2), "concurrent reads have cursors of their own");
        pool.maintain(Instant::now());
        assert_eq!(count_cursors(&pool), (2, 2));
        pool.maintain(Instant::now() + 2 * IDLE_TIMEOUT);
        assert_eq!(count_cursors(&pool), (2, 0), "an unused cursor fetches nothing");
        read_nothing(&pool).await;
        assert_eq!(count_cursors(&pool), (2, 1));
    }
}
