//! Which of the process's places in a partition serves a read.
//!
//! A client of librdkafka has one place in a partition, and fetches ahead from it. Whoever reads on finds the place where
//! the last read left it. Reads of one partition at the same moment get places of different clients, so that they neither
//! wait for nor disturb each other; the second client and those after it are made when they are needed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use event_log::ReadError;
use events::{Offset, PartitionId};
use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::client::Quiet;
use super::off_thread::OffThread;
use super::partition_cursor::{Client, Missing, PartitionCursor};
use super::{Cluster, ConnectError, PARTITIONS, client};

/// Reads of one partition at the same moment, and so clients.
const MAX_CLIENTS: usize = 4;
/// How long a place is kept up, and fetched ahead from, after the last read.
const KEPT_UP: Duration = Duration::from_secs(30);
/// How long a read waits for others of its partition.
const TURN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long one turn of listening to a client's log lines takes.
const LISTEN: Duration = Duration::from_millis(1);

/// All places of the process.
pub(super) struct ConsumerPool {
    // Before the clients: places are dropped first, and so the clients go on their own thread.
    partitions: Vec<Places>,
    clients: Mutex<Vec<OffThread<Arc<Client>>>>,
    config: ClientConfig,
    topic: String,
}

struct Places {
    turns: Semaphore,
    idle: Mutex<Idle>,
}

#[derive(Default)]
struct Idle {
    places: Vec<PartitionCursor>,
    /// Places of the partition that exist, idle or not: place number n belongs to client number n.
    made: usize,
}

impl ConsumerPool {
    pub(super) fn new(cluster: &Cluster) -> Result<Self, ConnectError> {
        let partitions = PARTITIONS
            .partitions()
            .map(|_| Places { turns: Semaphore::new(MAX_CLIENTS), idle: Mutex::default() })
            .collect();
        let (config, topic) = (config(cluster), cluster.topic.clone());
        let readers = Self { partitions, clients: Mutex::default(), config, topic };
        readers.client(0).map_err(ConnectError)?;
        Ok(readers)
    }

    /// The topic.
    pub(super) fn topic(&self) -> String {
        self.topic.clone()
    }

    /// Client number `number`, made if it is the next one.
    pub(super) fn client(&self, number: usize) -> Result<Arc<Client>, KafkaError> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        while clients.len() <= number {
            clients.push(OffThread::new(Arc::new(self.config.create_with_context(Quiet)?)));
        }
        Ok(Arc::clone(&clients[number]))
    }

    /// A place to read `partition` from, at `from` if there is one.
    pub(super) async fn place(&self, partition: PartitionId, from: Offset) -> Result<Borrowed<'_>, ReadError> {
        let places = self.partitions.get(usize::from(partition.0)).ok_or(ReadError::UnknownPartition(partition))?;
        let busy = || ReadError::Unavailable(Missing::Busy { partition }.into());
        let turn = tokio::time::timeout(TURN_TIMEOUT, places.turns.acquire()).await;
        let turn = turn.map_err(|_| busy())?.map_err(|_| busy())?;
        let mut idle = places.idle();
        let place = match idle.best(from) {
            Some(place) => place,
            None => {
                let client = self.client(idle.made).map_err(|error| ReadError::Unavailable(error.into()))?;
                let place = PartitionCursor::new(client, self.topic(), partition)
                    .ok_or(ReadError::UnknownPartition(partition))?;
                idle.made += 1;
                place
            }
        };
        drop(idle);
        Ok(Borrowed { place: Some(place), places, _turn: turn })
    }

    /// Leaves places that nobody reads from, and listens to what the clients have to say.
    pub(super) fn tend(&self, now: Instant) {
        for places in &self.partitions {
            let unused = |place: &&mut PartitionCursor| {
                !place.is_left() && now.saturating_duration_since(place.used()) > KEPT_UP
            };
            places.idle().places.iter_mut().filter(unused).for_each(PartitionCursor::leave);
        }
        for client in self.clients() {
            while client.poll(LISTEN).is_some() {}
        }
    }

    /// The clients there are now. Nobody who needs one waits until they have been listened to.
    fn clients(&self) -> Vec<Arc<Client>> {
        let clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        clients.iter().map(|client| Arc::clone(client)).collect()
    }
}

