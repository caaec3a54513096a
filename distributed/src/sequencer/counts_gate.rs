//! Waits until `counts` has passed a goal, then reads a value from it, or its checkpoints alone.

use std::sync::Arc;
use std::time::Duration;

use event_log::{BackendError, ReserveError};
use events::{Epoch, PartitionId, Position};
use read_model::Checkpoint;
use tokio_util::sync::DropGuard;

use crate::ports::{Checkpoints, CountsReader, CountsSnapshot};
use crate::shared_poll::SharedPoll;

/// Longest wait for `counts` to pass a goal.
const COUNTS_WAIT: Duration = Duration::from_secs(4);

/// Lets a read of `counts` through once its goal is passed.
pub(super) struct CountsGate {
    counts: Arc<dyn CountsReader>,
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

impl CountsGate {
    /// Must be called in a tokio runtime.
    pub(super) fn start(counts: Arc<dyn CountsReader>) -> Self {
        let polled = Arc::clone(&counts);
        let (checkpoints, _stop_polling) = SharedPoll::start(move || {
            let counts = Arc::clone(&polled);
            async move { counts.checkpoints().await }
        });
        Self { counts, checkpoints, _stop_polling }
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
        if goal.is_passed(&snapshot.checkpoints) { Ok(snapshot.value) } else { Err(CountsError::Rebuilding) }
    }
}
