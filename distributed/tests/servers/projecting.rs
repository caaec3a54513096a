//! Projectors that come and go, that run twice, and that die in the middle of a batch do not change the result.

pub(crate) mod hand_over;
pub(crate) mod process;
mod watched_store;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use distributed::elastic::ElasticIndex;
use distributed::kafka::{Cluster, KafkaLog, PARTITIONS};
use distributed::mysql::{MySqlGenerations, MySqlProjections};
use projector::counts::CountsSink;
use projector::search::SearchSink;
use projector::views::ViewsSink;
use projector::{AssignedPartitions, ProjectionSink};
use rand::RngExt;
use read_model::{Pauses, ProjectionStore};
use reqwest::Method;
use serde_json::json;
use service::health::Readiness;
use testkit::polling::eventually;
use testkit::scenarios::{Api, search_path};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::watched_store::{Batches, WatchedStore};
use crate::kafka::until;
use crate::topology::{Servers, one_of_each, servers};

const CHATS: usize = 5;
const CLIENTS: usize = 8;
const MESSAGES_A_CLIENT: usize = 100;

/// Feeds a projection from every partition, beside the partitions' owners, until the future is dropped.
async fn feed_all(sink: Arc<dyn ProjectionSink>, log: Arc<KafkaLog>, pauses: Arc<dyn Pauses>) {
    let (_sharing, owned) = watch::channel(Some(PARTITIONS.partitions().collect::<BTreeSet<_>>()));
    let readiness = Readiness::new();
    let assignment = AssignedPartitions { log, sink, pauses, part: readiness.part("partitions"), readiness };
    assignment.run(owned, |_, _| {}, CancellationToken::new()).await.unwrap();
}

fn sinks(servers: &Servers, batches: &Arc<Batches>) -> [Arc<dyn ProjectionSink>; 3] {
    let store = || {
        let store = MySqlProjections::new(&servers.mysql_url).unwrap();
        Arc::new(WatchedStore { store, batches: Arc::clone(batches) })
    };
    [
        Arc::new(ViewsSink(store())),
        Arc::new(CountsSink(store())),
        Arc::new(SearchSink(Arc::new(ElasticIndex::new(servers.elasticsearch_url).unwrap()))),
    ]
}

/// Starts second owners of every partition again and again, each for a moment. Returns how many there were.
async fn come_and_go(
    sink: Arc<dyn ProjectionSink>,
    log: Arc<KafkaLog>,
    pauses: Arc<dyn Pauses>,
    stop: CancellationToken,
) -> u32 {
    let mut lives = 0;
    while !stop.is_cancelled() {
        let life = Duration::from_millis(rand::rng().random_range(20..600));
        // It is dropped anywhere: in a read, in a statement, before a commit or after it.
        drop(tokio::time::timeout(life, feed_all(Arc::clone(&sink), Arc::clone(&log), Arc::clone(&pauses))).await);
        lives += 1;
    }
    lives
}

async fn post_all(api: &Api, chats: &[String]) {
    let clients = (0..CLIENTS).map(|client| async move {
        for message in 0..MESSAGES_A_CLIENT {
            let chat = &chats[(client + message) % chats.len()];
            api.post(chat, &format!("needle {client} {message}")).await;
        }
    });
    futures_util::future::join_all(clients).await;
}

async fn projectors_that_come_and_go_change_nothing() {
    let (servers, api) = (servers().await, &one_of_each().await.api);
    let (log, stop) = (Arc::new(KafkaLog::connect(Cluster::new(servers.brokers)).unwrap()), CancellationToken::new());
    let batches = Arc::new(Batches::default());
    let pauses: Arc<dyn Pauses> = Arc::new(MySqlGenerations::new(&servers.mysql_url).unwrap());
    let zombies: Vec<_> = sinks(servers, &batches)
        .into_iter()
        .map(|sink| tokio::spawn(come_and_go(sink, Arc::clone(&log), Arc::clone(&pauses), stop.clone())))
        .collect();
    let application = api.application("come and go").await;
    let chats = api.chats(&application, CHATS).await;
    post_all(api, &chats).await;
    stop.cancel();
    for zombie in zombies {
        assert!(zombie.await.unwrap() > 1, "there was no second owner");
    }
    // Each run loop holds a reference to the log.
    until("end of the run loops", || Arc::strong_count(&log) == 1).await;
    let (cut, superseded) = (batches.cut.load(Ordering::SeqCst), batches.superseded.load(Ordering::SeqCst));
    assert!(cut > 0 && superseded > 0, "{batches:?}: no batch was cut off, or none was superseded");
    assert_all_is_shown(servers, api, &application, &chats, CLIENTS * MESSAGES_A_CLIENT / CHATS).await;
}

/// Asserts that each chat has this many messages, and that each message is listed, found and counted once.
async fn assert_all_is_shown(servers: &Servers, api: &Api, application: &str, chats: &[String], count: usize) {
    for chat in chats {
        api.wait_for_messages(chat, count).await;
        let listed = api.pages(&format!("{chat}/messages")).await.concat();
        let numbers: Vec<_> = listed.iter().map(|message| message["number"].as_u64().unwrap()).collect();
        assert_eq!(numbers, (1..=count as u64).collect::<Vec<_>>());
        // Concurrent messages may be indexed in another order than that of their numbers.
        eventually("search for all that is listed", async || {
            let all_found = api.pages(&search_path(chat, "needle")).await.concat();
            if all_found == listed { Ok(()) } else { Err(all_found.len()) }
        })
        .await;
    }
    api.read_until(application, |answer| answer.json["chats_count"] == chats.len()).await;
    let store = MySqlProjections::new(&servers.mysql_url).unwrap();
    for partition in PARTITIONS.partitions() {
        assert_eq!(store.dead_letters(partition, 10).await.unwrap(), []);
    }
}

async fn a_key_is_answered_again_through_another_command_api() {
    let api = &crate::topology::two_of_each().await.api;
    let chat = api.chat(&api.application("keys").await).await;
    let (path, body) = (format!("{chat}/messages"), json!({ "message": { "body": "once" } }));
    let headers = [("content-type", "application/json"), ("idempotency-key", "a-key-of-16-chars")];
    let began = Instant::now();
    for _ in 0..4 {
        let answer = api.write_with(Method::POST, &path, &headers[1..], &body).await;
        assert_eq!((answer.status, answer.number()), (201, 1), "{answer:?}");
    }
    assert_eq!(api.post(&chat, "next").await, 2);
    assert!(began.elapsed() < Duration::from_secs(30));
}

tests!(
    projectors_that_come_and_go_change_nothing,
    a_key_is_answered_again_through_another_command_api;
    modules: hand_over, process
);
