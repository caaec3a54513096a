//! The port of the search index: the projection `search` writes it, the read API queries it.

use std::time::Duration;

use async_trait::async_trait;
use events::{ChatKey, MessageNumber, Offset, PartitionId, Position};

use crate::BackendError;
use crate::changes::SearchDocument;
use crate::folding::SearchText;
use crate::page::{Page, Slice};
use crate::shown::Shown;
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

    /// How many searches the index runs at once. Further ones wait.
    fn concurrent_searches(&self) -> usize;

    /// Indexes a batch. An index that answers [`Applied::Superseded`] may have indexed some of the documents.
    async fn index(
        &self,
        checkpoint_move: CheckpointMove,
        documents: Vec<SearchDocument>,
    ) -> Result<Applied, SearchError>;

    /// Notes that the index cannot go on in `partition` at its checkpoint `at`; see [`StandsStill`](crate::StandsStill). An index
    /// whose readers are in the projector's process may do nothing.
    async fn note_stop(&self, _partition: PartitionId, _at: Offset, _reason: &str) -> Result<(), SearchError> {
        Ok(())
    }

    /// Deletes the note of [`SearchIndex::note_stop`], if there is one: the index goes on in `partition`.
    async fn clear_stop(&self, _partition: PartitionId) -> Result<(), SearchError> {
        Ok(())
    }

    /// Waits until searches find every message that `position` covers. Returns false if they do not after `within`.
    async fn reached(&self, position: &Position, within: Duration) -> Result<bool, SearchError>;

    /// Finds the messages of `chat` that contain `text`, ordered by number. Examines a bounded part of the chat.
    ///
    /// The position covers the events of the messages that are found. An index of version 1 does not name them: of such a message it
    /// covers no more than the index's checkpoints.
    async fn search(
        &self,
        chat: ChatKey,
        text: &SearchText,
        page: Page<MessageNumber>,
    ) -> Result<Shown<SearchPage>, SearchError>;
}

/// The result of a search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchPage {
    /// The messages in the cursor's direction: descending for [`Cursor::Before`](crate::Cursor::Before) and
    /// [`Cursor::Last`](crate::Cursor::Last).
    pub items: Vec<MessageView>,
    /// The last message that was examined. The next page begins beyond it. `None` if nothing remains to be examined.
    ///
    /// A page may end before it is full, even without items, because a search examines a bounded number of messages.
    pub examined_to: Option<MessageNumber>,
}

impl From<Slice<MessageView>> for SearchPage {
    /// A page that ends with its last item.
    fn from(slice: Slice<MessageView>) -> Self {
        let examined_to = slice.items.last().filter(|_| slice.more).map(|message| message.number);
        Self { items: slice.items, examined_to }
    }
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
    /// See [`SearchIndex::note_stop`] and [`SearchIndex::clear_stop`].
    #[error("it cannot be noted whether search stands still in partition {partition}")]
    NoteStop {
        /// The partition.
        partition: PartitionId,
        /// The adapter's error.
        #[source]
        source: BackendError,
    },
    /// See [`SearchIndex::search`] and [`SearchIndex::reached`].
    #[error("the search index cannot be queried")]
    Search(#[source] BackendError),
}
