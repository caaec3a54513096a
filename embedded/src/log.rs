//! The event log in one SQLite table: a single partition whose offsets are row ids, dense from 0.

mod writer;

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use event_log::{AppendError, EventLog, LogBatch, ReadError, ReadLimit, Unreadable};
use events::{Epoch, EventId, Number, Offset, PartitionId, Position, Record, RecordedEvent, RequestKey, UnixMillis};
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{SqlitePool, SqliteRow};
use sqlx::{Connection, Row, SqliteConnection};
use tokio::sync::watch;
use uuid::Uuid;

use self::writer::{GroupCommit, Outcome};
use crate::open_error::OpenError;
use crate::projections;
use crate::sqlite::{self, Durability};

static MIGRATIONS: Migrator = sqlx::migrate!("../migrations/sqlite-log");

/// The only partition.
pub(crate) const PARTITION: PartitionId = PartitionId(0);
/// The reason of an unreadable row.
const DAMAGED: &str = "a column of its row holds a value that no release writes";
/// Reading connections: one for each projection, one for the sequencer.
const READERS: u32 = 4;

/// [`EventLog`] on SQLite.
#[derive(Debug)]
pub struct SqliteLog {
    log_id: Uuid,
    readers: SqlitePool,
    writer: GroupCommit,
    end: watch::Receiver<Offset>,
}

impl SqliteLog {
    /// Opens the log at `path`. Creates a missing log, unless the projections show that a log was lost. Must be called
    /// in a tokio runtime.
    pub(crate) async fn open(path: PathBuf, projections: &Path) -> Result<Self, OpenError> {
        let options = sqlite::connect_options(&path, Durability::PowerLoss);
        let log_id = prepare(&options, projections).await.map_err(|error| match error {
            PrepareError::Lost { applied } => OpenError::LogLost { path: path.clone(), applied },
            PrepareError::Migrate(MigrateError::Execute(source) | MigrateError::ExecuteMigration(source, _))
            | PrepareError::Query(source) => OpenError::Log { path: path.clone(), source },
            PrepareError::Migrate(source) => OpenError::LogVersion { path: path.clone(), source },
        })?;
        let unusable = |source| OpenError::Log { path: path.clone(), source };
        let readers = sqlite::connect_readers(&options, READERS).await.map_err(unusable)?;
        let next: i64 = sqlx::query_scalar("SELECT coalesce(max(log_offset) + 1, 0) FROM events")
            .fetch_one(&readers)
            .await
            .map_err(unusable)?;
        let (committed, end) = watch::channel(Offset(next.cast_unsigned()));
        Ok(Self { log_id, readers, writer: GroupCommit::start(options, committed), end })
    }

    /// The identity of this log.
    pub const fn log_id(&self) -> Uuid {
        self.log_id
    }

    /// Reading connections, for the sequencer.
    pub(crate) fn readers(&self) -> SqlitePool {
        self.readers.clone()
    }

    /// Refuses further appends, commits the queued ones, and closes the file.
    pub async fn close(&self) {
        self.writer.close().await;
        self.readers.close().await;
    }
}

