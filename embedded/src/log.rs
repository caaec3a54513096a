//! The event log in one SQLite table: a single partition whose offsets are row ids, dense from 0.

pub mod check;
mod checksum;
mod counters;
mod import;
mod markers;
mod read_only;
pub(crate) mod requests;
mod rows;
mod writer;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use event_log::{AppendError, EventLog, LogBatch, MarkerLog, ReadError, ReadLimit, Unreadable};
use events::{LogId, Marker, Offset, PartitionCount, PartitionId, Position, Record};
use rusqlite::{Connection, ErrorCode, Result};
use tokio::sync::watch;
use uuid::Uuid;

use self::check::{CheckError, LogReport};
use self::counters::NumberTaken;
pub(crate) use self::counters::load as load_counter;
use self::import::{has_import, is_import_unfinished};
use self::markers::NewMarker;
pub use self::read_only::ReadOnlyLog;
use self::rows::read_rows;
pub(crate) use self::rows::{Damaged, read_record};
use self::writer::{Entry, GroupCommit, Outcome};
use crate::damage::{Content, Damage};
use crate::file_modes::create_private;
use crate::migrate::{MigrateError, log_migrations, migrate};
use crate::notes::note_clean_close;
use crate::open_error::{OpenError, advise};
use crate::projections::OpenProjectionsError;
use crate::sqlite::{Database, Durability, Readers, Writer, prepare, run_blocking};

/// The only partition.
pub(crate) const PARTITION: PartitionId = PartitionId(0);

/// Counts the events that projections have applied; `None` if there are none.
pub(crate) type Applied<'a> = dyn Fn() -> Result<Option<u64>, OpenProjectionsError> + 'a;

/// [`EventLog`] on SQLite.
#[derive(Debug)]
pub struct SqliteLog {
    log_id: Uuid,
    readers: Arc<Readers>,
    writer: GroupCommit,
    damage: Arc<Damage>,
    /// The end of the log, which every commit publishes.
    committed: Arc<watch::Sender<Offset>>,
    /// Writes what is imported.
    importer: Arc<Writer>,
    /// How many appends were refused because their number is taken.
    refusals: Arc<AtomicU64>,
}

impl SqliteLog {
    /// Opens the log at `path`. Creates a missing log, unless the projections show that a log was lost.
    pub(crate) fn open(path: PathBuf, purpose: Purpose, projections: &Applied<'_>) -> Result<Self, OpenError> {
        let database = Database::new(&path, Durability::PowerLoss);
        let prepared = prepare_file(&database, &path, purpose, projections);
        let (log_id, end) = prepared.map_err(|error| error.at(path.clone()))?;
        let damage = Damage::new(&path, Content::Log);
        let committed = Arc::new(watch::Sender::new(end));
        let writer = GroupCommit::start(Writer::new(database.clone(), &damage), Arc::clone(&committed))
            .map_err(|source| OpenError::Log { advice: advise(&source), path, source: source.into() })?;
        let importer = Arc::new(Writer::new(database.clone(), &damage));
        let readers = Arc::new(Readers::new(database, &[&damage]));
        Ok(Self { log_id, readers, writer, importer, damage, committed, refusals: Arc::default() })
    }

    /// Checks the whole file for damage on a thread of its own, while it is used.
    pub(crate) fn check_beside(&self) -> io::Result<()> {
        self.damage.check_beside()
    }

    /// Whether the next append can be expected to succeed.
    ///
    /// # Errors
    /// [`LogFault`] if the file was found damaged, or could not be written the last time.
    pub fn check_writable(&self) -> Result<(), LogFault> {
        match (self.damage.is_found(), self.is_away()) {
            (true, _) => Err(LogFault::Damaged),
            (false, true) => Err(LogFault::Away),
            (false, false) => Ok(()),
        }
    }

    /// Frees the memory of connections that have read nothing for this time. Blocks the thread.
    pub fn free_unused_memory(&self, unused_for: Duration) {
        self.readers.close_unused(unused_for);
    }

    /// The identity of this log.
    pub const fn log_id(&self) -> Uuid {
        self.log_id
    }

    /// The offset that the next record gets.
    pub(crate) fn end_offset(&self) -> Offset {
        *self.committed.borrow()
    }

    /// Reading connections, for the sequencer.
    pub(crate) fn readers(&self) -> Arc<Readers> {
        Arc::clone(&self.readers)
    }

