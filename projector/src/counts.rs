//! The projection `counts`: how many chats an application has, and how many messages a chat has.
//!
//! It reads headers only, so it counts the number of an event even if nobody can read the event's JSON, and even if a newer
//! version has written it: numbers go on while readers wait for their upgrade. Only a kind that it does not know stops it.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use events::{
    ApplicationToken, ChatKey, DecodeError, EventType, MessageNumber, Offset, PartitionId, Record, RecordedEvent,
    StreamKey,
};
use read_model::{
    AnsweredRequest, Applied, ChatCounts, Checkpoint, CheckpointMove, CountsChanges, Projection, ProjectionStore,
    SourceEvent,
};

use crate::sink::{Letters, ProjectionSink, ROWS_PER_BATCH, SinkError};

/// What an event changes in `counts`.
enum Fact {
    ApplicationCreated(ApplicationToken),
    ChatCreated(ChatKey),
    MessagePosted(ChatKey, MessageNumber),
}

/// Returns the chats of a batch. The caller loads their counts and passes them to [`fold`].
///
/// # Errors
/// [`DecodeError::Newer`] if an event is of an unknown kind.
pub fn collect_chats(batch: &[RecordedEvent]) -> Result<Vec<ChatKey>, DecodeError> {
    let mut chats = BTreeSet::new();
    for recorded in batch {
        if let Some(Fact::ChatCreated(chat) | Fact::MessagePosted(chat, _)) = extract_fact(recorded)? {
            chats.insert(chat);
        }
    }
    Ok(chats.into_iter().collect())
}

/// Returns the changes that a batch makes to the loaded `counts` of its chats. A chat without loaded counts is new.
///
/// # Errors
/// [`DecodeError::Newer`] if an event is of an unknown kind: then nothing of the batch may be applied.
pub fn fold(mut counts: HashMap<ChatKey, ChatCounts>, batch: &[RecordedEvent]) -> Result<CountsChanges, DecodeError> {
    let mut changes = CountsChanges::default();
    for recorded in batch {
        changes.requests.extend(extract_request(recorded));
        match extract_fact(recorded)? {
            None => {}
            Some(Fact::ApplicationCreated(token)) => changes.applications.entry(token).or_default().created = true,
            Some(Fact::ChatCreated(chat)) => {
                let chat_counts = counts.entry(chat).or_default();
                chat_counts.last_event = Some(recorded.offset);
                let delta = changes.applications.entry(chat.token).or_default();
                delta.last_chat = delta.last_chat.max(chat.number.get());
                delta.chats += u32::from(!chat_counts.created);
                chat_counts.created = true;
            }
            Some(Fact::MessagePosted(chat, number)) => {
                let chat_counts = counts.entry(chat).or_default();
                chat_counts.last_event = Some(recorded.offset);
                chat_counts.see(number);
            }
        }
    }
    changes.chats = counts.into_iter().collect();
    Ok(changes)
}

fn extract_fact(recorded: &RecordedEvent) -> Result<Option<Fact>, DecodeError> {
    let record = &recorded.record;
    Ok(match (known_kind(record)?, record.stream, record.number) {
        (EventType::ChatApplicationCreated, StreamKey::Application(token), _) => Some(Fact::ApplicationCreated(token)),
        (EventType::ChatCreated, StreamKey::Chat(chat), _) => Some(Fact::ChatCreated(chat)),
        (EventType::MessagePosted, StreamKey::Chat(chat), Some(number)) => {
            Some(Fact::MessagePosted(chat, MessageNumber(number)))
        }
        (EventType::ChatApplicationCreated | EventType::ChatApplicationRenamed, _, _)
        | (EventType::ChatCreated | EventType::MessagePosted, _, _)
        | (EventType::KeyIssued | EventType::KeyRevoked | EventType::UserTokensVoided, _, _) => None,
    })
}

/// The event's kind, of whatever version.
fn known_kind(record: &Record) -> Result<EventType, DecodeError> {
    EventType::from_wire_name(&record.event_type).map_or_else(|| record.known_type(), Ok)
}

/// Returns the answer to the event's request, if the request had a key and so may be sent again.
fn extract_request(recorded: &RecordedEvent) -> Option<AnsweredRequest> {
    let record = &recorded.record;
    Some(AnsweredRequest {
        request: record.request?,
        stream: record.stream,
        number: record.number,
        occurred_at: record.occurred_at,
        source: SourceEvent { event_id: record.event_id, offset: recorded.offset },
    })
}

/// Writes `counts` to a store.
pub struct CountsSink(pub Arc<dyn ProjectionStore>);

#[async_trait]
impl ProjectionSink for CountsSink {
    fn projection(&self) -> Projection {
        Projection::Counts
    }

    fn batch_size(&self) -> u32 {
        ROWS_PER_BATCH
    }

    fn is_too_new(&self, record: &Record) -> bool {
        known_kind(record).is_err()
    }

    async fn checkpoint(&self, partition: PartitionId) -> Result<Checkpoint, SinkError> {
        self.0.checkpoint(Projection::Counts, partition).await.map_err(SinkError::Store)
    }

    async fn apply(
        &self,
        checkpoint_move: CheckpointMove,
        batch: &[RecordedEvent],
        _letters: &Letters,
    ) -> Result<Applied, SinkError> {
        let chats = collect_chats(batch).map_err(SinkError::Newer)?;
        let loaded = self.0.chat_counts(&chats).await.map_err(SinkError::Store)?;
        let mut changes = fold(loaded.chats, batch).map_err(SinkError::Newer)?;
        changes.loaded_from = loaded.generation;
        self.0.apply_counts(checkpoint_move, changes).await.map_err(SinkError::Store)
    }

    async fn note_stop(&self, partition: PartitionId, at: Offset, reason: &str) -> Result<(), SinkError> {
        self.0.note_stop(Projection::Counts, partition, at, reason).await.map_err(SinkError::Store)
    }

    async fn clear_stop(&self, partition: PartitionId) -> Result<(), SinkError> {
        self.0.clear_stop(Projection::Counts, partition).await.map_err(SinkError::Store)
    }
}
