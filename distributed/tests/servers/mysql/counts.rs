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
    let to = Checkpoint { next: Offset(2), epoch: Epoch(7), ..Checkpoint::START };
    store.apply_counts(CheckpointMove { partition: PARTITION, from: Offset(1), to }, changes).await.unwrap();
    let checkpoints: Checkpoints = [(PARTITION, to)].into();
    assert_eq!(counts.checkpoints().await.unwrap(), checkpoints);
    // Each answer has the checkpoints of the state that it was read from, also if it has no value.
    let snapshot = |answer| CountsSnapshot { checkpoints: checkpoints.clone(), value: answer };
    assert_eq!(counts.last_message(chat(1)).await.unwrap(), snapshot(Some(5)));
    assert_eq!(counts.last_chat(token(1)).await.unwrap(), snapshot(Some(0)));
    assert_eq!(counts.last_message(chat(2)).await.unwrap(), snapshot(None));
    assert_eq!(counts.last_chat(token(2)).await.unwrap(), snapshot(None));
    let unused = counts.find_request(&[7; 32]).await.unwrap();
    assert_eq!((unused.checkpoints, unused.value), (checkpoints, None));
}

const HOUR: u64 = 60 * 60 * 1_000;
const YEAR: u64 = 365 * 24 * HOUR;
const NOW: u64 = 50 * YEAR;

/// A message of a request with this key, at this time. Its number follows from its offset.
fn answered(key: &str, offset: u64, occurred_at: u64) -> AnsweredRequest {
    AnsweredRequest {
        request: RequestKey::new(&["messages"], key, &["x"]),
        stream: chat(1).into(),
        number: events::Number::new(u32::try_from(offset).unwrap() + 1),
        occurred_at: UnixMillis(occurred_at),
        source: source_event(offset),
    }
}

/// Applies a batch of messages that begins at an offset.
async fn apply_requests(store: &impl ProjectionStore, first: u64, requests: Vec<AnsweredRequest>) {
    let next = first + requests.len() as u64;
    let changes = CountsChanges { requests, ..CountsChanges::default() };
    store.apply_counts(checkpoint_move(first, next), changes).await.unwrap();
}

async fn apply_request(store: &impl ProjectionStore, key: &str, offset: u64, occurred_at: u64) {
    apply_requests(store, offset, vec![answered(key, offset, occurred_at)]).await;
}

/// Returns the number that a request with this key was given, if the key is not forgotten.
async fn find(counts: &MySqlCounts, key: &str) -> Option<u32> {
    let request = RequestKey::new(&["messages"], key, &["x"]);
    let found = counts.find_request(&request.key).await.unwrap().value?;
    let number = found.number.unwrap();
    assert_eq!((found.request, found.stream), (request, chat(1).into()));
    assert_eq!(found.position, Position::up_to(PARTITION, Offset(number.get().into())));
    Some(number.get())
}

async fn answered_requests_are_found_and_forgotten_in_time() {
    let database = Database::new().await;
    let (store, counts) = (database.projections(), MySqlCounts::new(&database.url()).unwrap());
    for hour in 0..=26 {
        apply_request(&*store, &hour.to_string(), hour, NOW + hour * HOUR).await;
    }
    assert_eq!(find(&counts, "26").await, Some(27));
    assert_eq!(find(&counts, "3").await, Some(4));
    assert_eq!(find(&counts, "1").await, None, "a forgotten answer is still there");
    // The key is used again after it was forgotten. The newer answer counts.
    apply_request(&*store, "1", 27, NOW + 27 * HOUR).await;
    assert_eq!(find(&counts, "1").await, Some(28));
}

async fn answered_requests_are_remembered_although_a_clock_was_years_off() {
    for wrong in [NOW + 10 * YEAR, 0] {
        let database = Database::new().await;
        let (store, counts) = (database.projections(), MySqlCounts::new(&database.url()).unwrap());
        apply_request(&*store, "before", 0, NOW).await;
        for offset in 1..10 {
            apply_request(&*store, &format!("wrong {offset}"), offset, wrong + offset * 1_000).await;
        }
        assert_eq!(find(&counts, "before").await, Some(1), "while the clock is wrong");
        apply_request(&*store, "after", 10, NOW + HOUR).await;
        apply_request(&*store, "later", 11, NOW + 2 * HOUR).await;
        for (key, number) in [("before", 1), ("wrong 1", 2), ("wrong 9", 10), ("after", 11)] {
            assert_eq!(find(&counts, key).await, Some(number), "{key}");
        }
    }
}

/// The time of one event says nothing: its writer's clock may have been wrong.
async fn of_two_answers_the_later_one_in_the_log_is_found() {
    let database = Database::new().await;
    let (store, counts) = (database.projections(), MySqlCounts::new(&database.url()).unwrap());
    apply_request(&*store, "key", 0, NOW + 10 * YEAR).await;
    apply_request(&*store, "key", 1, NOW).await;
    assert_eq!(find(&counts, "key").await, Some(2));
}

/// The clock of a partition must be the same wherever a batch ends, also if an event comes again.
async fn an_event_that_comes_again_does_not_move_the_clock() {
    let minute = HOUR / 60;
    let first = answered("first", 0, NOW);
    let again = AnsweredRequest { occurred_at: UnixMillis(NOW + 30 * minute), ..first };
    let batches =
        [first, again, again, answered("last", 3, NOW + 50 * minute), answered("next", 4, NOW + 140 * minute)];
    for ends in [vec![], vec![1], vec![2], vec![3], vec![1, 3], vec![1, 2, 3, 4]] {
        let database = Database::new().await;
        let store = database.projections();
        let bounds = [vec![0], ends.clone(), vec![batches.len()]].concat();
        for bounds in bounds.windows(2) {
            apply_requests(&*store, bounds[0] as u64, batches[bounds[0]..bounds[1]].to_vec()).await;
        }
        let mut connection = database.connect().await;
        let clock: Vec<(u64, u64)> =
            sqlx::query_as("SELECT log_offset, elapsed_ms FROM answered_requests ORDER BY log_offset")
                .fetch_all(&mut connection)
                .await
                .unwrap();
        assert_eq!(clock, [(0, 0), (3, 50 * minute), (4, 110 * minute)], "batches that end at {ends:?}");
    }
}

tests!(
    of_two_answers_the_later_one_in_the_log_is_found,
    an_event_that_comes_again_does_not_move_the_clock,
    the_sequencer_reads_what_the_log_has,
    answered_requests_are_found_and_forgotten_in_time,
    answered_requests_are_remembered_although_a_clock_was_years_off,
);
