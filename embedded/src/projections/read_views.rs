//! The SQL that reads views.
//!
//! One row is read on the caller's thread, a page on one of the threads for pages.

use std::time::Duration;

use async_trait::async_trait;
use events::{ApplicationToken, ChatKey, ChatNumber, MessageNumber, Offset, PartitionId, Position};
use read_model::{ApplicationView, ChatView, Cursor, MessageView, Page, Projection, Shown, Slice, Views, ViewsError};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Params, Result, Row};

use super::SqliteProjections;
use super::ordinals::{FoundChat, find_chat};
use crate::sqlite::{decode_error, decode_number, decode_token, prepare};

/// Reads rows until a page is full. The statement selects one row more than `limit`, if there is one, to show whether
/// items follow. `decode` returns an item and its bytes of text, and extends the position by what the item shows.
fn read_slice<T>(
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
fn read_one<T>(
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
    let sql = "SELECT token, name, coalesce(chats_count, 0), \
               (SELECT group_concat(partition || ':' || next_offset, '.') FROM main.checkpoints), \
               (SELECT group_concat(partition || ':' || next_offset, '.') FROM counts.checkpoints) FROM applications \
               LEFT JOIN application_counts USING (token) WHERE token = ?";
    read_one(connection, sql, [token.as_bytes()], |row, position| {
        position.merge(&decode_checkpoints(row, 3)?);
        position.merge(&decode_checkpoints(row, 4)?);
        Ok(decode_application(row)?.0)
    })
}

/// Reads the checkpoints after the rows: they cover whatever the rows show, also if a batch has come in between.
fn read_applications(connection: &Connection, page: Page<ApplicationToken>) -> Result<Shown<Slice<ApplicationView>>> {
    let (above, below) = tokens_between(page.cursor);
    let sql = if page.cursor.descends() {
        "SELECT token, name, coalesce(chats_count, 0) FROM applications \
         LEFT JOIN application_counts USING (token) WHERE token > ? AND token < ? ORDER BY token DESC LIMIT ?"
    } else {
        "SELECT token, name, coalesce(chats_count, 0) FROM applications \
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

fn read_chat(connection: &Connection, chat: ChatKey) -> Result<Option<Shown<ChatView>>> {
    let sql = "SELECT number, coalesce(messages_count, 0), partition, \
               max(chats.log_offset, coalesce(chat_counts.log_offset, chats.log_offset)) \
               FROM chats LEFT JOIN chat_counts USING (token, number) \
               WHERE token = ? AND number = ? AND created_event IS NOT NULL";
    let key = (chat.token.as_bytes(), chat.number.get());
    read_one(connection, sql, key, |row, position| Ok(decode_chat_view(row, position)?.0))
}

/// Reads a page of an application's chats. `None` if neither the application nor a chat of it is shown.
fn read_chats(
    connection: &Connection,
    token: ApplicationToken,
    page: Page<ChatNumber>,
) -> Result<Option<Shown<Slice<ChatView>>>> {
    let (above, below) = match page.cursor {
        Cursor::First | Cursor::Last => (0, i64::MAX),
        Cursor::After(number) => (i64::from(number.get()), i64::MAX),
        Cursor::Before(number) => (0, number.get().into()),
    };
    let sql = if page.cursor.descends() {
        "SELECT number, coalesce(messages_count, 0), partition, \
         max(chats.log_offset, coalesce(chat_counts.log_offset, chats.log_offset)) \
         FROM chats LEFT JOIN chat_counts USING (token, number) \
         WHERE token = ? AND number > ? AND number < ? AND created_event IS NOT NULL ORDER BY number DESC LIMIT ?"
    } else {
        "SELECT number, coalesce(messages_count, 0), partition, \
         max(chats.log_offset, coalesce(chat_counts.log_offset, chats.log_offset)) \
         FROM chats LEFT JOIN chat_counts USING (token, number) \
         WHERE token = ? AND number > ? AND number < ? AND created_event IS NOT NULL ORDER BY number LIMIT ?"
    };
    let params = (token.as_bytes(), above, below, page.limit + 1);
    let slice = read_slice(connection, sql, params, page.limit, decode_chat_view)?;
    if !slice.value.items.is_empty() {
        return Ok(Some(slice));
    }
    Ok(find_application_or_chat(connection, token)?.map(|position| slice.and(&position)))
}

/// The position of what shows that there is such an application: the last event of its own, or the creation of a chat.
fn find_application_or_chat(connection: &Connection, token: ApplicationToken) -> Result<Option<Position>> {
    let sql = "SELECT partition, log_offset FROM (SELECT partition, log_offset FROM applications WHERE token = ?1 \
               UNION ALL SELECT partition, log_offset FROM chats WHERE token = ?1 AND created_event IS NOT NULL) LIMIT 1";
    let shown = read_one(connection, sql, [token.as_bytes()], |row, position| extend_to_event(position, row, 0))?;
    Ok(shown.map(|shown| shown.position))
}

fn read_message(connection: &Connection, chat: ChatKey, number: MessageNumber) -> Result<Option<Shown<MessageView>>> {
    let sql = "SELECT partition, messages.log_offset, body FROM chats JOIN messages ON id = (ordinal << 32) | ? \
               WHERE token = ? AND chats.number = ? AND created_event IS NOT NULL";
    let key = (number.get(), chat.token.as_bytes(), chat.number.get());
    read_one(connection, sql, key, |row, position| {
        extend_to_event(position, row, 0)?;
        Ok(MessageView { number, body: row.get(2)? })
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
        "SELECT id & 4294967295, log_offset, body FROM messages WHERE id > ? AND id < ? ORDER BY id DESC LIMIT ?"
    } else {
        "SELECT id & 4294967295, log_offset, body FROM messages WHERE id > ? AND id < ? ORDER BY id LIMIT ?"
    };
    let slice = read_slice(connection, sql, (above, below, page.limit + 1), page.limit, |row, position| {
        position.extend(found.partition, decode_offset(row, 1)?.next());
        decode_message(row)
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
    Ok((ApplicationView { token: decode_token(row, 0)?, name, chats_count }, text_bytes))
}

/// Extends a position by the event in the columns of a partition and an offset; `column` is the index of the first.
fn extend_to_event(position: &mut Position, row: &Row, column: usize) -> Result<()> {
    position.extend(PartitionId(row.get(column)?), decode_offset(row, column + 1)?.next());
    Ok(())
}

fn decode_offset(row: &Row, column: usize) -> Result<Offset> {
    row.get::<_, i64>(column).map(|offset| Offset(offset.cast_unsigned()))
}

/// Decodes checkpoints that a statement has joined to the text of a position; NULL if there are none.
fn decode_checkpoints(row: &Row, column: usize) -> Result<Position> {
    let Some(text) = row.get_ref(column)?.as_str_or_null()? else {
        return Ok(Position::default());
    };
    text.parse().map_err(|error| decode_error(column, Type::Text, error))
}

fn decode_chat_view(row: &Row, position: &mut Position) -> Result<(ChatView, usize)> {
    extend_to_event(position, row, 2)?;
    let messages_count = row.get::<_, u32>(1)?.into();
    Ok((ChatView { number: ChatNumber(decode_number(row, 0)?), messages_count }, 0))
}

fn decode_message(row: &Row) -> Result<(MessageView, usize)> {
    let body: String = row.get(2)?;
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

    async fn application(&self, token: ApplicationToken) -> Result<Option<Shown<ApplicationView>>, ViewsError> {
        self.read(|connection| read_application(connection, token)).map_err(wrap_error("the application"))
    }

    async fn applications(&self, page: Page<ApplicationToken>) -> Result<Shown<Slice<ApplicationView>>, ViewsError> {
        self.read_on(&self.pages, move |connection| read_applications(connection, page))
            .await
            .map_err(wrap_error("the list of applications"))
    }

    async fn chat(&self, chat: ChatKey) -> Result<Option<Shown<ChatView>>, ViewsError> {
        self.read(|connection| read_chat(connection, chat)).map_err(wrap_error("the chat"))
    }

    async fn find_chat(&self, chat: ChatKey) -> Result<Option<Position>, ViewsError> {
        let found = self.read(|connection| find_chat(connection, chat)).map_err(wrap_error("the chat"))?;
        Ok(found.and_then(FoundChat::position))
    }

    async fn chats(
        &self,
        token: ApplicationToken,
        page: Page<ChatNumber>,
    ) -> Result<Option<Shown<Slice<ChatView>>>, ViewsError> {
        self.read_on(&self.pages, move |connection| read_chats(connection, token, page))
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
