//! A generation of a projection: a database of its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use events::{Epoch, KnownRecord, LogId, Offset, PartitionId, Position, RecordId};
use read_model::{Applied, Checkpoint, CheckpointMove, GenerationNumber, Projection};
use rusqlite::{Connection, ErrorCode, OptionalExtension, Result, Row, params};
use uuid::Uuid;

use super::OpenProjectionsError;
use crate::damage::{Content, Damage};
use crate::file_format::{count_missing_pages, delete_database};
use crate::file_modes::create_private;
use crate::migrate::{migrate, projection_migrations};
use crate::notes::{is_damage_noted, note_clean_close, take_clean_note};
use crate::sqlite::{Database, Durability, Readers, Writer, prepare, run_blocking};

/// An open generation. Its methods block the thread.
#[derive(Debug)]
pub(super) struct Generation {
    projection: Projection,
    number: GenerationNumber,
    log_id: LogId,
    /// The version of its rows.
    version: u32,
    path: PathBuf,
    readers: Readers,
    writer: Writer,
    damage: Arc<Damage>,
    /// Whether nobody needs the database any more, so that it is deleted after its last use.
    is_abandoned: AtomicBool,
    /// Whether the last write found the disk full.
    has_no_space: AtomicBool,
}

/// Which projection and generation a database has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Name {
    pub(super) projection: Projection,
    pub(super) number: GenerationNumber,
}

impl Generation {
    /// Creates an empty generation of the log `log_id`.
    pub(super) fn create(name: Name, path: PathBuf, log_id: Uuid) -> Result<Arc<Self>, OpenProjectionsError> {
        delete_database(&path)?;
        create_private(&path)?;
        Self::connect(name, path, log_id)
    }

    /// Opens a generation of an earlier process.
    ///
    /// The length of the file shows at once whether it was truncated. Overwritten pages show only in a read of the whole file,
    /// which takes seconds for a gigabyte. A start does not wait for that: SQLite reports a page with a broken structure when it
    /// reads it, and a check of the whole file runs beside the requests. A clean close notes the file's length and time of change, and a
    /// start skips the check if both are unchanged.
    pub(super) fn open(name: Name, path: PathBuf, log_id: Uuid) -> Result<Arc<Self>, OpenProjectionsError> {
        if !path.try_exists()? {
            return Err(OpenProjectionsError::Missing);
        }
        let missing = count_missing_pages(&path)?;
        if missing > 0 {
            return Err(OpenProjectionsError::Cut { missing });
        }
        if is_damage_noted(&path)? {
            return Err(OpenProjectionsError::Damaged);
        }
        let is_clean = take_clean_note(&path)?;
        let generation = Self::connect(name, path, log_id)?;
        if !is_clean && let Err(error) = generation.damage.check_beside() {
            tracing::warn!(%error, "the projections are not checked for damage; the next start tries again");
        }
        Ok(generation)
    }

    fn connect(name: Name, path: PathBuf, log_id: Uuid) -> Result<Arc<Self>, OpenProjectionsError> {
        let Name { projection, number } = name;
        let database = Database::new(&path, Durability::Crash);
        let mut connection = database.connect()?;
        migrate(&mut connection, projection_migrations(projection))?;
        let source = identify_source(&connection, log_id)?;
        let version = load_version(&connection, projection)?;
        connection.close().map_err(|(_, error)| error)?;
        if source != log_id {
            return Err(OpenProjectionsError::OtherLog);
        }
        let damage = Damage::new(&path, Content::Projections);
        Ok(Arc::new(Self {
            projection,
            number,
            log_id: LogId(log_id),
            version,
            path,
            readers: Readers::new(database.clone(), &[&damage]),
            writer: Writer::new(database, &damage),
            damage,
            is_abandoned: AtomicBool::new(false),
            has_no_space: AtomicBool::new(false),
        }))
    }

    pub(super) const fn projection(&self) -> Projection {
        self.projection
    }

    pub(super) const fn number(&self) -> GenerationNumber {
        self.number
    }

    /// The version of its rows.
    pub(super) const fn version(&self) -> u32 {
        self.version
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) const fn damage(&self) -> &Arc<Damage> {
        &self.damage
    }

    pub(super) fn read<T>(&self, read: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        self.readers.read(read)
    }

    /// Frees the memory of connections that nobody has used for this time.
    pub(super) fn free_unused_memory(&self, unused_for: Duration) -> Result<()> {
        self.readers.close_unused(unused_for);
        self.writer.free_unused_memory(unused_for)
    }

    pub(super) fn checkpoint(&self, partition: PartitionId) -> Result<Checkpoint> {
        let checkpoint = self.read(|connection| load_checkpoint(connection, partition))?;
        Ok(Checkpoint { log: Some(self.log_id), ..checkpoint })
    }

    /// The checkpoints of all partitions.
    pub(super) fn checkpoints(&self) -> Result<BTreeMap<PartitionId, Checkpoint>> {
        self.read(|connection| {
            let mut statement =
                prepare(connection, "SELECT next_offset, epoch, record_offset, record_id, partition FROM checkpoints")?;
            let checkpoints = statement.query_map((), |row| {
                let checkpoint = Checkpoint { log: Some(self.log_id), ..decode_checkpoint(row)? };
                Ok((PartitionId(row.get(4)?), checkpoint))
            })?;
            checkpoints.collect()
        })
    }

    /// The same as a position.
    pub(super) fn position(&self) -> Result<Position> {
        Ok(Checkpoint::position(&self.checkpoints()?))
    }

