//! Databases of `views` that a release without the feed has left.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use async_trait::async_trait;
use embedded::{DataDir, SqliteProjections};
use events::{
    ApplicationToken, ChatKey, ChatNumber, EventId, MessageNumber, Offset, PartitionId, Position, UnixMillis,
};
use read_model::{
    Applied, BackendError, Build, BuildStore, CatchUp, ChatRow, Checkpoint, CheckpointMove, Feed, FeedError,
    FeedSelection, Generations, MessageRow, OperateGenerations, Page, Projection, ProjectionStore, SourceEvent, Swap,
    Views, ViewsChanges,
};
use rusqlite::Connection;
use tempfile::TempDir;
use uuid::Uuid;

const TOKEN: ApplicationToken = ApplicationToken::from_bytes([7; ApplicationToken::BYTES]);
const PARTITION: PartitionId = PartitionId(0);
/// Takes from a database what the release before did not write.
const MAKE_VERSION_2: &str = "DROP TABLE feed; DROP TABLE feed_blocks; DROP TABLE feed_applications; DROP TABLE feed_names; \
                              DROP TABLE views_version; PRAGMA user_version = 2;";

fn chat() -> ChatKey {
    ChatKey { token: TOKEN, number: ChatNumber::new(1).unwrap() }
}

fn source(offset: u64) -> SourceEvent {
    SourceEvent { event_id: EventId(Uuid::from_u128(offset.into())), offset: Offset(offset) }
}

fn checkpoint_move(from: u64, to: u64) -> CheckpointMove {
    let to = Checkpoint { next: Offset(to), ..Checkpoint::START };
    CheckpointMove { partition: PARTITION, from: Offset(from), to }
}

fn message(number: u32, offset: u64) -> MessageRow {
    let (number, created_at) = (MessageNumber::new(number).unwrap(), UnixMillis(0));
    MessageRow { chat: chat(), number, body: "hello".into(), author: None, source: source(offset), created_at }
}

fn chat_with_a_message() -> ViewsChanges {
    let chats = vec![ChatRow { chat: chat(), source: source(0), created_at: UnixMillis(0) }];
    ViewsChanges { chats, messages: vec![message(1, 1)], ..ViewsChanges::default() }
}

/// A directory whose `views` are of version 2, and whose rebuild may have begun.
async fn left_by_the_release_before(begun: bool) -> TempDir {
    let directory = TempDir::new().unwrap();
    let data_dir = DataDir::open(directory.path()).unwrap();
    let projections = data_dir.open_projections(Uuid::nil()).unwrap();
    assert_eq!(projections.apply_views(checkpoint_move(0, 2), chat_with_a_message()).await.unwrap(), Applied::Done);
    if begun {
        let build = projections.begin(Projection::Views).await.unwrap();
        fill(&projections, &build, checkpoint_move(0, 2), chat_with_a_message()).await;
    }
    projections.close().await.unwrap();
    for entry in std::fs::read_dir(data_dir.projections_path()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if name.starts_with("views-") && name.ends_with(".sqlite") {
            Connection::open(&path).unwrap().execute_batch(MAKE_VERSION_2).unwrap();
        }
    }
    directory
}

async fn fill(projections: &SqliteProjections, build: &Build, checkpoint_move: CheckpointMove, changes: ViewsChanges) {
    let BuildStore::Tables(store) = projections.writer(build).unwrap() else { panic!("no tables") };
    assert_eq!(store.apply_views(checkpoint_move, changes).await.unwrap(), Applied::Done);
}

/// The new generation has been written already.
struct Written;

#[async_trait]
impl CatchUp for Written {
    async fn catch_up(&self, _: &Position) -> Result<(), BackendError> {
        Ok(())
    }

    async fn catch_up_to_end(&self) -> Result<(), BackendError> {
        Ok(())
    }
}

async fn read_feed(projections: &SqliteProjections) -> Result<Vec<u64>, FeedError> {
    let selection = FeedSelection { token: TOKEN, application: true, chats: None };
    let page = projections.page(&selection, &Position::default(), 10).await?.unwrap();
    assert_eq!(page.events, projections.tail(&Position::default(), 10).await?.events);
    Ok(page.events.iter().map(|event| event.place.offset.0).collect())
}

async fn version(projections: &SqliteProjections) -> u32 {
    OperateGenerations::live(projections, Projection::Views).await.unwrap().version
}

/// Everything but the feed is read and written as before. The feed comes with a generation that is made anew, and has all of history.
#[tokio::test(flavor = "multi_thread")]
async fn views_of_the_release_before_are_read_until_they_are_made_anew() {
    let directory = left_by_the_release_before(false).await;
    let data_dir = DataDir::open(directory.path()).unwrap();
    let projections = data_dir.open_projections(Uuid::nil()).unwrap();
    assert_eq!(version(&projections).await, 2);
    let later = ViewsChanges { messages: vec![message(2, 2)], ..ViewsChanges::default() };
    assert_eq!(projections.apply_views(checkpoint_move(2, 3), later.clone()).await.unwrap(), Applied::Done);
    assert_eq!(projections.messages(chat(), Page::FIRST).await.unwrap().unwrap().value.items.len(), 2);
    assert!(matches!(read_feed(&projections).await, Err(FeedError::BeingMade)));
    assert!(matches!(projections.end().await, Err(FeedError::BeingMade)));
    let passed = projections.passed(&Position::default(), std::time::Duration::ZERO).await;
    assert!(matches!(passed, Err(FeedError::BeingMade)));

    let build = projections.begin(Projection::Views).await.unwrap();
    fill(&projections, &build, checkpoint_move(0, 2), chat_with_a_message()).await;
    fill(&projections, &build, checkpoint_move(2, 3), later).await;
    let differences = projections.compare(&build, &Written).await.unwrap();
    assert_eq!(differences, Some(Vec::new()), "what version 2 does not have is no difference");
    assert_eq!(projections.swap(&build, &Written).await.unwrap(), Swap::Done);
    assert_eq!(version(&projections).await, Projection::Views.version());
    assert_eq!(read_feed(&projections).await.unwrap(), [0, 1, 2]);
    projections.close().await.unwrap();
    let projections = data_dir.open_projections(Uuid::nil()).unwrap();
    assert_eq!(version(&projections).await, Projection::Views.version(), "after a restart");
    projections.close().await.unwrap();
}

/// Its rows are not mixed with those of this release.
#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_that_the_release_before_has_begun_is_begun_anew() {
    let directory = left_by_the_release_before(true).await;
    let projections = DataDir::open(directory.path()).unwrap().open_projections(Uuid::nil()).unwrap();
    let build = projections.begin(Projection::Views).await.unwrap();
    fill(&projections, &build, checkpoint_move(0, 2), chat_with_a_message()).await;
    assert_eq!(projections.swap(&build, &Written).await.unwrap(), Swap::Done);
    assert_eq!(read_feed(&projections).await.unwrap(), [0, 1]);
    projections.close().await.unwrap();
}

/// A database without rows gets all of them from this release.
#[tokio::test(flavor = "multi_thread")]
async fn views_without_rows_have_a_feed_at_once() {
    let directory = TempDir::new().unwrap();
    let projections = DataDir::open(directory.path()).unwrap().open_projections(Uuid::nil()).unwrap();
    assert_eq!(version(&projections).await, Projection::Views.version());
    assert_eq!(projections.apply_views(checkpoint_move(0, 2), chat_with_a_message()).await.unwrap(), Applied::Done);
    assert_eq!(read_feed(&projections).await.unwrap(), [0, 1]);
    projections.close().await.unwrap();
}
