//! All projections in one SQLite file. The projector writes them, the read API reads them.

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
use futures_util::{Stream, TryStreamExt};
use read_model::{
    Applied, ChatCounts, Checkpoint, CheckpointMove, CountsChanges, DeadLetter, Projection, ProjectionStore,
    StoreError, ViewsChanges,
};
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{SqliteArguments, SqlitePool, SqliteRow};
use sqlx::{Connection, Row, Sqlite, SqliteConnection};
use tokio::sync::watch;
use uuid::Uuid;

use self::progress::Progress;
use crate::clean_close::note_clean_close;
use crate::sqlite::{self, Durability, WriteTransaction, Writer};

static MIGRATIONS: Migrator = sqlx::migrate!("../migrations/sqlite-views");

/// Connections for reads. Further reads wait for one.
const READERS: u32 = 4;

/// [`ProjectionStore`], [`read_model::Views`] and [`read_model::SearchIndex`] on SQLite.
#[derive(Debug)]
pub struct SqliteProjections {
    readers: Readers,
    writer: Writer,
    progress: Progress,
}

/// Whether a file is checked for damage before it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IntegrityCheck {
    Skip,
    /// `PRAGMA quick_check`, which reads every page.
    Quick,
}

/// A query with its values.
type Query = sqlx::query::Query<'static, Sqlite, SqliteArguments>;

/// The reading connections. Every read uses these methods, so that each error is checked for damage of the file.
#[derive(Debug)]
struct Readers {
    pool: SqlitePool,
    damage: Damage,
}

/// Whether an error has shown that the file is damaged.
#[derive(Debug)]
struct Damage {
    path: PathBuf,
    is_found: watch::Sender<bool>,
}

impl Readers {
    /// Acquires a connection for several statements. The caller passes their errors to [`Damage::check`].
    async fn acquire(&self) -> Result<PoolConnection<Sqlite>, sqlx::Error> {
        self.pool.acquire().await
    }

    fn fetch(&self, query: Query) -> impl Stream<Item = Result<SqliteRow, sqlx::Error>> + Send + Unpin {
        query.fetch(&self.pool).inspect_err(|error| self.damage.check(error))
    }

    async fn fetch_all(&self, query: Query) -> Result<Vec<SqliteRow>, sqlx::Error> {
        self.fetch(query).try_collect().await
    }

    /// Fetches the row of a query that has at most one.
    async fn fetch_optional(&self, query: Query) -> Result<Option<SqliteRow>, sqlx::Error> {
        query.fetch_optional(&self.pool).await.inspect_err(|error| self.damage.check(error))
    }
}

impl Damage {
    /// Checks whether an error comes from a damaged file. Logs only the first such error, with advice.
    fn check(&self, error: &sqlx::Error) {
        if is_damage(error) && !self.is_found.send_replace(true) {
            let path = self.path.display();
            tracing::error!(%error, "the projections are damaged; stop tally, delete {path}, start it: they are rebuilt");
        }
    }
}

/// Whether the primary result code is SQLITE_CORRUPT or SQLITE_NOTADB: <https://www.sqlite.org/rescode.html>.
fn is_damage(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code()?.parse::<u32>().ok());
    code.is_some_and(|code| matches!(code & 0xff, 11 | 26))
}

impl SqliteProjections {
    /// Opens the projections of the log `log_id`; `None` if the file holds those of another log.
    pub(crate) async fn open(path: &Path, log_id: Uuid, check: IntegrityCheck) -> Result<Option<Self>, sqlx::Error> {
        let options = sqlite::connect_options(path, Durability::Crash);
        let mut connection = SqliteConnection::connect_with(&options).await?;
        if check == IntegrityCheck::Quick {
            quick_check(&mut connection).await?;
        }
        let prepared = prepare(&mut connection, log_id).await;
        let progress = Progress::load(&mut connection).await;
        connection.close().await?;
        if prepared? != log_id {
            return Ok(None);
        }
        let pool = sqlite::connect_readers(&options, READERS).await?;
        let damage = Damage { path: path.to_owned(), is_found: watch::Sender::new(false) };
        let readers = Readers { pool, damage };
        Ok(Some(Self { readers, writer: Writer::new(options), progress: progress? }))
    }

    /// Waits until the running write has ended, then closes the file.
    ///
    /// # Errors
    /// SQLite's error. Nothing is lost, because projections can be rebuilt.
    pub async fn close(&self) -> Result<(), sqlx::Error> {
        self.readers.pool.close().await;
        self.writer.close().await?;
        if !*self.readers.damage.is_found.borrow() {
            note_clean_close(&self.readers.damage.path)?;
        }
        Ok(())
    }

    /// Waits until a read or a write finds that the file is damaged, which may be never. An error
    /// with advice for the operator is logged then.
    pub async fn wait_for_damage(&self) {
        // The wait cannot fail: the sender lives as long as `self`.
        drop(self.readers.damage.is_found.subscribe().wait_for(|is_found| *is_found).await);
    }

