//! How far into the log what a read shows goes.

use std::collections::BTreeSet;

use events::{Offset, PartitionId, Position};
use read_model::Projection;
use sqlx::Row;
use sqlx::mysql::MySqlRow;

use super::checkpoint_tx::Generation;
use super::connections::Connections;

/// Collects the events that rows show, while they are read.
///
/// A row that an earlier release has written does not name its event. Its batch has moved a checkpoint in the same transaction, and
/// checkpoints only move on. So the checkpoints that are read after the row cover its event.
#[derive(Debug, Default)]
pub(super) struct Coverage {
    position: Position,
    /// The generations with such rows.
    unplaced: BTreeSet<(Projection, u32)>,
}

impl Coverage {
    /// Adds an event of a row. `None` if the row does not name it.
    pub(super) fn add(
        &mut self,
        (projection, generation): (Projection, Generation),
        partition: Option<PartitionId>,
        offset: Option<Offset>,
    ) {
        if let (Some(partition), Some(offset)) = (partition, offset) {
            self.position.extend(partition, offset.next());
        } else {
            self.unplaced.insert((projection, generation.0));
        }
    }

    /// The position that covers all of them. Call it after the last row was read.
    pub(super) async fn finish(mut self, readers: &Connections) -> Result<Position, sqlx::Error> {
        for (projection, generation) in self.unplaced {
            let checkpoints = load_checkpoints(readers, projection, Generation(generation)).await?;
            self.position.merge(&checkpoints);
        }
        Ok(self.position)
    }
}

/// Loads the checkpoints of a generation.
pub(super) async fn load_checkpoints(
    readers: &Connections,
    projection: Projection,
    generation: Generation,
) -> Result<Position, sqlx::Error> {
    let statement =
        sqlx::query("SELECT partition_id, next_offset FROM checkpoints WHERE projection = ? AND generation = ?")
            .bind(projection.name())
            .bind(generation.0);
    let mut position = Position::default();
    for row in readers.fetch_all(statement).await? {
        position.extend(PartitionId(row.try_get(0)?), Offset(row.try_get(1)?));
    }
    Ok(position)
}

/// Decodes a column `partition_id`, which is NULL in what earlier releases wrote.
pub(super) fn decode_partition(row: &MySqlRow, column: usize) -> Result<Option<PartitionId>, sqlx::Error> {
    row.try_get::<Option<u16>, _>(column).map(|partition| partition.map(PartitionId))
}

/// Decodes a column `log_offset`, which is NULL in what earlier releases wrote.
pub(super) fn decode_offset(row: &MySqlRow, column: usize) -> Result<Option<Offset>, sqlx::Error> {
    row.try_get::<Option<u64>, _>(column).map(|offset| offset.map(Offset))
}
