//! The projections: a database for each generation of each. The projector writes them, the read API reads them.
//!
//! | module | holds |
//! |---|---|
//! | `manifest` | the file that names the live generations |
//! | `open`, `applied` | opens projections, and makes anew what is of no use; how many events databases have applied |
//! | `generation` | a generation: a database with the tables of one projection |
//! | `live` | the generations that readers use |
//! | `generation_store` | the ports that write, on one generation |
//! | `write_views`, `counts`, `search` | the SQL that writes each projection; `search` also finds messages |
//! | `write_access`, `read_access` | the SQL of keys and voided users, a part of `views` |
//! | `write_feed`, `read_feed`, `feed_contents` | the SQL of the feed, a part of `views` |
//! | `feed_streams` | how the feed is laid out, so that the events of a chat or an application are found |
//! | `log_ends` | when `views` had everything that the log had |
//! | `ordinals`, `extents` | how messages and documents are ordered, so that those of a chat lie together |
//! | `read_views`, `read_threads` | the SQL that reads views, and the threads for long reads |
//! | `progress` | how far each projection is, for readers that wait |
//! | `rebuilding` | makes projections anew beside the live ones |
//! | `operating` | compares them with the live ones, and pauses projections |

mod applied;
mod counts;
mod extents;
mod feed_contents;
mod feed_streams;
mod generation;
mod generation_store;
mod live;
mod log_ends;
mod manifest;
mod open;
mod operating;
mod ordinals;
mod progress;
mod read_access;
mod read_chats;
mod read_feed;
mod read_threads;
mod read_views;
mod rebuilding;
mod search;
mod write_access;
mod write_feed;
mod write_views;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use events::{ChatKey, Offset, PartitionId, Position};
use parking_lot::{Mutex, RwLock};
use read_model::{
    Applied, Checkpoint, CheckpointMove, CountsChanges, DeadLetter, LoadedCounts, Projection, ProjectionStore,
    StoreError, StoreTime, StoredLetter, ViewsChanges,
};
use rusqlite::{Connection, Result};
use tokio::sync::RwLock as Gate;
use uuid::Uuid;

pub(crate) use self::applied::{count_applied_events, count_applied_of};
use self::generation_store::GenerationStore;
use self::live::Live;
use self::log_ends::LogEnds;
use self::manifest::Manifest;
pub(crate) use self::open::{OpenFailure, OpenProjectionsError, Unusable};
use self::progress::Progress;
use self::read_threads::ReadThreads;
use self::rebuilding::Builds;
#[cfg(test)]
pub(crate) use self::search::SEPARATOR;

/// Pages that are read at the same time. Further ones wait.
const CONCURRENT_PAGES: usize = 4;
/// Searches that run at the same time. They have their own threads, so that slow ones never keep pages waiting.
const CONCURRENT_SEARCHES: usize = 2;

/// [`ProjectionStore`], [`read_model::Views`], [`read_model::Access`], [`read_model::Feed`], [`read_model::SearchIndex`] and [`read_model::Generations`] on SQLite.
#[derive(Debug)]
pub struct SqliteProjections {
    directory: PathBuf,
    log_id: Uuid,
    live: RwLock<Arc<Live>>,
    /// Whoever applies a batch to a live generation holds its gate for reading, a swap for writing.
    gates: [Gate<()>; Projection::ALL.len()],
    manifest: Mutex<Manifest>,
    builds: Builds,
    progress: Progress,
    log_ends: LogEnds,
    pages: ReadThreads,
    searches: ReadThreads,
}

/// A live generation is damaged.
#[derive(Debug, thiserror::Error)]
#[error("{} is damaged, or one beside it; run tally rebuild, or restart tally: it makes it anew from the log", .path.display())]
pub struct ProjectionDamaged {
    path: PathBuf,
}

impl SqliteProjections {
    fn live(&self) -> Arc<Live> {
        Arc::clone(&self.live.read())
    }

    const fn gate(&self, projection: Projection) -> &Gate<()> {
        let [views, counts, search] = &self.gates;
        match projection {
            Projection::Views => views,
            Projection::Counts => counts,
            Projection::Search => search,
        }
    }

    /// The databases of the live generations, in the order of [`Projection::ALL`].
    pub fn paths(&self) -> [PathBuf; Projection::ALL.len()] {
        self.live().paths()
    }

    /// The databases that a killed process has left.
    pub(crate) fn list_leftovers(&self) -> Vec<PathBuf> {
        self.manifest.lock().list_leftovers(&self.directory).unwrap_or_else(|error| {
            tracing::warn!(%error, "former generations in {} cannot be listed", self.directory.display());
            Vec::new()
        })
    }

