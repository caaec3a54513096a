//! The SQL that reads views; that of chats is in `read_chats`.
//!
//! One row is read on the caller's thread, a page on one of the threads for pages.

use std::time::Duration;

use async_trait::async_trait;
use events::{
    ApplicationToken, Author, ChatKey, ChatNumber, LogId, MessageNumber, Offset, PartitionId, Position, UnixMillis,
};
use read_model::{
    ApplicationView, ChatView, Cursor, LastMessage, MessageView, Page, Projection, Shown, Slice, Views, ViewsError,
};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Params, Result, Row};

use super::SqliteProjections;
use super::ordinals::{FoundChat, find_chat};
use super::read_chats::{read_chat, read_chats};
use crate::sqlite::{decode_error, decode_number, decode_token, prepare};

/// Reads rows until a page is full. The statement selects one row more than `limit`, if there is one, to show whether
/// items follow. `decode` returns an item and its bytes of text, and extends the position by what the item shows.
pub(super) fn read_slice<T>(
    connection: &Connection,
    sql: &'static str,
    params: impl Params,
    limit: u32,
    decode: impl Fn(&Row, &mut Position) -> Result<(T, usize)>,
) -> Result<Shown<Slice<T>>> {
    let mut statement = prepare(connection, sql)?;
    let mut rows = statement.query(params)?;
    let (mut slice, mut position) = (Slice::builder(limit), Position::default());
    while let Some(row) = rows.next()? {
        if slice.is_full() {
            return Ok(Shown { value: slice.finish(true), position });
        }
        let (item, text_bytes) = decode(row, &mut position)?;
        slice.push(item, text_bytes);
    }
    Ok(Shown { value: slice.finish(false), position })
}

/// Reads one item of a statement; see [`read_slice`].
pub(super) fn read_one<T>(
    connection: &Connection,
    sql: &'static str,
    params: impl Params,
    decode: impl Fn(&Row, &mut Position) -> Result<T>,
) -> Result<Option<Shown<T>>> {
    let mut position = Position::default();
    let value = prepare(connection, sql)?.query_row(params, |row| decode(row, &mut position)).optional()?;
    Ok(value.map(|value| Shown { value, position }))
}

fn read_application(connection: &Connection, token: ApplicationToken) -> Result<Option<Shown<ApplicationView>>> {
    let sql = "SELECT token, name, coalesce(chats_count, 0), created_at_ms, \
               (SELECT group_concat(partition || ':' || next_offset, '.') FROM main.checkpoints), \
               (SELECT group_concat(partition || ':' || next_offset, '.') FROM counts.checkpoints) FROM applications \
               LEFT JOIN application_counts USING (token) WHERE token = ?";
    read_one(connection, sql, [token.as_bytes()], |row, position| {
        position.merge(&decode_checkpoints(row, 4)?);
        position.merge(&decode_checkpoints(row, 5)?);
        Ok(decode_application(row)?.0)
    })
}

/// Reads the checkpoints after the rows: they cover whatever the rows show, also if a batch has come in between.
fn read_applications(connection: &Connection, page: Page<ApplicationToken>) -> Result<Shown<Slice<ApplicationView>>> {
    let (above, below) = tokens_between(page.cursor);
    let sql = if page.cursor.descends() {
        "SELECT token, name, coalesce(chats_count, 0), created_at_ms FROM applications \
         LEFT JOIN application_counts USING (token) WHERE token > ? AND token < ? ORDER BY token DESC LIMIT ?"
    } else {
        "SELECT token, name, coalesce(chats_count, 0), created_at_ms FROM applications \
         LEFT JOIN application_counts USING (token) WHERE token > ? AND token < ? ORDER BY token LIMIT ?"
    };
    let params = (above, below, page.limit + 1);
    let slice = read_slice(connection, sql, params, page.limit, |row, _| decode_application(row))?;
    Ok(slice.and(&read_checkpoints(connection)?))
}

/// Reads the checkpoints of `views` and `counts`.
fn read_checkpoints(connection: &Connection) -> Result<Position> {
    let sql = "SELECT (SELECT group_concat(partition || ':' || next_offset, '.') FROM main.checkpoints), \
               (SELECT group_concat(partition || ':' || next_offset, '.') FROM counts.checkpoints)";
    prepare(connection, sql)?.query_row((), |row| {
        let mut position = decode_checkpoints(row, 0)?;
        position.merge(&decode_checkpoints(row, 1)?);
        Ok(position)
    })
}

fn read_message(connection: &Connection, chat: ChatKey, number: MessageNumber) -> Result<Option<Shown<MessageView>>> {
    let sql = "SELECT partition, messages.log_offset, messages.id & 4294967295, messages.created_at_ms, author, body \
               FROM chats JOIN messages ON id = (ordinal << 32) | ? \
               WHERE token = ? AND chats.number = ? AND created_event IS NOT NULL";
    let key = (number.get(), chat.token.as_bytes(), chat.number.get());
    read_one(connection, sql, key, |row, position| {
        extend_to_event(position, row, 0)?;
        decode_message(row, 2)
    })
}

