//! Fills the tables that are read.

use std::path::Path;

use rusqlite::{Connection, params};

use super::{LimitArgs, sql};
use crate::messages;

/// As many documents a transaction as Tally indexes at once, so that the index has segments as Tally's has.
const MESSAGES_PER_TRANSACTION: u64 = 256;

/// Writes the chat with its messages into a new database.
pub(super) fn fill(path: &Path, args: &LimitArgs) -> Result<(), rusqlite::Error> {
    let mut connection = Connection::open(path)?;
    connection.execute_batch(sql::VIEWS_SCHEMA)?;
    connection.execute(sql::INSERT_CHAT, params![args.token.as_bytes(), args.chat])?;
    let mut message = 0;
    while message < args.messages {
        let end = args.messages.min(message + MESSAGES_PER_TRANSACTION);
        let transaction = connection.transaction()?;
        for message in message..end {
            insert(&transaction, 1 << 32 | (message + 1), &messages::in_chat(message, args.rare_every))?;
        }
        transaction.commit()?;
        message = end;
    }
    Ok(())
}

fn insert(connection: &Connection, id: u64, body: &str) -> Result<(), rusqlite::Error> {
    let id = id.cast_signed();
    let event_id = uuid::Uuid::now_v7();
    connection.prepare_cached(sql::INSERT_MESSAGE)?.execute(params![id, event_id.as_bytes(), body])?;
    connection.prepare_cached(sql::INSERT_SEARCH_MESSAGE)?.execute(params![id, body])?;
    connection.prepare_cached(sql::INSERT_TRIGRAMS)?.execute(params![id, body])?;
    Ok(())
}
