//! The port through which `views` and `counts` are written.

use std::collections::HashMap;

use async_trait::async_trait;
use events::{ChatKey, Epoch, Offset, PartitionId};

use crate::BackendError;
use crate::changes::{CountsChanges, DeadLetter, ViewsChanges};
use crate::counts::ChatCounts;

/// The projections, by the names that operators see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Projection {
    /// Applications, chats and messages.
    Views,
    /// How many chats and messages.
    Counts,
    /// The search index.
    Search,
}

impl Projection {
    /// Every projection.
    pub const ALL: [Self; 3] = [Self::Views, Self::Counts, Self::Search];

    /// Its name in storage, logs and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Views => "views",
            Self::Counts => "counts",
            Self::Search => "search",
        }
    }

    /// The projection of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|projection| projection.name() == name)
    }
}

/// What of a partition a projection has applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkpoint {
    /// Everything before it.
    pub next: Offset,
    /// The highest epoch that started before it.
    pub epoch: Epoch,
}

impl Checkpoint {
    /// Before a projection's first batch.
    pub const START: Self = Self { next: Offset::START, epoch: Epoch::FIRST };
}

/// A batch's place in its partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckpointMove {
    /// The partition.
    pub partition: PartitionId,
    /// Where the checkpoint must be for the batch to be applied.
    pub from: Offset,
    /// What the checkpoint is afterwards.
    pub to: Checkpoint,
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// It was applied, and the checkpoint moved with it.
    Done,
    /// The checkpoint was not where the batch begins (somebody else has moved it): nothing was written.
    Superseded,
}

/// Keeps `views` and `counts`, each with its checkpoints.
///
/// - **Atomic:** a batch and the move of its checkpoint are written together or not at all.
/// - **Fenced:** the checkpoint is compared first; of two owners of a partition one applies a move, the other is told
///   [`Applied::Superseded`].
/// - **First come, first kept:** a row is never overwritten; see [`crate::changes::settle`].
#[async_trait]
pub trait ProjectionStore: Send + Sync {
    /// What of `partition` the projection has applied; [`Checkpoint::START`] before its first batch.
    async fn checkpoint(&self, projection: Projection, partition: PartitionId) -> Result<Checkpoint, StoreError>;

    /// Applies a batch to `views`.
    async fn apply_views(&self, checkpoint_move: CheckpointMove, changes: ViewsChanges) -> Result<Applied, StoreError>;

    /// The counts of these chats; a chat never seen is left out.
    ///
    /// They hold as long as the checkpoint of the chats' partition does not move: whoever applies changes that were
    /// made from them at that checkpoint applies them to these very counts.
    async fn chat_counts(&self, chats: &[ChatKey]) -> Result<HashMap<ChatKey, ChatCounts>, StoreError>;

    /// Applies a batch to `counts`. What is there for a sequencer outside of the log alone (requests with keys, and which
    /// applications exist) may be left out by an adapter whose log numbers by itself.
    async fn apply_counts(
        &self,
        checkpoint_move: CheckpointMove,
        changes: CountsChanges,
    ) -> Result<Applied, StoreError>;

    /// Dead letters of `partition` in log order, `limit` at most.
    async fn dead_letters(&self, partition: PartitionId, limit: u32) -> Result<Vec<DeadLetter>, StoreError>;
}

/// Why a projection could not be read or written. Whoever applied a batch asks for the checkpoint before trying again.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// See [`ProjectionStore::checkpoint`].
    #[error("the checkpoint of {} in partition {partition} cannot be read", .projection.name())]
    Checkpoint {
        /// Whose checkpoint.
        projection: Projection,
        /// In which partition.
        partition: PartitionId,
        /// What went wrong.
        #[source]
        source: BackendError,
    },
    /// See [`ProjectionStore::apply_views`] and [`ProjectionStore::apply_counts`].
    #[error("offsets {} to {} of partition {} cannot be applied to {}", .checkpoint_move.from, .checkpoint_move.to.next, .checkpoint_move.partition, .projection.name())]
    Apply {
        /// To which projection.
        projection: Projection,
        /// Which batch.
        checkpoint_move: CheckpointMove,
        /// What went wrong.
        #[source]
        source: BackendError,
    },
    /// See [`ProjectionStore::chat_counts`].
    #[error("the counts of {chats} chats cannot be read")]
    ChatCounts {
        /// How many were asked for.
        chats: usize,
        /// What went wrong.
        #[source]
        source: BackendError,
    },
    /// See [`ProjectionStore::dead_letters`].
    #[error("the dead letters cannot be read")]
    DeadLetters(#[source] BackendError),
}
