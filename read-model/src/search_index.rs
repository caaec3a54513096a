//! The port of the search index: written by the projection `search`, asked by the read API.

use std::time::Duration;

use async_trait::async_trait;
use events::{ChatKey, MessageNumber, PartitionId, Position};

use crate::BackendError;
use crate::changes::SearchDocument;
use crate::folding::SearchText;
use crate::page::{Page, Slice};
use crate::store::{Applied, Checkpoint, CheckpointMove};
use crate::view::MessageView;

/// Finds the messages of one chat whose folded text contains a folded text, to the letter.
///
/// - **Covered:** once a checkpoint is read as moved past a message, searches find it.
/// - **First come, first kept:** a document that is there is never overwritten.
/// - Applying a batch again, whole or in part, changes nothing.
#[async_trait]
pub trait SearchIndex: Send + Sync {
    /// What of `partition` is indexed; [`Checkpoint::START`] before the first batch.
    async fn checkpoint(&self, partition: PartitionId) -> Result<Checkpoint, SearchError>;

    /// Documents that a batch had best have at most: more would hold up others, fewer would cost more each.
    fn batch_size(&self) -> u32;

    /// Indexes a batch. With [`Applied::Superseded`] some of the documents may have been indexed all the same.
    async fn index(
        &self,
        checkpoint_move: CheckpointMove,
        documents: Vec<SearchDocument>,
    ) -> Result<Applied, SearchError>;

    /// Waits until everything that `position` covers is found: true once it is, false if it is not after `within`.
    async fn reached(&self, position: &Position, within: Duration) -> Result<bool, SearchError>;

    /// The messages of `chat` that contain `text`, by number.
    async fn search(
        &self,
        chat: ChatKey,
        text: &SearchText,
        page: Page<MessageNumber>,
    ) -> Result<Slice<MessageView>, SearchError>;
}

/// Why the index could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// See [`SearchIndex::checkpoint`].
    #[error("the search index's checkpoint in partition {partition} cannot be read")]
    Checkpoint {
        /// In which partition.
        partition: PartitionId,
        /// What went wrong.
        #[source]
        source: BackendError,
    },
    /// See [`SearchIndex::index`].
    #[error("offsets {} to {} of partition {} cannot be indexed", .checkpoint_move.from, .checkpoint_move.to.next, .checkpoint_move.partition)]
    Index {
        /// Which batch.
        checkpoint_move: CheckpointMove,
        /// What went wrong.
        #[source]
        source: BackendError,
    },
    /// See [`SearchIndex::search`].
    #[error("the search index cannot be asked")]
    Search(#[source] BackendError),
}
