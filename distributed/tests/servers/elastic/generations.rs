//! Readers follow the pointer to the live generation. Writers stay with theirs.

use std::time::Duration;

use elasticsearch::http::Method;
use read_model::{Applied, Checkpoint, SearchIndex};
use serde_json::json;
use testkit::polling::until;

use super::fixture::{PARTITION, add, chat, checkpoint_move, documents, find_numbers};
use super::server::on_an_index;

/// Longest wait for a reader to notice that the pointer has moved.
const LONG_WAIT: Duration = Duration::from_secs(10);

async fn a_moved_pointer_moves_readers_and_no_writer() {
    on_an_index(async |elastic| {
        let (old, reader, chat) = (elastic.adapter(), elastic.adapter(), chat());
        add(&old, documents(chat, &["old needle"])).await;
        assert_eq!(find_numbers(&reader, chat, "needle").await, [1]);

        // As a rebuild swaps generations: on the condition that no other process has.
        let (_, pointer) = elastic.raw(Method::Get, "-pointer/_doc/live", None).await;
        let condition = format!("?if_seq_no={}&if_primary_term={}", pointer["_seq_no"], pointer["_primary_term"]);
        let moved = format!("-pointer/_doc/live{condition}");
        assert_eq!(elastic.raw(Method::Put, &moved, Some(json!({"generation": 2}))).await.0, 200);
        assert_eq!(elastic.raw(Method::Put, &moved, Some(json!({"generation": 2}))).await.0, 409);
        let new = elastic.adapter();
        new.prepare().await.unwrap();
        assert_eq!(new.checkpoint(PARTITION).await.unwrap(), Checkpoint::START);
        add(&new, documents(chat, &["new", "needle"])).await;

        until(LONG_WAIT, "reader of the new generation", async || find_numbers(&reader, chat, "needle").await == [2])
            .await;
        // A writer of the old generation continues there, and readers do not see its documents.
        assert_eq!(
            old.index(checkpoint_move(1, 2), documents(chat, &["needle", "x", "needle"])).await.unwrap(),
            Applied::Done
        );
        assert_eq!(find_numbers(&reader, chat, "needle").await, [2]);
        assert_eq!(new.checkpoint(PARTITION).await.unwrap().next.0, 1);
        assert_eq!(old.checkpoint(PARTITION).await.unwrap().next.0, 2);
    })
    .await;
}

tests!(a_moved_pointer_moves_readers_and_no_writer,);
