//! A projector whose index is deleted, or whose server dies, in the middle of its work has everything in the index in the end.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use distributed::elastic::ElasticIndex;
use distributed::kafka::{KafkaLog, PARTITIONS};
use elasticsearch::http::Method;
use event_log::EventLog;
use events::ChatKey;
use projector::AssignedPartitions;
use projector::search::SearchSink;
use read_model::{Page, SearchIndex, SearchText};
use service::health::Readiness;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::fixture::told;
use super::proxy::proxy;
use super::server::{Here, on_a_server};
use crate::containers;
use crate::kafka::support::{fresh_chat, message, open, server};

/// Longest wait for what must come.
const LONG_WAIT: Duration = Duration::from_secs(180);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(50);
/// Chats of a log: enough for most partitions, of which each must begin anew by itself.
const CHATS: usize = 12;
/// Batches of a replay that the server takes before it dies.
const INDEXED: usize = 3;

/// A log of its own with so many messages in each chat.
async fn log_of(messages: u32) -> (Arc<KafkaLog>, Vec<ChatKey>) {
    let log = open(server().await).await;
    let chats: Vec<_> = (0..CHATS).map(|_| fresh_chat()).collect();
    let mut appends = JoinSet::new();
    for chat in chats.clone() {
        let log = Arc::clone(&log);
        appends.spawn(async move {
            for number in 1..=messages {
                log.append(message(chat, number)).await.unwrap();
            }
        });
    }
    appends.join_all().await;
    (log, chats)
}

/// Feeds an index from every partition until the guard is dropped.
fn feed(log: &Arc<KafkaLog>, index: impl SearchIndex + 'static) -> DropGuard {
    let (sharing, owned) = watch::channel(Some(PARTITIONS.partitions().collect::<BTreeSet<_>>()));
    let (sink, readiness) = (Arc::new(SearchSink(Arc::new(index))), Readiness::new());
    let assignment =
        AssignedPartitions { log: Arc::clone(log) as _, sink, part: readiness.part("partitions"), readiness };
    let stop = CancellationToken::new();
    tokio::spawn({
        let stop = stop.clone();
        async move {
            assignment.run(owned, |_, _| {}, stop).await.unwrap();
            drop(sharing);
        }
    });
    stop.drop_guard()
}

/// Waits until every chat has exactly these messages.
async fn until_all_are_found(index: &ElasticIndex, chats: &[ChatKey], messages: u32) {
    let begin = Instant::now();
    for chat in chats {
        while let Err(what) = finds_all(index, *chat, messages).await {
            assert!(begin.elapsed() < LONG_WAIT, "{chat}: {what}");
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Whether a chat has exactly these messages, and what it has otherwise.
async fn finds_all(index: &ElasticIndex, chat: ChatKey, messages: u32) -> Result<(), String> {
    let text = SearchText::new("body").unwrap();
    let found = index.search(chat, &text, Page::FIRST).await.map_err(|error| told(&error))?;
    let numbers: Vec<_> = found.items.iter().map(|message| message.number.get()).collect();
    if numbers == (1..=messages).collect::<Vec<_>>() { Ok(()) } else { Err(format!("only {numbers:?}")) }
}

async fn what_is_deleted_while_a_projector_runs_comes_back() {
    let (log, chats) = log_of(3).await;
    on_a_server(|here| delete_and_wait(here, log, chats)).await;
}

async fn delete_and_wait(here: Arc<Here>, log: Arc<KafkaLog>, chats: Vec<ChatKey>) {
    let reader = here.adapter();
    let _feeding = feed(&log, here.adapter());
    until_all_are_found(&reader, &chats, 3).await;
    // The index, everything, the pointer; and nothing is posted that would wake anybody.
    for lost in [["-1"].as_slice(), &["-1", "-pointer"], &["-pointer"]] {
        for index in lost {
            assert_eq!(here.raw(Method::Delete, index, None).await.0, 200);
        }
        let begin = Instant::now();
        while !is_there(&here).await {
            assert!(begin.elapsed() < LONG_WAIT, "{lost:?} did not come back");
            tokio::time::sleep(LOOK).await;
        }
        until_all_are_found(&reader, &chats, 3).await;
        // It is the index that it was.
        here.adapter().prepare().await.unwrap();
    }
}

async fn is_there(here: &Here) -> bool {
    here.raw(Method::Get, "-1", None).await.0 == 200 && here.raw(Method::Get, "-pointer/_doc/live", None).await.0 == 200
}

/// Some documents are there, with and without a checkpoint that covers them, and some were on their way.
async fn a_server_that_dies_in_the_middle_of_a_replay_has_everything_in_the_end() {
    let (log, chats) = log_of(3).await;
    let server = containers::own_elasticsearch().await;
    let here = Here::new(containers::elasticsearch_url(&server));
    here.adapter().prepare().await.unwrap();
    let proxy = proxy(&here.address(), "/_bulk").await;
    let _feeding = feed(&log, here.adapter_at(&proxy.url));
    for _ in 0..INDEXED {
        proxy.holds_one().await;
        proxy.release();
    }
    proxy.holds_one().await;
    server.restart().await;
    proxy.release_all();
    until_all_are_found(&here.adapter(), &chats, 3).await;
}

tests!(
    a_server_that_dies_in_the_middle_of_a_replay_has_everything_in_the_end,
    what_is_deleted_while_a_projector_runs_comes_back,
);
