//! The SQL that reads messages.

use events::{ChatKey, MessageNumber, PartitionId, Position};
use read_model::{MessageView, Page, Projection, Shown, Slice};
use sqlx::Row;
use sqlx::mysql::MySqlRow;

use super::MySqlProjections;
use super::checkpoint_tx::Generation;
use super::columns::{decode_author, decode_number, decode_time};
use super::coverage::{Coverage, decode_offset, decode_partition};
use super::read_views::{add_event_of_views, numbers_between};

/// A chat in the live generation.
struct FoundChat {
    generation: Generation,
    /// The partition of all of its events. `None` if an earlier release has written its row.
    partition: Option<PartitionId>,
}

impl MySqlProjections {
    pub(super) async fn read_message(
        &self,
        chat: ChatKey,
        number: MessageNumber,
    ) -> Result<Option<Shown<MessageView>>, sqlx::Error> {
        let statement = sqlx::query(
            "SELECT v.generation, v.partition_id, m.log_offset, m.number, m.created_at_ms, m.author, m.body FROM chats AS v JOIN messages AS m \
             ON m.generation = v.generation AND m.token = v.token AND m.chat_number = v.number \
             WHERE v.generation = (SELECT generation FROM projections WHERE name = 'views') \
             AND v.token = ? AND v.number = ? AND m.number = ?",
        )
        .bind(chat.token.as_bytes().to_vec())
        .bind(chat.number.get())
        .bind(number.get());
        let row = self.readers.fetch_optional(statement).await?;
        let Some(row) = row else { return Ok(None) };
        let mut coverage = Coverage::default();
        add_event_of_views(&row, 0, &mut coverage)?;
        let value = decode_message(&row, 3)?;
        Ok(Some(Shown { value, position: coverage.finish(&self.readers).await? }))
    }

    pub(super) async fn read_messages(
        &self,
        chat: ChatKey,
        page: Page<MessageNumber>,
    ) -> Result<Option<Shown<Slice<MessageView>>>, sqlx::Error> {
        let mut coverage = Coverage::default();
        let Some(FoundChat { generation, partition }) = self.find_live_chat(chat, &mut coverage).await? else {
            return Ok(None);
        };
        let (above, below) = numbers_between(page.cursor, MessageNumber::get);
        let query = if page.cursor.descends() {
            "SELECT log_offset, number, created_at_ms, author, body FROM messages \
             WHERE generation = ? AND token = ? AND chat_number = ? AND number > ? AND number < ? \
             ORDER BY number DESC LIMIT ?"
        } else {
            "SELECT log_offset, number, created_at_ms, author, body FROM messages \
             WHERE generation = ? AND token = ? AND chat_number = ? AND number > ? AND number < ? \
             ORDER BY number LIMIT ?"
        };
        let query = sqlx::query(query)
            .bind(generation.0)
            .bind(chat.token.as_bytes().to_vec())
            .bind(chat.number.get())
            .bind(above)
            .bind(below)
            .bind(page.limit + 1);
        let decode = |row: &MySqlRow, coverage: &mut Coverage| {
            coverage.add((Projection::Views, generation), partition, decode_offset(row, 0)?);
            let message = decode_message(row, 1)?;
            let text_bytes = message.text_bytes();
            Ok((message, text_bytes))
        };
        let value = self.read_slice(page.limit, query, &mut coverage, decode).await?;
        Ok(Some(Shown { value, position: coverage.finish(&self.readers).await? }))
    }

    pub(super) async fn find_chat_position(&self, chat: ChatKey) -> Result<Option<Position>, sqlx::Error> {
        let mut coverage = Coverage::default();
        if self.find_live_chat(chat, &mut coverage).await?.is_none() {
            return Ok(None);
        }
        coverage.finish(&self.readers).await.map(Some)
    }

    /// Finds the chat in the live generation, and adds its creation to `coverage`.
    async fn find_live_chat(&self, chat: ChatKey, coverage: &mut Coverage) -> Result<Option<FoundChat>, sqlx::Error> {
        let statement = sqlx::query(
            "SELECT generation, partition_id, log_offset FROM chats \
             WHERE generation = (SELECT generation FROM projections WHERE name = 'views') AND token = ? AND number = ?",
        );
        let statement = statement.bind(chat.token.as_bytes().to_vec()).bind(chat.number.get());
        let Some(row) = self.readers.fetch_optional(statement).await? else { return Ok(None) };
        add_event_of_views(&row, 0, coverage)?;
        Ok(Some(FoundChat { generation: Generation(row.try_get(0)?), partition: decode_partition(&row, 1)? }))
    }
}

/// Decodes a number, a time, an author and a body; `column` is the index of the first.
pub(super) fn decode_message(row: &MySqlRow, column: usize) -> Result<MessageView, sqlx::Error> {
    Ok(MessageView {
        number: MessageNumber(decode_number(row, column)?),
        created_at: decode_time(row, column + 1)?,
        author: decode_author(row, column + 2)?,
        body: row.try_get(column + 3)?,
    })
}
