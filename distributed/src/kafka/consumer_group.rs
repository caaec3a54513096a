//! Joins the consumer group of a projection's processes. The group assigns each partition to one of them.
//!
//! Kafka's group protocol serves for the assignment only: the member fetches nothing, and a projection continues where
//! its own checkpoint says. The projection compares this checkpoint with each batch, so two processes that both believe
//! they have a partition do no harm. Hence a member may safely keep its partitions while Kafka is away.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use events::{Offset, PartitionId};
use parking_lot::Mutex;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientConfig, ClientContext, TopicPartitionList};
use tokio::sync::watch;

use super::client::{self, ConnectError};
use super::cluster::{Cluster, PARTITIONS};

/// How long a member may be silent before the group gives its partitions to others, in milliseconds: the least that
/// brokers allow by default.
const SESSION_TIMEOUT_MS: &str = "6000";
/// How often a member sends a heartbeat, in milliseconds.
const HEARTBEAT_MS: &str = "2000";
/// Longest wait for leaving the group.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a member commits its checkpoints to the group.
const COMMIT_INTERVAL: Duration = Duration::from_secs(1);
/// How long one poll waits. The member's thread checks between two polls whether it has to end.
const POLL_TIMEOUT: Duration = Duration::from_millis(100);

/// A membership in the group of a projection's processes, until it is closed or dropped.
///
/// At any moment each partition has a member, or is about to get one. For a moment two members may have the same
/// partition.
#[derive(Debug)]
pub struct Membership {
    owned: watch::Receiver<Option<BTreeSet<PartitionId>>>,
    state: Arc<MemberState>,
    /// Its sender is dropped when the member has left.
    left: watch::Receiver<()>,
}

/// Why a process cannot join the group.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    #[error(transparent)]
    Client(ConnectError),
    #[error("the thread of the group's member cannot be started; is the limit of threads reached?")]
    Thread(#[source] std::io::Error),
}

/// What a membership tells its member's thread.
#[derive(Debug, Default)]
struct MemberState {
    leaving: AtomicBool,
    uncommitted: Mutex<BTreeMap<PartitionId, Offset>>,
}

impl Membership {
    /// Joins the group `tally-<projection>`. The call returns at once, whether brokers can be reached or not, and
    /// before the group has assigned partitions.
    pub fn join(cluster: &Cluster, projection: &str) -> Result<Self, JoinError> {
        let (owned_sender, owned) = watch::channel(None);
        let context =
            GroupContext { topic: cluster.topic.clone(), owned: owned_sender, partitions_lost: AtomicBool::new(false) };
        let consumer: BaseConsumer<GroupContext> = group_config(cluster, projection)
            .create_with_context(context)
            .map_err(|error| JoinError::Client(ConnectError(error)))?;
        consumer.subscribe(&[&cluster.topic]).map_err(|error| JoinError::Client(ConnectError(error)))?;
        let state = Arc::new(MemberState::default());
        let (left_sender, left) = watch::channel(());
        let member = Member { consumer, topic: cluster.topic.clone(), state: Arc::clone(&state) };
        let run = move || {
            member.run();
            drop(left_sender);
        };
        std::thread::Builder::new().name("kafka-member".to_owned()).spawn(run).map_err(JoinError::Thread)?;
        Ok(Self { owned, state, left })
    }

    /// The partitions that this process has to read; `None` before the group's first assignment, which may be empty.
    /// They stay the same while the group cannot be reached. After the member has left, the set is empty.
    pub fn owned(&self) -> watch::Receiver<Option<BTreeSet<PartitionId>>> {
        self.owned.clone()
    }

    /// Commits a checkpoint to the group, so that Kafka's own tools show the projection's progress. The member sends it
    /// within about a second, once. Nothing depends on its arrival.
    pub fn report(&self, partition: PartitionId, checkpoint: Offset) {
        self.state.uncommitted.lock().insert(partition, checkpoint);
    }

    /// Leaves the group, so that its other members get the partitions at once. Waits 5 s at most.
    pub async fn close(&self) {
        self.state.leaving.store(true, Ordering::Release);
        let mut left = self.left.clone();
        // Nobody sends to the channel; the end of the thread closes it.
        if tokio::time::timeout(LEAVE_TIMEOUT, left.changed()).await.is_err() {
            tracing::warn!("could not leave the group in time; the group will notice when the session times out");
        }
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.state.leaving.store(true, Ordering::Release);
    }
}

/// The member of the group, on its own thread.
struct Member {
    consumer: BaseConsumer<GroupContext>,
    topic: String,
    state: Arc<MemberState>,
}

impl Member {
    /// Serves the group until the membership ends. Dropping the consumer then leaves the group.
    fn run(self) {
        let mut last_commit_at = Instant::now();
        while !self.state.leaving.load(Ordering::Acquire) {
            // A poll returns errors only, and the context has already logged them.
            drop(self.consumer.poll(POLL_TIMEOUT));
            if last_commit_at.elapsed() >= COMMIT_INTERVAL {
                last_commit_at = Instant::now();
                self.commit();
            }
        }
        self.commit();
        self.consumer.context().owned.send_replace(Some(BTreeSet::new()));
    }

