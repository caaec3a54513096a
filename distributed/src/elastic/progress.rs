//! Waiting for a checkpoint. The server cannot tell of one, so it is asked again and again; however many wait, only one of
//! them asks, for all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use events::{PartitionId, Position};
use tokio::sync::watch;
use tokio::time::Instant;

use super::checkpoints;
use super::client::{QUICK, Server};
use super::error::ElasticError;
use super::generation::Generation;

/// The pause before asking again: first so long, …
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// … each time half as long again, and so long in the end.
const LAST_PAUSE: Duration = Duration::from_millis(50);
/// The first question gets so long for its answer, however short the wait may be.
const SHORTEST_QUESTION: Duration = Duration::from_secs(1);

/// Those who wait for checkpoints of one generation.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Held by the one who asks.
    asker: tokio::sync::Mutex<()>,
    /// How many wait for each partition.
    wanted: Mutex<BTreeMap<PartitionId, usize>>,
    /// What the last answer was.
    answers: watch::Sender<Position>,
}

/// Somebody waits, as long as this lives.
struct Wanted<'a> {
    progress: &'a Progress,
    position: &'a Position,
}

/// Whether the index has passed `position`, at the latest after `within`, or after [`SHORTEST_QUESTION`] if the server does
/// not answer.
pub(super) async fn reached(
    server: &Server,
    generation: &Generation,
    position: &Position,
    within: Duration,
) -> Result<bool, ElasticError> {
    let deadline = Instant::now() + within;
    let partitions = position.bounds().map(|(partition, _)| partition).collect();
    let time_out = within.clamp(SHORTEST_QUESTION, QUICK);
    if checkpoints::read_all(server, generation, &partitions, time_out).await?.covers(position) {
        return Ok(true);
    }
    let progress = &generation.progress;
    let wanted = progress.want(position);
    let mut answers = progress.answers.subscribe();
    let waiting = async {
        tokio::select! {
            turn = progress.asker.lock() => {
                let asked = poll(server, generation, position).await;
                drop(turn);
                asked
            }
            () = told(&mut answers, position) => Ok(()),
        }
    };
    let waited = tokio::time::timeout_at(deadline, waiting).await;
    drop(wanted);
    match waited {
        Ok(outcome) => outcome.map(|()| true),
        Err(_elapsed) => Ok(false),
    }
}

/// Asks for everybody until `position` is passed.
async fn poll(server: &Server, generation: &Generation, position: &Position) -> Result<(), ElasticError> {
    let progress = &generation.progress;
    let mut pause = FIRST_PAUSE;
    loop {
        tokio::time::sleep(pause).await;
        let partitions = progress.partitions();
        let answer = checkpoints::read_all(server, generation, &partitions, QUICK).await?;
        let is_passed = answer.covers(position);
        progress.answers.send_replace(answer);
        if is_passed {
            return Ok(());
        }
        pause = (pause * 3 / 2).min(LAST_PAUSE);
    }
}

/// Waits until somebody was answered that `position` is passed.
async fn told(answers: &mut watch::Receiver<Position>, position: &Position) {
    // The sender lives as long as the generation does, so there is no end to the answers.
    while answers.changed().await.is_ok() {
        if answers.borrow_and_update().covers(position) {
            return;
        }
    }
}

impl Progress {
    fn want<'a>(&'a self, position: &'a Position) -> Wanted<'a> {
        let mut wanted = self.wanted();
        for (partition, _) in position.bounds() {
            *wanted.entry(partition).or_insert(0) += 1;
        }
        Wanted { progress: self, position }
    }

    fn partitions(&self) -> BTreeSet<PartitionId> {
        self.wanted().keys().copied().collect()
    }

    fn wanted(&self) -> MutexGuard<'_, BTreeMap<PartitionId, usize>> {
        // Nothing panics while holding it; were it so, what it holds is whole all the same.
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Wanted<'_> {
    fn drop(&mut self) {
        let mut wanted = self.progress.wanted();
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
