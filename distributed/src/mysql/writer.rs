//! Writes a generation: the live one, or one that is being built.

use std::collections::HashMap;

use async_trait::async_trait;
use events::{ChatKey, Offset, PartitionId};
use parking_lot::Mutex;
use read_model::{
    Applied, Build, Checkpoint, CheckpointMove, CountsChanges, DeadLetter, GenerationNumber, LoadedCounts, Projection,
    ProjectionStore, StoreError, StoreTime, StoredLetter, ViewsChanges,
};

use super::checkpoint_tx::{Batch, Begun, Fence, Generation, retry_contention};
use super::connections::{APPLY_WAIT, Connections, READ_WAIT, with_timeout};
use super::write_views::Target as ViewsTarget;
use super::{checkpoint_tx, log_ends, stops, write_counts, write_views};

/// [`ProjectionStore`] for one generation at a time.
pub(super) struct Writer {
    connections: Connections,
    target: Target,
}

enum Target {
    Live(KnownGenerations),
    Built(Build),
}

/// The live generations as far as this process knows. Every batch checks its generation in its own transaction, so an outdated
/// one costs a batch and harms nothing.
#[derive(Default)]
struct KnownGenerations(Mutex<HashMap<Projection, Generation>>);

impl KnownGenerations {
    fn get(&self, projection: Projection) -> Option<Generation> {
        self.0.lock().get(&projection).copied()
    }

    fn set(&self, projection: Projection, generation: Generation) {
        self.0.lock().insert(projection, generation);
    }

    /// Forgets the generation, unless another call has found a later one already.
    fn forget(&self, projection: Projection, generation: Generation) {
        let mut known = self.0.lock();
        if known.get(&projection) == Some(&generation) {
            known.remove(&projection);
        }
    }
}

impl Writer {
    /// Writes whichever generation is live.
    pub(super) fn of_live_generations(connections: Connections) -> Self {
        Self { connections, target: Target::Live(KnownGenerations::default()) }
    }

    /// Writes the generation of a build, for as long as the build has its lease.
    pub(super) const fn of_build(connections: Connections, build: Build) -> Self {
        Self { connections, target: Target::Built(build) }
    }

    async fn generation(&self, projection: Projection) -> Result<Generation, sqlx::Error> {
        check_is_kept(projection)?;
        match &self.target {
            Target::Built(build) if build.projection == projection => Ok(Generation(build.generation.0)),
            Target::Built(_) => Err(sqlx::Error::InvalidArgument(format!("{} is not being built", projection.name()))),
            Target::Live(known) => match known.get(projection) {
                Some(generation) => Ok(generation),
                None => {
                    let generation = checkpoint_tx::load_live_generation(&self.connections, projection).await?;
                    known.set(projection, generation);
                    Ok(generation)
                }
            },
        }
    }

    /// Asks for the live generation each time. So a partition without new events also follows a swap.
    async fn load_checkpoint(&self, projection: Projection, partition: PartitionId) -> Result<Checkpoint, sqlx::Error> {
        check_is_kept(projection)?;
        let connections = &self.connections;
        match &self.target {
            Target::Built(_) => {
                let generation = self.generation(projection).await?;
                checkpoint_tx::load_checkpoint(connections, projection, generation, partition).await
            }
            Target::Live(known) => {
                let loaded = checkpoint_tx::load_live_checkpoint(connections, projection, partition).await;
                let (generation, checkpoint) = loaded?;
                known.set(projection, generation);
                Ok(checkpoint)
            }
        }
    }

