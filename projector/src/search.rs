//! The projection `search`: a document for every message.

use std::sync::Arc;

use async_trait::async_trait;
use events::{DecodeError, Event, EventType, Offset, PartitionId, RecordedEvent};
use read_model::{Applied, Checkpoint, CheckpointMove, Projection, SearchDocument, SearchIndex};

use crate::sink::{Letters, ProjectionSink, SinkError};

/// Returns the documents of a batch. Broken events have none; `views` makes dead letters of them.
///
/// # Errors
/// [`DecodeError::Newer`] if a newer version has written an event: then nothing of the batch may be indexed.
pub fn collect_documents(batch: &[RecordedEvent]) -> Result<Vec<SearchDocument>, DecodeError> {
    let mut documents = Vec::new();
    for recorded in batch {
        if recorded.record.known_type()? == EventType::MessagePosted
            && let Ok(Event::MessagePosted(posted)) = recorded.record.decode()
        {
            documents.push(SearchDocument {
                chat: posted.chat(),
                number: posted.number,
                body: posted.body,
                author: posted.author,
                offset: recorded.offset,
                created_at: recorded.record.occurred_at,
            });
        }
    }
    Ok(documents)
}

/// Writes `search` to an index.
pub struct SearchSink(pub Arc<dyn SearchIndex>);

#[async_trait]
impl ProjectionSink for SearchSink {
    fn projection(&self) -> Projection {
        Projection::Search
    }

    fn batch_size(&self) -> u32 {
        self.0.batch_size()
    }

    async fn checkpoint(&self, partition: PartitionId) -> Result<Checkpoint, SinkError> {
        self.0.checkpoint(partition).await.map_err(SinkError::Search)
    }

    async fn apply(
        &self,
        checkpoint_move: CheckpointMove,
        batch: &[RecordedEvent],
        _letters: &Letters,
    ) -> Result<Applied, SinkError> {
        let documents = collect_documents(batch).map_err(SinkError::Newer)?;
        self.0.index(checkpoint_move, documents).await.map_err(SinkError::Search)
    }
    async fn note_stop(&self, partition: PartitionId, at: Offset, reason: &str) -> Result<(), SinkError> {
        self.0.note_stop(partition, at, reason).await.map_err(SinkError::Search)
    }

    async fn clear_stop(&self, partition: PartitionId) -> Result<(), SinkError> {
        self.0.clear_stop(partition).await.map_err(SinkError::Search)
    }
}
