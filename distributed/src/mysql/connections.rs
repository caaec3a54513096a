//! Connections and their bounds, the transaction of a batch, and statements of many rows.

use std::time::Duration;

use events::{Epoch, Offset, PartitionId};
use read_model::{Checkpoint, Projection, Step};
use sqlx::mysql::{MySql, MySqlConnectOptions, MySqlPool, MySqlPoolOptions, MySqlRow};
use sqlx::query_builder::Separated;
use sqlx::{Executor, MySqlConnection, MySqlExecutor, QueryBuilder, Row, Transaction};

/// Reads that run at once; more wait for a connection.
const READERS: u32 = 16;
/// Batches that are applied at once, one a partition.
const WRITERS: u32 = 12;
/// Longest wait for a connection, a new one included.
const ACQUIRE_WAIT: Duration = Duration::from_secs(2);
/// Connections that nobody uses are closed after this time.
const IDLE: Duration = Duration::from_secs(60);
/// What every writing connection is set to. A process that is frozen in the middle of a transaction is cut off, and lets go
/// of its locks, when it has said nothing for wait_timeout seconds.
const WRITER_SETTINGS: &str = "SET SESSION transaction_isolation = 'READ-COMMITTED', \
                               SESSION innodb_lock_wait_timeout = 5, SESSION wait_timeout = 8";
/// What every reading connection is set to: no read takes longer than this, in milliseconds.
const READER_SETTINGS: &str = "SET SESSION transaction_isolation = 'READ-COMMITTED', \
                               SESSION max_execution_time = 10000";
/// How often a batch that met a deadlock is applied anew.
const MAX_RETRIES: u32 = 10;
/// Pause before it is; each further one is a little longer.
const RETRY_PAUSE: Duration = Duration::from_millis(10);
/// Statements have one of these many rows, so that there are few of them to prepare.
const ROWS_A_STATEMENT: [usize; 4] = [128, 16, 4, 1];

/// A generation of a projection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Generation(pub(super) u32);

pub(super) fn readers(options: &MySqlConnectOptions) -> MySqlPool {
    pool(options, READERS, READER_SETTINGS)
}

pub(super) fn writers(options: &MySqlConnectOptions) -> MySqlPool {
    pool(options, WRITERS, WRITER_SETTINGS)
}

fn pool(options: &MySqlConnectOptions, max: u32, settings: &'static str) -> MySqlPool {
    MySqlPoolOptions::new()
        .max_connections(max)
        .acquire_timeout(ACQUIRE_WAIT)
        .idle_timeout(IDLE)
        .after_connect(move |connection, _| Box::pin(async move { connection.execute(settings).await.map(drop) }))
        .connect_lazy_with(options.clone())
}

/// The generation that readers see.
pub(super) async fn live(executor: impl MySqlExecutor<'_>, projection: Projection) -> Result<Generation, sqlx::Error> {
    let query = sqlx::query_scalar("SELECT generation FROM projections WHERE name = ?").bind(projection.name());
    query.fetch_one(executor).await.map(Generation)
}

pub(super) async fn checkpoint(
    executor: impl MySqlExecutor<'_>,
    projection: Projection,
    generation: Generation,
    partition: PartitionId,
) -> Result<Checkpoint, sqlx::Error> {
    let row = sqlx::query(
        "SELECT next_offset, epoch FROM checkpoints WHERE projection = ? AND generation = ? AND partition_id = ?",
    )
    .bind(projection.name())
    .bind(generation.0)
    .bind(partition.0)
    .fetch_optional(executor)
    .await?;
    row.map_or(Ok(Checkpoint::START), |row| checkpoint_of(&row, 0))
}

/// The checkpoint in columns `next_offset` and `epoch`, which begin at this place of a row.
pub(super) fn checkpoint_of(row: &MySqlRow, column: usize) -> Result<Checkpoint, sqlx::Error> {
    Ok(Checkpoint { next: Offset(row.try_get(column)?), epoch: Epoch(row.try_get(column + 1)?) })
}

/// Begins the transaction of a batch, in which the checkpoint has been compared and moved. `None`: it is not where the
/// batch begins. The row stays locked, so that of two owners the second waits here until the first has ended.
pub(super) async fn begin(
    writers: &MySqlPool,
    projection: Projection,
    generation: Generation,
    step: Step,
) -> Result<Option<Transaction<'static, MySql>>, sqlx::Error> {
    let mut transaction = writers.begin().await?;
    let found: Option<u64> = sqlx::query_scalar(
        "SELECT next_offset FROM checkpoints WHERE projection = ? AND generation = ? AND partition_id = ? FOR UPDATE",
    )
    .bind(projection.name())
    .bind(generation.0)
    .bind(step.partition.0)
    .fetch_optional(&mut *transaction)
    .await?;
    if found.unwrap_or(Offset::START.0) != step.from.0 {
        transaction.rollback().await?;
        return Ok(None);
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
        .bind(step.to.next.0)
        .bind(step.to.epoch.0)
        .bind(projection.name())
        .bind(generation.0)
        .bind(step.partition.0)
        .execute(&mut *transaction)
        .await;
    match moved {
        // A row that is not there cannot be locked: somebody else has put it there meanwhile.
        Err(error) if is_duplicate(&error) => {
            transaction.rollback().await?;
            Ok(None)
        }
        moved => moved.map(|_| Some(transaction)),
    }
}

/// Applies a batch anew where it met others in a way that only one of them could go on.
pub(super) async fn retried<T, F>(apply: impl Fn() -> F) -> Result<T, sqlx::Error>
where
    F: Future<Output = Result<T, sqlx::Error>>,
{
    let mut retries = 0;
    loop {
        match apply().await {
            Err(error) if is_contention(&error) && retries < MAX_RETRIES => {
                retries += 1;
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
    let error = error.as_database_error()?.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>()?;
    Some(error.number())
}

/// Writes rows by `head VALUES (…), (…) tail`. No rows, no statement.
pub(super) async fn insert_rows<R>(
    connection: &mut MySqlConnection,
    head: &'static str,
    tail: &'static str,
    mut rows: &[R],
    bind: impl Fn(&mut Separated<'_, MySql, &'static str>, &R),
) -> Result<(), sqlx::Error> {
    for size in ROWS_A_STATEMENT {
        while let Some((chunk, rest)) = rows.split_at_checked(size) {
            let mut statement = QueryBuilder::<MySql>::new(head);
            statement.push_values(chunk, |mut row, values| bind(&mut row, values));
            statement.push(tail).build().execute(&mut *connection).await?;
            rows = rest;
        }
    }
    Ok(())
}

/// Rows by `head ((…), (…))`, where head ends with a list of columns and IN: those that one of `keys` names. In no order.
pub(super) async fn rows_in<K>(
    connection: &mut MySqlConnection,
    head: &'static str,
    mut keys: &[K],
    bind: impl Fn(&mut Separated<'_, MySql, &'static str>, &K),
) -> Result<Vec<MySqlRow>, sqlx::Error> {
    let mut rows = Vec::new();
    for size in ROWS_A_STATEMENT {
        while let Some((chunk, rest)) = keys.split_at_checked(size) {
            let mut statement = QueryBuilder::<MySql>::new(head);
            statement.push_tuples(chunk, |mut tuple, key| bind(&mut tuple, key));
            rows.extend(statement.build().fetch_all(&mut *connection).await?);
            keys = rest;
        }
    }
    Ok(rows)
}
