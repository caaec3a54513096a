//! The servers, each in a container that is started when it is first asked for.
//!
//! A server that is named by a variable (TALLY_TEST_REDIS_URL and so on) is used as it is, and no container is started.

use std::net::TcpListener;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use distributed::kafka::{Cluster, KafkaLog};
use sqlx::mysql::MySqlConnectOptions;
use sqlx::{ConnectOptions, Connection};
use testcontainers::core::IntoContainerPort;
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, ContainerRequest, GenericImage, ImageExt};
use tokio::sync::OnceCell;

/// Longest wait for a server to answer.
const READY_WAIT: Duration = Duration::from_secs(120);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// A container and the port of this machine that leads to it, which stays the same over restarts.
pub(crate) struct Server {
    pub(crate) container: ContainerAsync<GenericImage>,
    pub(crate) port: u16,
}

/// Containers that all tests share, until the end of the run.
static SHARED: Mutex<Vec<ContainerAsync<GenericImage>>> = Mutex::new(Vec::new());

/// Whether a Docker engine answers.
pub(crate) async fn engine() -> Result<(), String> {
    let docker = testcontainers::bollard::Docker::connect_with_defaults().map_err(|error| error.to_string())?;
    docker.ping().await.map(drop).map_err(|error| format!("no Docker engine answers ({error}); see make stack"))
}

/// Removes every container that was shared.
pub(crate) async fn remove() {
    let shared = std::mem::take(&mut *SHARED.lock().unwrap_or_else(PoisonError::into_inner));
    for container in shared {
        container.rm().await.unwrap();
    }
}

/// The Redis that all tests share.
pub(crate) async fn redis() -> &'static str {
    static URL: OnceCell<String> = OnceCell::const_new();
    URL.get_or_init(async || {
        if let Ok(url) = std::env::var("TALLY_TEST_REDIS_URL") {
            return url;
        }
        let server = own_redis().await;
        let url = redis_url(&server);
        share(server);
        url
    })
    .await
}

/// The brokers of the Kafka that all tests share.
pub(crate) async fn kafka() -> &'static str {
    static BROKERS: OnceCell<String> = OnceCell::const_new();
    BROKERS
        .get_or_init(async || {
            if let Ok(brokers) = std::env::var("TALLY_TEST_KAFKA_BROKERS") {
                return brokers;
            }
            let port = free_port();
            let settings = [
                ("NODE_ID", "1".to_owned()),
                ("PROCESS_ROLES", "broker,controller".to_owned()),
                ("LISTENERS", format!("PLAINTEXT://0.0.0.0:{port},CONTROLLER://127.0.0.1:9093")),
                ("ADVERTISED_LISTENERS", format!("PLAINTEXT://127.0.0.1:{port}")),
                ("CONTROLLER_LISTENER_NAMES", "CONTROLLER".to_owned()),
                ("CONTROLLER_QUORUM_VOTERS", "1@127.0.0.1:9093".to_owned()),
                ("LISTENER_SECURITY_PROTOCOL_MAP", "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT".to_owned()),
                ("OFFSETS_TOPIC_REPLICATION_FACTOR", "1".to_owned()),
                ("GROUP_INITIAL_REBALANCE_DELAY_MS", "0".to_owned()),
                ("AUTO_CREATE_TOPICS_ENABLE", "false".to_owned()),
            ];
            let mut request: ContainerRequest<GenericImage> = image("TALLY_KAFKA_IMAGE", "apache/kafka:4.1.1").into();
            for (name, value) in settings {
                request = request.with_env_var(format!("KAFKA_{name}"), value);
            }
            let server = started_at(request, port, port).await;
            let brokers = format!("127.0.0.1:{}", server.port);
            share(server);
            let cluster = Cluster { brokers: brokers.clone(), topic: "ready".to_owned() };
            let log = KafkaLog::connect(cluster).unwrap();
            ready("Kafka", async || log.prepare().await.ok()).await;
            brokers
        })
        .await
}

