//! The SQL that reads views.
//!
//! One row is read on the caller's thread, a page on one of the threads for pages.

use std::time::Duration;

use async_trait::async_trait;
use events::{ApplicationToken, ChatKey, ChatNumber, MessageNumber, Position};
use read_model::{ApplicationView, ChatView, Cursor, MessageView, Page, Projection, Slice, Views, ViewsError};
use rusqlite::{Connection, OptionalExtension, Params, Result, Row};

use super::SqliteProjections;
use super::ordinals::{SHOWN_CHAT, find_ordinal};
use crate::sqlite::{decode_number, decode_token, prepare};

/// Reads rows until a page is full. The statement selects one row more than `limit`, if there is one, to show whether
/// items follow. `decode` returns an item and its bytes of text.
fn read_slice<T>(
    connection: &Connection,
    sql: &'static str,
    params: impl Params,
    limit: u32,
    decode: impl Fn(&Row) -> Result<(T, usize)>,
) -> Result<Slice<T>> {
    let mut statement = prepare(connection, sql)?;
    let mut rows = statement.query(params)?;
    let mut slice = Slice::builder(limit);
    while let Some(row) = rows.next()? {
        if slice.is_full() {
            return Ok(slice.finish(true));
        }
        let (item, text_bytes) = decode(row)?;
        slice.push(item, text_bytes);
    }
    Ok(slice.finish(false))
}

fn read_application(connection: &Connection, token: ApplicationToken) -> Result<Option<ApplicationView>> {
    let mut statement = prepare(
        connection,
        "SELECT token, name, coalesce(chats_count, 0) FROM applications \
         LEFT JOIN application_counts USING (token) WHERE token = ?",
    )?;
    statement.query_row([token.as_bytes()], |row| Ok(decode_application(row)?.0)).optional()
}

fn read_applications(connection: &Connection, page: Page<ApplicationToken>) -> Result<Slice<ApplicationView>> {
    let (above, below) = tokens_between(page.cursor);
    let sql = if page.cursor.descends() {
        "SELECT token, name, coalesce(chats_count, 0) FROM applications \
         LEFT JOIN application_counts USING (token) WHERE token > ? AND token < ? ORDER BY token DESC LIMIT ?"
    } else {
        "SELECT token, name, coalesce(chats_count, 0) FROM applications \
         LEFT JOIN application_counts USING (token) WHERE token > ? AND token < ? ORDER BY token LIMIT ?"
    };
    read_slice(connection, sql, (above, below, page.limit + 1), page.limit, decode_application)
}

fn read_chat(connection: &Connection, chat: ChatKey) -> Result<Option<ChatView>> {
    let mut statement = prepare(
        connection,
        "SELECT number, coalesce(messages_count, 0) FROM chats LEFT JOIN chat_counts USING (token, number) \
         WHERE token = ? AND number = ? AND created_event IS NOT NULL",
    )?;
    let key = (chat.token.as_bytes(), chat.number.get());
    statement.query_row(key, |row| Ok(decode_chat_view(row)?.0)).optional()
}

/// Reads a page of an application's chats. `None` if neither the application nor a chat of it is shown.
fn read_chats(
    connection: &Connection,
    token: ApplicationToken,
    page: Page<ChatNumber>,
) -> Result<Option<Slice<ChatView>>> {
    let (above, below) = match page.cursor {
        Cursor::First | Cursor::Last => (0, i64::MAX),
        Cursor::After(number) => (i64::from(number.get()), i64::MAX),
        Cursor::Before(number) => (0, number.get().into()),
    };
    let sql = if page.cursor.descends() {
        "SELECT number, coalesce(messages_count, 0) FROM chats LEFT JOIN chat_counts USING (token, number) \
         WHERE token = ? AND number > ? AND number < ? AND created_event IS NOT NULL ORDER BY number DESC LIMIT ?"
    } else {
        "SELECT number, coalesce(messages_count, 0) FROM chats LEFT JOIN chat_counts USING (token, number) \
         WHERE token = ? AND number > ? AND number < ? AND created_event IS NOT NULL ORDER BY number LIMIT ?"
    };
    let params = (token.as_bytes(), above, below, page.limit + 1);
    let slice = read_slice(connection, sql, params, page.limit, decode_chat_view)?;
    let is_shown = !slice.items.is_empty() || has_application_or_chat(connection, token)?;
    Ok(is_shown.then_some(slice))
}

fn has_application_or_chat(connection: &Connection, token: ApplicationToken) -> Result<bool> {
    let mut statement = prepare(
        connection,
        "SELECT 1 WHERE EXISTS (SELECT 1 FROM applications WHERE token = ?1) \
         OR EXISTS (SELECT 1 FROM chats WHERE token = ?1 AND created_event IS NOT NULL)",
    )?;
    statement.exists([token.as_bytes()])
}

