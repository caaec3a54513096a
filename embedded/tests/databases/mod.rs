//! The SQLite adapters, as values of their ports, on their own directory.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use embedded::{DataDir, SqliteProjections, SqliteSequencer};
use event_log::{EventLog, ImportLog, Sequencer};
use events::{
    ApplicationToken, ChatApplicationCreated, ChatKey, Event, EventId, MessageNumber, PartitionId, Position, Record,
    UnixMillis,
};
use read_model::{
    Access, Applied, Checkpoint, CheckpointMove, Feed, Generations, MessageRow, OperateGenerations, Page,
    ProjectionStore, SearchDocument, SearchError, SearchIndex, SearchPage, SearchText, Shown, SourceEvent, Views,
    ViewsChanges,
};
use rusqlite::Connection;
use tempfile::TempDir;
use uuid::Uuid;

/// Longest wait for the log's own writer.
const BUSY: Duration = Duration::from_secs(5);

/// The adapters. Their directory is deleted with the value.
pub(crate) struct Databases {
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) import: Arc<dyn ImportLog>,
    pub(crate) sequencer: Arc<dyn Sequencer>,
    /// Another sequencer of the same log. It has no counter in memory until its first call.
    pub(crate) cold: Arc<dyn Sequencer>,
    pub(crate) store: Arc<dyn ProjectionStore>,
    pub(crate) views: Arc<dyn Views>,
    pub(crate) access: Arc<dyn Access>,
    pub(crate) feed: Arc<dyn Feed>,
    pub(crate) index: Arc<dyn SearchIndex>,
    /// One implementation serves all projections, so the checks of those of `search`, which have texts of their own, are not run.
    pub(crate) generations: Arc<dyn Generations>,
    pub(crate) operated: Arc<dyn OperateGenerations>,
    data_dir: DataDir,
    _directory: TempDir,
}

impl Databases {
    pub(crate) async fn open() -> Self {
        let directory = TempDir::new().unwrap();
        let data_dir = DataDir::open(directory.path()).unwrap();
        // As a log to use, and its positions are marked besides.
        let log = Arc::new(data_dir.open_log_to_import().unwrap());
        let projections = Arc::new(data_dir.open_projections(log.log_id()).unwrap());
        Self {
            sequencer: Arc::new(SqliteSequencer::new(&log)),
            cold: Arc::new(SqliteSequencer::new(&log)),
            import: Arc::clone(&log) as _,
            log,
            store: Arc::clone(&projections) as _,
            views: Arc::clone(&projections) as _,
            access: Arc::clone(&projections) as _,
            feed: Arc::clone(&projections) as _,
            generations: Arc::clone(&projections) as _,
            operated: Arc::clone(&projections) as _,
            index: Arc::new(IndexWithTexts(projections)),
            data_dir,
            _directory: directory,
        }
    }

    pub(crate) fn log(&self) -> Arc<dyn EventLog> {
        Arc::clone(&self.log)
    }

    pub(crate) fn import(&self) -> Arc<dyn ImportLog> {
        Arc::clone(&self.import)
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

    pub(crate) fn access(&self) -> Arc<dyn Access> {
        Arc::clone(&self.access)
    }

    pub(crate) fn feed(&self) -> Arc<dyn Feed> {
        Arc::clone(&self.feed)
    }

    pub(crate) fn index(&self) -> Arc<dyn SearchIndex> {
        Arc::clone(&self.index)
    }

    pub(crate) fn operated(&self) -> Arc<dyn OperateGenerations> {
        Arc::clone(&self.operated)
    }

    pub(crate) fn operated_search(&self) -> Arc<dyn OperateGenerations> {
        Arc::clone(&self.operated)
    }

    pub(crate) fn generations(&self) -> Arc<dyn Generations> {
        Arc::clone(&self.generations)
    }
}

/// The index, which reads the texts of messages from `views`. So `views` gets each batch first.
struct IndexWithTexts(Arc<SqliteProjections>);

#[async_trait]
impl SearchIndex for IndexWithTexts {
    fn batch_size(&self) -> u32 {
        self.0.batch_size()
    }

    fn concurrent_searches(&self) -> usize {
        self.0.concurrent_searches()
    }

    async fn checkpoint(&self, partition: PartitionId) -> Result<Checkpoint, SearchError> {
        SearchIndex::checkpoint(&*self.0, partition).await
    }

    async fn index(
        &self,
        checkpoint_move: CheckpointMove,
        documents: Vec<SearchDocument>,
    ) -> Result<Applied, SearchError> {
        let row = |document: &SearchDocument| MessageRow {
            chat: document.chat,
            number: document.number,
            body: document.body.clone(),
            author: document.author.clone(),
            source: SourceEvent { event_id: EventId(Uuid::now_v7()), offset: document.offset },
            created_at: document.created_at,
        };
        let messages = documents.iter().map(row).collect();
        self.0.apply_views(checkpoint_move, ViewsChanges { messages, ..ViewsChanges::default() }).await.unwrap();
        self.0.index(checkpoint_move, documents).await
    }

    async fn reached(&self, position: &Position, within: Duration) -> Result<bool, SearchError> {
        SearchIndex::reached(&*self.0, position, within).await
    }

    async fn search(
        &self,
        chat: ChatKey,
        text: &SearchText,
        page: Page<MessageNumber>,
    ) -> Result<Shown<SearchPage>, SearchError> {
        self.0.search(chat, text, page).await
    }
}
