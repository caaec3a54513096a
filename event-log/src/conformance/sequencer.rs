//! The checks of a [`Sequencer`] together with its log.

use std::sync::Arc;

use events::{ApplicationToken, ChatKey, ChatNumber, Number, Record, RequestKey, StreamKey};

use super::{application_created, chat_created, first_chat, fresh_token, message_posted};
use crate::log::{AppendError, EventLog};
use crate::sequencer::{Reservation, ReserveError, Sequencer};

const CLIENTS: u32 = 16;
const RESERVATIONS_A_CLIENT: u32 = 25;

/// Calls a macro with the arguments, the path of the suite, and every check of a [`Sequencer`](crate::Sequencer). Each check
/// is listed with the parts of the adapter that it takes, and the
/// [`SequencerFault`](crate::conformance::SequencerFault) that it must find. The parts are `log`, `sequencer`, and `cold`, a
/// function that returns another sequencer for the same log, which has no counters yet.
#[macro_export]
macro_rules! sequencer_conformance {
    ($callback:ident $(, $($arguments:tt)*)?) => {
        $callback! { $($($arguments)*)?; $crate::conformance;
            unknown_parents_have_no_numbers(log, sequencer) => AcceptsUnknownParents,
            numbers_are_dense_and_ascending(log, sequencer) => SkipsNumbers,
            each_parent_has_its_own_counter(log, sequencer) => SharesOneCounter,
            concurrent_reservations_are_all_different(log, sequencer) => RepeatsNumbers,
            cold_counters_continue_after_the_log(log, sequencer, cold) => SharesOneCounter,
            a_repeated_key_gets_its_number_again(log, sequencer, cold) => ForgetsRequests,
            a_repeated_key_gets_its_token_again(log, sequencer) => ForgetsRequests,
            a_key_with_other_values_is_refused(log, sequencer) => ForgetsRequests,
            concurrent_requests_with_one_key_get_one_number(log, sequencer) => ForgetsRequests,
        }
    };
}

/// An application or chat that was never created has no numbers and does not exist.
pub async fn unknown_parents_have_no_numbers(_log: Arc<dyn EventLog>, sequencer: Arc<dyn Sequencer>) {
    for parent in [StreamKey::Application(fresh_token()), chat(fresh_token())] {
        let refused = sequencer.reserve(parent, None).await;
        assert!(matches!(refused, Err(ReserveError::UnknownParent)), "{refused:?}");
        assert!(!exists(&sequencer, parent).await);
    }
}

/// The numbers of a parent are 1, 2, 3 … from its creation on.
pub async fn numbers_are_dense_and_ascending(log: Arc<dyn EventLog>, sequencer: Arc<dyn Sequencer>) {
    let token = create_application_with_chat(&log, &sequencer).await;
    assert!(exists(&sequencer, token.into()).await);
    assert!(exists(&sequencer, chat(token)).await);
    for expected in 1..=20 {
        assert_eq!(reserve(&sequencer, chat(token)).await.get(), expected);
    }
}

/// Applications and chats have counters of their own.
pub async fn each_parent_has_its_own_counter(log: Arc<dyn EventLog>, sequencer: Arc<dyn Sequencer>) {
    let one = create_application_with_chat(&log, &sequencer).await;
    let other = create_application_with_chat(&log, &sequencer).await;
    assert_eq!(reserve(&sequencer, one.into()).await.get(), 2, "chat 1 is in the log");
    assert_eq!(reserve(&sequencer, chat(one)).await.get(), 1);
    assert_eq!(reserve(&sequencer, chat(one)).await.get(), 2);
    assert_eq!(reserve(&sequencer, chat(other)).await.get(), 1);
    assert_eq!(reserve(&sequencer, other.into()).await.get(), 2);
}

/// Concurrent reservations are all different, and leave no gap.
pub async fn concurrent_reservations_are_all_different(log: Arc<dyn EventLog>, sequencer: Arc<dyn Sequencer>) {
    let token = fresh_token();
    append_and_open(&log, &sequencer, application_created(token)).await;
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
        numbers.extend(client.await.unwrap());
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=CLIENTS * RESERVATIONS_A_CLIENT).collect::<Vec<_>>());
}

/// A sequencer that has lost everything continues after the highest number in the log, whether there are gaps or not.
pub async fn cold_counters_continue_after_the_log(
    log: Arc<dyn EventLog>,
    sequencer: Arc<dyn Sequencer>,
    cold: impl AsyncFn() -> Arc<dyn Sequencer>,
) {
    let token = create_application_with_chat(&log, &sequencer).await;
    for number in [1, 2, 7, 5] {
        let appended = log.append(message_posted(token, number, "x")).await;
        let is_refused = matches!(appended, Err(AppendError::NumberTaken { number: 5, last: 7 }));
        assert!(is_refused || appended.is_ok(), "{appended:?}");
    }
    let cold = cold().await;
    assert_eq!(reserve(&cold, chat(token)).await.get(), 8);
    assert_eq!(reserve(&cold, token.into()).await.get(), 2);
}

