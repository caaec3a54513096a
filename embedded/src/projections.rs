//! Every projection in one SQLite file: written by the projector, read by the read API.

mod counts;
mod ordinals;
mod progress;
mod read_views;
mod search;
mod write_views;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use events::{ChatKey, Epoch, Offset, PartitionId};
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use read_model::{
    Applied, ChatCounts, Checkpoint, CheckpointMove, CountsChanges, DeadLetter, Projection, ProjectionStore,
    StoreError, ViewsChanges,
};
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{SqlitePool, SqliteQueryResult, SqliteRow, SqliteStatement, SqliteTypeInfo};
use sqlx::{Connection, Describe, Either, Execute, Executor, SqlStr, Sqlite, SqliteConnection, SqliteExecutor};
use tokio::sync::watch;
use uuid::Uuid;

use self::progress::Progress;
use crate::clean_close::note_clean_close;
use crate::sqlite::{self, Durability, WriteTransaction, Writer};

static MIGRATIONS: Migrator = sqlx::migrate!("../migrations/sqlite-views");

/// Reads that run at once; more wait for a connection.
const READERS: u32 = 4;

/// [`ProjectionStore`], [`read_model::Views`] and [`read_model::SearchIndex`] on SQLite.
#[derive(Debug)]
pub struct SqliteProjections {
    readers: Readers,
    writer: Writer,
    progress: Progress,
}

/// How much of a file is looked at before it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Check {
    /// What SQLite reads of it.
    No,
    /// The structure of every page.
    Quick,
}

/// The reading connections. Every answer passes here, and so does every sign of damage.
#[derive(Debug)]
struct Readers {
    pool: SqlitePool,
    damage: Damage,
}

/// Whether the file was found to be damaged.
#[derive(Debug)]
struct Damage {
    path: PathBuf,
    is_found: watch::Sender<bool>,
}

impl Readers {
    /// A connection for several statements; their errors are not looked at here.
    async fn acquire(&self) -> Result<PoolConnection<Sqlite>, sqlx::Error> {
        self.pool.acquire().await
    }
}

impl Damage {
    /// Looks whether an error is one of a damaged file; the first is logged with what to do.
    fn look(&self, error: &sqlx::Error) {
        if is_damage(error) && !self.is_found.send_replace(true) {
            let path = self.path.display();
            tracing::error!(%error, "the projections are damaged; stop tally, delete {path}, start it: they are rebuilt");
        }
    }
}

/// SQLITE_CORRUPT and SQLITE_NOTADB, whatever their extension. <https://www.sqlite.org/rescode.html>
fn is_damage(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code()?.parse::<u32>().ok());
    code.is_some_and(|code| matches!(code & 0xff, 11 | 26))
}

impl SqliteProjections {
    /// Opens the projections of the log `log_id`; `None` if the file holds those of another log.
    pub(crate) async fn open(path: &Path, log_id: Uuid, check: Check) -> Result<Option<Self>, sqlx::Error> {
        let options = sqlite::options(path, Durability::Crash);
        let mut connection = SqliteConnection::connect_with(&options).await?;
        if check == Check::Quick {
            quick_check(&mut connection).await?;
        }
        let prepared = prepare(&mut connection, log_id).await;
        let progress = Progress::load(&mut connection).await;
        connection.close().await?;
        if prepared? != log_id {
            return Ok(None);
        }
        let pool = sqlite::readers(&options, READERS).await?;
        let damage = Damage { path: path.to_owned(), is_found: watch::Sender::new(false) };
        let readers = Readers { pool, damage };
        Ok(Some(Self { readers, writer: Writer::new(options), progress: progress? }))
    }

    /// Closes the file after the write that runs.
    ///
    /// # Errors
    /// What SQLite says; nothing is lost, since projections can be made again.
    pub async fn close(&self) -> Result<(), sqlx::Error> {
        self.readers.pool.close().await;
        self.writer.close().await?;
        if !*self.readers.damage.is_found.borrow() {
            note_clean_close(&self.readers.damage.path)?;
        }
        Ok(())
    }

    /// Waits until the file is found to be damaged, if ever; what to do has been logged then.
    pub async fn damaged(&self) {
        // The sender lives as long as this value does, so the wait ends with damage only.
        drop(self.readers.damage.is_found.subscribe().wait_for(|is_found| *is_found).await);
    }

    /// Looks whether an error is one of a damaged file, and passes it on.
    fn seen(&self, error: sqlx::Error) -> read_model::BackendError {
        self.readers.damage.look(&error);
        error.into()
    }

    /// Commits the transaction of a batch and tells whoever waits for it.
    async fn commit(
        &self,
        transaction: WriteTransaction<'_>,
        projection: Projection,
        checkpoint_move: CheckpointMove,
    ) -> Result<Applied, sqlx::Error> {
        transaction.commit().await?;
        self.progress.committed(projection, checkpoint_move);
        Ok(Applied::Done)
    }

    /// Begins the transaction of a batch. `None`: the checkpoint is not where the batch begins.
    async fn begin(
        &self,
        projection: Projection,
        checkpoint_move: CheckpointMove,
    ) -> Result<Option<WriteTransaction<'_>>, sqlx::Error> {
        let mut transaction = self.writer.begin().await?;
        let checkpoint = checkpoint(transaction.connection(), projection, checkpoint_move.partition).await?;
        if checkpoint.next != checkpoint_move.from {
            return Ok(None);
        }
        sqlx::query(
            "INSERT INTO checkpoints (projection, partition, next_offset, epoch) VALUES (?, ?, ?, ?) \
             ON CONFLICT (projection, partition) DO UPDATE SET next_offset = excluded.next_offset, \
             epoch = excluded.epoch",
        )
        .bind(projection.name())
        .bind(i64::from(checkpoint_move.partition.0))
        .bind(checkpoint_move.to.next.0.cast_signed())
        .bind(checkpoint_move.to.epoch.0.cast_signed())
        .execute(transaction.connection())
        .await?;
        Ok(Some(transaction))
    }
}