    /// Applies a batch to `generation`: runs `write` in a transaction that has moved the checkpoint.
    async fn apply(
        &self,
        projection: Projection,
        generation: Generation,
        checkpoint_move: CheckpointMove,
        write: impl AsyncFnOnce(&mut Batch) -> Result<(), sqlx::Error>,
    ) -> Result<Applied, sqlx::Error> {
        let fence = match &self.target {
            Target::Live(_) => Fence::Live,
            Target::Built(build) => Fence::Owner(build.lease),
        };
        match Batch::begin(&self.connections, projection, generation, fence, checkpoint_move).await? {
            Begun::Batch(mut batch) => {
                write(&mut batch).await?;
                batch.commit().await?;
                Ok(Applied::Done)
            }
            Begun::Elsewhere => Ok(Applied::Superseded),
            Begun::Fenced => match &self.target {
                Target::Live(known) => {
                    known.forget(projection, generation);
                    Ok(Applied::Superseded)
                }
                Target::Built(_) => {
                    Err(sqlx::Error::InvalidArgument("another process owns the generation that is built".to_owned()))
                }
            },
        }
    }

    async fn write_views(
        &self,
        checkpoint_move: CheckpointMove,
        changes: &ViewsChanges,
    ) -> Result<Applied, sqlx::Error> {
        let generation = self.generation(Projection::Views).await?;
        let is_live = matches!(self.target, Target::Live(_));
        let write = async |batch: &mut Batch| {
            let target = ViewsTarget { generation, is_live, has_feed: batch.has_feed() };
            write_views::write(batch.connection(), target, checkpoint_move.partition, changes).await
        };
        self.apply(Projection::Views, generation, checkpoint_move, write).await
    }

    async fn write_counts(
        &self,
        checkpoint_move: CheckpointMove,
        changes: &CountsChanges,
    ) -> Result<Applied, sqlx::Error> {
        let generation = match changes.loaded_from {
            Some(GenerationNumber(number)) => Generation(number),
            None => self.generation(Projection::Counts).await?,
        };
        let write = async |batch: &mut Batch| {
            write_counts::write(batch.connection(), generation, checkpoint_move.partition, changes).await
        };
        self.apply(Projection::Counts, generation, checkpoint_move, write).await
    }

    async fn load_counts(&self, chats: &[ChatKey]) -> Result<LoadedCounts, sqlx::Error> {
        let generation = self.generation(Projection::Counts).await?;
        let chats = write_counts::load(&self.connections, generation, chats).await?;
        Ok(LoadedCounts { generation: Some(GenerationNumber(generation.0)), chats })
    }

    /// The generation with the dead letters, which is asked for each time.
    async fn load_generation_of_letters(&self) -> Result<Generation, sqlx::Error> {
        match &self.target {
            Target::Live(_) => checkpoint_tx::load_live_generation(&self.connections, Projection::Views).await,
            Target::Built(_) => self.generation(Projection::Views).await,
        }
    }

    async fn count_letters(&self, partition: PartitionId) -> Result<u64, sqlx::Error> {
        let generation = self.load_generation_of_letters().await?;
        write_views::count_dead_letters(&self.connections, generation, partition..=partition).await
    }

    async fn load_dead_letters(&self, partition: PartitionId, limit: u32) -> Result<Vec<DeadLetter>, sqlx::Error> {
        let generation = self.load_generation_of_letters().await?;
        write_views::load_dead_letters(&self.connections, generation, partition, limit).await
    }

    async fn find_dead_letter(
        &self,
        partition: PartitionId,
        offset: Offset,
    ) -> Result<Option<StoredLetter>, sqlx::Error> {
        let generation = self.load_generation_of_letters().await?;
        write_views::find_dead_letter(&self.connections, generation, partition, offset).await
    }
}

fn check_is_kept(projection: Projection) -> Result<(), sqlx::Error> {
    match projection {
        Projection::Views | Projection::Counts => Ok(()),
        Projection::Search => {
            Err(sqlx::Error::InvalidArgument("the projection search is not kept in MySQL".to_owned()))
        }
    }
}

