//! The search index on Elasticsearch 7.17 or newer.
//!
//! | module | holds |
//! |---|---|
//! | [`error`] | why it could not be read, written or prepared |
//! | `client` | one exchange with the server, bounded in time |
//! | `index_mapping` | how an index of messages is made, and whether one that is there is made so |
//! | `generation` | which index is live |
//! | `prepare` | what must be there before the first batch |
//! | `checkpoints` | how far an index has come, kept in the index itself |
//! | `bulk` | documents going in |
//! | `search` | messages coming out |
//! | `progress` | waiting for a checkpoint |

mod bulk;
mod checkpoints;
mod client;
pub mod error;
mod generation;
mod index_mapping;
mod prepare;
mod progress;
mod search;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use events::{ChatKey, MessageNumber, PartitionId, Position};
use read_model::{
    Applied, BackendError, Checkpoint, CheckpointMove, MessageView, Page, SearchDocument, SearchError, SearchIndex,
    SearchText, Slice,
};

use self::bulk::Created;
use self::client::Server;
pub use self::error::{ElasticError, PrepareError, UrlError};
use self::generation::Generations;

/// What the names of all indices begin with, unless a test wants its own.
pub const PREFIX: &str = "tally-search";

/// [`SearchIndex`] on Elasticsearch.
///
/// Making one connects to nothing, and no exchange with the server waits for ever: one that is asked for little gets 5 s,
/// one that is sent documents half a minute. So while the server is away all calls fail, within seconds but for `index`,
/// which has several exchanges of either kind; they succeed again once it is back.
///
/// [`ElasticIndex::prepare`] must have succeeded once, from anywhere, before the others can. An index that is lost later is
/// prepared again by who asks where to go on, in `checkpoint`: the answer is the start, and the log fills it from there.
/// Nothing else makes an index.
///
/// One value serves a writer or readers, or both: what writes (`checkpoint`, `index`) stays with the generation that was
/// live when it was first needed, what reads (`reached`, `search`) follows the live one.
#[derive(Debug)]
pub struct ElasticIndex {
    server: Server,
    generations: Generations,
}

impl ElasticIndex {
    /// The index on the server at `url` (`http://host:9200`, with `user:password@` where the server wants them).
    ///
    /// # Errors
    /// If the text is no such URL. The error does not repeat it, since it may hold a password.
    pub fn new(url: &str) -> Result<Self, UrlError> {
        Self::with_prefix(url, PREFIX)
    }

    /// The same with names of its own: every index that is made or used begins with `prefix` and a hyphen.
    ///
    /// # Errors
    /// As [`ElasticIndex::new`].
    pub fn with_prefix(url: &str, prefix: &str) -> Result<Self, UrlError> {
        Ok(Self { server: Server::new(url)?, generations: Generations::new(prefix) })
    }

    /// Makes what is missing and checks what is there; any number of processes may do so at once, and again at any time.
    ///
    /// # Errors
    /// If the server does not answer or refuses, is no Elasticsearch or one too old, or has an index of the live
    /// generation's name that would find other messages than ours.
    pub async fn prepare(&self) -> Result<(), PrepareError> {
        prepare::prepare(&self.server, &self.generations).await
    }

    /// Where the next batch begins; at the start where index or pointer was lost and had to be made again.
    async fn next(&self, partition: PartitionId) -> Result<Checkpoint, BackendError> {
        match self.stored(partition).await {
            Err(error) if error.is_absence() => {
                tracing::warn!(%error, "what is missing of the search index is made again");
                self.prepare().await?;
                Ok(self.stored(partition).await?)
            }
            stored => Ok(stored?),
        }
    }

    async fn stored(&self, partition: PartitionId) -> Result<Checkpoint, ElasticError> {
        let generation = self.generations.for_writing(&self.server).await?;
        Ok(checkpoints::read(&self.server, &generation, partition).await?.checkpoint)
    }

    async fn write(
        &self,
        checkpoint_move: CheckpointMove,
        documents: &[SearchDocument],
    ) -> Result<Applied, ElasticError> {
        let generation = self.generations.for_writing(&self.server).await?;
        let stored = checkpoints::read(&self.server, &generation, checkpoint_move.partition).await?;
        if stored.checkpoint.next != checkpoint_move.from {
            return Ok(Applied::Superseded);
        }
        if !documents.is_empty() {
            if bulk::create(&self.server, &generation, documents).await? == Created::SomeBefore {
                bulk::flush(&self.server, &generation).await?;
            }
            // Also for documents that were there already: whoever wrote them may have died before this.
            bulk::refresh(&self.server, &generation).await?;
        }
        checkpoints::advance(&self.server, &generation, checkpoint_move, stored.version).await
    }

    async fn wait(&self, position: &Position, within: Duration) -> Result<bool, ElasticError> {
        let generation = self.generations.for_reading(&self.server).await?;
        let reached = progress::reached(&self.server, &generation, position, within).await;
        self.looked(&generation, reached)
    }

    async fn find(
        &self,
        chat: ChatKey,
        text: &SearchText,
        page: Page<MessageNumber>,
    ) -> Result<Slice<MessageView>, ElasticError> {
        let generation = self.generations.for_reading(&self.server).await?;
        let found = search::search(&self.server, &generation, chat, text, page).await;
        self.looked(&generation, found)
    }

    /// Passes on what a generation answered; after an error the next call looks which one is live.
    fn looked<T>(
        &self,
        generation: &Arc<generation::Generation>,
        answer: Result<T, ElasticError>,
    ) -> Result<T, ElasticError> {
        answer.inspect_err(|_| self.generations.forget(generation))
    }
}

/// Each batch costs a refresh and a checkpoint, whatever its size; one that catches up takes what the reader of the log
/// has fetched ahead, which is a few MiB at most.
const DOCUMENTS_A_BATCH: u32 = 4_096;

#[async_trait]
impl SearchIndex for ElasticIndex {
    fn batch_size(&self) -> u32 {
        DOCUMENTS_A_BATCH
    }

    async fn checkpoint(&self, partition: PartitionId) -> Result<Checkpoint, SearchError> {
        self.next(partition).await.map_err(|source| SearchError::Checkpoint { partition, source })
    }

    async fn index(
        &self,
        checkpoint_move: CheckpointMove,
        documents: Vec<SearchDocument>,
    ) -> Result<Applied, SearchError> {
        self.write(checkpoint_move, &documents)
            .await
            .map_err(|error| SearchError::Index { checkpoint_move, source: error.into() })
    }

    async fn reached(&self, position: &Position, within: Duration) -> Result<bool, SearchError> {
        self.wait(position, within).await.map_err(|error| SearchError::Search(error.into()))
    }

    async fn search(
        &self,
        chat: ChatKey,
        text: &SearchText,
        page: Page<MessageNumber>,
    ) -> Result<Slice<MessageView>, SearchError> {
        self.find(chat, text, page).await.map_err(|error| SearchError::Search(error.into()))
    }
}
