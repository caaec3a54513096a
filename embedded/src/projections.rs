//! The projections: a database for each generation of each. The projector writes them, the read API reads them.
//!
//! | module | holds |
//! |---|---|
//! | `manifest` | the file that names the live generations |
//! | `generation` | a generation: a database with the tables of one projection |
//! | `live` | the generations that readers use |
//! | `generation_store` | the ports that write, on one generation |
//! | `write_views`, `counts`, `search` | the SQL that writes each projection; `search` also finds messages |
//! | `ordinals`, `extents` | how messages and documents are ordered, so that those of a chat lie together |
//! | `read_views`, `read_threads` | the SQL that reads views, and the threads for long reads |
//! | `progress` | how far each projection is, for readers that wait |
//! | `rebuilding` | makes projections anew beside the live ones |
//! | `operating` | compares them with the live ones, and pauses projections |

mod counts;
mod extents;
mod generation;
mod generation_store;
mod live;
mod manifest;
mod operating;
mod ordinals;
mod progress;
mod read_threads;
mod read_views;
mod rebuilding;
mod search;
mod write_views;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use events::{ChatKey, PartitionId};
use parking_lot::{Mutex, RwLock};
use read_model::{
    Applied, Checkpoint, CheckpointMove, CountsChanges, DeadLetter, LoadedCounts, Projection, ProjectionStore,
    StoreError, ViewsChanges,
};
use rusqlite::{Connection, Result};
use thiserror_ext::AsReport;
use tokio::sync::RwLock as Gate;
use uuid::Uuid;

use self::generation::{Generation, Name};
use self::generation_store::GenerationStore;
use self::live::Live;
use self::manifest::{Manifest, database_path};
use self::progress::Progress;
use self::read_threads::ReadThreads;
use self::rebuilding::Builds;
#[cfg(test)]
pub(crate) use self::search::SEPARATOR;
use crate::file_format::count_missing_pages;
use crate::file_modes::create_private_directory;
use crate::migrate::MigrateError;
use crate::open_error::{Advice, Advised};
use crate::sqlite::{Database, Durability, is_damage};

/// Pages that are read at the same time. Further ones wait.
const CONCURRENT_PAGES: usize = 4;
/// Searches that run at the same time. They have their own threads, so that slow ones never keep pages waiting.
const CONCURRENT_SEARCHES: usize = 2;

/// [`ProjectionStore`], [`read_model::Views`], [`read_model::SearchIndex`] and [`read_model::Generations`] on SQLite.
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
    pages: ReadThreads,
    searches: ReadThreads,
}

/// A live generation is damaged.
#[derive(Debug, thiserror::Error)]
#[error("{} is damaged, or one beside it; run tally rebuild, or restart tally: it makes it anew from the log", .path.display())]
pub struct ProjectionDamaged {
    path: PathBuf,
}

/// What to do about projections that are missing or of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unusable {
    /// Make them anew.
    Replace,
    /// Fail, and change nothing.
    Refuse,
}

/// Projections cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenProjectionsError {
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    #[error(transparent)]
    Migrate(#[from] MigrateError),
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error("it is missing")]
    Missing,
    #[error("it was made from another log")]
    OtherLog,
    #[error("{missing} of its pages are missing")]
    Cut { missing: u64 },
    #[error("it was found damaged")]
    Damaged,
}

impl OpenProjectionsError {
    /// Whether the file is of no use, so that only a new one helps.
    pub(crate) fn is_lasting(&self) -> bool {
        match self {
            Self::Sqlite(error) => is_damage(error),
            // A schema that this program does not know, or cannot bring to its own form, stays so.
            Self::Migrate(error) => error.sqlite().is_none_or(is_damage),
            Self::Missing | Self::OtherLog | Self::Cut { .. } | Self::Damaged => true,
            Self::Io(_) => false,
        }
    }
}

impl Advised for OpenProjectionsError {
    fn advice(&self) -> Advice {
        match self {
            Self::Sqlite(error) => error.advice(),
            Self::Migrate(error) => error.advice(),
            Self::Io(error) => error.advice(),
            _ => Advice::None,
        }
    }
}

/// Where projections could not be opened, and why.
#[derive(Debug)]
pub(crate) struct OpenFailure {
    pub(crate) path: PathBuf,
    pub(crate) source: OpenProjectionsError,
}