#[async_trait]
impl ProjectionStore for Writer {
    async fn checkpoint(&self, projection: Projection, partition: PartitionId) -> Result<Checkpoint, StoreError> {
        let loaded = with_timeout(READ_WAIT, self.load_checkpoint(projection, partition)).await;
        loaded.map_err(|error| StoreError::Checkpoint { projection, partition, source: error.into() })
    }

    async fn apply_views(&self, checkpoint_move: CheckpointMove, changes: ViewsChanges) -> Result<Applied, StoreError> {
        let applied = retry_contention(|| with_timeout(APPLY_WAIT, self.write_views(checkpoint_move, &changes))).await;
        applied.map_err(|error| StoreError::Apply {
            projection: Projection::Views,
            checkpoint_move,
            source: error.into(),
        })
    }

    async fn chat_counts(&self, chats: &[ChatKey]) -> Result<LoadedCounts, StoreError> {
        let loaded = with_timeout(READ_WAIT, self.load_counts(chats)).await;
        loaded.map_err(|error| StoreError::ChatCounts { chats: chats.len(), source: error.into() })
    }

    async fn apply_counts(
        &self,
        checkpoint_move: CheckpointMove,
        changes: CountsChanges,
    ) -> Result<Applied, StoreError> {
        let applied = retry_contention(|| with_timeout(APPLY_WAIT, self.write_counts(checkpoint_move, &changes))).await;
        applied.map_err(|error| StoreError::Apply {
            projection: Projection::Counts,
            checkpoint_move,
            source: error.into(),
        })
    }

    async fn note_stop(
        &self,
        projection: Projection,
        partition: PartitionId,
        at: Offset,
        reason: &str,
    ) -> Result<(), StoreError> {
        let note = async {
            let generation = self.generation(projection).await?;
            stops::note(&self.connections, projection, generation, partition, at, reason).await
        };
        let noted = with_timeout(READ_WAIT, note).await;
        noted.map_err(|error| StoreError::NoteStop { projection, partition, source: error.into() })
    }

    async fn clear_stop(&self, projection: Projection, partition: PartitionId) -> Result<(), StoreError> {
        let clear = async {
            let generation = self.generation(projection).await?;
            stops::clear(&self.connections, projection, generation, partition).await
        };
        let cleared = with_timeout(READ_WAIT, clear).await;
        cleared.map_err(|error| StoreError::NoteStop { projection, partition, source: error.into() })
    }

    async fn dead_letter(&self, partition: PartitionId, offset: Offset) -> Result<Option<StoredLetter>, StoreError> {
        let found = with_timeout(READ_WAIT, self.find_dead_letter(partition, offset)).await;
        found.map_err(|error| StoreError::DeadLetters(error.into()))
    }

    async fn count_dead_letters(&self, partition: PartitionId) -> Result<u64, StoreError> {
        let counted = with_timeout(READ_WAIT, self.count_letters(partition)).await;
        counted.map_err(|error| StoreError::DeadLetters(error.into()))
    }

    async fn now(&self) -> Result<Option<StoreTime>, StoreError> {
        if let Target::Built(_) = self.target {
            return Ok(None);
        }
        let read = with_timeout(READ_WAIT, log_ends::now(&self.connections)).await;
        read.map(Some).map_err(|error| StoreError::Clock(error.into()))
    }

    async fn note_log_end(&self, partition: PartitionId, end: Offset, at: StoreTime) -> Result<(), StoreError> {
        if let Target::Built(_) = self.target {
            return Ok(());
        }
        let noted = with_timeout(READ_WAIT, log_ends::note(&self.connections, partition, end, at)).await;
        noted.map_err(|error| StoreError::NoteLogEnd { partition, source: error.into() })
    }

    async fn dead_letters(&self, partition: PartitionId, limit: u32) -> Result<Vec<DeadLetter>, StoreError> {
        let loaded = with_timeout(READ_WAIT, self.load_dead_letters(partition, limit)).await;
        loaded.map_err(|error| StoreError::DeadLetters(error.into()))
    }
}
