//! How far into the log what a search shows goes.

use events::{Offset, PartitionId, Position};
use serde::Deserialize;

use super::checkpoints;
use super::client::ElasticClient;
use super::error::ElasticError;
use super::generation::Generation;

/// The event that posted a message.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct EventOfMessage {
    pub(super) partition: u16,
    pub(super) offset: u64,
}

/// What a page shows, while it is collected.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Coverage {
    /// Covers the events of the messages.
    pub(super) position: Position,
    /// Whether a message does not name its event.
    is_incomplete: bool,
}

impl Coverage {
    pub(super) fn add(&mut self, event: Option<EventOfMessage>) {
        match event {
            Some(EventOfMessage { partition, offset }) => {
                self.position.extend(PartitionId(partition), Offset(offset).next());
            }
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
            position.merge(&checkpoints::find(client, &generation.names).await?);
        }
        Ok(position)
    }
}
