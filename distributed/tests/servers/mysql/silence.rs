//! A server that cannot be reached, closes connections, or falls silent.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::containers;
use distributed::mysql::{ClientError, MySqlCounts, MySqlProjections, migrate};
use distributed::ports::CountsReader;
use events::{Offset, Position};
use read_model::{Applied, LastMessage, Page, Projection, ProjectionStore, Views, ViewsChanges};

use super::fixture::{PARTITION, chat, checkpoint_move, messages, number, token};
use super::server::{Database, until};
use crate::fault_proxy::{FaultProxy, Mode};

/// Longest wait for an error where no connection can be opened.
const NO_CONNECTION: Duration = Duration::from_secs(4);
/// Longest wait for the end of a read without an answer.
const NO_ANSWER: Duration = Duration::from_secs(11);
/// More than the connections for reads.
const MANY: u32 = 24;
/// More looks at changes than fit into the time until reads have taken all their connections.
const LOOKS: u32 = 50;
/// Far less than a wait for a connection that others have.
const SOON: Duration = Duration::from_secs(1);

async fn a_server_that_cannot_be_reached_is_an_error_soon_and_comes_back() {
    let database = Database::new().await;
    let proxy = FaultProxy::start(database.address()).await;
    let url = database.url_by(&proxy);
    let (store, counts) = (Arc::new(MySqlProjections::new(&url).unwrap()), MySqlCounts::new(&url).unwrap());
    store.apply_views(checkpoint_move(0, 1), messages(chat(1), &["there".to_owned()])).await.unwrap();
    proxy.set(Mode::Refuse);
    let position = Position::up_to(PARTITION, Offset(9));
    let mut began = Instant::now();
    let mut assert_failed = |what: &str, is_error: bool| {
        assert!(is_error, "{what} did not fail");
        assert!(began.elapsed() < NO_CONNECTION, "{what} took {:?}", began.elapsed());
        began = Instant::now();
    };
    assert_failed("a read", store.chat(chat(1), LastMessage::Skip).await.is_err());
    assert_failed("a list", store.applications(Page::FIRST).await.is_err());
    assert_failed("a batch", store.apply_views(checkpoint_move(1, 2), ViewsChanges::default()).await.is_err());
    assert_failed("a count", counts.last_chat(token(1)).await.is_err());
    assert_failed("a wait", store.reached(Projection::Views, &position, Duration::from_secs(30)).await.is_err());
    proxy.set(Mode::Forward);
    until("an answer", async || store.chat(chat(1), LastMessage::Skip).await.is_ok_and(|chat| chat.is_some())).await;
    // The pool may still hand out a connection that the proxy has closed.
    let applied = async || store.apply_views(checkpoint_move(1, 2), ViewsChanges::default()).await;
    until("a batch", async || applied().await.is_ok_and(|applied| applied == Applied::Done)).await;
}

/// Reads without an answer end, and their connections do not block later reads.
async fn reads_that_are_not_answered_end_and_others_go_on() {
    let database = Database::new().await;
    let proxy = FaultProxy::start(database.address()).await;
    let store = Arc::new(MySqlProjections::new(&database.url_by(&proxy)).unwrap());
    store.apply_views(checkpoint_move(0, 1), messages(chat(1), &["there".to_owned()])).await.unwrap();
    proxy.set(Mode::MuteAt("JOIN messages AS m"));
    let reads: Vec<_> = (0..MANY)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { (Instant::now(), store.message(chat(1), number(1)).await.is_err()) })
        })
        .collect();
    for read in reads {
        let (began, is_error) = read.await.unwrap();
        assert!(is_error);
        assert!(began.elapsed() < NO_ANSWER, "{:?}", began.elapsed());
    }
    proxy.set(Mode::Forward);
    until("an answer", async || store.message(chat(1), number(1)).await.is_ok_and(|message| message.is_some())).await;
}

/// A process that follows the changes of keys knows of revocations however many reads wait for the server. It lets known keys go on only if
/// nobody reaches the server.
async fn changes_of_keys_are_read_beside_any_number_of_reads() {
    // Of use here alone: two of its methods have names of methods of `Views`.
    use read_model::Access;

    let database = Database::new().await;
    let proxy = FaultProxy::start(database.address()).await;
    let store = Arc::new(MySqlProjections::new(&database.url_by(&proxy)).unwrap());
    store.apply_views(checkpoint_move(0, 1), messages(chat(1), &["there".to_owned()])).await.unwrap();
    let since = store.position().await.unwrap();
    proxy.set(Mode::MuteAt("JOIN messages AS m"));
    let reads: Vec<_> = (0..MANY)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.message(chat(1), number(1)).await.is_err() })
        })
        .collect();
    for _ in 0..LOOKS {
        let began = Instant::now();
        store.changes(&since).await.unwrap();
        assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    }
    for read in reads {
        assert!(read.await.unwrap(), "it was not answered");
    }
    proxy.set(Mode::MuteAt("FROM log_ends"));
    // Its connections send the text: they have no prepared statement yet.
    let other = MySqlProjections::new(&database.url_by(&proxy)).unwrap();
    let slow = other.changes(&since).await.unwrap_err();
    assert!(!slow.is_unreachable, "{slow:?}");
    proxy.set(Mode::Refuse);
    let refused = other.changes(&since).await.unwrap_err();
    assert!(refused.is_unreachable, "{refused:?}");
}

