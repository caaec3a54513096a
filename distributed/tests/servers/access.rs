//! Who may do what on servers that require keys.

use std::time::{Duration, Instant};

use clap::Parser;
use command_api::cli::Cli;
use command_api::process::Process;
use distributed::kafka::{Cluster, KafkaLog};
use event_log::{EventLog, ReadLimit};
use events::{Position, Record};
use projector::process::Process as Projector;
use read_model::Projection;
use reqwest::Method;
use serde_json::{Value, json};
use testkit::access_walk::{System, walk};
use testkit::actors::write_as_everybody;
use testkit::polling::eventually;
use testkit::scenarios::{Answer, Api, BASE, Port};
use tokio_util::sync::CancellationToken;

use crate::containers;
use crate::fault_proxy::{FaultProxy, Mode};
use crate::topology::{
    Auth, NOBODY, ROOT_KEY, TOKEN_SECRET, command_api_config, one_of_each, projector_config, query_api_config,
    requiring_keys, servers,
};

/// In production it is 5 minutes. Far longer than the 5 seconds for which what is known counts while MySQL is there.
const SHORT_AGE_WHILE_AWAY: Duration = Duration::from_secs(14);
/// How much later than at the end of that time a request is refused at most.
const SLACK: Duration = Duration::from_secs(3);
/// Where no Redis is.
const NO_REDIS: &str = "redis://127.0.0.1:9";
/// Longest wait for records that are in the log.
const READ_WAIT: Duration = Duration::from_secs(10);

async fn every_route_asks_every_principal() {
    let api = &requiring_keys().await.api;
    let system = System { api, root_key: Some(ROOT_KEY), is_required: true, token_secret: Some(TOKEN_SECRET) };
    walk(system).await;
}

/// It says how to make the secrets, before it asks any server for anything.
async fn a_program_that_requires_keys_does_not_start_without_secrets() {
    for address in ["0.0.0.0:0", "127.0.0.1:0"] {
        let arguments = ["command-api", "--write-addr", address, "--auth", "required"];
        let config = Cli::parse_from(arguments).serve;
        let Err(error) = Process::start(&config, CancellationToken::new()).await else { panic!("it has started") };
        let text = error.to_string();
        assert!(text.contains("TALLY_ROOT_KEY is not set") && text.contains("openssl rand -hex 32"), "{text}");
    }
}

async fn the_log_keeps_who_made_each_request() {
    let log = KafkaLog::connect(Cluster::new(servers().await.brokers)).unwrap();
    let api = &requiring_keys().await.api;
    let before = log.end().await.unwrap();
    let written = write_as_everybody(api, ROOT_KEY).await;
    written.compare(records_since(&log, &before).await);
}

/// All records from a position to the end.
async fn records_since(log: &KafkaLog, since: &Position) -> Vec<Record> {
    let mut records = Vec::new();
    for (partition, end) in log.end().await.unwrap().bounds() {
        let mut next = since.bound(partition);
        while next < end {
            let batch = log.read(partition, next, ReadLimit { wait: READ_WAIT, ..ReadLimit::STRETCH }).await.unwrap();
            assert!(batch.next > next, "partition {partition:?} ends at {next:?} instead of {end:?}");
            records.extend(batch.events.into_iter().map(|event| event.record));
            next = batch.next;
        }
    }
    records
}

/// The processes of both APIs know nothing of keys before a projector of `views` runs, and too little some seconds after it has stopped.
async fn readiness_names_access_while_keys_cannot_be_checked() {
    // Projectors of one kind on one Kafka share out the partitions, so this one has its own.
    let (kafka, database) = (containers::own_kafka(None).await, containers::database("access_readiness").await);
    let (brokers, stop, stop_projector) =
        (containers::brokers(&kafka), CancellationToken::new(), CancellationToken::new());
    let apis = start_apis([&brokers, NO_REDIS, &database, NOBODY], None, &stop).await;
    wait_for_access(&apis.api, false).await;
    let config = projector_config(Projection::Views, &brokers, &database);
    let projector = Projector::start(&config, stop_projector.clone()).await.unwrap();
    wait_for_access(&apis.api, true).await;
    stop_projector.cancel();
    projector.wait().await.unwrap();
    wait_for_access(&apis.api, false).await;
    stop.cancel();
    apis.wait().await;
}

/// Waits until both ports say that keys can be checked, or that they cannot, and why.
async fn wait_for_access(api: &Api, can_be_checked: bool) {
    for port in [Port::Write, Port::Read] {
        eventually("the part access", async || {
            let answer = api.plain(port, Method::GET, "/health/ready").await;
            let reason = answer.json["parts"]["access"].as_str();
            let is_met = if can_be_checked { reason.is_none() } else { reason.is_some_and(|it| it.contains("views")) };
            if is_met { Ok(()) } else { Err(answer) }
        })
        .await;
    }
}

