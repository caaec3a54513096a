//! Dead letters of a running tally: many and long ones, what its own log says about them, and damaged records among them.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

#[expect(dead_code, reason = "tests/process.rs uses the rest")]
mod tally;

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use all_in_one::data::Data;
use event_log::EventLog;
use events::{ChatApplicationCreated, Event, Record};
use reqwest::Method;
use tally::Tally;
use tempfile::TempDir;
use testkit::histories::{record, token};
use testkit::polling::eventually;
use testkit::scenarios::Port;
use tokio::task::JoinSet;

/// Several lists are full of so many.
const LETTERS: usize = 1_300;
/// Stands for what people wrote.
const SECRET: &str = "secretword";

/// Ends the process with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Running {
    fn start(data: &Path, log: &Path) -> Self {
        let ports = ["--write-addr", "--read-addr", "--operator-addr"];
        let ports = ports.into_iter().flat_map(|flag| [flag, "127.0.0.1:0"]);
        let mut command = Command::new(env!("CARGO_BIN_EXE_tally"));
        let command = command.args(ports).env("TALLY_DATA", data).stdout(Stdio::null());
        Self(command.stderr(File::create(log).unwrap()).spawn().unwrap())
    }
}

/// Runs `tally dead-letters`, with the directory behind its other arguments. Returns standard output, or standard error.
fn dead_letters(data: &Path, arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tally"));
    let command = command.arg("dead-letters").args(arguments).arg("--data").arg(data).env_remove("TALLY_DATA");
    let Output { status, stdout, stderr } = command.output().unwrap();
    let [output, error] = [stdout, stderr].map(|text| String::from_utf8(text).unwrap());
    if status.success() { Ok(output) } else { Err(error) }
}

/// Appends events that are a long text, which the reason of each dead letter quotes.
async fn append_broken(data: &Path) {
    let data = Data::open(data).await.unwrap();
    let created = record(&Event::ChatApplicationCreated(ChatApplicationCreated { token: token(1), name: "x".into() }));
    let broken = format!(r#""{}""#, SECRET.repeat(100));
    let mut appends = JoinSet::new();
    for _ in 0..LETTERS {
        let record = Record { data: broken.clone().into_bytes(), ..created.clone() };
        let log = data.log.clone();
        appends.spawn(async move { log.append(record).await.unwrap() });
    }
    appends.join_all().await;
    data.close().await;
}

/// Lists everything, list by list.
fn list_all(data: &Path) -> Vec<String> {
    let (mut from, mut lines) = ("0:0".to_owned(), Vec::new());
    loop {
        let listed = dead_letters(data, &["list", "--show", "full", "--from", &from]).unwrap();
        lines.extend(listed.lines().map(str::to_owned));
        let Some(next) = lines.last().and_then(|line| line.strip_prefix("there are more: dead-letters list --from "))
        else {
            return lines;
        };
        from = next.to_owned();
        lines.pop();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_long_dead_letters_are_listed_and_their_texts_are_not_logged() {
    let (directory, logs) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (data, log) = (directory.path(), logs.path().join("log"));
    append_broken(data).await;
    let running = Running::start(data, &log);
    // A command would open the directory of a tally that has not begun yet, and keep it from that.
    eventually("a tally that serves", async || {
        let logged = std::fs::read_to_string(&log).unwrap();
        if logged.contains("tally is up") { Ok(()) } else { Err(logged) }
    })
    .await;
    eventually("all dead letters", async || {
        let listed = dead_letters(data, &["list"]);
        if listed.as_ref().is_ok_and(|listed| listed.lines().count() == LETTERS) { Ok(()) } else { Err(listed) }
    })
    .await;
    let lines = list_all(data);
    assert_eq!(lines.len(), LETTERS);
    assert!(lines.iter().all(|line| line.contains(SECRET) && line.len() > 900), "{:?}", lines.first());
    let shown = dead_letters(data, &["show", "0", "0", "--show", "full"]).unwrap();
    assert!(shown.contains(SECRET), "{shown}");
    drop(running);
    let logged = std::fs::read_to_string(&log).unwrap();
    assert!(logged.contains("the operation has ended"), "{logged}");
    assert!(!logged.contains(SECRET), "the log quotes what people wrote");
}

/// It is no event, and also a sign that the file is not to be trusted: also after a restart, when nobody reads it any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_record_that_the_views_have_passed_ends_the_readiness_of_the_write_port() {
    let directory = TempDir::new().unwrap();
    let data = Data::open(directory.path()).await.unwrap();
    for number in 1..=3 {
        let created = ChatApplicationCreated { token: token(number), name: "x".into() };
        data.log.append(record(&Event::ChatApplicationCreated(created))).await.unwrap();
    }
    data.close().await;
    drop(data);
    let log = rusqlite::Connection::open(directory.path().join("log.sqlite")).unwrap();
    log.execute("UPDATE events SET data = CAST('{}' AS BLOB) WHERE log_offset = 1", ()).unwrap();
    drop(log);
    for start in ["the first start", "the next start"] {
        let tally = Tally::start(directory.path());
        let not_ready = eventually(start, async || {
            let answer = tally.api.plain(Port::Write, Method::GET, "/health/ready").await;
            if answer.json["parts"]["log.sqlite"].is_string() { Ok(answer) } else { Err(answer) }
        })
        .await;
        let reason = not_ready.json["parts"]["log.sqlite"].to_string();
        assert!(reason.contains("damaged") && reason.contains("restore the data directory from a copy"), "{reason}");
        eventually("the dead letter", async || {
            let listed = dead_letters(directory.path(), &["list"]);
            if listed.as_ref().is_ok_and(|listed| listed.contains("offset 1: dead letter")) {
                Ok(())
            } else {
                Err(listed)
            }
        })
        .await;
        let refused = dead_letters(directory.path(), &["discard", "0", "1"]).unwrap_err();
        assert!(refused.contains("is damaged, so it is not discarded") && refused.contains("restore"), "{refused}");
        tally.api.wait_until_ready(Port::Read).await;
        tally.stop();
    }
}
