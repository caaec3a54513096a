//! The SQL that reads chats.

use events::{ApplicationToken, ChatKey, ChatNumber};
use read_model::{ChatView, LastMessage, MessageView, Page, Projection, Shown, Slice};
use sqlx::Row;
use sqlx::mysql::MySqlRow;

use super::MySqlProjections;
use super::checkpoint_tx::Generation;
use super::columns::{decode_number, decode_time};
use super::coverage::{Coverage, decode_offset, decode_partition};
use super::read_messages::decode_message;
use super::read_views::{add_event_of_views, numbers_between};

/// Selects chats, the columns of [`decode_chat_view`]: one chat in the live generations, or those between two numbers in this order.
///
/// With last messages, the server looks for the last row of each chat, from the end of its rows, and then for its columns. The order
/// names every column of the key: for `ORDER BY number` alone, the server would read all rows of the chat and sort them.
macro_rules! select_chats {
    (LIVE $($last_messages:ident)*) => {
        select_chats!(
            @ $($last_messages)*;
            "(SELECT generation FROM projections WHERE name = 'counts')",
            "v.generation = (SELECT generation FROM projections WHERE name = 'views') AND v.token = ? AND v.number = ?"
        )
    };
    (ASC $($last_messages:ident)*) => {
        select_chats!(
            @ $($last_messages)*; "?",
            "v.generation = ? AND v.token = ? AND v.number > ? AND v.number < ? ORDER BY v.number LIMIT ?"
        )
    };
    (DESC $($last_messages:ident)*) => {
        select_chats!(
            @ $($last_messages)*; "?",
            "v.generation = ? AND v.token = ? AND v.number > ? AND v.number < ? ORDER BY v.number DESC LIMIT ?"
        )
    };
    (@; $counts:literal, $condition:literal) => {
        select_chats!(@@ "", "", $counts, $condition)
    };
    (@ with last messages; $counts:literal, $condition:literal) => {
        select_chats!(
            @@ ", m.log_offset, m.number, m.created_at_ms, m.author, m.body",
            "LEFT JOIN LATERAL (SELECT number FROM messages WHERE generation = v.generation AND token = v.token \
             AND chat_number = v.number ORDER BY generation DESC, token DESC, chat_number DESC, number DESC LIMIT 1) \
             AS newest ON TRUE \
             LEFT JOIN messages AS m ON m.generation = v.generation AND m.token = v.token AND m.chat_number = v.number \
             AND m.number = newest.number ",
            $counts,
            $condition
        )
    };
    (@@ $columns:literal, $join:literal, $counts:literal, $condition:literal) => {
        concat!(
            "SELECT v.number, CAST(coalesce(c.messages_count, 0) AS UNSIGNED), v.generation, v.partition_id, v.log_offset, \
             c.generation, IF(c.placed_count = c.messages_count, c.log_offset, NULL), v.created_at_ms",
            $columns,
            " FROM chats AS v LEFT JOIN chat_counts AS c ON c.token = v.token AND c.number = v.number AND c.generation = ",
            $counts,
            " ",
            $join,
            "WHERE ",
            $condition
        )
    };
}

impl MySqlProjections {
    pub(super) async fn read_chat(
        &self,
        chat: ChatKey,
        last_message: LastMessage,
    ) -> Result<Option<Shown<ChatView>>, sqlx::Error> {
        let query = match last_message {
            LastMessage::Skip => select_chats!(LIVE),
            LastMessage::Show => select_chats!(LIVE with last messages),
        };
        let statement = sqlx::query(query).bind(chat.token.as_bytes().to_vec()).bind(chat.number.get());
        let row = self.readers.fetch_optional(statement).await?;
        let Some(row) = row else { return Ok(None) };
        let mut coverage = Coverage::default();
        let (value, _) = decode_chat_view(&row, last_message, &mut coverage)?;
        Ok(Some(Shown { value, position: coverage.finish(&self.readers).await? }))
    }

    pub(super) async fn read_chats(
        &self,
        token: ApplicationToken,
        page: Page<ChatNumber>,
        last_message: LastMessage,
    ) -> Result<Option<Shown<Slice<ChatView>>>, sqlx::Error> {
        let live = self.load_live_generations().await?;
        let (above, below) = numbers_between(page.cursor, ChatNumber::get);
        let query = match (page.cursor.descends(), last_message) {
            (true, LastMessage::Skip) => select_chats!(DESC),
            (true, LastMessage::Show) => select_chats!(DESC with last messages),
            (false, LastMessage::Skip) => select_chats!(ASC),
            (false, LastMessage::Show) => select_chats!(ASC with last messages),
        };
        let query = sqlx::query(query).bind(live.counts.0).bind(live.views.0).bind(token.as_bytes().to_vec());
        let query = query.bind(above).bind(below).bind(page.limit + 1);
        let mut coverage = Coverage::default();
        let decode = |row: &MySqlRow, coverage: &mut Coverage| decode_chat_view(row, last_message, coverage);
        let value = self.read_slice(page.limit, query, &mut coverage, decode).await?;
        if value.items.is_empty() && !self.find_application_or_chat(live.views, token, &mut coverage).await? {
            return Ok(None);
        }
        Ok(Some(Shown { value, position: coverage.finish(&self.readers).await? }))
    }

    /// Whether there is such an application, or a chat of it. Adds the event that shows it to `coverage`.
    pub(super) async fn find_application_or_chat(
        &self,
        generation: Generation,
        token: ApplicationToken,
        coverage: &mut Coverage,
    ) -> Result<bool, sqlx::Error> {
        let token = token.as_bytes().to_vec();
        let statement = sqlx::query(
            "SELECT generation, partition_id, log_offset FROM applications WHERE generation = ? AND token = ? \
             UNION ALL (SELECT generation, partition_id, log_offset FROM chats WHERE generation = ? AND token = ? LIMIT 1)",
        );
        let statement = statement.bind(generation.0).bind(token.clone()).bind(generation.0).bind(token);
        let Some(row) = self.readers.fetch_optional(statement).await? else { return Ok(false) };
        add_event_of_views(&row, 0, coverage)?;
        Ok(true)
    }
}

fn decode_chat_view(
    row: &MySqlRow,
    last_message: LastMessage,
    coverage: &mut Coverage,
) -> Result<(ChatView, usize), sqlx::Error> {
    add_event_of_views(row, 2, coverage)?;
    if let Some(counts) = row.try_get::<Option<u32>, _>(5)? {
        // All events of a chat are in one partition.
        coverage.add((Projection::Counts, Generation(counts)), decode_partition(row, 3)?, decode_offset(row, 6)?);
    }
    let last_message = match last_message {
        LastMessage::Skip => None,
        LastMessage::Show => decode_last_message(row, coverage)?,
    };
    let text_bytes = last_message.as_ref().map_or(0, MessageView::text_bytes);
    let number = ChatNumber(decode_number(row, 0)?);
    Ok((
        ChatView { number, messages_count: row.try_get(1)?, created_at: decode_time(row, 7)?, last_message },
        text_bytes,
    ))
}

/// Decodes a chat's last message, and adds its event to `coverage`; `None` if the chat has no message.
fn decode_last_message(row: &MySqlRow, coverage: &mut Coverage) -> Result<Option<MessageView>, sqlx::Error> {
    if row.try_get::<Option<u32>, _>(9)?.is_none() {
        return Ok(None);
    }
    let generation = (Projection::Views, Generation(row.try_get(2)?));
    coverage.add(generation, decode_partition(row, 3)?, decode_offset(row, 8)?);
    decode_message(row, 9).map(Some)
}
