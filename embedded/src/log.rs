//! The event log in one SQLite table: a single partition whose offsets are row ids, dense from 0.

mod checksum;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use event_log::{AppendError, EventLog, LogBatch, ReadError, ReadLimit, Unreadable};
use events::{Epoch, Number, Offset, PartitionId, Position, Record, RecordedEvent, RequestKey, UnixMillis};
use rusqlite::types::{Type, ValueRef};
use rusqlite::{Connection, OptionalExtension, Result, Row};
use tokio::sync::watch;
use uuid::Uuid;

use self::checksum::checksum;
use self::writer::{GroupCommit, Outcome};
use crate::migrate::{self, MigrateError, migrate};
use crate::open_error::{OpenError, advise};
use crate::projections;
use crate::sqlite::{
    Database, Durability, Readers, decode_error, decode_event_id, is_malformed, prepare, run_blocking,
};

/// The only partition.
pub(crate) const PARTITION: PartitionId = PartitionId(0);
/// A batch ends with the record that brings its JSON to this many bytes, because a projection applies it in one transaction.
const MAX_BATCH_BYTES: usize = 1024 * 1024;
/// The number of columns that a checksum covers: all but the checksum.
const COLUMNS: usize = 12;
/// The reason of a row that does not decode, although nothing contradicts its checksum.
const MALFORMED: &str = "a column of its row holds a value that no release writes";

/// Selects the columns that a checksum covers, then the checksum, then whether the row must have one.
macro_rules! select_events {
    () => {
        "SELECT log_offset, event_id, event_type, version, occurred_at_ms, stream, number, request_key, request_values, \
         epoch, traceparent, data, checksum, log_offset >= (SELECT first_offset FROM checksums) FROM events"
    };
}

/// [`EventLog`] on SQLite.
#[derive(Debug)]
pub struct SqliteLog {
    log_id: Uuid,
    readers: Arc<Readers>,
    writer: GroupCommit,
    end: watch::Receiver<Offset>,
}

impl SqliteLog {
    /// Opens the log at `path`. Creates a missing log, unless the projections show that a log was lost.
    pub(crate) fn open(path: PathBuf, projections: &Path) -> Result<Self, OpenError> {
        let database = Database::new(&path, Durability::PowerLoss);
        let (log_id, end) = prepare_file(&database, projections).map_err(|error| match error {
            PrepareError::Lost { applied } => OpenError::LogLost { path: path.clone(), applied },
            PrepareError::Migrate(source @ (MigrateError::Newer { .. } | MigrateError::Migration(_))) => {
                OpenError::LogVersion { path: path.clone(), source: source.into() }
            }
            PrepareError::Migrate(MigrateError::Sqlite(source)) | PrepareError::Query(source) => {
                OpenError::Log { advice: advise(&source), path: path.clone(), source: source.into() }
            }
        })?;
        let (committed, end) = watch::channel(end);
        let writer = GroupCommit::start(database.clone(), committed).map_err(|source| OpenError::Log {
            advice: advise(&source),
            path,
            source: source.into(),
        })?;
        Ok(Self { log_id, readers: Arc::new(Readers::new(database)), writer, end })
    }

    /// The identity of this log.
    pub const fn log_id(&self) -> Uuid {
        self.log_id
    }

    /// Reading connections, for the sequencer.
    pub(crate) fn readers(&self) -> Arc<Readers> {
        Arc::clone(&self.readers)
    }

    /// Refuses further appends, commits the queued ones, and closes the file.
    pub async fn close(&self) {
        // The writer closes last: whoever does copies the write-ahead log into the database.
        self.readers.close();
        self.writer.close().await;
    }
}

#[derive(Debug, thiserror::Error)]
enum PrepareError {
    #[error(transparent)]
    Query(#[from] rusqlite::Error),
    #[error(transparent)]
    Migrate(#[from] MigrateError),
    #[error("the log is empty, but projections have applied {applied} events")]
    Lost { applied: u64 },
}

/// Brings the schema up to date, and gives a new log its identity. Returns the identity and the log's end.
fn prepare_file(database: &Database, projections: &Path) -> Result<(Uuid, Offset), PrepareError> {
    let mut connection = database.connect()?;
    // The events of a young log are in its write-ahead log alone. Without that file SQLite finds an empty database. A
    // new identity would make the projections those of another log, and tally would delete the only sign of the lost
    // events.
    if !has_identity(&connection)?
        && let Some(applied) = projections::count_applied_events(projections)
    {
        return Err(PrepareError::Lost { applied });
    }
    migrate(&mut connection, migrate::LOG)?;
    let identify = "INSERT INTO identity (log_id) SELECT ? WHERE NOT EXISTS (SELECT 1 FROM identity)";
    connection.execute(identify, [Uuid::new_v4().as_bytes()])?;
    let log_id = connection.query_row("SELECT log_id FROM identity", (), |row| row.get(0))?;
    let end = read_end(&connection)?;
    connection.close().map_err(|(_, error)| error)?;
    Ok((Uuid::from_bytes(log_id), end))
}

fn has_identity(connection: &Connection) -> Result<bool> {
    let has_table = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'identity')";
    let has_row = "SELECT EXISTS (SELECT 1 FROM identity)";
    Ok(connection.query_row(has_table, (), |row| row.get(0))? && connection.query_row(has_row, (), |row| row.get(0))?)
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
        let offset = match self.writer.append(record)?.await {
            Ok(Outcome::Committed(offset)) => offset,
            Ok(Outcome::Failed(error)) => return Err(AppendError::Unacknowledged(error.into())),
            Err(_) => return Err(AppendError::Unacknowledged("the writer of the log has stopped".into())),
        };
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
        read.await.map_err(|error| ReadError::Unavailable(error.into()))
    }

