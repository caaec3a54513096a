//! The SQL that reads chats.

use events::{ApplicationToken, ChatKey, ChatNumber, Offset, PartitionId, Position};
use read_model::{ChatView, Cursor, LastMessage, MessageView, Page, Shown, Slice};
use rusqlite::{Connection, Result, Row};

use super::read_views::{decode_message, decode_time, extend_to_event, read_one, read_slice};
use crate::sqlite::decode_number;

/// Selects chats, the columns of [`decode_chat_view`]. With last messages, each chat costs a look-up more.
macro_rules! select_chats {
    ($condition:literal) => {
        select_chats!("", "", $condition)
    };
    (with last messages, $condition:literal) => {
        select_chats!(
            ", newest.log_offset, newest.id & 4294967295, newest.created_at_ms, newest.author, newest.body",
            "LEFT JOIN messages AS newest ON newest.id = (SELECT id FROM messages AS m \
             WHERE m.id > (chats.ordinal << 32) AND m.id < ((chats.ordinal + 1) << 32) ORDER BY m.id DESC LIMIT 1) ",
            $condition
        )
    };
    ($columns:literal, $join:literal, $condition:literal) => {
        concat!(
            "SELECT number, coalesce(messages_count, 0), partition, \
             max(chats.log_offset, coalesce(chat_counts.log_offset, chats.log_offset)), chats.created_at_ms",
            $columns,
            " FROM chats LEFT JOIN chat_counts USING (token, number) ",
            $join,
            "WHERE token = ? AND created_event IS NOT NULL AND ",
            $condition
        )
    };
}

pub(super) fn read_chat(
    connection: &Connection,
    chat: ChatKey,
    last_message: LastMessage,
) -> Result<Option<Shown<ChatView>>> {
    let sql = match last_message {
        LastMessage::Skip => select_chats!("number = ?"),
        LastMessage::Show => select_chats!(with last messages, "number = ?"),
    };
    let key = (chat.token.as_bytes(), chat.number.get());
    read_one(connection, sql, key, |row, position| Ok(decode_chat_view(row, last_message, position)?.0))
}

/// Reads a page of an application's chats. `None` if neither the application nor a chat of it is shown.
pub(super) fn read_chats(
    connection: &Connection,
    token: ApplicationToken,
    page: Page<ChatNumber>,
    last_message: LastMessage,
) -> Result<Option<Shown<Slice<ChatView>>>> {
    let (above, below) = match page.cursor {
        Cursor::First | Cursor::Last => (0, i64::MAX),
        Cursor::After(number) => (i64::from(number.get()), i64::MAX),
        Cursor::Before(number) => (0, number.get().into()),
    };
    let sql = match (page.cursor.descends(), last_message) {
        (true, LastMessage::Skip) => select_chats!("number > ? AND number < ? ORDER BY number DESC LIMIT ?"),
        (false, LastMessage::Skip) => select_chats!("number > ? AND number < ? ORDER BY number LIMIT ?"),
        (true, LastMessage::Show) => {
            select_chats!(with last messages, "number > ? AND number < ? ORDER BY number DESC LIMIT ?")
        }
        (false, LastMessage::Show) => {
            select_chats!(with last messages, "number > ? AND number < ? ORDER BY number LIMIT ?")
        }
    };
    let params = (token.as_bytes(), above, below, page.limit + 1);
    let decode = |row: &Row, position: &mut Position| decode_chat_view(row, last_message, position);
    let slice = read_slice(connection, sql, params, page.limit, decode)?;
    if !slice.value.items.is_empty() {
        return Ok(Some(slice));
    }
    Ok(find_application_or_chat(connection, token)?.map(|position| slice.and(&position)))
}

/// The position of what shows that there is such an application: the last event of its own, or the creation of a chat.
pub(super) fn find_application_or_chat(connection: &Connection, token: ApplicationToken) -> Result<Option<Position>> {
    let sql = "SELECT partition, log_offset FROM (SELECT partition, log_offset FROM applications WHERE token = ?1 \
               UNION ALL SELECT partition, log_offset FROM chats WHERE token = ?1 AND created_event IS NOT NULL) LIMIT 1";
    let shown = read_one(connection, sql, [token.as_bytes()], |row, position| extend_to_event(position, row, 0))?;
    Ok(shown.map(|shown| shown.position))
}

fn decode_chat_view(row: &Row, last_message: LastMessage, position: &mut Position) -> Result<(ChatView, usize)> {
    extend_to_event(position, row, 2)?;
    let messages_count = row.get::<_, u32>(1)?.into();
    let last_message = match last_message {
        LastMessage::Skip => None,
        LastMessage::Show => decode_last_message(row, position)?,
    };
    let text_bytes = last_message.as_ref().map_or(0, MessageView::text_bytes);
    let number = ChatNumber(decode_number(row, 0)?);
    Ok((ChatView { number, messages_count, created_at: decode_time(row, 4)?, last_message }, text_bytes))
}

/// Decodes a chat's last message, and extends the position by its event; `None` if the chat has no message.
fn decode_last_message(row: &Row, position: &mut Position) -> Result<Option<MessageView>> {
    let Some(offset) = row.get::<_, Option<i64>>(5)? else {
        return Ok(None);
    };
    position.extend(PartitionId(row.get(2)?), Offset(offset.cast_unsigned()).next());
    decode_message(row, 6).map(Some)
}