    /// Moves the checkpoint and calls `write`, in one transaction. Writes nothing if the checkpoint is not where the batch begins.
    pub(super) fn apply(
        &self,
        checkpoint_move: CheckpointMove,
        write: impl FnOnce(&mut Connection) -> Result<()>,
    ) -> Result<Applied> {
        let applied = self.writer.transact(|connection| {
            if load_checkpoint(connection, checkpoint_move.partition)?.next != checkpoint_move.from {
                return Ok(None);
            }
            store_checkpoint(connection, checkpoint_move)?;
            write(connection).map(Some)
        });
        let has_no_space = |error: &rusqlite::Error| error.sqlite_error_code() == Some(ErrorCode::DiskFull);
        self.has_no_space.store(applied.as_ref().is_err_and(has_no_space), Ordering::Relaxed);
        let applied = applied?;
        Ok(if applied.is_some() { Applied::Done } else { Applied::Superseded })
    }

    /// Runs `step`, each time in a transaction of its own, `steps` times or until it returns false.
    pub(super) fn write_in_steps(&self, steps: u32, step: impl Fn(&Connection) -> Result<bool>) -> Result<()> {
        for _ in 0..steps {
            if self.writer.transact(|connection| step(connection).map(Some))? != Some(true) {
                break;
            }
        }
        Ok(())
    }

    /// Whether the last batch could not be applied because the disk is full.
    pub(super) fn has_no_space(&self) -> bool {
        self.has_no_space.load(Ordering::Relaxed)
    }

    /// Deletes the database once its last user has let go of the generation.
    pub(super) fn abandon(&self) {
        self.is_abandoned.store(true, Ordering::Relaxed);
    }

    /// Waits until the running write has ended, then closes the database.
    ///
    /// # Errors
    /// SQLite's error, or the system's. Nothing is lost, because projections can be rebuilt.
    pub(super) async fn close(self: &Arc<Self>) -> Result<(), read_model::BackendError> {
        let generation = Arc::clone(self);
        let is_whole = run_blocking(move || {
            let is_whole = generation.damage.stop_check();
            generation.readers.close();
            generation.writer.close()?;
            Ok(is_whole)
        });
        if is_whole.await? {
            note_clean_close(&self.path)?;
        }
        Ok(())
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        if !self.is_abandoned.load(Ordering::Relaxed) {
            return;
        }
        self.damage.stop_check();
        self.readers.close();
        if let Err(error) = self.writer.close() {
            tracing::warn!(%error, "a former generation was not closed cleanly");
        }
        if let Err(error) = delete_database(&self.path) {
            tracing::warn!(%error, "a former generation could not be deleted; the next start tries again");
        }
    }
}

/// Returns the id of the log that the projection was made from. A new file gets `log_id`.
fn identify_source(connection: &Connection, log_id: Uuid) -> Result<Uuid> {
    let identify = "INSERT INTO source (log_id) SELECT ? WHERE NOT EXISTS (SELECT 1 FROM source)";
    connection.execute(identify, [log_id.as_bytes()])?;
    connection.query_row("SELECT log_id FROM source", (), |row| row.get(0)).map(Uuid::from_bytes)
}

/// The version of the rows of a generation. Only `views` keeps it: the others have one layout only.
fn load_version(connection: &Connection, projection: Projection) -> Result<u32> {
    match projection {
        Projection::Views => connection.query_row("SELECT version FROM views_version", (), |row| row.get(0)),
        Projection::Counts | Projection::Search => Ok(projection.version()),
    }
}

fn load_checkpoint(connection: &Connection, partition: PartitionId) -> Result<Checkpoint> {
    let mut statement = prepare(
        connection,
        "SELECT next_offset, epoch, record_offset, record_id FROM checkpoints WHERE partition = ?",
    )?;
    let checkpoint = statement.query_row([partition.0], decode_checkpoint).optional()?;
    Ok(checkpoint.unwrap_or(Checkpoint::START))
}

fn decode_checkpoint(row: &Row) -> Result<Checkpoint> {
    let next = Offset(row.get::<_, i64>(0)?.cast_unsigned());
    let epoch = Epoch(row.get::<_, i64>(1)?.cast_unsigned());
    let record = match (row.get::<_, Option<i64>>(2)?, row.get(3)?) {
        (Some(offset), Some(id)) => {
            Some(KnownRecord { offset: Offset(offset.cast_unsigned()), id: RecordId(Uuid::from_bytes(id)) })
        }
        _ => None,
    };
    Ok(Checkpoint { next, epoch, record, log: None })
}

fn store_checkpoint(connection: &Connection, checkpoint_move: CheckpointMove) -> Result<()> {
    let CheckpointMove { partition, to, .. } = checkpoint_move;
    let mut statement = prepare(
        connection,
        "INSERT INTO checkpoints (partition, next_offset, epoch, record_offset, record_id) VALUES (?, ?, ?, ?, ?) \
         ON CONFLICT (partition) DO UPDATE SET next_offset = excluded.next_offset, epoch = excluded.epoch, \
         record_offset = excluded.record_offset, record_id = excluded.record_id",
    )?;
    statement.execute(params![
        partition.0,
        to.next.0.cast_signed(),
        to.epoch.0.cast_signed(),
        to.record.map(|record| record.offset.0.cast_signed()),
        to.record.as_ref().map(|record| record.id.0.as_bytes()),
    ])?;
    Ok(())
}
