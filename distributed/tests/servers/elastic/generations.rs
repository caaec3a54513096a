//! Readers follow the pointer, writers stay.

use std::time::{Duration, Instant};

use elasticsearch::http::Method;
use read_model::{Applied, Checkpoint, SearchIndex};
use serde_json::json;

use super::fixture::{PARTITION, add, chat, checkpoint_move, documents, found};
use super::server::on_an_index;

/// Within which a reader must have seen that the pointer was moved.
const LONG_WAIT: Duration = Duration::from_secs(10);

async fn a_moved_pointer_moves_readers_and_no_writer() {
    on_an_index(async |here| {
        let (old, reader, chat) = (here.adapter(), here.adapter(), chat());
        add(&old, documents(chat, &["old needle"])).await;
        assert_eq!(found(&reader, chat, "needle").await, [1]);

        // As a swap will do it: on condition that nobody else has.
        let (_, pointer) = here.raw(Method::Get, "-pointer/_doc/live", None).await;
        let condition = format!("?if_seq_no={}&if_primary_term={}", pointer["_seq_no"], pointer["_primary_term"]);
        let moved = format!("-pointer/_doc/live{condition}");
        assert_eq!(here.raw(Method::Put, &moved, Some(json!({"generation": 2}))).await.0, 200);
        assert_eq!(here.raw(Method::Put, &moved, Some(json!({"generation": 2}))).await.0, 409);
        let new = here.adapter();
        new.prepare().await.unwrap();
        assert_eq!(new.checkpoint(PARTITION).await.unwrap(), Checkpoint::START);
        add(&new, documents(chat, &["new", "needle"])).await;

        let begin = Instant::now();
        while found(&reader, chat, "needle").await != [2] {
            assert!(begin.elapsed() < LONG_WAIT, "the reader stays with the old generation");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // The zombie goes on in its own generation, and nobody sees it.
        assert_eq!(
            old.index(checkpoint_move(1, 2), documents(chat, &["needle", "x", "needle"])).await.unwrap(),
            Applied::Done
        );
        assert_eq!(found(&reader, chat, "needle").await, [2]);
        assert_eq!(new.checkpoint(PARTITION).await.unwrap().next.0, 1);
        assert_eq!(old.checkpoint(PARTITION).await.unwrap().next.0, 2);
    })
    .await;
}

tests!(a_moved_pointer_moves_readers_and_no_writer,);
