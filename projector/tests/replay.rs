//! The same events give the same views, however the log interleaves, repeats and batches them.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::collections::BTreeMap;
use std::sync::Arc;

use embedded::{DataDir, SqliteProjections};
use events::{ApplicationToken, ChatKey, ChatNumber, KeyNumber, PartitionId, Position, RecordedEvent, UserId};
use projector::ProjectionSink;
use projector::counts::CountsSink;
use projector::search::SearchSink;
use projector::sink::Letters;
use projector::views::ViewsSink;
use proptest::prelude::*;
use read_model::{
    Access, ApplicationView, Applied, ChatView, Checkpoint, CheckpointMove, Feed, FeedSelection, Happening,
    LastMessage, MessageView, Page, ProjectionStore, SearchIndex, SearchText, Views,
};
use tempfile::TempDir;
use testkit::histories;
use tokio::runtime::Runtime;
use uuid::Uuid;

const PARTITION: PartitionId = PartitionId(0);
/// Texts that most histories contain, of both lengths that search distinguishes.
const PATTERNS: [&str; 4] = ["a", "é", "ab", "ca "];

/// Everything that readers can read.
#[derive(Debug, PartialEq)]
struct ReadableState {
    applications: Vec<ApplicationView>,
    keys: Vec<(ApplicationToken, Vec<(KeyNumber, String)>)>,
    voided: Vec<(ApplicationToken, bool)>,
    chats: Vec<(ApplicationToken, Vec<ChatView>)>,
    messages: Vec<(ApplicationToken, u32, Vec<MessageView>)>,
    found: Vec<(&'static str, Vec<MessageView>)>,
    told: Vec<(ApplicationToken, Streams)>,
}

/// What the feed tells of an application itself and of each of its chats, in order.
type Streams = BTreeMap<Option<ChatNumber>, Vec<Happening>>;

struct Projections {
    store: Arc<SqliteProjections>,
    _data_dir: DataDir,
    _directory: TempDir,
}

impl Projections {
    async fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let data_dir = DataDir::open(directory.path()).unwrap();
        let store = Arc::new(data_dir.open_projections(Uuid::nil()).unwrap());
        Self { store, _data_dir: data_dir, _directory: directory }
    }

    fn make_sinks(&self) -> [Box<dyn ProjectionSink>; 3] {
        let store = &self.store;
        [
            Box::new(ViewsSink(Arc::clone(store) as _)),
            Box::new(CountsSink(Arc::clone(store) as _)),
            Box::new(SearchSink(Arc::clone(store) as _)),
        ]
    }

    /// Applies batches as a run loop does, and each batch twice, as after a crash before the store's answer.
    async fn apply(&self, batches: &[&[RecordedEvent]]) {
        for sink in self.make_sinks() {
            for batch in batches {
                let (from, to) = (batch[0].offset, batch[batch.len() - 1].offset.next());
                let to = Checkpoint { next: to, ..Checkpoint::START };
                let checkpoint_move = CheckpointMove { partition: PARTITION, from, to };
                assert_eq!(sink.apply(checkpoint_move, batch, &Letters::default()).await.unwrap(), Applied::Done);
                assert_eq!(sink.apply(checkpoint_move, batch, &Letters::default()).await.unwrap(), Applied::Superseded);
            }
        }
    }

    async fn read_everything(&self) -> ReadableState {
        let store = &self.store;
        let applications = store.applications(Page::FIRST).await.unwrap().value.items;
        let (mut keys, mut voided) = (Vec::new(), Vec::new());
        let mut chats = Vec::new();
        let mut messages = Vec::new();
        let mut found = Vec::new();
        let mut told = Vec::new();
        for token in applications.iter().map(|application| application.token) {
            let listed = store.keys(token, Page::FIRST).await.unwrap().unwrap().value.items;
            keys.push((token, listed.into_iter().map(|key| (key.number, key.name)).collect()));
            let user = UserId::new("alice".to_owned()).unwrap();
            voided.push((token, store.voided(token, &user).await.unwrap().is_some()));
            let items = store.chats(token, Page::FIRST, LastMessage::Show).await.unwrap().unwrap().value.items;
            for number in items.iter().map(|chat| chat.number) {
                let chat = ChatKey { token, number };
                messages.push((
                    token,
                    number.get(),
                    store.messages(chat, Page::FIRST).await.unwrap().unwrap().value.items,
                ));
                for pattern in PATTERNS {
                    let text = SearchText::new(pattern).unwrap();
                    found.push((pattern, store.search(chat, &text, Page::FIRST).await.unwrap().value.items));
                }
            }
            chats.push((token, items));
            told.push((token, self.read_feed(token).await));
        }
        ReadableState { applications, keys, voided, chats, messages, found, told }
    }
}

impl Projections {
    /// Reads the whole feed of an application in small pages.
    async fn read_feed(&self, token: ApplicationToken) -> Streams {
        let selection = FeedSelection { token, application: true, chats: None };
        let (mut streams, mut after, mut more) = (Streams::new(), Position::default(), true);
        while more {
            let page = self.store.page(&selection, &after, 5).await.unwrap().unwrap();
            for event in page.events {
                assert!(!after.covers(&event.place.covered()), "{event:?} was told before");
                streams.entry(event.happening.chat()).or_default().push(event.happening);
            }
            (after, more) = (page.next, page.more);
        }
        streams
    }
}

/// Returns the simplest log of these events: one batch with the streams one after the other.
fn concatenate(streams: &[Vec<events::Record>]) -> Vec<RecordedEvent> {
    histories::placed(streams.concat(), PARTITION)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn any_log_of_the_same_streams_is_shown_the_same(
        (streams, log) in histories::streams().prop_flat_map(|streams| (Just(streams.clone()), histories::log_of(streams))),
        cuts in proptest::collection::vec(any::<u16>(), 0..6),
    ) {
        let (expected, actual, dead_letters) = Runtime::new().unwrap().block_on(async {
            let reference = Projections::new().await;
            reference.apply(&[&concatenate(&streams)]).await;
            let projections = Projections::new().await;
            let log = histories::placed(log, PARTITION);
            projections.apply(&histories::batches(&log, &cuts)).await;
            let dead_letters = projections.store.dead_letters(PARTITION, 10).await.unwrap();
            (reference.read_everything().await, projections.read_everything().await, dead_letters)
        });
        prop_assert_eq!(actual, expected);
        prop_assert_eq!(dead_letters, vec![]);
    }
}
