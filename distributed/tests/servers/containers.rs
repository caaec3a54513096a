//! The servers in their containers.
//!
//! Where a variable such as TALLY_TEST_REDIS_URL names a server, the tests use that server and start no container.

use std::net::TcpListener;
use std::time::Duration;

use distributed::elastic::ElasticIndex;
use distributed::kafka::{Cluster, KafkaLog};
use parking_lot::Mutex;
use sqlx::mysql::MySqlConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use testcontainers::bollard::Docker;
use testcontainers::core::IntoContainerPort;
use testcontainers::core::client::docker_client_instance;
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, ContainerRequest, GenericImage, ImageExt};
use testkit::polling::{eventually, eventually_within};
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::runs;

/// Longest wait for a server to answer.
const READY_WAIT: Duration = Duration::from_secs(120);

/// A server in Java lives for a test, so the second of its compilers would take more time than it saves.
const JAVA_OPTIONS: (&str, &str) = ("JAVA_TOOL_OPTIONS", "-XX:TieredStopAtLevel=1");

/// A container, and the port of this machine that leads to it. The port stays the same over restarts.
pub(crate) struct Server {
    pub(crate) container: ContainerAsync<GenericImage>,
    pub(crate) port: u16,
}

impl Server {
    /// Kills the server and starts it again with what is on its disk. The server takes a while until it answers.
    pub(crate) async fn restart(&self) {
        let docker = Docker::connect_with_defaults().unwrap();
        docker.kill_container(self.container.id(), None).await.unwrap();
        let has_ended = async || (!self.container.is_running().await.unwrap()).then_some(());
        wait_for("the end of a server", has_ended).await;
        self.container.start().await.unwrap();
    }

    /// Freezes the server until it is unpaused. The freezer of cgroup v1 does not always catch every thread, and its caller has
    /// to try again: <https://github.com/opencontainers/runc/pull/4388>.
    pub(crate) async fn pause(&self) {
        eventually("a paused server", async || self.container.pause().await).await;
    }
}

/// The containers of shared servers, until the end of the run.
static CONTAINERS: Mutex<Vec<ContainerAsync<GenericImage>>> = Mutex::new(Vec::new());

/// Connects to the Docker engine, if it answers.
pub(crate) async fn connect_to_engine() -> Result<Docker, String> {
    let docker = docker_client_instance().await.map_err(|error| error.to_string())?;
    docker.ping().await.map_err(|error| format!("no Docker engine answers ({error}); see make stack"))?;
    Ok(docker)
}

/// Removes every container of this run. The error names those that could not be removed.
pub(crate) async fn remove(docker: &Docker) -> Result<(), String> {
    let shared = std::mem::take(&mut *CONTAINERS.lock());
    for container in shared {
        // A container that is left here is removed, or reported, below.
        drop(container.rm().await);
    }
    runs::end(docker).await
}

/// A server that all tests share. It is started when a test first needs it.
struct Shared {
    url: OnceCell<String>,
    /// A variable that may name another server.
    variable: Option<&'static str>,
}

impl Shared {
    const fn new(variable: Option<&'static str>) -> Self {
        Self { url: OnceCell::const_new(), variable }
    }

    async fn url(&'static self, start: impl AsyncFnOnce() -> Server, url: fn(&Server) -> String) -> &'static str {
        let start = || async move {
            if let Some(Ok(url)) = self.variable.map(std::env::var) {
                return url;
            }
            let server = start().await;
            let url = url(&server);
            CONTAINERS.lock().push(server.container);
            url
        };
        self.url.get_or_init(start).await
    }
}

/// The Redis that all tests share.
pub(crate) async fn redis() -> &'static str {
    static REDIS: Shared = Shared::new(Some("TALLY_TEST_REDIS_URL"));
    REDIS.url(own_redis, redis_url).await
}

/// The brokers of the Kafka that all tests share.
pub(crate) async fn kafka() -> &'static str {
    static KAFKA: Shared = Shared::new(Some("TALLY_TEST_KAFKA_BROKERS"));
    KAFKA.url(|| own_kafka(None), brokers).await
}

/// The brokers of a Kafka whose topic stops projectors. The tests that check this share it.
pub(crate) async fn spoilt_kafka() -> &'static str {
    static KAFKA: Shared = Shared::new(None);
    KAFKA.url(|| own_kafka(None), brokers).await
}

/// The Elasticsearch that all tests share.
pub(crate) async fn elasticsearch() -> &'static str {
    static ELASTICSEARCH: Shared = Shared::new(Some("TALLY_TEST_ELASTICSEARCH_URL"));
    ELASTICSEARCH.url(own_elasticsearch, elasticsearch_url).await
}

/// The MySQL that all tests share. Its URL names no database.
pub(crate) async fn mysql() -> &'static str {
    static MYSQL: Shared = Shared::new(Some("TALLY_TEST_MYSQL_URL"));
    MYSQL.url(own_mysql, mysql_url).await
}

/// An Elasticsearch that one test has for itself.
pub(crate) async fn own_elasticsearch() -> Server {
    let official = "docker.elastic.co/elasticsearch/elasticsearch:7.17.29";
    let request = image("TALLY_ELASTICSEARCH_IMAGE", official)
        .with_env_var("discovery.type", "single-node")
        .with_env_var("xpack.security.enabled", "false")
        .with_env_var("ES_JAVA_OPTS", "-Xms512m -Xmx512m")
        .with_env_var(JAVA_OPTIONS.0, JAVA_OPTIONS.1);
    let server = start(request, 9200).await;
    let index = ElasticIndex::with_prefix(&elasticsearch_url(&server), "ready").unwrap();
    wait_for("Elasticsearch", async || index.prepare().await.ok()).await;
    server
}

