//! The SQL that reads views.

use std::time::Duration;

use async_trait::async_trait;
use events::{ApplicationToken, ChatKey, ChatNumber, MessageNumber, Position};
use futures_util::TryStreamExt;
use read_model::{ApplicationView, ChatView, Cursor, MessageView, Page, Projection, Slice, Views, ViewsError};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::ordinals::Ordinal;
use super::{Query, SqliteProjections};
use crate::sqlite::{decode_error, decode_number, decode_token};

impl SqliteProjections {
    /// Reads rows until a page is full. `query` selects one row more than `limit`, if there is one, to show whether
    /// items follow.
    ///
    /// `decode` returns an item and its bytes of text.
    pub(super) async fn read_slice<T>(
        &self,
        limit: u32,
        query: Query,
        decode: impl Fn(&SqliteRow) -> Result<(T, usize), sqlx::Error>,
    ) -> Result<Slice<T>, sqlx::Error> {
        let mut slice = Slice::builder(limit);
        let mut rows = self.readers.fetch(query);
        while let Some(row) = rows.try_next().await? {
            if slice.is_full() {
                return Ok(slice.finish(true));
            }
            let (item, text_bytes) = decode(&row)?;
            slice.push(item, text_bytes);
        }
        Ok(slice.finish(false))
    }

    async fn has_application_or_chat(&self, token: ApplicationToken) -> Result<bool, sqlx::Error> {
        let query = sqlx::query(
            "SELECT 1 WHERE EXISTS (SELECT 1 FROM applications WHERE token = ?1) \
             OR EXISTS (SELECT 1 FROM chats WHERE token = ?1 AND created_event IS NOT NULL)",
        );
        Ok(self.readers.fetch_optional(query.bind(token.as_bytes().to_vec())).await?.is_some())
    }

    async fn load_ordinal(&self, chat: ChatKey) -> Result<Option<Ordinal>, sqlx::Error> {
        let query =
            sqlx::query("SELECT ordinal FROM chats WHERE token = ? AND number = ? AND created_event IS NOT NULL")
                .bind(chat.token.as_bytes().to_vec())
                .bind(i64::from(chat.number.get()));
        let row = self.readers.fetch_optional(query).await?;
        row.map(|row| row.try_get(0).map(Ordinal)).transpose()
    }

    async fn read_application(&self, token: ApplicationToken) -> Result<Option<ApplicationView>, sqlx::Error> {
        let query = sqlx::query(
            "SELECT token, name, coalesce(chats_count, 0) FROM applications \
             LEFT JOIN application_counts USING (token) WHERE token = ?",
        )
        .bind(token.as_bytes().to_vec());
        let row = self.readers.fetch_optional(query).await?;
        row.map(|row| Ok(decode_application(&row)?.0)).transpose()
    }

    async fn read_applications(&self, page: Page<ApplicationToken>) -> Result<Slice<ApplicationView>, sqlx::Error> {
        let (above, below) = tokens_between(page.cursor);
        let query = if page.cursor.descends() {
            "SELECT token, name, coalesce(chats_count, 0) FROM applications \
             LEFT JOIN application_counts USING (token) WHERE token > ? AND token < ? ORDER BY token DESC LIMIT ?"
        } else {
            "SELECT token, name, coalesce(chats_count, 0) FROM applications \
             LEFT JOIN application_counts USING (token) WHERE token > ? AND token < ? ORDER BY token LIMIT ?"
        };
        let query = sqlx::query(query).bind(above).bind(below).bind(page.limit + 1);
        self.read_slice(page.limit, query, decode_application).await
    }

    async fn read_chat(&self, chat: ChatKey) -> Result<Option<ChatView>, sqlx::Error> {
        let query = sqlx::query(
            "SELECT number, coalesce(messages_count, 0) FROM chats LEFT JOIN chat_counts USING (token, number) \
             WHERE token = ? AND number = ? AND created_event IS NOT NULL",
        )
        .bind(chat.token.as_bytes().to_vec())
        .bind(i64::from(chat.number.get()));
        let row = self.readers.fetch_optional(query).await?;
        row.map(|row| Ok(decode_chat_view(&row)?.0)).transpose()
    }

    async fn read_chats(
        &self,
        token: ApplicationToken,
        page: Page<ChatNumber>,
    ) -> Result<Option<Slice<ChatView>>, sqlx::Error> {
        let (above, below) = match page.cursor {
            Cursor::First | Cursor::Last => (0, i64::MAX),
            Cursor::After(number) => (i64::from(number.get()), i64::MAX),
            Cursor::Before(number) => (0, i64::from(number.get())),
        };
        let query = if page.cursor.descends() {
            "SELECT number, coalesce(messages_count, 0) FROM chats LEFT JOIN chat_counts USING (token, number) \
             WHERE token = ? AND number > ? AND number < ? AND created_event IS NOT NULL ORDER BY number DESC LIMIT ?"
        } else {
            "SELECT number, coalesce(messages_count, 0) FROM chats LEFT JOIN chat_counts USING (token, number) \
             WHERE token = ? AND number > ? AND number < ? AND created_event IS NOT NULL ORDER BY number LIMIT ?"
        };
        let query = sqlx::query(query).bind(token.as_bytes().to_vec()).bind(above).bind(below).bind(page.limit + 1);
        let slice = self.read_slice(page.limit, query, decode_chat_view).await?;
        if slice.items.is_empty() && !self.has_application_or_chat(token).await? {
            return Ok(None);
        }
        Ok(Some(slice))
    }

