//! All of Tally on all of the servers: the processes as they are in production, but in this one.

use std::net::Ipv4Addr;

use clap::Parser;
use projector::process::Config;
use read_model::Projection;
use reqwest::Method;
use testkit::scenarios::{Api, Port, eventually};
use tokio::sync::OnceCell;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::containers;

/// Where everything is.
pub(crate) struct Servers {
    pub(crate) brokers: &'static str,
    pub(crate) redis_url: &'static str,
    pub(crate) mysql_url: String,
    pub(crate) elasticsearch_url: &'static str,
}

/// Running processes.
pub(crate) struct Topology {
    /// Through the first command-api, or through all of them.
    pub(crate) api: Api,
    stop: CancellationToken,
    processes: tokio::sync::Mutex<JoinSet<()>>,
}

/// The servers as all topologies of this run use them: one log, one database.
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

static ONE_OF_EACH: OnceCell<Topology> = OnceCell::const_new();
static TWO_OF_EACH: OnceCell<Topology> = OnceCell::const_new();

/// One process of each kind, which all tests share.
pub(crate) async fn one_of_each() -> &'static Topology {
    ONE_OF_EACH.get_or_init(|| Topology::start(1)).await
}

/// Two command-apis, asked in turn, and beside the projectors of [`one_of_each`] another of each kind.
pub(crate) async fn two_of_each() -> &'static Topology {
    one_of_each().await;
    TWO_OF_EACH.get_or_init(|| Topology::start(2)).await
}

/// Ends whatever was started.
pub(crate) async fn stop() {
    for topology in [&ONE_OF_EACH, &TWO_OF_EACH].into_iter().filter_map(OnceCell::get) {
        topology.stop().await;
    }
}

impl Topology {
    async fn start(command_apis: usize) -> Self {
        let (servers, stop, mut processes) = (servers().await, CancellationToken::new(), JoinSet::new());
        let mut write_urls = Vec::new();
        for _ in 0..command_apis {
            let config = command_api_config(servers);
            let process = command_api::process::Process::start(&config, stop.clone()).await.unwrap();
            write_urls.push(format!("http://{}", process.write_addr()));
            processes.spawn(async move { process.wait().await.unwrap() });
        }
        for config in kinds(servers) {
            let process = projector::process::Process::start(&config, stop.clone()).await.unwrap();
            processes.spawn(async move { process.wait().await.unwrap() });
        }
        let process = query_api::process::Process::start(&query_api_config(servers), stop.clone()).await.unwrap();
        let read_url = format!("http://{}", process.read_addr());
        processes.spawn(process.wait());
        // Each by itself: of several that are asked in turn, one could answer for all.
        for write_url in &write_urls {
            ready(&Api::new(write_url, &read_url), Port::Write).await;
        }
        let api = Api::new(&write_urls.join(","), &read_url);
        ready(&api, Port::Read).await;
        Self { api, stop, processes: tokio::sync::Mutex::new(processes) }
    }

    /// Ends the processes as a signal would.
    async fn stop(&self) {
        self.stop.cancel();
        while let Some(ended) = self.processes.lock().await.join_next().await {
            ended.unwrap();
        }
    }
}

async fn ready(api: &Api, port: Port) {
    eventually("readiness", async || {
        let answer = api.plain(port, Method::GET, "/health/ready").await;
        if answer.status == 200 { Ok(()) } else { Err(answer) }
    })
    .await;
}

/// A projector of every projection.
pub(crate) fn kinds(servers: &Servers) -> [Config; 3] {
    Projection::ALL.map(|projection| {
        let store_url = match projection {
            Projection::Views | Projection::Counts => servers.mysql_url.as_str(),
            Projection::Search => servers.elasticsearch_url,
        };
        projector_config(projection, servers.brokers, store_url)
    })
}

/// At any port.
pub(crate) fn projector_config(projection: Projection, brokers: &str, store_url: &str) -> Config {
    let addr = (Ipv4Addr::LOCALHOST, 0).into();
    Config { projection, addr, brokers: brokers.to_owned(), store_url: store_url.to_owned() }
}

fn command_api_config(servers: &Servers) -> command_api::cli::Config {
    let arguments = ["command-api", "--write-addr", "127.0.0.1:0", "--kafka-brokers", servers.brokers];
    let arguments = arguments.into_iter().chain(["--redis-url", servers.redis_url, "--mysql-url", &servers.mysql_url]);
    command_api::cli::Cli::parse_from(arguments).serve
}

fn query_api_config(servers: &Servers) -> query_api::cli::Config {
    let arguments = ["query-api", "--read-addr", "127.0.0.1:0", "--mysql-url", &servers.mysql_url];
    let arguments = arguments.into_iter().chain(["--elasticsearch-url", servers.elasticsearch_url]);
    query_api::cli::Cli::parse_from(arguments).serve
}