    /// Waits until the running writes have ended, then closes all databases.
    ///
    /// # Errors
    /// SQLite's error, or the system's. Nothing is lost, because projections can be rebuilt.
    pub async fn close(&self) -> Result<(), read_model::BackendError> {
        let live = self.live();
        live.readers.close();
        let builds = std::mem::take(&mut *self.builds.lock());
        let begun = builds.into_values().map(|owned| owned.generation);
        let mut outcome = Ok(());
        for generation in Projection::ALL.map(|projection| Arc::clone(live.get(projection))).into_iter().chain(begun) {
            outcome = outcome.and(generation.close().await);
        }
        outcome
    }

    /// Frees the memory of connections that nobody has used for this time: their page caches take some MiB each. Blocks the thread.
    ///
    /// # Errors
    /// SQLite's error. Nothing is lost.
    pub fn free_unused_memory(&self, unused_for: Duration) -> Result<(), read_model::BackendError> {
        let live = self.live();
        live.readers.close_unused(unused_for);
        for projection in Projection::ALL {
            live.get(projection).free_unused_memory(unused_for)?;
        }
        Ok(())
    }

    /// Whether the live generations are whole, as far as reads, writes and checks have shown. An error with advice for the
    /// operator was logged otherwise.
    ///
    /// # Errors
    /// [`ProjectionDamaged`]. A rebuild replaces the damaged generation.
    pub fn check_whole(&self) -> Result<(), ProjectionDamaged> {
        let live = self.live();
        let damaged = Projection::ALL.map(|projection| live.get(projection)).into_iter();
        let damaged =
            damaged.filter(|generation| generation.damage().is_suspected()).map(|generation| generation.path());
        damaged.map(|path| Err(ProjectionDamaged { path: path.to_owned() })).next().unwrap_or(Ok(()))
    }

    /// Reads one row, or a few, on this thread.
    fn read<T>(&self, read: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        self.live().readers.read(read)
    }

    /// Runs a read of several rows on one of these threads.
    async fn read_on<T: Send + 'static>(
        &self,
        threads: &ReadThreads,
        read: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let live = self.live();
        threads.run(move || live.readers.read(read)).await
    }

    /// The live generation of a projection, for a call that writes no batch.
    fn store(&self, projection: Projection) -> GenerationStore {
        GenerationStore::live(Arc::clone(self.live().get(projection)))
    }

    /// Applies a batch to the live generation. Then wakes readers that wait for the position.
    async fn apply_live<E>(
        &self,
        projection: Projection,
        checkpoint_move: CheckpointMove,
        apply: impl AsyncFnOnce(GenerationStore) -> Result<Applied, E>,
    ) -> Result<Applied, E> {
        let expected = self.live().get(projection).number();
        let _no_swap = self.gate(projection).read().await;
        let live = Arc::clone(self.live().get(projection));
        if live.number() != expected || self.manifest.lock().is_paused(projection) {
            return Ok(Applied::Superseded);
        }
        let applied = apply(GenerationStore::live(live)).await?;
        if applied == Applied::Done {
            self.progress.publish_commit(projection, checkpoint_move);
        }
        Ok(applied)
    }
}

#[async_trait]
impl ProjectionStore for SqliteProjections {
    async fn checkpoint(&self, projection: Projection, partition: PartitionId) -> Result<Checkpoint, StoreError> {
        self.store(projection).checkpoint(projection, partition).await
    }

    async fn apply_views(&self, checkpoint_move: CheckpointMove, changes: ViewsChanges) -> Result<Applied, StoreError> {
        let apply = async |store: GenerationStore| store.apply_views(checkpoint_move, changes).await;
        self.apply_live(Projection::Views, checkpoint_move, apply).await
    }

    async fn chat_counts(&self, chats: &[ChatKey]) -> Result<LoadedCounts, StoreError> {
        self.store(Projection::Counts).chat_counts(chats).await
    }

    async fn apply_counts(
        &self,
        checkpoint_move: CheckpointMove,
        changes: CountsChanges,
    ) -> Result<Applied, StoreError> {
        let apply = async |store: GenerationStore| store.apply_counts(checkpoint_move, changes).await;
        self.apply_live(Projection::Counts, checkpoint_move, apply).await
    }

    async fn dead_letter(&self, partition: PartitionId, offset: Offset) -> Result<Option<StoredLetter>, StoreError> {
        self.store(Projection::Views).dead_letter(partition, offset).await
    }

    async fn count_dead_letters(&self, partition: PartitionId) -> Result<u64, StoreError> {
        self.store(Projection::Views).count_dead_letters(partition).await
    }

    async fn now(&self) -> Result<Option<StoreTime>, StoreError> {
        Ok(Some(self.log_ends.now()))
    }

    async fn note_log_end(&self, partition: PartitionId, end: Offset, at: StoreTime) -> Result<(), StoreError> {
        if self.progress.position(Projection::Views).covers(&Position::up_to(partition, end)) {
            self.log_ends.note(partition, at);
        }
        Ok(())
    }

    async fn dead_letters(&self, partition: PartitionId, limit: u32) -> Result<Vec<DeadLetter>, StoreError> {
        self.store(Projection::Views).dead_letters(partition, limit).await
    }
}
