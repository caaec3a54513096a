//! Which projection is fed, and where it is kept.

use std::sync::Arc;

use event_log::Unreadable;
use events::{DecodeError, PartitionId, RecordedEvent};
use read_model::{
    Applied, Checkpoint, CheckpointMove, Projection, ProjectionStore, SearchError, SearchIndex, StoreError,
};

use crate::{counts, search, views};

/// A projection with the store that it is written to.
#[derive(Clone)]
pub enum Target {
    /// The projection `views`.
    Views(Arc<dyn ProjectionStore>),
    /// The projection `counts`.
    Counts(Arc<dyn ProjectionStore>),
    /// The projection `search`.
    Search(Arc<dyn SearchIndex>),
}

/// Why a batch was not applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// An event of the batch was written by a newer version.
    #[error("a batch has an event of a newer version")]
    Newer(#[source] DecodeError),
    /// A table of `views` or `counts` cannot be used.
    #[error("the projection's tables cannot be used")]
    Store(#[source] StoreError),
    /// The search index cannot be used.
    #[error("the search index cannot be used")]
    Search(#[source] SearchError),
}

/// Events of one batch of `views` and `counts`.
const ROWS_A_BATCH: u32 = 512;

impl Target {
    /// The projection.
    pub const fn projection(&self) -> Projection {
        match self {
            Self::Views(_) => Projection::Views,
            Self::Counts(_) => Projection::Counts,
            Self::Search(_) => Projection::Search,
        }
    }

    /// Most events of one batch.
    pub(crate) fn batch_size(&self) -> u32 {
        match self {
            Self::Views(_) | Self::Counts(_) => ROWS_A_BATCH,
            Self::Search(index) => index.batch_size(),
        }
    }

    /// What of `partition` has been applied.
    ///
    /// # Errors
    /// If the store cannot be asked.
    pub async fn checkpoint(&self, partition: PartitionId) -> Result<Checkpoint, ApplyError> {
        match self {
            Self::Views(store) | Self::Counts(store) => {
                store.checkpoint(self.projection(), partition).await.map_err(ApplyError::Store)
            }
            Self::Search(index) => index.checkpoint(partition).await.map_err(ApplyError::Search),
        }
    }

    /// Applies a batch, which is all that counts in the log from `checkpoint_move.from` to `checkpoint_move.to`. What is unreadable there is
    /// parked by `views` and passed by the others.
    ///
    /// # Errors
    /// [`ApplyError::Newer`] will not go by trying again; the others may. Ask for the checkpoint before.
    pub async fn apply(
        &self,
        checkpoint_move: CheckpointMove,
        batch: &[RecordedEvent],
        unreadable: &[Unreadable],
    ) -> Result<Applied, ApplyError> {
        match self {
            Self::Views(store) => {
                let changes = views::changes(batch, unreadable).map_err(ApplyError::Newer)?;
                store.apply_views(checkpoint_move, changes).await.map_err(ApplyError::Store)
            }
            Self::Counts(store) => {
                let touched = counts::touched(batch).map_err(ApplyError::Newer)?;
                let loaded = store.chat_counts(&touched).await.map_err(ApplyError::Store)?;
                let changes = counts::fold(loaded, batch).map_err(ApplyError::Newer)?;
                store.apply_counts(checkpoint_move, changes).await.map_err(ApplyError::Store)
            }
            Self::Search(index) => {
                let documents = search::documents(batch).map_err(ApplyError::Newer)?;
                index.index(checkpoint_move, documents).await.map_err(ApplyError::Search)
            }
        }
    }
}
