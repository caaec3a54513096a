//! Generations and checkpoints, and the transaction of a batch.

use std::time::Duration;

use events::{Epoch, Offset, PartitionId};
use read_model::{Checkpoint, CheckpointMove, Projection};
use sqlx::mysql::{MySqlDatabaseError, MySqlRow};
use sqlx::{Executor, MySqlConnection, Row};

use super::connections::{Connections, Lease};

/// How often a batch that met a deadlock is applied anew.
const MAX_RETRIES: u32 = 10;
/// Pause before it is; each further one is a little longer.
const RETRY_PAUSE: Duration = Duration::from_millis(10);

/// A generation of a projection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Generation(pub(super) u32);

/// The generation that readers see.
pub(super) async fn live(connections: &Connections, projection: Projection) -> Result<Generation, sqlx::Error> {
    let statement = sqlx::query("SELECT generation FROM projections WHERE name = ?").bind(projection.name());
    let row = connections.fetch_optional(statement).await?.ok_or(sqlx::Error::RowNotFound)?;
    row.try_get(0).map(Generation)
}

pub(super) async fn checkpoint(
    connections: &Connections,
    projection: Projection,
    generation: Generation,
    partition: PartitionId,
) -> Result<Checkpoint, sqlx::Error> {
    let statement = sqlx::query(
        "SELECT next_offset, epoch FROM checkpoints WHERE projection = ? AND generation = ? AND partition_id = ?",
    )
    .bind(projection.name())
    .bind(generation.0)
    .bind(partition.0);
    let row = connections.fetch_optional(statement).await?;
    row.map_or(Ok(Checkpoint::START), |row| checkpoint_of(&row, 0))
}

/// The checkpoint in columns `next_offset` and `epoch`, which begin at this place of a row.
pub(super) fn checkpoint_of(row: &MySqlRow, column: usize) -> Result<Checkpoint, sqlx::Error> {
    Ok(Checkpoint { next: Offset(row.try_get(column)?), epoch: Epoch(row.try_get(column + 1)?) })
}

/// The transaction of a batch, in which the checkpoint has been compared and moved. Dropped, it is rolled back: its
/// connection is closed, so that nobody waits for a process that does not go on with it.
pub(super) struct Batch {
    lease: Lease,
}

impl Batch {
    /// Begins it. `None`: the checkpoint is not where the batch begins. The row stays locked, so that of two owners the
    /// second waits here until the first has ended.
    pub(super) async fn begin(
        writers: &Connections,
        projection: Projection,
        generation: Generation,
        checkpoint_move: CheckpointMove,
    ) -> Result<Option<Self>, sqlx::Error> {
        let mut lease = writers.lease().await?;
        lease.execute("START TRANSACTION").await?;
        if move_checkpoint(&mut lease, projection, generation, checkpoint_move).await? {
            return Ok(Some(Self { lease }));
        }
        lease.execute("ROLLBACK").await?;
        lease.give_back();
        Ok(None)
    }

    pub(super) fn connection(&mut self) -> &mut MySqlConnection {
        &mut self.lease
    }

    pub(super) async fn commit(mut self) -> Result<(), sqlx::Error> {
        self.lease.execute("COMMIT").await?;
        self.lease.give_back();
        Ok(())
    }
}

/// Moves the checkpoint, if it is where the batch begins. It is compared here and not by how many rows a statement
/// affects, which depends on how the connection was made.
async fn move_checkpoint(
    connection: &mut MySqlConnection,
    projection: Projection,
    generation: Generation,
    checkpoint_move: CheckpointMove,
) -> Result<bool, sqlx::Error> {
    let found: Option<u64> = sqlx::query_scalar(
        "SELECT next_offset FROM checkpoints WHERE projection = ? AND generation = ? AND partition_id = ? FOR UPDATE",
    )
    .bind(projection.name())
    .bind(generation.0)
    .bind(checkpoint_move.partition.0)
    .fetch_optional(&mut *connection)
    .await?;
    if found.unwrap_or(Offset::START.0) != checkpoint_move.from.0 {
        return Ok(false);
    }
    let statement = match found {
        Some(_) => {
            "UPDATE checkpoints SET next_offset = ?, epoch = ? \
             WHERE projection = ? AND generation = ? AND partition_id = ?"
        }
        None => {
            "INSERT INTO checkpoints (next_offset, epoch, projection, generation, partition_id) VALUES (?, ?, ?, ?, ?)"
        }
    };
    let moved = sqlx::query(statement)
        .bind(checkpoint_move.to.next.0)
        .bind(checkpoint_move.to.epoch.0)
        .bind(projection.name())
        .bind(generation.0)
        .bind(checkpoint_move.partition.0)
        .execute(connection)
        .await;
    match moved {
        Ok(_) => Ok(true),
        // A row that is not there cannot be locked: somebody else has put it there meanwhile.
        Err(error) if is_duplicate(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Applies a batch anew where it met others in a way that only one of them could go on.
pub(super) async fn retried<T, F>(apply: impl Fn() -> F) -> Result<T, sqlx::Error>
where
    F: Future<Output = Result<T, sqlx::Error>>,
{
    retried_where(is_contention, apply).await
}

async fn retried_where<T, E, F>(passes: impl Fn(&E) -> bool, apply: impl Fn() -> F) -> Result<T, E>
where
    E: std::error::Error,
    F: Future<Output = Result<T, E>>,
{
    let mut retries = 0;
    loop {
        match apply().await {
            Err(error) if passes(&error) && retries < MAX_RETRIES => {
                retries += 1;
                tracing::debug!(%error, attempt = retries, "a batch met others and is applied anew");
                metrics::counter!("tally_mysql_retries_total").increment(1);
                tokio::time::sleep(RETRY_PAUSE * retries).await;
            }
            outcome => return outcome,
        }
    }
}

/// Numbers of errors, <https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html>.
const ER_DUP_ENTRY: u16 = 1062;
const ER_LOCK_WAIT_TIMEOUT: u16 = 1205;
const ER_LOCK_DEADLOCK: u16 = 1213;

fn is_duplicate(error: &sqlx::Error) -> bool {
    number(error) == Some(ER_DUP_ENTRY)
}

fn is_contention(error: &sqlx::Error) -> bool {
    matches!(number(error), Some(ER_LOCK_WAIT_TIMEOUT | ER_LOCK_DEADLOCK))
}

fn number(error: &sqlx::Error) -> Option<u16> {
    let error = error.as_database_error()?.try_downcast_ref::<MySqlDatabaseError>()?;
    Some(error.number())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
    enum Failure {
        #[error("others were met")]
        Passing,
        #[error("it cannot be")]
        Lasting,
    }

    /// What comes of attempts of which the first `failures` fail, and how many there were.
    async fn attempts(failures: u32, failure: Failure) -> (Result<(), Failure>, u32) {
        let attempts = Cell::new(0);
        let applied = retried_where(
            |failure| *failure == Failure::Passing,
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
        assert_eq!(attempts(3, Failure::Passing).await, (Ok(()), 4));
        assert_eq!(attempts(3, Failure::Lasting).await, (Err(Failure::Lasting), 1));
        assert_eq!(attempts(u32::MAX, Failure::Passing).await, (Err(Failure::Passing), MAX_RETRIES + 1));
    }
}
