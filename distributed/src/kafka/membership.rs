//! Which partitions are this process's own: a consumer group shares them out, and reads nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use events::{Offset, PartitionId};
use rdkafka::TopicPartitionList;
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance, StreamConsumer};
use rdkafka::error::KafkaResult;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{ClientError, TOPIC, client_config, partition_number};

/// A member that is not heard of for this long loses its partitions.
const SESSION: Duration = Duration::from_secs(10);
/// How often the offsets that were reported are committed.
const COMMIT: Duration = Duration::from_secs(1);
/// Longest wait for the group to be left.
const LEAVE_WAIT: Duration = Duration::from_secs(5);

/// Membership in the group of a projection.
///
/// While Kafka is away what was owned is kept: another process cannot own it then either, and two that do for a moment
/// are told apart by the checkpoint.
pub struct Membership {
    client: Arc<StreamConsumer<Group>>,
    owned: watch::Receiver<BTreeSet<PartitionId>>,
    topic: String,
    reported: Arc<Mutex<BTreeMap<PartitionId, Offset>>>,
    _serving: DropGuard,
}

/// Takes note of what the group gives and takes.
struct Group {
    owned: watch::Sender<BTreeSet<PartitionId>>,
}

impl ClientContext for Group {}

impl ConsumerContext for Group {
    /// Nothing that is owned is fetched here.
    fn post_rebalance(&self, client: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(given) => {
                if let Err(error) = client.pause(given) {
                    tracing::warn!(%error, "partitions could not be paused; their events are fetched in vain");
                }
                self.owned.send_modify(|owned| owned.extend(partitions(given)));
            }
            Rebalance::Revoke(_) => {}
            Rebalance::Error(error) => tracing::warn!(%error, "the group could not share out the partitions"),
        }
    }

    fn pre_rebalance(&self, _client: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Revoke(taken) = rebalance {
            let taken: BTreeSet<_> = partitions(taken).collect();
            self.owned.send_modify(|owned| owned.retain(|partition| !taken.contains(partition)));
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _offsets: &TopicPartitionList) {
        if let Err(error) = result {
            tracing::debug!(%error, "offsets were not committed; they are for Kafka's own tools alone");
        }
    }
}

fn partitions(list: &TopicPartitionList) -> impl Iterator<Item = PartitionId> {
    list.elements().into_iter().filter_map(|element| u16::try_from(element.partition()).ok()).map(PartitionId)
}

impl Membership {
    /// Joins the group of a projection, as soon as Kafka can be reached. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn join(brokers: &str, projection: &str) -> Result<Self, ClientError> {
        Self::join_for(brokers, TOPIC, projection)
    }

    /// Joins for another topic.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn join_for(brokers: &str, topic: &str, projection: &str) -> Result<Self, ClientError> {
        let (sender, owned) = watch::channel(BTreeSet::new());
        let client: StreamConsumer<Group> = client_config(brokers)
            .set("group.id", format!("tally-{projection}"))
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", SESSION.as_millis().to_string())
            .set("heartbeat.interval.ms", (SESSION.as_millis() / 5).to_string())
            .set("enable.auto.commit", "false")
            // Where a group has committed nothing; what is read is told by the checkpoints.
            .set("auto.offset.reset", "earliest")
            .create_with_context(Group { owned: sender })
            .map_err(ClientError)?;
        client.subscribe(&[topic]).map_err(ClientError)?;
        let (client, stop, reported) = (Arc::new(client), CancellationToken::new(), Arc::default());
        let membership = Self {
            client: Arc::clone(&client),
            owned,
            topic: topic.to_owned(),
            reported: Arc::clone(&reported),
            _serving: stop.clone().drop_guard(),
        };
        tokio::spawn({
            let (stop, topic) = (stop, topic.to_owned());
            async move { stop.run_until_cancelled(serve(client, topic, reported)).await }
        });
        Ok(membership)
    }

    /// The partitions that are this process's own.
    pub fn owned(&self) -> watch::Receiver<BTreeSet<PartitionId>> {
        self.owned.clone()
    }

    /// Tells Kafka, now and then, how far a partition is, for its own tools. Nothing here ever reads it.
    pub fn report(&self, partition: PartitionId, next: Offset) {
        self.reported.lock().unwrap_or_else(PoisonError::into_inner).insert(partition, next);
    }

    /// Leaves the group, so that the others need not wait for it to time out.
    pub async fn leave(&self) {
        commit(&self.client, &self.topic, &self.reported);
        let client = Arc::clone(&self.client);
        let left = tokio::task::spawn_blocking(move || client.unsubscribe());
        if tokio::time::timeout(LEAVE_WAIT, left).await.is_err() {
            tracing::warn!("the group was not left in time; its partitions are shared out again a little later");
        }
    }
}

/// Keeps the membership alive, and commits what was reported.
async fn serve(client: Arc<StreamConsumer<Group>>, topic: String, reported: Arc<Mutex<BTreeMap<PartitionId, Offset>>>) {
    let mut commits = tokio::time::interval(COMMIT);
    loop {
        tokio::select! {
            // Serves what the group says; messages do not come, since everything is paused.
            received = client.recv() => if let Err(error) = received {
                tracing::debug!(%error, "the group cannot be heard of now");
            },
            _ = commits.tick() => commit(&client, &topic, &reported),
        }
    }
}

fn commit(client: &StreamConsumer<Group>, topic: &str, reported: &Mutex<BTreeMap<PartitionId, Offset>>) {
    let reported = std::mem::take(&mut *reported.lock().unwrap_or_else(PoisonError::into_inner));
    let mut offsets = TopicPartitionList::with_capacity(reported.len());
    for (partition, next) in reported {
        let Ok(next) = i64::try_from(next.0) else {
            continue;
        };
        let added = offsets.add_partition_offset(topic, partition_number(partition), rdkafka::Offset::Offset(next));
        if let Err(error) = added {
            tracing::debug!(%error, "an offset cannot be committed");
        }
    }
    if offsets.count() > 0
        && let Err(error) = client.commit(&offsets, CommitMode::Async)
    {
        tracing::debug!(%error, "offsets were not committed; they are for Kafka's own tools alone");
    }
}
