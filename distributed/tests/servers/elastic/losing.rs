//! A projector fills its index completely, also when the index is deleted or the server dies during its work.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use distributed::elastic::ElasticIndex;
use distributed::kafka::{KafkaLog, PARTITIONS};
use elasticsearch::http::Method;
use event_log::EventLog;
use events::ChatKey;
use projector::AssignedPartitions;
use projector::search::SearchSink;
use read_model::{Page, SearchIndex, SearchText};
use service::health::Readiness;
use testkit::polling::{eventually_within, until};
use thiserror_ext::AsReport;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::server::{TestServer, on_a_server};
use crate::containers;
use crate::fault_proxy::{FaultProxy, Mode};
use crate::kafka::support::{fresh_chat, message, open, server};

/// Longest wait for an event that must happen.
const LONG_WAIT: Duration = Duration::from_secs(180);
/// Chats of a log. They are in most partitions, and each partition must begin anew by itself.
const CHATS: usize = 12;
/// Batches of a replay that the server indexes before it dies.
const INDEXED: usize = 3;

/// A new log with this many messages in each chat.
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
fn feed(elastic: &TestServer, log: &Arc<KafkaLog>, index: impl SearchIndex + 'static) -> DropGuard {
    let (sharing, owned) = watch::channel(Some(PARTITIONS.partitions().collect::<BTreeSet<_>>()));
    let (sink, readiness) = (Arc::new(SearchSink(Arc::new(index))), Readiness::new());
    let (log, pauses) = (Arc::clone(log) as _, Arc::new(elastic.generations()));
    let assignment = AssignedPartitions { log, sink, pauses, part: readiness.part("partitions"), readiness };
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

/// Waits until search finds exactly the messages 1 to `messages` in every chat.
async fn wait_until_all_are_found(index: &ElasticIndex, chats: &[ChatKey], messages: u32) {
    for chat in chats {
        let what = format!("index of all messages of {chat}");
        eventually_within(LONG_WAIT, &what, async || check_all_are_found(index, *chat, messages).await).await;
    }
}

/// Checks that search finds exactly the messages 1 to `messages` in a chat. The error has the numbers that it finds instead.
async fn check_all_are_found(index: &ElasticIndex, chat: ChatKey, messages: u32) -> Result<(), String> {
    let text = SearchText::new("body").unwrap();
    let found = index.search(chat, &text, Page::FIRST).await.map_err(|error| error.to_report_string())?;
    let numbers: Vec<_> = found.value.items.iter().map(|message| message.number.get()).collect();
    if numbers == (1..=messages).collect::<Vec<_>>() { Ok(()) } else { Err(format!("only {numbers:?}")) }
}

async fn what_is_deleted_while_a_projector_runs_is_made_again() {
    let (log, chats) = log_of(3).await;
    on_a_server(|elastic| delete_and_wait(elastic, log, chats)).await;
}

async fn delete_and_wait(elastic: Arc<TestServer>, log: Arc<KafkaLog>, chats: Vec<ChatKey>) {
    let reader = elastic.adapter();
    let _feeding = feed(&elastic, &log, elastic.adapter());
    wait_until_all_are_found(&reader, &chats, 3).await;
    // Deletes the index, then index and pointer, then the pointer. No message is posted that would wake the projector.
    for lost in [["-1"].as_slice(), &["-1", "-pointer"], &["-pointer"]] {
        for index in lost {
            assert_eq!(elastic.raw(Method::Delete, index, None).await.0, 200);
        }
        until(LONG_WAIT, &format!("new {lost:?}"), async || is_there(&elastic).await).await;
        wait_until_all_are_found(&reader, &chats, 3).await;
        // The new index has the right settings.
        elastic.adapter().prepare().await.unwrap();
    }
}

async fn is_there(elastic: &TestServer) -> bool {
    elastic.raw(Method::Get, "-1", None).await.0 == 200
        && elastic.raw(Method::Get, "-pointer/_doc/live", None).await.0 == 200
}

/// When the server dies, some documents are indexed with a checkpoint, some without, and some are still being sent.
async fn a_server_that_dies_in_the_middle_of_a_replay_has_everything_in_the_end() {
    let (log, chats) = log_of(3).await;
    let server = containers::own_elasticsearch().await;
    let elastic = TestServer::new(containers::elasticsearch_url(&server));
    elastic.adapter().prepare().await.unwrap();
    let proxy = FaultProxy::holding(&elastic.address(), "/_bulk").await;
    let _feeding = feed(&elastic, &log, elastic.adapter_by(&proxy));
    for _ in 0..INDEXED {
        proxy.wait_until_held().await;
        proxy.release_one();
    }
    proxy.wait_until_held().await;
    server.restart().await;
    proxy.set(Mode::Forward);
    wait_until_all_are_found(&elastic.adapter(), &chats, 3).await;
}

tests!(
    a_server_that_dies_in_the_middle_of_a_replay_has_everything_in_the_end,
    what_is_deleted_while_a_projector_runs_is_made_again,
);
