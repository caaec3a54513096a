//! All projections in one SQLite file. The projector writes them, the read API reads them.

mod counts;
mod damage;
mod extents;
mod ordinals;
mod progress;
mod read_threads;
mod read_views;
mod search;
mod write_views;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use events::{ChatKey, Epoch, Offset, PartitionId};
use read_model::{
    Applied, Checkpoint, CheckpointMove, CountsChanges, DeadLetter, LoadedCounts, Projection, ProjectionStore,
    StoreError, ViewsChanges,
};
use rusqlite::{Connection, OptionalExtension, Result, Row};
use uuid::Uuid;

use self::damage::Damage;
use self::progress::Progress;
use self::read_threads::ReadThreads;
#[cfg(test)]
pub(crate) use self::search::SEPARATOR;
use crate::migrate::{MigrateError, migrate, projections_migrations};
use crate::notes::note_clean_close;
use crate::open_error::{Advice, Advised};
use crate::sqlite::{Database, Durability, Readers, Writer, is_damage, prepare, run_blocking};

/// Pages that are read at the same time. Further ones wait.
const CONCURRENT_PAGES: usize = 4;
/// Searches that run at the same time. They have their own threads, so that slow ones never keep pages waiting.
const CONCURRENT_SEARCHES: usize = 2;

/// [`ProjectionStore`], [`read_model::Views`] and [`read_model::SearchIndex`] on SQLite.
#[derive(Debug)]
pub struct SqliteProjections {
    file: Arc<ProjectionsFile>,
    pages: ReadThreads,
    searches: ReadThreads,
}

/// The file with the tables of all projections. Its methods block the thread.
#[derive(Debug)]
struct ProjectionsFile {
    readers: Readers,
    writer: Writer,
    progress: Progress,
    damage: Damage,
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
    #[error("the file is missing")]
    Missing,
    #[error("the file was made from another log")]
    OtherLog,
    #[error("{missing} pages of the file are missing")]
    Cut { missing: u64 },
    #[error("the file was found damaged")]
    Damaged,
}

