//! Notes of partitions in which a projection stands still. Projectors write them, readers in other processes read them.

use events::{Offset, PartitionId};
use read_model::{Projection, StandsStill};
use sqlx::Row;
use sqlx::mysql::MySqlRow;

use super::checkpoint_tx::Generation;
use super::columns::decode_error;
use super::connections::Connections;

pub(super) async fn note(
    writers: &Connections,
    projection: Projection,
    generation: Generation,
    partition: PartitionId,
    at: Offset,
    reason: &str,
) -> Result<(), sqlx::Error> {
    let reason = StandsStill::shorten_reason(reason);
    let mut lease = writers.lease().await?;
    sqlx::query(
        "INSERT INTO stops (projection, generation, partition_id, stopped_at, reason) VALUES (?, ?, ?, ?, ?) AS new \
         ON DUPLICATE KEY UPDATE stopped_at = new.stopped_at, reason = new.reason",
    )
    .bind(projection.name())
    .bind(generation.0)
    .bind(partition.0)
    .bind(at.0)
    .bind(reason)
    .execute(&mut *lease)
    .await?;
    lease.give_back();
    Ok(())
}

/// Deletes the note of a partition, if there is one.
pub(super) async fn clear(
    writers: &Connections,
    projection: Projection,
    generation: Generation,
    partition: PartitionId,
) -> Result<(), sqlx::Error> {
    let mut lease = writers.lease().await?;
    sqlx::query("DELETE FROM stops WHERE projection = ? AND generation = ? AND partition_id = ?")
        .bind(projection.name())
        .bind(generation.0)
        .bind(partition.0)
        .execute(&mut *lease)
        .await?;
    lease.give_back();
    Ok(())
}

/// Finds a live projection that has not moved since it noted that it stands still.
pub(super) async fn find(readers: &Connections) -> Result<Option<StandsStill>, sqlx::Error> {
    let statement = sqlx::query(
        "SELECT stops.projection, stops.partition_id, reason FROM stops \
         JOIN projections ON name = stops.projection AND projections.generation = stops.generation \
         LEFT JOIN checkpoints ON checkpoints.projection = stops.projection \
         AND checkpoints.generation = stops.generation AND checkpoints.partition_id = stops.partition_id \
         WHERE stopped_at = coalesce(next_offset, 0) ORDER BY stops.projection, stops.partition_id LIMIT 1",
    );
    readers.fetch_optional(statement).await?.as_ref().map(decode).transpose()
}

fn decode(row: &MySqlRow) -> Result<StandsStill, sqlx::Error> {
    let projection =
        Projection::from_name(row.try_get(0)?).ok_or_else(|| decode_error(0, "no projection has this name"))?;
    Ok(StandsStill { projection, partition: PartitionId(row.try_get(1)?), reason: row.try_get(2)? })
}
