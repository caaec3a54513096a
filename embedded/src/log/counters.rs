//! The counters: the last number of each application and chat, stored in the transaction of the records.

use std::collections::BTreeMap;

use events::{EventType, Record, StreamKey};
use rusqlite::{Connection, Result};

use crate::sqlite::prepare;

pub(super) fn raise_counters(connection: &Connection, records: &[Record]) -> Result<()> {
    let mut counters = BTreeMap::new();
    for (parent, last_number) in records.iter().flat_map(list_counters) {
        let counter = counters.entry(parent).or_insert(last_number);
        *counter = last_number.max(*counter);
    }
    let mut statement = prepare(
        connection,
        "INSERT INTO counters (parent, last_number) VALUES (?, ?) \
         ON CONFLICT (parent) DO UPDATE SET last_number = max(last_number, excluded.last_number)",
    )?;
    for (parent, last_number) in counters {
        statement.execute((parent.to_text(), last_number))?;
    }
    Ok(())
}

/// Lists the counters that a record creates or raises. Reads the record's headers only, because even a broken event has
/// used its number.
pub(super) fn list_counters(record: &Record) -> impl Iterator<Item = (StreamKey, u32)> {
    let used = record.number.map_or(0, events::Number::get);
    let (raised, opened) = match (EventType::from_wire_name(&record.event_type), record.stream) {
        (Some(EventType::ChatApplicationCreated), application) => (None, Some(application)),
        (Some(EventType::ChatCreated), StreamKey::Chat(chat)) => (Some(chat.token.into()), Some(record.stream)),
        (Some(EventType::MessagePosted), chat) => (Some(chat), None),
        (Some(EventType::ChatCreated | EventType::ChatApplicationRenamed) | None, _) => (None, None),
    };
    let raised = raised.map(|parent| (parent, used));
    raised.into_iter().chain(opened.map(|parent| (parent, 0)))
}
