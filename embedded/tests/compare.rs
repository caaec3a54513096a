//! Two generations are compared by the content of their rows, not by internal ids.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use async_trait::async_trait;
use embedded::DataDir;
use events::{
    ApplicationToken, ChatKey, ChatNumber, EventId, MessageNumber, Offset, PartitionId, Position, UnixMillis,
};
use read_model::{
    BackendError, BuildStore, CatchUp, ChatRow, Checkpoint, CheckpointMove, Difference, Generations, MessageRow,
    OperateGenerations, Projection, ProjectionStore, SearchDocument, SearchIndex, SourceEvent, ViewsChanges,
};
use tempfile::TempDir;
use uuid::Uuid;

const TOKEN: ApplicationToken = ApplicationToken::from_bytes([7; ApplicationToken::BYTES]);

fn chat(number: u32) -> ChatKey {
    ChatKey { token: TOKEN, number: ChatNumber::new(number).unwrap() }
}

fn source_event(offset: u64) -> SourceEvent {
    SourceEvent { event_id: EventId(Uuid::from_u128(offset.into())), offset: Offset(offset) }
}

/// Writes one message in each of these chats, in this order.
async fn write(store: &dyn ProjectionStore, index: &dyn SearchIndex, chats: &[u32], body: &str) {
    for (offset, number) in (0..).zip(chats) {
        let checkpoint_move = CheckpointMove {
            partition: PartitionId(0),
            from: Offset(offset),
            to: Checkpoint { next: Offset(offset + 1), ..Checkpoint::START },
        };
        let (chat, at) = (chat(*number), source_event((*number).into()));
        let number = MessageNumber::new(1).unwrap();
        let created_at = UnixMillis(0);
        let message = MessageRow { chat, number, body: body.into(), author: None, source: at, created_at };
        let changes = ViewsChanges {
            chats: vec![ChatRow { chat, source: at, created_at }],
            messages: vec![message],
            ..ViewsChanges::default()
        };
        store.apply_views(checkpoint_move, changes).await.unwrap();
        let document = SearchDocument { chat, number, body: body.into(), author: None, offset: at.offset, created_at };
        index.index(checkpoint_move, vec![document]).await.unwrap();
    }
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

/// Compares live generations with new ones, each with a message in these chats.
async fn compare((live, live_body): (&[u32], &str), (new, new_body): (&[u32], &str)) -> Vec<Difference> {
    let directory = TempDir::new().unwrap();
    let data_dir = DataDir::open(directory.path()).unwrap();
    let projections = data_dir.open_projections(Uuid::nil()).unwrap();
    write(&projections, &projections, live, live_body).await;
    let mut differences = Vec::new();
    let views = projections.begin(Projection::Views).await.unwrap();
    let search = projections.begin(Projection::Search).await.unwrap();
    let (BuildStore::Tables(store), BuildStore::Index(index)) =
        (projections.writer(&views).unwrap(), projections.writer(&search).unwrap())
    else {
        panic!("the stores of other projections");
    };
    write(&*store, &*index, new, new_body).await;
    for build in [views, search] {
        differences.extend(projections.compare(&build, &Written).await.unwrap().expect("equal checkpoints"));
    }
    projections.close().await.unwrap();
    differences
}

#[tokio::test]
async fn the_order_in_which_chats_were_met_is_no_difference() {
    assert_eq!(compare((&[1, 2, 3], "hello"), (&[3, 1, 2], "hello")).await, []);
}

#[tokio::test]
async fn rows_and_trigrams_that_are_missing_or_unexpected_are_counted() {
    let found = compare((&[1, 2], "hello"), (&[1, 3], "hello")).await;
    let differs = |projection, table| Difference { projection, table, missing: 1, unexpected: 1 };
    assert!(found.contains(&differs(Projection::Views, "chats")), "{found:?}");
    assert!(found.contains(&differs(Projection::Views, "messages")), "{found:?}");
    assert!(found.contains(&differs(Projection::Search, "search_extents")), "{found:?}");
    let found = compare((&[1], "hello"), (&[1], "hellx")).await;
    let trigrams = found.iter().find(|difference| difference.table == "search_trigrams").unwrap();
    assert_eq!((trigrams.missing, trigrams.unexpected), (1, 1), "llo and llx");
}
