//! The projection `views`: applications, chats and messages as readers see them.

use std::sync::Arc;

use async_trait::async_trait;
use events::{DecodeError, Event, Offset, PartitionId, RecordedEvent, UnixMillis};
use read_model::{
    Applied, ChatRow, Checkpoint, CheckpointMove, DeadLetter, MAX_COUNTED_LETTERS, MessageRow, NameChange, NameOrigin,
    Projection, ProjectionStore, SourceEvent, ViewsChanges,
};
use thiserror_ext::AsReport;

use crate::sink::{Letters, ProjectionSink, ROWS_PER_BATCH, SinkError};

/// Returns the changes that a batch makes to the views. A broken event becomes a dead letter, as those of `letters` are.
///
/// # Errors
/// [`DecodeError::Newer`] if a newer version has written an event: then nothing of the batch may be applied.
pub fn collect_changes(batch: &[RecordedEvent], letters: &Letters) -> Result<ViewsChanges, DecodeError> {
    let dead_letters = letters.new.iter().map(|letter| {
        let reason = truncate_reason(letter.reason.clone());
        DeadLetter { reason, ..*letter }
    });
    let mut changes = ViewsChanges {
        dead_letters: dead_letters.collect(),
        discarded: letters.discarded.clone(),
        ..ViewsChanges::default()
    };
    for recorded in batch {
        let source = SourceEvent { event_id: recorded.record.event_id, offset: recorded.offset };
        match recorded.record.decode() {
            Ok(event) => add_event(&mut changes, event, source, recorded.record.occurred_at),
            Err(newer @ DecodeError::Newer { .. }) => return Err(newer),
            Err(broken @ DecodeError::Broken { .. }) => {
                changes.dead_letters.push(DeadLetter { source, reason: truncate_reason(broken.to_report_string()) });
            }
        }
    }
    Ok(changes)
}

/// Cuts a reason to the length that every store keeps.
fn truncate_reason(mut reason: String) -> String {
    if let Some((end, _)) = reason.char_indices().nth(DeadLetter::MAX_REASON_CHARACTERS) {
        reason.truncate(end);
    }
    reason
}

fn add_event(changes: &mut ViewsChanges, event: Event, source: SourceEvent, occurred_at: UnixMillis) {
    match event {
        Event::ChatApplicationCreated(created) => changes.names.push(NameChange {
            token: created.token,
            name: created.name,
            origin: NameOrigin::Created,
            source,
            occurred_at,
        }),
        Event::ChatApplicationRenamed(renamed) => changes.names.push(NameChange {
            token: renamed.token,
            name: renamed.name,
            origin: NameOrigin::Renamed,
            source,
            occurred_at,
        }),
        Event::ChatCreated(created) => {
            changes.chats.push(ChatRow { chat: created.chat(), source, created_at: occurred_at });
        }
        Event::MessagePosted(posted) => changes.messages.push(MessageRow {
            chat: posted.chat(),
            number: posted.number,
            body: posted.body,
            source,
            created_at: occurred_at,
        }),
    }
}

/// Writes `views` to a store.
pub struct ViewsSink(pub Arc<dyn ProjectionStore>);

#[async_trait]
impl ProjectionSink for ViewsSink {
    fn projection(&self) -> Projection {
        Projection::Views
    }

    fn batch_size(&self) -> u32 {
        ROWS_PER_BATCH
    }

    async fn checkpoint(&self, partition: PartitionId) -> Result<Checkpoint, SinkError> {
        self.0.checkpoint(Projection::Views, partition).await.map_err(SinkError::Store)
    }

    async fn apply(
        &self,
        checkpoint_move: CheckpointMove,
        batch: &[RecordedEvent],
        letters: &Letters,
    ) -> Result<Applied, SinkError> {
        let changes = collect_changes(batch, letters).map_err(SinkError::Newer)?;
        self.0.apply_views(checkpoint_move, changes).await.map_err(SinkError::Store)
    }

    async fn count_dead_letters(&self, partition: PartitionId) -> Result<Option<usize>, SinkError> {
        let letters = self.0.dead_letters(partition, MAX_COUNTED_LETTERS).await.map_err(SinkError::Store)?;
        Ok(Some(letters.len()))
    }

    async fn note_stop(&self, partition: PartitionId, at: Offset, reason: &str) -> Result<(), SinkError> {
        self.0.note_stop(Projection::Views, partition, at, reason).await.map_err(SinkError::Store)
    }

    async fn clear_stop(&self, partition: PartitionId) -> Result<(), SinkError> {
        self.0.clear_stop(Projection::Views, partition).await.map_err(SinkError::Store)
    }
}
