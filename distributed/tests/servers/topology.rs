//! All of Tally on all servers. The processes are those of production, but run inside this one.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::LazyLock;

use clap::Parser;
use projector::operate::{OpenOperator, Operator, OperatorCommand, Purpose};
use projector::process::Config;
use read_model::{BackendError, Projection};
use testkit::scenarios::{Api, Port};
use tokio::sync::OnceCell;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::containers;

/// The addresses of the servers.
pub(crate) struct Servers {
    pub(crate) brokers: &'static str,
    pub(crate) redis_url: &'static str,
    pub(crate) mysql_url: String,
    pub(crate) elasticsearch_url: &'static str,
}

/// Running processes.
pub(crate) struct Topology {
    /// A client of all command-apis, in turn.
    pub(crate) api: Api,
    stop: CancellationToken,
    processes: tokio::sync::Mutex<JoinSet<()>>,
}

/// The servers of both topologies of this run. They share one log and one database.
pub(crate) async fn servers() -> &'static Servers {
    static SERVERS: OnceCell<Servers> = OnceCell::const_new();
    SERVERS
        .get_or_init(async || Servers {
            brokers: containers::kafka().await,
            redis_url: containers::redis().await,
            mysql_url: containers::database("tally").await,
            elasticsearch_url: containers::elasticsearch().await,
        })
        .await
}

/// An address where nothing listens.
pub(crate) const NOBODY: &str = "http://127.0.0.1:9";

static ONE_OF_EACH: OnceCell<Topology> = OnceCell::const_new();
static TWO_OF_EACH: OnceCell<Topology> = OnceCell::const_new();
static REQUIRING_KEYS: OnceCell<Topology> = OnceCell::const_new();

/// The secrets of all topologies. They are written to files, which the processes read.
pub(crate) const ROOT_KEY: &str = "root-key-of-the-tests-on-real-servers";
pub(crate) const TOKEN_SECRET: &str = "token-secret-of-the-tests-on-real-servers";

/// Written once, and then renamed: processes of this run and of others read these files meanwhile.
static SECRET_FILES: LazyLock<[String; 2]> = LazyLock::new(|| {
    [("root.key", ROOT_KEY), ("token.secrets", TOKEN_SECRET)].map(|(name, secret)| {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let (new, path) = (directory.join(format!("{name}.{}", std::process::id())), directory.join(name));
        std::fs::write(&new, secret).unwrap();
        std::fs::rename(&new, &path).unwrap();
        path.to_str().unwrap().to_owned()
    })
});

/// Whether the processes of a topology ask for credentials.
#[derive(Clone, Copy)]
pub(crate) enum Auth {
    Open,
    Required,
}

impl Auth {
    /// The arguments of a process.
    pub(crate) fn arguments(self) -> Vec<String> {
        let mode = match self {
            Self::Open => "open",
            Self::Required => "required",
        };
        let [root_key, secrets] = &*SECRET_FILES;
        [["--auth", mode], ["--root-key-file", root_key], ["--token-secrets-file", secrets]]
            .as_flattened()
            .iter()
            .map(ToString::to_string)
            .collect()
    }
}

/// One process of each kind. All tests share them.
pub(crate) async fn one_of_each() -> &'static Topology {
    ONE_OF_EACH.get_or_init(|| Topology::start(1, Auth::Open)).await
}

/// Two command-apis, a query-api, and another projector of each kind beside those of [`one_of_each`].
pub(crate) async fn two_of_each() -> &'static Topology {
    one_of_each().await;
    TWO_OF_EACH.get_or_init(|| Topology::start(2, Auth::Open)).await
}

/// Two command-apis and a query-api that require keys, and another projector of each kind.
pub(crate) async fn requiring_keys() -> &'static Topology {
    one_of_each().await;
    REQUIRING_KEYS.get_or_init(|| Topology::start(2, Auth::Required)).await
}

/// Stops the topologies that were started.
pub(crate) async fn stop() {
    for topology in [&ONE_OF_EACH, &TWO_OF_EACH, &REQUIRING_KEYS].into_iter().filter_map(OnceCell::get) {
        topology.stop().await;
    }
}