pub(crate) fn elasticsearch_url(server: &Server) -> String {
    format!("http://127.0.0.1:{}", server.port)
}

/// A second port of a Kafka. Clients that bootstrap there are told to connect to the advertised port.
pub(crate) struct SecondListener {
    pub(crate) port: u16,
    pub(crate) advertised: u16,
}

/// A Kafka that one test has for itself.
pub(crate) async fn own_kafka(side: Option<SecondListener>) -> Server {
    let port = free_port();
    let side = side.unwrap_or_else(|| SecondListener { port: free_port(), advertised: port });
    let SecondListener { port: side_port, advertised } = side;
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
    let mut request = image("TALLY_KAFKA_IMAGE", "apache/kafka:4.1.1").with_env_var(JAVA_OPTIONS.0, JAVA_OPTIONS.1);
    for (name, value) in settings {
        request = request.with_env_var(format!("KAFKA_{name}"), value);
    }
    let server = start_at(request.with_mapped_port(side_port, side_port.tcp()), port, port).await;
    let cluster = Cluster { brokers: brokers(&server), topic: "ready".to_owned() };
    let log = KafkaLog::connect(cluster).unwrap();
    wait_for("Kafka", async || log.prepare().await.ok()).await;
    server
}

pub(crate) fn brokers(server: &Server) -> String {
    format!("127.0.0.1:{}", server.port)
}

/// A MySQL that one test has for itself, with a database `tally`.
pub(crate) async fn own_mysql() -> Server {
    let request = image("TALLY_MYSQL_IMAGE", "mysql:8.4");
    let request = request.with_env_var("MYSQL_ROOT_PASSWORD", "root").with_env_var("MYSQL_DATABASE", "tally");
    let request = request.with_cmd([
        "mysqld",
        // Concurrent tests have one Tally each, and so need more connections than a server of one Tally.
        "--max-connections=1000",
        // No test cuts the power: what is committed is in the kernel's memory, and tests do not wait for the disk.
        "--skip-log-bin",
        "--innodb-flush-log-at-trx-commit=2",
    ]);
    let server = start(request, 3306).await;
    let options: MySqlConnectOptions = mysql_url(&server).parse().unwrap();
    wait_for("MySQL", async || options.connect().await.ok()?.close().await.ok()).await;
    server
}

/// Creates a database on the MySQL that all tests share, and returns its URL.
pub(crate) async fn database(name: &str) -> String {
    let (server, name) = (mysql().await, format!("{name}_{}", Uuid::new_v4().simple()));
    let mut connection = server.parse::<MySqlConnectOptions>().unwrap().connect().await.unwrap();
    sqlx::query(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut connection).await.unwrap();
    format!("{server}/{name}")
}

pub(crate) fn mysql_url(server: &Server) -> String {
    format!("mysql://root:root@127.0.0.1:{}", server.port)
}

/// The command with which compose starts Redis.
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

/// A script that starts [`REDIS`] on the saved data, or on none, where a test has asked for that while Redis ran.
const RESTORE_REDIS: &str = "set -e
cd /data
if [ -e empty ]; then rm -rf empty appendonlydir; fi
if [ -e saved ]; then rm -rf appendonlydir; mv saved appendonlydir; fi
exec \"$@\"";

/// A Redis that one test has for itself, as compose starts it.
pub(crate) async fn own_redis() -> Server {
    start_redis(&REDIS).await
}

/// A Redis that starts with the data in `/data/saved`, if that exists, and with no data if `/data/empty` exists.
pub(crate) async fn changeable_redis() -> Server {
    start_redis(&[&["sh", "-c", RESTORE_REDIS, "redis"], REDIS.as_slice()].concat()).await
}

async fn start_redis(command: &[&str]) -> Server {
    let server = start(redis_image().with_cmd(command.iter().copied()), 6379).await;
    wait_for_redis(&server).await;
    server
}

/// A Redis with the label of another run.
pub(crate) async fn redis_of_run(run: &str) -> Server {
    start(redis_image().with_label(runs::LABEL, run), 6379).await
}

fn redis_image() -> ContainerRequest<GenericImage> {
    image("TALLY_REDIS_IMAGE", "redis:7.4")
}

/// Waits until a Redis answers.
pub(crate) async fn wait_for_redis(server: &Server) {
    let url = redis_url(server);
    wait_for("Redis", async || {
        let client = redis::Client::open(url.as_str()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.ok()?;
        redis::cmd("PING").query_async::<String>(&mut connection).await.ok()
    })
    .await;
}

pub(crate) fn redis_url(server: &Server) -> String {
    format!("redis://127.0.0.1:{}", server.port)
}

/// Polls until the answer is `Some`, and returns its value.
pub(crate) async fn wait_for<T>(what: &str, poll: impl AsyncFn() -> Option<T>) -> T {
    eventually_within(READY_WAIT, what, async || poll().await.ok_or("nothing")).await
}

fn image(variable: &str, official: &str) -> ContainerRequest<GenericImage> {
    let name = std::env::var(variable).unwrap_or_else(|_| official.to_owned());
    // The tag is behind the last colon. A colon before a slash belongs to the port of a registry.
    let (name, tag) = match name.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, tag),
        _ => (name.as_str(), "latest"),
    };
    GenericImage::new(name, tag).with_label(runs::LABEL, runs::name())
}

async fn start(request: ContainerRequest<GenericImage>, port: u16) -> Server {
    start_at(request, free_port(), port).await
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

async fn start_at(request: ContainerRequest<GenericImage>, host_port: u16, port: u16) -> Server {
    let request = request.with_mapped_port(host_port, port.tcp()).with_startup_timeout(READY_WAIT);
    Server { container: request.start().await.unwrap(), port: host_port }
}