/// A request that reached the log gets its number and its position again, also from a cold sequencer. Other requests get
/// the next number.
pub async fn a_repeated_key_gets_its_number_again(
    log: Arc<dyn EventLog>,
    sequencer: Arc<dyn Sequencer>,
    cold: impl AsyncFn() -> Arc<dyn Sequencer>,
) {
    let token = create_application_with_chat(&log, &sequencer).await;
    let request = RequestKey::new(&[&token.to_hex()], "key", &["hello"]);
    let first = reserve_with_key(&sequencer, chat(token), &request).await;
    assert_eq!((first.value().get(), first.position()), (1, None));
    let posted = Record { request: Some(request), ..message_posted(token, 1, "hello") };
    let position = log.append(posted).await.unwrap();
    drop(first);
    assert_eq!(reserve(&sequencer, chat(token)).await.get(), 2);
    for sequencer in [sequencer, cold().await] {
        let again = reserve_with_key(&sequencer, chat(token), &request).await;
        assert_eq!(again.value().get(), 1);
        // An adapter may not know the position. The command then appends the event again.
        assert!(again.position().is_none_or(|known| *known == position), "{again:?}");
    }
}

/// A retried request to create an application gets its token again.
pub async fn a_repeated_key_gets_its_token_again(log: Arc<dyn EventLog>, sequencer: Arc<dyn Sequencer>) {
    let (token, other) = (fresh_token(), fresh_token());
    let request = RequestKey::new(&[&token.to_hex()], "key", &["name"]);
    let first = sequencer.reserve_token(token, Some(&request)).await.unwrap();
    assert_eq!((first.value(), first.position()), (token, None));
    append_and_open(&log, &sequencer, Record { request: Some(request), ..application_created(token) }).await;
    drop(first);
    let again = sequencer.reserve_token(other, Some(&request)).await.unwrap();
    assert_eq!(again.value(), token);
}

/// A key that was used with other values is refused.
pub async fn a_key_with_other_values_is_refused(log: Arc<dyn EventLog>, sequencer: Arc<dyn Sequencer>) {
    let token = fresh_token();
    append_and_open(&log, &sequencer, application_created(token)).await;
    let request = |values| RequestKey::new(&[&token.to_hex()], "key", &[values]);
    let first = reserve_with_key(&sequencer, token.into(), &request("one")).await;
    let created = Record { request: Some(request("one")), ..chat_created(token, ChatNumber(first.value())) };
    append_and_open(&log, &sequencer, created).await;
    drop(first);
    let refused = sequencer.reserve(token.into(), Some(&request("other"))).await;
    assert!(matches!(refused, Err(ReserveError::KeyReused)), "{refused:?}");
}

/// Concurrent requests with one key all get the same number.
pub async fn concurrent_requests_with_one_key_get_one_number(log: Arc<dyn EventLog>, sequencer: Arc<dyn Sequencer>) {
    let token = create_application_with_chat(&log, &sequencer).await;
    let request = RequestKey::new(&[&token.to_hex()], "key", &["hello"]);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (log, sequencer) = (Arc::clone(&log), Arc::clone(&sequencer));
            tokio::spawn(async move {
                let reservation = reserve_with_key(&sequencer, chat(token), &request).await;
                if reservation.position().is_none() {
                    let posted = message_posted(token, reservation.value().get(), "hello");
                    let posted = Record { request: Some(request), event_id: request.event_id("1"), ..posted };
                    log.append(posted).await.unwrap();
                }
                reservation.value().get()
            })
        })
        .collect();
    for client in clients {
        assert_eq!(client.await.unwrap(), 1);
    }
    assert_eq!(reserve(&sequencer, chat(token)).await.get(), 2);
}

async fn reserve_with_key(
    sequencer: &Arc<dyn Sequencer>,
    parent: StreamKey,
    request: &RequestKey,
) -> Reservation<Number> {
    sequencer.reserve(parent, Some(request)).await.unwrap()
}

fn chat(token: ApplicationToken) -> StreamKey {
    StreamKey::Chat(ChatKey { token, number: first_chat() })
}

/// Creates an application with chat 1.
async fn create_application_with_chat(log: &Arc<dyn EventLog>, sequencer: &Arc<dyn Sequencer>) -> ApplicationToken {
    let token = fresh_token();
    append_and_open(log, sequencer, application_created(token)).await;
    append_and_open(log, sequencer, chat_created(token, first_chat())).await;
    token
}

async fn append_and_open(log: &Arc<dyn EventLog>, sequencer: &Arc<dyn Sequencer>, created: Record) {
    let parent = created.stream;
    log.append(created).await.unwrap();
    sequencer.open(parent, None).await.unwrap();
}

async fn reserve(sequencer: &Arc<dyn Sequencer>, parent: StreamKey) -> Number {
    sequencer.reserve(parent, None).await.unwrap().value()
}

async fn exists(sequencer: &Arc<dyn Sequencer>, parent: StreamKey) -> bool {
    sequencer.exists(parent).await.unwrap()
}
