//! The query API while one of its servers is away.

use distributed::mysql::migrate;
use testkit::scenarios::{Api, BASE, Port, search_path};
use tokio_util::sync::CancellationToken;

use crate::containers::{self, mysql_url, own_mysql};
use crate::topology::{NOBODY, one_of_each, servers, start_query_api};

const UNKNOWN: &str = "/0123456789abcdef0123456789abcdef";

async fn query_api(mysql_url: &str, elasticsearch_url: &str) -> (Api, CancellationToken) {
    let stop = CancellationToken::new();
    let process = start_query_api(mysql_url, elasticsearch_url, &stop).await;
    let api = Api::new(NOBODY, &format!("http://{}", process.read_addr()));
    tokio::spawn(process.wait());
    (api, stop)
}

async fn without_elasticsearch_all_but_search_is_answered() {
    let writes = &one_of_each().await.api;
    let chat = writes.chat(&writes.application("no search").await).await;
    writes.post_all(&chat, &["needle"]).await;
    let (api, stop) = query_api(&servers().await.mysql_url, NOBODY).await;
    api.wait_until_ready(Port::Read).await;
    assert_eq!(api.read(&format!("{chat}/messages")).await.json[0]["body"], "needle");
    assert_eq!(api.read(&chat).await.json["messages_count"], 1);
    let refused = api.read(&search_path(&chat, "needle")).await;
    refused.assert_problem(503, "search-unavailable");
    assert!(!refused.header("retry-after").is_empty());
    stop.cancel();
}

async fn without_mysql_reads_are_refused_until_it_is_back() {
    let server = own_mysql().await;
    let url = mysql_url(&server) + "/tally";
    migrate(&url).await.unwrap();
    let (api, stop) = query_api(&url, containers::elasticsearch().await).await;
    let unknown = format!("{BASE}{UNKNOWN}");
    api.read_until(&unknown, |answer| answer.status == 404).await;
    api.wait_until_ready(Port::Read).await;
    server.container.stop_with_timeout(Some(20)).await.unwrap();
    let refused = api.read(&unknown).await;
    refused.assert_problem(503, "views-unavailable");
    assert!(!refused.header("retry-after").is_empty());
    api.read_until("/health/ready", |answer| answer.status == 503).await;
    server.container.start().await.unwrap();
    api.read_until(&unknown, |answer| answer.status == 404).await;
    api.wait_until_ready(Port::Read).await;
    stop.cancel();
}

tests!(without_elasticsearch_all_but_search_is_answered, without_mysql_reads_are_refused_until_it_is_back);
