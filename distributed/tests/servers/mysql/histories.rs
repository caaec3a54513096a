//! MySQL shows a history from several partitions in many batches as SQLite shows it from one partition in one batch.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use distributed::kafka::PARTITIONS;
use embedded::{DataDir, SqliteProjections};
use events::{ApplicationToken, ChatKey, ChatNumber, KeyNumber, PartitionId, Position, Record, RecordedEvent};
use projector::ProjectionSink;
use projector::counts::CountsSink;
use projector::sink::Letters;
use projector::views::ViewsSink;
use read_model::{
    Access, ApplicationView, Applied, ChatView, Checkpoint, CheckpointMove, Feed, FeedSelection, Happening,
    LastMessage, MessageView, Page, ProjectionStore, Views,
};
use testkit::histories;
use uuid::Uuid;

use super::server::Database;

const HISTORIES: usize = 6;

/// Everything that readers are shown, without search.
#[derive(Debug, PartialEq)]
struct Shown {
    applications: Vec<ApplicationView>,
    keys: Vec<(ApplicationToken, Vec<(KeyNumber, String)>)>,
    chats: Vec<(ApplicationToken, Vec<ChatView>)>,
    messages: Vec<(ChatKey, Vec<MessageView>)>,
    told: Vec<(ApplicationToken, Streams)>,
}

/// What the feed tells of an application itself and of each of its chats, in order.
type Streams = BTreeMap<Option<ChatNumber>, Vec<Happening>>;

/// Reads the whole feed of an application in small pages.
async fn read_feed(feed: &impl Feed, token: ApplicationToken) -> Streams {
    let selection = FeedSelection { token, application: true, chats: None };
    let (mut streams, mut after, mut more) = (Streams::new(), Position::default(), true);
    while more {
        let page = feed.page(&selection, &after, 5).await.unwrap().unwrap();
        for event in page.events {
            assert!(!after.covers(&event.place.covered()), "{event:?} was told before");
            streams.entry(event.happening.chat()).or_default().push(event.happening);
        }
        (after, more) = (page.next, page.more);
    }
    streams
}

async fn read_all(views: &(impl Views + Access + Feed)) -> Shown {
    let applications = views.applications(Page::FIRST).await.unwrap().value.items;
    let (mut keys, mut chats, mut messages, mut told) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for token in applications.iter().map(|application| application.token) {
        let listed = views.keys(token, Page::FIRST).await.unwrap().unwrap().value.items;
        keys.push((token, listed.into_iter().map(|key| (key.number, key.name)).collect()));
        let listed = views.chats(token, Page::FIRST, LastMessage::Show).await.unwrap().unwrap().value.items;
        for number in listed.iter().map(|chat| chat.number) {
            let chat = ChatKey { token, number };
            messages.push((chat, views.messages(chat, Page::FIRST).await.unwrap().unwrap().value.items));
        }
        chats.push((token, listed));
        told.push((token, read_feed(views, token).await));
    }
    Shown { applications, keys, chats, messages, told }
}

/// Applies a batch as a run loop does, and a second time, as after a crash before the answer.
async fn apply(store: &Arc<dyn ProjectionStore>, batch: &[RecordedEvent]) {
    let (first, last) = (&batch[0], &batch[batch.len() - 1]);
    let to = Checkpoint { next: last.offset.next(), ..Checkpoint::START };
    let checkpoint_move = CheckpointMove { partition: first.partition, from: first.offset, to };
    let (views, counts) = (ViewsSink(Arc::clone(store)), CountsSink(Arc::clone(store)));
    for sink in [&views as &dyn ProjectionSink, &counts] {
        assert_eq!(sink.apply(checkpoint_move, batch, &Letters::default()).await.unwrap(), Applied::Done);
        assert_eq!(sink.apply(checkpoint_move, batch, &Letters::default()).await.unwrap(), Applied::Superseded);
    }
}

/// A directory that is deleted with the value.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(Uuid::new_v4().to_string());
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

/// What SQLite shows of the streams one after the other.
async fn shown_by_sqlite(streams: &[histories::Stream]) -> Shown {
    let directory = Directory::new();
    let data_dir = DataDir::open(&directory.0).unwrap();
    let store: Arc<SqliteProjections> = Arc::new(data_dir.open_projections(Uuid::nil()).unwrap());
    apply(&(Arc::clone(&store) as _), &histories::placed(streams.concat(), PartitionId(0))).await;
    let shown = read_all(&*store).await;
    store.close().await.unwrap();
    shown
}

/// The log as Kafka has it, each stream in its partition.
fn split_into_partitions(log: &[Record]) -> Vec<Vec<RecordedEvent>> {
    let records_of = |partition| {
        let records = log.iter().filter(|record| PARTITIONS.partition_of(&record.stream) == partition);
        histories::placed(records.cloned().collect(), partition)
    };
    PARTITIONS.partitions().map(records_of).filter(|log| !log.is_empty()).collect()
}

async fn several_partitions_are_shown_as_one_is_by_sqlite() {
    for (streams, log, cuts) in histories::samples(HISTORIES) {
        let (database, logs) = (Database::new().await, split_into_partitions(&log));
        assert!(logs.len() > 1, "the history has one partition only");
        // Each partition has its own owner. All owners work concurrently.
        let owners = logs.into_iter().map(|log| {
            let (store, cuts) = (database.projections() as Arc<dyn ProjectionStore>, cuts.clone());
            tokio::spawn(async move {
                for batch in histories::batches(&log, &cuts) {
                    apply(&store, batch).await;
                }
                store.dead_letters(log[0].partition, 10).await.unwrap()
            })
        });
        for owner in owners.collect::<Vec<_>>() {
            assert_eq!(owner.await.unwrap(), []);
        }
        assert_eq!(read_all(&*database.projections()).await, shown_by_sqlite(&streams).await);
    }
}

tests!(several_partitions_are_shown_as_one_is_by_sqlite);
