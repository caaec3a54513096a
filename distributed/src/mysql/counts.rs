//! What the number server asks of `counts`.

use std::collections::BTreeMap;

use async_trait::async_trait;
use event_log::BackendError;
use events::{ApplicationToken, ChatKey, Number, Offset, PartitionId, Position, RequestKey, UnixMillis};
use read_model::Checkpoint;
use sqlx::mysql::{MySqlPool, MySqlRow};
use sqlx::{MySqlExecutor, Row};

use super::ClientError;
use super::columns::undecodable;
use super::connections::{self, checkpoint_of};
use crate::numbers::{Answered, TakenNumbers};

/// [`TakenNumbers`] on MySQL. Each call reads the live generation.
pub struct MySqlCounts {
    readers: MySqlPool,
}

impl MySqlCounts {
    /// On the server and in the database at `url`, whether or not it can be reached now. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn new(url: &str) -> Result<Self, ClientError> {
        Ok(Self { readers: connections::readers(&url.parse().map_err(ClientError)?) })
    }
}

async fn checkpoints(executor: impl MySqlExecutor<'_>) -> Result<BTreeMap<PartitionId, Checkpoint>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT partition_id, next_offset, epoch FROM checkpoints \
         JOIN projections ON name = projection AND projections.generation = checkpoints.generation \
         WHERE projection = 'counts'",
    )
    .fetch_all(executor)
    .await?;
    rows.iter().map(|row| Ok((PartitionId(row.try_get(0)?), checkpoint_of(row, 1)?))).collect()
}

#[async_trait]
impl TakenNumbers for MySqlCounts {
    async fn checkpoints(&self) -> Result<BTreeMap<PartitionId, Checkpoint>, BackendError> {
        Ok(checkpoints(&self.readers).await?)
    }

    /// An application whose chats came before its own creation was seen is there.
    async fn last_chat(&self, token: ApplicationToken) -> Result<Option<u32>, BackendError> {
        let last = sqlx::query_scalar(
            "SELECT last_chat FROM application_counts \
             WHERE generation = (SELECT generation FROM projections WHERE name = 'counts') AND token = ?",
        );
        Ok(last.bind(token.as_bytes().to_vec()).fetch_optional(&self.readers).await?)
    }

    async fn last_message(&self, chat: ChatKey) -> Result<Option<u32>, BackendError> {
        let last = sqlx::query_scalar(
            "SELECT last_number FROM chat_counts \
             WHERE generation = (SELECT generation FROM projections WHERE name = 'counts') \
             AND token = ? AND number = ? AND created",
        );
        let last = last.bind(chat.token.as_bytes().to_vec()).bind(chat.number.get());
        Ok(last.fetch_optional(&self.readers).await?)
    }

    async fn answered(
        &self,
        key: &[u8; RequestKey::HASH_BYTES],
        since: UnixMillis,
    ) -> Result<Option<Answered>, BackendError> {
        let row = sqlx::query(
            "SELECT request_values, stream, number, partition_id, log_offset FROM answered_requests \
             WHERE generation = (SELECT generation FROM projections WHERE name = 'counts') \
             AND request_key = ? AND occurred_at_ms > ? \
             ORDER BY occurred_at_ms DESC, partition_id DESC, log_offset DESC LIMIT 1",
        )
        .bind(key.to_vec())
        .bind(since.0)
        .fetch_optional(&self.readers)
        .await?;
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
