//! The projection `counts`: how many chats an application has, and how many messages a chat.
//!
//! It looks at headers only, so that the number of an event whose JSON cannot be read is taken all the same.

use std::collections::{BTreeSet, HashMap};

use events::{ApplicationToken, ChatKey, DecodeError, EventType, MessageNumber, RecordedEvent, StreamKey};
use read_model::{AnsweredRequest, ChatCounts, CountsChanges, SourceEvent};

/// What one event says to the counts.
enum Fact {
    ApplicationCreated(ApplicationToken),
    ChatCreated(ChatKey),
    MessagePosted(ChatKey, MessageNumber),
}

/// The chats whose counts must be loaded before the batch can be folded.
///
/// # Errors
/// [`DecodeError::Newer`] if an event was written by a newer version.
pub fn touched(batch: &[RecordedEvent]) -> Result<Vec<ChatKey>, DecodeError> {
    let mut chats = BTreeSet::new();
    for recorded in batch {
        if let Some(Fact::ChatCreated(chat) | Fact::MessagePosted(chat, _)) = fact(recorded)? {
            chats.insert(chat);
        }
    }
    Ok(chats.into_iter().collect())
}

/// What the batch makes of the counts of the chats that it touches. A chat that is not among them was never seen.
///
/// # Errors
/// [`DecodeError::Newer`] if an event was written by a newer version: then nothing of the batch may be applied.
pub fn fold(mut counts: HashMap<ChatKey, ChatCounts>, batch: &[RecordedEvent]) -> Result<CountsChanges, DecodeError> {
    let mut changes = CountsChanges::default();
    for recorded in batch {
        changes.requests.extend(answered(recorded));
        match fact(recorded)? {
            None => {}
            Some(Fact::ApplicationCreated(token)) => changes.applications.entry(token).or_default().created = true,
            Some(Fact::ChatCreated(chat)) => {
                let chat_counts = counts.entry(chat).or_default();
                let delta = changes.applications.entry(chat.token).or_default();
                delta.last_chat = delta.last_chat.max(chat.number.get());
                delta.chats += u32::from(!chat_counts.created);
                chat_counts.created = true;
            }
            Some(Fact::MessagePosted(chat, number)) => counts.entry(chat).or_default().see(number),
        }
    }
    changes.chats = counts.into_iter().collect();
    Ok(changes)
}

fn fact(recorded: &RecordedEvent) -> Result<Option<Fact>, DecodeError> {
    let record = &recorded.record;
    Ok(match (record.known_type()?, record.stream, record.number) {
        (EventType::ChatApplicationCreated, StreamKey::Application(token), _) => Some(Fact::ApplicationCreated(token)),
        (EventType::ChatCreated, StreamKey::Chat(chat), _) => Some(Fact::ChatCreated(chat)),
        (EventType::MessagePosted, StreamKey::Chat(chat), Some(number)) => {
            Some(Fact::MessagePosted(chat, MessageNumber(number)))
        }
        (EventType::ChatApplicationCreated | EventType::ChatApplicationRenamed, _, _)
        | (EventType::ChatCreated | EventType::MessagePosted, _, _) => None,
    })
}

/// What the event's request was given, if it may be sent again.
fn answered(recorded: &RecordedEvent) -> Option<AnsweredRequest> {
    let record = &recorded.record;
    Some(AnsweredRequest {
        request: record.request?,
        stream: record.stream,
        number: record.number,
        occurred_at: record.occurred_at,
        source: SourceEvent { event_id: record.event_id, offset: recorded.offset },
    })
}
