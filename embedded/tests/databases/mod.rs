//! The SQLite adapters, as values of their ports, on their own directory.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::sync::Arc;
use std::time::Duration;

use embedded::{DataDir, SqliteSequencer};
use event_log::{EventLog, Sequencer};
use events::{ApplicationToken, ChatApplicationCreated, Event, EventId, PartitionId, Record, UnixMillis};
use read_model::{ProjectionStore, SearchIndex, Views};
use rusqlite::Connection;
use tempfile::TempDir;
use uuid::Uuid;

/// Longest wait for the log's own writer.
const BUSY: Duration = Duration::from_secs(5);

/// The adapters. Their directory is deleted with the value.
pub(crate) struct Databases {
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) sequencer: Arc<dyn Sequencer>,
    /// Another sequencer of the same log. It has no counter in memory until its first call.
    pub(crate) cold: Arc<dyn Sequencer>,
    pub(crate) store: Arc<dyn ProjectionStore>,
    pub(crate) views: Arc<dyn Views>,
    pub(crate) index: Arc<dyn SearchIndex>,
    data_dir: DataDir,
    _directory: TempDir,
}

impl Databases {
    pub(crate) async fn open() -> Self {
        let directory = TempDir::new().unwrap();
        let data_dir = DataDir::open(directory.path()).unwrap();
        let log = Arc::new(data_dir.open_log().unwrap());
        let projections = Arc::new(data_dir.open_projections(log.log_id()).unwrap());
        Self {
            sequencer: Arc::new(SqliteSequencer::new(&log)),
            cold: Arc::new(SqliteSequencer::new(&log)),
            log,
            store: Arc::clone(&projections) as _,
            views: Arc::clone(&projections) as _,
            index: projections,
            data_dir,
            _directory: directory,
        }
    }

    pub(crate) fn log(&self) -> Arc<dyn EventLog> {
        Arc::clone(&self.log)
    }

    /// Puts a record with a malformed stream key at the end of the log.
    pub(crate) fn spoil(&self) -> impl AsyncFnOnce(PartitionId) {
        async |_| {
            let created =
                ChatApplicationCreated { token: ApplicationToken::from_bytes([7; 16]), name: "spoiled".into() };
            let event = Event::ChatApplicationCreated(created);
            let record = Record::encode(&event, EventId(Uuid::now_v7()), UnixMillis(0)).unwrap();
            self.log.append(record).await.unwrap();
            let connection = Connection::open(self.data_dir.log_path()).unwrap();
            connection.busy_timeout(BUSY).unwrap();
            let spoiling =
                "UPDATE events SET stream = 'nobody' WHERE log_offset = (SELECT max(log_offset) FROM events)";
            connection.execute(spoiling, ()).unwrap();
        }
    }

    pub(crate) fn sequencer(&self) -> Arc<dyn Sequencer> {
        Arc::clone(&self.sequencer)
    }

    pub(crate) fn cold(&self) -> impl AsyncFn() -> Arc<dyn Sequencer> {
        async || Arc::clone(&self.cold)
    }

    pub(crate) fn store(&self) -> Arc<dyn ProjectionStore> {
        Arc::clone(&self.store)
    }

    pub(crate) fn views(&self) -> Arc<dyn Views> {
        Arc::clone(&self.views)
    }

    pub(crate) fn index(&self) -> Arc<dyn SearchIndex> {
        Arc::clone(&self.index)
    }
}
