//! Two files of projections are compared by the content of their rows, not by internal ids.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use embedded::DataDir;
use embedded::compare::{Difference, differences};
use events::{ApplicationToken, ChatKey, ChatNumber, EventId, MessageNumber, Offset, PartitionId};
use read_model::{
    ChatRow, Checkpoint, CheckpointMove, MessageRow, Projection, ProjectionStore, SearchDocument, SearchIndex,
    SourceEvent, ViewsChanges,
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

/// Writes projections with one message in each of these chats, in this order. Returns their directory.
async fn write_projections(chats: &[u32], body: &str) -> TempDir {
    let directory = TempDir::new().unwrap();
    let data_dir = DataDir::open(directory.path()).unwrap();
    let projections = data_dir.open_projections(Uuid::nil()).unwrap();
    for (index, number) in (0..).zip(chats) {
        let checkpoint_move = CheckpointMove {
            partition: PartitionId(0),
            from: Offset(index),
            to: Checkpoint { next: Offset(index + 1), ..Checkpoint::START },
        };
        let (chat, at) = (chat(*number), source_event((*number).into()));
        let number = MessageNumber::new(1).unwrap();
        let message = MessageRow { chat, number, body: body.into(), source: at };
        let changes = ViewsChanges {
            chats: vec![ChatRow { chat, source: at }],
            messages: vec![message],
            ..ViewsChanges::default()
        };
        projections.apply_views(checkpoint_move, changes).await.unwrap();
        let document = SearchDocument { chat, number, body: body.into(), folded: body.into() };
        projections.index(checkpoint_move, vec![document]).await.unwrap();
    }
    projections.close().await.unwrap();
    directory
}

async fn compare(one: &TempDir, other: &TempDir) -> Vec<Difference> {
    differences(&one.path().join("views.sqlite"), &other.path().join("views.sqlite")).await.unwrap()
}

#[tokio::test]
async fn the_order_in_which_chats_were_met_is_no_difference() {
    let (one, other) = (write_projections(&[1, 2, 3], "hello").await, write_projections(&[3, 1, 2], "hello").await);
    assert_eq!(compare(&one, &other).await, []);
}

#[tokio::test]
async fn rows_and_trigrams_that_are_missing_or_unexpected_are_counted() {
    let (one, other) = (write_projections(&[1, 2], "hello").await, write_projections(&[1, 2, 3], "hello").await);
    let found = compare(&one, &other).await;
    let missing = |projection, table| Difference { projection, table, missing: 1, unexpected: 0 };
    assert!(found.contains(&missing(Projection::Views, "chats")), "{found:?}");
    assert!(found.contains(&missing(Projection::Views, "messages")), "{found:?}");
    assert!(found.contains(&missing(Projection::Search, "search_extents")), "{found:?}");
    let (one, other) = (write_projections(&[1], "hello").await, write_projections(&[1], "hellO").await);
    let found = compare(&one, &other).await;
    let trigrams = found.iter().find(|difference| difference.table == "search_trigrams").unwrap();
    assert_eq!((trigrams.missing, trigrams.unexpected), (1, 1), "llo and llO");
}
