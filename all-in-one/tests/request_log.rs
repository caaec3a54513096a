//! The request log, and the ids of requests in the log.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

#[expect(dead_code, reason = "other tests use the rest")]
mod tally;

use reqwest::Method;
use serde_json::{Value, json};
use tally::{Tally, command};
use tempfile::TempDir;
use testkit::scenarios::{BASE, Port};

const BODY: &str = "a body that nobody else may read";

/// Sends some requests to a tally with these arguments. Returns the token of the application, and the lines of the log.
async fn requests(arguments: &[&str]) -> (String, Vec<Value>) {
    let directory = TempDir::new().unwrap();
    let tally = Tally::start_with(command(directory.path(), arguments).env("TALLY_LOG_FORMAT", "json"));
    let application = tally.api.application("logged").await;
    let token = application.rsplit('/').next().unwrap().to_owned();
    let chat = tally.api.chat(&application).await;
    let messages = format!("{chat}/messages");
    let message = json!({ "message": { "body": BODY } });
    tally.api.write_with(Method::POST, &messages, &[("x-request-id", "post-1")], &message).await;
    tally.api.wait_for_messages(&chat, 1).await;
    let search = format!("{messages}/search?q={}", BODY.replace(' ', "%20"));
    tally.api.read_with(&search, &[("x-request-id", "search-1")]).await;
    tally.api.read_with(&format!("{BASE}/{token}/nowhere"), &[("x-request-id", &format!("my-{token}"))]).await;
    tally.api.read_with(&format!("{BASE}?after={token}"), &[("x-request-id", &token[1..])]).await;
    tally.api.send(Port::Read, Method::POST, &messages, &[("x-request-id", "wrong-port")], None).await;
    let lines = tally.stop_and_read_log();
    (token, lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_request_has_a_line_without_tokens_bodies_and_queries() {
    let (token, log) = requests(&["--log", "info,access=info"]).await;
    let lines: Vec<_> = log.iter().filter(|line| line["target"] == "access").collect();
    let of =
        |id: &str| *lines.iter().find(|line| line["request_id"] == id).unwrap_or_else(|| panic!("{id}: {lines:?}"));
    let messages = format!("{BASE}/{{token}}/chats/{{chat}}/messages");
    for (id, method, route, status) in [
        ("post-1", "POST", messages.clone(), 201),
        ("search-1", "GET", format!("{messages}/search"), 200),
        ("wrong-port", "POST", messages.clone(), 405),
    ] {
        let line = of(id);
        assert_eq!((&line["method"], &line["route"], &line["status"]), (&json!(method), &json!(route), &json!(status)));
        assert!(line["duration_ms"].as_f64().is_some_and(|duration_ms| duration_ms > 0.0), "{line}");
    }
    assert!(lines.iter().any(|line| line["route"] == "none" && line["status"] == 404), "{lines:?}");
    assert!(lines.len() >= 6, "each request has its line: {lines:?}");
    for line in &log {
        let text = line.to_string();
        assert!(!text.contains(&token[1..]) && !text.contains("nobody else"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_ask_for_the_request_log_has_none() {
    for arguments in [&[][..], &["--log", "debug"]] {
        let (_, log) = requests(arguments).await;
        assert!(log.iter().all(|line| line["target"] != "access"), "{log:?}");
    }
}

/// A refusal that an operator must see names the request that a client complains about.
#[tokio::test(flavor = "multi_thread")]
async fn a_failure_in_the_log_names_its_request() {
    let directory = TempDir::new().unwrap();
    let tally = Tally::start_with(command(directory.path(), &[]).env("TALLY_LOG_FORMAT", "json"));
    let chat = tally.api.chat(&tally.api.application("stuck").await).await;
    // Another process that writes to the log makes every write of tally fail, as a full disk does.
    let other = rusqlite::Connection::open(directory.path().join("log.sqlite")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let message = json!({ "message": { "body": "x" } });
    let messages = format!("{chat}/messages");
    let failed = tally.api.write_with(Method::POST, &messages, &[("x-request-id", "complaint-7")], &message).await;
    assert_eq!((failed.status, &failed.json["request_id"]), (503, &json!("complaint-7")), "{failed:?}");
    other.execute_batch("ROLLBACK").unwrap();
    let log = tally.stop_and_read_log();
    let line = log.iter().find(|line| line.contains("a command failed")).unwrap_or_else(|| panic!("{log:?}"));
    let line: Value = serde_json::from_str(line).unwrap();
    assert_eq!(line["request_id"], "complaint-7", "{line}");
}
