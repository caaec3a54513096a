//! Reads rows of the table of events, and notices those that are not as they were written.

use event_log::{LogBatch, Unreadable};
use events::{
    Actor, Epoch, Marker, Number, Offset, Record, RecordId, RecordedEvent, RecordedMarker, RequestKey, TraceParent,
    UnixMillis,
};
use rusqlite::types::{Type, ValueRef};
use rusqlite::{Connection, OptionalExtension, Result, Row};

use super::checksum::checksum;
use super::{PARTITION, markers};
use crate::sqlite::{decode_error, decode_event_id, is_malformed, prepare};

/// Selects the columns that a checksum covers, then the checksum, then whether the row must have one.
/// A column that a release adds comes last of those that a checksum covers; see [`checksum`].
macro_rules! select_events {
    () => {
        "SELECT log_offset, event_id, event_type, version, occurred_at_ms, stream, number, request_key, request_values, \
         epoch, traceparent, data, actor, checksum, \
         log_offset >= coalesce((SELECT first_offset FROM checksums), 0) FROM events"
    };
}

/// A batch ends with the record that brings its JSON to this many bytes, because a projection applies it in one transaction.
const MAX_BATCH_BYTES: usize = 1024 * 1024;
/// The number of columns that a checksum covers: all but the checksum.
pub(super) const COLUMNS: usize = 13;
/// The reason of a row that does not decode, although nothing contradicts its checksum.
const MALFORMED: &str = "a column of its row holds a value that no release writes";

/// Reads the records from `from` up to `end`, at most `limit` of them. Offsets are dense: a row that is missing is reported
/// as a damaged record is.
pub(super) fn read_rows(connection: &Connection, from: Offset, end: Offset, limit: u32) -> Result<LogBatch> {
    let last = end.min(Offset(from.0.saturating_add(limit.into())));
    let mut statement = prepare(
        connection,
        concat!(select_events!(), " WHERE log_offset >= ? AND log_offset < ? ORDER BY log_offset"),
    )?;
    let mut rows = statement.query((from.0.cast_signed(), last.0.cast_signed()))?;
    let mut log_batch = LogBatch::empty(from);
    let mut bytes = 0;
    while bytes < MAX_BATCH_BYTES && log_batch.next < last {
        let row = rows.next()?;
        let offset = row.map_or(Ok(last), |row| row.get(0).map(|offset: i64| Offset(offset.cast_unsigned())))?;
        let missing = (log_batch.next.0..offset.0).map(Offset);
        log_batch.unreadable.extend(missing.map(|offset| Damaged::missing().at(offset)));
        log_batch.next = offset;
        let Some(row) = row else {
            break;
        };
        match decode_row(row)? {
            Ok(Entry::Event(record)) => {
                bytes += record.data.len();
                log_batch.events.push(RecordedEvent { partition: PARTITION, offset, record });
            }
            Ok(Entry::Marker(id, marker)) => {
                log_batch.markers.push(RecordedMarker { partition: PARTITION, offset, id, marker });
            }
            Err(damaged) => log_batch.unreadable.push(damaged.at(offset)),
        }
        log_batch.next = offset.next();
    }
    Ok(log_batch)
}

/// Reads one record, which the log must have.
pub(crate) fn read_record(connection: &Connection, offset: Offset) -> Result<Result<Record, Damaged>> {
    let mut statement = prepare(connection, concat!(select_events!(), " WHERE log_offset = ?"))?;
    let entry = statement.query_row([offset.0.cast_signed()], decode_row).optional()?;
    Ok(match entry {
        Some(Ok(Entry::Event(record))) => Ok(record),
        Some(Ok(Entry::Marker(..))) => Err(Damaged("it is no event")),
        Some(Err(damaged)) => Err(damaged),
        None => Err(Damaged::missing()),
    })
}

/// A row of the log, decoded.
#[expect(clippy::large_enum_variant, reason = "it is taken apart where it is made; nearly all are events")]
enum Entry {
    Event(Record),
    Marker(RecordId, Marker),
}

/// A row of the log is not as it was written.
#[derive(Debug, thiserror::Error)]
#[error("the record is damaged: {0}")]
pub(crate) struct Damaged(&'static str);

impl Damaged {
    const fn missing() -> Self {
        Self("it is missing, although every offset below the log's end has a record")
    }

    fn at(self, offset: Offset) -> Unreadable {
        Unreadable { partition: PARTITION, offset, id: None, reason: self.0.to_owned() }
    }
}

/// Decodes a row of [`select_events`], if its checksum is right.
fn decode_row(row: &Row) -> Result<Result<Entry, Damaged>> {
    let mut columns = [ValueRef::Null; COLUMNS];
    for (index, column) in columns.iter_mut().enumerate() {
        *column = row.get_ref(index)?;
    }
    let stored: Option<u32> = match row.get(COLUMNS) {
        Ok(stored) => stored,
        Err(_) => return Ok(Err(Damaged("its checksum is no checksum"))),
    };
    let is_required: bool = row.get(COLUMNS + 1)?;
    match stored {
        None if is_required => return Ok(Err(Damaged("it has no checksum"))),
        Some(stored) if stored != checksum(&columns) => {
            return Ok(Err(Damaged("its columns do not have its checksum")));
        }
        None | Some(_) => {}
    }
    match decode_entry(row) {
        Ok(Some(entry)) => Ok(Ok(entry)),
        Ok(None) => Ok(Err(Damaged(MALFORMED))),
        Err(error) if is_malformed(&error) => Ok(Err(Damaged(MALFORMED))),
        Err(error) => Err(error),
    }
}

/// `None` if the row is neither an event nor a marker of any release.
fn decode_entry(row: &Row) -> Result<Option<Entry>> {
    match markers::decode(row)? {
        Some(marker) => Ok(marker.map(|(id, marker)| Entry::Marker(id, marker))),
        None => decode_record(row).map(|record| Some(Entry::Event(record))),
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
    let trace = row.get_ref(10)?.as_str_or_null()?.map(|trace| {
        let parsed: Result<TraceParent, _> = trace.parse();
        parsed.map_err(|error| decode_error(10, Type::Text, error))
    });
    let actor = row.get_ref(12)?.as_str_or_null()?.map(|actor| {
        let parsed: Result<Actor, _> = actor.parse();
        parsed.map_err(|error| decode_error(12, Type::Text, error))
    });
    Ok(Record {
        event_id: decode_event_id(row, 1)?,
        event_type: row.get(2)?,
        version: row.get(3)?,
        occurred_at: UnixMillis(row.get::<_, i64>(4)?.cast_unsigned()),
        stream,
        number: number.transpose()?,
        request,
        epoch: row.get::<_, Option<i64>>(9)?.map(|epoch| Epoch(epoch.cast_unsigned())),
        trace: trace.transpose()?,
        actor: actor.transpose()?,
        data: row.get(11)?,
    })
}