/// While nobody can connect to MySQL, whoever was admitted before goes on, for a bounded time. The root key depends on nothing.
async fn known_keys_go_on_for_a_while_when_mysql_is_away() {
    // Whose projectors show the keys.
    one_of_each().await;
    let servers = servers().await;
    let mysql = servers.mysql_url.rsplit_once('/').unwrap().0.rsplit_once('@').unwrap().1;
    let proxy = FaultProxy::start(mysql).await;
    let mysql_url = servers.mysql_url.replace(mysql, &proxy.address());
    let stop = CancellationToken::new();
    let urls = [servers.brokers, servers.redis_url, &mysql_url, servers.elasticsearch_url];
    let apis = start_apis(urls, Some(SHORT_AGE_WHILE_AWAY), &stop).await;
    for port in [Port::Write, Port::Read] {
        apis.api.wait_until_ready(port).await;
    }
    let root = By { api: &apis.api, authorization: format!("Bearer {ROOT_KEY}") };
    let name = json!({ "chat_application": { "name": "outage" } });
    let created = root.send(Port::Write, Method::POST, BASE, Some(&name)).await;
    let application = format!("{BASE}/{}", created.json["token"].as_str().unwrap());
    let (known, unknown) = (root.issue_key(&application).await, root.issue_key(&application).await);
    assert_eq!(known.send(Port::Write, Method::POST, &format!("{application}/chats"), None).await.status, 201);
    assert_eq!(known.post(&application).await.status, 201);
    assert_eq!(known.get(&application).await.status, 200);
    proxy.set(Mode::Refuse);
    let away_since = Instant::now();
    unknown.post(&application).await.assert_problem(503, "views-unavailable");
    known.get(&application).await.assert_problem(503, "views-unavailable");
    let refused = eventually("an end of what is known", async || {
        let answer = known.post(&application).await;
        if answer.status == 201 { Err(answer) } else { Ok(answer) }
    })
    .await;
    let went_on = away_since.elapsed();
    refused.assert_problem(503, "access-behind");
    // What was known when MySQL went away was some seconds old.
    assert!(went_on > SHORT_AGE_WHILE_AWAY / 2 && went_on < SHORT_AGE_WHILE_AWAY + SLACK, "{went_on:?}");
    eventually("the same of query-api", async || {
        let answer = known.get(&application).await;
        if answer.json["code"] == "access-behind" { Ok(()) } else { Err(answer) }
    })
    .await;
    assert_eq!(root.post(&application).await.status, 201, "the root key depends on nothing");
    proxy.set(Mode::Forward);
    for key in [&known, &unknown] {
        eventually("a key that works again", async || {
            let (posted, read) = (key.post(&application).await, key.get(&application).await);
            if (posted.status, read.status) == (201, 200) { Ok(()) } else { Err((posted, read)) }
        })
        .await;
    }
    stop.cancel();
    apis.wait().await;
}

/// A command-api and a query-api that require keys.
struct Apis {
    api: Api,
    commands: Process,
    queries: query_api::process::Process,
}

/// Starts them at these brokers, Redis, MySQL and Elasticsearch, with the time of production for an outage unless another is given.
async fn start_apis(
    [brokers, redis_url, mysql_url, elasticsearch_url]: [&str; 4],
    max_age_while_away: Option<Duration>,
    stop: &CancellationToken,
) -> Apis {
    let further = Auth::Required.arguments();
    let mut config = command_api_config([brokers, redis_url, mysql_url], &further);
    config.auth.max_age_while_away = max_age_while_away.unwrap_or(config.auth.max_age_while_away);
    let commands = Process::start(&config, stop.clone()).await.unwrap();
    let mut config = query_api_config([mysql_url, elasticsearch_url], &further);
    config.auth.max_age_while_away = max_age_while_away.unwrap_or(config.auth.max_age_while_away);
    let queries = query_api::process::Process::start(&config, stop.clone()).await.unwrap();
    let api = Api::new(&format!("http://{}", commands.write_addr()), &format!("http://{}", queries.read_addr()));
    Apis { api, commands, queries }
}

impl Apis {
    async fn wait(self) {
        self.commands.wait().await.unwrap();
        self.queries.wait().await;
    }
}

/// Somebody with a credential.
struct By<'a> {
    api: &'a Api,
    authorization: String,
}

impl<'a> By<'a> {
    async fn send(&self, port: Port, method: Method, path: &str, body: Option<&Value>) -> Answer {
        self.api.send(port, method, path, &[("authorization", &self.authorization)], body).await
    }

    /// Posts to the first chat.
    async fn post(&self, application: &str) -> Answer {
        let message = json!({ "message": { "body": "said" } });
        self.send(Port::Write, Method::POST, &format!("{application}/chats/1/messages"), Some(&message)).await
    }

    async fn get(&self, application: &str) -> Answer {
        self.send(Port::Read, Method::GET, application, None).await
    }

    async fn issue_key(&self, application: &str) -> By<'a> {
        let key = json!({ "key": { "name": "writer", "scopes": ["write"] } });
        let issued = self.send(Port::Write, Method::POST, &format!("{application}/keys"), Some(&key)).await;
        By { api: self.api, authorization: format!("Bearer {}", issued.json["secret"].as_str().unwrap()) }
    }
}

tests!(
    every_route_asks_every_principal,
    a_program_that_requires_keys_does_not_start_without_secrets,
    the_log_keeps_who_made_each_request,
    readiness_names_access_while_keys_cannot_be_checked,
    known_keys_go_on_for_a_while_when_mysql_is_away,
);
