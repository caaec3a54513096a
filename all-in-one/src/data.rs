//! An opened data directory: the log, the projections, and the feeds from one to the other.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use embedded::log::check::CheckError;
use embedded::{DataDir, OpenError, SqliteLog, SqliteProjections};
use event_log::{EventLog, OtherLog, ReadError};
use events::EventId;
use projector::Feed;
use projector::feed::FeedError;
use projector::sink::make_sink;
use read_model::{BuildStore, Projection, ProjectionStore};
use thiserror_ext::AsReport;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Pause between two looks for connections that nobody uses.
const UNUSED_INTERVAL: Duration = Duration::from_secs(5);
/// How long a connection may keep its memory after its last use.
const UNUSED_AFTER: Duration = Duration::from_secs(10);

/// Most dead letters whose records a start reads again.
const MAX_REREAD_LETTERS: u32 = 1_000;

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
    /// The directory or a file in it cannot be opened.
    #[error(transparent)]
    Open(OpenError),
    /// The end of the log cannot be read.
    #[error("the end of the event log cannot be read")]
    Log(#[source] ReadError),
    /// The checkpoint of a projection cannot be read.
    #[error("the checkpoints of the projections cannot be read")]
    Projections(#[source] FeedError),
    /// The log could not be checked.
    #[error(transparent)]
    Check(CheckError),
    /// Records of the log are damaged.
    #[error(
        "{records} records of the event log are damaged, and the projections may still show what they said, so the projections \
         stay as they are; tally verify names the records; restore the data directory from a copy"
    )]
    Damaged {
        /// How many.
        records: u64,
    },
    /// A projection has applied other records than those of the log.
    #[error("the projection {projection} cannot be used; run tally rebuild, which makes it anew from the log")]
    OtherLog {
        /// The projection's name.
        projection: &'static str,
        /// The difference.
        #[source]
        source: OtherLog,
    },
    /// A projection has applied events that the log does not have.
    #[error(
        "the projection {projection} has applied {ahead} more events than the event log holds: a part of the log \
         was lost; restore the data directory from a copy, or, to go on without those events, delete the directory projections in it"
    )]
    LogShortened {
        /// The projection's name.
        projection: &'static str,
        /// How many events are missing, at least.
        ahead: u64,
    },
}

impl Data {
    /// Opens the directory; creates it if it is missing.
    ///
    /// # Errors
    /// [`DataError`] says what to do.
    pub async fn open(path: &Path) -> Result<Self, DataError> {
        let data = Self::open_in(DataDir::open(path).map_err(DataError::Open)?, DataDir::open_projections).await?;
        data.refuse_another_log().await?;
        data.delete_former_projections()?;
        Ok(data)
    }

    /// Opens an existing directory as it is: it creates and replaces nothing.
    ///
    /// # Errors
    /// [`DataError`] says what to do.
    pub async fn open_existing(path: &Path) -> Result<Self, DataError> {
        let directory = DataDir::open_existing(path).map_err(DataError::Open)?;
        Self::open_in(directory, DataDir::open_existing_projections).await
    }

    /// Opens an existing directory to make projections anew. Creates those that are missing or of no use.
    ///
    /// # Errors
    /// [`DataError`] says what to do.
    pub async fn open_to_rebuild(path: &Path) -> Result<Self, DataError> {
        let directory = DataDir::open_existing(path).map_err(DataError::Open)?;
        let log = Arc::new(directory.open_log().map_err(DataError::Open)?);
        let projections = match directory.open_existing_projections(log.log_id()) {
            Ok(projections) => projections,
            Err(unusable) => {
                // They may be the last copy of what damaged records said.
                let report = log.check(|_| {}).await.map_err(DataError::Check)?;
                if report.damaged > 0 {
                    return Err(DataError::Damaged { records: report.damaged });
                }
                tracing::warn!(error = %unusable.as_report(), "what cannot be used is replaced");
                directory.open_projections(log.log_id()).map_err(DataError::Open)?
            }
        };
        let data = Self::with_projections(directory, log, projections).await?;
        data.delete_former_projections()?;
        Ok(data)
    }

    async fn open_in(
        directory: DataDir,
        open_projections: fn(&DataDir, Uuid) -> Result<SqliteProjections, OpenError>,
    ) -> Result<Self, DataError> {
        let log = Arc::new(directory.open_log().map_err(DataError::Open)?);
        let projections = open_projections(&directory, log.log_id()).map_err(DataError::Open)?;
        Self::with_projections(directory, log, projections).await
    }

