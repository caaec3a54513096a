//! A write API on SQLite whose log has one application, and whose views nobody writes.

use std::sync::Arc;

use access::Authority;
use axum::Router;
use command_api::commands::Commands;
use command_api::routes::routes;
use embedded::{DataDir, SqliteLog, SqliteProjections, SqliteSequencer};
use event_log::{EventLog, ReadLimit};
use events::{
    ApplicationToken, ChatApplicationCreated, Event, EventId, Offset, PartitionId, Record, RecordedEvent, UnixMillis,
};
use tempfile::TempDir;
use uuid::Uuid;

/// The application.
pub(crate) const TOKEN: ApplicationToken = ApplicationToken::from_bytes([7; ApplicationToken::BYTES]);
pub(crate) const PARTITION: PartitionId = PartitionId(0);
/// The offset of the first event behind that of the application.
pub(crate) const FIRST: Offset = Offset(1);

pub(crate) struct WriteApi {
    pub(crate) router: Router,
    pub(crate) views: Arc<SqliteProjections>,
    log: Arc<SqliteLog>,
    _data_dir: DataDir,
    _directory: TempDir,
}

impl WriteApi {
    pub(crate) async fn start() -> Self {
        let directory = TempDir::new().unwrap();
        let data_dir = DataDir::open(directory.path()).unwrap();
        let log = Arc::new(data_dir.open_log().unwrap());
        let created = Event::ChatApplicationCreated(ChatApplicationCreated { token: TOKEN, name: "one".into() });
        log.append(Record::encode(&created, EventId(Uuid::now_v7()), UnixMillis(0)).unwrap()).await.unwrap();
        let commands = Commands::new(Arc::clone(&log) as _, Arc::new(SqliteSequencer::new(&log)));
        let views = Arc::new(data_dir.open_projections(log.log_id()).unwrap());
        let read_url = "http://localhost:3000".parse().unwrap();
        let router = routes(commands, Arc::clone(&views) as _, read_url, &Authority::open()).unwrap().into();
        Self { router, views, log, _data_dir: data_dir, _directory: directory }
    }

    /// The events that requests have appended.
    pub(crate) async fn new_events(&self) -> Vec<RecordedEvent> {
        self.log.read(PARTITION, FIRST, ReadLimit::STRETCH).await.unwrap().events
    }
}
