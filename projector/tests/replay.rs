//! The same events give the same views, however the log interleaves, repeats and batches them.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::sync::Arc;

use embedded::{DataDir, SqliteProjections};
use events::{ApplicationToken, ChatKey, PartitionId, RecordedEvent};
use projector::Target;
use proptest::prelude::*;
use read_model::{
    ApplicationView, Applied, ChatView, Checkpoint, CheckpointMove, MessageView, Page, ProjectionStore, SearchIndex,
    SearchText, Views,
};
use tempfile::TempDir;
use testkit::histories;
use tokio::runtime::Runtime;
use uuid::Uuid;

const PARTITION: PartitionId = PartitionId(0);
/// Found in most histories, in both lengths that search tells apart.
const PATTERNS: [&str; 4] = ["a", "é", "ab", "ca "];

/// Everything that readers can see.
#[derive(Debug, PartialEq)]
struct Shown {
    applications: Vec<ApplicationView>,
    chats: Vec<(ApplicationToken, Vec<ChatView>)>,
    messages: Vec<(ApplicationToken, u32, Vec<MessageView>)>,
    found: Vec<(&'static str, Vec<MessageView>)>,
}

struct Projections {
    store: Arc<SqliteProjections>,
    _data_dir: DataDir,
    _directory: TempDir,
}

impl Projections {
    async fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let data_dir = DataDir::open(directory.path()).unwrap();
        let store = Arc::new(data_dir.open_projections(Uuid::nil()).await.unwrap());
        Self { store, _data_dir: data_dir, _directory: directory }
    }

    fn targets(&self) -> [Target; 3] {
        let store = &self.store;
        [
            Target::Views(Arc::clone(store) as _),
            Target::Counts(Arc::clone(store) as _),
            Target::Search(Arc::clone(store) as _),
        ]
    }

    /// Applies batches as a run loop does; each also a second time, as after a crash before the answer.
    async fn apply(&self, batches: &[&[RecordedEvent]]) {
        for target in self.targets() {
            for batch in batches {
                let (from, to) = (batch[0].offset, batch[batch.len() - 1].offset.next());
                let to = Checkpoint { next: to, ..Checkpoint::START };
                let checkpoint_move = CheckpointMove { partition: PARTITION, from, to };
                assert_eq!(target.apply(checkpoint_move, batch, &[]).await.unwrap(), Applied::Done);
                assert_eq!(target.apply(checkpoint_move, batch, &[]).await.unwrap(), Applied::Superseded);
            }
        }
    }

    async fn shown(&self) -> Shown {
        let store = &self.store;
        let applications = store.applications(Page::FIRST).await.unwrap().items;
        let (mut chats, mut messages, mut found) = (Vec::new(), Vec::new(), Vec::new());
        for token in applications.iter().map(|application| application.token) {
            let of_application = store.chats(token, Page::FIRST).await.unwrap().unwrap().items;
            for number in of_application.iter().map(|chat| chat.number) {
                let chat = ChatKey { token, number };
                messages.push((token, number.get(), store.messages(chat, Page::FIRST).await.unwrap().unwrap().items));
                for pattern in PATTERNS {
                    let text = SearchText::new(pattern).unwrap();
                    found.push((pattern, store.search(chat, &text, Page::FIRST).await.unwrap().items));
                }
            }
            chats.push((token, of_application));
        }
        Shown { applications, chats, messages, found }
    }
}

/// The streams one after the other, in one batch: the plainest log of these events.
fn plain(streams: &[Vec<events::Record>]) -> Vec<RecordedEvent> {
    histories::placed(streams.concat(), PARTITION)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn any_log_of_the_same_streams_is_shown_the_same(
        (streams, log) in histories::streams().prop_flat_map(|streams| (Just(streams.clone()), histories::log_of(streams))),
        cuts in proptest::collection::vec(any::<u16>(), 0..6),
    ) {
        let (expected, shown, dead_letters) = Runtime::new().unwrap().block_on(async {
            let reference = Projections::new().await;
            reference.apply(&[&plain(&streams)]).await;
            let projections = Projections::new().await;
            let log = histories::placed(log, PARTITION);
            projections.apply(&histories::batches(&log, &cuts)).await;
            let dead_letters = projections.store.dead_letters(PARTITION, 10).await.unwrap();
            (reference.shown().await, projections.shown().await, dead_letters)
        });
        prop_assert_eq!(shown, expected);
        prop_assert_eq!(dead_letters, vec![]);
    }
}
