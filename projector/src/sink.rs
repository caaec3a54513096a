//! The port between a run loop and a projection.

use std::sync::Arc;

use async_trait::async_trait;
use events::{DecodeError, Offset, PartitionId, Record, RecordedEvent};
use read_model::{
    Applied, BuildStore, Checkpoint, CheckpointMove, DeadLetter, Projection, SearchError, StoreError, StoreTime,
};

use crate::counts::CountsSink;
use crate::search::SearchSink;
use crate::views::ViewsSink;

/// A projection together with the store that keeps it. Each projection implements it beside its pure functions.
#[async_trait]
pub trait ProjectionSink: Send + Sync {
    /// The projection.
    fn projection(&self) -> Projection;

    /// The most events of one batch.
    fn batch_size(&self) -> u32;

    /// Whether the projection cannot apply an event because a newer version has written it. A batch that has such an
    /// event ends before it.
    fn is_too_new(&self, record: &Record) -> bool {
        record.known_type().is_err()
    }

    /// How far the projection has applied `partition`.
    ///
    /// # Errors
    /// If the store cannot be read.
    async fn checkpoint(&self, partition: PartitionId) -> Result<Checkpoint, SinkError>;

    /// Applies a batch: every event in the log from `checkpoint_move.from` to `checkpoint_move.to` that is not void, and that the
    /// projection can read. The projection `views` stores the `letters`; the others ignore them.
    ///
    /// # Errors
    /// [`SinkError::Newer`] is permanent. After any other error the batch may or may not be applied: read the checkpoint
    /// before trying again.
    async fn apply(
        &self,
        checkpoint_move: CheckpointMove,
        batch: &[RecordedEvent],
        letters: &Letters,
    ) -> Result<Applied, SinkError>;

    /// Counts the dead letters of `partition` that are not discarded; `None` if the projection has none. A count of
    /// [`MAX_COUNTED_LETTERS`](read_model::MAX_COUNTED_LETTERS) stands for this many or more.
    ///
    /// # Errors
    /// If the store cannot be read.
    async fn count_dead_letters(&self, _partition: PartitionId) -> Result<Option<u64>, SinkError> {
        Ok(None)
    }

    /// The time for [`ProjectionSink::note_log_end`]; `None` if no reader wants to know when the projection had everything that the log had.
    ///
    /// # Errors
    /// If the clock of the store cannot be read.
    async fn now(&self) -> Result<Option<StoreTime>, SinkError> {
        Ok(None)
    }

    /// Notes that the log had nothing from `end` on in `partition` at the time `at`, which was read before the end, if the projection has
    /// applied everything before it.
    ///
    /// # Errors
    /// If the store cannot be written.
    async fn note_log_end(&self, _partition: PartitionId, _end: Offset, _at: StoreTime) -> Result<(), SinkError> {
        Ok(())
    }

    /// Notes for readers in other processes that the projection cannot go on in `partition` at its checkpoint.
    ///
    /// # Errors
    /// If the store cannot be written.
    async fn note_stop(&self, partition: PartitionId, at: Offset, reason: &str) -> Result<(), SinkError>;

    /// Deletes the note, if there is one: the projection can go on in `partition`.
    ///
    /// # Errors
    /// If the store cannot be written.
    async fn clear_stop(&self, partition: PartitionId) -> Result<(), SinkError>;
}

/// Makes the sink that writes `projection` to `store`. `views` and `counts` are kept in tables, `search` in an index.
pub fn make_sink(projection: Projection, store: BuildStore) -> Arc<dyn ProjectionSink> {
    match (store, projection) {
        (BuildStore::Tables(store), Projection::Counts) => Arc::new(CountsSink(store)),
        (BuildStore::Tables(store), _) => Arc::new(ViewsSink(store)),
        (BuildStore::Index(index), _) => Arc::new(SearchSink(index)),
    }
}

/// What a batch has that no projection shows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Letters {
    /// Records that are unreadable, and those that an operator has parked.
    pub new: Vec<DeadLetter>,
    /// Those among them that an operator has parked and that are events.
    pub parked: Vec<RecordedEvent>,
    /// Dead letters that are counted no more.
    pub discarded: Vec<Offset>,
}

/// Why a projection could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// A newer version has written an event of the batch.
    #[error("a batch has an event of a newer version")]
    Newer(#[source] DecodeError),
    /// The tables of `views` or `counts` failed.
    #[error("the projection's tables cannot be used")]
    Store(#[source] StoreError),
    /// The search index failed.
    #[error("the search index cannot be used")]
    Search(#[source] SearchError),
}

/// The most events of one batch of `views` or `counts`.
pub(crate) const ROWS_PER_BATCH: u32 = 512;
