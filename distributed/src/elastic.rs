//! The search index on Elasticsearch 7.17 or newer.
//!
//! | module | holds |
//! |---|---|
//! | [`error`] | why the index could not be read, written or prepared |
//! | `redact` | cuts tokens out of a server's text |
//! | `client` | one exchange with the server, bounded in time |
//! | `index_names` | names of indices and aliases |
//! | `index_version` | how the texts of an index are folded, and what its documents have |
//! | `index_mapping` | settings and mapping of the indices, and whether an existing index has them |
//! | `pointer`, `document_version` | the document that names the live generation; conditional writes |
//! | [`generations`] | begins, swaps and deletes generations |
//! | `operating` | compares the live index with one that is made anew, and pauses it |
//! | `document_scroll`, `own_text` | all documents of an index; whether searches find them |
//! | `write_block` | stops the writers of the live index during a swap |
//! | `prepare` | creates what is missing before the first batch |
//! | `bulk` | writes documents |
//! | `checkpoints` | how far an index has come, kept in the index itself |
//! | `search`, `coverage` | finds messages; how far into the log that goes |
//! | `checkpoint_poll` | waits for a checkpoint |
//! | `generation` | the live state of one generation |
//! | `generation_cache` | which generation this process writes and which one it reads |

mod bulk;
mod checkpoint_poll;
mod checkpoints;
mod client;
mod coverage;
mod document_scroll;
mod document_version;
pub mod error;
mod generation;
mod generation_cache;
pub mod generations;
mod index_mapping;
mod index_names;
mod index_version;
mod operating;
mod own_text;
mod pointer;
mod prepare;
mod redact;
mod search;
mod write_block;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use events::{ChatKey, MessageNumber, Offset, PartitionId, Position};
use parking_lot::Mutex;
use read_model::{
    Applied, BackendError, Checkpoint, CheckpointMove, Page, SearchDocument, SearchError, SearchIndex, SearchPage,
    SearchText, Shown, StandsStill,
};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use self::bulk::BulkOutcome;
use self::client::ElasticClient;
pub use self::client::check_url;
pub use self::error::{BuildError, ElasticError, PrepareError, UrlError};
use self::generation::Generation;
use self::generation_cache::GenerationCache;
pub use self::generations::ElasticGenerations;
use self::write_block::BlockWatch;

/// Prefix of all index names, unless a test chooses another.
pub const PREFIX: &str = "tally-search";

/// Searches that run at the same time, so that the server has threads left for others. Further ones wait.
const CONCURRENT_SEARCHES: usize = 4;

/// Longest wait of a batch for the end of a swap, before its caller has to try again. A swap takes less.
const SWAP_WAIT: Duration = Duration::from_secs(3);
/// Pause between two looks at the swap.
const SWAP_POLL: Duration = Duration::from_millis(50);

/// [`SearchIndex`] on Elasticsearch.
///
/// A new value connects to nothing, and every exchange with the server is bounded: a small one by 5 s, one that sends
/// documents by half a minute. So all calls fail while the server is away, and succeed again once it is back. They fail
/// within seconds, except `index`, which has several exchanges of both kinds.
///
/// [`ElasticIndex::prepare`] must have succeeded once, in any process, before the other calls can. If the index is lost
/// later, `checkpoint` prepares it again and returns the start, so that its caller fills it from the log. No other call
/// creates an index.
///
/// One value serves a writer, readers, or both. All calls follow the live generation.
#[derive(Debug)]
pub struct ElasticIndex {
    client: ElasticClient,
    generations: GenerationCache,
    searches: Semaphore,
    block_watch: Mutex<BlockWatch>,
}

impl ElasticIndex {
    /// The index on the server at `url` (`http://host:9200`, with `user:password@` if the server requires them).
    ///
    /// # Errors
    /// If `url` is no such URL. The error does not repeat it, since it may hold a password.
    pub fn new(url: &str) -> Result<Self, UrlError> {
        Self::with_prefix(url, PREFIX)
    }

    /// The same with other names: the name of every index that it creates or uses begins with `prefix` and a hyphen.
    pub fn with_prefix(url: &str, prefix: &str) -> Result<Self, UrlError> {
        Ok(Self::with_generations(ElasticClient::new(url)?, GenerationCache::new(prefix)))
    }

    /// Reads and writes these generations.
    fn with_generations(client: ElasticClient, generations: GenerationCache) -> Self {
        let searches = Semaphore::new(CONCURRENT_SEARCHES);
        Self { client, generations, searches, block_watch: Mutex::default() }
    }

    /// Creates the indices that are missing and checks those that exist. Any number of processes may call it at once,
    /// and again at any time.
    ///
    /// # Errors
    /// If the server does not answer, refuses a request, is another product than Elasticsearch or too old, or has an
    /// index of the live generation's name that would find other messages than ours.
    pub async fn prepare(&self) -> Result<(), PrepareError> {
        prepare::prepare(&self.client, self.generations.prefix()).await
    }

