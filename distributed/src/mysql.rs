//! The projections `views` and `counts` on MySQL.
//!
//! | module | holds |
//! |---|---|
//! | `connections` | connections and their bounds |
//! | `checkpoint_tx` | generations and checkpoints, the transaction of a batch |
//! | `multi_row` | statements of many rows |
//! | `columns` | values of the log in columns and back |
//! | [`mod@migrate`] | bringing the tables up to date |
//! | `write_views`, `write_counts` | how a batch is applied |
//! | `read_views` | how views are read |
//! | [`counts`] | what the number server asks of `counts` |
//!
//! Every table has the generation of its projection in front. What writes takes the live generation when it is first
//! needed, and stays with it; what reads takes the live one in each call, and uses one throughout.

mod checkpoint_tx;
mod columns;
mod connections;
pub mod counts;
pub mod migrate;
mod multi_row;
mod read_views;
mod write_counts;
mod write_views;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use events::{ChatKey, PartitionId, Position};
use read_model::{
    Applied, ChatCounts, Checkpoint, CheckpointMove, CountsChanges, DeadLetter, Projection, ProjectionStore,
    StoreError, ViewsChanges, ViewsError,
};
use sqlx::mysql::MySqlConnectOptions;
use tokio::sync::OnceCell;
use tokio_util::sync::DropGuard;

use self::checkpoint_tx::{Generation, retried};
use self::connections::{APPLY_WAIT, Connections, READ_WAIT, within};
use crate::shared_poll::SharedPoll;

pub use counts::MySqlCounts;
pub use migrate::MigrateError;

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// It cannot be read.
    #[error("this is no URL of a MySQL; write mysql://USER:PASSWORD@HOST:PORT/DATABASE")]
    Url(#[source] sqlx::Error),
    /// It ends with the server.
    #[error("this URL of a MySQL names no database; write mysql://USER:PASSWORD@HOST:PORT/DATABASE")]
    NoDatabase,
}

/// Where a URL leads to.
fn options(url: &str) -> Result<MySqlConnectOptions, ClientError> {
    let options: MySqlConnectOptions = url.parse().map_err(ClientError::Url)?;
    if options.get_database().is_none_or(str::is_empty) {
        return Err(ClientError::NoDatabase);
    }
    // Whatever the URL says of it: in any other character set most of what people write could not be told apart.
    Ok(options.charset("utf8mb4").collation("utf8mb4_bin"))
}

/// [`ProjectionStore`] and [`read_model::Views`] on MySQL.
///
/// Making one connects to nothing; while the server is away every call fails within seconds, and works again once it is
/// back.
pub struct MySqlProjections {
    options: MySqlConnectOptions,
    readers: Connections,
    writers: Connections,
    views: OnceCell<Generation>,
    counts: OnceCell<Generation>,
    progress: Arc<SharedPoll<BTreeMap<Projection, Position>>>,
    _asking: DropGuard,
}

