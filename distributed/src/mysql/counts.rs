//! What the number server asks of `counts`.

use async_trait::async_trait;
use event_log::BackendError;
use events::{ApplicationToken, ChatKey, Number, Offset, PartitionId, Position, RequestKey, UnixMillis};
use sqlx::mysql::MySqlRow;
use sqlx::{Row, ValueRef};

use super::checkpoint_tx::checkpoint_of;
use super::columns::undecodable;
use super::connections::{Connections, READ_WAIT, Statement, within};
use super::{ClientError, options};
use crate::ports::{Checkpoints, CountsReader, CountsSnapshot, IdempotencyRecord};

/// [`CountsReader`] on MySQL. Each call reads the live generation.
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
    /// The rows of one statement, and so of one state: a row a checkpoint, `checkpoints` columns in front, and behind them
    /// the same answer in each, NULL where there is none.
    async fn seen<T>(
        &self,
        statement: Statement,
        answer: impl FnOnce(&MySqlRow) -> Result<T, sqlx::Error>,
    ) -> Result<CountsSnapshot<Option<T>>, BackendError> {
        let rows = within(READ_WAIT, self.readers.fetch_all(statement)).await?;
        let answered =
            rows.first().filter(|row| !row.try_get_raw(CHECKPOINT_COLUMNS).is_ok_and(|value| value.is_null()));
        Ok(CountsSnapshot { value: answered.map(answer).transpose()?, checkpoints: checkpoints(&rows)? })
    }
}

/// How many columns a checkpoint is: its partition, `next_offset` and `epoch`.
const CHECKPOINT_COLUMNS: usize = 3;

fn checkpoints(rows: &[MySqlRow]) -> Result<Checkpoints, sqlx::Error> {
    rows.iter().map(|row| Ok((PartitionId(row.try_get(0)?), checkpoint_of(row, 1)?))).collect()
}

#[async_trait]
impl CountsReader for MySqlCounts {
    async fn checkpoints(&self) -> Result<Checkpoints, BackendError> {
        let statement = sqlx::query(
            "SELECT partition_id, next_offset, epoch FROM checkpoints \
             JOIN projections ON name = projection AND projections.generation = checkpoints.generation \
             WHERE projection = 'counts'",
        );
        Ok(checkpoints(&within(READ_WAIT, self.readers.fetch_all(statement)).await?)?)
    }

    /// An application whose chats came before its own creation was seen is there.
    async fn last_chat(&self, token: ApplicationToken) -> Result<CountsSnapshot<Option<u32>>, BackendError> {
        let statement = sqlx::query(
            "SELECT partition_id, next_offset, epoch, last_chat FROM checkpoints \
             JOIN projections ON name = projection AND projections.generation = checkpoints.generation \
             LEFT JOIN application_counts AS counted ON counted.generation = checkpoints.generation \
             AND token = ? AND (created OR last_chat > 0) \
             WHERE projection = 'counts'",
        );
        self.seen(statement.bind(token.as_bytes().to_vec()), |row| row.try_get(CHECKPOINT_COLUMNS)).await
    }

    async fn last_message(&self, chat: ChatKey) -> Result<CountsSnapshot<Option<u32>>, BackendError> {
        let statement = sqlx::query(
            "SELECT partition_id, next_offset, epoch, last_number FROM checkpoints \
             JOIN projections ON name = projection AND projections.generation = checkpoints.generation \
             LEFT JOIN chat_counts AS counted ON counted.generation = checkpoints.generation \
             AND token = ? AND number = ? AND created \
             WHERE projection = 'counts'",
        );
        let statement = statement.bind(chat.token.as_bytes().to_vec()).bind(chat.number.get());
        self.seen(statement, |row| row.try_get(CHECKPOINT_COLUMNS)).await
    }

    async fn find_request(
        &self,
        key: &[u8; RequestKey::HASH_BYTES],
        since: UnixMillis,
    ) -> Result<CountsSnapshot<Option<IdempotencyRecord>>, BackendError> {
        let statement = sqlx::query(
            "SELECT checkpoints.partition_id, next_offset, epoch, \
             request_values, stream, number, last.partition_id, log_offset FROM checkpoints \
             JOIN projections ON name = projection AND projections.generation = checkpoints.generation \
             LEFT JOIN (SELECT * FROM answered_requests \
             WHERE generation = (SELECT generation FROM projections WHERE name = 'counts') \
             AND request_key = ? AND occurred_at_ms > ? \
             ORDER BY occurred_at_ms DESC, partition_id DESC, log_offset DESC LIMIT 1) AS last ON TRUE \
             WHERE projection = 'counts'",
        );
        self.seen(statement.bind(key.to_vec()).bind(since.0), |row| answered(*key, row)).await
    }
}

fn answered(key: [u8; RequestKey::HASH_BYTES], row: &MySqlRow) -> Result<IdempotencyRecord, sqlx::Error> {
    let [values_at, stream_at, number_at, partition_at, offset_at] = std::array::from_fn(|at| CHECKPOINT_COLUMNS + at);
    let values: &[u8] = row.try_get(values_at)?;
    let values = values.try_into().map_err(|error| undecodable(values_at, error))?;
    let stream: &str = row.try_get(stream_at)?;
    Ok(IdempotencyRecord {
        request: RequestKey { key, values },
        stream: stream.parse().map_err(|error| undecodable(stream_at, error))?,
        number: row.try_get::<Option<u32>, _>(number_at)?.and_then(Number::new),
        position: Position::up_to(PartitionId(row.try_get(partition_at)?), Offset(row.try_get(offset_at)?).next()),
    })
}