impl Topology {
    async fn start(command_apis: usize, auth: Auth) -> Self {
        let (servers, stop, mut processes) = (servers().await, CancellationToken::new(), JoinSet::new());
        let mut write_urls = Vec::new();
        for _ in 0..command_apis {
            let urls = [servers.brokers, servers.redis_url, &servers.mysql_url];
            let config = command_api_config(urls, &auth.arguments());
            let process = command_api::process::Process::start(&config, stop.clone()).await.unwrap();
            write_urls.push(format!("http://{}", process.write_addr()));
            processes.spawn(async move { process.wait().await.unwrap() });
        }
        for config in projector_configs(servers) {
            let process = projector::process::Process::start(&config, stop.clone()).await.unwrap();
            processes.spawn(async move { process.wait().await.unwrap() });
        }
        let urls = [&servers.mysql_url, servers.elasticsearch_url];
        let config = query_api_config(urls, &auth.arguments());
        let process = query_api::process::Process::start(&config, stop.clone()).await.unwrap();
        let read_url = format!("http://{}", process.read_addr());
        processes.spawn(process.wait());
        // Waits for each command-api by itself, because a client of all sends requests to them in turn.
        for write_url in &write_urls {
            Api::new(write_url, &read_url).wait_until_ready(Port::Write).await;
        }
        let api = Api::new(&write_urls.join(","), &read_url);
        api.wait_until_ready(Port::Read).await;
        Self { api, stop, processes: tokio::sync::Mutex::new(processes) }
    }

    /// Stops the processes as a signal would.
    async fn stop(&self) {
        self.stop.cancel();
        while let Some(ended) = self.processes.lock().await.join_next().await {
            ended.unwrap();
        }
    }
}

/// The configuration of one projector for each projection.
pub(crate) fn projector_configs(servers: &Servers) -> [Config; 3] {
    Projection::ALL.map(|projection| {
        let store_url = match projection {
            Projection::Views | Projection::Counts => servers.mysql_url.as_str(),
            Projection::Search => servers.elasticsearch_url,
        };
        projector_config(projection, servers.brokers, store_url)
    })
}

/// A projector at any free port.
pub(crate) fn projector_config(projection: Projection, brokers: &str, store_url: &str) -> Config {
    let addr = (Ipv4Addr::LOCALHOST, 0).into();
    Config { projection, addr, brokers: brokers.to_owned(), store_url: store_url.to_owned() }
}

/// The operator's commands, as a process of its own carries them out.
pub(crate) async fn open_operator(
    brokers: &str,
    mysql_url: &str,
    elasticsearch_url: &str,
) -> Result<Box<dyn Operator>, BackendError> {
    let arguments = ["projector", "pause", "all", "--kafka-brokers", brokers];
    let arguments = arguments.into_iter().chain(["--mysql-url", mysql_url, "--elasticsearch-url", elasticsearch_url]);
    match projector::cli::Cli::parse_from(arguments).command {
        projector::cli::Command::Operate(OperatorCommand::Pause(args)) => args.system.open(Purpose::Look).await,
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn start_command_api(
    brokers: &str,
    redis_url: &str,
    mysql_url: &str,
    stop: &CancellationToken,
) -> command_api::process::Process {
    let config = command_api_config([brokers, redis_url, mysql_url], &[]);
    command_api::process::Process::start(&config, stop.clone()).await.unwrap()
}

/// A command-api at any free port.
pub(crate) fn command_api_config(
    [brokers, redis_url, mysql_url]: [&str; 3],
    further: &[String],
) -> command_api::process::Config {
    let any_port = ["--write-addr", "127.0.0.1:0", "--operator-addr", "127.0.0.1:0"];
    let arguments = ["command-api", "--kafka-brokers", brokers].into_iter().chain(any_port);
    let arguments = arguments.chain(["--redis-url", redis_url, "--mysql-url", mysql_url]);
    let arguments = arguments.chain(further.iter().map(String::as_str));
    command_api::cli::Cli::parse_from(arguments).serve
}

pub(crate) async fn start_query_api(
    mysql_url: &str,
    elasticsearch_url: &str,
    stop: &CancellationToken,
) -> query_api::process::Process {
    let config = query_api_config([mysql_url, elasticsearch_url], &[]);
    query_api::process::Process::start(&config, stop.clone()).await.unwrap()
}

/// A query-api at any free port.
pub(crate) fn query_api_config(
    [mysql_url, elasticsearch_url]: [&str; 2],
    further: &[String],
) -> query_api::process::Config {
    let any_port = ["--read-addr", "127.0.0.1:0", "--operator-addr", "127.0.0.1:0"];
    let arguments = ["query-api", "--mysql-url", mysql_url].into_iter().chain(any_port);
    let arguments = arguments.chain(["--elasticsearch-url", elasticsearch_url]);
    let arguments = arguments.chain(further.iter().map(String::as_str));
    query_api::cli::Cli::parse_from(arguments).serve
}
