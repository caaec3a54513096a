//! Compares generations of `views` and `counts` with those that are made anew, and pauses projections; see [`OperateGenerations`].

use std::collections::BTreeMap;

use async_trait::async_trait;
use events::PartitionId;
use read_model::generations::SWAP_TIMEOUT;
use read_model::{
    BackendError, Build, CatchUp, Difference, FIRST_VERSION_WITH_FEED, GenerationNumber, GenerationsError, LiveError,
    LiveGeneration, OperateGenerations, PauseError, Pauses, Projection,
};
use sqlx::{Executor, MySqlConnection, Row};

use super::MySqlGenerations;
use super::checkpoint_tx::{Generation, decode_checkpoint, is_contention, retry_contention};
use super::comparison::Snapshot;
use super::connections::{READ_WAIT, with_timeout};
use super::generations::{FIRST_VERSION, lock_checkpoints};
use super::write_views::count_dead_letters;

impl MySqlGenerations {
    pub(super) async fn load_is_paused(&self, projection: Projection) -> Result<bool, sqlx::Error> {
        let statement = sqlx::query("SELECT paused_at IS NOT NULL FROM pauses WHERE projection = ?");
        let loaded = self.keepers.fetch_optional(statement.bind(projection.name()));
        let row = with_timeout(READ_WAIT, loaded).await?;
        row.map_or(Ok(false), |row| Ok(row.try_get::<i64, _>(0)? == 1))
    }

    /// Waits for the batches that have locked the row.
    async fn store_is_paused(&self, projection: Projection, is_paused: bool) -> Result<(), sqlx::Error> {
        let statement = sqlx::query(
            "INSERT INTO pauses (projection, paused_at) VALUES (?, IF(?, UTC_TIMESTAMP(6), NULL)) AS new \
             ON DUPLICATE KEY UPDATE paused_at = new.paused_at",
        );
        let stored = self.keepers.execute(statement.bind(projection.name()).bind(is_paused));
        with_timeout(READ_WAIT, stored).await.map(drop)
    }

    /// Reads the pointer, the version, the checkpoints and the pause in one statement. Where programs of an earlier release have written, rows
    /// are of their version.
    async fn load_live(&self, projection: Projection) -> Result<LiveGeneration, sqlx::Error> {
        let statement = sqlx::query(
            "SELECT projections.generation, paused_at IS NOT NULL, version, partition_id, \
             next_offset, epoch, record_offset, record_id, log_id, fed_offset FROM projections \
             LEFT JOIN pauses ON pauses.projection = name \
             LEFT JOIN generations ON generations.projection = name \
             AND generations.generation = projections.generation \
             LEFT JOIN checkpoints ON checkpoints.projection = name AND checkpoints.generation = projections.generation \
             WHERE name = ?",
        );
        let rows = self.keepers.fetch_all(statement.bind(projection.name())).await?;
        let first = rows.first().ok_or(sqlx::Error::RowNotFound)?;
        let (generation, is_paused) = (first.try_get(0)?, first.try_get::<i64, _>(1)? == 1);
        let mut version = first.try_get::<Option<u32>, _>(2)?.unwrap_or(FIRST_VERSION);
        let mut checkpoints = BTreeMap::new();
        for row in &rows {
            // Before its first batch a projection has none.
            if let Some(partition) = row.try_get(3)? {
                let checkpoint = decode_checkpoint(row, 4)?;
                if projection == Projection::Views && row.try_get::<Option<u64>, _>(9)? != Some(checkpoint.next.0) {
                    // Programs of an earlier version have written last, and write no feed.
                    version = version.min(FIRST_VERSION_WITH_FEED - 1);
                }
                checkpoints.insert(PartitionId(partition), checkpoint);
            }
        }
        // Only `views` keeps some.
        let dead_letters = if projection == Projection::Views {
            count_dead_letters(&self.keepers, Generation(generation), PartitionId::ALL).await?
        } else {
            0
        };
        Ok(LiveGeneration { version, generation: GenerationNumber(generation), checkpoints, dead_letters, is_paused })
    }

    /// Takes a snapshot of both generations at equal checkpoints, while the writers of the live one wait.
    async fn take_snapshot(
        &self,
        build: &Build,
        rest: &dyn CatchUp,
    ) -> Result<Option<(Snapshot, Generation)>, BackendError> {
        let Ok(stopped) = tokio::time::timeout(SWAP_TIMEOUT, self.stop_writers(build, rest)).await else {
            return Ok(None);
        };
        let (mut transaction, live) = stopped?;
        let projection = build.projection;
        let goal = lock_checkpoints(&mut transaction, projection, live).await?;
        let reached = lock_checkpoints(&mut transaction, projection, Generation(build.generation.0)).await?;
        let snapshot = if reached == goal { Some(Snapshot::begin(&self.comparers).await?) } else { None };
        transaction.execute("ROLLBACK").await?;
        transaction.give_back();
        Ok(snapshot.map(|snapshot| (snapshot, live)))
    }

    async fn try_compare(&self, build: &Build, rest: &dyn CatchUp) -> Result<Option<Vec<Difference>>, BackendError> {
        let Some((snapshot, live)) = self.take_snapshot(build, rest).await? else {
            return Ok(None);
        };
        Ok(Some(snapshot.compare(build.projection, Generation(build.generation.0), live).await?))
    }
}

/// Whether the projection is paused, which nobody changes until the transaction has ended.
pub(super) async fn lock_is_paused(
    connection: &mut MySqlConnection,
    projection: Projection,
) -> Result<bool, sqlx::Error> {
    let statement = sqlx::query_scalar("SELECT paused_at IS NOT NULL FROM pauses WHERE projection = ? FOR SHARE");
    let is_paused: Option<i64> = statement.bind(projection.name()).fetch_optional(connection).await?;
    Ok(is_paused == Some(1))
}

#[async_trait]
impl Pauses for MySqlGenerations {
    async fn is_paused(&self, projection: Projection) -> Result<bool, PauseError> {
        let loaded = self.load_is_paused(projection).await;
        loaded.map_err(|error| PauseError::Read { projection, source: error.into() })
    }

    async fn set_paused(&self, projection: Projection, is_paused: bool) -> Result<(), PauseError> {
        let stored = retry_contention(|| self.store_is_paused(projection, is_paused)).await;
        stored.map_err(|error| PauseError::Change { projection, source: error.into() })
    }
}

#[async_trait]
impl OperateGenerations for MySqlGenerations {
    async fn live(&self, projection: Projection) -> Result<LiveGeneration, LiveError> {
        let loaded = with_timeout(READ_WAIT, self.load_live(projection)).await;
        loaded.map_err(|error| LiveError { projection, source: error.into() })
    }

    async fn compare(&self, build: &Build, rest: &dyn CatchUp) -> Result<Option<Vec<Difference>>, GenerationsError> {
        match self.try_compare(build, rest).await {
            Err(error) if error.downcast_ref().is_some_and(is_contention) => Ok(None),
            compared => compared.map_err(|source| GenerationsError::Compare { projection: build.projection, source }),
        }
    }
}
