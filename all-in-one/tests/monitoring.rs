//! The rules and the dashboard of examples/monitoring name what there is.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

#[expect(dead_code, reason = "tests/process.rs uses the rest")]
mod tally;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use tally::Tally;
use tempfile::TempDir;
use testkit::polling::eventually;
use testkit::scenarios::search_path;

const RULES: &str = include_str!("../../examples/monitoring/rules.yml");
const DASHBOARD: &str = include_str!("../../examples/monitoring/grafana/dashboards/tally.json");
const OPERATIONS: &str = include_str!("../../docs/operations.md");
/// The prefixes of metrics that only the servers' programs have.
const OF_SERVERS: [&str; 2] = ["tally_numbers_", "tally_mysql_"];

/// The metrics that a text names.
fn metrics(text: &str) -> BTreeSet<&str> {
    let names = text.split(|character: char| !(character.is_ascii_alphanumeric() || character == '_'));
    names.filter(|name| name.starts_with("tally_") || name.starts_with("process_")).collect()
}

/// The text of every file of Rust below a directory.
fn sources(directory: &Path) -> String {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let read = |path: PathBuf| match path.extension() {
        Some(extension) if extension == "rs" => std::fs::read_to_string(path).unwrap(),
        None if path.is_dir() => sources(&path),
        _ => String::new(),
    };
    entries.map(read).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_of_the_rules_and_of_the_dashboard_exists() {
    let named: BTreeSet<_> = metrics(RULES).union(&metrics(DASHBOARD)).copied().collect();
    assert!(named.len() > 20, "{named:?}");
    let (of_servers, of_tally): (Vec<_>, Vec<_>) =
        named.into_iter().partition(|name| OF_SERVERS.iter().any(|prefix| name.starts_with(prefix)));

    let directory = TempDir::new().unwrap();
    let tally = Tally::start(directory.path());
    let chat = tally.api.chat(&tally.api.application("measured").await).await;
    tally.api.post(&chat, "measured").await;
    tally.api.read_until(&chat, |answer| answer.json["messages_count"] == 1).await;
    assert_eq!(tally.api.read(&search_path(&chat, "measured")).await.status, 200);
    let text = eventually("all metrics of tally", async || {
        let text = tally.metrics().await;
        let exists = |name: &&&str| {
            let values = text.lines().filter_map(|line| line.strip_prefix(**name));
            values.into_iter().any(|rest| rest.starts_with(['{', ' ']))
        };
        let missing: Vec<_> = of_tally.iter().filter(|name| !exists(name)).collect();
        if missing.is_empty() { Ok(text) } else { Err(format!("{missing:?} in {text}")) }
    })
    .await;
    for name in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()) {
        assert!(text.contains(&format!("# HELP {name} ")), "{name} says nowhere what it is");
    }
    tally.stop();

    let sources = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../distributed/src"));
    for name in of_servers {
        assert!(sources.contains(&format!("\"{name}\"")), "{name}");
    }
}

#[test]
fn every_alert_has_a_paragraph_that_says_what_to_do() {
    let alerts: Vec<_> = RULES.lines().filter_map(|line| line.trim_start().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() > 10, "{alerts:?}");
    let described: Vec<_> = OPERATIONS.lines().filter_map(|line| line.strip_prefix("### Tally")).collect();
    let expected: Vec<_> = alerts.iter().filter_map(|alert| alert.strip_prefix("Tally")).collect();
    assert_eq!(described, expected, "in the order of the rules");
}
