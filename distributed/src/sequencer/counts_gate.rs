//! Waits until `counts` has passed a goal, then reads a value from it, or its checkpoints alone.

use std::sync::Arc;
use std::time::Duration;

use event_log::{BackendError, EventLog, OtherLog, ReadError, RecognitionError, ReserveError, Source};
use events::{Epoch, LogId, PartitionId, Position};
use futures_util::future::try_join_all;
use read_model::Checkpoint;
use tokio::sync::OnceCell;
use tokio_util::sync::DropGuard;

use crate::ports::{Checkpoints, CountsReader, CountsSnapshot};
use crate::shared_poll::SharedPoll;

/// Longest wait for `counts` to pass a goal.
const COUNTS_WAIT: Duration = Duration::from_secs(4);

/// Lets a read of `counts` through once its goal is passed. Refuses `counts` that were made from another log.
pub(super) struct CountsGate {
    counts: Arc<dyn CountsReader>,
    log: Arc<dyn EventLog>,
    /// The identity of the log, once it is known.
    log_id: OnceCell<LogId>,
    checkpoints: Arc<SharedPoll<Checkpoints>>,
    _stop_polling: DropGuard,
}

/// Why no value of `counts` can be relied on.
#[derive(Debug, thiserror::Error)]
pub(super) enum CountsError {
    #[error("counts did not catch up with the log within {} s", COUNTS_WAIT.as_secs())]
    Behind,
    /// `counts` had passed the goal, and no longer has.
    #[error("counts was emptied, and is being rebuilt from the log")]
    Rebuilding,
    /// Its numbers say nothing about those of this log.
    #[error("counts was not made from this log")]
    OtherLog(#[source] OtherLog),
    #[error("the log could not be compared with the one that counts was made from")]
    ReadLog(#[source] ReadError),
    #[error("counts could not be read")]
    Read(#[source] BackendError),
}

impl From<CountsError> for ReserveError {
    fn from(error: CountsError) -> Self {
        Self::Unavailable(error.into())
    }
}

/// What `counts` must have passed.
pub(super) enum Goal<'a> {
    Position(&'a Position),
    /// The start of the epoch in each of these partitions.
    EpochStart(Epoch, &'a [PartitionId]),
}

impl Goal<'_> {
    fn is_passed(&self, checkpoints: &Checkpoints) -> bool {
        let checkpoint = |partition| checkpoints.get(&partition).copied().unwrap_or(Checkpoint::START);
        match self {
            Self::Position(position) => position.bounds().all(|(partition, bound)| checkpoint(partition).next >= bound),
            Self::EpochStart(epoch, partitions) => {
                partitions.iter().all(|partition| checkpoint(*partition).epoch >= *epoch)
            }
        }
    }
}

/// What a checkpoint knows of the log that it is of.
fn source(checkpoint: &Checkpoint) -> Source {
    Source { log: checkpoint.log, record: checkpoint.record }
}

impl CountsGate {
    /// Must be called in a tokio runtime.
    pub(super) fn start(counts: Arc<dyn CountsReader>, log: Arc<dyn EventLog>) -> Self {
        let polled = Arc::clone(&counts);
        let (checkpoints, _stop_polling) = SharedPoll::start(move || {
            let counts = Arc::clone(&polled);
            async move { counts.checkpoints().await }
        });
        Self { counts, log, log_id: OnceCell::new(), checkpoints, _stop_polling }
    }

    /// Checks that `counts` was made from this log, by its identity. Once that is known, it is not read again.
    async fn check_log_id(&self, checkpoints: &Checkpoints) -> Result<(), CountsError> {
        let id = match self.log_id.get() {
            Some(id) => Some(*id),
            None => self.log.id().await.map_err(CountsError::ReadLog)?,
        };
        if let Some(id) = id {
            // Another call may have set it to the same.
            drop(self.log_id.set(id));
        }
        let mut sources = checkpoints.values().map(source);
        sources.try_for_each(|source| source.check_id(id)).map_err(CountsError::OtherLog)
    }

    /// Checks that `counts` was made from this log, by the last record that it has applied of each partition. `end` was read after the
    /// checkpoints.
    pub(super) async fn check_records(&self, checkpoints: &Checkpoints, end: &Position) -> Result<(), CountsError> {
        let checks = checkpoints.iter().map(|(partition, checkpoint)| async move {
            source(checkpoint).recognise(&*self.log, *partition, end.bound(*partition)).await
        });
        try_join_all(checks).await.map(drop).map_err(|error| match error {
            RecognitionError::Other(other) => CountsError::OtherLog(other),
            RecognitionError::Read(error) => CountsError::ReadLog(error),
        })
    }

    /// The checkpoints of `counts` now, wherever they are.
    pub(super) async fn checkpoints(&self) -> Result<Checkpoints, CountsError> {
        self.counts.checkpoints().await.map_err(CountsError::Read)
    }

    /// Waits until `counts` has passed `goal`, then returns its checkpoints.
    pub(super) async fn checkpoints_past(&self, goal: Goal<'_>) -> Result<Checkpoints, CountsError> {
        let read = async {
            let checkpoints = self.counts.checkpoints().await?;
            Ok(CountsSnapshot { checkpoints: checkpoints.clone(), value: checkpoints })
        };
        self.read_past(goal, read).await
    }

    /// Waits until `counts` has passed `goal`, then awaits `read`, and returns its value if the state that was read has
    /// passed `goal` too.
    pub(super) async fn read_past<T>(
        &self,
        goal: Goal<'_>,
        read: impl Future<Output = Result<CountsSnapshot<T>, BackendError>>,
    ) -> Result<T, CountsError> {
        match self.checkpoints.wait_until(COUNTS_WAIT, |checkpoints| goal.is_passed(checkpoints)).await {
            Ok(true) => {}
            Ok(false) => return Err(CountsError::Behind),
            Err(error) => return Err(CountsError::Read(error.into())),
        }
        let snapshot = read.await.map_err(CountsError::Read)?;
        self.check_log_id(&snapshot.checkpoints).await?;
        if goal.is_passed(&snapshot.checkpoints) { Ok(snapshot.value) } else { Err(CountsError::Rebuilding) }
    }
}
