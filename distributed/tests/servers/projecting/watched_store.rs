//! A store that counts batches by their outcome.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use distributed::mysql::MySqlProjections;
use events::{ChatKey, Offset, PartitionId};
use read_model::{
    Applied, Checkpoint, CheckpointMove, CountsChanges, DeadLetter, LoadedCounts, Projection, ProjectionStore,
    StoreError, StoredLetter, ViewsChanges,
};

/// Batches by outcome.
#[derive(Debug, Default)]
pub(crate) struct Batches {
    /// Their writer was dropped. They may or may not be applied.
    pub(crate) cut: AtomicU32,
    /// Another owner was first.
    pub(crate) superseded: AtomicU32,
}

pub(crate) struct WatchedStore {
    pub(crate) store: MySqlProjections,
    pub(crate) batches: Arc<Batches>,
}

/// A batch that is being written. It is counted as cut when it is dropped without an outcome.
struct Batch<'a> {
    batches: &'a Batches,
    has_ended: bool,
}

impl Batch<'_> {
    fn record_outcome(mut self, applied: &Result<Applied, StoreError>) {
        self.has_ended = true;
        if matches!(applied, Ok(Applied::Superseded)) {
            self.batches.superseded.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        self.batches.cut.fetch_add(u32::from(!self.has_ended), Ordering::SeqCst);
    }
}

impl WatchedStore {
    fn batch(&self) -> Batch<'_> {
        Batch { batches: &self.batches, has_ended: false }
    }
}

#[async_trait]
impl ProjectionStore for WatchedStore {
    async fn checkpoint(&self, projection: Projection, partition: PartitionId) -> Result<Checkpoint, StoreError> {
        self.store.checkpoint(projection, partition).await
    }

    async fn apply_views(&self, checkpoint_move: CheckpointMove, changes: ViewsChanges) -> Result<Applied, StoreError> {
        let batch = self.batch();
        let applied = self.store.apply_views(checkpoint_move, changes).await;
        batch.record_outcome(&applied);
        applied
    }

    async fn chat_counts(&self, chats: &[ChatKey]) -> Result<LoadedCounts, StoreError> {
        self.store.chat_counts(chats).await
    }

    async fn apply_counts(
        &self,
        checkpoint_move: CheckpointMove,
        changes: CountsChanges,
    ) -> Result<Applied, StoreError> {
        let batch = self.batch();
        let applied = self.store.apply_counts(checkpoint_move, changes).await;
        batch.record_outcome(&applied);
        applied
    }

    async fn note_stop(
        &self,
        projection: Projection,
        partition: PartitionId,
        at: Offset,
        reason: &str,
    ) -> Result<(), StoreError> {
        self.store.note_stop(projection, partition, at, reason).await
    }

    async fn clear_stop(&self, projection: Projection, partition: PartitionId) -> Result<(), StoreError> {
        self.store.clear_stop(projection, partition).await
    }

    async fn dead_letter(&self, partition: PartitionId, offset: Offset) -> Result<Option<StoredLetter>, StoreError> {
        self.store.dead_letter(partition, offset).await
    }

    async fn count_dead_letters(&self, partition: PartitionId) -> Result<u64, StoreError> {
        self.store.count_dead_letters(partition).await
    }

    async fn dead_letters(&self, partition: PartitionId, limit: u32) -> Result<Vec<DeadLetter>, StoreError> {
        self.store.dead_letters(partition, limit).await
    }
}