fn read_message(connection: &Connection, chat: ChatKey, number: MessageNumber) -> Result<Option<MessageView>> {
    let mut statement = prepare(
        connection,
        "SELECT body FROM chats JOIN messages ON id = (ordinal << 32) | ? \
         WHERE token = ? AND chats.number = ? AND created_event IS NOT NULL",
    )?;
    let key = (number.get(), chat.token.as_bytes(), chat.number.get());
    statement.query_row(key, |row| Ok(MessageView { number, body: row.get(0)? })).optional()
}

/// Reads a page of a chat's messages. `None` if the chat is not shown.
fn read_messages(
    connection: &Connection,
    chat: ChatKey,
    page: Page<MessageNumber>,
) -> Result<Option<Slice<MessageView>>> {
    let Some(ordinal) = find_ordinal(connection, SHOWN_CHAT, chat)? else {
        return Ok(None);
    };
    let (above, below) = ordinal.row_ids_between(page.cursor);
    let sql = if page.cursor.descends() {
        "SELECT id & 4294967295, body FROM messages WHERE id > ? AND id < ? ORDER BY id DESC LIMIT ?"
    } else {
        "SELECT id & 4294967295, body FROM messages WHERE id > ? AND id < ? ORDER BY id LIMIT ?"
    };
    read_slice(connection, sql, (above, below, page.limit + 1), page.limit, decode_message).map(Some)
}

/// The exclusive bounds of the tokens of a page.
fn tokens_between(cursor: Cursor<ApplicationToken>) -> (Vec<u8>, Vec<u8>) {
    let before_all = Vec::new();
    let after_all = vec![u8::MAX; ApplicationToken::BYTES + 1];
    match cursor {
        Cursor::First | Cursor::Last => (before_all, after_all),
        Cursor::After(token) => (token.as_bytes().to_vec(), after_all),
        Cursor::Before(token) => (before_all, token.as_bytes().to_vec()),
    }
}

fn decode_application(row: &Row) -> Result<(ApplicationView, usize)> {
    let name: String = row.get(1)?;
    let text_bytes = name.len();
    let chats_count = row.get::<_, u32>(2)?.into();
    Ok((ApplicationView { token: decode_token(row, 0)?, name, chats_count }, text_bytes))
}

fn decode_chat_view(row: &Row) -> Result<(ChatView, usize)> {
    let messages_count = row.get::<_, u32>(1)?.into();
    Ok((ChatView { number: ChatNumber(decode_number(row, 0)?), messages_count }, 0))
}

fn decode_message(row: &Row) -> Result<(MessageView, usize)> {
    let body: String = row.get(1)?;
    let text_bytes = body.len();
    Ok((MessageView { number: MessageNumber(decode_number(row, 0)?), body }, text_bytes))
}

/// Wraps an error of reading `what`.
fn wrap_error(what: &'static str) -> impl Fn(rusqlite::Error) -> ViewsError {
    move |error| ViewsError { what, source: error.into() }
}

#[async_trait]
impl Views for SqliteProjections {
    async fn reached(&self, projection: Projection, position: &Position, within: Duration) -> Result<bool, ViewsError> {
        Ok(self.progress.wait_until_reached(projection, position, within).await)
    }

    async fn application(&self, token: ApplicationToken) -> Result<Option<ApplicationView>, ViewsError> {
        self.read(|connection| read_application(connection, token)).map_err(wrap_error("the application"))
    }

    async fn applications(&self, page: Page<ApplicationToken>) -> Result<Slice<ApplicationView>, ViewsError> {
        self.read_on(&self.pages, move |connection| read_applications(connection, page))
            .await
            .map_err(wrap_error("the list of applications"))
    }

    async fn chat(&self, chat: ChatKey) -> Result<Option<ChatView>, ViewsError> {
        self.read(|connection| read_chat(connection, chat)).map_err(wrap_error("the chat"))
    }

    async fn chats(
        &self,
        token: ApplicationToken,
        page: Page<ChatNumber>,
    ) -> Result<Option<Slice<ChatView>>, ViewsError> {
        self.read_on(&self.pages, move |connection| read_chats(connection, token, page))
            .await
            .map_err(wrap_error("the list of chats"))
    }

    async fn message(&self, chat: ChatKey, number: MessageNumber) -> Result<Option<MessageView>, ViewsError> {
        self.read(|connection| read_message(connection, chat, number)).map_err(wrap_error("the message"))
    }

    async fn messages(
        &self,
        chat: ChatKey,
        page: Page<MessageNumber>,
    ) -> Result<Option<Slice<MessageView>>, ViewsError> {
        self.read_on(&self.pages, move |connection| read_messages(connection, chat, page))
            .await
            .map_err(wrap_error("the list of messages"))
    }
}