    /// Commits the reported checkpoints of owned partitions. [`GroupContext::commit_callback`] gets the result.
    fn commit(&self) {
        let uncommitted = std::mem::take(&mut *self.state.uncommitted.lock());
        let owned = self.consumer.context().owned.borrow().clone().unwrap_or_default();
        let mut offsets = TopicPartitionList::with_capacity(PARTITIONS.get().into());
        for (partition, checkpoint) in uncommitted.into_iter().filter(|(partition, _)| owned.contains(partition)) {
            let checkpoint = rdkafka::Offset::Offset(i64::try_from(checkpoint.0).unwrap_or(i64::MAX));
            if let Err(error) = offsets.add_partition_offset(&self.topic, partition.0.into(), checkpoint) {
                tracing::debug!(%error, %partition, "a checkpoint is not a valid offset for Kafka");
            }
        }
        if offsets.count() > 0
            && let Err(error) = self.consumer.commit(&offsets, CommitMode::Async)
        {
            log_failed_commit(&error);
        }
    }
}

fn log_failed_commit(error: &KafkaError) {
    tracing::debug!(%error, "the checkpoints could not be committed to the group");
}

/// Receives the group's decisions.
struct GroupContext {
    topic: String,
    owned: watch::Sender<Option<BTreeSet<PartitionId>>>,
    /// The group has given our partitions to others because it missed our heartbeats. We keep them until its next
    /// assignment.
    partitions_lost: AtomicBool,
}

impl ClientContext for GroupContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        client::log_line(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        client::log_error(&error, reason);
    }
}

impl ConsumerContext for GroupContext {
    /// Records a change, and acknowledges it with an empty list: the consumer itself never gets a partition, so it
    /// fetches nothing, and the protocol continues.
    fn rebalance(&self, consumer: &BaseConsumer<Self>, change: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        let partitions = self.partition_ids(partitions);
        let acknowledged = match change {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => {
                self.add_partitions(partitions);
                acknowledge(consumer, Consumer::incremental_assign)
            }
            _ => {
                self.remove_partitions(&partitions, consumer.assignment_lost());
                acknowledge(consumer, Consumer::incremental_unassign)
            }
        };
        if let Err(error) = acknowledged {
            tracing::warn!(%error, "could not acknowledge a change of the group");
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _offsets: &TopicPartitionList) {
        if let Err(error) = result {
            log_failed_commit(&error);
        }
    }
}

impl GroupContext {
    fn partition_ids(&self, partitions: &TopicPartitionList) -> BTreeSet<PartitionId> {
        let own = partitions.elements_for_topic(&self.topic);
        own.iter().filter_map(|element| element.partition().try_into().ok().map(PartitionId)).collect()
    }

    fn add_partitions(&self, added: BTreeSet<PartitionId>) {
        let rejoined = self.partitions_lost.swap(false, Ordering::Relaxed);
        self.update_owned(|owned| {
            if rejoined {
                owned.clear();
            }
            owned.extend(added);
        });
        tracing::info!(partitions = self.count_owned(), "the group has assigned partitions to this member");
    }

    fn remove_partitions(&self, removed: &BTreeSet<PartitionId>, lost: bool) {
        if lost {
            self.partitions_lost.store(true, Ordering::Relaxed);
            tracing::warn!(
                "the group missed this member's heartbeats; the member keeps its partitions until it rejoins"
            );
            return;
        }
        self.update_owned(|owned| owned.retain(|partition| !removed.contains(partition)));
        tracing::info!(partitions = self.count_owned(), "the group has revoked partitions of this member");
    }

    /// Changes the owned partitions, which are known from now on. Wakes nobody if they stay the same.
    fn update_owned(&self, change: impl FnOnce(&mut BTreeSet<PartitionId>)) {
        self.owned.send_if_modified(|owned| {
            let before = owned.clone();
            change(owned.get_or_insert_default());
            *owned != before
        });
    }

    fn count_owned(&self) -> usize {
        self.owned.borrow().as_ref().map_or(0, BTreeSet::len)
    }
}

/// Acknowledges a change with an empty list, by the protocol that the group has agreed on.
fn acknowledge(
    consumer: &BaseConsumer<GroupContext>,
    incrementally: fn(&BaseConsumer<GroupContext>, &TopicPartitionList) -> KafkaResult<()>,
) -> KafkaResult<()> {
    let no_partitions = TopicPartitionList::new();
    match consumer.rebalance_protocol() {
        RebalanceProtocol::Cooperative => incrementally(consumer, &no_partitions),
        RebalanceProtocol::Eager | RebalanceProtocol::None => consumer.assign(&no_partitions),
    }
}

fn group_config(cluster: &Cluster, projection: &str) -> ClientConfig {
    let mut config = client::base_config(cluster);
    config
        .set("group.id", format!("tally-{projection}"))
        .set("group.protocol", "classic")
        // A member that keeps a partition continues to read it while other partitions move.
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("session.timeout.ms", SESSION_TIMEOUT_MS)
        .set("heartbeat.interval.ms", HEARTBEAT_MS)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false");
    config
}