    /// Reads the checkpoint. If the index or the pointer was lost, creates it again first, and then reads the start.
    async fn read_or_prepare(&self, partition: PartitionId) -> Result<Checkpoint, BackendError> {
        match self.read_checkpoint(partition).await {
            Err(error) if error.needs_prepare() && !self.generations.is_of_build() => {
                tracing::warn!(%error, "preparing the search index again");
                self.prepare().await?;
                Ok(self.read_checkpoint(partition).await?)
            }
            checkpoint => Ok(checkpoint?),
        }
    }

    async fn read_checkpoint(&self, partition: PartitionId) -> Result<Checkpoint, ElasticError> {
        let generation = self.generations.for_writing(&self.client).await?;
        let checkpoint = checkpoints::read(&self.client, &generation.names, partition).await?.checkpoint;
        if checkpoint.next == Checkpoint::START.next {
            // The index may have been lost and made again, under its number but for another version.
            self.generations.expire_for_writers(&generation);
        }
        Ok(checkpoint)
    }

    async fn write_batch(
        &self,
        checkpoint_move: CheckpointMove,
        documents: Vec<SearchDocument>,
    ) -> Result<Applied, ElasticError> {
        let generation = self.generations.for_writing(&self.client).await?;
        if self.generations.is_paused() {
            return Ok(Applied::Superseded);
        }
        match self.write_batch_to(&generation, checkpoint_move, documents).await {
            Err(blocked @ ElasticError::Blocked { .. }) if !self.generations.is_of_build() => {
                self.wait_for_swap(&generation, blocked).await
            }
            written => written,
        }
    }

    async fn write_batch_to(
        &self,
        generation: &Generation,
        checkpoint_move: CheckpointMove,
        documents: Vec<SearchDocument>,
    ) -> Result<Applied, ElasticError> {
        let stored = checkpoints::read(&self.client, &generation.names, checkpoint_move.partition).await?;
        if stored.checkpoint.next != checkpoint_move.from {
            return Ok(Applied::Superseded);
        }
        if !documents.is_empty() {
            let format = generation.format()?;
            let partition = checkpoint_move.partition;
            let outcome = bulk::create(&self.client, &generation.names, format, partition, documents).await?;
            if outcome == BulkOutcome::SomeExisted {
                generation.flush(&self.client).await?;
            }
            // Needed even if all documents existed: the process that wrote them may have died before its refresh.
            generation.refresh(&self.client).await?;
        }
        checkpoints::advance(&self.client, &generation.names, checkpoint_move, stored.version).await
    }

    /// Checks that the index stands still in none of these partitions because a newer version has written to the log. What an index
    /// that does not answer does is not known, and so no error: its searches fail, and nothing else does.
    ///
    /// # Errors
    /// Where and why it stands still.
    pub async fn check(self: Arc<Self>, partitions: BTreeSet<PartitionId>) -> Result<(), StandsStill> {
        match self.find_stop(&partitions).await {
            Ok(found) => found.map_or(Ok(()), Err),
            Err(error) => {
                tracing::debug!(%error, "it is not known whether search stands still");
                Ok(())
            }
        }
    }

    async fn find_stop(&self, partitions: &BTreeSet<PartitionId>) -> Result<Option<StandsStill>, ElasticError> {
        let generation = self.generations.for_reading(&self.client).await?;
        let found = checkpoints::find_stop(&self.client, &generation.names, partitions).await;
        self.expire_on_error(&generation, found)
    }

    /// Notes a stop, unless the checkpoint is another one: then another process has gone on.
    async fn write_stop(&self, partition: PartitionId, at: Offset, reason: &str) -> Result<(), ElasticError> {
        let generation = self.generations.for_writing(&self.client).await?;
        let stored = checkpoints::read(&self.client, &generation.names, partition).await?;
        if stored.checkpoint.next == at {
            let _superseded =
                checkpoints::note_stop(&self.client, &generation.names, partition, stored, reason).await?;
        }
        Ok(())
    }

    /// Deletes the note of a stop. A checkpoint that has moved meanwhile has none.
    async fn clear_noted_stop(&self, partition: PartitionId) -> Result<(), ElasticError> {
        let generation = self.generations.for_writing(&self.client).await?;
        let stored = checkpoints::read(&self.client, &generation.names, partition).await?;
        if stored.is_stopped {
            let _superseded = checkpoints::clear_stop(&self.client, &generation.names, partition, stored).await?;
        }
        Ok(())
    }

