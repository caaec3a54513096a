//! The ports that write a projection, on one generation.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use events::{ChatKey, MessageNumber, Offset, PartitionId, Position};
use read_model::{
    Applied, Checkpoint, CheckpointMove, CountsChanges, DeadLetter, GenerationNumber, LoadedCounts, Page, Projection,
    ProjectionStore, SearchDocument, SearchError, SearchIndex, SearchPage, SearchText, Shown, StoreError, StoredLetter,
    ViewsChanges,
};
use rusqlite::{Connection, Result};

use super::generation::Generation;
use super::rebuilding::Lease;
use super::write_views::Target;
use super::{CONCURRENT_SEARCHES, counts, search, write_views};
use crate::sqlite::run_blocking;

/// Writes one generation, live or not.
pub(super) struct GenerationStore {
    generation: Arc<Generation>,
    /// The rebuild that may write the generation, if it is not live.
    lease: Option<Lease>,
}

impl GenerationStore {
    /// Writes a live generation. The caller keeps it live meanwhile.
    pub(super) const fn live(generation: Arc<Generation>) -> Self {
        Self { generation, lease: None }
    }

    /// Writes a generation for as long as its rebuild owns it.
    pub(super) const fn built(generation: Arc<Generation>, lease: Lease) -> Self {
        Self { generation, lease: Some(lease) }
    }

    fn number(&self) -> GenerationNumber {
        self.generation.number()
    }

    /// Applies a batch on a blocking thread; see [`Generation::apply`].
    async fn apply(
        &self,
        checkpoint_move: CheckpointMove,
        write: impl FnOnce(&mut Connection) -> Result<()> + Send + 'static,
    ) -> Result<Applied> {
        if self.lease.as_ref().is_some_and(|lease| !lease.is_held()) {
            return Ok(Applied::Superseded);
        }
        let generation = Arc::clone(&self.generation);
        run_blocking(move || generation.apply(checkpoint_move, write)).await
    }
}

#[async_trait]
impl ProjectionStore for GenerationStore {
    async fn checkpoint(&self, projection: Projection, partition: PartitionId) -> Result<Checkpoint, StoreError> {
        let checkpoint = self.generation.checkpoint(partition);
        checkpoint.map_err(|error| StoreError::Checkpoint { projection, partition, source: error.into() })
    }

    async fn apply_views(&self, checkpoint_move: CheckpointMove, changes: ViewsChanges) -> Result<Applied, StoreError> {
        let target = Target { is_live: self.lease.is_none(), version: self.generation.version() };
        let write =
            move |connection: &mut Connection| write_views::write(connection, target, checkpoint_move, &changes);
        self.apply(checkpoint_move, write).await.map_err(|error| StoreError::Apply {
            projection: Projection::Views,
            checkpoint_move,
            source: error.into(),
        })
    }

    async fn chat_counts(&self, chats: &[ChatKey]) -> Result<LoadedCounts, StoreError> {
        let (generation, keys) = (Arc::clone(&self.generation), chats.to_vec());
        let loaded = run_blocking(move || generation.read(|connection| counts::load(connection, &keys))).await;
        loaded
            .map(|chats| LoadedCounts { generation: Some(self.number()), chats })
            .map_err(|error| StoreError::ChatCounts { chats: chats.len(), source: error.into() })
    }

    async fn apply_counts(
        &self,
        checkpoint_move: CheckpointMove,
        changes: CountsChanges,
    ) -> Result<Applied, StoreError> {
        if changes.loaded_from.is_some_and(|former| former != self.number()) {
            return Ok(Applied::Superseded);
        }
        let write = move |connection: &mut Connection| counts::write(connection, &changes);
        self.apply(checkpoint_move, write).await.map_err(|error| StoreError::Apply {
            projection: Projection::Counts,
            checkpoint_move,
            source: error.into(),
        })
    }

    async fn dead_letter(&self, partition: PartitionId, offset: Offset) -> Result<Option<StoredLetter>, StoreError> {
        let generation = Arc::clone(&self.generation);
        let find = move |connection: &Connection| write_views::find_dead_letter(connection, partition, offset);
        run_blocking(move || generation.read(find)).await.map_err(|error| StoreError::DeadLetters(error.into()))
    }

    async fn count_dead_letters(&self, partition: PartitionId) -> Result<u64, StoreError> {
        let generation = Arc::clone(&self.generation);
        let count = move |connection: &Connection| write_views::count_dead_letters(connection, partition..=partition);
        run_blocking(move || generation.read(count)).await.map_err(|error| StoreError::DeadLetters(error.into()))
    }

    async fn dead_letters(&self, partition: PartitionId, limit: u32) -> Result<Vec<DeadLetter>, StoreError> {
        let generation = Arc::clone(&self.generation);
        let load = move |connection: &Connection| write_views::load_dead_letters(connection, partition, limit);
        run_blocking(move || generation.read(load)).await.map_err(|error| StoreError::DeadLetters(error.into()))
    }
}

/// Only the live generation is searched.
#[derive(Debug, thiserror::Error)]
#[error("a generation that is not live is not searched")]
struct NotLive;

#[async_trait]
impl SearchIndex for GenerationStore {
    fn batch_size(&self) -> u32 {
        search::MESSAGES_PER_BATCH
    }

    fn concurrent_searches(&self) -> usize {
        CONCURRENT_SEARCHES
    }

    async fn checkpoint(&self, partition: PartitionId) -> Result<Checkpoint, SearchError> {
        let checkpoint = self.generation.checkpoint(partition);
        checkpoint.map_err(|error| SearchError::Checkpoint { partition, source: error.into() })
    }

    async fn index(
        &self,
        checkpoint_move: CheckpointMove,
        documents: Vec<SearchDocument>,
    ) -> Result<Applied, SearchError> {
        let write = move |connection: &mut Connection| search::write_documents(connection, &documents);
        let applied = self.apply(checkpoint_move, write).await;
        let applied = applied.map_err(|error| SearchError::Index { checkpoint_move, source: error.into() })?;
        if applied != Applied::Done {
            return Ok(applied);
        }
        // The batch is applied. The next one merges what this one could not.
        let generation = Arc::clone(&self.generation);
        let merge = move || generation.write_in_steps(search::MERGES_PER_BATCH, search::merge_segments);
        if let Err(error) = run_blocking(merge).await {
            tracing::warn!(%error, "the search index could not merge its segments");
        }
        Ok(applied)
    }

    async fn reached(&self, _: &Position, _: Duration) -> Result<bool, SearchError> {
        Err(SearchError::Search(NotLive.into()))
    }

    async fn search(
        &self,
        _: ChatKey,
        _: &SearchText,
        _: Page<MessageNumber>,
    ) -> Result<Shown<SearchPage>, SearchError> {
        Err(SearchError::Search(NotLive.into()))
    }
}
