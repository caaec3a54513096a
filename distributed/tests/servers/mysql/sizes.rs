//! Large batches, large texts, large answers.

use distributed::mysql::MySqlProjections;
use read_model::page::MAX_BYTES;
use read_model::{Applied, Cursor, Page, ProjectionStore, Views};

use super::ground::{chat, messages, number, step};
use super::proxy::proxy;
use super::server::{Database, until};

async fn a_batch_of_a_thousand_of_the_longest_messages_is_applied() {
    let database = Database::new().await;
    let store = database.projections();
    let bodies: Vec<_> = (0..1_000).map(|_| "🚀".repeat(16_384)).collect();
    let changes = messages(chat(1), &bodies);
    assert_eq!(store.apply_views(step(0, 1), changes.clone()).await.unwrap(), Applied::Done);
    let last = store.message(chat(1), number(1_000)).await.unwrap().unwrap();
    assert!(last.body == bodies[999]);
    // Once more, all of it is a duplicate.
    assert_eq!(store.apply_views(step(1, 2), changes).await.unwrap(), Applied::Done);
    assert_eq!(store.dead_letters(super::ground::PARTITION, 10).await.unwrap(), []);
}

/// Bodies that no client of ours may send, in one batch: it must not stop the projection, however large a statement the
/// server takes.
async fn a_batch_of_texts_that_are_too_long_is_applied() {
    let database = Database::new().await;
    let store = database.projections();
    let bodies = vec!["x".repeat(640 * 1024); 128];
    assert_eq!(store.apply_views(step(0, 1), messages(chat(1), &bodies)).await.unwrap(), Applied::Done);
    let last = store.message(chat(1), number(128)).await.unwrap().unwrap();
    assert!(last.body == bodies[127]);
}

/// A page that is cut by its size does not bring the rest of a thousand long messages over the wire.
async fn a_page_reads_little_more_than_it_shows() {
    let database = Database::new().await;
    let bodies = vec!["x".repeat(64 * 1024); 800];
    assert_eq!(
        database.projections().apply_views(step(0, 1), messages(chat(1), &bodies)).await.unwrap(),
        Applied::Done
    );
    let way = proxy(database.address()).await;
    let store = MySqlProjections::new(&database.url_by(&way.address)).unwrap();
    let slice = store.messages(chat(1), Page::FIRST).await.unwrap().unwrap();
    assert!(slice.more);
    assert_eq!(slice.items.len(), MAX_BYTES / (64 * 1024));
    until("the end of every statement", async || database.connections("processlist_command <> 'Sleep'").await == 0)
        .await;
    // What lies in the buffers of sockets is on its way all the same.
    let most = 16 * MAX_BYTES as u64;
    assert!(way.bytes_from_server() < most, "{} bytes", way.bytes_from_server());
}

/// A page that is cut by its number of items keeps its connection.
async fn walking_through_a_list_needs_no_new_connections() {
    let database = Database::new().await;
    let bodies: Vec<_> = (1..=200).map(|number| number.to_string()).collect();
    database.projections().apply_views(step(0, 1), messages(chat(1), &bodies)).await.unwrap();
    let way = proxy(database.address()).await;
    let store = MySqlProjections::new(&database.url_by(&way.address)).unwrap();
    let mut read = Vec::new();
    let mut cursor = Cursor::First;
    loop {
        let slice = store.messages(chat(1), Page { cursor, limit: 3 }).await.unwrap().unwrap();
        cursor = Cursor::After(slice.items.last().unwrap().number);
        read.extend(slice.items.into_iter().map(|message| message.body));
        if !slice.more {
            break;
        }
    }
    assert_eq!(read, bodies);
    // There are 67 pages. On its way back a connection is in nobody's hands for a moment, so there is more than one.
    assert!(way.connections() <= 16, "{} connections", way.connections());
}

tests!(
    a_batch_of_a_thousand_of_the_longest_messages_is_applied,
    a_batch_of_texts_that_are_too_long_is_applied,
    a_page_reads_little_more_than_it_shows,
    walking_through_a_list_needs_no_new_connections,
);
