//! The requests with keys that are remembered, stored in the transaction of their events.
//!
//! A request is remembered as long as its row exists. Rows are deleted by the clock of [`event_log::key_clock`], and not by
//! the time of any one event.

use event_log::KeyClock;
use events::{Offset, Record, RequestKey, UnixMillis};
use rusqlite::{Connection, OptionalExtension, Result, Row, params};

use crate::sqlite::prepare;

/// Stores the requests of appended records. Deletes up to twice as many forgotten ones, so that the table shrinks faster
/// than it grows.
pub(super) fn store(connection: &Connection, records: &[(Offset, &Record)]) -> Result<()> {
    let mut stored = 0_u32;
    let mut clock = None;
    for (offset, record) in records {
        let Some(request) = &record.request else {
            continue;
        };
        let resumed = clock.map_or_else(|| load_clock(connection), Ok)?;
        let moved = resumed.advance(record.occurred_at);
        insert(connection, request.key, *offset, moved)?;
        clock = Some(moved);
        stored += 1;
    }
    let Some(clock) = clock else {
        return Ok(());
    };
    let mut statement = prepare(
        connection,
        "DELETE FROM requests WHERE request_key IN \
         (SELECT request_key FROM requests WHERE elapsed_ms < ? ORDER BY elapsed_ms LIMIT ?)",
    )?;
    statement.execute((clock.forgotten_before_ms().cast_signed(), 2 * stored))?;
    Ok(())
}

fn insert(connection: &Connection, key: [u8; RequestKey::HASH_BYTES], offset: Offset, clock: KeyClock) -> Result<()> {
    let mut statement = prepare(
        connection,
        "INSERT INTO requests (request_key, log_offset, elapsed_ms, latest_ms) VALUES (?, ?, ?, ?) \
         ON CONFLICT (request_key) DO UPDATE SET log_offset = excluded.log_offset, \
         elapsed_ms = excluded.elapsed_ms, latest_ms = excluded.latest_ms",
    )?;
    let (elapsed_ms, latest_ms) = (clock.elapsed_ms.cast_signed(), clock.latest.0.cast_signed());
    statement.execute(params![key, offset.0.cast_signed(), elapsed_ms, latest_ms])?;
    Ok(())
}

/// Loads the state of the clock after the newest request, which is never deleted.
fn load_clock(connection: &Connection) -> Result<KeyClock> {
    let mut statement = prepare(
        connection,
        "SELECT elapsed_ms, latest_ms FROM requests WHERE elapsed_ms = (SELECT max(elapsed_ms) FROM requests) \
         ORDER BY log_offset DESC LIMIT 1",
    )?;
    Ok(statement.query_row((), decode_clock).optional()?.unwrap_or_default())
}

fn decode_clock(row: &Row) -> Result<KeyClock> {
    let [elapsed_ms, latest_ms] = [row.get::<_, i64>(0)?, row.get(1)?].map(i64::cast_unsigned);
    Ok(KeyClock { elapsed_ms, latest: UnixMillis(latest_ms) })
}

/// Finds the event of a request that is remembered.
pub(crate) fn find(connection: &Connection, key: [u8; RequestKey::HASH_BYTES]) -> Result<Option<Offset>> {
    prepare(connection, "SELECT log_offset FROM requests WHERE request_key = ?")?
        .query_row([key], |row| row.get(0).map(|offset: i64| Offset(offset.cast_unsigned())))
        .optional()
}

/// Fills the empty table from the events.
pub(crate) fn fill(connection: &Connection) -> Result<()> {
    let mut keyed = connection.prepare(
        "SELECT request_key, log_offset, occurred_at_ms FROM events WHERE length(request_key) = 32 ORDER BY log_offset",
    )?;
    let mut rows = keyed.query(())?;
    let mut clock = KeyClock::default();
    while let Some(row) = rows.next()? {
        clock = clock.advance(UnixMillis(row.get::<_, i64>(2)?.cast_unsigned()));
        insert(connection, row.get(0)?, Offset(row.get::<_, i64>(1)?.cast_unsigned()), clock)?;
    }
    connection
        .execute("DELETE FROM requests WHERE elapsed_ms < ?", [clock.forgotten_before_ms().cast_signed()])
        .map(drop)
}
