//! Two operators discard a dead letter at once.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::sync::Arc;

use async_trait::async_trait;
use embedded::{DataDir, SqliteLog};
use event_log::{EventLog, MarkerLog};
use events::{ChatApplicationCreated, ChatKey, Event, Marker, Offset, PartitionId};
use projector::Feed;
use projector::dead_letters::{DeadLettersCommand, run};
use projector::views::ViewsSink;
use read_model::{
    Applied, Checkpoint, CheckpointMove, CountsChanges, DeadLetter, LoadedCounts, Projection, ProjectionStore,
    SourceEvent, StoreError, StoredLetter, ViewsChanges,
};
use tempfile::TempDir;
use testkit::histories::{record, token};

const PARTITION: PartitionId = PartitionId(0);
const LETTER: Offset = Offset(0);

/// A store whose views read another operator's decision right after somebody has read a dead letter.
struct RacingStore {
    store: Arc<dyn ProjectionStore>,
    log: Arc<SqliteLog>,
}

impl RacingStore {
    async fn discard_and_read_on(&self) {
        self.log.append_marker(PARTITION, Marker::DeadLetterDiscarded(LETTER)).await.unwrap();
        let end = self.log.end().await.unwrap().bound(PARTITION);
        let sink = Arc::new(ViewsSink(Arc::clone(&self.store)));
        Feed::new(Arc::clone(&self.log) as _, sink, PARTITION).catch_up(end, |_| {}).await.unwrap();
    }
}

#[async_trait]
impl ProjectionStore for RacingStore {
    async fn checkpoint(&self, projection: Projection, partition: PartitionId) -> Result<Checkpoint, StoreError> {
        self.store.checkpoint(projection, partition).await
    }

    async fn apply_views(&self, checkpoint_move: CheckpointMove, changes: ViewsChanges) -> Result<Applied, StoreError> {
        self.store.apply_views(checkpoint_move, changes).await
    }

    async fn chat_counts(&self, chats: &[ChatKey]) -> Result<LoadedCounts, StoreError> {
        self.store.chat_counts(chats).await
    }

    async fn apply_counts(
        &self,
        checkpoint_move: CheckpointMove,
        changes: CountsChanges,
    ) -> Result<Applied, StoreError> {
        self.store.apply_counts(checkpoint_move, changes).await
    }

    async fn dead_letter(&self, partition: PartitionId, offset: Offset) -> Result<Option<StoredLetter>, StoreError> {
        let found = self.store.dead_letter(partition, offset).await;
        self.discard_and_read_on().await;
        found
    }

    async fn count_dead_letters(&self, partition: PartitionId) -> Result<u64, StoreError> {
        self.store.count_dead_letters(partition).await
    }

    async fn dead_letters(&self, partition: PartitionId, limit: u32) -> Result<Vec<DeadLetter>, StoreError> {
        self.store.dead_letters(partition, limit).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_that_the_views_read_meanwhile_is_not_written_again() {
    let directory = TempDir::new().unwrap();
    let data_dir = DataDir::open(directory.path()).unwrap();
    let log = Arc::new(data_dir.open_log().unwrap());
    let store: Arc<dyn ProjectionStore> = Arc::new(data_dir.open_projections(log.log_id()).unwrap());
    let created = Event::ChatApplicationCreated(ChatApplicationCreated { token: token(1), name: "x".into() });
    let created = record(&created);
    let source = SourceEvent { event_id: created.event_id, offset: LETTER };
    log.append(created).await.unwrap();
    let letter = DeadLetter { source, reason: "of another program".to_owned() };
    let first = CheckpointMove {
        partition: PARTITION,
        from: Offset::START,
        to: Checkpoint { next: LETTER.next(), log: log.id().await.unwrap(), ..Checkpoint::START },
    };
    let changes = ViewsChanges { dead_letters: vec![letter], ..ViewsChanges::default() };
    assert_eq!(store.apply_views(first, changes).await.unwrap(), Applied::Done);

    let racing = RacingStore { store, log: Arc::clone(&log) };
    let command = DeadLettersCommand::Discard { partition: PARTITION.0, offset: LETTER.0 };
    let said = run(&command, &*log, &racing).await.unwrap();
    assert!(said.contains("was discarded before"), "{said}");
    assert_eq!(log.end().await.unwrap().bound(PARTITION), LETTER.next().next(), "the record and one decision");
}
