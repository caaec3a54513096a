//! The port that writes `views` and `counts`.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use async_trait::async_trait;
use events::{ChatKey, Epoch, KnownRecord, LogId, Offset, PartitionId, Position};

use crate::BackendError;
use crate::changes::{CountsChanges, DeadLetter, StoredLetter, ViewsChanges};
use crate::counts::ChatCounts;
use crate::generations::GenerationNumber;

/// The projections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Projection {
    /// Applications, chats and messages, and who may use them.
    Views,
    /// How many chats an application has, and how many messages a chat has.
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

    /// The version of the rows or documents that this program makes. A generation has one version. A program makes a generation of an
    /// earlier version anew, and reads and writes it until then.
    ///
    /// | projection | version 2 | version 3 |
    /// |---|---|---|
    /// | `views` | a row names its event's place and time | it has a feed |
    /// | `counts` | a chat names its last event | |
    /// | `search` | a document names its event's place and time, and is folded by version 2 | |
    pub const fn version(self) -> u32 {
        match self {
            Self::Views => 3,
            Self::Counts | Self::Search => 2,
        }
    }

    /// The projection of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|projection| projection.name() == name)
    }
}

/// The version of `views` from which on it has a feed; see [`Projection::version`].
pub const FIRST_VERSION_WITH_FEED: u32 = 3;

/// How far a projection has applied a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkpoint {
    /// The first offset that is not applied.
    pub next: Offset,
    /// The highest epoch that started before `next`.
    pub epoch: Epoch,
    /// A record before `next`, usually the last one, by which the log is recognised. `None` if nothing was applied, or an earlier
    /// release has applied it.
    pub record: Option<KnownRecord>,
    /// The log that the projection was made from, as far as it is known. A store also answers it for a partition of which nothing was
    /// applied, if it knows it from others.
    pub log: Option<LogId>,
}

impl Checkpoint {
    /// Before a projection's first batch.
    pub const START: Self = Self { next: Offset::START, epoch: Epoch::FIRST, record: None, log: None };

    /// The position of the checkpoints of several partitions.
    pub fn position(checkpoints: &BTreeMap<PartitionId, Self>) -> Position {
        let mut position = Position::default();
        for (partition, checkpoint) in checkpoints {
            position.extend(*partition, checkpoint.next);
        }
        position
    }
}

/// The checkpoint before and after a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckpointMove {
    /// The partition.
    pub partition: PartitionId,
    /// Where the checkpoint must be for the batch to be applied.
    pub from: Offset,
    /// The checkpoint after the batch.
    pub to: Checkpoint,
}

/// The outcome of applying a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// The batch was applied and the checkpoint moved, in one transaction.
    Done,
    /// Nothing was written: another owner of the partition has moved the checkpoint.
    Superseded,
}

/// Counts of chats, as they were loaded.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LoadedCounts {
    /// The generation that they belong to; `None` from a store that writes one generation only.
    pub generation: Option<GenerationNumber>,
    /// The counts of each chat that has some.
    pub chats: HashMap<ChatKey, ChatCounts>,
}

/// Stores `views` and `counts`, each with its checkpoints.
///
/// - **Atomic:** a batch and its checkpoint are written together or not at all.
/// - **Fenced:** the checkpoint is compared first. Of two owners of a partition one applies a batch, and the other gets
///   [`Applied::Superseded`].
/// - **First come, first kept:** a second event under the same key becomes a dead letter; see [`crate::views_writer`].
/// - **Follows swaps:** a store of the live generation answers [`Applied::Superseded`] once another generation is live, and goes
///   on with that one.
#[async_trait]
pub trait ProjectionStore: Send + Sync {
    /// How far the projection has applied `partition`; [`Checkpoint::START`] before its first batch.
    async fn checkpoint(&self, projection: Projection, partition: PartitionId) -> Result<Checkpoint, StoreError>;

    /// Applies a batch to `views`.
    async fn apply_views(&self, checkpoint_move: CheckpointMove, changes: ViewsChanges) -> Result<Applied, StoreError>;

    /// Loads the counts of these chats. A chat without counts is left out.
    ///
    /// The counts stay valid until the checkpoint of the chats' partition moves. So a caller can compute a batch from
    /// them, with their generation in [`CountsChanges::loaded_from`]: the store applies the batch to exactly these counts or not at
    /// all.
    async fn chat_counts(&self, chats: &[ChatKey]) -> Result<LoadedCounts, StoreError>;

