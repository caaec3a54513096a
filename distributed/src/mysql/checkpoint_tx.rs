//! Checkpoints, and the transaction of a batch.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use events::{Epoch, KnownRecord, LogId, Offset, PartitionId, RecordId};
use read_model::{Checkpoint, CheckpointMove, Projection};
use sqlx::mysql::{MySqlDatabaseError, MySqlRow};
use sqlx::{Executor, MySqlConnection, Row, ValueRef};
use uuid::Uuid;

use super::columns::decode_error;
use super::connections::{Connections, Lease, RETRIES};

/// Bound on the retries of a batch after deadlocks and waits for locks.
const MAX_RETRIES: usize = 10;
/// Pause before the first retry; each further pause is 1.5 times as long.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// Longest pause before jitter, which makes each pause up to twice as long.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// A generation of a projection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Generation(pub(super) u32);

/// Who may write a generation.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fence {
    /// Anybody, for as long as readers use the generation and the projection is not paused.
    Live,
    /// The owner of this lease, for as long as it has the generation.
    Owner(Uuid),
}

/// Loads the generation that readers use.
pub(super) async fn load_live_generation(
    connections: &Connections,
    projection: Projection,
) -> Result<Generation, sqlx::Error> {
    let statement = sqlx::query("SELECT generation FROM projections WHERE name = ?").bind(projection.name());
    let row = connections.fetch_optional(statement).await?.ok_or(sqlx::Error::RowNotFound)?;
    row.try_get(0).map(Generation)
}

/// Loads a checkpoint of the live generation, and that generation, in one statement.
pub(super) async fn load_live_checkpoint(
    connections: &Connections,
    projection: Projection,
    partition: PartitionId,
) -> Result<(Generation, Checkpoint), sqlx::Error> {
    let statement = sqlx::query(
        "SELECT projections.generation, next_offset, epoch, record_offset, record_id, \
         coalesce(log_id, (SELECT max(others.log_id) FROM checkpoints AS others \
         WHERE others.projection = name AND others.generation = projections.generation)) FROM projections \
         LEFT JOIN checkpoints ON projection = name AND checkpoints.generation = projections.generation \
         AND partition_id = ? WHERE name = ?",
    )
    .bind(partition.0)
    .bind(projection.name());
    let row = connections.fetch_optional(statement).await?.ok_or(sqlx::Error::RowNotFound)?;
    Ok((Generation(row.try_get(0)?), decode_checkpoint_or_start(&row, 1)?))
}

pub(super) async fn load_checkpoint(
    connections: &Connections,
    projection: Projection,
    generation: Generation,
    partition: PartitionId,
) -> Result<Checkpoint, sqlx::Error> {
    let statement = sqlx::query(
        "SELECT next_offset, epoch, record_offset, record_id, coalesce(log_id, known.known_log_id) FROM \
         (SELECT max(log_id) AS known_log_id FROM checkpoints WHERE projection = ? AND generation = ?) AS known \
         LEFT JOIN checkpoints ON projection = ? AND generation = ? AND partition_id = ?",
    )
    .bind(projection.name())
    .bind(generation.0)
    .bind(projection.name())
    .bind(generation.0)
    .bind(partition.0);
    let row = connections.fetch_optional(statement).await?.ok_or(sqlx::Error::RowNotFound)?;
    decode_checkpoint_or_start(&row, 0)
}

/// The number of columns that [`decode_checkpoint`] reads.
pub(super) const CHECKPOINT_COLUMNS: usize = 5;

/// Decodes the columns `next_offset`, `epoch`, `record_offset`, `record_id` and `log_id`; `column` is the index of the first.
pub(super) fn decode_checkpoint(row: &MySqlRow, column: usize) -> Result<Checkpoint, sqlx::Error> {
    Ok(Checkpoint {
        next: Offset(row.try_get(column)?),
        epoch: Epoch(row.try_get(column + 1)?),
        record: match (row.try_get::<Option<u64>, _>(column + 2)?, decode_uuid(row, column + 3)?) {
            (Some(offset), Some(id)) => Some(KnownRecord { offset: Offset(offset), id: RecordId(id) }),
            _ => None,
        },
        log: decode_uuid(row, column + 4)?.map(LogId),
    })
}

/// The same for a partition that may have no checkpoint yet. Then only the log may be known.
fn decode_checkpoint_or_start(row: &MySqlRow, column: usize) -> Result<Checkpoint, sqlx::Error> {
    if row.try_get_raw(column)?.is_null() {
        return Ok(Checkpoint { log: decode_uuid(row, column + 4)?.map(LogId), ..Checkpoint::START });
    }
    decode_checkpoint(row, column)
}

