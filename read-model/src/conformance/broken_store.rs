//! A store with one fault.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use events::{ChatKey, EventId, Offset, PartitionId};
use uuid::Uuid;

use crate::changes::{CountsChanges, DeadLetter, NameOrigin, StoredLetter, ViewsChanges};
use crate::counts::ChatCounts;
use crate::store::{Applied, Checkpoint, CheckpointMove, LoadedCounts, Projection, ProjectionStore, StoreError};

/// A fault of a store. Each check of [`store_conformance!`](crate::store_conformance!) must find one.
#[expect(missing_docs, reason = "each name says what the store does wrong")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreFault {
    DropsEarlyMessages,
    AppliesStaleBatches,
    ForgetsApplications,
    ForgetsChatCounts,
    CheckpointStays,
    TruncatesNames,
    ForgetsEventIds,
    LastAppliedNameWins,
    HidesDeadLetters,
    ForgetsTheLog,
    KeepsDiscardedLetters,
    LosesDiscardedLetters,
}

struct BrokenStore {
    store: Arc<dyn ProjectionStore>,
    fault: StoreFault,
    names: AtomicU64,
}

impl StoreFault {
    /// Wraps a correct store in one with this fault.
    pub fn inject(self, store: Arc<dyn ProjectionStore>) -> Arc<dyn ProjectionStore> {
        Arc::new(BrokenStore { store, fault: self, names: AtomicU64::new(1_000) })
    }
}

impl BrokenStore {
    /// If the fault is to apply stale batches, makes the batch begin at the checkpoint.
    async fn redirect(&self, projection: Projection, checkpoint_move: CheckpointMove) -> CheckpointMove {
        if self.fault != StoreFault::AppliesStaleBatches {
            return checkpoint_move;
        }
        let from = self.store.checkpoint(projection, checkpoint_move.partition).await.unwrap().next;
        CheckpointMove {
            from,
            to: Checkpoint { next: checkpoint_move.to.next.max(from), ..checkpoint_move.to },
            ..checkpoint_move
        }
    }

    fn damage(&self, changes: &mut ViewsChanges) {
        match self.fault {
            StoreFault::DropsEarlyMessages if changes.chats.is_empty() => changes.messages.clear(),
            StoreFault::KeepsDiscardedLetters => changes.discarded.clear(),
            StoreFault::TruncatesNames => changes.names.iter_mut().for_each(|change| change.name.truncate(1 << 16)),
            StoreFault::ForgetsEventIds => {
                changes.messages.iter_mut().for_each(|row| row.source.event_id = EventId(Uuid::new_v4()));
            }
            StoreFault::LastAppliedNameWins => changes.names.iter_mut().for_each(|change| {
                change.origin = NameOrigin::Renamed;
                change.source.event_id = EventId(Uuid::new_v4());
                change.source.offset = Offset(self.names.fetch_add(1, Ordering::SeqCst));
            }),
            _ => {}
        }
    }
}

#[async_trait]
impl ProjectionStore for BrokenStore {
    async fn checkpoint(&self, projection: Projection, partition: PartitionId) -> Result<Checkpoint, StoreError> {
        match self.fault {
            StoreFault::CheckpointStays => Ok(Checkpoint::START),
            StoreFault::ForgetsTheLog => {
                Ok(Checkpoint { log: None, ..self.store.checkpoint(projection, partition).await? })
            }
            _ => self.store.checkpoint(projection, partition).await,
        }
    }

    async fn apply_views(
        &self,
        checkpoint_move: CheckpointMove,
        mut changes: ViewsChanges,
    ) -> Result<Applied, StoreError> {
        self.damage(&mut changes);
        self.store.apply_views(self.redirect(Projection::Views, checkpoint_move).await, changes).await
    }

    async fn chat_counts(&self, chats: &[ChatKey]) -> Result<LoadedCounts, StoreError> {
        let mut counts = self.store.chat_counts(chats).await?;
        if self.fault == StoreFault::ForgetsChatCounts {
            counts.chats.values_mut().for_each(|counts| *counts = ChatCounts::default());
        }
        Ok(counts)
    }

    async fn apply_counts(
        &self,
        checkpoint_move: CheckpointMove,
        mut changes: CountsChanges,
    ) -> Result<Applied, StoreError> {
        if self.fault == StoreFault::ForgetsApplications {
            changes.applications.clear();
        }
        let checkpoint_move = self.redirect(Projection::Counts, checkpoint_move).await;
        let applied = self.store.apply_counts(checkpoint_move, changes).await?;
        Ok(if self.fault == StoreFault::AppliesStaleBatches { Applied::Done } else { applied })
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
        let found = self.store.dead_letter(partition, offset).await?;
        Ok(if self.fault == StoreFault::LosesDiscardedLetters {
            found.filter(|letter| !letter.is_discarded)
        } else {
            found
        })
    }

    async fn count_dead_letters(&self, partition: PartitionId) -> Result<u64, StoreError> {
        let count = self.store.count_dead_letters(partition).await?;
        Ok(if self.fault == StoreFault::HidesDeadLetters { 0 } else { count })
    }

    async fn dead_letters(&self, partition: PartitionId, limit: u32) -> Result<Vec<DeadLetter>, StoreError> {
        let dead_letters = self.store.dead_letters(partition, limit).await?;
        Ok(if self.fault == StoreFault::HidesDeadLetters { Vec::new() } else { dead_letters })
    }
}
