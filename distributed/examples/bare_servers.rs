//! An axum server whose POST only makes one call to Redis and one append to Kafka. `bench servers` compares
//! Tally with it.
//!
//! Its topic has as many partitions as Tally's, its producer uses the acknowledgement, batching time and
//! compression of Tally's producer, and neither connection delays small packets. `bare_servers ADDRESS REDIS_URL KAFKA_BROKERS SECONDS` ends by itself after
//! SECONDS.

use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::post;
use axum::serve::ListenerExt;
use axum::{Json, Router};
use distributed::kafka::PARTITIONS;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{FutureProducer, FutureRecord};
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::io::tcp::TcpSettings;
use redis::{Client, IntoConnectionInfo, RedisError};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

/// The most SECONDS that the program runs.
const MAX_LIFE_SECONDS: u64 = 3_600;
/// Longest wait for an answer of Redis, which may be slow on a busy machine.
const REPLY_TIMEOUT: Duration = Duration::from_secs(10);
const TOPIC: &str = "bare.probe";
const SCRIPT: &str = "return redis.call('INCR', KEYS[1])";

#[derive(Deserialize)]
struct Request {
    message: Fields,
}

#[derive(Deserialize)]
struct Fields {
    body: String,
}

#[derive(Serialize)]
struct Posted {
    number: u64,
}

#[derive(Clone)]
struct Servers {
    redis: ConnectionManager,
    script: String,
    kafka: FutureProducer,
}

async fn post_message(
    State(mut servers): State<Servers>,
    Path((_, chat)): Path<(String, u32)>,
    Json(request): Json<Request>,
) -> Result<(StatusCode, Json<Posted>), StatusCode> {
    let unavailable = |_| StatusCode::SERVICE_UNAVAILABLE;
    let number: u64 = redis::cmd("EVALSHA")
        .arg(&servers.script)
        .arg(1)
        .arg("bare:probe")
        .query_async(&mut servers.redis)
        .await
        .map_err(unavailable)?;
    let partition = i32::try_from(chat % u32::from(PARTITIONS.get())).unwrap_or_default();
    let record = FutureRecord::to(TOPIC).partition(partition).key("key").payload(&request.message.body);
    let sent = servers.kafka.send_result(record).map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    match sent.await {
        Ok(Ok(_)) => Ok((StatusCode::CREATED, Json(Posted { number }))),
        _ => Err(StatusCode::SERVICE_UNAVAILABLE),
    }
}

async fn connect(redis_url: &str, brokers: &str) -> Servers {
    let mut redis = connect_redis(redis_url).await.unwrap_or_else(|error| panic!("{redis_url}: {error}"));
    let load = redis::cmd("SCRIPT").arg("LOAD").arg(SCRIPT).query_async(&mut redis).await;
    let script = load.unwrap_or_else(|error| panic!("SCRIPT LOAD: {error}"));
    create_topic(brokers).await;
    let kafka = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("linger.ms", "0.5")
        .set("compression.type", "lz4")
        .set("socket.nagle.disable", "true")
        .create()
        .unwrap_or_else(|error| panic!("{brokers}: {error}"));
    Servers { redis, script, kafka }
}

async fn connect_redis(url: &str) -> Result<ConnectionManager, RedisError> {
    let info = url.into_connection_info()?.set_tcp_settings(TcpSettings::default().set_nodelay(true));
    let config = ConnectionManagerConfig::new().set_response_timeout(Some(REPLY_TIMEOUT));
    ConnectionManager::new_with_config(Client::open(info)?, config).await
}

async fn create_topic(brokers: &str) {
    let client: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .create()
        .unwrap_or_else(|error| panic!("{brokers}: {error}"));
    let topic = NewTopic::new(TOPIC, PARTITIONS.get().into(), TopicReplication::Fixed(1));
    // An earlier run may have left the topic behind: each topic's own result is ignored.
    client.create_topics([&topic], &AdminOptions::new()).await.unwrap_or_else(|error| panic!("{TOPIC}: {error}"));
}

#[tokio::main]
async fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [address, redis_url, brokers, seconds] = &arguments[..] else {
        panic!("usage: bare_servers ADDRESS REDIS_URL KAFKA_BROKERS SECONDS")
    };
    let life: u64 = seconds.parse().unwrap_or_else(|error| panic!("SECONDS: {error}"));
    let listener = TcpListener::bind(address).await.unwrap_or_else(|error| panic!("{address}: {error}"));
    let listener =
        listener.tap_io(|stream| stream.set_nodelay(true).unwrap_or_else(|error| panic!("nodelay: {error}")));
    let route = "/api/v1/chat_applications/{token}/chats/{chat}/messages";
    let app = Router::new().route(route, post(post_message)).with_state(connect(redis_url, brokers).await);
    let life = Duration::from_secs(life.min(MAX_LIFE_SECONDS));
    let served = tokio::time::timeout(life, axum::serve(listener, app).into_future()).await;
    assert!(served.is_err(), "the server ended early");
}
