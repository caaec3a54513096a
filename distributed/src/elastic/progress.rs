//! Waiting for checkpoints. The server cannot tell of one, so it is asked again and again, once for everybody who waits.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use events::{PartitionId, Position};
use tokio::time::Instant;
use tokio_util::sync::DropGuard;

use super::checkpoints;
use super::client::Server;
use super::error::ElasticError;
use super::generation::Generation;
use crate::shared_poll::SharedPoll;

/// A question gets so long for its answer: less than most waits, so that who waits hears of a server that does not answer.
const QUESTION: Duration = Duration::from_millis(1_500);

/// Those who wait for checkpoints of one generation.
#[derive(Debug, Default)]
pub(super) struct Progress {
    wanted: Arc<Wanted>,
    /// From the first wait on.
    asking: OnceLock<(Arc<SharedPoll<Position>>, DropGuard)>,
}

/// How many wait for each partition.
#[derive(Debug, Default)]
struct Wanted(Mutex<BTreeMap<PartitionId, usize>>);

/// Somebody waits, as long as this lives.
struct Waiter<'a> {
    wanted: &'a Wanted,
    position: &'a Position,
}

/// Whether the index has passed `position`, at the latest after `within`, or after [`QUESTION`] if the server does not
/// answer.
pub(super) async fn reached(
    server: &Server,
    generation: &Generation,
    position: &Position,
    within: Duration,
) -> Result<bool, ElasticError> {
    let (deadline, progress) = (Instant::now() + within, &generation.progress);
    // The next answer for everybody may come too late for a wait as short as this.
    if within < QUESTION {
        let partitions = position.bounds().map(|(partition, _)| partition).collect();
        if checkpoints::read_all(server, &generation.index, &partitions, QUESTION).await?.covers(position) {
            return Ok(true);
        }
    }
    let rest = deadline.saturating_duration_since(Instant::now());
    if rest.is_zero() {
        return Ok(false);
    }
    let _waiter = progress.wanted.waiter(position);
    let reached = progress.asking(server, &generation.index).wait_until(rest, |passed| passed.covers(position)).await;
    reached.map_err(ElasticError::Progress)
}

impl Progress {
    fn asking(&self, server: &Server, index: &str) -> &SharedPoll<Position> {
        let (asking, _) = self.asking.get_or_init(|| {
            let (server, index, wanted) = (server.clone(), Arc::<str>::from(index), Arc::clone(&self.wanted));
            SharedPoll::start(move || {
                let (server, index, partitions) = (server.clone(), Arc::clone(&index), wanted.partitions());
                async move { checkpoints::read_all(&server, &index, &partitions, QUESTION).await }
            })
        });
        asking
    }
}

impl Wanted {
    fn waiter<'a>(&'a self, position: &'a Position) -> Waiter<'a> {
        let mut waiters = self.waiters();
        for (partition, _) in position.bounds() {
            *waiters.entry(partition).or_insert(0) += 1;
        }
        Waiter { wanted: self, position }
    }

    fn partitions(&self) -> BTreeSet<PartitionId> {
        self.waiters().keys().copied().collect()
    }

    fn waiters(&self) -> MutexGuard<'_, BTreeMap<PartitionId, usize>> {
        // Nothing panics while holding it; were it so, what it holds is whole all the same.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let mut wanted = self.wanted.waiters();
        for (partition, _) in self.position.bounds() {
            if let Some(waiters) = wanted.get_mut(&partition) {
                *waiters -= 1;
                if *waiters == 0 {
                    wanted.remove(&partition);
                }
            }
        }
    }
}
