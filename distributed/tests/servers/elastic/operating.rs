//! Damaged documents of the live index are found by a comparison with an index that is made anew. A pause holds for batches that had
//! begun before.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use elasticsearch::http::Method;
use events::Position;
use read_model::{Applied, BackendError, BuildStore, CatchUp, Difference, Projection, SearchDocument, SearchIndex};
use serde_json::{Value, json};

use super::fixture::{PARTITION, add, chat, checkpoint_move, document, documents};
use super::server::{TestServer, on_an_index};

/// Adds a message to the log's part of the new index while a comparison runs.
struct OneMore(Arc<dyn SearchIndex>, SearchDocument);

#[async_trait]
impl CatchUp for OneMore {
    async fn catch_up(&self, _position: &Position) -> Result<(), BackendError> {
        Ok(())
    }

    async fn catch_up_to_end(&self) -> Result<(), BackendError> {
        self.0.index(checkpoint_move(1, 2), vec![self.1.clone()]).await?;
        Ok(())
    }
}

/// Writes a document that no event explains while the new index catches up for the first time.
struct DamageMeanwhile {
    server: Arc<TestServer>,
    routing: String,
    calls: AtomicU32,
}

#[async_trait]
impl CatchUp for DamageMeanwhile {
    async fn catch_up(&self, _position: &Position) -> Result<(), BackendError> {
        Ok(())
    }

    async fn catch_up_to_end(&self) -> Result<(), BackendError> {
        if self.calls.fetch_add(1, Ordering::SeqCst) == 0 {
            write(&self.server, &self.routing, 7, json!({"body": "nobody", "folded": "nobody"})).await;
        }
        Ok(())
    }
}

/// Fills the live index and a new one, damages the live one, and compares the two.
async fn compare_damaged(server: &Arc<TestServer>, damage: impl AsyncFnOnce(&TestServer, &str)) -> Vec<Difference> {
    let chat = chat();
    let texts = documents(chat, &["first needle", "ab", "third straße"]);
    let (index, generations) = (server.adapter(), server.operated_search());
    add(&index, texts.clone()).await;
    let build = generations.begin(Projection::Search).await.unwrap();
    let BuildStore::Index(built) = generations.writer(&build).unwrap() else { panic!("tables instead of an index") };
    built.index(checkpoint_move(0, 1), texts).await.unwrap();
    let routing = format!("{}:{}", chat.token.to_hex(), chat.number);
    damage(server, &routing).await;
    // What is written after the checkpoint was read must not count as damage, wherever it is.
    let late = document(chat, 9, "late");
    index.index(checkpoint_move(1, 2), vec![late.clone()]).await.unwrap();
    let found = generations.compare(&build, &OneMore(built, late)).await.unwrap().expect("a comparison");
    generations.discard(&build).await.unwrap();
    found
}

fn difference(table: &'static str, missing: u64, unexpected: u64) -> Difference {
    Difference { projection: Projection::Search, table, missing, unexpected }
}

fn path(routing: &str, number: u32) -> String {
    format!("-1/_doc/{routing}:{number}?routing={routing}")
}

/// Writes a document of the live index as it must not be, visibly: the document of the first message with these changes.
async fn write(server: &TestServer, routing: &str, number: u32, changes: Value) {
    let (_, first) = server.raw(Method::Get, &path(routing, 1), None).await;
    let mut source = first["_source"].clone();
    (source["chat"], source["number"]) = (routing.into(), number.into());
    for (member, value) in changes.as_object().unwrap() {
        source[member] = value.clone();
    }
    let (status, answer) =
        server.raw(Method::Put, &format!("{}&refresh=true", path(routing, number)), Some(source)).await;
    assert!([200, 201].contains(&status), "{answer}");
}

async fn an_index_without_damage_does_not_differ() {
    on_an_index(async |server| assert_eq!(compare_damaged(&server, async |_, _| {}).await, [])).await;
}

async fn a_document_with_another_text_is_missing_and_unexpected() {
    on_an_index(async |server| {
        let found = compare_damaged(&server, async |server, chat| {
            write(server, chat, 1, json!({"body": "other", "folded": "other"})).await;
        });
        assert_eq!(found.await, [difference("documents", 1, 1)]);
    })
    .await;
}