impl OpenProjectionsError {
    /// Whether the file is of no use, so that only a new one helps.
    pub(crate) fn is_lasting(&self) -> bool {
        match self {
            Self::Sqlite(error) => is_damage(error),
            // A schema that this program does not know, or cannot bring to its own form, stays so.
            Self::Migrate(error) => error.sqlite().is_none_or(is_damage),
            Self::OtherLog | Self::Cut { .. } | Self::Damaged => true,
            Self::Missing | Self::Io(_) => false,
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

impl SqliteProjections {
    /// Opens the projections of the log `log_id`; `None` if the file holds those of another log.
    pub(crate) fn open(path: &Path, log_id: Uuid) -> Result<Option<Self>, OpenProjectionsError> {
        let database = Database::new(path, Durability::Crash);
        let mut connection = database.connect()?;
        migrate(&mut connection, projections_migrations())?;
        let source = identify_source(&connection, log_id)?;
        let progress = Progress::load(&connection)?;
        connection.close().map_err(|(_, error)| error)?;
        if source != log_id {
            return Ok(None);
        }
        let file = ProjectionsFile {
            readers: Readers::new(database.clone()),
            writer: Writer::new(database),
            progress,
            damage: Damage::new(path),
        };
        Ok(Some(Self {
            file: Arc::new(file),
            pages: ReadThreads::start("pages", CONCURRENT_PAGES)?,
            searches: ReadThreads::start("searches", CONCURRENT_SEARCHES)?,
        }))
    }

    /// Checks the whole file for damage on a thread of its own, while it is used. See [`SqliteProjections::wait_for_damage`].
    pub(crate) fn check_beside(&self) -> std::io::Result<()> {
        self.file.damage.check_beside()
    }

    /// Waits until the running write has ended, then closes the file.
    ///
    /// # Errors
    /// SQLite's error, or the system's. Nothing is lost, because projections can be rebuilt.
    pub async fn close(&self) -> Result<(), read_model::BackendError> {
        let file = Arc::clone(&self.file);
        let is_whole = run_blocking(move || {
            let is_whole = file.damage.stop_check();
            file.readers.close();
            file.writer.close()?;
            Ok(is_whole)
        });
        if is_whole.await? {
            note_clean_close(self.file.damage.path())?;
        }
        Ok(())
    }

    /// Waits until a read, a write or a check finds that the file is damaged, which may be never. An error with advice for
    /// the operator is logged then.
    pub async fn wait_for_damage(&self) {
        self.file.damage.wait().await;
    }

    /// Runs a read of several rows on one of these threads.
    async fn read_on<T: Send + 'static>(
        &self,
        threads: &ReadThreads,
        read: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let file = Arc::clone(&self.file);
        threads.run(move || file.read(read)).await
    }

    /// Runs `step` on a blocking thread, each time in a transaction of its own, `steps` times or until it returns false.
    async fn write_in_steps(
        &self,
        steps: u32,
        step: impl Fn(&Connection) -> Result<bool> + Send + 'static,
    ) -> Result<()> {
        let file = Arc::clone(&self.file);
        run_blocking(move || {
            for _ in 0..steps {
                let written = file.writer.transact(|connection| step(connection).map(Some));
                if written.inspect_err(|error| file.damage.note(error))? != Some(true) {
                    break;
                }
            }
            Ok(())
        })
        .await
    }

    /// Applies a batch on a blocking thread; see [`ProjectionsFile::apply`].
    async fn apply(
        &self,
        projection: Projection,
        checkpoint_move: CheckpointMove,
        write: impl FnOnce(&mut Connection) -> Result<()> + Send + 'static,
    ) -> Result<Applied> {
        let file = Arc::clone(&self.file);
        run_blocking(move || file.apply(projection, checkpoint_move, write)).await
    }
}

impl ProjectionsFile {
    fn read<T>(&self, read: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        self.readers.read(read).inspect_err(|error| self.damage.note(error))
    }

    fn checkpoint(&self, projection: Projection, partition: PartitionId) -> Result<Checkpoint> {
        self.read(|connection| load_checkpoint(connection, projection, partition))
    }

    /// Moves the checkpoint and calls `write`, in one transaction. Then wakes readers that wait for the position. Writes
    /// nothing if the checkpoint is not where the batch begins.
    fn apply(
        &self,
        projection: Projection,
        checkpoint_move: CheckpointMove,
        write: impl FnOnce(&mut Connection) -> Result<()>,
    ) -> Result<Applied> {
        let applied = self.writer.transact(|connection| {
            if load_checkpoint(connection, projection, checkpoint_move.partition)?.next != checkpoint_move.from {
                return Ok(None);
            }
            store_checkpoint(connection, projection, checkpoint_move)?;
            write(connection).map(Some)
        });
        Ok(match applied.inspect_err(|error| self.damage.note(error))? {
            Some(()) => {
                self.progress.publish_commit(projection, checkpoint_move);
                Applied::Done
            }
            None => Applied::Superseded,
        })
    }
}

/// Counts the events that the projections at `path` have applied. `None` if there is no file, or nothing in it.
pub(crate) fn count_applied_events(path: &Path) -> Result<Option<u64>, OpenProjectionsError> {
    if !path.try_exists()? {
        return Ok(None);
    }
    let connection = Database::new(path, Durability::Crash).connect_reader()?;
    let has_table = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'checkpoints')";
    if !connection.query_row(has_table, (), |row| row.get(0))? {
        return Ok(None);
    }
    let applied: Option<i64> =
        connection.query_row("SELECT max(next_offset) FROM checkpoints", (), |row| row.get(0))?;
    Ok(applied.map(i64::cast_unsigned).filter(|applied| *applied > 0))
}

/// Returns the id of the log that the projections were made from. A new file gets `log_id`.
fn identify_source(connection: &Connection, log_id: Uuid) -> Result<Uuid> {
    let identify = "INSERT INTO source (log_id) SELECT ? WHERE NOT EXISTS (SELECT 1 FROM source)";
    connection.execute(identify, [log_id.as_bytes()])?;
    connection.query_row("SELECT log_id FROM source", (), |row| row.get(0)).map(Uuid::from_bytes)
}

fn load_checkpoint(connection: &Connection, projection: Projection, partition: PartitionId) -> Result<Checkpoint> {
    let mut statement =
        prepare(connection, "SELECT next_offset, epoch FROM checkpoints WHERE projection = ? AND partition = ?")?;
    let checkpoint = statement.query_row((projection.name(), partition.0), decode_checkpoint).optional()?;
    Ok(checkpoint.unwrap_or(Checkpoint::START))
}

fn decode_checkpoint(row: &Row) -> Result<Checkpoint> {
    let next = Offset(row.get::<_, i64>(0)?.cast_unsigned());
    let epoch = Epoch(row.get::<_, i64>(1)?.cast_unsigned());
    Ok(Checkpoint { next, epoch })
}

fn store_checkpoint(connection: &Connection, projection: Projection, checkpoint_move: CheckpointMove) -> Result<()> {
    let CheckpointMove { partition, to, .. } = checkpoint_move;
    let mut statement = prepare(
        connection,
        "INSERT INTO checkpoints (projection, partition, next_offset, epoch) VALUES (?, ?, ?, ?) \
         ON CONFLICT (projection, partition) DO UPDATE SET next_offset = excluded.next_offset, \
         epoch = excluded.epoch",
    )?;
    let epoch = to.epoch.0.cast_signed();
    statement.execute((projection.name(), partition.0, to.next.0.cast_signed(), epoch))?;
    Ok(())
}

#[async_trait]
impl ProjectionStore for SqliteProjections {
    async fn checkpoint(&self, projection: Projection, partition: PartitionId) -> Result<Checkpoint, StoreError> {
        self.file.checkpoint(projection, partition).map_err(|error| StoreError::Checkpoint {
            projection,
            partition,
            source: error.into(),
        })
    }