impl MySqlProjections {
    /// On the server and in the database at `url`. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn new(url: &str) -> Result<Self, ClientError> {
        let options = options(url)?;
        let readers = Connections::readers(&options);
        let asked = readers.clone();
        let (progress, asking) = SharedPoll::start(move || read_views::progress(asked.clone()));
        Ok(Self {
            writers: Connections::writers(&options),
            options,
            readers,
            views: OnceCell::new(),
            counts: OnceCell::new(),
            progress,
            _asking: asking,
        })
    }

    /// Brings the tables up to date, unless others are at it for long: one attempt of many. Let it come to its end: given up,
    /// it may leave a migration cut off.
    ///
    /// # Errors
    /// [`MigrateError`]; see [`MigrateError::is_lasting`].
    pub async fn migrate(&self) -> Result<(), MigrateError> {
        migrate::migrate(&self.options, migrate::ATTEMPT_WAIT).await
    }

    /// Whether every table that is read is there, and both projections have a live generation. What is in them, and
    /// whether it is up to date, is not looked at.
    ///
    /// # Errors
    /// What MySQL says.
    pub async fn check(self: Arc<Self>) -> Result<(), ViewsError> {
        let checked = within(READ_WAIT, read_views::touch_tables(&self.readers)).await;
        checked.map_err(|error| ViewsError { what: "the tables", source: error.into() })
    }

    /// The generation that this value writes.
    async fn generation(&self, projection: Projection) -> Result<Generation, sqlx::Error> {
        let cell = match projection {
            Projection::Counts => &self.counts,
            Projection::Views => &self.views,
            Projection::Search => {
                return Err(sqlx::Error::InvalidArgument("the projection search is not kept in MySQL".to_owned()));
            }
        };
        cell.get_or_try_init(|| checkpoint_tx::live(&self.writers, projection)).await.copied()
    }

    /// Whether the projection has passed `position`, at the latest after `within`.
    async fn has_reached(
        &self,
        projection: Projection,
        position: &Position,
        within: Duration,
    ) -> Result<bool, read_model::BackendError> {
        // Before its first batch a projection has no checkpoint: it is at the start.
        let (start, covers) = (Position::default(), |progress: &Position| progress.covers(position));
        let is_there = |progress: &BTreeMap<_, _>| covers(progress.get(&projection).unwrap_or(&start));
        if within.is_zero() {
            return Ok(is_there(&read_views::progress(self.readers.clone()).await?));
        }
        self.progress.wait_until(within, is_there).await.map_err(Into::into)
    }
}

/// Brings the tables of the database at `url` up to date, and waits for others that are at it for
/// [`migrate::OTHERS_WAIT`] at most. Let it come to its end: given up, it may leave a migration cut off.
///
/// # Errors
/// [`MigrateError`].
pub async fn migrate(url: &str) -> Result<(), MigrateError> {
    migrate_within(url, migrate::OTHERS_WAIT).await
}

/// The same with another `wait` for the others.
///
/// # Errors
/// [`MigrateError`].
pub async fn migrate_within(url: &str, wait: Duration) -> Result<(), MigrateError> {
    migrate::migrate(&options(url).map_err(MigrateError::Url)?, wait).await
}

#[async_trait]
impl ProjectionStore for MySqlProjections {
    async fn checkpoint(&self, projection: Projection, partition: PartitionId) -> Result<Checkpoint, StoreError> {
        let asked = async {
            let generation = self.generation(projection).await?;
            checkpoint_tx::checkpoint(&self.writers, projection, generation, partition).await
        };
        within(READ_WAIT, asked).await.map_err(|error| StoreError::Checkpoint {
            projection,
            partition,
            source: error.into(),
        })
    }

    async fn apply_views(&self, checkpoint_move: CheckpointMove, changes: ViewsChanges) -> Result<Applied, StoreError> {
        let applied = retried(|| within(APPLY_WAIT, write_views::apply(self, checkpoint_move, &changes))).await;
        applied.map_err(|error| StoreError::Apply {
            projection: Projection::Views,
            checkpoint_move,
            source: error.into(),
        })
    }

    async fn chat_counts(&self, chats: &[ChatKey]) -> Result<HashMap<ChatKey, ChatCounts>, StoreError> {
        let loaded = within(READ_WAIT, write_counts::load(self, chats)).await;
        loaded.map_err(|error| StoreError::ChatCounts { chats: chats.len(), source: error.into() })
    }

    async fn apply_counts(
        &self,
        checkpoint_move: CheckpointMove,
        changes: CountsChanges,
    ) -> Result<Applied, StoreError> {
        let applied = retried(|| within(APPLY_WAIT, write_counts::apply(self, checkpoint_move, &changes))).await;
        applied.map_err(|error| StoreError::Apply {
            projection: Projection::Counts,
            checkpoint_move,
            source: error.into(),
        })
    }

    async fn dead_letters(&self, partition: PartitionId, limit: u32) -> Result<Vec<DeadLetter>, StoreError> {
        let found = within(READ_WAIT, write_views::dead_letters(self, partition, limit)).await;
        found.map_err(|error| StoreError::DeadLetters(error.into()))
    }
}
