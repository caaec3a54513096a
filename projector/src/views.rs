//! The projection `views`: applications, chats and messages as they are shown.

use event_log::Unreadable;
use events::{DecodeError, Event, EventId, RecordedEvent};
use read_model::{ChatRow, DeadLetter, MessageRow, NameChange, NameOrigin, SourceEvent, ViewsChanges};

/// What a batch does to the views. An event that is broken becomes a dead letter, and so does what is no event at all.
///
/// # Errors
/// [`DecodeError::Newer`] if an event was written by a newer version: then nothing of the batch may be applied.
pub fn changes(batch: &[RecordedEvent], unreadable: &[Unreadable]) -> Result<ViewsChanges, DecodeError> {
    let dead_letters = unreadable.iter().map(|one| DeadLetter {
        source: SourceEvent { event_id: EventId::NONE, offset: one.offset },
        reason: cut(format!("this is no event: {}", one.reason)),
    });
    let mut changes = ViewsChanges { dead_letters: dead_letters.collect(), ..ViewsChanges::default() };
    for recorded in batch {
        let source = SourceEvent { event_id: recorded.record.event_id, offset: recorded.offset };
        match recorded.record.decode() {
            Ok(event) => add(&mut changes, event, source),
            Err(newer @ DecodeError::Newer { .. }) => return Err(newer),
            Err(broken @ DecodeError::Broken { .. }) => {
                changes.dead_letters.push(DeadLetter { source, reason: cut(service::telemetry::chain(&broken)) });
            }
        }
    }
    Ok(changes)
}

/// Leaves as much of a reason as a store keeps.
fn cut(mut reason: String) -> String {
    if let Some((end, _)) = reason.char_indices().nth(DeadLetter::MAX_REASON_CHARACTERS) {
        reason.truncate(end);
    }
    reason
}

fn add(changes: &mut ViewsChanges, event: Event, source: SourceEvent) {
    match event {
        Event::ChatApplicationCreated(created) => changes.names.push(NameChange {
            token: created.token,
            name: created.name,
            origin: NameOrigin::Created,
            source,
        }),
        Event::ChatApplicationRenamed(renamed) => changes.names.push(NameChange {
            token: renamed.token,
            name: renamed.name,
            origin: NameOrigin::Renamed,
            source,
        }),
        Event::ChatCreated(created) => changes.chats.push(ChatRow { chat: created.chat(), source }),
        Event::MessagePosted(posted) => {
            changes.messages.push(MessageRow { chat: posted.chat(), number: posted.number, body: posted.body, source });
        }
    }
}
