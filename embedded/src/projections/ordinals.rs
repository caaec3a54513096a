//! Assigns each chat a small integer in the order in which chats arrive, so that the messages of one chat lie together in a
//! table ordered by row id.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use events::{ChatKey, MessageNumber};
use read_model::Cursor;
use rusqlite::{Connection, OptionalExtension, Result};

use crate::sqlite::prepare;

/// Selects the ordinal of a chat's token and number, whether or not the chat is shown.
pub(super) const CHAT: &str = "SELECT ordinal FROM chats WHERE token = ? AND number = ?";
/// Selects the ordinal of a chat that is shown.
pub(super) const SHOWN_CHAT: &str =
    "SELECT ordinal FROM chats WHERE token = ? AND number = ? AND created_event IS NOT NULL";

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

/// Loads the ordinals of chats, and inserts the chats that have none.
pub(super) fn assign_ordinals(
    connection: &Connection,
    chats: impl Iterator<Item = ChatKey>,
) -> Result<HashMap<ChatKey, Ordinal>> {
    let mut ordinals = HashMap::new();
    for chat in chats {
        if let Entry::Vacant(entry) = ordinals.entry(chat) {
            entry.insert(assign_ordinal(connection, chat)?);
        }
    }
    Ok(ordinals)
}

fn assign_ordinal(connection: &Connection, chat: ChatKey) -> Result<Ordinal> {
    if let Some(ordinal) = find_ordinal(connection, CHAT, chat)? {
        return Ok(ordinal);
    }
    let mut insert = prepare(connection, "INSERT INTO chats (token, number) VALUES (?, ?) RETURNING ordinal")?;
    insert.query_row((chat.token.as_bytes(), chat.number.get()), |row| row.get(0)).map(Ordinal)
}

/// Runs [`CHAT`] or [`SHOWN_CHAT`].
pub(super) fn find_ordinal(connection: &Connection, select: &'static str, chat: ChatKey) -> Result<Option<Ordinal>> {
    let mut select = prepare(connection, select)?;
    select.query_row((chat.token.as_bytes(), chat.number.get()), |row| row.get(0).map(Ordinal)).optional()
}
