//! Projectors make anew what an earlier release has left, while people use it.

use std::sync::Arc;
use std::time::Duration;

use distributed::elastic::PREFIX;
use distributed::kafka::{Cluster, KafkaLog};
use event_log::{EventLog, MarkerLog};
use events::{
    ChatCreated, ChatKey, Event, EventId, MessageNumber, MessagePosted, Offset, Position, Record, UnixMillis,
};
use projector::counts::CountsSink;
use projector::process::Process;
use projector::search::SearchSink;
use projector::views::ViewsSink;
use projector::{Feed, ProjectionSink};
use read_model::{LastMessage, Projection, Views};
use testkit::polling::until;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::containers::{self, brokers, elasticsearch_url};
use crate::elastic::{TestServer, find_numbers, live_version, make_version_1};
use crate::kafka::fresh_chat;
use crate::mysql::server::Database;
use crate::topology::projector_config;

/// When every event was made.
const CREATED_AT: UnixMillis = UnixMillis(1_782_898_200_123);
/// Longest wait for the end of a rebuild. Another process may have to wait for its turn.
const LONG_WAIT: Duration = Duration::from_secs(180);

async fn post(log: &KafkaLog, chat: ChatKey, number: u32, body: &str) {
    let number = MessageNumber::new(number).unwrap();
    let posted =
        MessagePosted { token: chat.token, chat_number: chat.number, number, body: body.to_owned(), author: None };
    let event = Event::MessagePosted(posted);
    log.append(Record::encode(&event, EventId(Uuid::now_v7()), CREATED_AT).unwrap()).await.unwrap();
}

/// Feeds a projection up to the log's end.
async fn feed(log: &Arc<KafkaLog>, sink: Arc<dyn ProjectionSink>) {
    for (partition, end) in log.end().await.unwrap().bounds() {
        let feed = Feed::new(Arc::clone(log) as _, Arc::clone(&sink), partition);
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
    feed(&log, Arc::new(SearchSink(Arc::new(elastic.adapter())))).await;
    assert_eq!(find_numbers(&reader, chat, "ol").await, [0; 0]);

    let (stop, mut running) = (CancellationToken::new(), JoinSet::new());
    start_two(Projection::Search, &brokers, &url, &stop, &mut running).await;
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

/// Starts two projectors of one kind.
async fn start_two(
    projection: Projection,
    brokers: &str,
    url: &str,
    stop: &CancellationToken,
    running: &mut JoinSet<()>,
) {
    for _ in 0..2 {
        let process = Process::start(&projector_config(projection, brokers, url), stop.clone()).await.unwrap();
        running.spawn(async move { process.wait().await.unwrap() });
    }
}

/// Takes from the rows what earlier releases did not write.
const MAKE_VERSION_1: [&str; 7] = [
    "DELETE FROM generations",
    "DELETE FROM feed",
    "UPDATE checkpoints SET fed_offset = NULL",
    "UPDATE applications SET partition_id = NULL, log_offset = NULL, created_at_ms = NULL",
    "UPDATE chats SET partition_id = NULL, log_offset = NULL, created_at_ms = NULL",
    "UPDATE messages SET log_offset = NULL, created_at_ms = NULL",
    "UPDATE chat_counts SET log_offset = NULL, placed_count = NULL",
];

async fn projectors_make_tables_of_an_earlier_version_anew_while_people_read() {
    let (kafka, database) = (containers::own_kafka(None).await, Database::new().await);
    let (brokers, url) = (brokers(&kafka), database.url());
    let log = Arc::new(KafkaLog::connect(Cluster::new(&brokers)).unwrap());
    log.prepare().await.unwrap();
    let (chat, store) = (fresh_chat(), database.projections());
    let created = Event::ChatCreated(ChatCreated { token: chat.token, number: chat.number });
    log.append(Record::encode(&created, EventId(Uuid::now_v7()), CREATED_AT).unwrap()).await.unwrap();
    post(&log, chat, 1, "before").await;
    feed(&log, Arc::new(ViewsSink(Arc::clone(&store) as _))).await;
    feed(&log, Arc::new(CountsSink(Arc::clone(&store) as _))).await;
    for statement in MAKE_VERSION_1 {
        database.run(statement).await;
    }

    let (stop, mut running) = (CancellationToken::new(), JoinSet::new());
    let projections = [Projection::Views, Projection::Counts];
    for projection in projections {
        start_two(projection, &brokers, &url, &stop, &mut running).await;
    }
    // Reads and posts through the whole upgrade: nobody sees less than before.
    let (generations, mut posted) = (database.operated(), 1);
    until(LONG_WAIT, "the current version", async || {
        posted += 1;
        post(&log, chat, posted, "meanwhile").await;
        let shown = store.chat(chat, LastMessage::Skip).await.unwrap().unwrap();
        let count = u32::try_from(shown.value.messages_count).unwrap();
        assert!(store.reached(Projection::Views, &shown.position, LONG_WAIT).await.unwrap());
        let last = store.message(chat, MessageNumber::new(count).unwrap()).await.unwrap();
        assert!(last.is_some(), "message {count} was counted, and is not there");
        let [views, counts] = projections.map(|projection| generations.live(projection));
        [views.await.unwrap().version, counts.await.unwrap().version] == projections.map(Projection::version)
    })
    .await;
    let first = store.message(chat, MessageNumber::new(1).unwrap()).await.unwrap().unwrap();
    let partition = log.partitions().partition_of(&chat.into());
    assert_eq!(first.position, Position::up_to(partition, Offset(2)), "its row names its event");
    until(LONG_WAIT, "all messages", async || {
        store.chat(chat, LastMessage::Skip).await.unwrap().unwrap().value.messages_count == u64::from(posted)
    })
    .await;
    stop.cancel();
    running.join_all().await;
}

tests!(
    projectors_make_an_index_of_an_earlier_version_anew_while_people_search,
    projectors_make_tables_of_an_earlier_version_anew_while_people_read,
);
