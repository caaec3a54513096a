//! Generations that change during reads and writes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use distributed::mysql::MySqlCounts;
use distributed::ports::CountsReader;
use events::{Offset, Position};
use read_model::{Checkpoint, NameChange, NameOrigin, Page, Projection, ProjectionStore, Views, ViewsChanges};

use super::fixture::{PARTITION, chat, checkpoint_move, messages, one_more_chat, source_event, token};
use super::server::Database;

/// All messages of a page are of one generation while the pointer moves back and forth.
async fn each_call_reads_one_generation() {
    let database = Database::new().await;
    for generation in ["one", "two"] {
        let bodies = vec![generation.to_owned(); 200];
        let name = NameChange {
            token: token(1),
            name: generation.to_owned(),
            origin: NameOrigin::Created,
            source: source_event(0),
        };
        let changes = ViewsChanges { names: vec![name], ..messages(chat(1), &bodies) };
        // A writer stays with the generation that it found, so each generation needs its own store.
        let store = database.projections();
        if generation == "two" {
            database.run("UPDATE projections SET generation = 2 WHERE name = 'views'").await;
        }
        store.apply_views(checkpoint_move(0, 1), changes).await.unwrap();
    }
    let (readers, stop) = (database.projections(), Arc::new(AtomicBool::new(false)));
    let swapping = tokio::spawn({
        let (mut connection, stop) = (database.connect().await, Arc::clone(&stop));
        async move {
            while !stop.load(Ordering::SeqCst) {
                let swap = "UPDATE projections SET generation = 3 - generation WHERE name = 'views'";
                sqlx::query(swap).execute(&mut connection).await.unwrap();
            }
        }
    });
    let mut pages = [0_u32; 2];
    for _ in 0..300 {
        let page = readers.messages(chat(1), Page::FIRST).await.unwrap().unwrap();
        assert_eq!(page.items.len(), 200);
        assert!(page.items.iter().all(|message| message.body == page.items[0].body), "two generations on one page");
        pages[usize::from(page.items[0].body == "two")] += 1;
        assert_eq!(readers.chats(token(1), Page::FIRST).await.unwrap().unwrap().items.len(), 1);
        assert_eq!(readers.applications(Page::FIRST).await.unwrap().items.len(), 1);
    }
    stop.store(true, Ordering::SeqCst);
    swapping.await.unwrap();
    assert!(pages.iter().all(|count| *count > 0), "the pointer did not move: {pages:?}");
}

/// A writer that was open before the pointer moved stays with its own generation, also in `counts`.
async fn a_writer_of_counts_stays_with_its_generation() {
    let database = Database::new().await;
    let (old, counts) = (database.projections(), MySqlCounts::new(&database.url()).unwrap());
    old.apply_counts(checkpoint_move(0, 1), one_more_chat(&[token(1)])).await.unwrap();
    database.run("UPDATE projections SET generation = 2 WHERE name = 'counts'").await;
    assert_eq!(counts.last_chat(token(1)).await.unwrap().value, None);
    assert!(counts.checkpoints().await.unwrap().is_empty());
    old.apply_counts(checkpoint_move(1, 2), one_more_chat(&[token(1)])).await.unwrap();
    assert_eq!(old.checkpoint(Projection::Counts, PARTITION).await.unwrap().next, Offset(2));
    assert_eq!(counts.last_chat(token(1)).await.unwrap().value, None, "a write to the old generation is shown");
    let new = database.projections();
    assert_eq!(new.checkpoint(Projection::Counts, PARTITION).await.unwrap(), Checkpoint::START);
    // Each projection has its own generation.
    assert_eq!(
        new.apply_views(checkpoint_move(0, 1), ViewsChanges::default()).await.unwrap(),
        read_model::Applied::Done
    );
    assert_eq!(old.checkpoint(Projection::Views, PARTITION).await.unwrap().next, Offset(1));
}

async fn a_writer_stays_with_its_generation_and_readers_follow_the_pointer() {
    let database = Database::new().await;
    let (old, readers) = (database.projections(), database.projections());
    let named = |name: &str, offset| {
        let change = NameChange {
            token: token(1),
            name: name.into(),
            origin: NameOrigin::Renamed,
            source: source_event(offset),
        };
        ViewsChanges { names: vec![change], ..ViewsChanges::default() }
    };
    old.apply_views(checkpoint_move(0, 1), named("old", 0)).await.unwrap();
    database.run("UPDATE projections SET generation = 2 WHERE name = 'views'").await;
    assert_eq!(readers.applications(Page::FIRST).await.unwrap().items, []);
    assert!(!readers.reached(Projection::Views, &Position::up_to(PARTITION, Offset(1)), Duration::ZERO).await.unwrap());
    let new = database.projections();
    assert_eq!(new.checkpoint(Projection::Views, PARTITION).await.unwrap(), Checkpoint::START);
    new.apply_views(checkpoint_move(0, 1), named("new", 0)).await.unwrap();
    old.apply_views(checkpoint_move(1, 2), named("zombie", 1)).await.unwrap();
    let shown = readers.application(token(1)).await.unwrap().unwrap();
    assert_eq!(shown.name, "new");
    assert_eq!(new.checkpoint(Projection::Views, PARTITION).await.unwrap().next, Offset(1));
}

tests!(
    each_call_reads_one_generation,
    a_writer_of_counts_stays_with_its_generation,
    a_writer_stays_with_its_generation_and_readers_follow_the_pointer,
);
