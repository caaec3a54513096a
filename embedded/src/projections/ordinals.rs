//! Assigns each chat a small integer in the order in which chats arrive, so that the messages of one chat lie together in a
//! table ordered by row id.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use events::{ChatKey, MessageNumber, Offset, PartitionId, Position};
use read_model::Cursor;
use rusqlite::{Connection, OptionalExtension, Result, Row};

use crate::sqlite::prepare;

/// The integer of a chat: 1, 2, 3 …
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ordinal(pub i64);

impl Ordinal {
    /// The row id of a message.
    pub(super) fn row_id(self, number: MessageNumber) -> i64 {
        self.0 << 32 | i64::from(number.get())
    }

    /// The row id of the number `number`, which need not be one of a message.
    pub(super) fn row_id_of(self, number: i64) -> i64 {
        (self.0 << 32) + number
    }

    /// The exclusive bounds of the row ids of a page.
    pub(super) fn row_ids_between(self, cursor: Cursor<MessageNumber>) -> (i64, i64) {
        let first = self.0 << 32;
        let end = (self.0 + 1) << 32;
        match cursor {
            Cursor::First | Cursor::Last => (first, end),
            Cursor::After(number) => (self.row_id(number), end),
            Cursor::Before(number) => (first, self.row_id(number)),
        }
    }
}

/// A chat that has an ordinal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FoundChat {
    pub(super) ordinal: Ordinal,
    /// The partition of all of its events.
    pub(super) partition: PartitionId,
    /// Its creation; `None` if that was not applied yet, so that the chat is not shown.
    pub(super) created_at: Option<Offset>,
}

impl FoundChat {
    /// The position of its creation; `None` if it is not shown.
    pub(super) fn position(self) -> Option<Position> {
        self.created_at.map(|offset| Position::up_to(self.partition, offset.next()))
    }
}

/// Loads the ordinals of chats, and inserts the chats that have none. All of them are in this partition.
pub(super) fn assign_ordinals(
    connection: &Connection,
    partition: PartitionId,
    chats: impl Iterator<Item = ChatKey>,
) -> Result<HashMap<ChatKey, Ordinal>> {
    let mut ordinals = HashMap::new();
    for chat in chats {
        if let Entry::Vacant(entry) = ordinals.entry(chat) {
            entry.insert(assign_ordinal(connection, partition, chat)?);
        }
    }
    Ok(ordinals)
}

fn assign_ordinal(connection: &Connection, partition: PartitionId, chat: ChatKey) -> Result<Ordinal> {
    if let Some(found) = find_chat(connection, chat)? {
        return Ok(found.ordinal);
    }
    let mut insert =
        prepare(connection, "INSERT INTO chats (token, number, partition) VALUES (?, ?, ?) RETURNING ordinal")?;
    insert.query_row((chat.token.as_bytes(), chat.number.get(), partition.0), |row| row.get(0)).map(Ordinal)
}

/// Finds a chat, whether or not it is shown.
pub(super) fn find_chat(connection: &Connection, chat: ChatKey) -> Result<Option<FoundChat>> {
    let mut select =
        prepare(connection, "SELECT ordinal, partition, log_offset FROM chats WHERE token = ? AND number = ?")?;
    let decode = |row: &Row| {
        let offset: Option<i64> = row.get(2)?;
        Ok(FoundChat {
            ordinal: Ordinal(row.get(0)?),
            partition: PartitionId(row.get(1)?),
            created_at: offset.map(|offset| Offset(offset.cast_unsigned())),
        })
    };
    select.query_row((chat.token.as_bytes(), chat.number.get()), decode).optional()
}