    async fn apply_views(&self, checkpoint_move: CheckpointMove, changes: ViewsChanges) -> Result<Applied, StoreError> {
        let projection = Projection::Views;
        let write = move |connection: &mut Connection| write_views::write(connection, checkpoint_move, &changes);
        self.apply(projection, checkpoint_move, write).await.map_err(|error| StoreError::Apply {
            projection,
            checkpoint_move,
            source: error.into(),
        })
    }

    async fn chat_counts(&self, chats: &[ChatKey]) -> Result<LoadedCounts, StoreError> {
        let (file, keys) = (Arc::clone(&self.file), chats.to_vec());
        let loaded = run_blocking(move || file.read(|connection| counts::load(connection, &keys))).await;
        loaded
            .map(|chats| LoadedCounts { generation: None, chats })
            .map_err(|error| StoreError::ChatCounts { chats: chats.len(), source: error.into() })
    }

    async fn apply_counts(
        &self,
        checkpoint_move: CheckpointMove,
        changes: CountsChanges,
    ) -> Result<Applied, StoreError> {
        let projection = Projection::Counts;
        self.apply(projection, checkpoint_move, move |connection| counts::write(connection, &changes))
            .await
            .map_err(|error| StoreError::Apply { projection, checkpoint_move, source: error.into() })
    }

    async fn dead_letters(&self, partition: PartitionId, limit: u32) -> Result<Vec<DeadLetter>, StoreError> {
        self.read_on(&self.pages, move |connection| write_views::load_dead_letters(connection, partition, limit))
            .await
            .map_err(|error| StoreError::DeadLetters(error.into()))
    }
}
