//! How far `counts` has come.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use event_log::BackendError;
use events::{Epoch, PartitionId, Position};
use read_model::Checkpoint;
use tokio_util::sync::DropGuard;

use super::taken::TakenNumbers;
use crate::asking::Asking;

type Checkpoints = BTreeMap<PartitionId, Checkpoint>;

/// The checkpoints of `counts`, for everybody who waits for them.
pub(super) struct Counted {
    asking: Arc<Asking<Checkpoints>>,
    _asking: DropGuard,
}

/// Why `counts` did not come as far as was waited for.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotCounted {
    /// It is behind.
    #[error("counts did not come as far as the log within {} s", .0.as_secs())]
    Behind(Duration),
    /// It could not be asked.
    #[error("counts could not be asked how far it has come")]
    Failed(#[source] BackendError),
}

impl Counted {
    /// Of what `taken` says.
    pub(super) fn start(taken: Arc<dyn TakenNumbers>) -> Self {
        let (asking, guard) = Asking::start(move || {
            let taken = Arc::clone(&taken);
            async move { taken.checkpoints().await }
        });
        Self { asking, _asking: guard }
    }

    /// Waits until everything that `position` covers is counted.
    pub(super) async fn up_to(&self, position: &Position, within: Duration) -> Result<(), NotCounted> {
        self.until(within, |checkpoints| {
            let next = |partition| checkpoints.get(&partition).copied().unwrap_or(Checkpoint::START).next;
            position.bounds().all(|(partition, bound)| next(partition) >= bound)
        })
        .await
    }

    /// Waits until the start of `epoch` has been passed in these partitions.
    pub(super) async fn past_the_start_of(
        &self,
        epoch: Epoch,
        partitions: &[PartitionId],
        within: Duration,
    ) -> Result<(), NotCounted> {
        self.until(within, |checkpoints| {
            let has_passed = |checkpoint: &Checkpoint| checkpoint.epoch >= epoch;
            partitions.iter().all(|partition| checkpoints.get(partition).is_some_and(has_passed))
        })
        .await
    }

    async fn until(&self, within: Duration, is_there: impl Fn(&Checkpoints) -> bool) -> Result<(), NotCounted> {
        match self.asking.until(within, is_there).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(NotCounted::Behind(within)),
            Err(error) => Err(NotCounted::Failed(error.into())),
        }
    }
}
