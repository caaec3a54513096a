//! The operator's commands: status, rebuild and verify.
//!
//! | module | holds |
//! |---|---|
//! | [`operation`] | what takes a while: a rebuild, a verification |
//! | [`report`] | what the commands print |
//! | [`port`] | the routes with which a running tally carries commands out |
//! | [`client`] | asks a running tally |
//! | [`commands`] | chooses between the data directory and the tally that serves it |
//!
//! A command works on the data directory itself if no process owns it. Otherwise it asks the process that does.

pub mod client;
pub mod commands;
pub mod operation;
pub mod port;
pub mod report;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use embedded::log::check::CheckError;
use embedded::{SqliteLog, SqliteProjections};
use event_log::EventLog;
use projector::Feed;
use projector::feed::FeedError;
use projector::rebuild::RebuildError;
use read_model::{ProjectionStore, StoreError};

use crate::data::{Data, DataError};

pub use operation::{Operation, Target};
pub use port::Operator;
pub use report::{ProjectionStatus, Status, Verdict};

/// The most dead letters that are counted in a partition. A count of this many stands for this many or more.
const MAX_DEAD_LETTERS: u32 = 1_000;

/// The log and the projections that a command works on.
#[derive(Clone)]
pub struct Operated {
    /// The event log.
    pub log: Arc<SqliteLog>,
    /// The projections.
    pub projections: Arc<SqliteProjections>,
    /// The file of the log.
    pub log_path: PathBuf,
    /// Whether requests are answered meanwhile.
    pub is_serving: bool,
}

/// Why a command could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// The data directory cannot be used.
    #[error(transparent)]
    Data(DataError),
    /// How far a projection is could not be read.
    #[error("the checkpoints of a projection could not be read")]
    Feed(#[source] FeedError),
    /// The dead letters could not be read.
    #[error("the dead letters could not be read")]
    DeadLetters(#[source] StoreError),
    /// The log could not be checked.
    #[error(transparent)]
    CheckLog(CheckError),
    /// A projection could not be made anew, or not be compared with the live one.
    #[error(transparent)]
    Rebuild(RebuildError),
    /// The size of a file could not be read.
    #[error("the size of {} could not be read", .path.display())]
    Size {
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
}

impl Operated {
    /// The files of a stopped tally.
    pub fn stopped(data: &Data) -> Self {
        Self { is_serving: false, ..Self::serving(data) }
    }

    /// The files of this process, which serves.
    pub fn serving(data: &Data) -> Self {
        Self {
            log: Arc::clone(&data.log),
            projections: Arc::clone(&data.projections),
            log_path: data.directory.log_path(),
            is_serving: true,
        }
    }

    /// Reads how far the projections are.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn status(&self) -> Result<Status, OperatorError> {
        let feeds = self.feeds().await?;
        let mut projections = Vec::new();
        for feed in &feeds {
            // Read before the end, so that it is not beyond it.
            let position = feed.checkpoint().await.map_err(OperatorError::Feed)?.next.0;
            let end = feed.end().await.map_err(OperatorError::Feed)?.0;
            let name = feed.projection().name().to_owned();
            let partition = feed.partition.0;
            projections.push(ProjectionStatus { name, partition, position, lag: end - position });
        }
        Ok(Status {
            events: self.count_events().await?,
            log_bytes: read_size(&self.log_path)?,
            projections_bytes: self.projections.paths().iter().map(|path| read_size(path)).sum::<Result<_, _>>()?,
            dead_letters: self.count_dead_letters(&feeds).await?,
            projections,
        })
    }

    async fn feeds(&self) -> Result<Vec<Feed>, OperatorError> {
        crate::data::feeds(&self.log, &self.projections).await.map_err(OperatorError::Data)
    }

    async fn count_events(&self) -> Result<u64, OperatorError> {
        let end = self.log.end().await.map_err(|error| OperatorError::Data(DataError::Log(error)))?;
        Ok(end.bounds().map(|(_, end)| end.0).sum())
    }

    async fn count_dead_letters(&self, feeds: &[Feed]) -> Result<usize, OperatorError> {
        let mut partitions: Vec<_> = feeds.iter().map(|feed| feed.partition).collect();
        partitions.dedup();
        let mut count = 0;
        for partition in partitions {
            let letters = self.projections.dead_letters(partition, MAX_DEAD_LETTERS).await;
            count += letters.map_err(OperatorError::DeadLetters)?.len();
        }
        Ok(count)
    }
}

/// The size of a database. What a swap deletes meanwhile has none.
fn read_size(path: &Path) -> Result<u64, OperatorError> {
    embedded::read_size(path).map_err(|source| OperatorError::Size { path: path.to_owned(), source })
}
