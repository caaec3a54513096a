//! Assigns each chat a small integer, so that the rows of one chat lie together in a table ordered by row id.
//!
//! The projections `views` and `search` each have their own table of ordinals, assigned in the order in which chats
//! arrive. An ordinal is used in its own file only.

use std::collections::{BTreeSet, HashMap};

use events::{ChatKey, MessageNumber};
use read_model::Cursor;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use crate::sqlite::{decode_chat, insert_rows, select_chats};

/// The statements of a table with columns `ordinal`, `token` and `number`.
pub(super) struct OrdinalTable {
    /// Selects the three columns.
    pub select: &'static str,
    /// Inserts a chat's `token` and `number`.
    pub insert: &'static str,
}

/// The integer of a chat: 1, 2, 3 …
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ordinal(pub i64);

impl Ordinal {
    /// The row id of a message.
    pub(super) fn row_id(self, number: MessageNumber) -> i64 {
        self.0 << 32 | i64::from(number.get())
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
pub(super) async fn assign_ordinals(
    connection: &mut SqliteConnection,
    table: &OrdinalTable,
    chats: impl Iterator<Item = ChatKey>,
) -> Result<HashMap<ChatKey, Ordinal>, sqlx::Error> {
    let chats: Vec<_> = chats.collect::<BTreeSet<_>>().into_iter().collect();
    let stored = select_chats(connection, table.select, &chats).await?;
    let mut ordinals: HashMap<_, _> = stored.iter().map(decode_ordinal).collect::<Result<_, _>>()?;
    let new: Vec<_> = chats.into_iter().filter(|chat| !ordinals.contains_key(chat)).collect();
    let inserted = insert_rows(connection, table.insert, " RETURNING ordinal, token, number", &new, |row, chat| {
        row.push_bind(chat.token.as_bytes().as_slice()).push_bind(i64::from(chat.number.get()));
    });
    for row in &inserted.await? {
        ordinals.extend([decode_ordinal(row)?]);
    }
    Ok(ordinals)
}

fn decode_ordinal(row: &SqliteRow) -> Result<(ChatKey, Ordinal), sqlx::Error> {
    Ok((decode_chat(row, 1, 2)?, Ordinal(row.try_get(0)?)))
}