async fn a_document_that_was_deleted_is_missing() {
    on_an_index(async |server| {
        let found = compare_damaged(&server, async |server, chat| {
            let (status, answer) = server.raw(Method::Delete, &path(chat, 2), None).await;
            assert_eq!(status, 200, "{answer}");
        });
        assert_eq!(found.await, [difference("documents", 1, 0)]);
    })
    .await;
}

async fn a_document_that_no_event_explains_is_unexpected() {
    on_an_index(async |server| {
        let found = compare_damaged(&server, async |server, chat| {
            write(server, chat, 7, json!({"body": "nobody", "folded": "nobody"})).await;
        });
        assert_eq!(found.await, [difference("documents", 0, 1)]);
    })
    .await;
}

async fn documents_that_are_not_found_by_their_own_text_are_counted() {
    on_an_index(async |server| {
        let found = compare_damaged(&server, async |server, chat| {
            // One text has another trigram, and one document another chat.
            write(server, chat, 1, json!({"folded": "first noodle"})).await;
            let (_, third) = server.raw(Method::Get, &path(chat, 3), None).await;
            let mut third = third["_source"].clone();
            (third["chat"], third["folded"]) = ("another".into(), "third strasse".into());
            write(server, chat, 3, third).await;
        });
        assert_eq!(found.await, [difference("terms of documents", 2, 0)]);
    })
    .await;
}

/// A catch-up may take longer than a server keeps a scroll that nobody reads. So the scroll is opened behind it.
async fn what_is_written_during_a_long_catch_up_is_compared() {
    on_an_index(async |server| {
        let (chat, index, generations) = (chat(), server.adapter(), server.operated_search());
        let texts = documents(chat, &["first needle"]);
        add(&index, texts.clone()).await;
        let build = generations.begin(Projection::Search).await.unwrap();
        let BuildStore::Index(built) = generations.writer(&build).unwrap() else {
            panic!("tables instead of an index")
        };
        built.index(checkpoint_move(0, 1), texts).await.unwrap();
        let routing = format!("{}:{}", chat.token.to_hex(), chat.number);
        let rest = DamageMeanwhile { server: Arc::clone(&server), routing, calls: AtomicU32::new(0) };
        let found = generations.compare(&build, &rest).await.unwrap().expect("a comparison");
        assert_eq!(found, [difference("documents", 0, 1)]);
        assert_eq!(rest.calls.load(Ordering::SeqCst), 2, "once more for what the scroll has");
    })
    .await;
}

/// Its process may be frozen for as long as it takes, between its look at the pause and the move of its checkpoint.
async fn a_batch_that_had_begun_before_a_pause_does_not_move_its_checkpoint() {
    on_an_index(async |server| {
        let (chat, index, generations) = (chat(), server.adapter(), server.operated_search());
        add(&index, documents(chat, &["first needle"])).await;
        let checkpoint = format!("-1/_doc/checkpoint:{PARTITION}");
        let (_, begun) = server.raw(Method::Get, &checkpoint, None).await;
        generations.set_paused(Projection::Search, true).await.unwrap();
        let condition = format!("if_seq_no={}&if_primary_term={}", begun["_seq_no"], begun["_primary_term"]);
        let mut moved = begun["_source"].clone();
        moved["checkpoint"]["next"] = 2.into();
        let (status, answer) = server.raw(Method::Put, &format!("{checkpoint}?{condition}"), Some(moved)).await;
        assert_eq!(status, 409, "{answer}");
        let (_, paused) = server.raw(Method::Get, &checkpoint, None).await;
        assert_eq!(paused["_source"], begun["_source"], "it stays as it is");
        generations.set_paused(Projection::Search, false).await.unwrap();
        let next = index.index(checkpoint_move(1, 2), vec![document(chat, 2, "second")]).await.unwrap();
        assert_eq!(next, Applied::Done);
    })
    .await;
}

tests!(
    an_index_without_damage_does_not_differ,
    a_document_with_another_text_is_missing_and_unexpected,
    a_document_that_was_deleted_is_missing,
    a_document_that_no_event_explains_is_unexpected,
    documents_that_are_not_found_by_their_own_text_are_counted,
    what_is_written_during_a_long_catch_up_is_compared,
    a_batch_that_had_begun_before_a_pause_does_not_move_its_checkpoint,
);