impl Places {
    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Idle {
    /// Takes the place at `from`, else the one that was not used for longest.
    fn best(&mut self, from: Offset) -> Option<PartitionCursor> {
        let index = self.places.iter().position(|place| place.is_at(from)).or_else(|| {
            let oldest = self.places.iter().enumerate().min_by_key(|(_, place)| place.used());
            oldest.map(|(index, _)| index)
        })?;
        Some(self.places.swap_remove(index))
    }
}

/// A place that nobody else has, until it is dropped.
pub(super) struct Borrowed<'a> {
    place: Option<PartitionCursor>,
    places: &'a Places,
    // Given back after the place is, so that whoever gets the turn finds a place or may make one.
    _turn: SemaphorePermit<'a>,
}

impl Borrowed<'_> {
    pub(super) fn place(&mut self) -> &mut PartitionCursor {
        self.place.as_mut().unwrap_or_else(|| unreachable!("taken by drop alone"))
    }
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        self.places.idle().places.extend(self.place.take());
    }
}

/// Settings of the reading clients. What is fetched ahead is bounded for each partition.
fn config(cluster: &Cluster) -> ClientConfig {
    let mut config = client::config(cluster);
    config
        // librdkafka wants a name before it lets partitions be assigned by hand; no group is ever joined under it.
        .set("group.id", "tally-reader")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        // A place that is not there must be told of, never replaced by another.
        .set("auto.offset.reset", "error")
        // Transactions are not used, so that everything acknowledged counts.
        .set("isolation.level", "read_uncommitted")
        // What was damaged on its way or on a disk is an error, and never an event.
        .set("check.crcs", "true")
        .set("fetch.min.bytes", "1")
        // A broker answers as soon as there is a record. A new place waits for the request under way to end, hence short.
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

    async fn read_nothing(readers: &ConsumerPool) {
        let mut borrowed = readers.place(PARTITION, Offset::START).await.unwrap();
        assert_eq!(borrowed.place().read(Offset::START, AT_ONCE).await.unwrap().next, Offset::START);
    }

    /// How many places the partition has, and how many of those are being fetched from.
    fn places(readers: &ConsumerPool) -> (usize, usize) {
        let idle = readers.partitions[usize::from(PARTITION.0)].idle();
        (idle.made, idle.places.iter().filter(|place| !place.is_left()).count())
    }

    fn cluster(brokers: &MockCluster<'static, DefaultProducerContext>) -> Cluster {
        let cluster = Cluster::new(brokers.bootstrap_servers());
        brokers.create_topic(&cluster.topic, PARTITIONS.get().into(), 1).unwrap();
        cluster
    }

    #[tokio::test]
    async fn who_reads_on_goes_on_in_the_place_of_the_last_read() {
        let brokers = MockCluster::new(1).unwrap();
        let cluster = cluster(&brokers);
        let appender = LogProducer::new(&cluster).unwrap();
        for _ in 0..2 {
            appender.append_marker(PARTITION, Marker::EpochClaimed).await.unwrap();
        }
        let readers = ConsumerPool::new(&cluster).unwrap();
        let (mut one, mut other) =
            (readers.place(PARTITION, Offset(0)).await.unwrap(), readers.place(PARTITION, Offset(1)).await.unwrap());
        one.place().read(Offset(0), AT_ONCE).await.unwrap();
        other.place().read(Offset(1), AT_ONCE).await.unwrap();
        drop((one, other));
        for next in [2, 1, 2, 2, 1, 1] {
            let mut again = readers.place(PARTITION, Offset(next)).await.unwrap();
            assert!(again.place().is_at(Offset(next)));
        }
    }

    #[tokio::test]
    async fn places_are_shared_kept_up_and_left() {
        let brokers = MockCluster::new(1).unwrap();
        let readers = ConsumerPool::new(&cluster(&brokers)).unwrap();
        read_nothing(&readers).await;
        read_nothing(&readers).await;
        assert_eq!(places(&readers), (1, 1), "who reads on finds the place of the last read");
        let first = readers.place(PARTITION, Offset::START).await.unwrap();
        read_nothing(&readers).await;
        drop(first);
        assert_eq!(places(&readers), (2, 2), "reads at once have places of their own");
        readers.tend(Instant::now());
        assert_eq!(places(&readers), (2, 2));
        readers.tend(Instant::now() + 2 * KEPT_UP);
        assert_eq!(places(&readers), (2, 0), "nothing is fetched for nobody");
        read_nothing(&readers).await;
        assert_eq!(places(&readers), (2, 1));
    }
}
