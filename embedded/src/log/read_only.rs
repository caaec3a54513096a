//! Reads the log of a running tally from another process.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use event_log::{AppendError, EventLog, LogBatch, ReadError, ReadLimit};
use events::{Offset, PartitionId, Position, Record};

use super::import::is_import_unfinished;
use super::rows::read_rows;
use super::{PARTITION, read_end};
use crate::damage::{Content, Damage};
use crate::migrate::{log_migrations, require_current};
use crate::open_error::{OpenError, advise};
use crate::sqlite::{Database, Durability, Readers, run_blocking};

/// Pause between two looks at the end of the log.
const POLL_PAUSE: Duration = Duration::from_millis(10);

/// [`EventLog`] on a file that another process writes. It appends nothing.
#[derive(Debug)]
pub struct ReadOnlyLog {
    readers: Arc<Readers>,
}

impl ReadOnlyLog {
    /// Opens the log at `path`, which must have the schema of this program.
    pub(crate) fn open(path: &Path) -> Result<Self, OpenError> {
        let damage = Damage::new(path, Content::Log);
        let readers = Arc::new(Readers::new(Database::new(path, Durability::PowerLoss), &[&damage]));
        let version = readers.read(|connection| Ok(require_current(connection, &log_migrations())));
        let unfinished = match version {
            Err(source) => Err(source),
            Ok(Err(source)) => {
                return Err(OpenError::LogVersion { path: path.to_owned(), source: source.into() });
            }
            Ok(Ok(())) => readers.read(is_import_unfinished),
        };
        match unfinished {
            Ok(false) => Ok(Self { readers }),
            Ok(true) => Err(OpenError::ImportUnfinished { path: path.to_owned() }),
            Err(source) => {
                Err(OpenError::Log { path: path.to_owned(), advice: advise(&source), source: source.into() })
            }
        }
    }

    async fn read_end(&self) -> Result<Offset, ReadError> {
        let readers = Arc::clone(&self.readers);
        let end = run_blocking(move || readers.read(read_end)).await;
        end.map_err(|error| ReadError::Unavailable(error.into()))
    }

    /// Waits until the log's end is not `from`, for `wait` at most; returns the end.
    async fn wait_until_beyond(&self, from: Offset, wait: Duration) -> Result<Offset, ReadError> {
        let began = tokio::time::Instant::now();
        loop {
            let end = self.read_end().await?;
            if end != from || began.elapsed() >= wait {
                return Ok(end);
            }
            tokio::time::sleep(POLL_PAUSE).await;
        }
    }
}

#[async_trait]
impl EventLog for ReadOnlyLog {
    async fn append(&self, _record: Record) -> Result<Position, AppendError> {
        Err(AppendError::Closed)
    }

    async fn read(&self, partition: PartitionId, from: Offset, limit: ReadLimit) -> Result<LogBatch, ReadError> {
        if partition != PARTITION {
            return Err(ReadError::UnknownPartition(partition));
        }
        let end = self.wait_until_beyond(from, limit.wait).await?;
        if from > end {
            return Err(ReadError::BeyondEnd { partition, from, end });
        }
        let readers = Arc::clone(&self.readers);
        let read = run_blocking(move || readers.read(|connection| read_rows(connection, from, end, limit.records)));
        read.await.map_err(|error| ReadError::Unavailable(error.into()))
    }

    async fn end(&self) -> Result<Position, ReadError> {
        self.read_end().await.map(|end| Position::up_to(PARTITION, end))
    }
}