/// Decodes a UUID that may be NULL.
pub(super) fn decode_uuid(row: &MySqlRow, column: usize) -> Result<Option<Uuid>, sqlx::Error> {
    let bytes: Option<&[u8]> = row.try_get(column)?;
    bytes.map(Uuid::from_slice).transpose().map_err(|error| decode_error(column, error))
}

/// The transaction of a batch, after it has compared and moved the checkpoint. A drop closes its connection, so that
/// the server rolls it back and releases its locks at once.
pub(super) struct Batch {
    lease: Lease,
    has_feed: bool,
}

/// What a partition's checkpoint has said before a batch.
#[derive(Debug, Clone, Copy)]
struct Found {
    next: u64,
    fed: Option<u64>,
}

/// The outcome of the beginning of a batch.
pub(super) enum Begun {
    Batch(Batch),
    /// The checkpoint is not where the batch begins.
    Elsewhere,
    /// The fence forbids to write the generation.
    Fenced,
}

impl Batch {
    /// Begins the transaction. The checkpoint's row stays locked, so that a second owner of the partition waits here until
    /// the first has ended. The row with the fence stays locked for readers only: batches share it, and a swap waits for
    /// them all.
    pub(super) async fn begin(
        writers: &Connections,
        projection: Projection,
        generation: Generation,
        fence: Fence,
        checkpoint_move: CheckpointMove,
    ) -> Result<Begun, sqlx::Error> {
        let mut lease = writers.lease().await?;
        lease.execute("START TRANSACTION").await?;
        let locked = lock(&mut lease, projection, generation, fence, checkpoint_move.partition).await?;
        let refusal = match locked {
            None => Begun::Fenced,
            Some(found) if found.map_or(Offset::START.0, |found| found.next) != checkpoint_move.from.0 => {
                Begun::Elsewhere
            }
            Some(found) if move_checkpoint(&mut lease, projection, generation, checkpoint_move, found).await? => {
                return Ok(Begun::Batch(Self { lease, has_feed: is_fed(found) }));
            }
            Some(_) => Begun::Elsewhere,
        };
        lease.execute("ROLLBACK").await?;
        lease.give_back();
        Ok(refusal)
    }

    pub(super) fn connection(&mut self) -> &mut MySqlConnection {
        &mut self.lease
    }

    /// Whether the feed has everything before this batch, so that it goes on with it.
    pub(super) const fn has_feed(&self) -> bool {
        self.has_feed
    }

    pub(super) async fn commit(mut self) -> Result<(), sqlx::Error> {
        self.lease.execute("COMMIT").await?;
        self.lease.give_back();
        Ok(())
    }
}

/// Locks the rows with the fence and the checkpoint in one statement, so that the fence costs no round trip. Returns the
/// checkpoint, if it has a row; `None` if the fence forbids to write.
async fn lock(
    connection: &mut MySqlConnection,
    projection: Projection,
    generation: Generation,
    fence: Fence,
    partition: PartitionId,
) -> Result<Option<Option<Found>>, sqlx::Error> {
    let statement = match fence {
        Fence::Live => sqlx::query(
            "SELECT next_offset, fed_offset, projections.generation, paused_at IS NULL FROM projections \
             LEFT JOIN checkpoints \
             ON checkpoints.projection = name AND checkpoints.generation = ? AND partition_id = ? \
             LEFT JOIN pauses ON pauses.projection = name \
             WHERE name = ? FOR SHARE OF projections, pauses FOR UPDATE OF checkpoints",
        )
        .bind(generation.0)
        .bind(partition.0)
        .bind(projection.name()),
        Fence::Owner(_) => sqlx::query(
            "SELECT next_offset, fed_offset, owner FROM generations LEFT JOIN checkpoints \
             ON checkpoints.projection = generations.projection AND checkpoints.generation = generations.generation \
             AND partition_id = ? WHERE generations.projection = ? AND generations.generation = ? \
             FOR SHARE OF generations FOR UPDATE OF checkpoints",
        )
        .bind(partition.0)
        .bind(projection.name())
        .bind(generation.0),
    };
    let Some(row) = statement.fetch_optional(connection).await? else {
        return Ok(None);
    };
    let may_write = match fence {
        Fence::Live => row.try_get::<u32, _>(2)? == generation.0 && row.try_get::<i64, _>(3)? == 1,
        Fence::Owner(owner) => row.try_get::<Option<&[u8]>, _>(2)? == Some(owner.as_bytes()),
    };
    if !may_write {
        return Ok(None);
    }
    let (next, fed): (Option<u64>, _) = (row.try_get(0)?, row.try_get(1)?);
    Ok(Some(next.map(|next| Found { next, fed })))
}

/// Whether the feed has everything before the checkpoint.
fn is_fed(found: Option<Found>) -> bool {
    found.is_none_or(|found| found.fed == Some(found.next))
}