    /// Applies a batch to `counts`. Only a sequencer outside of the log needs the answered requests and the existence
    /// of applications; an adapter whose log assigns the numbers may leave them out.
    async fn apply_counts(
        &self,
        checkpoint_move: CheckpointMove,
        changes: CountsChanges,
    ) -> Result<Applied, StoreError>;

    /// Notes that a projection cannot go on in `partition` at its checkpoint `at`; see [`StandsStill`](crate::StandsStill). A
    /// store whose readers are in the projector's process may do nothing.
    async fn note_stop(
        &self,
        _projection: Projection,
        _partition: PartitionId,
        _at: Offset,
        _reason: &str,
    ) -> Result<(), StoreError> {
        Ok(())
    }

    /// Deletes the note of [`ProjectionStore::note_stop`], if there is one: the projection goes on in `partition`.
    async fn clear_stop(&self, _projection: Projection, _partition: PartitionId) -> Result<(), StoreError> {
        Ok(())
    }

    /// Finds the dead letter at an offset, discarded or not.
    async fn dead_letter(&self, partition: PartitionId, offset: Offset) -> Result<Option<StoredLetter>, StoreError>;

    /// Counts the dead letters of `partition` that are not discarded, [`MAX_COUNTED_LETTERS`](crate::MAX_COUNTED_LETTERS) at most.
    async fn count_dead_letters(&self, partition: PartitionId) -> Result<u64, StoreError>;

    /// The time by the clock of [`ProjectionStore::note_log_end`]; `None` if the store takes no notes, because its generation is not live.
    async fn now(&self) -> Result<Option<StoreTime>, StoreError> {
        Ok(None)
    }

    /// Notes that the log had nothing from `end` on in `partition` at the time `at`, if the live generation of `views` has applied
    /// everything before `end`: then readers of [`Access::changes`](crate::Access::changes) know how far behind the log they can be. The
    /// latest time stays.
    ///
    /// Whoever has read the time before the end may note it, however much later: the note says nothing of the time since.
    async fn note_log_end(&self, _partition: PartitionId, _end: Offset, _at: StoreTime) -> Result<(), StoreError> {
        Ok(())
    }

    /// Lists dead letters of `partition` that are not discarded, in log order, `limit` at most.
    async fn dead_letters(&self, partition: PartitionId, limit: u32) -> Result<Vec<DeadLetter>, StoreError>;
}

/// A moment by the clock of a store: the time since an origin that the store has chosen. Moments of different stores cannot be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct StoreTime(pub Duration);

/// Why a call to the store failed. A caller reads the checkpoint before it retries a batch.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// See [`ProjectionStore::checkpoint`].
    #[error("the checkpoint of {} in partition {partition} cannot be read", .projection.name())]
    Checkpoint {
        /// The projection.
        projection: Projection,
        /// The partition.
        partition: PartitionId,
        /// The adapter's error.
        #[source]
        source: BackendError,
    },
    /// See [`ProjectionStore::apply_views`] and [`ProjectionStore::apply_counts`].
    #[error("offsets {} to {} of partition {} cannot be applied to {}", .checkpoint_move.from, .checkpoint_move.to.next, .checkpoint_move.partition, .projection.name())]
    Apply {
        /// The projection.
        projection: Projection,
        /// The batch.
        checkpoint_move: CheckpointMove,
        /// The adapter's error.
        #[source]
        source: BackendError,
    },
    /// See [`ProjectionStore::chat_counts`].
    #[error("the counts of {chats} chats cannot be read")]
    ChatCounts {
        /// How many chats the caller asked for.
        chats: usize,
        /// The adapter's error.
        #[source]
        source: BackendError,
    },
    /// See [`ProjectionStore::note_stop`] and [`ProjectionStore::clear_stop`].
    #[error("it cannot be noted whether {} stands still in partition {partition}", .projection.name())]
    NoteStop {
        /// The projection.
        projection: Projection,
        /// The partition.
        partition: PartitionId,
        /// The adapter's error.
        #[source]
        source: BackendError,
    },
    /// See [`ProjectionStore::now`].
    #[error("the clock of the projections cannot be read")]
    Clock(#[source] BackendError),
    /// See [`ProjectionStore::note_log_end`].
    #[error("it cannot be noted that views has reached the log's end in partition {partition}")]
    NoteLogEnd {
        /// The partition.
        partition: PartitionId,
        /// The adapter's error.
        #[source]
        source: BackendError,
    },
    /// See [`ProjectionStore::dead_letter`], [`ProjectionStore::count_dead_letters`] and [`ProjectionStore::dead_letters`].
    #[error("the dead letters cannot be read")]
    DeadLetters(#[source] BackendError),
}
