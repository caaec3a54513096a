//! Values of the log in columns and back.

use events::{ApplicationToken, ChatKey, ChatNumber, EventId, Number};
use sqlx::Row;
use sqlx::mysql::MySqlRow;
use uuid::Uuid;

/// The chat that columns `token` and `number`, at these places of a row, name.
pub(super) fn chat_of(row: &MySqlRow, token: usize, number: usize) -> Result<ChatKey, sqlx::Error> {
    Ok(ChatKey { token: token_of(row, token)?, number: ChatNumber(number_of(row, number)?) })
}

pub(super) fn token_of(row: &MySqlRow, column: usize) -> Result<ApplicationToken, sqlx::Error> {
    let bytes: &[u8] = row.try_get(column)?;
    bytes.try_into().map(ApplicationToken::from_bytes).map_err(|error| undecodable(column, error))
}

pub(super) fn number_of(row: &MySqlRow, column: usize) -> Result<Number, sqlx::Error> {
    Number::new(row.try_get(column)?).ok_or_else(|| undecodable(column, "0 is no number of a chat or a message"))
}

pub(super) fn event_id_of(row: &MySqlRow, column: usize) -> Result<EventId, sqlx::Error> {
    Uuid::from_slice(row.try_get(column)?).map(EventId).map_err(|error| undecodable(column, error))
}

/// What is in a column is not what this program writes there.
pub(super) fn undecodable(column: usize, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> sqlx::Error {
    sqlx::Error::ColumnDecode { index: column.to_string(), source: source.into() }
}
