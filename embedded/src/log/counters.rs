//! The counters: the last number of each application and chat, stored in the transaction of the records.

use std::collections::BTreeMap;

use events::{EventType, Record, StreamKey};
use rusqlite::{Connection, OptionalExtension, Result};

use crate::sqlite::prepare;

/// The counters that a group of appends creates or raises.
pub(super) struct Counters<'c> {
    connection: &'c Connection,
    last_numbers: BTreeMap<StreamKey, u32>,
}

/// The number of a record is not above the last number of its parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NumberTaken {
    pub(super) number: u32,
    pub(super) last: u32,
}

impl<'c> Counters<'c> {
    pub(super) const fn new(connection: &'c Connection) -> Self {
        Self { connection, last_numbers: BTreeMap::new() }
    }

    /// Raises the counters of a record. Refuses a number that is not above its counter: the sequencer never gives one, so
    /// either a bug did, or another process has written to the log.
    pub(super) fn raise(&mut self, record: &Record) -> Result<Result<(), NumberTaken>> {
        for (parent, number) in list_counters(record) {
            let last = self.last_number(parent)?;
            if number > 0 && number <= last {
                return Ok(Err(NumberTaken { number, last }));
            }
            self.last_numbers.insert(parent, number.max(last));
        }
        Ok(Ok(()))
    }

    /// Raises the counters of a record of an import, whose numbers may lie in any order.
    pub(super) fn raise_imported(&mut self, record: &Record) -> Result<()> {
        for (parent, number) in list_counters(record) {
            let last = self.last_number(parent)?;
            self.last_numbers.insert(parent, number.max(last));
        }
        Ok(())
    }

    /// The last number of a parent; 0 before the first.
    fn last_number(&self, parent: StreamKey) -> Result<u32> {
        match self.last_numbers.get(&parent) {
            Some(last) => Ok(*last),
            None => Ok(load(self.connection, parent)?.unwrap_or(0)),
        }
    }

    pub(super) fn store(self) -> Result<()> {
        let mut statement = prepare(
            self.connection,
            "INSERT INTO counters (parent, last_number) VALUES (?, ?) \
             ON CONFLICT (parent) DO UPDATE SET last_number = excluded.last_number",
        )?;
        for (parent, last_number) in self.last_numbers {
            statement.execute((parent.to_text(), last_number))?;
        }
        Ok(())
    }
}

/// Loads the last number of a parent; `None` if the log has no such parent.
pub(crate) fn load(connection: &Connection, parent: StreamKey) -> Result<Option<u32>> {
    prepare(connection, "SELECT last_number FROM counters WHERE parent = ?")?
        .query_row([parent.to_text()], |row| row.get(0))
        .optional()
}

/// Lists the counters that a record creates or raises. Reads the record's headers only, because even a broken event has
/// used its number.
pub(super) fn list_counters(record: &Record) -> impl Iterator<Item = (StreamKey, u32)> {
    let used = record.number.map_or(0, events::Number::get);
    let (raised, opened) = match (EventType::from_wire_name(&record.event_type), record.stream) {
        (Some(EventType::ChatApplicationCreated), application) => (None, Some(application)),
        (Some(EventType::ChatCreated), StreamKey::Chat(chat)) => (Some(chat.token.into()), Some(record.stream)),
        (Some(EventType::MessagePosted), chat) => (Some(chat), None),
        (Some(EventType::ChatCreated | EventType::ChatApplicationRenamed) | None, _)
        | (Some(EventType::KeyIssued | EventType::KeyRevoked | EventType::UserTokensVoided), _) => (None, None),
    };
    let raised = raised.map(|parent| (parent, used));
    raised.into_iter().chain(opened.map(|parent| (parent, 0)))
}
