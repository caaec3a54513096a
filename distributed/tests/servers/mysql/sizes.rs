//! Large batches, large texts, large answers.

use std::sync::Arc;

use distributed::mysql::MySqlProjections;
use events::{ChatApplicationRenamed, Event, Record, UnixMillis};
use projector::ProjectionSink;
use projector::sink::Letters;
use projector::views::ViewsSink;
use read_model::page::MAX_BYTES;
use read_model::{Applied, Cursor, DeadLetter, NameChange, NameOrigin, Page, ProjectionStore, Views, ViewsChanges};
use testkit::histories;

use super::fixture::{PARTITION, chat, checkpoint_move, messages, number, source_event, token};
use super::server::{Database, until};
use crate::fault_proxy::FaultProxy;

async fn a_batch_of_a_thousand_of_the_longest_messages_is_applied() {
    let database = Database::new().await;
    let store = database.projections();
    let bodies: Vec<_> = (0..1_000).map(|_| "🚀".repeat(16_384)).collect();
    let changes = messages(chat(1), &bodies);
    assert_eq!(store.apply_views(checkpoint_move(0, 1), changes.clone()).await.unwrap(), Applied::Done);
    let last = store.message(chat(1), number(1_000)).await.unwrap().unwrap().value;
    assert!(last.body == bodies[999]);
    // Applied again, every row is a duplicate.
    assert_eq!(store.apply_views(checkpoint_move(1, 2), changes).await.unwrap(), Applied::Done);
    assert_eq!(store.dead_letters(super::fixture::PARTITION, 10).await.unwrap(), []);
}

/// Texts that are longer than clients may send, in one batch, do not stop the projection, whatever the server's limit for a
/// statement is.
async fn a_batch_of_texts_that_are_too_long_is_applied() {
    let database = Database::new().await;
    let store = database.projections();
    let text = "x".repeat(640 * 1024);
    let bodies = vec![text.clone(); 128];
    assert_eq!(store.apply_views(checkpoint_move(0, 1), messages(chat(1), &bodies)).await.unwrap(), Applied::Done);
    let last = store.message(chat(1), number(128)).await.unwrap().unwrap().value;
    assert!(last.body == bodies[127]);
    let name = |byte: u8| NameChange {
        token: token(byte),
        name: text.clone(),
        origin: NameOrigin::Renamed,
        source: source_event(200 + u64::from(byte)),
        occurred_at: UnixMillis(0),
    };
    let changes = ViewsChanges { names: (0..128).map(name).collect(), ..ViewsChanges::default() };
    assert_eq!(store.apply_views(checkpoint_move(1, 128), changes).await.unwrap(), Applied::Done);
    assert!(store.application(token(127)).await.unwrap().unwrap().value.name == text);
}

/// The reason of a dead letter may quote the event, which can be a megabyte long.
async fn a_broken_event_and_a_rename_of_many_words_do_not_stop_their_partition() {
    let database = Database::new().await;
    let store = database.projections();
    let text = "🚀".repeat(25 * 1024);
    let renamed = ChatApplicationRenamed { token: token(1), name: text.clone() };
    let mut records = vec![histories::record(&Event::ChatApplicationRenamed(renamed))];
    records.push(Record { data: serde_json::to_vec(&text).unwrap(), ..records[0].clone() });
    let batch = histories::placed(records, PARTITION);
    let sink = ViewsSink(Arc::clone(&store) as _);
    assert_eq!(sink.apply(checkpoint_move(0, 2), &batch, &Letters::default()).await.unwrap(), Applied::Done);
    assert!(store.application(token(1)).await.unwrap().unwrap().value.name == text);
    let [letter] = &store.dead_letters(PARTITION, 10).await.unwrap()[..] else { panic!("no dead letter") };
    assert_eq!(letter.reason.chars().count(), DeadLetter::MAX_REASON_CHARACTERS);
}

/// For a page that is cut by its size, the server does not send the rest of the long messages.
async fn a_page_reads_little_more_than_it_shows() {
    let database = Database::new().await;
    let bodies = vec!["x".repeat(64 * 1024); 800];
    assert_eq!(
        database.projections().apply_views(checkpoint_move(0, 1), messages(chat(1), &bodies)).await.unwrap(),
        Applied::Done
    );
    let proxy = FaultProxy::start(database.address()).await;
    let store = MySqlProjections::new(&database.url_by(&proxy)).unwrap();
    let slice = store.messages(chat(1), Page::FIRST).await.unwrap().unwrap().value;
    assert!(slice.more);
    assert_eq!(slice.items.len(), MAX_BYTES / (64 * 1024));
    until("the end of every statement", async || database.connections("processlist_command <> 'Sleep'").await == 0)
        .await;
    // What fits into the buffers of sockets is sent all the same.
    let most = 16 * MAX_BYTES as u64;
    assert!(proxy.bytes_from_server() < most, "{} bytes", proxy.bytes_from_server());
}

/// A page that is cut by its number of items keeps its connection. So does a page that is cut by its size, unless much more
/// would follow.
async fn walking_through_a_list_needs_no_new_connections() {
    const LONG_BODY_BYTES: usize = MAX_BYTES / 50;
    let short: Vec<_> = (1..=200).map(|number| number.to_string()).collect();
    let long: Vec<_> = (0..1_000).map(|number| format!("{number:0LONG_BODY_BYTES$}")).collect();
    walk(&short, 3).await;
    walk(&long, 100).await;
}

/// Walks through a chat of these messages.
async fn walk(bodies: &[String], limit: u32) {
    let database = Database::new().await;
    database.projections().apply_views(checkpoint_move(0, 1), messages(chat(1), bodies)).await.unwrap();
    let proxy = FaultProxy::start(database.address()).await;
    let store = MySqlProjections::new(&database.url_by(&proxy)).unwrap();
    let (mut read, mut pages) = (Vec::new(), 0);
    let mut cursor = Cursor::First;
    loop {
        let slice = store.messages(chat(1), Page { cursor, limit }).await.unwrap().unwrap().value;
        cursor = Cursor::After(slice.items.last().unwrap().number);
        read.extend(slice.items.into_iter().map(|message| message.body));
        pages += 1;
        if !slice.more {
            break;
        }
    }
    assert!(read == bodies);
    // While the pool takes a connection back, the next page needs another one.
    assert!(2 * proxy.connections() <= pages, "{} connections for {pages} pages", proxy.connections());
}

tests!(
    a_batch_of_a_thousand_of_the_longest_messages_is_applied,
    a_batch_of_texts_that_are_too_long_is_applied,
    a_broken_event_and_a_rename_of_many_words_do_not_stop_their_partition,
    a_page_reads_little_more_than_it_shows,
    walking_through_a_list_needs_no_new_connections,
);
