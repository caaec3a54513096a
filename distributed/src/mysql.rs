//! The projections `views` and `counts` on MySQL.
//!
//! | module | holds |
//! |---|---|
//! | `connections` | connections, with a bound on every wait |
//! | `checkpoint_tx` | generations, checkpoints, and the transaction of a batch |
//! | `multi_row` | statements that write or read many rows |
//! | `columns` | decodes columns |
//! | [`mod@migrate`] | brings the tables up to date |
//! | `write_views`, `write_counts` | apply batches |
//! | `read_views` | reads views |
//! | `stops` | notes of partitions in which a projection stands still |
//! | [`counts`] | reads `counts` for the sequencer |
//!
//! The first column of every key is the generation of the projection. A writer loads the live generation once and keeps
//! it. A reader loads the live generation in each call and uses it throughout the call.

mod checkpoint_tx;
mod columns;
mod connections;
pub mod counts;
pub mod migrate;
mod multi_row;
mod read_views;
mod stops;
mod write_counts;
mod write_views;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use events::{ChatKey, Offset, PartitionId, Position};
use read_model::{
    Applied, ChatCounts, Checkpoint, CheckpointMove, CountsChanges, DeadLetter, Projection, ProjectionStore,
    StoreError, ViewsChanges,
};
use sqlx::mysql::MySqlConnectOptions;
use tokio::sync::OnceCell;
use tokio_util::sync::DropGuard;

use self::checkpoint_tx::{Generation, retry_contention};
use self::connections::{APPLY_WAIT, Connections, READ_WAIT, with_timeout};
use crate::shared_poll::SharedPoll;

pub use counts::MySqlCounts;
pub use migrate::MigrateError;
pub use stops::StandsStill;

/// Why views cannot be read, or do not follow the log.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// MySQL cannot be reached, or lacks a table or a generation.
    #[error("the tables cannot be read")]
    Tables(#[source] sqlx::Error),
    /// A projection cannot go on.
    #[error(transparent)]
    StandsStill(StandsStill),
}

/// Why a URL of MySQL cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// It is no URL of MySQL.
    #[error("this is not a URL of MySQL; write mysql://USER:PASSWORD@HOST:PORT/DATABASE")]
    Url(#[source] sqlx::Error),
    /// It is the URL of something else.
    #[error(
        "this is not a URL of MySQL: it does not begin with mysql://; write mysql://USER:PASSWORD@HOST:PORT/DATABASE"
    )]
    Scheme,
    /// It names no database.
    #[error("this URL of MySQL names no database; write mysql://USER:PASSWORD@HOST:PORT/DATABASE")]
    NoDatabase,
}

/// Checks that this is the URL of a database in a MySQL.
///
/// # Errors
/// [`ClientError`]. It does not repeat the URL, since it may hold a password.
pub fn check_url(url: &str) -> Result<(), ClientError> {
    parse_url(url).map(drop)
}

fn parse_url(url: &str) -> Result<MySqlConnectOptions, ClientError> {
    let options: MySqlConnectOptions = url.parse().map_err(ClientError::Url)?;
    // sqlx parses the URLs of other servers as well.
    if !url.starts_with("mysql://") {
        return Err(ClientError::Scheme);
    }
    if options.get_database().is_none_or(str::is_empty) {
        return Err(ClientError::NoDatabase);
    }
    // Overrides the URL: another character set cannot store all texts, and another collation confuses different ones.
    Ok(options.charset("utf8mb4").collation("utf8mb4_bin"))
}

/// [`ProjectionStore`] and [`read_model::Views`] on MySQL.
///
/// [`MySqlProjections::new`] does not connect. While the server is away, every call fails within seconds.
pub struct MySqlProjections {
    options: MySqlConnectOptions,
    readers: Connections,
    writers: Connections,
    written_views: OnceCell<Generation>,
    written_counts: OnceCell<Generation>,
    progress: Arc<SharedPoll<BTreeMap<Projection, Position>>>,
    _poll_guard: DropGuard,
}