    /// How many appends were refused because their number is taken: counters in memory may be below those of the log.
    pub(crate) fn refusals(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.refusals)
    }

    /// Checks every record that the log has now, and compares the tables beside the records with them. Calls `on_progress`
    /// with the offset that it has reached.
    ///
    /// # Errors
    /// [`CheckError`] if the file cannot be read to its end.
    pub async fn check(&self, on_progress: impl Fn(Offset) + Send + 'static) -> Result<LogReport, CheckError> {
        let readers = Arc::clone(&self.readers);
        let checked = run_blocking(move || check::check(&mut readers.connect()?, on_progress)).await;
        self.note_damage(checked)
    }

    /// Checks as [`SqliteLog::check`] does. If only counters or requests contradict the records, makes them again from the
    /// records. Call it before a sequencer has read a counter. Returns what was wrong before.
    ///
    /// # Errors
    /// [`CheckError`] if the file cannot be read to its end, or not be written.
    pub async fn remake_tables(&self, on_progress: impl Fn(Offset) + Send + 'static) -> Result<LogReport, CheckError> {
        let readers = Arc::clone(&self.readers);
        let checked = run_blocking(move || check::remake(&mut readers.connect()?, on_progress)).await;
        self.note_damage(checked)
    }

    /// Ends readiness if a check has found damage.
    fn note_damage(&self, checked: Result<LogReport>) -> Result<LogReport, CheckError> {
        match &checked {
            Ok(LogReport { damaged: 0, .. }) => {}
            Ok(report) => self.damage.report(&format!("{} records", report.damaged)),
            Err(error) => self.damage.note(error),
        }
        checked.map_err(CheckError)
    }

    /// Refuses further appends, commits the queued ones, and closes the file.
    pub async fn close(&self) {
        let damage = Arc::clone(&self.damage);
        let is_whole = run_blocking(move || Ok(damage.stop_check())).await.unwrap_or(false);
        // The writer closes last: whoever does copies the write-ahead log into the database.
        self.readers.close();
        if let Err(error) = self.importer.close() {
            tracing::warn!(%error, "the event log was not closed cleanly after an import; nothing is lost");
        }
        self.writer.close().await;
        if is_whole && let Err(error) = note_clean_close(self.damage.path()) {
            tracing::warn!(%error, "the next start checks the event log for damage, because its clean end cannot be noted");
        }
    }
}

/// Why appends fail until something changes.
#[derive(Debug, thiserror::Error)]
pub enum LogFault {
    /// The file was found damaged.
    #[error("the event log is damaged; stop tally, run tally verify, and restore the data directory from a copy")]
    Damaged,
    /// The last write failed.
    #[error("the event log cannot be written; the log of this process says why")]
    Away,
}

/// What a log is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Anything but an import, which needs a whole log.
    Use,
    /// An import, which may go on with one that has not ended.
    Import,
}

#[derive(Debug)]
enum PrepareError {
    File(io::Error),
    Query(rusqlite::Error),
    Migrate(MigrateError),
    /// The events of an import are missing.
    ImportUnfinished,
    /// The log is empty, but projections have applied so many events.
    Lost(u64),
    /// The log is empty, and whether projections have applied events is unknown.
    PerhapsLost(OpenProjectionsError),
}

impl From<rusqlite::Error> for PrepareError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Query(error)
    }
}

impl PrepareError {
    fn at(self, path: PathBuf) -> OpenError {
        match self {
            Self::File(source) => OpenError::Log { advice: advise(&source), path, source: source.into() },
            Self::Query(source) | Self::Migrate(MigrateError::Sqlite(source)) => {
                OpenError::Log { advice: advise(&source), path, source: source.into() }
            }
            Self::Migrate(source @ (MigrateError::Newer { .. } | MigrateError::Older { .. })) => {
                OpenError::LogVersion { path, source: source.into() }
            }
            Self::Migrate(source @ MigrateError::Failed(_)) => {
                OpenError::LogMigration { advice: advise(&source), path, source: source.into() }
            }
            Self::ImportUnfinished => OpenError::ImportUnfinished { path },
            Self::Lost(applied) => OpenError::LogLost { path, applied },
            Self::PerhapsLost(source) => {
                OpenError::LogPerhapsLost { advice: advise(&source), path, source: source.into() }
            }
        }
    }
}

/// Brings the schema up to date, and gives a new log its identity. Returns the identity and the log's end.
fn prepare_file(
    database: &Database,
    path: &Path,
    purpose: Purpose,
    projections: &Applied<'_>,
) -> Result<(Uuid, Offset), PrepareError> {
    if !path.try_exists().map_err(PrepareError::File)? {
        refuse_lost_log(projections)?;
        create_private(path).map_err(PrepareError::File)?;
    }
    let mut connection = database.connect()?;
    // The events of a young log are in its write-ahead log alone. Without that file SQLite finds an empty database. A
    // new identity would make the projections those of another log, and tally would delete the only sign of the lost
    // events.
    if !has_identity(&connection)? || read_end(&connection)? == Offset::START {
        refuse_lost_log(projections)?;
    }
    migrate(&mut connection, log_migrations()).map_err(PrepareError::Migrate)?;
    if purpose == Purpose::Use && is_import_unfinished(&connection)? {
        return Err(PrepareError::ImportUnfinished);
    }
    let end = read_end(&connection)?;
    let is_begun_by_import = purpose == Purpose::Import && end == Offset::START && !has_import(&connection)?;
    let log_id = identify(&connection, is_begun_by_import)?;
    connection.close().map_err(|(_, error)| error)?;
    Ok((log_id, end))
}