/// The Elasticsearch that all tests share.
pub(crate) async fn elasticsearch() -> &'static str {
    static URL: OnceCell<String> = OnceCell::const_new();
    URL.get_or_init(async || {
        if let Ok(url) = std::env::var("TALLY_TEST_ELASTICSEARCH_URL") {
            return url;
        }
        let official = "docker.elastic.co/elasticsearch/elasticsearch:7.17.29";
        let request: ContainerRequest<GenericImage> = image("TALLY_ELASTICSEARCH_IMAGE", official).into();
        let request = request
            .with_env_var("discovery.type", "single-node")
            .with_env_var("xpack.security.enabled", "false")
            .with_env_var("ES_JAVA_OPTS", "-Xms512m -Xmx512m");
        let server = started(request, 9200).await;
        let url = format!("http://127.0.0.1:{}", server.port);
        share(server);
        let index = distributed::elastic::ElasticIndex::with_prefix(&url, "ready").unwrap();
        ready("Elasticsearch", async || index.prepare().await.ok()).await;
        url
    })
    .await
}

/// The MySQL that all tests share, without a database.
pub(crate) async fn mysql() -> &'static str {
    static URL: OnceCell<String> = OnceCell::const_new();
    URL.get_or_init(async || {
        if let Ok(url) = std::env::var("TALLY_TEST_MYSQL_URL") {
            return url;
        }
        let server = own_mysql().await;
        let url = mysql_url(&server);
        share(server);
        url
    })
    .await
}

/// A MySQL that one test has for itself, with a database `tally`.
pub(crate) async fn own_mysql() -> Server {
    let request: ContainerRequest<GenericImage> = image("TALLY_MYSQL_IMAGE", "mysql:8.4").into();
    let request = request.with_env_var("MYSQL_ROOT_PASSWORD", "root").with_env_var("MYSQL_DATABASE", "tally");
    let server = started(request, 3306).await;
    let options: MySqlConnectOptions = mysql_url(&server).parse().unwrap();
    ready("MySQL", async || options.connect().await.ok()?.close().await.ok()).await;
    server
}

pub(crate) fn mysql_url(server: &Server) -> String {
    format!("mysql://root:root@127.0.0.1:{}", server.port)
}

/// A Redis that one test has for itself, as compose starts it.
pub(crate) async fn own_redis() -> Server {
    let command = ["redis-server", "--appendonly", "yes", "--maxmemory-policy", "noeviction", "--bind", "0.0.0.0"];
    let command = command.into_iter().chain(["--protected-mode", "no"]);
    let server = started(image("TALLY_REDIS_IMAGE", "redis:7.4").with_cmd(command), 6379).await;
    let url = redis_url(&server);
    ready("Redis", async || {
        let client = redis::Client::open(url.as_str()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.ok()?;
        redis::cmd("PING").query_async::<String>(&mut connection).await.ok()
    })
    .await;
    server
}

pub(crate) fn redis_url(server: &Server) -> String {
    format!("redis://127.0.0.1:{}", server.port)
}

/// Looks again and again until there is something.
pub(crate) async fn ready<T>(what: &str, look: impl AsyncFn() -> Option<T>) -> T {
    let deadline = Instant::now() + READY_WAIT;
    loop {
        if let Some(there) = look().await {
            return there;
        }
        assert!(Instant::now() < deadline, "{what} did not answer within {READY_WAIT:?}");
        tokio::time::sleep(LOOK).await;
    }
}

fn image(variable: &str, official: &str) -> GenericImage {
    let name = std::env::var(variable).unwrap_or_else(|_| official.to_owned());
    // A port of a registry comes before a slash, a tag after the last colon.
    let (name, tag) = match name.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, tag),
        _ => (name.as_str(), "latest"),
    };
    GenericImage::new(name, tag)
}

async fn started(request: impl Into<ContainerRequest<GenericImage>>, port: u16) -> Server {
    started_at(request.into(), free_port(), port).await
}

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

async fn started_at(request: ContainerRequest<GenericImage>, host_port: u16, port: u16) -> Server {
    let request = request.with_mapped_port(host_port, port.tcp()).with_startup_timeout(READY_WAIT);
    Server { container: request.start().await.unwrap(), port: host_port }
}

fn share(server: Server) {
    SHARED.lock().unwrap_or_else(PoisonError::into_inner).push(server.container);
}
