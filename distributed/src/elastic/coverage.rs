//! How far into the log what a search shows goes.

use events::{Offset, PartitionId, Position};
use read_model::Checkpoint;

use super::checkpoints;
use super::client::ElasticClient;
use super::error::ElasticError;
use super::generation::Generation;

/// What a page shows, while it is collected.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Coverage {
    /// Covers the events of the messages.
    pub(super) position: Position,
    /// Whether a message does not name its event.
    is_incomplete: bool,
}

impl Coverage {
    /// Adds the place of a message's event; `None` if the message does not name it.
    pub(super) fn add(&mut self, place: Option<(PartitionId, Offset)>) {
        match place {
            Some((partition, offset)) => self.position.extend(partition, offset.next()),
            None => self.is_incomplete = true,
        }
    }

    /// The position that covers them. Call it after the last message was found.
    ///
    /// In an index of version 1 a message does not name its event; the checkpoints that are read afterwards cover it, unless its batch is
    /// still being indexed. They are found like messages, so the index is refreshed first.
    pub(super) async fn finish(
        self,
        client: &ElasticClient,
        generation: &Generation,
    ) -> Result<Position, ElasticError> {
        let Self { mut position, is_incomplete } = self;
        if is_incomplete {
            generation.refresh(client).await?;
            let checkpoints = checkpoints::find(client, &generation.names).await?;
            position.merge(&Checkpoint::position(&checkpoints));
        }
        Ok(position)
    }
}
