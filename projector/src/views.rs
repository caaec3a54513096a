//! The projection `views`: applications, chats and messages as readers see them, and who may use them.

use std::sync::Arc;

use async_trait::async_trait;
use events::{DecodeError, Event, EventType, Offset, PartitionId, Record, RecordedEvent, StreamKey};
use read_model::{
    Applied, ChatRow, Checkpoint, CheckpointMove, DeadLetter, IssuedKey, KeyChange, KeyContent, MessageRow, NameChange,
    NameOrigin, Projection, ProjectionStore, RevokedKey, SourceEvent, StoreTime, ViewsChanges, VoidedUser,
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
        let source = source_of(recorded);
        match recorded.record.decode() {
            Ok(event) => add_event(&mut changes, event, source, &recorded.record),
            Err(newer @ DecodeError::Newer { .. }) => return Err(newer),
            Err(broken @ DecodeError::Broken { .. }) => {
                changes.dead_letters.push(DeadLetter { source, reason: truncate_reason(broken.to_report_string()) });
                changes.keys.extend(unreadable_key(recorded));
            }
        }
    }
    changes.keys.extend(letters.parked.iter().filter_map(unreadable_key));
    changes.keys.sort_by_key(|change| change.source().offset);
    Ok(changes)
}

fn source_of(recorded: &RecordedEvent) -> SourceEvent {
    SourceEvent { event_id: recorded.record.event_id, offset: recorded.offset }
}

/// The key of an event that issues one, and that nobody can read, or only a newer version. Its number is taken.
fn unreadable_key(recorded: &RecordedEvent) -> Option<KeyChange> {
    match (&recorded.record, EventType::from_wire_name(&recorded.record.event_type)) {
        (Record { stream: StreamKey::Application(token), .. }, Some(EventType::KeyIssued)) => {
            Some(KeyChange::Issued(IssuedKey {
                token: *token,
                source: source_of(recorded),
                created_at: recorded.record.occurred_at,
                request_values: recorded.record.request.map(|request| request.values),
                content: None,
            }))
        }
        _ => None,
    }
}

/// Cuts a reason to the length that every store keeps.
fn truncate_reason(mut reason: String) -> String {
    if let Some((end, _)) = reason.char_indices().nth(DeadLetter::MAX_REASON_CHARACTERS) {
        reason.truncate(end);
    }
    reason
}

fn add_event(changes: &mut ViewsChanges, event: Event, source: SourceEvent, record: &Record) {
    let occurred_at = record.occurred_at;
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
            author: posted.author,
            source,
            created_at: occurred_at,
        }),
        Event::KeyIssued(issued) => changes.keys.push(KeyChange::Issued(IssuedKey {
            token: issued.token,
            source,
            created_at: occurred_at,
            request_values: record.request.map(|request| request.values),
            content: Some(KeyContent {
                name: issued.name,
                scopes: issued.scopes,
                expires_at: issued.expires_at,
                hash: issued.hash,
            }),
        })),
        Event::KeyRevoked(revoked) => {
            let (token, number) = (revoked.token, revoked.number);
            changes.keys.push(KeyChange::Revoked(RevokedKey { token, number, source }));
        }
        Event::UserTokensVoided(voided) => {
            changes.voided.push(VoidedUser { token: voided.token, user: voided.user, source });
        }
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

    async fn count_dead_letters(&self, partition: PartitionId) -> Result<Option<u64>, SinkError> {
        self.0.count_dead_letters(partition).await.map(Some).map_err(SinkError::Store)
    }

    async fn now(&self) -> Result<Option<StoreTime>, SinkError> {
        self.0.now().await.map_err(SinkError::Store)
    }

    async fn note_log_end(&self, partition: PartitionId, end: Offset, at: StoreTime) -> Result<(), SinkError> {
        self.0.note_log_end(partition, end, at).await.map_err(SinkError::Store)
    }

    async fn note_stop(&self, partition: PartitionId, at: Offset, reason: &str) -> Result<(), SinkError> {
        self.0.note_stop(Projection::Views, partition, at, reason).await.map_err(SinkError::Store)
    }

    async fn clear_stop(&self, partition: PartitionId) -> Result<(), SinkError> {
        self.0.clear_stop(Projection::Views, partition).await.map_err(SinkError::Store)
    }
}
