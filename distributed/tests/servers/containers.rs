//! The servers, each in a container that is started when it is first asked for.
//!
//! A server that is named by a variable (TALLY_TEST_REDIS_URL and so on) is used as it is, and no container is started.

use std::net::TcpListener;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use distributed::elastic::ElasticIndex;
use distributed::kafka::{Cluster, KafkaLog};
use sqlx::mysql::MySqlConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use testcontainers::bollard::Docker;
use testcontainers::core::IntoContainerPort;
use testcontainers::core::client::docker_client_instance;
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, ContainerRequest, GenericImage, ImageExt};
use testkit::scenarios::eventually;
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::runs;

/// Longest wait for a server to answer.
const READY_WAIT: Duration = Duration::from_secs(120);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// A container and the port of this machine that leads to it, which stays the same over restarts.
pub(crate) struct Server {
    pub(crate) container: ContainerAsync<GenericImage>,
    pub(crate) port: u16,
}

impl Server {
    /// Kills it, which is told nothing, and starts it again with what is on its disk. It takes a while until it answers.
    pub(crate) async fn restart(&self) {
        let docker = Docker::connect_with_defaults().unwrap();
        docker.kill_container(self.container.id(), None).await.unwrap();
        let has_ended = async || (!self.container.is_running().await.unwrap()).then_some(());
        ready("the end of a server", has_ended).await;
        self.container.start().await.unwrap();
    }

    /// Freezes it until it is unpaused. The freezer of cgroup v1 does not always catch every thread, and leaves it to its
    /// caller to try again: <https://github.com/opencontainers/runc/pull/4388>.
    pub(crate) async fn pause(&self) {
        eventually("a paused server", async || self.container.pause().await).await;
    }
}

/// Containers that all tests share, until the end of the run.
static SHARED: Mutex<Vec<ContainerAsync<GenericImage>>> = Mutex::new(Vec::new());

/// The Docker engine that containers are started in, if it answers.
pub(crate) async fn engine() -> Result<Docker, String> {
    let docker = docker_client_instance().await.map_err(|error| error.to_string())?;
    docker.ping().await.map_err(|error| format!("no Docker engine answers ({error}); see make stack"))?;
    Ok(docker)
}

/// Removes every container of this run, all that can be, before it says what could not be.
pub(crate) async fn remove(docker: &Docker) -> Result<(), String> {
    let shared = std::mem::take(&mut *SHARED.lock().unwrap_or_else(PoisonError::into_inner));
    for container in shared {
        // What this leaves is seen below.
        drop(container.rm().await);
    }
    runs::end(docker).await
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
            let server = own_kafka(None).await;
            let brokers = brokers(&server);
            share(server);
            brokers
        })
        .await
}

/// The brokers of a Kafka whose topic holds what stops projectors, for the tests that have them stopped.
pub(crate) async fn spoilt_kafka() -> &'static str {
    static BROKERS: OnceCell<String> = OnceCell::const_new();
    BROKERS
        .get_or_init(async || {
            let server = own_kafka(None).await;
            let brokers = brokers(&server);
            share(server);
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
        let server = own_elasticsearch().await;
        let url = elasticsearch_url(&server);
        share(server);
        url
    })
    .await
}

/// An Elasticsearch that one test has for itself.
pub(crate) async fn own_elasticsearch() -> Server {
    let official = "docker.elastic.co/elasticsearch/elasticsearch:7.17.29";
    let request = image("TALLY_ELASTICSEARCH_IMAGE", official)
        .with_env_var("discovery.type", "single-node")
        .with_env_var("xpack.security.enabled", "false")
        .with_env_var("ES_JAVA_OPTS", "-Xms512m -Xmx512m");
    let server = started(request, 9200).await;
    let index = ElasticIndex::with_prefix(&elasticsearch_url(&server), "ready").unwrap();
    ready("Elasticsearch", async || index.prepare().await.ok()).await;
    server
}