/// Moves the checkpoint, whose row was locked and has `found`, if there is one. A conditional UPDATE would not do: its number of
/// affected rows depends on the options of the connection. A gap in the feed stays where it is. Returns false if another owner has made
/// the row meanwhile.
async fn move_checkpoint(
    connection: &mut MySqlConnection,
    projection: Projection,
    generation: Generation,
    checkpoint_move: CheckpointMove,
    found: Option<Found>,
) -> Result<bool, sqlx::Error> {
    let statement = match found {
        Some(_) => {
            "UPDATE checkpoints SET next_offset = ?, epoch = ?, record_offset = ?, record_id = ?, log_id = ?, fed_offset = ? \
             WHERE projection = ? AND generation = ? AND partition_id = ?"
        }
        None => {
            "INSERT INTO checkpoints (next_offset, epoch, record_offset, record_id, log_id, fed_offset, projection, generation, \
             partition_id) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
        }
    };
    let Checkpoint { next, epoch, record, log } = checkpoint_move.to;
    let fed = match projection {
        Projection::Views if is_fed(found) => Some(next.0),
        Projection::Views => found.and_then(|found| found.fed),
        Projection::Counts | Projection::Search => None,
    };
    let moved = sqlx::query(statement)
        .bind(next.0)
        .bind(epoch.0)
        .bind(record.map(|record| record.offset.0))
        .bind(record.map(|record| record.id.0.as_bytes().to_vec()))
        .bind(log.map(|log| log.0.as_bytes().to_vec()))
        .bind(fed)
        .bind(projection.name())
        .bind(generation.0)
        .bind(checkpoint_move.partition.0)
        .execute(connection)
        .await;
    match moved {
        Ok(_) => Ok(true),
        // SELECT cannot lock a missing row.
        Err(error) if is_duplicate(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Applies a batch again after a conflict with the locks of other transactions, a bounded number of times.
pub(super) async fn retry_contention<T, F>(apply: impl FnMut() -> F) -> Result<T, sqlx::Error>
where
    F: Future<Output = Result<T, sqlx::Error>>,
{
    retry_when(is_contention, apply).await
}

async fn retry_when<T, E, F>(is_temporary: impl FnMut(&E) -> bool, apply: impl FnMut() -> F) -> Result<T, E>
where
    E: std::error::Error,
    F: Future<Output = Result<T, E>>,
{
    let pauses = ExponentialBuilder::new()
        .with_min_delay(FIRST_PAUSE)
        .with_max_delay(LONGEST_PAUSE)
        .with_factor(1.5)
        .with_max_times(MAX_RETRIES)
        .with_jitter();
    let mut attempt = 0;
    let count_retry = |error: &E, _| {
        attempt += 1;
        tracing::debug!(%error, attempt, "a batch met the locks of others and is applied again");
        metrics::counter!(RETRIES).increment(1);
    };
    apply.retry(pauses).when(is_temporary).notify(count_retry).await
}

/// Error numbers: <https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html>.
const ER_DUP_ENTRY: u16 = 1062;
const ER_LOCK_WAIT_TIMEOUT: u16 = 1205;
const ER_LOCK_DEADLOCK: u16 = 1213;

fn is_duplicate(error: &sqlx::Error) -> bool {
    error_number(error) == Some(ER_DUP_ENTRY)
}

pub(super) fn is_contention(error: &sqlx::Error) -> bool {
    matches!(error_number(error), Some(ER_LOCK_WAIT_TIMEOUT | ER_LOCK_DEADLOCK))
}

fn error_number(error: &sqlx::Error) -> Option<u16> {
    let error = error.as_database_error()?.try_downcast_ref::<MySqlDatabaseError>()?;
    Some(error.number())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
    enum Failure {
        #[error("temporary")]
        Temporary,
        #[error("permanent")]
        Permanent,
    }

    /// Runs attempts of which the first `failures` fail; returns the outcome and the number of attempts.
    async fn run_attempts(failures: usize, failure: Failure) -> (Result<(), Failure>, usize) {
        let attempts = Cell::new(0);
        let applied = retry_when(
            |failure| *failure == Failure::Temporary,
            || {
                attempts.set(attempts.get() + 1);
                let attempt = attempts.get();
                async move { if attempt <= failures { Err(failure) } else { Ok(()) } }
            },
        );
        (applied.await, attempts.get())
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_is_applied_anew_for_a_bounded_number_of_times() {
        assert_eq!(run_attempts(3, Failure::Temporary).await, (Ok(()), 4));
        assert_eq!(run_attempts(3, Failure::Permanent).await, (Err(Failure::Permanent), 1));
        assert_eq!(run_attempts(usize::MAX, Failure::Temporary).await, (Err(Failure::Temporary), MAX_RETRIES + 1));
    }
}
