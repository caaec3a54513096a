//! Crashes and damage: kills under load, a full disk, and files that were cut, overwritten, deleted or written by a newer
//! version. The tests run real processes on real files.
//!
//! `CRASH_ROUNDS` and `CRASH_SEED` set how often, and when, the process is killed.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

#[expect(dead_code, reason = "tests/process.rs uses the rest")]
mod tally;

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use embedded::DataDir;
use event_log::{EventLog, ReadLimit};
use events::{Number, Offset, PartitionId};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use reqwest::Method;
use rusqlite::Connection;
use serde_json::{Value, json};
use tally::{DEADLINE, Tally, expect_refusal};
use tempfile::TempDir;
use testkit::polling::eventually;
use testkit::scenarios::{Answer, Api, BASE, Port, search_path};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// A word in every body, so that a search for it finds the whole chat.
const WORD: &str = "knell";

/// An acknowledged request: its path, the number that it created, and the body of a message.
type Acknowledged = (String, u64, Option<String>);

fn number_from_env(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// Writes a line to standard error, where the test harness does not capture it.
#[expect(clippy::explicit_write, reason = "what eprintln! writes is captured")]
fn report(line: &str) {
    writeln!(std::io::stderr(), "{line}").unwrap();
}

// Kills ---------------------------------------------------------------------------------------------------------------

/// A request with a key, and the number that it created, or `None` where no answer came.
struct Keyed {
    path: String,
    key: String,
    body: Option<String>,
    number: Option<u64>,
}

/// The last requests of each client, which it sends again after the restart.
const RETRIED: usize = 4;

fn request(body: Option<&String>) -> Value {
    body.map_or(json!({}), |body| json!({ "message": { "body": body } }))
}

/// Posts messages, or creates chats, until no answer comes. Returns the acknowledged requests, and the last requests.
async fn write_until_gone(
    api: Api,
    path: String,
    name: String,
    count: Arc<watch::Sender<u64>>,
) -> (Vec<Acknowledged>, Vec<Keyed>) {
    let (mut acknowledged, mut last) = (Vec::new(), VecDeque::new());
    for index in 0.. {
        let body = path.ends_with("/messages").then(|| format!("{WORD} {index} of {name}"));
        let key = format!("{index}-of-{}", name.replace(' ', "-"));
        let answer = api.try_write(&path, &[("idempotency-key", &key)], &request(body.as_ref())).await;
        let number = answer.as_ref().map(Answer::number);
        last.push_back(Keyed { path: path.clone(), key, body: body.clone(), number });
        if last.len() > RETRIED {
            last.pop_front();
        }
        let Some(answer) = answer else {
            break;
        };
        assert_eq!(answer.status, 201, "{answer:?}");
        acknowledged.push((path.clone(), answer.number(), body));
        count.send_modify(|count| *count += 1);
    }
    (acknowledged, last.into())
}

/// All acknowledged requests of the rounds so far, and the number of violations.
#[derive(Default)]
struct Ledger {
    by_path: BTreeMap<String, BTreeMap<u64, Option<String>>>,
    acknowledged: usize,
    retried: usize,
    lost: usize,
    twice: usize,
}

impl Ledger {
    fn add(&mut self, acknowledged: Vec<Acknowledged>) {
        for (path, number, body) in acknowledged {
            self.acknowledged += 1;
            if self.by_path.entry(path).or_default().insert(number, body).is_some() {
                self.twice += 1;
            }
        }
    }

    /// Sends requests again. A request that was answered must get the same answer. Every other request must take effect once.
    async fn retry(&mut self, api: &Api, application: &str, requests: Vec<Keyed>) {
        for Keyed { path, key, body, number } in requests {
            let headers = [("idempotency-key", key.as_str())];
            let answer = api.write_with(Method::POST, &path, &headers, &request(body.as_ref())).await;
            assert_eq!(answer.status, 201, "{answer:?}");
            self.retried += 1;
            match number {
                Some(number) => self.twice += usize::from(answer.number() != number),
                None => self.add(vec![(path, answer.number(), body)]),
            }
            let shown = [("await-position", answer.header("log-position")), ("prefer", "wait=10")];
            for read in [application.to_owned(), search_path(&format!("{application}/chats/1"), WORD)] {
                assert_eq!(api.read_with(&read, &shown).await.status, 200);
            }
        }
    }

    /// Compares all acknowledged requests with the lists, the counts and the search.
    async fn compare(&mut self, api: &Api, application: &str) {
        for (path, acknowledged) in &self.by_path {
            let shown = api.pages(path).await.concat();
            let numbers: Vec<_> = shown.iter().map(|item| item["number"].as_u64().unwrap()).collect();
            assert!(numbers.is_sorted_by(|one, next| one < next), "{path} lists a number twice: {numbers:?}");
            let by_number: BTreeMap<_, _> = numbers.iter().zip(&shown).collect();
            for (number, body) in acknowledged {
                let item = by_number.get(number);
                if !item.is_some_and(|item| body.as_ref().is_none_or(|body| item["body"] == body.as_str())) {
                    self.lost += 1;
                    report(&format!("crashes: lost {path} {number} {body:?}, there is {item:?}"));
                }
            }
            let Some(chat) = path.strip_suffix("/messages") else {
                assert_eq!(api.read(application).await.json["chats_count"], shown.len(), "of {application}");
                continue;
            };
            let bodies: HashSet<_> = shown.iter().map(|item| item["body"].as_str()).collect();
            self.twice += shown.len() - bodies.len();
            assert_eq!(api.read(chat).await.json["messages_count"], shown.len(), "of {chat}");
            assert!(api.pages(&search_path(chat, WORD)).await.concat() == shown, "search and list of {chat} differ");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_or_numbered_twice_when_it_is_killed_again_and_again() {
    let rounds = number_from_env("CRASH_ROUNDS", 20);
    let mut random = StdRng::seed_from_u64(number_from_env("CRASH_SEED", 2));
    let directory = TempDir::new().unwrap();
    let mut ledger = Ledger::default();
    let mut tally = Tally::start(directory.path());
    let application = tally.api.application("killed").await;
    let chats = tally.api.chats(&application, 3).await;
    ledger.add((1..=3).map(|number| (format!("{application}/chats"), number, None)).collect());
    for round in 1..=rounds {
        let count = Arc::new(watch::Sender::new(0));
        let mut clients = JoinSet::new();
        for client in 0..8 {
            let path = match client {
                0 => format!("{application}/chats"),
                client => format!("{}/messages", chats[client % chats.len()]),
            };
            let name = format!("client {client} in round {round}");
            clients.spawn(write_until_gone(tally.api.clone(), path, name, Arc::clone(&count)));
        }
        // Kills it between its first commit and its three-hundredth.
        let enough = random.random_range(1..=300);
        let mut counted = count.subscribe();
        tokio::time::timeout(DEADLINE, counted.wait_for(|count| *count >= enough)).await.unwrap().unwrap();
        tally.kill();
        let mut requests = Vec::new();
        for (acknowledged, last) in clients.join_all().await {
            ledger.add(acknowledged);
            requests.extend(last);
        }
        tally = Tally::start(directory.path());
        tally.api.read_until_json("/health/ready", json!({ "status": "ok" })).await;
        ledger.retry(&tally.api, &application, requests).await;
        ledger.compare(&tally.api, &application).await;
    }
    tally.stop();
    let Ledger { acknowledged, retried, lost, twice, .. } = ledger;
    report(&format!(
        "crashes: rounds {rounds}, acknowledged {acknowledged}, retried {retried}, lost {lost}, twice {twice}"
    ));
    assert!(acknowledged as u64 >= rounds && retried as u64 >= rounds && lost == 0 && twice == 0);
}

// A full disk ---------------------------------------------------------------------------------------------------------

/// A file system of a few MiB. It is unmounted when the value is dropped.
struct SmallDisk {
    mounted_on: TempDir,
}

impl SmallDisk {
    /// `None` where mounting is not possible.
    fn mount() -> Option<Self> {
        let mounted_on = TempDir::new().unwrap();
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"]).arg(mounted_on.path()).output();
        mount.is_ok_and(|output| output.status.success()).then_some(Self { mounted_on })
    }

    fn ballast(&self) -> PathBuf {
        self.mounted_on.path().join("ballast")
    }

    /// Fills the disk but for `left` bytes.
    fn fill(&self, left: usize) {
        let mut ballast = File::create(self.ballast()).unwrap();
        while ballast.write_all(&[0; 4096]).is_ok() {}
        let length = ballast.metadata().unwrap().len();
        ballast.set_len(length.saturating_sub(left as u64)).unwrap();
    }

    fn make_room(&self) {
        std::fs::remove_file(self.ballast()).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily, since a process that is about to be killed may still have a file open.
        drop(Command::new("umount").arg("-l").arg(self.mounted_on.path()).status());
    }
}

/// Posts until this many posts were refused. Returns the acknowledged posts.
async fn post_until_full(api: Api, path: String, name: String, refusals: usize) -> Vec<Acknowledged> {
    let (mut acknowledged, mut refused) = (Vec::new(), 0);
    for index in 0.. {
        let body = format!("{WORD} {index} of {name} {}", "x".repeat(1000));
        let answer = api.try_write(&path, &[], &json!({ "message": { "body": body } })).await.unwrap();
        if answer.status == 201 {
            acknowledged.push((path.clone(), answer.number(), Some(body)));
            continue;
        }
        answer.assert_problem(503, "log-unavailable");
        assert!(answer.json["detail"].to_string().contains("nothing was written"), "{answer:?}");
        assert!(answer.header("retry-after").parse::<u64>().is_ok_and(|seconds| seconds > 0), "{answer:?}");
        refused += 1;
        if refused == refusals {
            break;
        }
    }
    acknowledged
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_writes_until_there_is_room_again() {
    let Some(disk) = SmallDisk::mount() else {
        report(
            "SKIPPED a_full_disk_refuses_writes_until_there_is_room_again: nothing can be mounted here, run it as root",
        );
        return;
    };
    let data = disk.mounted_on.path().join("data");
    let mut ledger = Ledger::default();
    let tally = Tally::start(&data);
    let api = &tally.api;
    let application = api.application("full").await;
    let chat = api.chat(&application).await;
    let path = format!("{chat}/messages");
    ledger.add(vec![(format!("{application}/chats"), 1, None)]);
    let first = api.post(&chat, &format!("{WORD} at first")).await;
    ledger.add(vec![(path.clone(), first, Some(format!("{WORD} at first")))]);
    // The projections do not advance on a full disk, so the message must be shown before the disk is filled.
    api.wait_for_messages(&chat, 1).await;

    // With no room, and with a little room for which the log and the projections compete.
    for (time, left) in [0, 300_000, 0].into_iter().enumerate() {
        disk.fill(left);
        let mut clients = JoinSet::new();
        for client in 0..4 {
            let name = format!("client {client} the {time}th time");
            clients.spawn(post_until_full(api.clone(), path.clone(), name, 5));
        }
        for acknowledged in clients.join_all().await {
            ledger.add(acknowledged);
        }
        for port in [Port::Write, Port::Read] {
            assert_eq!(api.plain(port, "GET".parse().unwrap(), "/health").await.status, 200, "{port:?}");
        }
        for read_path in [BASE, &application, &chat, &path, &search_path(&chat, WORD)] {
            let answer = api.read(read_path).await;
            assert_eq!(answer.status, 200, "{read_path}: {answer:?}");
            assert_ne!(answer.json, json!([]), "{read_path}");
        }

        disk.make_room();
        let body = format!("{WORD} after the {time}th time");
        let message = json!({ "message": { "body": body } });
        let posted = eventually("a post after room was made", async || {
            let answer = api.try_write(&path, &[], &message).await.unwrap();
            if answer.status == 201 { Ok(answer) } else { Err(answer) }
        });
        let number = posted.await.number();
        ledger.add(vec![(path.clone(), number, Some(body))]);
        api.read_until(&format!("{path}/{number}"), |answer| answer.status == 200).await;
        api.read_until(&search_path(&chat, &format!("after the {time}th")), |answer| {
            answer.json[0]["number"] == number
        })
        .await;
        api.read_until_json("/health/ready", json!({ "status": "ok" })).await;
        wait_until_the_counts_agree(api, &chat).await;
        ledger.compare(api, &application).await;
    }
    tally.stop();
    let tally = Tally::start(&data);
    ledger.compare(&tally.api, &application).await;
    assert_eq!((ledger.lost, ledger.twice), (0, 0), "of {}", ledger.acknowledged);
    tally.stop();
}

async fn wait_until_the_counts_agree(api: &Api, chat: &str) {
    eventually("all projections of the chat", async || {
        let listed = api.pages(&format!("{chat}/messages")).await.concat().len();
        let found = api.pages(&search_path(chat, WORD)).await.concat().len();
        let counted = api.read(chat).await.json["messages_count"].clone();
        if counted == listed && found == listed { Ok(()) } else { Err((counted, listed, found)) }
    })
    .await;
}

// Files ---------------------------------------------------------------------------------------------------------------

/// A data directory with a few hundred pages in both files, and what readers were shown of it.
struct Filled {
    directory: TempDir,
    application: String,
    chat: String,
    shown: Vec<Value>,
}

/// How many of the answers of [`Filled::read_all`] have counts.
const COUNTED: usize = 3;

impl Filled {
    /// Fills a new directory. The returned process has applied everything in its projections.
    async fn fill(before_messages: impl AsyncFn(Tally, &Path) -> Tally) -> (Self, Tally) {
        let directory = TempDir::new().unwrap();
        let tally = Tally::start(directory.path());
        let application = tally.api.application("filled").await;
        let chat = tally.api.chat(&application).await;
        let tally = before_messages(tally, directory.path()).await;
        let mut clients = JoinSet::new();
        for client in 0..8 {
            let (api, chat) = (tally.api.clone(), chat.clone());
            clients.spawn(async move {
                for index in 0..25 {
                    let text: String =
                        (0..150).map(|word| format!("{} ", client * 1_000_000 + index * 1_000 + word)).collect();
                    api.post(&chat, &format!("{WORD} {text}")).await;
                }
            });
        }
        clients.join_all().await;
        tally.api.wait_for_messages(&chat, 200).await;
        let mut filled = Self { directory, application, chat, shown: Vec::new() };
        filled.shown = filled.read_all(&tally.api).await;
        (filled, tally)
    }

    async fn running() -> (Self, Tally) {
        Self::fill(async |tally, _| tally).await
    }

    async fn stopped() -> Self {
        let (filled, tally) = Self::running().await;
        tally.stop();
        filled
    }

    /// Reads everything that readers are shown. The answers with counts come first; see [`COUNTED`].
    async fn read_all(&self, api: &Api) -> Vec<Value> {
        let mut shown = Vec::new();
        for path in [BASE, &self.application, &self.chat] {
            shown.push(api.read(path).await.json);
        }
        for path in
            [format!("{}/messages", self.chat), search_path(&self.chat, WORD), search_path(&self.chat, "3007042")]
        {
            shown.extend(api.pages(&path).await.concat());
        }
        shown
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The database of the live generation of `views`.
    fn views(&self) -> PathBuf {
        let manifest = std::fs::read_to_string(self.file("projections/generations.json")).unwrap();
        let manifest: Value = serde_json::from_str(&manifest).unwrap();
        self.file(&format!("projections/views-{}.sqlite", manifest["views"]["live"]))
    }

    /// Starts a process on the directory, and compares what it shows with what was shown before. Returns the lines that it logged
    /// until it was up.
    async fn start_and_compare(&self) -> Vec<String> {
        let tally = Tally::start(self.directory.path());
        tally.api.read_until_json("/health/ready", json!({ "status": "ok" })).await;
        assert!(self.read_all(&tally.api).await == self.shown, "other answers than before: {:?}", tally.before_up);
        let before_up = tally.before_up.clone();
        tally.stop();
        before_up
    }
}

fn cut_in_half(path: &Path) {
    cut(path, std::fs::metadata(path).unwrap().len() / 2);
}

fn cut(path: &Path, length: u64) {
    File::options().write(true).open(path).unwrap().set_len(length).unwrap();
}

/// Overwrites bytes with a value that no page contains.
fn overwrite(path: &Path, from: u64, to: u64) {
    let mut file = File::options().write(true).open(path).unwrap();
    file.seek(SeekFrom::Start(from)).unwrap();
    file.write_all(&vec![0xa5; (to - from).try_into().unwrap()]).unwrap();
}

fn overwrite_the_second_half(path: &Path) {
    let length = std::fs::metadata(path).unwrap().len();
    overwrite(path, length / 2 / 4096 * 4096, length);
}

#[tokio::test(flavor = "multi_thread")]
async fn projections_that_were_damaged_while_it_was_stopped_are_rebuilt() {
    let filled = Filled::stopped().await;
    let is_rebuilt = |logged: &[String]| logged.iter().any(|line| line.contains("rebuilt from the log"));
    let logged = filled.start_and_compare().await;
    assert!(!is_rebuilt(&logged), "nothing was damaged: {logged:?}");
    for damage in [cut_in_half, |path: &Path| cut(path, 100), |path: &Path| cut(path, 5000)] {
        damage(&filled.views());
        let logged = filled.start_and_compare().await;
        assert!(is_rebuilt(&logged), "damage was not noticed: {logged:?}");
        let logged = filled.start_and_compare().await;
        assert!(!is_rebuilt(&logged), "the rebuilt projections are damaged too: {logged:?}");
    }
    std::fs::remove_file(filled.views()).unwrap();
    filled.start_and_compare().await;
    std::fs::remove_dir_all(filled.file("projections")).unwrap();
    filled.start_and_compare().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn overwritten_projections_are_found_beside_the_requests_and_rebuilt_by_the_next_start() {
    let filled = Filled::stopped().await;
    overwrite_the_second_half(&filled.views());
    let tally = Tally::start(filled.directory.path());
    let ready = tally.api.read_until("/health/ready", |answer| answer.status == 503).await;
    let reason = ready.json["parts"]["projections"].to_string();
    assert!(reason.contains("damaged") && reason.contains("restart tally"), "{ready:?}");
    tally.stop();
    let logged = filled.start_and_compare().await;
    assert!(logged.iter().any(|line| line.contains("rebuilt from the log")), "{logged:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn projections_whose_write_ahead_log_was_cut_or_lost_in_a_crash_show_the_same() {
    let damages: [fn(&Path); 4] = [
        cut_in_half,
        |wal| cut(wal, 0),
        |wal| std::fs::remove_file(wal).unwrap(),
        // The write-ahead log that is left must not be applied to a new file.
        |wal| std::fs::remove_file(wal.with_file_name("views-1.sqlite")).unwrap(),
    ];
    for damage in damages {
        let (filled, tally) = Filled::running().await;
        tally.kill();
        damage(&filled.file("projections/views-1.sqlite-wal"));
        filled.start_and_compare().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_of_the_projections_that_is_met_at_run_time_is_reported_with_what_to_do() {
    let filled = Filled::stopped().await;
    let views = filled.views();
    let tally = Tally::start(filled.directory.path());
    tally.api.read_until_json("/health/ready", json!({ "status": "ok" })).await;
    // Everything but the schema. No message was read yet, so no message is in memory.
    overwrite(&views, 40 * 4096, std::fs::metadata(&views).unwrap().len());
    let messages = tally.api.read(&format!("{}/messages", filled.chat)).await;
    messages.assert_problem(503, "views-unavailable");
    let line = tally.wait_for_line("the projections are damaged");
    assert!(line.contains("restart tally") && line.contains(views.to_str().unwrap()), "{line}");
    let not_ready = |answer: &Answer| answer.status == 503;
    let ready = tally.api.read_until("/health/ready", not_ready).await;
    assert!(ready.json.to_string().contains("views-1.sqlite"), "{ready:?}");
    assert_eq!(tally.api.read("/health").await.status, 200);
    tally.stop();
    let logged = filled.start_and_compare().await;
    assert!(logged.iter().any(|line| line.contains("rebuilt from the log")), "{logged:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_with_a_damaged_page_ends_the_readiness_of_the_write_port_alone() {
    let filled = Filled::stopped().await;
    let log = filled.file("log.sqlite");
    // After a clean stop no check runs, so the first post finds it.
    let page = find_page_of_counters(&log);
    filled.start_and_compare().await;
    let tally = Tally::start(filled.directory.path());
    overwrite(&log, page.start, page.end);
    let messages = format!("{}/messages", filled.chat);
    let posted = tally.api.write(Method::POST, &messages, &json!({ "message": { "body": "hello" } })).await;
    posted.assert_problem(503, "numbers-unavailable");
    let line = tally.wait_for_line("the event log is damaged");
    assert!(line.contains("tally verify") && line.contains(RESTORE), "{line}");
    expect_damaged_log(&tally, &messages).await;
    tally.stop();
    // The next start finds it before anybody posts.
    let tally = Tally::start(filled.directory.path());
    expect_damaged_log(&tally, &messages).await;
    tally.stop();
}

/// Finds the page that every post needs and no start reads.
fn find_page_of_counters(log: &Path) -> Range<u64> {
    let connection = Connection::open(log).unwrap();
    let sql = "SELECT rootpage FROM sqlite_schema WHERE name = 'counters'";
    let page: u32 = connection.query_row(sql, (), |row| row.get(0)).unwrap();
    let page = u64::from(page);
    (page - 1) * 4096..page * 4096
}

async fn expect_damaged_log(tally: &Tally, messages: &str) {
    let not_ready = eventually("the end of readiness", async || {
        let answer = tally.api.plain(Port::Write, Method::GET, "/health/ready").await;
        if answer.status == 503 { Ok(answer) } else { Err(answer) }
    });
    let reason = not_ready.await.json["parts"]["log.sqlite"].to_string();
    assert!(reason.contains("damaged") && reason.contains(RESTORE), "{reason}");
    tally.api.wait_until_ready(Port::Read).await;
    assert_eq!(tally.api.read(messages).await.status, 200);
}

const RESTORE: &str = "restore the data directory from a copy";

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_cut_is_refused_and_left_as_it_is() {
    let filled = Filled::stopped().await;
    let log = filled.file("log.sqlite");
    let whole = std::fs::read(&log).unwrap();
    for length in [whole.len() as u64 / 2, whole.len() as u64 - 4096, 5000, 10] {
        cut(&log, length);
        for _ in 0..2 {
            let error = expect_refusal(filled.directory.path(), &[]);
            assert!(error.contains(RESTORE) && error.contains("log.sqlite"), "{length}: {error}");
            let left = std::fs::read(&log).unwrap();
            assert!(left.len() as u64 == length && whole.starts_with(&left), "the log was changed");
        }
        std::fs::write(&log, &whole).unwrap();
    }
    for gone in [|log: &Path| cut(log, 0), |log: &Path| std::fs::remove_file(log).unwrap()] {
        gone(&log);
        for _ in 0..2 {
            let error = expect_refusal(filled.directory.path(), &[]);
            assert!(error.contains(RESTORE) && error.contains("delete the directory projections"), "{error}");
        }
        for suffix in ["-wal", "-shm"] {
            drop(std::fs::remove_file(filled.file(&format!("log.sqlite{suffix}"))));
        }
        std::fs::write(&log, &whole).unwrap();
    }
    filled.start_and_compare().await;
}

/// SQLite takes the size of the database from the write-ahead log, and does not compare it with the file.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_cut_beside_its_write_ahead_log_is_refused_and_left_as_it_is() {
    let filled = Filled::stopped().await;
    let (log, wal) = (filled.file("log.sqlite"), filled.file("log.sqlite-wal"));
    let tally = Tally::start(filled.directory.path());
    tally.api.post(&filled.chat, "one more").await;
    tally.kill();
    cut_in_half(&log);
    let before = (std::fs::read(&log).unwrap(), std::fs::read(&wal).unwrap());
    assert!(!before.1.is_empty());
    for _ in 0..2 {
        let error = expect_refusal(filled.directory.path(), &[]);
        assert!(error.contains(RESTORE) && error.contains("has been cut"), "{error}");
        assert!((std::fs::read(&log).unwrap(), std::fs::read(&wal).unwrap()) == before, "the log was changed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_whose_write_ahead_log_was_cut_or_lost_in_a_crash_is_refused() {
    let damages: [fn(&Path); 4] = [
        cut_in_half,
        // Less than the pages that create all tables.
        |wal| cut(wal, 32 + 3 * (24 + 4096)),
        |wal| cut(wal, 0),
        |wal| std::fs::remove_file(wal).unwrap(),
    ];
    let restarted = async |tally: Tally, path: &Path| {
        tally.stop();
        Tally::start(path)
    };
    for damage in damages {
        let young = Filled::running().await;
        let older = Filled::fill(restarted).await;
        for (filled, tally) in [young, older] {
            tally.kill();
            damage(&filled.file("log.sqlite-wal"));
            for _ in 0..2 {
                let error = expect_refusal(filled.directory.path(), &[]);
                assert!(error.contains(RESTORE) && error.contains("delete the directory projections"), "{error}");
            }
        }
    }
}

// Newer versions ------------------------------------------------------------------------------------------------------

/// Sets the number of migrations that the log has to that of a newer version.
fn add_a_newer_migration(log: &Path) {
    let connection = Connection::open(log).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_with_a_migration_of_a_newer_version_is_refused() {
    let filled = Filled::stopped().await;
    let log = filled.file("log.sqlite");
    add_a_newer_migration(&log);
    let before = std::fs::read(&log).unwrap();
    let error = expect_refusal(filled.directory.path(), &[]);
    assert!(
        error.contains("another version of Tally") && error.contains("a newer one") && error.contains("99"),
        "{error}"
    );
    assert!(std::fs::read(&log).unwrap() == before, "the log was changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_a_newer_version_stops_views_and_search_but_neither_counts_nor_writes_nor_reads() {
    let filled = Filled::stopped().await;
    append_an_event_of_version_99(filled.directory.path()).await;
    let tally = Tally::start(filled.directory.path());
    for projection in ["views", "search"] {
        let names_it = |answer: &Answer| {
            let reason = answer.json["parts"][projection].to_string();
            answer.status == 503 && reason.contains("99") && reason.contains("MessagePosted")
        };
        tally.api.read_until("/health/ready", names_it).await;
    }
    assert_eq!(tally.api.post(&filled.chat, "written on").await, 202, "the newer version has posted 201");
    // Numbers are in the headers, which every version can read.
    tally.api.read_until(&filled.chat, |chat| chat.json["messages_count"] == 202).await;
    let shown = filled.read_all(&tally.api).await;
    assert!(shown[COUNTED..] == filled.shown[COUNTED..], "the views have changed");
    assert_eq!(tally.api.read("/health").await.status, 200);
    tally.stop();
}

async fn append_an_event_of_version_99(data: &Path) {
    let data_dir = DataDir::open(data).unwrap();
    let log = data_dir.open_log().unwrap();
    let limit = ReadLimit { records: 1000, wait: Duration::ZERO };
    let last = log.read(PartitionId(0), Offset::START, limit).await.unwrap().events.pop().unwrap();
    let mut newer = last.record;
    assert_eq!(newer.event_type, "MessagePosted");
    newer.version = 99;
    newer.number = Number::new(201);
    log.append(newer).await.unwrap();
    log.close().await;
}
