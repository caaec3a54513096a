//! What the number server asks of `counts`.

use std::collections::BTreeMap;

use async_trait::async_trait;
use event_log::BackendError;
use events::{ApplicationToken, ChatKey, Number, Offset, PartitionId, Position, RequestKey, UnixMillis};
use read_model::Checkpoint;
use sqlx::Row;
use sqlx::mysql::MySqlRow;

use super::batch::checkpoint_of;
use super::columns::undecodable;
use super::connections::{Connections, READ_WAIT, Statement, within};
use super::{ClientError, options};
use crate::numbers::{Answered, TakenNumbers};

/// [`TakenNumbers`] on MySQL. Each call reads the live generation.
pub struct MySqlCounts {
    readers: Connections,
}

impl MySqlCounts {
    /// On the server and in the database at `url`, whether or not it can be reached now. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn new(url: &str) -> Result<Self, ClientError> {
        Ok(Self { readers: Connections::readers(&options(url)?) })
    }
}

impl MySqlCounts {
    /// The first row, of a statement that gives one at most.
    async fn row(&self, statement: Statement) -> Result<Option<MySqlRow>, sqlx::Error> {
        within(READ_WAIT, self.readers.fetch_optional(statement)).await
    }
}

#[async_trait]
impl TakenNumbers for MySqlCounts {
    async fn checkpoints(&self) -> Result<BTreeMap<PartitionId, Checkpoint>, BackendError> {
        let statement = sqlx::query(
            "SELECT partition_id, next_offset, epoch FROM checkpoints \
             JOIN projections ON name = projection AND projections.generation = checkpoints.generation \
             WHERE projection = 'counts'",
        );
        let rows = within(READ_WAIT, self.readers.fetch_all(statement)).await?;
        rows.iter().map(|row| Ok((PartitionId(row.try_get(0)?), checkpoint_of(row, 1)?))).collect()
    }

    /// An application whose chats came before its own creation was seen is there.
    async fn last_chat(&self, token: ApplicationToken) -> Result<Option<u32>, BackendError> {
        let statement = sqlx::query(
            "SELECT last_chat FROM application_counts \
             WHERE generation = (SELECT generation FROM projections WHERE name = 'counts') AND token = ? \
             AND (created OR last_chat > 0)",
        );
        let row = self.row(statement.bind(token.as_bytes().to_vec())).await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }

    async fn last_message(&self, chat: ChatKey) -> Result<Option<u32>, BackendError> {
        let statement = sqlx::query(
            "SELECT last_number FROM chat_counts \
             WHERE generation = (SELECT generation FROM projections WHERE name = 'counts') \
             AND token = ? AND number = ? AND created",
        );
        let row = self.row(statement.bind(chat.token.as_bytes().to_vec()).bind(chat.number.get())).await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }

    async fn answered(
        &self,
        key: &[u8; RequestKey::HASH_BYTES],
        since: UnixMillis,
    ) -> Result<Option<Answered>, BackendError> {
        let statement = sqlx::query(
            "SELECT request_values, stream, number, partition_id, log_offset FROM answered_requests \
             WHERE generation = (SELECT generation FROM projections WHERE name = 'counts') \
             AND request_key = ? AND occurred_at_ms > ? \
             ORDER BY occurred_at_ms DESC, partition_id DESC, log_offset DESC LIMIT 1",
        );
        let row = self.row(statement.bind(key.to_vec()).bind(since.0)).await?;
        Ok(row.map(|row| answered(*key, &row)).transpose()?)
    }
}

fn answered(key: [u8; RequestKey::HASH_BYTES], row: &MySqlRow) -> Result<Answered, sqlx::Error> {
    let values: &[u8] = row.try_get(0)?;
    let values = values.try_into().map_err(|error| undecodable(0, error))?;
    let stream: &str = row.try_get(1)?;
    Ok(Answered {
        request: RequestKey { key, values },
        stream: stream.parse().map_err(|error| undecodable(1, error))?,
        number: row.try_get::<Option<u32>, _>(2)?.and_then(Number::new),
        position: Position::of(PartitionId(row.try_get(3)?), Offset(row.try_get(4)?).next()),
    })
}
