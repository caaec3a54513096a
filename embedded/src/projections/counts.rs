//! The SQL that loads and writes the projection `counts`.

use std::collections::HashMap;

use events::{ChatKey, Offset};
use read_model::{ChatCounts, CountsChanges};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Result, Row, params};

use crate::sqlite::{decode_error, prepare};

pub(super) fn load(connection: &Connection, chats: &[ChatKey]) -> Result<HashMap<ChatKey, ChatCounts>> {
    let mut statement = prepare(
        connection,
        "SELECT created, last_number, gaps, log_offset FROM chat_counts WHERE token = ? AND number = ?",
    )?;
    let mut loaded = HashMap::new();
    for chat in chats {
        let key = (chat.token.as_bytes(), chat.number.get());
        if let Some(counts) = statement.query_row(key, decode_chat_counts).optional()? {
            loaded.insert(*chat, counts);
        }
    }
    Ok(loaded)
}

fn decode_chat_counts(row: &Row) -> Result<ChatCounts> {
    let mut counts = ChatCounts::from_parts(row.get(0)?, row.get(1)?, row.get_ref(2)?.as_str()?)
        .map_err(|error| decode_error(2, Type::Text, error))?;
    counts.last_event = row.get::<_, Option<i64>>(3)?.map(|offset| Offset(offset.cast_unsigned()));
    Ok(counts)
}

pub(super) fn write(connection: &Connection, changes: &CountsChanges) -> Result<()> {
    let mut statement = prepare(
        connection,
        "INSERT INTO chat_counts (token, number, created, last_number, gaps, messages_count, log_offset) \
         VALUES (?, ?, ?, ?, ?, ?, ?) \
         ON CONFLICT (token, number) DO UPDATE SET created = excluded.created, last_number = excluded.last_number, \
         gaps = excluded.gaps, messages_count = excluded.messages_count, log_offset = excluded.log_offset",
    )?;
    for (chat, counts) in &changes.chats {
        statement.execute(params![
            chat.token.as_bytes(),
            chat.number.get(),
            counts.created,
            counts.last(),
            counts.gaps_text(),
            counts.messages_count(),
            counts.last_event.map(|offset| offset.0.cast_signed()),
        ])?;
    }
    let mut statement = prepare(
        connection,
        "INSERT INTO application_counts (token, chats_count, last_chat) VALUES (?, ?, ?) \
         ON CONFLICT (token) DO UPDATE SET chats_count = chats_count + excluded.chats_count, \
         last_chat = max(last_chat, excluded.last_chat)",
    )?;
    // An application without chats needs no row: the log knows which applications exist.
    for (token, delta) in changes.applications.iter().filter(|(_, delta)| delta.last_chat > 0) {
        statement.execute((token.as_bytes(), delta.chats, delta.last_chat))?;
    }
    Ok(())
}