/// The pool pings a connection when it is returned. The answer may never come.
async fn connections_that_die_when_they_are_returned_are_replaced() {
    let database = Database::new().await;
    let proxy = FaultProxy::start(database.address()).await;
    let store = Arc::new(MySqlProjections::new(&database.url_by(&proxy)).unwrap());
    store.apply_views(checkpoint_move(0, 1), messages(chat(1), &["there".to_owned()])).await.unwrap();
    proxy.set(Mode::MuteAtPing);
    let reads = (0..MANY).map(|_| store.message(chat(1), number(1)));
    let failed = futures_util::future::join_all(reads).await.into_iter().filter(Result::is_err).count();
    assert_eq!(failed, 0, "reads did not get a connection");
    proxy.wait_until_muted(1).await;
}

/// As after a failover, every existing connection is dead without having been closed, and new ones work.
async fn connections_that_died_in_silence_are_replaced() {
    let database = Database::new().await;
    let proxy = FaultProxy::start(database.address()).await;
    let store = Arc::new(MySqlProjections::new(&database.url_by(&proxy)).unwrap());
    store.apply_views(checkpoint_move(0, 1), messages(chat(1), &["there".to_owned()])).await.unwrap();
    let reads = (0..MANY).map(|_| store.message(chat(1), number(1)));
    assert!(futures_util::future::join_all(reads).await.into_iter().all(|read| read.is_ok()));
    proxy.set(Mode::Mute);
    proxy.wait_until_muted(2).await;
    proxy.set(Mode::Forward);
    until("an answer", async || store.message(chat(1), number(1)).await.is_ok()).await;
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(1) {
        until("a batch", async || store.checkpoint(Projection::Views, PARTITION).await.is_ok()).await;
        until("an answer", async || store.message(chat(1), number(1)).await.is_ok()).await;
    }
    let reads = (0..MANY).map(|_| store.message(chat(1), number(1)));
    assert!(futures_util::future::join_all(reads).await.into_iter().all(|read| read.is_ok()));
}

/// A read that is cancelled at any point leaves no answer behind for the next read.
async fn cancelled_reads_do_not_mix_their_answers_with_others() {
    let database = Database::new().await;
    let store = database.projections();
    let bodies: Vec<_> = (1..=50).map(|number| format!("message {number}")).collect();
    store.apply_views(checkpoint_move(0, 1), messages(chat(1), &bodies)).await.unwrap();
    for round in 0..400_u64 {
        let cancelled = async {
            let page = store.messages(chat(1), Page::FIRST);
            drop(tokio::time::timeout(Duration::from_micros(round * 5), page).await);
        };
        let wanted = u32::try_from(round % 50 + 1).unwrap();
        let (_, found) = tokio::join!(cancelled, store.message(chat(1), number(wanted)));
        assert_eq!(found.unwrap().unwrap().value.body, bodies[wanted as usize - 1]);
        let found = store.message(chat(1), number(wanted)).await.unwrap();
        assert_eq!(found.unwrap().value.body, bodies[wanted as usize - 1]);
    }
}

async fn a_url_without_a_database_is_refused() {
    let database = Database::new().await;
    let url = format!("mysql://tally:secret@{}", database.address());
    for url in [url.clone(), url + "/"] {
        assert!(matches!(MySqlProjections::new(&url).err(), Some(ClientError::NoDatabase)), "{url}");
    }
    let refused = MySqlCounts::new("mysql//secret").err().unwrap();
    assert!(matches!(refused, ClientError::Url(_)) && !format!("{refused:?}").contains("secret"), "{refused:?}");
}

async fn a_server_that_is_away_fails_soon_and_works_again() {
    let server = containers::own_mysql().await;
    let url = containers::mysql_url(&server) + "/tally";
    migrate(&url).await.unwrap();
    let store = Arc::new(MySqlProjections::new(&url).unwrap());
    store.apply_views(checkpoint_move(0, 1), messages(chat(1), &["there".to_owned()])).await.unwrap();
    server.container.stop_with_timeout(Some(20)).await.unwrap();
    let began = Instant::now();
    assert!(store.chat(chat(1), LastMessage::Skip).await.is_err());
    assert!(Arc::clone(&store).check().await.is_err());
    assert!(store.apply_views(checkpoint_move(1, 2), ViewsChanges::default()).await.is_err());
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    server.container.start().await.unwrap();
    containers::wait_for("MySQL", async || Arc::clone(&store).check().await.ok()).await;
    assert!(store.chat(chat(1), LastMessage::Skip).await.unwrap().is_some());
    assert_eq!(store.apply_views(checkpoint_move(1, 2), ViewsChanges::default()).await.unwrap(), Applied::Done);
}

tests!(
    a_server_that_cannot_be_reached_is_an_error_soon_and_comes_back,
    reads_that_are_not_answered_end_and_others_go_on,
    changes_of_keys_are_read_beside_any_number_of_reads,
    connections_that_die_when_they_are_returned_are_replaced,
    connections_that_died_in_silence_are_replaced,
    cancelled_reads_do_not_mix_their_answers_with_others,
    a_url_without_a_database_is_refused,
    a_server_that_is_away_fails_soon_and_works_again,
);