impl<'p> Executor<'p> for &'p Readers {
    type Database = Sqlite;

    fn fetch_many<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxStream<'e, Result<Either<SqliteQueryResult, SqliteRow>, sqlx::Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Sqlite>,
    {
        self.pool.fetch_many(query).inspect_err(|error| self.damage.look(error)).boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<SqliteRow>, sqlx::Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Sqlite>,
    {
        let row = self.pool.fetch_optional(query);
        Box::pin(async move { row.await.inspect_err(|error| self.damage.look(error)) })
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [SqliteTypeInfo],
    ) -> BoxFuture<'e, Result<SqliteStatement, sqlx::Error>>
    where
        'p: 'e,
    {
        self.pool.prepare_with(sql, parameters)
    }

    /// There because sqlx is used with its feature `macros`.
    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<Sqlite>, sqlx::Error>>
    where
        'p: 'e,
    {
        self.pool.describe(sql)
    }
}

/// Walks through the file; an error if its structure is not whole.
async fn quick_check(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let found: String = sqlx::query_scalar("PRAGMA quick_check(1)").fetch_one(connection).await?;
    if found == "ok" { Ok(()) } else { Err(std::io::Error::new(std::io::ErrorKind::InvalidData, found).into()) }
}

/// How many events the projections at `path` have seen; `None` if there are none that can be asked, or they saw nothing.
pub(crate) async fn events_seen(path: &Path) -> Option<u64> {
    let options = sqlite::options(path, Durability::Crash).create_if_missing(false);
    let mut connection = SqliteConnection::connect_with(&options).await.ok()?;
    let seen = sqlx::query_scalar::<_, Option<i64>>("SELECT max(next_offset) FROM checkpoints");
    let seen = seen.fetch_one(&mut connection).await;
    connection.close().await.ok()?;
    seen.ok()?.map(i64::cast_unsigned).filter(|seen| *seen > 0)
}

/// Brings the schema up to date; the answer is the log that the projections are of.
async fn prepare(connection: &mut SqliteConnection, log_id: Uuid) -> Result<Uuid, sqlx::Error> {
    MIGRATIONS.run(&mut *connection).await.map_err(|error| match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => error,
        other => sqlx::Error::Migrate(Box::new(other)),
    })?;
    sqlx::query("INSERT INTO source (log_id) SELECT ? WHERE NOT EXISTS (SELECT 1 FROM source)")
        .bind(log_id.as_bytes().as_slice())
        .execute(&mut *connection)
        .await?;
    let source: Vec<u8> = sqlx::query_scalar("SELECT log_id FROM source").fetch_one(connection).await?;
    Uuid::from_slice(&source).map_err(|error| sqlite::undecodable(0, error))
}

async fn checkpoint(
    connection: impl SqliteExecutor<'_>,
    projection: Projection,
    partition: PartitionId,
) -> Result<Checkpoint, sqlx::Error> {
    let row: Option<(i64, i64)> =
        sqlx::query_as("SELECT next_offset, epoch FROM checkpoints WHERE projection = ? AND partition = ?")
            .bind(projection.name())
            .bind(i64::from(partition.0))
            .fetch_optional(connection)
            .await?;
    Ok(row.map_or(Checkpoint::START, |(next, epoch)| Checkpoint {
        next: Offset(next.cast_unsigned()),
        epoch: Epoch(epoch.cast_unsigned()),
    }))
}

#[async_trait]
impl ProjectionStore for SqliteProjections {
    async fn checkpoint(&self, projection: Projection, partition: PartitionId) -> Result<Checkpoint, StoreError> {
        checkpoint(&self.readers, projection, partition).await.map_err(|error| StoreError::Checkpoint {
            projection,
            partition,
            source: self.seen(error),
        })
    }

    async fn apply_views(&self, checkpoint_move: CheckpointMove, changes: ViewsChanges) -> Result<Applied, StoreError> {
        write_views::apply(self, checkpoint_move, changes).await.map_err(|error| StoreError::Apply {
            projection: Projection::Views,
            checkpoint_move,
            source: self.seen(error),
        })
    }

    async fn chat_counts(&self, chats: &[ChatKey]) -> Result<HashMap<ChatKey, ChatCounts>, StoreError> {
        counts::load(self, chats)
            .await
            .map_err(|error| StoreError::ChatCounts { chats: chats.len(), source: self.seen(error) })
    }

    async fn apply_counts(
        &self,
        checkpoint_move: CheckpointMove,
        changes: CountsChanges,
    ) -> Result<Applied, StoreError> {
        counts::apply(self, checkpoint_move, changes).await.map_err(|error| StoreError::Apply {
            projection: Projection::Counts,
            checkpoint_move,
            source: self.seen(error),
        })
    }

    async fn dead_letters(&self, partition: PartitionId, limit: u32) -> Result<Vec<DeadLetter>, StoreError> {
        write_views::dead_letters(self, partition, limit).await.map_err(|error| StoreError::DeadLetters(error.into()))
    }
}
