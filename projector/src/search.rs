//! The projection `search`: every message, folded.

use events::{DecodeError, Event, EventType, RecordedEvent};
use read_model::{SearchDocument, folding};

/// The documents of a batch. Broken events give none; `views` parks them.
///
/// # Errors
/// [`DecodeError::Newer`] if an event was written by a newer version: then nothing of the batch may be indexed.
pub fn documents(batch: &[RecordedEvent]) -> Result<Vec<SearchDocument>, DecodeError> {
    let mut documents = Vec::new();
    for recorded in batch {
        if recorded.record.known_type()? == EventType::MessagePosted
            && let Ok(Event::MessagePosted(posted)) = recorded.record.decode()
        {
            documents.push(SearchDocument {
                chat: posted.chat(),
                number: posted.number,
                folded: folding::fold(&posted.body),
                body: posted.body,
            });
        }
    }
    Ok(documents)
}
