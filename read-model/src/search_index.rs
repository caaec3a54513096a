//! The port of the search index: the projection `search` writes it, the read API queries it.

use std::time::Duration;

use async_trait::async_trait;
use events::{ChatKey, MessageNumber, PartitionId, Position};

use crate::BackendError;
use crate::changes::SearchDocument;
use crate::folding::SearchText;
use crate::page::{Page, Slice};
use crate::store::{Applied, Checkpoint, CheckpointMove};
use crate::view::MessageView;

/// Finds the messages of one chat whose folded text contains exactly a folded text.
///
/// - **Covered:** once the checkpoint has passed a message, searches find it.
/// - **First come, first kept:** an indexed document is never overwritten.
/// - **Idempotent:** indexing a batch again, whole or in part, changes nothing.
#[async_trait]
pub trait SearchIndex: Send + Sync {
    /// How far `partition` is indexed; [`Checkpoint::START`] before the first batch.
    async fn checkpoint(&self, partition: PartitionId) -> Result<Checkpoint, SearchError>;

    /// The best size of a batch, in documents. Larger batches block other writers; smaller ones cost more for each
    /// document.
    fn batch_size(&self) -> u32;

    /// Indexes a batch. An index that answers [`Applied::Superseded`] may have indexed some of the documents.
    async fn index(
        &self,
        checkpoint_move: CheckpointMove,
        documents: Vec<SearchDocument>,
    ) -> Result<Applied, SearchError>;

    /// Waits until searches find every message that `position` covers. Returns false if they do not after `within`.
    async fn reached(&self, position: &Position, within: Duration) -> Result<bool, SearchError>;

    /// Finds the messages of `chat` that contain `text`, ordered by number.
    async fn search(
        &self,
        chat: ChatKey,
        text: &SearchText,
        page: Page<MessageNumber>,
    ) -> Result<Slice<MessageView>, SearchError>;
}

/// Why a call to the index failed.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// See [`SearchIndex::checkpoint`].
    #[error("the search index's checkpoint in partition {partition} cannot be read")]
    Checkpoint {
        /// The partition.
        partition: PartitionId,
        /// The adapter's error.
        #[source]
        source: BackendError,
    },
    /// See [`SearchIndex::index`].
    #[error("offsets {} to {} of partition {} cannot be indexed", .checkpoint_move.from, .checkpoint_move.to.next, .checkpoint_move.partition)]
    Index {
        /// The batch.
        checkpoint_move: CheckpointMove,
        /// The adapter's error.
        #[source]
        source: BackendError,
    },
    /// See [`SearchIndex::search`] and [`SearchIndex::reached`].
    #[error("the search index cannot be queried")]
    Search(#[source] BackendError),
}
