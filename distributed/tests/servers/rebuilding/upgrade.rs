//! Projectors make an index anew that an earlier release has left, while people search it.

use std::sync::Arc;
use std::time::Duration;

use distributed::elastic::{ElasticIndex, PREFIX};
use distributed::kafka::{Cluster, KafkaLog};
use event_log::EventLog;
use events::{ChatKey, Event, EventId, MessageNumber, MessagePosted, Record, UnixMillis};
use projector::process::Process;
use projector::search::SearchSink;
use projector::{Feed, ProjectionSink};
use read_model::Projection;
use testkit::polling::until;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::containers::{self, brokers, elasticsearch_url};
use crate::elastic::{TestServer, find_numbers, live_version, make_version_1};
use crate::kafka::fresh_chat;
use crate::topology::projector_config;

/// Longest wait for the end of a rebuild. Another process may have to wait for its turn.
const LONG_WAIT: Duration = Duration::from_secs(60);

async fn post(log: &KafkaLog, chat: ChatKey, number: u32, body: &str) {
    let number = MessageNumber::new(number).unwrap();
    let posted = MessagePosted { token: chat.token, chat_number: chat.number, number, body: body.to_owned() };
    let event = Event::MessagePosted(posted);
    log.append(Record::encode(&event, EventId(Uuid::now_v7()), UnixMillis(1_782_898_200_123)).unwrap()).await.unwrap();
}

/// Feeds the index up to the log's end, as a projector of the earlier release did.
async fn feed(log: &Arc<KafkaLog>, index: ElasticIndex) {
    let sink: Arc<dyn ProjectionSink> = Arc::new(SearchSink(Arc::new(index)));
    for (partition, end) in log.end().await.unwrap().bounds() {
        let feed = Feed { log: Arc::clone(log) as _, sink: Arc::clone(&sink), partition };
        feed.catch_up(end, |_| {}).await.unwrap();
    }
}

async fn projectors_make_an_index_of_an_earlier_version_anew_while_people_search() {
    let (kafka, server) = (containers::own_kafka(None).await, containers::own_elasticsearch().await);
    let (brokers, url) = (brokers(&kafka), elasticsearch_url(&server));
    let elastic = TestServer { prefix: PREFIX.to_owned(), ..TestServer::new(url.clone()) };
    elastic.adapter().prepare().await.unwrap();
    make_version_1(&elastic).await;
    let log = Arc::new(KafkaLog::connect(Cluster::new(&brokers)).unwrap());
    log.prepare().await.unwrap();
    let (chat, reader) = (fresh_chat(), elastic.adapter());
    post(&log, chat, 1, "øl needle").await;
    post(&log, chat, 2, "Smørrebrød needle").await;
    feed(&log, elastic.adapter()).await;
    assert_eq!(find_numbers(&reader, chat, "ol").await, [0; 0]);

    let (stop, mut running) = (CancellationToken::new(), JoinSet::new());
    for _ in 0..2 {
        let config = projector_config(Projection::Search, &brokers, &url);
        let process = Process::start(&config, stop.clone()).await.unwrap();
        running.spawn(async move { process.wait().await.unwrap() });
    }
    until(LONG_WAIT, "what only the current version finds", async || {
        assert_eq!(find_numbers(&reader, chat, "needle").await, [1, 2]);
        assert_eq!(find_numbers(&reader, chat, "øl").await, [1]);
        find_numbers(&reader, chat, "ol").await == [1]
    })
    .await;
    assert_eq!(live_version(&elastic).await, Some(Projection::Search.version().into()));
    post(&log, chat, 3, "Łódź needle").await;
    until(LONG_WAIT, "a message of now", async || {
        assert_eq!(find_numbers(&reader, chat, "smorrebrod").await, [2]);
        find_numbers(&reader, chat, "lodz").await == [3]
    })
    .await;
    stop.cancel();
    running.join_all().await;
}

tests!(projectors_make_an_index_of_an_earlier_version_anew_while_people_search);
