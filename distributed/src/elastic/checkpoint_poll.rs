//! Waits for checkpoints. The server cannot announce a new checkpoint, so one poll serves all waiters of a generation.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use events::{PartitionId, Position};
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::DropGuard;

use super::checkpoints;
use super::client::ElasticClient;
use super::error::ElasticError;
use super::index_names::IndexNames;
use crate::shared_poll::SharedPoll;

/// How long one request of the poll may take: less than most waits, so that a waiter learns of a server that does not
/// answer.
const POLL_TIMEOUT: Duration = Duration::from_millis(1_500);

/// The poll for one generation's checkpoints.
#[derive(Debug, Default)]
pub(super) struct CheckpointPoll {
    awaited: Arc<AwaitedPartitions>,
    /// Started by the first waiter.
    poll: OnceLock<(Arc<SharedPoll<Position>>, DropGuard)>,
}

/// How many waiters each partition has.
#[derive(Debug, Default)]
struct AwaitedPartitions(Mutex<BTreeMap<PartitionId, usize>>);

/// Counts as a waiter until it is dropped.
struct Waiter<'a> {
    awaited: &'a AwaitedPartitions,
    position: &'a Position,
}

impl CheckpointPoll {
    /// Whether the index has passed `position`. Returns after `within` at the latest, or after [`POLL_TIMEOUT`] if the
    /// server does not answer.
    pub(super) async fn wait_until_reached(
        &self,
        client: &ElasticClient,
        names: &IndexNames,
        position: &Position,
        within: Duration,
    ) -> Result<bool, ElasticError> {
        let deadline = Instant::now() + within;
        // The next answer of the shared poll may come too late for so short a wait.
        if within < POLL_TIMEOUT {
            let partitions = position.bounds().map(|(partition, _)| partition).collect();
            if checkpoints::read_position(client, names, &partitions, POLL_TIMEOUT).await?.covers(position) {
                return Ok(true);
            }
        }
        let rest = deadline.saturating_duration_since(Instant::now());
        if rest.is_zero() {
            return Ok(false);
        }
        let _waiter = self.awaited.add_waiter(position);
        let reached = self.shared_poll(client, names).wait_until(rest, |passed| passed.covers(position)).await;
        reached.map_err(ElasticError::Progress)
    }

    fn shared_poll(&self, client: &ElasticClient, names: &IndexNames) -> &SharedPoll<Position> {
        let (poll, _) = self.poll.get_or_init(|| {
            let client = client.clone();
            let names = Arc::new(names.clone());
            let awaited = Arc::clone(&self.awaited);
            SharedPoll::start(move || {
                let client = client.clone();
                let names = Arc::clone(&names);
                let partitions = awaited.partitions();
                async move { checkpoints::read_position(&client, &names, &partitions, POLL_TIMEOUT).await }
            })
        });
        poll
    }
}

impl AwaitedPartitions {
    fn add_waiter<'a>(&'a self, position: &'a Position) -> Waiter<'a> {
        let mut waiters = self.0.lock();
        for (partition, _) in position.bounds() {
            *waiters.entry(partition).or_insert(0) += 1;
        }
        Waiter { awaited: self, position }
    }

    fn partitions(&self) -> BTreeSet<PartitionId> {
        self.0.lock().keys().copied().collect()
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let mut waiters = self.awaited.0.lock();
        for (partition, _) in self.position.bounds() {
            if let Some(count) = waiters.get_mut(&partition) {
                *count -= 1;
                if *count == 0 {
                    waiters.remove(&partition);
                }
            }
        }
    }
}
