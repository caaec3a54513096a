//! A search index with one fault.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use events::{ChatKey, ChatNumber, MessageNumber, PartitionId, Position};

use crate::changes::SearchDocument;
use crate::folding::{FoldingVersion, SearchText, fold};
use crate::page::{Cursor, Page};
use crate::search_index::{SearchError, SearchIndex, SearchPage};
use crate::shown::Shown;
use crate::store::{Applied, Checkpoint, CheckpointMove};

/// A fault of an index. Each check of [`search_conformance!`](crate::search_conformance!) must find one.
#[expect(missing_docs, reason = "each name says what the index does wrong")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SearchFault {
    NeverWaits,
    MergesChats,
    KeepsDuplicates,
    PrefixesOnly,
    IgnoresCursor,
    IgnoresPercentSigns,
    ReplacesNoncharacters,
    CheckpointStays,
    OmitsPositions,
    ForgetsTheRecord,
    OmitsAuthors,
}

struct BrokenIndex {
    index: Arc<dyn SearchIndex>,
    fault: SearchFault,
    numbers: AtomicU32,
}

impl SearchFault {
    /// Wraps a correct index in one with this fault.
    pub fn inject(self, index: Arc<dyn SearchIndex>) -> Arc<dyn SearchIndex> {
        Arc::new(BrokenIndex { index, fault: self, numbers: AtomicU32::new(1_000) })
    }
}

impl BrokenIndex {
    fn chat(&self, chat: ChatKey) -> ChatKey {
        match self.fault {
            SearchFault::MergesChats => ChatKey { number: ChatNumber::new(1).unwrap(), ..chat },
            _ => chat,
        }
    }
}

fn replace_noncharacters(text: &str) -> String {
    text.replace(['\u{fffe}', '\u{ffff}'], "\u{fffd}")
}

#[async_trait]
impl SearchIndex for BrokenIndex {
    fn batch_size(&self) -> u32 {
        self.index.batch_size()
    }

    fn concurrent_searches(&self) -> usize {
        self.index.concurrent_searches()
    }

    async fn checkpoint(&self, partition: PartitionId) -> Result<Checkpoint, SearchError> {
        match self.fault {
            SearchFault::CheckpointStays => Ok(Checkpoint::START),
            SearchFault::ForgetsTheRecord => Ok(Checkpoint { record: None, ..self.index.checkpoint(partition).await? }),
            _ => self.index.checkpoint(partition).await,
        }
    }

    async fn index(
        &self,
        checkpoint_move: CheckpointMove,
        mut documents: Vec<SearchDocument>,
    ) -> Result<Applied, SearchError> {
        for document in &mut documents {
            document.chat = self.chat(document.chat);
            if self.fault == SearchFault::KeepsDuplicates {
                document.number = MessageNumber::new(self.numbers.fetch_add(1, Ordering::SeqCst)).unwrap();
            }
            if self.fault == SearchFault::OmitsAuthors {
                document.author = None;
            }
            if self.fault == SearchFault::ReplacesNoncharacters {
                document.body = replace_noncharacters(&document.body);
            }
        }
        self.index.index(checkpoint_move, documents).await
    }

    async fn reached(&self, position: &Position, within: Duration) -> Result<bool, SearchError> {
        match self.fault {
            SearchFault::NeverWaits => Ok(true),
            _ => self.index.reached(position, within).await,
        }
    }

    async fn search(
        &self,
        chat: ChatKey,
        text: &SearchText,
        page: Page<MessageNumber>,
    ) -> Result<Shown<SearchPage>, SearchError> {
        let page = match self.fault {
            SearchFault::IgnoresCursor => Page { cursor: Cursor::First, ..page },
            _ => page,
        };
        let folded = text.folded(FoldingVersion::CURRENT).as_str();
        let text = match self.fault {
            SearchFault::IgnoresPercentSigns => {
                SearchText::new(&folded.replace('%', "")).unwrap_or_else(|| text.clone())
            }
            SearchFault::ReplacesNoncharacters => SearchText::new(&replace_noncharacters(folded)).unwrap(),
            _ => text.clone(),
        };
        let mut found = self.index.search(self.chat(chat), &text, page).await?;
        if self.fault == SearchFault::PrefixesOnly {
            found.value.items.retain(|message| fold(FoldingVersion::CURRENT, &message.body).starts_with(folded));
        }
        if self.fault == SearchFault::OmitsPositions {
            found.position = Position::default();
        }
        Ok(found)
    }
}
