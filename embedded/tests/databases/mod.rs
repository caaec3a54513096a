//! The SQLite adapters as their ports, each on a directory of its own.

#![expect(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test that panics has failed; tests are crates of their own"
)]

use std::sync::Arc;

use embedded::{DataDir, SqliteLog, SqliteProjections, SqliteSequencer};
use event_log::{EventLog, Sequencer};
use read_model::{ProjectionStore, SearchIndex, Views};
use tempfile::TempDir;

/// Databases in a directory that is deleted with the value.
pub struct Databases {
    pub log: Arc<SqliteLog>,
    pub projections: Arc<SqliteProjections>,
    _data_dir: DataDir,
    _directory: TempDir,
}

pub async fn open() -> Databases {
    let directory = TempDir::new().unwrap();
    let data_dir = DataDir::open(directory.path()).unwrap();
    let log = Arc::new(data_dir.open_log().await.unwrap());
    let projections = Arc::new(data_dir.open_projections(log.log_id()).await.unwrap());
    Databases { log, projections, _data_dir: data_dir, _directory: directory }
}

pub fn log(databases: &Databases) -> Arc<dyn EventLog> {
    Arc::clone(&databases.log) as _
}

pub fn sequencer(databases: &Databases) -> Arc<dyn Sequencer> {
    Arc::new(SqliteSequencer::new(&databases.log))
}

pub fn store(databases: &Databases) -> Arc<dyn ProjectionStore> {
    Arc::clone(&databases.projections) as _
}

pub fn views(databases: &Databases) -> Arc<dyn Views> {
    Arc::clone(&databases.projections) as _
}

pub fn index(databases: &Databases) -> Arc<dyn SearchIndex> {
    Arc::clone(&databases.projections) as _
}
