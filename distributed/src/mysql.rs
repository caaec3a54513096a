//! The projections `views` and `counts` on MySQL.
//!
//! | module | holds |
//! |---|---|
//! | `connections` | connections, with a bound on every wait |
//! | `checkpoint_tx` | checkpoints, and the transaction of a batch |
//! | `writer` | writes the live generation, or one that is being built |
//! | [`generations`] | begins, swaps and deletes generations |
//! | `operating` | compares generations, and pauses projections |
//! | [`comparison`] | the tables of a projection, compared column by column |
//! | `former_rows` | deletes the rows of a generation in small steps |
//! | `multi_row` | statements that write or read many rows |
//! | `columns` | decodes columns |
//! | `coverage` | how far into the log what a read shows goes |
//! | [`mod@migrate`] | brings the tables up to date |
//! | `write_views`, `write_counts` | apply batches |
//! | `read_views`, `read_messages` | read views |
//! | `write_access`, `read_access` | keys and voided users, a part of `views` |
//! | `write_feed`, `read_feed`, `feed_index`, `feed_kind` | the feed, a part of `views` |
//! | `log_ends` | notes of when `views` had everything that the log had |
//! | `stops` | notes of partitions in which a projection stands still |
//! | [`counts`] | reads `counts` for the sequencer |
//!
//! The first column of every key is the generation of the projection. A batch is applied to one generation and checks in its
//! own transaction that this one is still live. A reader loads the live generation in each call and uses it throughout the call.

mod checkpoint_tx;
mod columns;
pub mod comparison;
mod connections;
pub mod counts;
mod coverage;
mod feed_index;
mod feed_kind;
mod former_rows;
pub mod generations;
mod log_ends;
pub mod migrate;
mod multi_row;
mod operating;
mod read_access;
mod read_chats;
mod read_feed;
mod read_messages;
mod read_views;
mod stops;
mod write_access;
mod write_counts;
mod write_feed;
mod write_views;
mod writer;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use events::{ChatKey, Offset, PartitionId, Position};
use read_model::{
    Applied, Checkpoint, CheckpointMove, CountsChanges, DeadLetter, LoadedCounts, Projection, ProjectionStore,
    StandsStill, StoreError, StoreTime, StoredLetter, ViewsChanges,
};
use sqlx::mysql::MySqlConnectOptions;
use tokio_util::sync::DropGuard;

use self::connections::{Connections, READ_WAIT, with_timeout};
use self::read_feed::FeedEnd;
use self::writer::Writer;
use crate::shared_poll::SharedPoll;

pub use counts::MySqlCounts;
pub use generations::MySqlGenerations;
pub use migrate::MigrateError;

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

/// [`ProjectionStore`], [`read_model::Views`], [`read_model::Access`] and [`read_model::Feed`] on MySQL.
///
/// [`MySqlProjections::new`] does not connect. While the server is away, every call fails within seconds.
pub struct MySqlProjections {
    options: MySqlConnectOptions,
    readers: Connections,
    /// For [`read_model::Access::changes`] alone.
    key_changes: Connections,
    /// For the tail of the feed and its poll alone.
    tails: Connections,
    writer: Writer,
    progress: Arc<SharedPoll<BTreeMap<Projection, Position>>>,
    feed_ends: Arc<SharedPoll<FeedEnd>>,
    _poll_guards: [DropGuard; 2],
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
        let tails = Connections::tails(&options);
        let polled = tails.clone();
        let (feed_ends, feed_guard) =
            SharedPoll::start_every(read_feed::POLL_PAUSE, move || read_feed::load_end(polled.clone()));
        Ok(Self {
            writer: Writer::of_live_generations(Connections::writers(&options)),
            key_changes: Connections::key_changes(&options),
            options,
            readers,
            tails,
            progress,
            feed_ends,
            _poll_guards: [poll_guard, feed_guard],
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
        self.writer.checkpoint(projection, partition).await
    }

    async fn apply_views(&self, checkpoint_move: CheckpointMove, changes: ViewsChanges) -> Result<Applied, StoreError> {
        self.writer.apply_views(checkpoint_move, changes).await
    }

    async fn chat_counts(&self, chats: &[ChatKey]) -> Result<LoadedCounts, StoreError> {
        self.writer.chat_counts(chats).await
    }

    async fn apply_counts(
        &self,
        checkpoint_move: CheckpointMove,
        changes: CountsChanges,
    ) -> Result<Applied, StoreError> {
        self.writer.apply_counts(checkpoint_move, changes).await
    }

    async fn note_stop(
        &self,
        projection: Projection,
        partition: PartitionId,
        at: Offset,
        reason: &str,
    ) -> Result<(), StoreError> {
        self.writer.note_stop(projection, partition, at, reason).await
    }

    async fn clear_stop(&self, projection: Projection, partition: PartitionId) -> Result<(), StoreError> {
        self.writer.clear_stop(projection, partition).await
    }

    async fn dead_letter(&self, partition: PartitionId, offset: Offset) -> Result<Option<StoredLetter>, StoreError> {
        self.writer.dead_letter(partition, offset).await
    }

    async fn count_dead_letters(&self, partition: PartitionId) -> Result<u64, StoreError> {
        self.writer.count_dead_letters(partition).await
    }

    async fn now(&self) -> Result<Option<StoreTime>, StoreError> {
        self.writer.now().await
    }

    async fn note_log_end(&self, partition: PartitionId, end: Offset, at: StoreTime) -> Result<(), StoreError> {
        self.writer.note_log_end(partition, end, at).await
    }

    async fn dead_letters(&self, partition: PartitionId, limit: u32) -> Result<Vec<DeadLetter>, StoreError> {
        self.writer.dead_letters(partition, limit).await
    }
}