    async fn read_message(&self, chat: ChatKey, number: MessageNumber) -> Result<Option<MessageView>, sqlx::Error> {
        let query = sqlx::query(
            "SELECT body FROM chats JOIN messages ON id = (ordinal << 32) | ? \
             WHERE token = ? AND chats.number = ? AND created_event IS NOT NULL",
        )
        .bind(i64::from(number.get()))
        .bind(chat.token.as_bytes().to_vec())
        .bind(i64::from(chat.number.get()));
        let row = self.readers.fetch_optional(query).await?;
        row.map(|row| Ok(MessageView { number, body: row.try_get(0)? })).transpose()
    }

    async fn read_messages(
        &self,
        chat: ChatKey,
        page: Page<MessageNumber>,
    ) -> Result<Option<Slice<MessageView>>, sqlx::Error> {
        let Some(ordinal) = self.load_ordinal(chat).await? else {
            return Ok(None);
        };
        let (above, below) = ordinal.row_ids_between(page.cursor);
        let query = if page.cursor.descends() {
            "SELECT id & 4294967295, body FROM messages WHERE id > ? AND id < ? ORDER BY id DESC LIMIT ?"
        } else {
            "SELECT id & 4294967295, body FROM messages WHERE id > ? AND id < ? ORDER BY id LIMIT ?"
        };
        let query = sqlx::query(query).bind(above).bind(below).bind(page.limit + 1);
        self.read_slice(page.limit, query, decode_message).await.map(Some)
    }
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

fn decode_application(row: &SqliteRow) -> Result<(ApplicationView, usize), sqlx::Error> {
    let name: String = row.try_get(1)?;
    let text_bytes = name.len();
    Ok((ApplicationView { token: decode_token(row, 0)?, name, chats_count: decode_count(row, 2)? }, text_bytes))
}

fn decode_chat_view(row: &SqliteRow) -> Result<(ChatView, usize), sqlx::Error> {
    Ok((ChatView { number: ChatNumber(decode_number(row, 0)?), messages_count: decode_count(row, 1)? }, 0))
}

pub(super) fn decode_message(row: &SqliteRow) -> Result<(MessageView, usize), sqlx::Error> {
    let body: String = row.try_get(1)?;
    let text_bytes = body.len();
    Ok((MessageView { number: MessageNumber(decode_number(row, 0)?), body }, text_bytes))
}

fn decode_count(row: &SqliteRow, column: usize) -> Result<u64, sqlx::Error> {
    u64::try_from(row.try_get::<i64, _>(column)?).map_err(|error| decode_error(column, error))
}

/// Wraps an error of reading `what`.
fn wrap_error(what: &'static str) -> impl Fn(sqlx::Error) -> ViewsError {
    move |error| ViewsError { what, source: error.into() }
}

#[async_trait]
impl Views for SqliteProjections {
    async fn reached(&self, projection: Projection, position: &Position, within: Duration) -> Result<bool, ViewsError> {
        Ok(self.progress.wait_until_reached(projection, position, within).await)
    }

    async fn application(&self, token: ApplicationToken) -> Result<Option<ApplicationView>, ViewsError> {
        self.read_application(token).await.map_err(wrap_error("the application"))
    }

    async fn applications(&self, page: Page<ApplicationToken>) -> Result<Slice<ApplicationView>, ViewsError> {
        self.read_applications(page).await.map_err(wrap_error("the list of applications"))
    }

    async fn chat(&self, chat: ChatKey) -> Result<Option<ChatView>, ViewsError> {
        self.read_chat(chat).await.map_err(wrap_error("the chat"))
    }

    async fn chats(
        &self,
        token: ApplicationToken,
        page: Page<ChatNumber>,
    ) -> Result<Option<Slice<ChatView>>, ViewsError> {
        self.read_chats(token, page).await.map_err(wrap_error("the list of chats"))
    }

    async fn message(&self, chat: ChatKey, number: MessageNumber) -> Result<Option<MessageView>, ViewsError> {
        self.read_message(chat, number).await.map_err(wrap_error("the message"))
    }

    async fn messages(
        &self,
        chat: ChatKey,
        page: Page<MessageNumber>,
    ) -> Result<Option<Slice<MessageView>>, ViewsError> {
        self.read_messages(chat, page).await.map_err(wrap_error("the list of messages"))
    }
}
