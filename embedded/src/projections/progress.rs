//! Publishes each projection's checkpoints, for readers that wait for a position.

use std::time::Duration;

use events::{Offset, PartitionId, Position};
use read_model::{CheckpointMove, Projection};
use rusqlite::{Connection, Result};
use tokio::sync::watch;

use crate::sqlite::prepare;

/// The checkpoints of every projection, as of the last commit.
#[derive(Debug)]
pub(super) struct Progress {
    views: watch::Sender<Position>,
    counts: watch::Sender<Position>,
    search: watch::Sender<Position>,
}

impl Progress {
    /// Loads the checkpoints from the file.
    pub(super) fn load(connection: &Connection) -> Result<Self> {
        let progress = Self {
            views: watch::Sender::default(),
            counts: watch::Sender::default(),
            search: watch::Sender::default(),
        };
        let mut statement = prepare(connection, "SELECT partition, next_offset FROM checkpoints WHERE projection = ?")?;
        for projection in Projection::ALL {
            let mut rows = statement.query([projection.name()])?;
            while let Some(row) = rows.next()? {
                let partition = PartitionId(row.get(0)?);
                let next = Offset(row.get::<_, i64>(1)?.cast_unsigned());
                progress.publish(projection, &Position::up_to(partition, next));
            }
        }
        Ok(progress)
    }

    /// Publishes the checkpoint of a batch that was committed.
    pub(super) fn publish_commit(&self, projection: Projection, checkpoint_move: CheckpointMove) {
        self.publish(projection, &Position::up_to(checkpoint_move.partition, checkpoint_move.to.next));
    }

    /// Waits until the projection has passed `position`. Returns false if it has not after `within`.
    pub(super) async fn wait_until_reached(
        &self,
        projection: Projection,
        position: &Position,
        within: Duration,
    ) -> bool {
        let mut progress = self.select_sender(projection).subscribe();
        // The wait fails only by the timeout: the sender lives as long as `self`.
        let waited = tokio::time::timeout(within, progress.wait_for(|progress| progress.covers(position))).await;
        matches!(waited, Ok(Ok(_)))
    }

    fn publish(&self, projection: Projection, position: &Position) {
        self.select_sender(projection).send_modify(|progress| progress.merge(position));
    }

    fn select_sender(&self, projection: Projection) -> &watch::Sender<Position> {
        match projection {
            Projection::Views => &self.views,
            Projection::Counts => &self.counts,
            Projection::Search => &self.search,
        }
    }
}
