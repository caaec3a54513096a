//! Chats by a small integer, so that the rows of one chat lie together in a table ordered by row id.
//!
//! Two projections number chats in this way, each in a table of its own, in the order in which they met them. An
//! ordinal never leaves the file.

use std::collections::{BTreeSet, HashMap};

use events::{ChatKey, MessageNumber};
use read_model::Cursor;
use sqlx::{Row, SqliteConnection};

use crate::sqlite::{chat_of, insert_rows, rows_of_chats};

/// A table with columns `ordinal`, `token` and `number`.
pub(super) struct OrdinalTable {
    /// Reads the three columns of chats.
    pub select: &'static str,
    /// Adds a chat's `token` and `number`.
    pub insert: &'static str,
}

/// The place of a chat among those that a projection has met: 1, 2, 3 …
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ordinal(pub i64);

impl Ordinal {
    /// The row id of a message.
    pub(super) fn row_id(self, number: MessageNumber) -> i64 {
        self.0 << 32 | i64::from(number.get())
    }

    /// The row ids of a page's messages lie between these two, both excluded.
    pub(super) fn row_ids_between(self, cursor: Cursor<MessageNumber>) -> (i64, i64) {
        let (first, end) = (self.0 << 32, (self.0 + 1) << 32);
        match cursor {
            Cursor::First | Cursor::Last => (first, end),
            Cursor::After(number) => (self.row_id(number), end),
            Cursor::Before(number) => (first, self.row_id(number)),
        }
    }
}

/// The ordinals of chats; those met for the first time are added.
pub(super) async fn of_chats(
    connection: &mut SqliteConnection,
    table: &OrdinalTable,
    chats: impl Iterator<Item = ChatKey>,
) -> Result<HashMap<ChatKey, Ordinal>, sqlx::Error> {
    let chats: BTreeSet<_> = chats.collect();
    let mut rows = rows_of_chats(connection, table.select, &chats.iter().copied().collect::<Vec<_>>()).await?;
    let mut ordinals = HashMap::with_capacity(chats.len());
    for row in &rows {
        ordinals.insert(chat_of(row, 1, 2)?, Ordinal(row.try_get(0)?));
    }
    let new: Vec<_> = chats.into_iter().filter(|chat| !ordinals.contains_key(chat)).collect();
    rows = insert_rows(connection, table.insert, " RETURNING ordinal, token, number", &new, |row, chat| {
        row.push_bind(chat.token.as_bytes().as_slice()).push_bind(i64::from(chat.number.get()));
    })
    .await?;
    for row in &rows {
        ordinals.insert(chat_of(row, 1, 2)?, Ordinal(row.try_get(0)?));
    }
    Ok(ordinals)
}