impl SqliteProjections {
    /// Opens the projections of the log `log_id` in this directory.
    pub(crate) fn open(directory: &Path, log_id: Uuid, unusable: Unusable) -> Result<Self, OpenFailure> {
        let fail = |source: OpenProjectionsError| OpenFailure { path: directory.to_owned(), source };
        if unusable == Unusable::Replace {
            create_private_directory(directory).map_err(|error| fail(error.into()))?;
        }
        let manifest = Manifest::load(directory).map_err(|error| fail(error.into()))?;
        if manifest.is_none() && unusable == Unusable::Refuse {
            return Err(fail(OpenProjectionsError::Missing));
        }
        let mut manifest = manifest.unwrap_or_default();
        let before = manifest.clone();
        let mut open = |projection| open_live(&mut manifest, directory, projection, log_id, unusable);
        let (views, counts, search) = (open(Projection::Views)?, open(Projection::Counts)?, open(Projection::Search)?);
        if manifest != before {
            manifest.store(directory).map_err(|error| fail(error.into()))?;
        }
        Self::start(directory, log_id, manifest, Live::new(views, counts, search)).map_err(fail)
    }

    fn start(
        directory: &Path,
        log_id: Uuid,
        manifest: Manifest,
        live: Arc<Live>,
    ) -> Result<Self, OpenProjectionsError> {
        let progress = Progress::default();
        for projection in Projection::ALL {
            progress.publish(projection, &live.get(projection).position()?);
        }
        Ok(Self {
            directory: directory.to_owned(),
            log_id,
            live: RwLock::new(live),
            gates: Projection::ALL.map(|_| Gate::new(())),
            manifest: Mutex::new(manifest),
            builds: Builds::default(),
            progress,
            pages: ReadThreads::start("pages", CONCURRENT_PAGES)?,
            searches: ReadThreads::start("searches", CONCURRENT_SEARCHES)?,
        })
    }

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

/// Opens the live generation of a projection, or makes an empty one.
fn open_live(
    manifest: &mut Manifest,
    directory: &Path,
    projection: Projection,
    log_id: Uuid,
    unusable: Unusable,
) -> Result<Arc<Generation>, OpenFailure> {
    let number = manifest.live(projection);
    let path = number.map_or_else(|| directory.to_owned(), |number| database_path(directory, projection, number));
    let opened = match number {
        Some(number) => Generation::open(Name { projection, number }, path.clone(), log_id),
        None => Err(OpenProjectionsError::Missing),
    };
    match opened {
        Ok(generation) => return Ok(generation),
        Err(source) if unusable == Unusable::Refuse || !source.is_lasting() => {
            return Err(OpenFailure { path, source });
        }
        Err(OpenProjectionsError::Missing) if number.is_none() => {}
        Err(error) => tracing::warn!(
            error = %error.as_report(),
            "the projection {} cannot be used; it is rebuilt from the log",
            projection.name()
        ),
    }
    let fail = |source: OpenProjectionsError| OpenFailure { path: directory.to_owned(), source };
    let number = manifest.start(directory, projection).map_err(|error| fail(error.into()))?;
    let path = database_path(directory, projection, number);
    Generation::create(Name { projection, number }, path, log_id).map_err(fail)
}

/// Counts the events that the projections in this directory have applied, or those in a file of the first releases. `None` if
/// there are none, or nothing in them.
pub(crate) fn count_applied_events(directory: &Path, old_file: &Path) -> Result<Option<u64>, OpenProjectionsError> {
    let mut databases = manifest::list_all_databases(directory)?;
    if old_file.try_exists()? {
        databases.push(old_file.to_owned());
    }
    let mut applied = None;
    for path in databases {
        applied = applied.max(count_applied_by(&path)?);
    }
    Ok(applied)
}

fn count_applied_by(path: &Path) -> Result<Option<u64>, OpenProjectionsError> {
    let connection = Database::new(path, Durability::Crash).connect_reader()?;
    let has_table = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'checkpoints')";
    if !connection.query_row(has_table, (), |row| row.get(0))? {
        return Ok(None);
    }
    let applied: Option<i64> =
        connection.query_row("SELECT max(next_offset) FROM checkpoints", (), |row| row.get(0))?;
    Ok(applied.map(i64::cast_unsigned).filter(|applied| *applied > 0))
}

/// The same for one database, if it was made from the log `log_id`.
pub(crate) fn count_applied_of(path: &Path, log_id: Uuid) -> Result<Option<u64>, OpenProjectionsError> {
    if !path.try_exists()? || count_missing_pages(path)? > 0 {
        return Ok(None);
    }
    let has_source = {
        let connection = Database::new(path, Durability::Crash).connect_reader()?;
        let source = "SELECT EXISTS (SELECT 1 FROM source WHERE log_id = ?)";
        connection.query_row(source, [log_id.as_bytes()], |row| row.get(0))?
    };
    if has_source { count_applied_by(path) } else { Ok(None) }
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

    async fn dead_letters(&self, partition: PartitionId, limit: u32) -> Result<Vec<DeadLetter>, StoreError> {
        self.store(Projection::Views).dead_letters(partition, limit).await
    }
}