    async fn with_projections(
        directory: DataDir,
        log: Arc<SqliteLog>,
        projections: SqliteProjections,
    ) -> Result<Self, DataError> {
        let data = Self { directory, log, projections: Arc::new(projections) };
        data.refuse_shortened_log().await?;
        Ok(data)
    }

    /// Reads again what the views have passed because it was no event. The log notices what is damaged, and is then no longer ready.
    ///
    /// # Errors
    /// If the log's partitions cannot be read.
    pub async fn look_for_damaged_letters(&self) -> Result<(), DataError> {
        for (partition, _) in self.log.end().await.map_err(DataError::Log)?.bounds() {
            let letters = match self.projections.dead_letters(partition, MAX_REREAD_LETTERS).await {
                Ok(letters) => letters,
                Err(error) => {
                    tracing::warn!(error = %error.as_report(), "the dead letters were not read again");
                    continue;
                }
            };
            for letter in letters.iter().filter(|letter| letter.source.event_id == EventId::NONE) {
                if let Err(error) = self.log.identify(partition, letter.source.offset).await {
                    tracing::warn!(error = %error.as_report(), "the record of a dead letter was not read again");
                }
            }
        }
        Ok(())
    }

    /// Returns a feed for every partition and projection.
    ///
    /// # Errors
    /// If the log's partitions cannot be read.
    pub async fn feeds(&self) -> Result<Vec<Feed>, DataError> {
        feeds(&self.log, &self.projections).await
    }

    /// Frees the memory of connections that nobody uses, until `stop`.
    pub async fn free_unused_memory(log: Arc<SqliteLog>, projections: Arc<SqliteProjections>, stop: CancellationToken) {
        while stop.run_until_cancelled(tokio::time::sleep(UNUSED_INTERVAL)).await.is_some() {
            let (log, projections) = (Arc::clone(&log), Arc::clone(&projections));
            let freed = tokio::task::spawn_blocking(move || {
                log.free_unused_memory(UNUSED_AFTER);
                projections.free_unused_memory(UNUSED_AFTER)
            });
            match freed.await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%error, "the memory of unused connections could not be freed"),
                Err(error) => tracing::error!(%error, "the memory of unused connections could not be freed"),
            }
        }
    }

    fn delete_former_projections(&self) -> Result<(), DataError> {
        self.directory.delete_former_projections(&self.projections, &self.log).map_err(DataError::Open)
    }

    /// Closes all files.
    pub async fn close(&self) {
        if let Err(error) = self.projections.close().await {
            tracing::warn!(%error, "the projections were not closed cleanly; nothing is lost");
        }
        self.log.close().await;
    }

    /// Fails if a projection has applied other records than those of the log. It must not be shown then.
    async fn refuse_another_log(&self) -> Result<(), DataError> {
        for feed in self.feeds().await? {
            let checkpoint = feed.checkpoint().await.map_err(DataError::Projections)?;
            let end = feed.end().await.map_err(DataError::Projections)?;
            feed.check_log(checkpoint, end).await.map_err(|error| match error {
                FeedError::OtherLog(source) => DataError::OtherLog { projection: feed.projection().name(), source },
                other => DataError::Projections(other),
            })?;
        }
        Ok(())
    }

    /// Fails if a projection has applied events that the log does not have.
    async fn refuse_shortened_log(&self) -> Result<(), DataError> {
        for feed in self.feeds().await? {
            let checkpoint = feed.checkpoint().await.map_err(DataError::Projections)?.next;
            let end = feed.end().await.map_err(DataError::Projections)?;
            if checkpoint > end {
                let projection = feed.projection().name();
                return Err(DataError::LogShortened { projection, ahead: checkpoint.0 - end.0 });
            }
        }
        Ok(())
    }
}

/// Returns a feed for every partition and projection.
///
/// # Errors
/// If the log's partitions cannot be read.
pub async fn feeds(log: &Arc<SqliteLog>, projections: &Arc<SqliteProjections>) -> Result<Vec<Feed>, DataError> {
    let end = log.end().await.map_err(DataError::Log)?;
    let mut feeds = Vec::new();
    for (partition, _) in end.bounds() {
        for projection in Projection::ALL {
            let store = match projection {
                Projection::Views | Projection::Counts => BuildStore::Tables(Arc::clone(projections) as _),
                Projection::Search => BuildStore::Index(Arc::clone(projections) as _),
            };
            let sink = make_sink(projection, store);
            feeds.push(Feed::new(Arc::clone(log) as _, sink, partition));
        }
    }
    Ok(feeds)
}
