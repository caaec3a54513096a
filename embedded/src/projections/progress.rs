//! How far each projection has come, told to whoever waits for a position.

use std::time::Duration;

use events::{Offset, PartitionId, Position};
use read_model::{CheckpointMove, Projection};
use sqlx::{Row, SqliteConnection};
use tokio::sync::watch;

/// The checkpoints of every projection, as of the last commit.
#[derive(Debug)]
pub(super) struct Progress {
    views: watch::Sender<Position>,
    counts: watch::Sender<Position>,
    search: watch::Sender<Position>,
}

impl Progress {
    /// What the file says.
    pub(super) async fn load(connection: &mut SqliteConnection) -> Result<Self, sqlx::Error> {
        let progress = Self {
            views: watch::Sender::default(),
            counts: watch::Sender::default(),
            search: watch::Sender::default(),
        };
        for projection in Projection::ALL {
            let rows = sqlx::query("SELECT partition, next_offset FROM checkpoints WHERE projection = ?")
                .bind(projection.name())
                .fetch_all(&mut *connection)
                .await?;
            for row in rows {
                let (partition, next): (u16, i64) = (row.try_get(0)?, row.try_get(1)?);
                progress.merge(projection, &Position::up_to(PartitionId(partition), Offset(next.cast_unsigned())));
            }
        }
        Ok(progress)
    }

    /// A batch was committed.
    pub(super) fn committed(&self, projection: Projection, checkpoint_move: CheckpointMove) {
        self.merge(projection, &Position::up_to(checkpoint_move.partition, checkpoint_move.to.next));
    }

    /// Whether the projection has passed `position`, at the latest after `within`.
    pub(super) async fn reached(&self, projection: Projection, position: &Position, within: Duration) -> bool {
        let mut progress = self.of(projection).subscribe();
        // The sender lives as long as this value does, so only time can end the wait in vain.
        let waited = tokio::time::timeout(within, progress.wait_for(|progress| progress.covers(position))).await;
        matches!(waited, Ok(Ok(_)))
    }

    fn merge(&self, projection: Projection, position: &Position) {
        self.of(projection).send_modify(|progress| progress.merge(position));
    }

    fn of(&self, projection: Projection) -> &watch::Sender<Position> {
        match projection {
            Projection::Views => &self.views,
            Projection::Counts => &self.counts,
            Projection::Search => &self.search,
        }
    }
}
