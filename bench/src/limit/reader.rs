//! Reads on a connection of the thread that asks.

use std::cell::RefCell;
use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::Serialize;

use super::sql;

thread_local! {
    static CONNECTION: RefCell<Option<Connection>> = const { RefCell::new(None) };
}

#[derive(Debug, Serialize)]
pub(super) struct Message {
    number: u32,
    body: String,
}

/// Runs `read` on this thread's connection to the database at `path`.
pub(super) fn read<T>(
    path: &Path,
    read: impl FnOnce(&Connection) -> Result<T, rusqlite::Error>,
) -> Result<T, rusqlite::Error> {
    CONNECTION.with_borrow_mut(|connection| match connection {
        Some(connection) => read(connection),
        None => {
            let opened = Connection::open(path)?;
            opened.execute_batch(sql::OPEN_VIEWS)?;
            // As Tally: otherwise SQLite prepares a statement again for every LIMIT.
            opened.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
            read(connection.insert(opened))
        }
    })
}

pub(super) fn message(
    connection: &Connection,
    token: &str,
    chat: u32,
    number: u32,
) -> Result<Option<Message>, rusqlite::Error> {
    let mut statement = connection.prepare_cached(sql::SELECT_MESSAGE)?;
    let body = statement.query_row(params![number, token.as_bytes(), chat], |row| row.get(0)).optional()?;
    Ok(body.map(|body| Message { number, body }))
}

/// The messages after a number.
pub(super) fn page(
    connection: &Connection,
    token: &str,
    chat: u32,
    after: u32,
    limit: u32,
) -> Result<Vec<Message>, rusqlite::Error> {
    let ordinal = ordinal(connection, token, chat)?;
    let mut statement = connection.prepare_cached(sql::SELECT_PAGE)?;
    let bounds = params![ordinal << 32 | i64::from(after), (ordinal + 1) << 32, limit + 1];
    take(limit, statement.query_map(bounds, decode)?)
}

/// The messages that contain a text in lower case, of three ASCII letters or more.
pub(super) fn search(
    connection: &Connection,
    token: &str,
    chat: u32,
    text: &str,
    limit: u32,
) -> Result<Vec<Message>, rusqlite::Error> {
    let ordinal = ordinal(connection, token, chat)?;
    let mut statement = connection.prepare_cached(sql::SEARCH)?;
    let phrase = format!("\"{text}\"");
    take(limit, statement.query_map(params![text, ordinal << 32, (ordinal + 1) << 32, limit + 1, phrase], decode)?)
}

fn ordinal(connection: &Connection, token: &str, chat: u32) -> Result<i64, rusqlite::Error> {
    connection.prepare_cached(sql::SELECT_ORDINAL)?.query_row(params![token.as_bytes(), chat], |row| row.get(0))
}

fn decode(row: &Row<'_>) -> Result<Message, rusqlite::Error> {
    Ok(Message { number: row.get(0)?, body: row.get(1)? })
}

/// Reads one row more than `limit`, as Tally does to know whether there is more.
fn take(
    limit: u32,
    rows: impl Iterator<Item = Result<Message, rusqlite::Error>>,
) -> Result<Vec<Message>, rusqlite::Error> {
    let mut messages = rows.collect::<Result<Vec<_>, _>>()?;
    messages.truncate(limit as usize);
    Ok(messages)
}
