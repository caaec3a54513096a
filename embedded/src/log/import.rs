//! Imports into the log: blocks of events, each in one transaction, and marks in a table beside the events.

use std::sync::Arc;

use async_trait::async_trait;
use event_log::{AppendError, EventLog, ImportLog, LastImport, ReadError};
use events::{ImportMark, ImportPhase, LogDigest, Offset, PartitionId, Position, Record, StreamKey};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Result, params};

use super::counters::Counters;
use super::writer::insert_events;
use super::{PARTITION, SqliteLog, read_end, requests};
use crate::sqlite::{decode_error, prepare, run_blocking};

/// An import mark does not fit the log.
#[derive(Debug, thiserror::Error)]
#[error("the mark of the import is for a log that ends at {expected}, and this one ends at {end}")]
struct MisplacedMark {
    expected: Offset,
    end: Offset,
}

#[async_trait]
impl ImportLog for SqliteLog {
    fn partition_of(&self, _stream: &StreamKey) -> PartitionId {
        PARTITION
    }

    /// Appends all events or none.
    async fn append_imported(&self, records: Vec<Record>) -> std::result::Result<Position, AppendError> {
        let (importer, committed) = (Arc::clone(&self.importer), Arc::clone(&self.committed));
        let appended = run_blocking(move || {
            let end = importer.transact(|connection| append(connection, &records).map(Some))?;
            end.map(|end| committed.send_replace(end));
            Ok(end)
        });
        match appended.await {
            Ok(Some(end)) => Ok(Position::up_to(PARTITION, end)),
            Ok(None) => Err(AppendError::Closed),
            Err(error) => Err(AppendError::Unacknowledged(error.into())),
        }
    }

    async fn append_import_mark(&self, mark: ImportMark) -> std::result::Result<(), AppendError> {
        let end = self.end().await.map_err(|error| AppendError::Unacknowledged(error.into()))?.bound(PARTITION);
        let expected = mark.end.bound(PARTITION);
        if expected != end {
            return Err(AppendError::Unacknowledged(MisplacedMark { expected, end }.into()));
        }
        let importer = Arc::clone(&self.importer);
        let inserted = run_blocking(move || importer.transact(|connection| insert_mark(connection, &mark).map(Some)));
        inserted.await.map(drop).map_err(|error| AppendError::Unacknowledged(error.into()))
    }

    async fn last_import(&self) -> std::result::Result<Option<LastImport>, ReadError> {
        let readers = Arc::clone(&self.readers);
        let mark = run_blocking(move || readers.read(load_last_mark)).await;
        let mark = mark.map_err(|error| ReadError::Unavailable(error.into()))?;
        Ok(mark.map(|mark| LastImport { next: mark.end.clone(), mark }))
    }
}

/// Appends the events as they are. Returns the log's new end.
fn append(connection: &Connection, records: &[Record]) -> Result<Offset> {
    let begin = read_end(connection)?;
    let mut counters = Counters::new(connection);
    for record in records {
        counters.raise_imported(record)?;
    }
    let placed: Vec<_> = (begin.0..).map(Offset).zip(records).collect();
    insert_events(connection, &placed)?;
    counters.store()?;
    requests::store(connection, &placed)?;
    Ok(Offset(begin.0 + records.len() as u64))
}

fn insert_mark(connection: &Connection, mark: &ImportMark) -> Result<()> {
    let mut statement = prepare(
        connection,
        "INSERT INTO import_marks (phase, before_digest, through_digest, log_offset) VALUES (?, ?, ?, ?)",
    )?;
    let offset = mark.end.bound(PARTITION).0.cast_signed();
    let parameters = params![mark.phase.wire_name(), mark.before.as_bytes(), mark.through.as_bytes(), offset];
    statement.execute(parameters).map(drop)
}

/// Whether an import has begun, and has not ended.
pub(super) fn is_import_unfinished(connection: &Connection) -> Result<bool> {
    Ok(load_last_mark(connection)?.is_some_and(|mark| mark.phase == ImportPhase::Began))
}

/// Whether an import has begun, perhaps long ago.
pub(super) fn has_import(connection: &Connection) -> Result<bool> {
    Ok(load_last_mark(connection)?.is_some())
}

fn load_last_mark(connection: &Connection) -> Result<Option<ImportMark>> {
    let mut statement = prepare(
        connection,
        "SELECT phase, before_digest, through_digest, log_offset FROM import_marks \
         WHERE mark = (SELECT max(mark) FROM import_marks)",
    )?;
    let mark = statement.query_row((), |row| {
        let phase = ImportPhase::from_wire_name(row.get_ref(0)?.as_str()?);
        Ok(ImportMark {
            phase: phase.ok_or_else(|| decode_error(0, Type::Text, "not a phase of an import"))?,
            before: LogDigest::from_bytes(row.get(1)?),
            through: LogDigest::from_bytes(row.get(2)?),
            end: Position::up_to(PARTITION, Offset(row.get::<_, i64>(3)?.cast_unsigned())),
        })
    });
    mark.optional()
}
