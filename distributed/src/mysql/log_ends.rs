//! When the live generation of `views` had everything that the log had. Projectors note it, readers of keys look at it.
//!
//! All times are of the clock of the server, which goes on while a projector stands still.

use std::collections::BTreeMap;
use std::time::Duration;

use events::{Offset, PartitionId};
use read_model::StoreTime;
use sqlx::Row;
use sqlx::mysql::MySqlRow;

use super::checkpoint_tx::Generation;
use super::connections::Connections;

/// The server's time, in microseconds since 1970.
macro_rules! now_us {
    () => {
        "timestampdiff(MICROSECOND, TIMESTAMP '1970-01-01 00:00:00', UTC_TIMESTAMP(6))"
    };
}

pub(super) async fn now(writers: &Connections) -> Result<StoreTime, sqlx::Error> {
    let row = writers.fetch_optional(sqlx::query(concat!("SELECT ", now_us!()))).await?;
    decode_time(&row.ok_or(sqlx::Error::RowNotFound)?, 0)
}

/// Notes that the log had nothing from `end` on at the time `at`, if the live generation has applied everything before it. The later note
/// stays, whoever writes first.
///
/// A swap between the two statements does no harm: the note is then one of the former generation, and what it says is true.
pub(super) async fn note(
    writers: &Connections,
    partition: PartitionId,
    end: Offset,
    at: StoreTime,
) -> Result<(), sqlx::Error> {
    let statement = sqlx::query(
        "SELECT generation FROM projections WHERE name = 'views' AND (? = 0 OR EXISTS (SELECT * FROM checkpoints \
         WHERE projection = 'views' AND checkpoints.generation = projections.generation \
         AND partition_id = ? AND next_offset >= ?))",
    );
    let Some(row) = writers.fetch_optional(statement.bind(end.0).bind(partition.0).bind(end.0)).await? else {
        return Ok(());
    };
    let generation = Generation(row.try_get(0)?);
    let at_us = i64::try_from(at.0.as_micros()).unwrap_or(i64::MAX);
    let statement = sqlx::query(
        "INSERT INTO log_ends (generation, partition_id, reached_at_us) VALUES (?, ?, ?) AS new \
         ON DUPLICATE KEY UPDATE reached_at_us = greatest(log_ends.reached_at_us, new.reached_at_us)",
    );
    writers.execute(statement.bind(generation.0).bind(partition.0).bind(at_us)).await.map(drop)
}

/// How long ago the generation had everything, for each partition of which that is known.
pub(super) async fn load(
    readers: &Connections,
    generation: Generation,
) -> Result<BTreeMap<PartitionId, Duration>, sqlx::Error> {
    let statement = concat!("SELECT partition_id, reached_at_us, ", now_us!(), " FROM log_ends WHERE generation = ?");
    readers.fetch_all(sqlx::query(statement).bind(generation.0)).await?.iter().map(decode).collect()
}

/// A clock that was set back makes a note of the future. Then nothing is known until it has passed.
fn decode(row: &MySqlRow) -> Result<(PartitionId, Duration), sqlx::Error> {
    let (at, now) = (decode_time(row, 1)?, decode_time(row, 2)?);
    Ok((PartitionId(row.try_get(0)?), now.0.checked_sub(at.0).unwrap_or(Duration::MAX)))
}

/// A clock of before 1970 shows 1970.
fn decode_time(row: &MySqlRow, column: usize) -> Result<StoreTime, sqlx::Error> {
    let micros: i64 = row.try_get(column)?;
    Ok(StoreTime(Duration::from_micros(u64::try_from(micros).unwrap_or_default())))
}
