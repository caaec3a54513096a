//! Publishes each projection's checkpoints, for readers that wait for a position.

use std::time::Duration;

use events::Position;
use read_model::{CheckpointMove, Projection};
use tokio::sync::watch;

/// The checkpoints of every projection, as of the last commit.
#[derive(Debug, Default)]
pub(super) struct Progress {
    views: watch::Sender<Position>,
    counts: watch::Sender<Position>,
    search: watch::Sender<Position>,
}

impl Progress {
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

    /// Waits until the projection has passed `seen` anywhere, for `within` at most, and returns how far it is.
    pub(super) async fn wait_until_passed(
        &self,
        projection: Projection,
        seen: &Position,
        within: Duration,
    ) -> Position {
        let mut progress = self.select_sender(projection).subscribe();
        // After the timeout it is where it is.
        drop(tokio::time::timeout(within, progress.wait_for(|progress| !seen.covers(progress))).await);
        self.position(projection)
    }

    /// Publishes how far a projection is. It never steps back.
    pub(super) fn publish(&self, projection: Projection, position: &Position) {
        self.select_sender(projection).send_modify(|progress| progress.merge(position));
    }

    /// How far a projection is.
    pub(super) fn position(&self, projection: Projection) -> Position {
        self.select_sender(projection).borrow().clone()
    }

    fn select_sender(&self, projection: Projection) -> &watch::Sender<Position> {
        match projection {
            Projection::Views => &self.views,
            Projection::Counts => &self.counts,
            Projection::Search => &self.search,
        }
    }
}
