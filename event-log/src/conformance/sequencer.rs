//! What every [`Sequencer`] does beside the log that it counts for.

use std::sync::Arc;

use events::{ApplicationToken, ChatKey, Number, Record, StreamKey};

use super::{application_created, chat_created, first_chat, fresh_token, message_posted};
use crate::log::EventLog;
use crate::sequencer::{ReserveError, Sequencer};

const CLIENTS: u32 = 16;
const RESERVATIONS_A_CLIENT: u32 = 25;

/// What was never created has no numbers and does not exist.
pub async fn unknown_parents_have_no_numbers(_log: Arc<dyn EventLog>, sequencer: Arc<dyn Sequencer>) {
    for parent in [StreamKey::Application(fresh_token()), chat(fresh_token())] {
        let refused = sequencer.reserve(parent).await;
        assert!(matches!(refused, Err(ReserveError::UnknownParent)), "{refused:?}");
        assert!(!exists(&sequencer, parent).await);
    }
}

/// The numbers of a parent are 1, 2, 3 … from its creation on.
pub async fn numbers_are_dense_and_ascending(log: Arc<dyn EventLog>, sequencer: Arc<dyn Sequencer>) {
    let token = fresh_token();
    create(&log, &sequencer, application_created(token)).await;
    create(&log, &sequencer, chat_created(token, first_chat())).await;
    assert!(exists(&sequencer, token.into()).await);
    assert!(exists(&sequencer, chat(token)).await);
    for expected in 1..=20 {
        assert_eq!(reserve(&sequencer, chat(token)).await.get(), expected);
    }
}

/// Applications and chats have counters of their own.
pub async fn parents_are_counted_apart(log: Arc<dyn EventLog>, sequencer: Arc<dyn Sequencer>) {
    let (one, other) = (fresh_token(), fresh_token());
    for token in [one, other] {
        create(&log, &sequencer, application_created(token)).await;
        create(&log, &sequencer, chat_created(token, first_chat())).await;
    }
    assert_eq!(reserve(&sequencer, one.into()).await.get(), 2, "chat 1 is in the log");
    assert_eq!(reserve(&sequencer, chat(one)).await.get(), 1);
    assert_eq!(reserve(&sequencer, chat(one)).await.get(), 2);
    assert_eq!(reserve(&sequencer, chat(other)).await.get(), 1);
    assert_eq!(reserve(&sequencer, other.into()).await.get(), 2);
}

/// Reservations at one moment are all different, and dense.
pub async fn reservations_at_once_are_all_different(log: Arc<dyn EventLog>, sequencer: Arc<dyn Sequencer>) {
    let token = fresh_token();
    create(&log, &sequencer, application_created(token)).await;
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let sequencer = Arc::clone(&sequencer);
            tokio::spawn(async move {
                let mut numbers = Vec::new();
                for _ in 0..RESERVATIONS_A_CLIENT {
                    numbers.push(reserve(&sequencer, token.into()).await.get());
                }
                assert!(numbers.is_sorted(), "one client's later reservation got a lower number: {numbers:?}");
                numbers
            })
        })
        .collect();
    let mut numbers = Vec::new();
    for client in clients {
        numbers.extend(client.await.unwrap_or_else(|error| panic!("{error}")));
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=CLIENTS * RESERVATIONS_A_CLIENT).collect::<Vec<_>>());
}

/// A sequencer that has lost everything continues after the highest number in the log, gaps or not.
///
/// `cold` gives a sequencer over the same log that knows nothing yet.
pub async fn cold_counters_continue_after_the_log(
    log: Arc<dyn EventLog>,
    sequencer: Arc<dyn Sequencer>,
    cold: impl AsyncFn() -> Arc<dyn Sequencer>,
) {
    let token = fresh_token();
    create(&log, &sequencer, application_created(token)).await;
    create(&log, &sequencer, chat_created(token, first_chat())).await;
    for number in [1, 2, 7, 5] {
        let appended = log.append(message_posted(token, number, "x")).await;
        appended.unwrap_or_else(|error| panic!("append: {error}"));
    }
    let cold = cold().await;
    assert_eq!(reserve(&cold, chat(token)).await.get(), 8);
    assert_eq!(reserve(&cold, token.into()).await.get(), 2);
}

fn chat(token: ApplicationToken) -> StreamKey {
    StreamKey::Chat(ChatKey { token, number: first_chat() })
}

async fn create(log: &Arc<dyn EventLog>, sequencer: &Arc<dyn Sequencer>, created: Record) {
    let parent = created.stream;
    log.append(created).await.unwrap_or_else(|error| panic!("append: {error}"));
    sequencer.open(parent).await.unwrap_or_else(|error| panic!("open: {error}"));
}

async fn reserve(sequencer: &Arc<dyn Sequencer>, parent: StreamKey) -> Number {
    sequencer.reserve(parent).await.unwrap_or_else(|error| panic!("reserve: {error}")).number()
}

async fn exists(sequencer: &Arc<dyn Sequencer>, parent: StreamKey) -> bool {
    sequencer.exists(parent).await.unwrap_or_else(|error| panic!("exists: {error}"))
}
