//! An operator pauses projections of a tally that runs, and looks at how far they are.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

mod command;
#[expect(dead_code, reason = "tests/process.rs uses the rest")]
mod tally;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use command::run;
use reqwest::Method;
use serde_json::{Value, json};
use tally::Tally;
use tempfile::TempDir;
use testkit::polling::eventually;
use testkit::scenarios::{Api, Port};

async fn assert_done(data: &Path, arguments: &[&str]) -> String {
    let (code, output, error) = run(data, arguments).await;
    assert_eq!(code, Some(0), "{arguments:?}: {output}{error}");
    output
}

async fn views_status(data: &Path) -> Value {
    let output = assert_done(data, &["status", "views", "--json"]).await;
    serde_json::from_str::<Value>(&output).unwrap()["projections"][0].take()
}

async fn names_a_pause(api: &Api) -> bool {
    let health = api.read("/health").await;
    health.json["parts"]["paused"].as_str().is_some_and(|reason| reason.contains("resume views"))
}

async fn count_messages(api: &Api, chat: &str) -> usize {
    api.read(&format!("{chat}/messages")).await.json.as_array().unwrap().len()
}

/// A paused projection shows what it has, says that it is paused, and goes on when it is resumed, also after a restart.
#[tokio::test(flavor = "multi_thread")]
async fn a_paused_projection_applies_nothing_until_it_is_resumed() {
    let directory = TempDir::new().unwrap();
    let data = directory.path();
    let tally = Tally::start(data);
    let application = tally.api.application("paused").await;
    let chat = tally.api.chat(&application).await;
    tally.api.post(&chat, "before").await;
    tally.api.wait_for_messages(&chat, 1).await;
    assert!(assert_done(data, &["pause", "views"]).await.contains("views: paused until resumed"));
    let message = json!({ "message": { "body": "meanwhile" } });
    let posted = tally.api.write(Method::POST, &format!("{chat}/messages"), &message).await;
    let position = posted.header("log-position");
    let awaiting = [("await-position", position), ("prefer", "wait=1")];
    let refused = tally.api.read_with(&format!("{chat}/messages"), &awaiting).await;
    assert_eq!((refused.status, &refused.json["code"]), (503, &"projection-behind".into()));
    assert_eq!(count_messages(&tally.api, &chat).await, 1);
    eventually("counts that go on", async || {
        let count = tally.api.read(&chat).await.json["messages_count"].clone();
        if count == 2 { Ok(()) } else { Err(count) }
    })
    .await;
    eventually("a note in /health", async || if names_a_pause(&tally.api).await { Ok(()) } else { Err("none") }).await;
    assert!(tally.api.is_ready(Port::Read).await && tally.api.is_ready(Port::Write).await);
    let views = views_status(data).await;
    assert_eq!((&views["is_paused"], &views["lag"]), (&true.into(), &1.into()), "{views}");
    assert!(views["lag_seconds"].as_f64() > Some(0.0), "{views}");
    tally.stop();

    let tally = Tally::start(data);
    eventually("a note in /health", async || if names_a_pause(&tally.api).await { Ok(()) } else { Err("none") }).await;
    tally.api.wait_until_ready(Port::Read).await;
    assert_eq!(count_messages(&tally.api, &chat).await, 1);
    let metrics = eventually("metrics of the pause", async || {
        let metrics = tally.metrics().await;
        let is_old = |line: &str| {
            let value = line.strip_prefix("tally_projection_lag_seconds{projection=\"views\",partition=\"0\"} ");
            value.is_some_and(|seconds| seconds.parse::<f64>().unwrap() > 0.0)
        };
        if metrics.lines().any(is_old) { Ok(metrics) } else { Err(metrics) }
    })
    .await;
    assert!(metrics.contains("tally_projection_paused{projection=\"views\"} 1"), "{metrics}");
    for arguments in [&["rebuild", "views"][..], &["verify", "views", "--swap"]] {
        let (code, output, error) = run(data, arguments).await;
        assert_eq!(code, Some(1), "{output}{error}");
        assert!(error.contains("views is paused") && error.contains("resume it first"), "{error}");
    }
    assert_done(data, &["verify", "views"]).await;
    assert_done(data, &["resume", "views"]).await;
    tally.api.wait_for_messages(&chat, 2).await;
    eventually("no note in /health", async || if names_a_pause(&tally.api).await { Err("one") } else { Ok(()) }).await;
    assert_eq!(views_status(data).await["is_paused"], false);
    tally.stop();
}

/// Without a terminal, `--watch` writes a line for each look. A failed look is a line, too.
#[tokio::test(flavor = "multi_thread")]
async fn a_watched_status_is_a_line_for_each_look() {
    let directory = TempDir::new().unwrap();
    let tally = Tally::start(directory.path());
    let mut command = Command::new(env!("CARGO_BIN_EXE_tally"));
    command.args(["status", "--watch", "--json"]).env("TALLY_DATA", directory.path()).stdout(Stdio::piped());
    let mut watching = command.spawn().unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap();
    let (first, second) = (next(), next());
    assert!(first["projections"][0]["rate"].is_null(), "{first}");
    assert_eq!(second["projections"][0]["rate"], 0.0, "{second}");
    tally.stop();
    let failed = next();
    assert!(failed["error"].as_str().is_some_and(|error| error.contains("does not answer")), "{failed}");
    watching.kill().unwrap();
    watching.wait().unwrap();
}