#[derive(Debug, thiserror::Error)]
enum PrepareError {
    #[error(transparent)]
    Query(#[from] sqlx::Error),
    #[error(transparent)]
    Migrate(#[from] MigrateError),
    #[error("the log is empty, but projections have applied {applied} events")]
    Lost { applied: u64 },
}

/// Brings the schema up to date, gives a new log its identity, and returns the identity.
async fn prepare(options: &sqlx::sqlite::SqliteConnectOptions, projections: &Path) -> Result<Uuid, PrepareError> {
    let mut connection = SqliteConnection::connect_with(options).await?;
    // The events of a young log are in its write-ahead log alone. Without that file SQLite finds an empty database. A
    // new identity would make the projections those of another log, and tally would delete the only sign of the lost
    // events.
    if !has_identity(&mut connection).await?
        && let Some(applied) = projections::count_applied_events(projections).await
    {
        connection.close().await?;
        return Err(PrepareError::Lost { applied });
    }
    MIGRATIONS.run(&mut connection).await?;
    sqlx::query("INSERT INTO identity (log_id) SELECT ? WHERE NOT EXISTS (SELECT 1 FROM identity)")
        .bind(Uuid::new_v4().into_bytes().to_vec())
        .execute(&mut connection)
        .await?;
    let log_id: Vec<u8> = sqlx::query_scalar("SELECT log_id FROM identity").fetch_one(&mut connection).await?;
    connection.close().await?;
    Uuid::from_slice(&log_id).map_err(|error| sqlx::Error::Decode(error.into()).into())
}

async fn has_identity(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    let has_table: bool = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'identity')")
        .fetch_one(&mut *connection)
        .await?;
    Ok(has_table && sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM identity)").fetch_one(connection).await?)
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
        let rows = sqlx::query(
            "SELECT log_offset, event_id, event_type, version, occurred_at_ms, stream, number, request_key, \
             request_values, epoch, traceparent, data FROM events \
             WHERE log_offset >= ? AND log_offset < ? ORDER BY log_offset LIMIT ?",
        )
        .bind(from.0.cast_signed())
        .bind(end.0.cast_signed())
        .bind(limit.records)
        .fetch_all(&self.readers)
        .await
        .map_err(|error| ReadError::Unavailable(error.into()))?;
        let mut log_batch = LogBatch::empty(from);
        for row in &rows {
            add_row(row, &mut log_batch).map_err(|error| ReadError::Unavailable(error.into()))?;
        }
        Ok(log_batch)
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

fn add_row(row: &SqliteRow, log_batch: &mut LogBatch) -> Result<(), sqlx::Error> {
    let offset = Offset(row.try_get::<i64, _>(0)?.cast_unsigned());
    match decode_record(row) {
        Ok(Some(record)) => log_batch.events.push(RecordedEvent { partition: PARTITION, offset, record }),
        Ok(None) | Err(sqlx::Error::ColumnDecode { .. }) => {
            log_batch.unreadable.push(Unreadable { partition: PARTITION, offset, reason: DAMAGED.to_owned() });
        }
        Err(error) => return Err(error),
    }
    log_batch.next = offset.next();
    Ok(())
}

/// `None` if a column holds a value that no release writes.
fn decode_record(row: &SqliteRow) -> Result<Option<Record>, sqlx::Error> {
    let event_id = Uuid::from_slice(row.try_get(1)?).ok();
    let version: Option<u16> = row.try_get::<i64, _>(3)?.try_into().ok();
    let stream = row.try_get::<&str, _>(5)?.parse().ok();
    let number = match row.try_get::<Option<i64>, _>(6)? {
        None => Some(None),
        Some(number) => u32::try_from(number).ok().and_then(Number::new).map(Some),
    };
    let request = match (row.try_get::<Option<&[u8]>, _>(7)?, row.try_get::<Option<&[u8]>, _>(8)?) {
        (None, None) => Some(None),
        (key, values) => decode_request_key(key, values).map(Some),
    };
    let (Some(event_id), Some(version), Some(stream), Some(number), Some(request)) =
        (event_id, version, stream, number, request)
    else {
        return Ok(None);
    };
    Ok(Some(Record {
        event_id: EventId(event_id),
        event_type: row.try_get(2)?,
        version,
        occurred_at: UnixMillis(row.try_get::<i64, _>(4)?.cast_unsigned()),
        stream,
        number,
        request,
        epoch: row.try_get::<Option<i64>, _>(9)?.map(|epoch| Epoch(epoch.cast_unsigned())),
        trace: row.try_get::<Option<&str>, _>(10)?.and_then(|trace| trace.parse().ok()),
        data: row.try_get(11)?,
    }))
}

fn decode_request_key(key: Option<&[u8]>, values: Option<&[u8]>) -> Option<RequestKey> {
    Some(RequestKey { key: key?.try_into().ok()?, values: values?.try_into().ok()? })
}
