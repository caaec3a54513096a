//! Decodes columns.

use events::{ApplicationToken, Author, ChatKey, ChatNumber, EventId, Number, UnixMillis};
use sqlx::Row;
use sqlx::mysql::MySqlRow;
use uuid::Uuid;

/// Decodes a chat from its columns `token` and `number`, given by index.
pub(super) fn decode_chat(row: &MySqlRow, token: usize, number: usize) -> Result<ChatKey, sqlx::Error> {
    Ok(ChatKey { token: decode_token(row, token)?, number: ChatNumber(decode_number(row, number)?) })
}

pub(super) fn decode_token(row: &MySqlRow, column: usize) -> Result<ApplicationToken, sqlx::Error> {
    let bytes: &[u8] = row.try_get(column)?;
    bytes.try_into().map(ApplicationToken::from_bytes).map_err(|error| decode_error(column, error))
}

pub(super) fn decode_number(row: &MySqlRow, column: usize) -> Result<Number, sqlx::Error> {
    Number::new(row.try_get(column)?).ok_or_else(|| decode_error(column, "0 is not a number of a chat or a message"))
}

pub(super) fn decode_event_id(row: &MySqlRow, column: usize) -> Result<EventId, sqlx::Error> {
    Uuid::from_slice(row.try_get(column)?).map(EventId).map_err(|error| decode_error(column, error))
}

/// Decodes a time, which is NULL in what earlier releases wrote.
pub(super) fn decode_time(row: &MySqlRow, column: usize) -> Result<Option<UnixMillis>, sqlx::Error> {
    Ok(row.try_get::<Option<u64>, _>(column)?.map(UnixMillis))
}

pub(super) fn decode_author(row: &MySqlRow, column: usize) -> Result<Option<Author>, sqlx::Error> {
    let author = row.try_get::<Option<String>, _>(column)?.map(Author::from_stored);
    author.transpose().map_err(|error| decode_error(column, error))
}

/// The error for a column with a value that this program does not write.
pub(super) fn decode_error(column: usize, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> sqlx::Error {
    sqlx::Error::ColumnDecode { index: column.to_string(), source: source.into() }
}