/// Reads a page of a chat's messages. `None` if the chat is not shown.
fn read_messages(
    connection: &Connection,
    chat: ChatKey,
    page: Page<MessageNumber>,
) -> Result<Option<Shown<Slice<MessageView>>>> {
    let Some((found, created)) = find_chat(connection, chat)?.and_then(|found| Some((found, found.position()?))) else {
        return Ok(None);
    };
    let (above, below) = found.ordinal.row_ids_between(page.cursor);
    let sql = if page.cursor.descends() {
        "SELECT log_offset, id & 4294967295, created_at_ms, author, body FROM messages \
         WHERE id > ? AND id < ? ORDER BY id DESC LIMIT ?"
    } else {
        "SELECT log_offset, id & 4294967295, created_at_ms, author, body FROM messages \
         WHERE id > ? AND id < ? ORDER BY id LIMIT ?"
    };
    let slice = read_slice(connection, sql, (above, below, page.limit + 1), page.limit, |row, position| {
        position.extend(found.partition, decode_offset(row, 0)?.next());
        let message = decode_message(row, 1)?;
        let text_bytes = message.text_bytes();
        Ok((message, text_bytes))
    })?;
    Ok(Some(slice.and(&created)))
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
    let created_at = decode_time(row, 3)?;
    Ok((ApplicationView { token: decode_token(row, 0)?, name, chats_count, created_at }, text_bytes))
}

/// Extends a position by the event in the columns of a partition and an offset; `column` is the index of the first.
pub(super) fn extend_to_event(position: &mut Position, row: &Row, column: usize) -> Result<()> {
    position.extend(PartitionId(row.get(column)?), decode_offset(row, column + 1)?.next());
    Ok(())
}

fn decode_offset(row: &Row, column: usize) -> Result<Offset> {
    row.get::<_, i64>(column).map(|offset| Offset(offset.cast_unsigned()))
}

/// Decodes checkpoints that a statement has joined to the text of a position; NULL if there are none.
pub(super) fn decode_checkpoints(row: &Row, column: usize) -> Result<Position> {
    let Some(text) = row.get_ref(column)?.as_str_or_null()? else {
        return Ok(Position::default());
    };
    text.parse().map_err(|error| decode_error(column, Type::Text, error))
}

/// Decodes a number, a time, an author and a body; `column` is the index of the first.
pub(super) fn decode_message(row: &Row, column: usize) -> Result<MessageView> {
    Ok(MessageView {
        number: MessageNumber(decode_number(row, column)?),
        created_at: decode_time(row, column + 1)?,
        author: decode_author(row, column + 2)?,
        body: row.get(column + 3)?,
    })
}

pub(super) fn decode_time(row: &Row, column: usize) -> Result<Option<UnixMillis>> {
    Ok(row.get::<_, Option<i64>>(column)?.map(|at| UnixMillis(at.cast_unsigned())))
}

fn decode_author(row: &Row, column: usize) -> Result<Option<Author>> {
    let author = row.get::<_, Option<String>>(column)?.map(Author::from_stored);
    author.transpose().map_err(|error| decode_error(column, Type::Text, error))
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

    async fn log_id(&self) -> Result<Option<LogId>, ViewsError> {
        Ok(Some(LogId(self.log_id)))
    }

    async fn application(&self, token: ApplicationToken) -> Result<Option<Shown<ApplicationView>>, ViewsError> {
        self.read(|connection| read_application(connection, token)).map_err(wrap_error("the application"))
    }

    async fn applications(&self, page: Page<ApplicationToken>) -> Result<Shown<Slice<ApplicationView>>, ViewsError> {
        self.read_on(&self.pages, move |connection| read_applications(connection, page))
            .await
            .map_err(wrap_error("the list of applications"))
    }

    async fn chat(&self, chat: ChatKey, last_message: LastMessage) -> Result<Option<Shown<ChatView>>, ViewsError> {
        self.read(|connection| read_chat(connection, chat, last_message)).map_err(wrap_error("the chat"))
    }

    async fn find_chat(&self, chat: ChatKey) -> Result<Option<Position>, ViewsError> {
        let found = self.read(|connection| find_chat(connection, chat)).map_err(wrap_error("the chat"))?;
        Ok(found.and_then(FoundChat::position))
    }

    async fn chats(
        &self,
        token: ApplicationToken,
        page: Page<ChatNumber>,
        last_message: LastMessage,
    ) -> Result<Option<Shown<Slice<ChatView>>>, ViewsError> {
        self.read_on(&self.pages, move |connection| read_chats(connection, token, page, last_message))
            .await
            .map_err(wrap_error("the list of chats"))
    }

    async fn message(&self, chat: ChatKey, number: MessageNumber) -> Result<Option<Shown<MessageView>>, ViewsError> {
        self.read(|connection| read_message(connection, chat, number)).map_err(wrap_error("the message"))
    }

    async fn messages(
        &self,
        chat: ChatKey,
        page: Page<MessageNumber>,
    ) -> Result<Option<Shown<Slice<MessageView>>>, ViewsError> {
        self.read_on(&self.pages, move |connection| read_messages(connection, chat, page))
            .await
            .map_err(wrap_error("the list of messages"))
    }
}
