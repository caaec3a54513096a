//! A client that follows a chat with `after=` misses nothing, however many clients post to it at once.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

#[expect(dead_code, reason = "tests/crashes.rs and tests/process.rs use the rest")]
mod tally;

use std::time::Instant;

use tally::{DEADLINE, Tally};
use tempfile::TempDir;
use tokio::task::JoinSet;

const CLIENTS: u64 = 96;
const POSTS_A_CLIENT: u64 = 20;

#[tokio::test(flavor = "multi_thread")]
async fn a_poller_misses_nothing_while_many_clients_post_to_its_chat() {
    let directory = TempDir::new().unwrap();
    let tally = Tally::start(directory.path());
    let chat = tally.api.chat(&tally.api.application("busy").await).await;
    // The chat may be shown a moment after its creation.
    tally.api.read_until(&chat, |answer| answer.status == 200).await;
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let (api, chat) = (tally.api.clone(), chat.clone());
        clients.spawn(async move {
            for _ in 0..POSTS_A_CLIENT {
                api.post(&chat, "hello").await;
            }
        });
    }
    let deadline = Instant::now() + DEADLINE;
    let mut last = 0;
    while last < CLIENTS * POSTS_A_CLIENT {
        assert!(Instant::now() < deadline, "message {} was not shown", last + 1);
        let shown = tally.api.read(&format!("{chat}/messages?after={last}")).await;
        for message in shown.json.as_array().unwrap() {
            // Every post is acknowledged, so there are no gaps: a number that is not the next one was overtaken.
            assert_eq!(message["number"].as_u64(), Some(last + 1), "a later number was shown first");
            last += 1;
        }
    }
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
    tally.api.read_until(&chat, |answer| answer.json["messages_count"] == CLIENTS * POSTS_A_CLIENT).await;
    tally.stop();
}