    /// Checks whether an error comes from a damaged file, and returns the error for the port.
    fn note_damage(&self, error: sqlx::Error) -> read_model::BackendError {
        self.readers.damage.check(&error);
        error.into()
    }

    async fn load_checkpoint(&self, projection: Projection, partition: PartitionId) -> Result<Checkpoint, sqlx::Error> {
        decode_checkpoint(self.readers.fetch_optional(checkpoint_query(projection, partition)).await?)
    }

    /// Commits the transaction of a batch, then wakes readers that wait for its position.
    async fn commit(
        &self,
        transaction: WriteTransaction<'_>,
        projection: Projection,
        checkpoint_move: CheckpointMove,
    ) -> Result<Applied, sqlx::Error> {
        transaction.commit().await?;
        self.progress.publish_commit(projection, checkpoint_move);
        Ok(Applied::Done)
    }

    /// Begins the transaction of a batch and moves the checkpoint in it. `None` if the checkpoint is not where the
    /// batch begins.
    async fn begin(
        &self,
        projection: Projection,
        checkpoint_move: CheckpointMove,
    ) -> Result<Option<WriteTransaction<'_>>, sqlx::Error> {
        let mut transaction = self.writer.begin().await?;
        let query = checkpoint_query(projection, checkpoint_move.partition);
        let checkpoint = decode_checkpoint(query.fetch_optional(transaction.connection()).await?)?;
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

/// Reads every page; an error if the structure of the file is damaged.
async fn quick_check(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let outcome: String = sqlx::query_scalar("PRAGMA quick_check(1)").fetch_one(connection).await?;
    if outcome == "ok" { Ok(()) } else { Err(std::io::Error::new(std::io::ErrorKind::InvalidData, outcome).into()) }
}

/// Counts the events that the projections at `path` have applied. `None` if the file is missing, unreadable or empty.
pub(crate) async fn count_applied_events(path: &Path) -> Option<u64> {
    let options = sqlite::connect_options(path, Durability::Crash).create_if_missing(false);
    let mut connection = SqliteConnection::connect_with(&options).await.ok()?;
    let query = sqlx::query_scalar::<_, Option<i64>>("SELECT max(next_offset) FROM checkpoints");
    let applied = query.fetch_one(&mut connection).await;
    connection.close().await.ok()?;
    applied.ok()?.map(i64::cast_unsigned).filter(|applied| *applied > 0)
}

/// Brings the schema up to date; returns the id of the log that the projections were made from.
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
    Uuid::from_slice(&source).map_err(|error| sqlite::decode_error(0, error))
}

fn checkpoint_query(projection: Projection, partition: PartitionId) -> Query {
    sqlx::query("SELECT next_offset, epoch FROM checkpoints WHERE projection = ? AND partition = ?")
        .bind(projection.name())
        .bind(i64::from(partition.0))
}

fn decode_checkpoint(row: Option<SqliteRow>) -> Result<Checkpoint, sqlx::Error> {
    let Some(row) = row else {
        return Ok(Checkpoint::START);
    };
    let next = Offset(row.try_get::<i64, _>(0)?.cast_unsigned());
    let epoch = Epoch(row.try_get::<i64, _>(1)?.cast_unsigned());
    Ok(Checkpoint { next, epoch })
}

#[async_trait]
impl ProjectionStore for SqliteProjections {
    async fn checkpoint(&self, projection: Projection, partition: PartitionId) -> Result<Checkpoint, StoreError> {
        self.load_checkpoint(projection, partition).await.map_err(|error| StoreError::Checkpoint {
            projection,
            partition,
            source: self.note_damage(error),
        })
    }

    async fn apply_views(&self, checkpoint_move: CheckpointMove, changes: ViewsChanges) -> Result<Applied, StoreError> {
        write_views::apply(self, checkpoint_move, &changes).await.map_err(|error| StoreError::Apply {
            projection: Projection::Views,
            checkpoint_move,
            source: self.note_damage(error),
        })
    }

    async fn chat_counts(&self, chats: &[ChatKey]) -> Result<HashMap<ChatKey, ChatCounts>, StoreError> {
        counts::load(self, chats)
            .await
            .map_err(|error| StoreError::ChatCounts { chats: chats.len(), source: self.note_damage(error) })
    }

    async fn apply_counts(
        &self,
        checkpoint_move: CheckpointMove,
        changes: CountsChanges,
    ) -> Result<Applied, StoreError> {
        counts::apply(self, checkpoint_move, changes).await.map_err(|error| StoreError::Apply {
            projection: Projection::Counts,
            checkpoint_move,
            source: self.note_damage(error),
        })
    }

    async fn dead_letters(&self, partition: PartitionId, limit: u32) -> Result<Vec<DeadLetter>, StoreError> {
        let loaded = write_views::load_dead_letters(self, partition, limit).await;
        loaded.map_err(|error| StoreError::DeadLetters(error.into()))
    }
}
