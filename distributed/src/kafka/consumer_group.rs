//! Which partitions this process has, of those that the processes of a projection share.
//!
//! Kafka's group protocol is used for that alone. The member fetches nothing; where a projection goes on is said by its
//! own checkpoint, and that, compared with each batch, keeps two processes which both believe to have a partition from
//! harming each other. So a member may safely go on with what it had while Kafka is away.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use events::{Offset, PartitionId};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientConfig, ClientContext, TopicPartitionList};
use tokio::sync::watch;

use super::{Cluster, ConnectError, PARTITIONS, client};

/// How long a member may be silent before its partitions are given to others, in milliseconds: the least that brokers
/// allow by default.
const SESSION_TIMEOUT_MS: &str = "6000";
/// How often a member says that it is there, in milliseconds.
const HEARTBEAT_MS: &str = "2000";
/// Longest that leaving the group is waited for.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);
/// How often checkpoints are told to the group.
const COMMIT_EVERY: Duration = Duration::from_secs(1);
/// How soon the member's thread sees that it is to end.
const POLL: Duration = Duration::from_millis(100);

/// A membership in the group of a projection's processes, until it is closed or dropped.
///
/// At any moment each partition is some member's, or about to be; for a moment two members may both have one.
#[derive(Debug)]
pub struct Membership {
    owned: watch::Receiver<Option<BTreeSet<PartitionId>>>,
    shared: Arc<Shared>,
    /// Closed when the member has left.
    left: watch::Receiver<()>,
}

/// Why the group is not joined.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The client cannot be made.
    #[error(transparent)]
    Client(ConnectError),
    /// The member has no thread.
    #[error("the thread that serves the group cannot be started; is the limit of threads reached?")]
    Thread(#[source] std::io::Error),
}

#[derive(Debug, Default)]
struct Shared {
    leaving: AtomicBool,
    /// Checkpoints that the group has not been told yet.
    reported: Mutex<BTreeMap<PartitionId, Offset>>,
}

impl Membership {
    /// Joins the group `tally-<projection>`. At first it is not known what the member has; whether brokers are there or not
    /// makes no difference to this call.
    ///
    /// # Errors
    /// If librdkafka refuses a setting, or there is no thread for the member.
    pub fn join(cluster: &Cluster, projection: &str) -> Result<Self, JoinError> {
        let (owned, seen) = watch::channel(None);
        let group = Group { topic: cluster.topic.clone(), owned, lost: AtomicBool::new(false) };
        let consumer: BaseConsumer<Group> = config(cluster, projection)
            .create_with_context(group)
            .map_err(|error| JoinError::Client(ConnectError(error)))?;
        consumer.subscribe(&[&cluster.topic]).map_err(|error| JoinError::Client(ConnectError(error)))?;
        let shared = Arc::new(Shared::default());
        let (alive, left) = watch::channel(());
        let member = Member { consumer, topic: cluster.topic.clone(), shared: Arc::clone(&shared) };
        let serving = move || {
            member.run();
            drop(alive);
        };
        std::thread::Builder::new().name("kafka-member".to_owned()).spawn(serving).map_err(JoinError::Thread)?;
        Ok(Self { owned: seen, shared, left })
    }

    /// The partitions that this process is to read; `None` until the group has said so for the first time, which may be
    /// that it has none. While the group cannot be asked they stay what they were; after the member has left there are none.
    pub fn owned(&self) -> watch::Receiver<Option<BTreeSet<PartitionId>>> {
        self.owned.clone()
    }

    /// Tells the group how far the projection has come, for the eyes of those who look at it with Kafka's own tools. It is
    /// sent off within about a second, once, and nothing depends on its arriving.
    pub fn report(&self, partition: PartitionId, checkpoint: Offset) {
        self.shared.reported.lock().unwrap_or_else(PoisonError::into_inner).insert(partition, checkpoint);
    }

    /// Leaves the group, so that its other members have the partitions at once. Waits 5 s at most.
    pub async fn close(&self) {
        self.shared.leaving.store(true, Ordering::Release);
        let mut left = self.left.clone();
        // The channel is never sent to: it is closed by the end of the thread.
        if tokio::time::timeout(LEAVE_TIMEOUT, left.changed()).await.is_err() {
            tracing::warn!("the group was not told of the leaving; it will see it by itself");
        }
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.shared.leaving.store(true, Ordering::Release);
    }
}

/// The member itself, on its thread.
struct Member {
    consumer: BaseConsumer<Group>,
    topic: String,
    shared: Arc<Shared>,
}

impl Member {
    /// Serves the group until it is to be left. Dropping the consumer then leaves it.
    fn run(self) {
        let mut committed = Instant::now();
        while !self.shared.leaving.load(Ordering::Acquire) {
            // Nothing but errors comes this way, and the context has been told of those.
            drop(self.consumer.poll(POLL));
            if committed.elapsed() >= COMMIT_EVERY {
                committed = Instant::now();
                self.commit();
            }
        }
        self.commit();
        self.consumer.context().owned.send_replace(Some(BTreeSet::new()));
    }

