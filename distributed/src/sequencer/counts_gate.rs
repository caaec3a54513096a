//! What `counts` has, once it has come as far as it must.

use std::sync::Arc;
use std::time::Duration;

use event_log::BackendError;
use events::{Epoch, PartitionId, Position};
use read_model::Checkpoint;
use tokio_util::sync::DropGuard;

use super::counts_reader::{Checkpoints, CountsReader, CountsSnapshot};
use crate::shared_poll::SharedPoll;

/// Longest wait for `counts` to pass the log's end, or the start of an epoch.
const COUNTS_WAIT: Duration = Duration::from_secs(4);

/// The checkpoints of `counts`, for everybody who waits for them.
pub(super) struct CountsGate {
    asking: Arc<SharedPoll<Checkpoints>>,
    _asking: DropGuard,
}

/// Why `counts` gave no answer that can be relied on.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotCounted {
    /// It is behind.
    #[error("counts did not come as far as the log within {} s", COUNTS_WAIT.as_secs())]
    Behind,
    /// It had come far enough, and is behind that again.
    #[error("counts has lost what it had, and is being made anew from the log")]
    MadeAnew,
    /// It could not be asked.
    #[error("counts could not be asked")]
    Failed(#[source] BackendError),
}

/// How far `counts` must have come.
pub(super) enum Goal<'a> {
    /// Everything that the position covers is counted.
    UpTo(&'a Position),
    /// The start of the epoch has been passed in these partitions.
    PastTheStartOf(Epoch, &'a [PartitionId]),
}

impl Goal<'_> {
    fn is_reached(&self, checkpoints: &Checkpoints) -> bool {
        let checkpoint = |partition| checkpoints.get(&partition).copied().unwrap_or(Checkpoint::START);
        match self {
            Self::UpTo(position) => position.bounds().all(|(partition, bound)| checkpoint(partition).next >= bound),
            Self::PastTheStartOf(epoch, partitions) => {
                partitions.iter().all(|partition| checkpoint(*partition).epoch >= *epoch)
            }
        }
    }
}

impl CountsGate {
    /// Of what `taken` says.
    pub(super) fn start(taken: Arc<dyn CountsReader>) -> Self {
        let (asking, guard) = SharedPoll::start(move || {
            let taken = Arc::clone(&taken);
            async move { taken.checkpoints().await }
        });
        Self { asking, _asking: guard }
    }

    /// What is answered to `ask` once `counts` has come as far as it must, and in a state that has.
    pub(super) async fn answer<T>(
        &self,
        goal: Goal<'_>,
        ask: impl Future<Output = Result<CountsSnapshot<T>, BackendError>>,
    ) -> Result<T, NotCounted> {
        match self.asking.until(COUNTS_WAIT, |checkpoints| goal.is_reached(checkpoints)).await {
            Ok(true) => {}
            Ok(false) => return Err(NotCounted::Behind),
            Err(error) => return Err(NotCounted::Failed(error.into())),
        }
        let seen = ask.await.map_err(NotCounted::Failed)?;
        if goal.is_reached(&seen.checkpoints) { Ok(seen.answer) } else { Err(NotCounted::MadeAnew) }
    }
}