    /// Waits for the end of the swap for which an index takes no writes. The caller of the batch then reads the checkpoint and goes
    /// on, in whichever generation is live. Lifts the block if the process that has set it is away.
    async fn wait_for_swap(
        &self,
        generation: &Arc<Generation>,
        blocked: ElasticError,
    ) -> Result<Applied, ElasticError> {
        let deadline = Instant::now() + SWAP_WAIT;
        let (client, names, prefix) = (&self.client, &generation.names, self.generations.prefix());
        loop {
            let state = pointer::read(client, prefix).await?.ok_or(ElasticError::NotPrepared)?;
            if state.pointer.generation != names.generation {
                self.generations.expire_for_writers(generation);
                return Ok(Applied::Superseded);
            }
            if !write_block::is_set(client, &names.index).await? {
                return Ok(Applied::Superseded);
            }
            let is_left = self.block_watch.lock().is_left(state.version);
            if is_left {
                tracing::warn!(
                    index = names.index,
                    "lifting the write block of a rebuild that did not come to its swap"
                );
                write_block::lift(client, prefix, names).await?;
            } else if Instant::now() >= deadline {
                return Err(blocked);
            }
            tokio::time::sleep(SWAP_POLL).await;
        }
    }

    /// Looks at the pointer again while it waits: after a swap the checkpoints of the former generation stand still.
    async fn wait_until_reached(&self, position: &Position, within: Duration) -> Result<bool, ElasticError> {
        let deadline = Instant::now() + within;
        let mut generation = self.generations.for_reading(&self.client).await?;
        loop {
            let rest = deadline.saturating_duration_since(Instant::now());
            let poll = &generation.checkpoint_poll;
            let next = tokio::select! {
                biased;
                reached = poll.wait_until_reached(&self.client, &generation.names, position, rest) => {
                    return self.expire_on_error(&generation, reached);
                }
                next = self.generations.wait_for_another(&self.client, &generation) => next?,
            };
            generation = next;
        }
    }

    async fn search_live(
        &self,
        chat: ChatKey,
        text: &SearchText,
        page: Page<MessageNumber>,
    ) -> Result<Shown<SearchPage>, ElasticError> {
        let deadline = Instant::now() + search::PAGE_TIMEOUT;
        let permit = tokio::time::timeout_at(deadline, self.searches.acquire()).await;
        // `acquire` fails only on a closed semaphore, and nobody closes this one.
        let _permit = permit.map_err(|_elapsed| ElasticError::TooManySearches)?;
        let generation = self.generations.for_reading(&self.client).await?;
        let text = text.folded(generation.version.folding_of_questions());
        let search = search::Search { client: &self.client, generation: &generation, chat, text, page, deadline };
        let found = search.run().await;
        self.expire_on_error(&generation, found)
    }

    /// After an error, the next call reads the pointer again: another generation may be live.
    fn expire_on_error<T>(
        &self,
        generation: &Arc<Generation>,
        result: Result<T, ElasticError>,
    ) -> Result<T, ElasticError> {
        result.inspect_err(|_| self.generations.expire_for_readers(generation))
    }
}

/// Most events of a batch. A batch costs one refresh and one checkpoint, whatever its size. A projector that catches up
/// fills it with the events that the log's reader has fetched ahead, a few MiB at most.
const BATCH_SIZE: u32 = 4_096;

#[async_trait]
impl SearchIndex for ElasticIndex {
    fn batch_size(&self) -> u32 {
        BATCH_SIZE
    }

    fn concurrent_searches(&self) -> usize {
        CONCURRENT_SEARCHES
    }

    async fn checkpoint(&self, partition: PartitionId) -> Result<Checkpoint, SearchError> {
        self.read_or_prepare(partition).await.map_err(|source| SearchError::Checkpoint { partition, source })
    }

    async fn index(
        &self,
        checkpoint_move: CheckpointMove,
        documents: Vec<SearchDocument>,
    ) -> Result<Applied, SearchError> {
        self.write_batch(checkpoint_move, documents)
            .await
            .map_err(|error| SearchError::Index { checkpoint_move, source: error.into() })
    }

    async fn note_stop(&self, partition: PartitionId, at: Offset, reason: &str) -> Result<(), SearchError> {
        let noted = self.write_stop(partition, at, reason).await;
        noted.map_err(|error| SearchError::NoteStop { partition, source: error.into() })
    }

    async fn clear_stop(&self, partition: PartitionId) -> Result<(), SearchError> {
        let cleared = self.clear_noted_stop(partition).await;
        cleared.map_err(|error| SearchError::NoteStop { partition, source: error.into() })
    }

    async fn reached(&self, position: &Position, within: Duration) -> Result<bool, SearchError> {
        self.wait_until_reached(position, within).await.map_err(|error| SearchError::Search(error.into()))
    }

    async fn search(
        &self,
        chat: ChatKey,
        text: &SearchText,
        page: Page<MessageNumber>,
    ) -> Result<Shown<SearchPage>, SearchError> {
        self.search_live(chat, text, page).await.map_err(|error| SearchError::Search(error.into()))
    }
}