impl MySqlProjections {
    /// Uses the database at `url`. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn new(url: &str) -> Result<Self, ClientError> {
        let options = parse_url(url)?;
        let readers = Connections::readers(&options);
        let polled = readers.clone();
        let (progress, poll_guard) = SharedPoll::start(move || read_views::load_progress(polled.clone()));
        Ok(Self {
            writers: Connections::writers(&options),
            options,
            readers,
            written_views: OnceCell::new(),
            written_counts: OnceCell::new(),
            progress,
            _poll_guard: poll_guard,
        })
    }

    /// Brings the tables up to date. Fails if another process migrates them for long; the caller tries again. Do not
    /// cancel it: that may interrupt a migration.
    ///
    /// # Errors
    /// [`MigrateError`]; see [`MigrateError::is_lasting`].
    pub async fn migrate(&self) -> Result<(), MigrateError> {
        migrate::migrate(&self.options, migrate::ATTEMPT_WAIT).await
    }

    /// Checks that the tables of the read side exist, that both projections have a live generation, and that neither
    /// stands still because a newer version has written to the log. Does not check the rows.
    ///
    /// # Errors
    /// MySQL's error, or where and why a projection stands still.
    pub async fn check(self: Arc<Self>) -> Result<(), CheckError> {
        let probed = with_timeout(READ_WAIT, async {
            read_views::probe_tables(&self.readers).await?;
            stops::find(&self.readers).await
        });
        match probed.await {
            Ok(None) => Ok(()),
            Ok(Some(stop)) => Err(CheckError::StandsStill(stop)),
            Err(error) => Err(CheckError::Tables(error)),
        }
    }

    /// The generation that this value writes: the one that was live at its first write.
    async fn written_generation(&self, projection: Projection) -> Result<Generation, sqlx::Error> {
        let cell = match projection {
            Projection::Counts => &self.written_counts,
            Projection::Views => &self.written_views,
            Projection::Search => {
                return Err(sqlx::Error::InvalidArgument("the projection search is not kept in MySQL".to_owned()));
            }
        };
        cell.get_or_try_init(|| checkpoint_tx::load_live_generation(&self.writers, projection)).await.copied()
    }

    /// Waits until the projection has passed `position`. Returns false if it has not after `within`.
    async fn wait_until_reached(
        &self,
        projection: Projection,
        position: &Position,
        within: Duration,
    ) -> Result<bool, read_model::BackendError> {
        // Before its first batch a projection has no checkpoint: it is at the start.
        let start = Position::default();
        let is_reached =
            |progress: &BTreeMap<_, Position>| progress.get(&projection).unwrap_or(&start).covers(position);
        if within.is_zero() {
            return Ok(is_reached(&read_views::load_progress(self.readers.clone()).await?));
        }
        self.progress.wait_until(within, is_reached).await.map_err(Into::into)
    }
}

/// Brings the tables of the database at `url` up to date. Waits for other processes that migrate them for
/// [`migrate::OTHERS_WAIT`] at most. Do not cancel it: that may interrupt a migration.
///
/// # Errors
/// [`MigrateError`].
pub async fn migrate(url: &str) -> Result<(), MigrateError> {
    migrate_within(url, migrate::OTHERS_WAIT).await
}

/// As [`migrate()`], with `wait` as the bound on the wait for other processes.
///
/// # Errors
/// [`MigrateError`].
pub async fn migrate_within(url: &str, wait: Duration) -> Result<(), MigrateError> {
    migrate::migrate(&parse_url(url).map_err(MigrateError::Url)?, wait).await
}

#[async_trait]
impl ProjectionStore for MySqlProjections {
    async fn checkpoint(&self, projection: Projection, partition: PartitionId) -> Result<Checkpoint, StoreError> {
        let load = async {
            let generation = self.written_generation(projection).await?;
            checkpoint_tx::load_checkpoint(&self.writers, projection, generation, partition).await
        };
        with_timeout(READ_WAIT, load).await.map_err(|error| StoreError::Checkpoint {
            projection,
            partition,
            source: error.into(),
        })
    }

    async fn apply_views(&self, checkpoint_move: CheckpointMove, changes: ViewsChanges) -> Result<Applied, StoreError> {
        let applied =
            retry_contention(|| with_timeout(APPLY_WAIT, write_views::apply(self, checkpoint_move, &changes))).await;
        applied.map_err(|error| StoreError::Apply {
            projection: Projection::Views,
            checkpoint_move,
            source: error.into(),
        })
    }

    async fn chat_counts(&self, chats: &[ChatKey]) -> Result<HashMap<ChatKey, ChatCounts>, StoreError> {
        let loaded = with_timeout(READ_WAIT, write_counts::load(self, chats)).await;
        loaded.map_err(|error| StoreError::ChatCounts { chats: chats.len(), source: error.into() })
    }

    async fn apply_counts(
        &self,
        checkpoint_move: CheckpointMove,
        changes: CountsChanges,
    ) -> Result<Applied, StoreError> {
        let applied =
            retry_contention(|| with_timeout(APPLY_WAIT, write_counts::apply(self, checkpoint_move, &changes))).await;
        applied.map_err(|error| StoreError::Apply {
            projection: Projection::Counts,
            checkpoint_move,
            source: error.into(),
        })
    }

    async fn note_stop(
        &self,
        projection: Projection,
        partition: PartitionId,
        at: Offset,
        reason: &str,
    ) -> Result<(), StoreError> {
        let note = async {
            let generation = self.written_generation(projection).await?;
            stops::note(&self.writers, projection, generation, partition, at, reason).await
        };
        let noted = with_timeout(READ_WAIT, note).await;
        noted.map_err(|error| StoreError::NoteStop { projection, partition, source: error.into() })
    }

    async fn dead_letters(&self, partition: PartitionId, limit: u32) -> Result<Vec<DeadLetter>, StoreError> {
        let loaded = with_timeout(READ_WAIT, write_views::load_dead_letters(self, partition, limit)).await;
        loaded.map_err(|error| StoreError::DeadLetters(error.into()))
    }
}
