//! What the sequencer reads from `counts`.

use distributed::mysql::MySqlCounts;
use distributed::ports::{Checkpoints, CountsReader, CountsSnapshot};
use events::{Epoch, MessageNumber, Offset, Position, RequestKey, UnixMillis};
use read_model::{
    AnsweredRequest, ApplicationCountsDelta, ChatCounts, Checkpoint, CheckpointMove, CountsChanges, ProjectionStore,
};

use super::fixture::{PARTITION, chat, checkpoint_move, source_event, token};
use super::server::Database;

async fn the_sequencer_reads_what_the_log_has() {
    let database = Database::new().await;
    let (store, counts) = (database.projections(), MySqlCounts::new(&database.url()).unwrap());
    assert_eq!(counts.last_chat(token(1)).await.unwrap().value, None);
    assert_eq!(counts.last_message(chat(1)).await.unwrap().value, None);
    let mut chat_counts = ChatCounts::default();
    chat_counts.see(MessageNumber::new(5).unwrap());
    let early = CountsChanges { chats: [(chat(1), chat_counts.clone())].into(), ..CountsChanges::default() };
    store.apply_counts(checkpoint_move(0, 1), early).await.unwrap();
    assert_eq!(counts.last_message(chat(1)).await.unwrap().value, None, "messages do not make a chat");
    chat_counts.created = true;
    let created = ApplicationCountsDelta { created: true, chats: 0, last_chat: 0 };
    let changes = CountsChanges {
        chats: [(chat(1), chat_counts)].into(),
        applications: [(token(1), created)].into(),
        ..CountsChanges::default()
    };
    let to = Checkpoint { next: Offset(2), epoch: Epoch(7) };
    store.apply_counts(CheckpointMove { partition: PARTITION, from: Offset(1), to }, changes).await.unwrap();
    let checkpoints: Checkpoints = [(PARTITION, to)].into();
    assert_eq!(counts.checkpoints().await.unwrap(), checkpoints);
    // Each answer has the checkpoints of the state that it was read from, also if it has no value.
    let snapshot = |answer| CountsSnapshot { checkpoints: checkpoints.clone(), value: answer };
    assert_eq!(counts.last_message(chat(1)).await.unwrap(), snapshot(Some(5)));
    assert_eq!(counts.last_chat(token(1)).await.unwrap(), snapshot(Some(0)));
    assert_eq!(counts.last_message(chat(2)).await.unwrap(), snapshot(None));
    assert_eq!(counts.last_chat(token(2)).await.unwrap(), snapshot(None));
    let unused = counts.find_request(&[7; 32], UnixMillis(0)).await.unwrap();
    assert_eq!((unused.checkpoints, unused.value), (checkpoints, None));
}

async fn answered_requests_are_found_and_forgotten_in_time() {
    const DAY: u64 = 24 * 60 * 60 * 1_000;
    let database = Database::new().await;
    let (store, counts) = (database.projections(), MySqlCounts::new(&database.url()).unwrap());
    let request = RequestKey::new(&["messages"], "key", &["x"]);
    let answered = |number, day: u64, offset| AnsweredRequest {
        request,
        stream: chat(1).into(),
        number: events::Number::new(number),
        occurred_at: UnixMillis(day * DAY),
        source: source_event(offset),
    };
    let first = answered(1, 10, 0);
    let changes = CountsChanges { requests: vec![first, first], ..CountsChanges::default() };
    store.apply_counts(checkpoint_move(0, 1), changes).await.unwrap();
    let found = counts.find_request(&request.key, UnixMillis(9 * DAY)).await.unwrap().value.unwrap();
    assert_eq!((found.request, found.number, found.stream), (request, first.number, first.stream));
    assert_eq!(found.position, Position::up_to(PARTITION, Offset(1)));
    assert_eq!(
        counts.find_request(&request.key, UnixMillis(10 * DAY)).await.unwrap().value,
        None,
        "an expired answer was found"
    );
    // The key is used again after it was forgotten. The newer answer counts.
    let changes = CountsChanges { requests: vec![answered(2, 12, 1)], ..CountsChanges::default() };
    store.apply_counts(checkpoint_move(1, 2), changes).await.unwrap();
    let found = counts.find_request(&request.key, UnixMillis(9 * DAY)).await.unwrap().value.unwrap();
    assert_eq!(found.number, events::Number::new(2));
    let other = RequestKey::new(&["messages"], "another", &["x"]);
    let late = AnsweredRequest { request: other, ..answered(3, 16, 2) };
    let changes = CountsChanges { requests: vec![late], ..CountsChanges::default() };
    store.apply_counts(checkpoint_move(2, 3), changes).await.unwrap();
    assert_eq!(
        counts.find_request(&request.key, UnixMillis(0)).await.unwrap().value,
        None,
        "an expired answer is still there"
    );
    assert!(counts.find_request(&other.key, UnixMillis(0)).await.unwrap().value.is_some());
}

tests!(the_sequencer_reads_what_the_log_has, answered_requests_are_found_and_forgotten_in_time,);