    /// Sends off what was reported of own partitions. The answer comes to [`Group::commit_callback`].
    fn commit(&self) {
        let reported = std::mem::take(&mut *self.shared.reported.lock().unwrap_or_else(PoisonError::into_inner));
        let owned = self.consumer.context().owned.borrow().clone().unwrap_or_default();
        let mut offsets = TopicPartitionList::with_capacity(PARTITIONS.get().into());
        for (partition, checkpoint) in reported.into_iter().filter(|(partition, _)| owned.contains(partition)) {
            let checkpoint = rdkafka::Offset::Offset(i64::try_from(checkpoint.0).unwrap_or(i64::MAX));
            if let Err(error) = offsets.add_partition_offset(&self.topic, partition.0.into(), checkpoint) {
                tracing::debug!(%error, %partition, "a checkpoint is no offset");
            }
        }
        if offsets.count() > 0
            && let Err(error) = self.consumer.commit(&offsets, CommitMode::Async)
        {
            tracing::debug!(%error, "the group was not told of the checkpoints");
        }
    }
}

/// Hears from the group.
struct Group {
    topic: String,
    owned: watch::Sender<Option<BTreeSet<PartitionId>>>,
    /// The group has given our partitions away because it did not hear of us. They are kept until it says what is ours
    /// now.
    lost: AtomicBool,
}

impl ClientContext for Group {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        client::pass_on(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        client::pass_on_error(&error, reason);
    }
}

impl ConsumerContext for Group {
    /// Takes note of a change, and answers it to librdkafka as if nothing were to be fetched: so no partition is ever
    /// assigned to the consumer itself, and yet the group goes on.
    fn rebalance(&self, consumer: &BaseConsumer<Self>, change: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        let changed = self.ids(partitions);
        let answered = match change {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => {
                self.assigned(changed);
                answer(consumer, Consumer::incremental_assign)
            }
            _ => {
                self.revoked(&changed, consumer.assignment_lost());
                answer(consumer, Consumer::incremental_unassign)
            }
        };
        if let Err(error) = answered {
            tracing::warn!(%error, "a change of the group was not taken");
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _offsets: &TopicPartitionList) {
        if let Err(error) = result {
            tracing::debug!(%error, "the group was not told of the checkpoints");
        }
    }
}

impl Group {
    fn ids(&self, partitions: &TopicPartitionList) -> BTreeSet<PartitionId> {
        let own = partitions.elements_for_topic(&self.topic);
        own.iter().filter_map(|element| element.partition().try_into().ok().map(PartitionId)).collect()
    }

    fn assigned(&self, added: BTreeSet<PartitionId>) {
        let rejoined = self.lost.swap(false, Ordering::Relaxed);
        self.change(|owned| {
            if rejoined {
                owned.clear();
            }
            owned.extend(added);
        });
        tracing::info!(partitions = self.count(), "the group has given partitions");
    }

    fn revoked(&self, taken: &BTreeSet<PartitionId>, lost: bool) {
        if lost {
            self.lost.store(true, Ordering::Relaxed);
            tracing::warn!("the group has not heard of this member; it goes on until it is told otherwise");
            return;
        }
        self.change(|owned| owned.retain(|partition| !taken.contains(partition)));
        tracing::info!(partitions = self.count(), "the group has taken partitions");
    }

    /// From now on it is known what this member has. Nobody is told where nothing has changed.
    fn change(&self, change: impl FnOnce(&mut BTreeSet<PartitionId>)) {
        self.owned.send_if_modified(|owned| {
            let before = owned.clone();
            change(owned.get_or_insert_default());
            *owned != before
        });
    }

    fn count(&self) -> usize {
        self.owned.borrow().as_ref().map_or(0, BTreeSet::len)
    }
}

/// Confirms a change with an empty list, in the words of the protocol that the group has agreed on.
fn answer(
    consumer: &BaseConsumer<Group>,
    incrementally: fn(&BaseConsumer<Group>, &TopicPartitionList) -> KafkaResult<()>,
) -> KafkaResult<()> {
    let nothing = TopicPartitionList::new();
    match consumer.rebalance_protocol() {
        RebalanceProtocol::Cooperative => incrementally(consumer, &nothing),
        RebalanceProtocol::Eager | RebalanceProtocol::None => consumer.assign(&nothing),
    }
}

fn config(cluster: &Cluster, projection: &str) -> ClientConfig {
    let mut config = client::config(cluster);
    config
        .set("group.id", format!("tally-{projection}"))
        .set("group.protocol", "classic")
        // Whoever keeps a partition goes on with it while others move.
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("session.timeout.ms", SESSION_TIMEOUT_MS)
        .set("heartbeat.interval.ms", HEARTBEAT_MS)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false");
    config
}
