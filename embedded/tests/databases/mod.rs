//! The SQLite adapters as their ports, each on a directory of its own.

#![expect(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test that panics has failed; tests are crates of their own"
)]

use std::sync::Arc;
use std::time::Duration;

use embedded::{DataDir, SqliteLog, SqliteProjections, SqliteSequencer};
use event_log::{EventLog, Sequencer};
use events::{ApplicationToken, ChatApplicationCreated, Event, EventId, Record, UnixMillis};
use read_model::{ProjectionStore, SearchIndex, Views};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};
use tempfile::TempDir;
use uuid::Uuid;

/// Longest wait for the log's own writer.
const BUSY: Duration = Duration::from_secs(5);

/// Databases in a directory that is deleted with the value.
pub struct Databases {
    pub log: Arc<SqliteLog>,
    pub projections: Arc<SqliteProjections>,
    data_dir: DataDir,
    _directory: TempDir,
}

pub async fn open() -> Databases {
    let directory = TempDir::new().unwrap();
    let data_dir = DataDir::open(directory.path()).unwrap();
    let log = Arc::new(data_dir.open_log().await.unwrap());
    let projections = Arc::new(data_dir.open_projections(log.log_id()).await.unwrap());
    Databases { log, projections, data_dir, _directory: directory }
}

/// Puts at the end of the log what no release has written there.
pub async fn spoil(databases: &Databases) {
    let created = ChatApplicationCreated { token: ApplicationToken::from_bytes([7; 16]), name: "spoiled".into() };
    let record =
        Record::encode(&Event::ChatApplicationCreated(created), EventId(Uuid::now_v7()), UnixMillis(0)).unwrap();
    databases.log.append(record).await.unwrap();
    let options = SqliteConnectOptions::new().filename(databases.data_dir.log_path()).busy_timeout(BUSY);
    let mut connection = options.connect().await.unwrap();
    let spoiling = "UPDATE events SET stream = 'nobody' WHERE log_offset = (SELECT max(log_offset) FROM events)";
    sqlx::query(spoiling).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
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
