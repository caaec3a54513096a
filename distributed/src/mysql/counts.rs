//! Reads `counts` for the sequencer.

use async_trait::async_trait;
use event_log::BackendError;
use events::{ApplicationToken, ChatKey, Number, Offset, PartitionId, Position, RequestKey};
use sqlx::mysql::MySqlRow;
use sqlx::{Row, ValueRef};

use super::checkpoint_tx::{CHECKPOINT_COLUMNS, decode_checkpoint};
use super::columns::decode_error;
use super::connections::{Connections, READ_WAIT, Statement, with_timeout};
use super::{ClientError, parse_url};
use crate::ports::{Checkpoints, CountsReader, CountsSnapshot, IdempotencyRecord};

/// [`CountsReader`] on MySQL. Each call reads the live generation.
pub struct MySqlCounts {
    readers: Connections,
}

impl MySqlCounts {
    /// Uses the database at `url`, without connecting to it. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn new(url: &str) -> Result<Self, ClientError> {
        Ok(Self { readers: Connections::counts_readers(&parse_url(url)?) })
    }

    /// Reads the checkpoints and an answer in one statement, so that they belong to the same state of the tables. Each
    /// row starts with the columns of one checkpoint. The columns of the answer follow, the same in each row, or NULL
    /// if there is none.
    async fn fetch_snapshot<T>(
        &self,
        statement: Statement,
        decode: impl FnOnce(&MySqlRow) -> Result<T, sqlx::Error>,
    ) -> Result<CountsSnapshot<Option<T>>, BackendError> {
        let rows = with_timeout(READ_WAIT, self.readers.fetch_all(statement)).await?;
        let answer = rows.first().filter(|row| !row.try_get_raw(ANSWER).is_ok_and(|value| value.is_null()));
        Ok(CountsSnapshot { value: answer.map(decode).transpose()?, checkpoints: decode_checkpoints(&rows)? })
    }
}

/// The index of the first column of an answer, after a partition and its checkpoint.
const ANSWER: usize = 1 + CHECKPOINT_COLUMNS;

fn decode_checkpoints(rows: &[MySqlRow]) -> Result<Checkpoints, sqlx::Error> {
    rows.iter().map(|row| Ok((PartitionId(row.try_get(0)?), decode_checkpoint(row, 1)?))).collect()
}

#[async_trait]
impl CountsReader for MySqlCounts {
    async fn checkpoints(&self) -> Result<Checkpoints, BackendError> {
        let statement = sqlx::query(
            "SELECT partition_id, next_offset, epoch, record_offset, record_id, log_id FROM checkpoints \
             JOIN projections ON name = projection AND projections.generation = checkpoints.generation \
             WHERE projection = 'counts'",
        );
        Ok(decode_checkpoints(&with_timeout(READ_WAIT, self.readers.fetch_all(statement)).await?)?)
    }

    /// An application also exists if `counts` has applied chats of it, but not its creation yet.
    async fn last_chat(&self, token: ApplicationToken) -> Result<CountsSnapshot<Option<u32>>, BackendError> {
        let statement = sqlx::query(
            "SELECT partition_id, next_offset, epoch, record_offset, record_id, log_id, last_chat FROM checkpoints \
             JOIN projections ON name = projection AND projections.generation = checkpoints.generation \
             LEFT JOIN application_counts AS counted ON counted.generation = checkpoints.generation \
             AND token = ? AND (created OR last_chat > 0) \
             WHERE projection = 'counts'",
        );
        self.fetch_snapshot(statement.bind(token.as_bytes().to_vec()), |row| row.try_get(ANSWER)).await
    }

    async fn last_message(&self, chat: ChatKey) -> Result<CountsSnapshot<Option<u32>>, BackendError> {
        let statement = sqlx::query(
            "SELECT partition_id, next_offset, epoch, record_offset, record_id, log_id, last_number FROM checkpoints \
             JOIN projections ON name = projection AND projections.generation = checkpoints.generation \
             LEFT JOIN chat_counts AS counted ON counted.generation = checkpoints.generation \
             AND token = ? AND number = ? AND created \
             WHERE projection = 'counts'",
        );
        let statement = statement.bind(chat.token.as_bytes().to_vec()).bind(chat.number.get());
        self.fetch_snapshot(statement, |row| row.try_get(ANSWER)).await
    }

    async fn find_request(
        &self,
        key: &[u8; RequestKey::HASH_BYTES],
    ) -> Result<CountsSnapshot<Option<IdempotencyRecord>>, BackendError> {
        let statement = sqlx::query(
            "SELECT checkpoints.partition_id, next_offset, epoch, record_offset, record_id, log_id, \
             request_values, stream, number, last.partition_id, log_offset FROM checkpoints \
             JOIN projections ON name = projection AND projections.generation = checkpoints.generation \
             LEFT JOIN (SELECT * FROM answered_requests \
             WHERE generation = (SELECT generation FROM projections WHERE name = 'counts') \
             AND request_key = ? \
             ORDER BY partition_id DESC, elapsed_ms DESC, log_offset DESC LIMIT 1) AS last ON TRUE \
             WHERE projection = 'counts'",
        );
        self.fetch_snapshot(statement.bind(key.to_vec()), |row| decode_request(*key, row)).await
    }
}

fn decode_request(key: [u8; RequestKey::HASH_BYTES], row: &MySqlRow) -> Result<IdempotencyRecord, sqlx::Error> {
    let [values, stream, number, partition, offset] = std::array::from_fn(|index| ANSWER + index);
    let value_hash: &[u8] = row.try_get(values)?;
    let stream_text: &str = row.try_get(stream)?;
    Ok(IdempotencyRecord {
        request: RequestKey { key, values: value_hash.try_into().map_err(|error| decode_error(values, error))? },
        stream: stream_text.parse().map_err(|error| decode_error(stream, error))?,
        number: row.try_get::<Option<u32>, _>(number)?.and_then(Number::new),
        position: Position::up_to(PartitionId(row.try_get(partition)?), Offset(row.try_get(offset)?).next()),
    })
}
