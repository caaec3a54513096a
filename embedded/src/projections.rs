//! Every projection in one SQLite file: written by the projector, read by the read API.

mod counts;
mod ordinals;
mod progress;
mod read_views;
mod search;
mod write_views;

use std::collections::HashMap;
use std::path::Path;

use async_trait::async_trait;
use events::{ChatKey, Offset, PartitionId};
use read_model::{
    Applied, ChatCounts, CountsChanges, DeadLetter, Projection, ProjectionStore, Step, StoreError, ViewsChanges,
};
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::SqlitePool;
use sqlx::{Connection, SqliteConnection, SqliteExecutor};
use uuid::Uuid;

use self::progress::Progress;
use crate::sqlite::{self, Durability, WriteTransaction, Writer};

static MIGRATIONS: Migrator = sqlx::migrate!("../migrations/sqlite-views");

/// Reads that run at once; more wait for a connection.
const READERS: u32 = 4;

/// [`ProjectionStore`], [`read_model::Views`] and [`read_model::SearchIndex`] on SQLite.
#[derive(Debug)]
pub struct SqliteProjections {
    readers: SqlitePool,
    writer: Writer,
    progress: Progress,
}

impl SqliteProjections {
    /// Opens the projections of the log `log_id`; `None` if the file holds those of another log.
    pub(crate) async fn open(path: &Path, log_id: Uuid) -> Result<Option<Self>, sqlx::Error> {
        let options = sqlite::options(path, Durability::Crash);
        let mut connection = SqliteConnection::connect_with(&options).await?;
        let prepared = prepare(&mut connection, log_id).await;
        let progress = Progress::load(&mut connection).await;
        connection.close().await?;
        if prepared? != log_id {
            return Ok(None);
        }
        let readers = sqlite::readers(&options, READERS).await?;
        Ok(Some(Self { readers, writer: Writer::new(options), progress: progress? }))
    }

    /// Closes the file after the write that runs.
    ///
    /// # Errors
    /// What SQLite says; nothing is lost, since projections can be made again.
    pub async fn close(&self) -> Result<(), sqlx::Error> {
        self.readers.close().await;
        self.writer.close().await
    }

    /// Commits the transaction of a batch and tells whoever waits for it.
    async fn commit(
        &self,
        transaction: WriteTransaction<'_>,
        projection: Projection,
        step: Step,
    ) -> Result<Applied, sqlx::Error> {
        transaction.commit().await?;
        self.progress.committed(projection, step);
        Ok(Applied::Done)
    }

    /// Begins the transaction of a batch. `None`: the checkpoint is not where the batch begins.
    async fn begin(&self, projection: Projection, step: Step) -> Result<Option<WriteTransaction<'_>>, sqlx::Error> {
        let mut transaction = self.writer.begin().await?;
        let checkpoint = checkpoint(transaction.connection(), projection, step.partition).await?;
        if checkpoint != step.from {
            return Ok(None);
        }
        sqlx::query(
            "INSERT INTO checkpoints (projection, partition, next_offset) VALUES (?, ?, ?) \
             ON CONFLICT (projection, partition) DO UPDATE SET next_offset = excluded.next_offset",
        )
        .bind(projection.name())
        .bind(i64::from(step.partition.0))
        .bind(step.to.0.cast_signed())
        .execute(transaction.connection())
        .await?;
        Ok(Some(transaction))
    }
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
) -> Result<Offset, sqlx::Error> {
    let next: Option<i64> =
        sqlx::query_scalar("SELECT next_offset FROM checkpoints WHERE projection = ? AND partition = ?")
            .bind(projection.name())
            .bind(i64::from(partition.0))
            .fetch_optional(connection)
            .await?;
    Ok(next.map_or(Offset::START, |next| Offset(next.cast_unsigned())))
}

#[async_trait]
impl ProjectionStore for SqliteProjections {
    async fn checkpoint(&self, projection: Projection, partition: PartitionId) -> Result<Offset, StoreError> {
        checkpoint(&self.readers, projection, partition).await.map_err(|error| StoreError::Checkpoint {
            projection,
            partition,
            source: error.into(),
        })
    }

    async fn apply_views(&self, step: Step, changes: ViewsChanges) -> Result<Applied, StoreError> {
        write_views::apply(self, step, changes).await.map_err(|error| StoreError::Apply {
            projection: Projection::Views,
            step,
            source: error.into(),
        })
    }

    async fn chat_counts(&self, chats: &[ChatKey]) -> Result<HashMap<ChatKey, ChatCounts>, StoreError> {
        counts::load(self, chats)
            .await
            .map_err(|error| StoreError::ChatCounts { chats: chats.len(), source: error.into() })
    }

    async fn apply_counts(&self, step: Step, changes: CountsChanges) -> Result<Applied, StoreError> {
        counts::apply(self, step, changes).await.map_err(|error| StoreError::Apply {
            projection: Projection::Counts,
            step,
            source: error.into(),
        })
    }

    async fn dead_letters(&self, partition: PartitionId, limit: u32) -> Result<Vec<DeadLetter>, StoreError> {
        write_views::dead_letters(self, partition, limit).await.map_err(|error| StoreError::DeadLetters(error.into()))
    }
}