pub(crate) fn elasticsearch_url(server: &Server) -> String {
    format!("http://127.0.0.1:{}", server.port)
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

/// Another port of a Kafka, which tells those who come to it to come by a third.
pub(crate) struct SideDoor {
    pub(crate) port: u16,
    pub(crate) advertised: u16,
}

/// A Kafka that one test has for itself.
pub(crate) async fn own_kafka(side: Option<SideDoor>) -> Server {
    let port = free_port();
    let side = side.unwrap_or_else(|| SideDoor { port: free_port(), advertised: port });
    let SideDoor { port: side_port, advertised } = side;
    let settings = [
        ("NODE_ID", "1".to_owned()),
        ("PROCESS_ROLES", "broker,controller".to_owned()),
        ("LISTENERS", format!("PLAINTEXT://0.0.0.0:{port},SIDE://0.0.0.0:{side_port},CONTROLLER://127.0.0.1:9093")),
        ("ADVERTISED_LISTENERS", format!("PLAINTEXT://127.0.0.1:{port},SIDE://127.0.0.1:{advertised}")),
        ("CONTROLLER_LISTENER_NAMES", "CONTROLLER".to_owned()),
        ("CONTROLLER_QUORUM_VOTERS", "1@127.0.0.1:9093".to_owned()),
        ("LISTENER_SECURITY_PROTOCOL_MAP", "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SIDE:PLAINTEXT".to_owned()),
        ("INTER_BROKER_LISTENER_NAME", "PLAINTEXT".to_owned()),
        ("OFFSETS_TOPIC_REPLICATION_FACTOR", "1".to_owned()),
        ("GROUP_INITIAL_REBALANCE_DELAY_MS", "0".to_owned()),
        ("AUTO_CREATE_TOPICS_ENABLE", "false".to_owned()),
    ];
    let mut request = image("TALLY_KAFKA_IMAGE", "apache/kafka:4.1.1");
    for (name, value) in settings {
        request = request.with_env_var(format!("KAFKA_{name}"), value);
    }
    let server = started_at(request.with_mapped_port(side_port, side_port.tcp()), port, port).await;
    let cluster = Cluster { brokers: brokers(&server), topic: "ready".to_owned() };
    let log = KafkaLog::connect(cluster).unwrap();
    ready("Kafka", async || log.prepare().await.ok()).await;
    server
}

pub(crate) fn brokers(server: &Server) -> String {
    format!("127.0.0.1:{}", server.port)
}

/// A MySQL that one test has for itself, with a database `tally`.
pub(crate) async fn own_mysql() -> Server {
    let request = image("TALLY_MYSQL_IMAGE", "mysql:8.4");
    let request = request.with_env_var("MYSQL_ROOT_PASSWORD", "root").with_env_var("MYSQL_DATABASE", "tally");
    // Tests that run at once have a Tally each, where a server has one.
    let request = request.with_cmd(["mysqld", "--max-connections=1000"]);
    let server = started(request, 3306).await;
    let options: MySqlConnectOptions = mysql_url(&server).parse().unwrap();
    ready("MySQL", async || options.connect().await.ok()?.close().await.ok()).await;
    server
}

/// A database of its own on the MySQL that all tests share.
pub(crate) async fn database(name: &str) -> String {
    let (server, name) = (mysql().await, format!("{name}_{}", Uuid::new_v4().simple()));
    let mut connection = server.parse::<MySqlConnectOptions>().unwrap().connect().await.unwrap();
    sqlx::query(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut connection).await.unwrap();
    format!("{server}/{name}")
}

pub(crate) fn mysql_url(server: &Server) -> String {
    format!("mysql://root:root@127.0.0.1:{}", server.port)
}

/// How compose starts Redis.
const REDIS: [&str; 9] = [
    "redis-server",
    "--appendonly",
    "yes",
    "--maxmemory-policy",
    "noeviction",
    "--bind",
    "0.0.0.0",
    "--protected-mode",
    "no",
];

/// What comes before that where data is changed while Redis is away: what was saved comes back, or nothing does.
const REDIS_CHANGED: &str = "set -e
cd /data
if [ -e empty ]; then rm -rf empty appendonlydir; fi
if [ -e saved ]; then rm -rf appendonlydir; mv saved appendonlydir; fi
exec \"$@\"";

/// A Redis that one test has for itself, as compose starts it.
pub(crate) async fn own_redis() -> Server {
    redis_by(&REDIS).await
}

/// One that begins with what is in `/data/saved`, if that is there, and with nothing if `/data/empty` is.
pub(crate) async fn changeable_redis() -> Server {
    redis_by(&[&["sh", "-c", REDIS_CHANGED, "redis"], REDIS.as_slice()].concat()).await
}

async fn redis_by(command: &[&str]) -> Server {
    let server = started(redis_image().with_cmd(command.iter().copied()), 6379).await;
    answers(&server).await;
    server
}

/// A Redis that another run seems to have started.
pub(crate) async fn redis_of(run: &str) -> Server {
    started(redis_image().with_label(runs::LABEL, run), 6379).await
}

fn redis_image() -> ContainerRequest<GenericImage> {
    image("TALLY_REDIS_IMAGE", "redis:7.4")
}

/// Waits until a Redis answers.
pub(crate) async fn answers(server: &Server) {
    let url = redis_url(server);
    ready("Redis", async || {
        let client = redis::Client::open(url.as_str()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.ok()?;
        redis::cmd("PING").query_async::<String>(&mut connection).await.ok()
    })
    .await;
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

fn image(variable: &str, official: &str) -> ContainerRequest<GenericImage> {
    let name = std::env::var(variable).unwrap_or_else(|_| official.to_owned());
    // A port of a registry comes before a slash, a tag after the last colon.
    let (name, tag) = match name.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, tag),
        _ => (name.as_str(), "latest"),
    };
    GenericImage::new(name, tag).with_label(runs::LABEL, runs::name())
}

async fn started(request: ContainerRequest<GenericImage>, port: u16) -> Server {
    started_at(request, free_port(), port).await
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

async fn started_at(request: ContainerRequest<GenericImage>, host_port: u16, port: u16) -> Server {
    let request = request.with_mapped_port(host_port, port.tcp()).with_startup_timeout(READY_WAIT);
    Server { container: request.start().await.unwrap(), port: host_port }
}

fn share(server: Server) {
    SHARED.lock().unwrap_or_else(PoisonError::into_inner).push(server.container);
}
