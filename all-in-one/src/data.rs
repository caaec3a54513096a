//! An opened data directory: the log, the projections, and what feeds one from the other.

use std::path::Path;
use std::sync::Arc;

use embedded::{DataDir, OpenError, SqliteLog, SqliteProjections};
use event_log::{EventLog, ReadError};
use projector::feed::FeedError;
use projector::{Feed, Target};

/// A data directory that belongs to this process.
pub struct Data {
    /// The directory.
    pub directory: DataDir,
    /// The event log in it.
    pub log: Arc<SqliteLog>,
    /// The projections in it.
    pub projections: Arc<SqliteProjections>,
}

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// It or a file in it cannot be opened.
    #[error(transparent)]
    Open(OpenError),
    /// Where the log ends cannot be told.
    #[error("the event log cannot be asked where it ends")]
    Log(#[source] ReadError),
    /// Where a projection stands cannot be told.
    #[error("the projections cannot be asked where they stand")]
    Projections(#[source] FeedError),
    /// The projections have seen events that the log does not have.
    #[error(
        "the projection {projection} has seen {ahead} more events than the event log holds: a part of the log was lost; \
         restore the data directory from a copy, or, to go on without those events, delete views.sqlite in it"
    )]
    LogShortened {
        /// Which projection.
        projection: &'static str,
        /// How many events are missing at least.
        ahead: u64,
    },
}

impl Data {
    /// Opens the directory, which is made if it is missing.
    ///
    /// # Errors
    /// [`DataError`] says what to do.
    pub async fn open(path: &Path) -> Result<Self, DataError> {
        Self::open_in(DataDir::open(path).map_err(DataError::Open)?).await
    }

    /// Opens the directory after deleting the projections in it.
    ///
    /// # Errors
    /// [`DataError`] says what to do.
    pub async fn open_anew(path: &Path) -> Result<Self, DataError> {
        let directory = DataDir::open(path).map_err(DataError::Open)?;
        directory.delete_projections().map_err(DataError::Open)?;
        Self::open_in(directory).await
    }

    async fn open_in(directory: DataDir) -> Result<Self, DataError> {
        let log = Arc::new(directory.open_log().await.map_err(DataError::Open)?);
        let projections = directory.open_projections(log.log_id()).await.map_err(DataError::Open)?;
        let data = Self { directory, log, projections: Arc::new(projections) };
        data.refuse_shortened_log().await?;
        Ok(data)
    }

    /// What feeds the projections, partition by partition.
    ///
    /// # Errors
    /// If the log cannot be asked which partitions it has.
    pub async fn feeds(&self) -> Result<Vec<Feed>, DataError> {
        self.feeds_to(&self.projections).await
    }

    /// What feeds other projections than those in the directory.
    ///
    /// # Errors
    /// If the log cannot be asked which partitions it has.
    pub async fn feeds_to(&self, projections: &Arc<SqliteProjections>) -> Result<Vec<Feed>, DataError> {
        let targets = [
            Target::Views(Arc::clone(projections) as _),
            Target::Counts(Arc::clone(projections) as _),
            Target::Search(Arc::clone(projections) as _),
        ];
        let end = self.log.end().await.map_err(DataError::Log)?;
        let feed =
            |partition, target: &Target| Feed { log: Arc::clone(&self.log) as _, target: target.clone(), partition };
        Ok(end.bounds().flat_map(|(partition, _)| targets.iter().map(move |target| feed(partition, target))).collect())
    }

    /// Closes both files.
    pub async fn close(&self) {
        if let Err(error) = self.projections.close().await {
            tracing::warn!(%error, "the projections were not closed cleanly; nothing is lost");
        }
        self.log.close().await;
    }

    async fn refuse_shortened_log(&self) -> Result<(), DataError> {
        for feed in self.feeds().await? {
            let checkpoint = feed.checkpoint().await.map_err(DataError::Projections)?.next;
            let end = feed.end().await.map_err(DataError::Projections)?;
            if checkpoint > end {
                let projection = feed.target.projection().name();
                return Err(DataError::LogShortened { projection, ahead: checkpoint.0 - end.0 });
            }
        }
        Ok(())
    }
}