/// Fails if projections have applied events, because the log has none.
fn refuse_lost_log(projections: &Applied<'_>) -> Result<(), PrepareError> {
    match projections() {
        Ok(None) => Ok(()),
        Ok(Some(applied)) => Err(PrepareError::Lost(applied)),
        Err(error) => Err(PrepareError::PerhapsLost(error)),
    }
}

fn has_identity(connection: &Connection) -> Result<bool> {
    let has_table = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'identity')";
    let has_row = "SELECT EXISTS (SELECT 1 FROM identity)";
    Ok(connection.query_row(has_table, (), |row| row.get(0))? && connection.query_row(has_row, (), |row| row.get(0))?)
}

/// Reads the identity of the log; gives a new log one. A log that an import is about to begin gets one that marks its positions, because
/// positions of before the import are of another log.
fn identify(connection: &Connection, is_begun_by_import: bool) -> Result<Uuid> {
    let insert = "INSERT INTO identity (log_id) SELECT ? WHERE NOT EXISTS (SELECT 1 FROM identity)";
    connection.execute(insert, [Uuid::new_v4().as_bytes()])?;
    if is_begun_by_import {
        let marked = LogId::of_marked_log(Uuid::new_v4().into_bytes());
        connection.execute("UPDATE identity SET log_id = ? WHERE rowid = 1", [marked.0.as_bytes()])?;
    }
    connection.query_row("SELECT log_id FROM identity", (), |row| row.get(0)).map(Uuid::from_bytes)
}

/// Reads the offset that the next record gets.
fn read_end(connection: &Connection) -> Result<Offset> {
    let end: i64 =
        prepare(connection, "SELECT coalesce(max(log_offset) + 1, 0) FROM events")?.query_row((), |row| row.get(0))?;
    Ok(Offset(end.cast_unsigned()))
}

#[async_trait]
impl EventLog for SqliteLog {
    async fn append(&self, record: Record) -> Result<Position, AppendError> {
        let offset = self.append_entry(Entry::Event(record)).await?;
        Ok(Position::up_to(PARTITION, offset.next()))
    }

    async fn read(&self, partition: PartitionId, from: Offset, limit: ReadLimit) -> Result<LogBatch, ReadError> {
        if partition != PARTITION {
            return Err(ReadError::UnknownPartition(partition));
        }
        let end = self.wait_until_beyond(from, limit.wait).await;
        if from > end {
            return Err(ReadError::BeyondEnd { partition, from, end });
        }
        if from == end {
            return Ok(LogBatch::empty(from));
        }
        let readers = Arc::clone(&self.readers);
        let read = run_blocking(move || readers.read(|connection| read_rows(connection, from, end, limit.records)));
        let log_batch = read.await.map_err(|error| ReadError::Unavailable(error.into()))?;
        // Nobody but this program writes the file, so what cannot be read is damaged.
        if let Some(Unreadable { offset, reason, .. }) = log_batch.unreadable.first() {
            self.damage.report(&format!("the record at offset {offset}: {reason}"));
        }
        Ok(log_batch)
    }

    async fn end(&self) -> Result<Position, ReadError> {
        Ok(Position::up_to(PARTITION, *self.committed.borrow()))
    }

    async fn id(&self) -> Result<Option<LogId>, ReadError> {
        Ok(Some(LogId(self.log_id)))
    }

    fn is_away(&self) -> bool {
        self.writer.is_away()
    }
}

#[async_trait]
impl MarkerLog for SqliteLog {
    fn partitions(&self) -> PartitionCount {
        PartitionCount::ONE
    }

    async fn append_marker(&self, partition: PartitionId, marker: Marker) -> Result<Offset, AppendError> {
        if partition != PARTITION {
            return Err(AppendError::UnknownPartition(partition));
        }
        self.append_entry(Entry::Marker(NewMarker::new(marker))).await
    }
}

impl SqliteLog {
    /// Appends an entry once its group is committed. The first poll of the future queues it.
    async fn append_entry(&self, entry: Entry) -> Result<Offset, AppendError> {
        match self.writer.append(entry)?.await {
            Ok(Outcome::Committed(offset)) => Ok(offset),
            Ok(Outcome::Refused(NumberTaken { number, last })) => {
                self.refusals.fetch_add(1, Ordering::Release);
                Err(AppendError::NumberTaken { number, last })
            }
            // SQLite notices a full disk before all of a commit is written, and undoes it.
            Ok(Outcome::Failed(error)) if error.sqlite_error_code() == Some(ErrorCode::DiskFull) => {
                Err(AppendError::NotWritten(error.into()))
            }
            Ok(Outcome::Failed(error)) => Err(AppendError::Unacknowledged(error.into())),
            Err(_) => Err(AppendError::Unacknowledged("the writer of the log has stopped".into())),
        }
    }

    /// Waits until the log's end is not `from`, for `wait` at most; returns the end.
    async fn wait_until_beyond(&self, from: Offset, wait: Duration) -> Offset {
        let mut end = self.committed.subscribe();
        match tokio::time::timeout(wait, end.wait_for(|end| *end != from)).await {
            Ok(Ok(end)) => *end,
            // The sender lives as long as this log, so only the time can be over.
            Ok(Err(_)) | Err(_) => from,
        }
    }
}