    async fn end(&self) -> Result<Position, ReadError> {
        Ok(Position::up_to(PARTITION, *self.end.borrow()))
    }
}

impl SqliteLog {
    /// Waits until the log's end is not `from`, for `wait` at most; returns the end.
    async fn wait_until_beyond(&self, from: Offset, wait: Duration) -> Offset {
        let mut end = self.end.clone();
        match tokio::time::timeout(wait, end.wait_for(|end| *end != from)).await {
            Ok(Ok(end)) => *end,
            // The writer has stopped, so the end does not move any more.
            Ok(Err(_)) => *self.end.borrow(),
            Err(_) => from,
        }
    }
}

fn read_rows(connection: &Connection, from: Offset, end: Offset, limit: u32) -> Result<LogBatch> {
    let mut statement = prepare(
        connection,
        concat!(select_events!(), " WHERE log_offset >= ? AND log_offset < ? ORDER BY log_offset LIMIT ?"),
    )?;
    let mut rows = statement.query((from.0.cast_signed(), end.0.cast_signed(), limit))?;
    let mut log_batch = LogBatch::empty(from);
    let mut bytes = 0;
    while bytes < MAX_BATCH_BYTES
        && let Some(row) = rows.next()?
    {
        let offset = Offset(row.get::<_, i64>(0)?.cast_unsigned());
        match decode_row(row)? {
            Ok(record) => {
                bytes += record.data.len();
                log_batch.events.push(RecordedEvent { partition: PARTITION, offset, record });
            }
            Err(Damaged(reason)) => log_batch.unreadable.push(Unreadable { partition: PARTITION, offset, reason }),
        }
        log_batch.next = offset.next();
    }
    Ok(log_batch)
}

/// Reads one record, which the log must have.
pub(crate) fn read_record(connection: &Connection, offset: Offset) -> Result<Result<Record, Damaged>> {
    let mut statement = prepare(connection, concat!(select_events!(), " WHERE log_offset = ?"))?;
    let record = statement.query_row([offset.0.cast_signed()], decode_row).optional()?;
    Ok(record.unwrap_or_else(|| Err(Damaged("it is missing".to_owned()))))
}

/// A row of the log is not as it was written.
#[derive(Debug, thiserror::Error)]
#[error("the record is damaged: {0}")]
pub(crate) struct Damaged(String);

/// Decodes a row of [`select_events`], if its checksum is right.
fn decode_row(row: &Row) -> Result<Result<Record, Damaged>> {
    let mut columns = [ValueRef::Null; COLUMNS];
    for (index, column) in columns.iter_mut().enumerate() {
        *column = row.get_ref(index)?;
    }
    let stored: Option<u32> = match row.get(COLUMNS) {
        Ok(stored) => stored,
        Err(_) => return Ok(Err(Damaged("its checksum is no checksum".to_owned()))),
    };
    let is_required: bool = row.get(COLUMNS + 1)?;
    match stored {
        None if is_required => return Ok(Err(Damaged("it has no checksum".to_owned()))),
        Some(stored) if stored != checksum(columns) => {
            return Ok(Err(Damaged("its columns do not have its checksum".to_owned())));
        }
        None | Some(_) => {}
    }
    match decode_record(row) {
        Ok(record) => Ok(Ok(record)),
        Err(error) if is_malformed(&error) => Ok(Err(Damaged(MALFORMED.to_owned()))),
        Err(error) => Err(error),
    }
}

fn decode_record(row: &Row) -> Result<Record> {
    let request = match (row.get(7)?, row.get(8)?) {
        (None, None) => None,
        (Some(key), Some(values)) => Some(RequestKey { key, values }),
        (Some(_), None) | (None, Some(_)) => return Err(decode_error(7, Type::Blob, "half of a request's hashes")),
    };
    let number = row.get::<_, Option<u32>>(6)?.map(|number| {
        Number::new(number).ok_or_else(|| decode_error(6, Type::Integer, "not a number of a chat or a message"))
    });
    let stream = row.get_ref(5)?.as_str()?.parse().map_err(|error| decode_error(5, Type::Text, error))?;
    Ok(Record {
        event_id: decode_event_id(row, 1)?,
        event_type: row.get(2)?,
        version: row.get(3)?,
        occurred_at: UnixMillis(row.get::<_, i64>(4)?.cast_unsigned()),
        stream,
        number: number.transpose()?,
        request,
        epoch: row.get::<_, Option<i64>>(9)?.map(|epoch| Epoch(epoch.cast_unsigned())),
        trace: row.get_ref(10)?.as_str_or_null()?.and_then(|trace| trace.parse().ok()),
        data: row.get(11)?,
    })
}
