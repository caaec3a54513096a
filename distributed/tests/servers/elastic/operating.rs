//! Damaged documents of the live index are found by a comparison with an index that is made anew.

use std::sync::Arc;

use async_trait::async_trait;
use elasticsearch::http::Method;
use events::Position;
use read_model::{BackendError, BuildStore, CatchUp, Difference, Projection, SearchDocument, SearchIndex};
use serde_json::{Value, json};

use super::fixture::{add, chat, checkpoint_move, document, documents};
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

tests!(
    an_index_without_damage_does_not_differ,
    a_document_with_another_text_is_missing_and_unexpected,
    a_document_that_was_deleted_is_missing,
    a_document_that_no_event_explains_is_unexpected,
    documents_that_are_not_found_by_their_own_text_are_counted,
);
