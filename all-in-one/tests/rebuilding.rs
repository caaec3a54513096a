//! Projections of a running tally are made anew while people read and write.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

mod command;
#[expect(dead_code, reason = "tests/process.rs uses the rest")]
mod tally;

use std::ops::Range;
use std::path::Path;

use command::run;
use reqwest::Method;
use serde_json::{Value, json};
use tally::Tally;
use tempfile::TempDir;
use testkit::polling::eventually;
use testkit::scenarios::{Api, Port, search_path};
use tokio_util::sync::CancellationToken;

/// Messages before a rebuild: several batches of every projection.
const MESSAGES: usize = 1_500;
/// A word in every body.
const WORD: &str = "needle";

/// The file that names the generations.
fn read_manifest(data: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(data.join("projections/generations.json")).unwrap()).unwrap()
}

/// Fills a chat, and returns its path.
async fn fill(api: &Api) -> String {
    let application = api.application("rebuilt").await;
    let chat = api.chat(&application).await;
    for number in 0..MESSAGES {
        api.post(&chat, &format!("{WORD} {number}")).await;
    }
    api.wait_for_messages(&chat, MESSAGES).await;
    chat
}

/// Posts until `stop`. Returns how many messages it has posted.
async fn write_until(api: Api, chat: String, stop: CancellationToken) -> u64 {
    let mut posted = 0;
    while !stop.is_cancelled() {
        api.post(&chat, WORD).await;
        posted += 1;
    }
    posted
}

/// Reads every view until `stop`. Panics at an error, at an empty answer and at a step back.
async fn read_until(api: Api, chat: String, stop: CancellationToken) -> u64 {
    let (mut counted, mut last, mut rounds) = (0, 0, 0);
    while !stop.is_cancelled() {
        let shown = api.read(&chat).await;
        let count = shown.json["messages_count"].as_u64().unwrap_or_else(|| panic!("{shown:?}"));
        assert!(count >= counted, "{count} messages were counted after {counted}");
        counted = count;
        for path in [
            format!("{chat}/messages?order=desc&limit=1"),
            format!("{}&before=4294967295&limit=1", search_path(&chat, WORD)),
        ] {
            let newest = api.read(&path).await;
            let number = newest.json[0]["number"].as_u64().unwrap_or_else(|| panic!("{path}: {newest:?}"));
            if path.contains("order=desc") {
                assert!(number >= last, "message {number} was the newest after {last}");
                last = number;
            }
            assert!(number >= MESSAGES as u64, "{path}: message {number} was the newest");
        }
        rounds += 1;
    }
    rounds
}

#[tokio::test(flavor = "multi_thread")]
async fn while_projections_are_made_anew_nobody_sees_an_error_an_empty_answer_or_a_step_back() {
    let directory = TempDir::new().unwrap();
    let tally = Tally::start(directory.path());
    let chat = fill(&tally.api).await;
    let stop = CancellationToken::new();
    let writing = tokio::spawn(write_until(tally.api.clone(), chat.clone(), stop.clone()));
    let reading = tokio::spawn(read_until(tally.api.clone(), chat.clone(), stop.clone()));
    for target in ["views", "counts", "search", "all"] {
        let (code, output, error) = run(directory.path(), &["rebuild", target]).await;
        assert_eq!(code, Some(0), "{target}: {output}{error}");
        assert!(output.starts_with("made "), "{output}");
    }
    let (code, output, error) = run(directory.path(), &["verify"]).await;
    assert_eq!(code, Some(0), "{output}{error}");
    stop.cancel();
    let posted = writing.await.unwrap();
    assert!(posted > 0 && reading.await.unwrap() > 0);
    tally.api.wait_for_messages(&chat, MESSAGES + usize::try_from(posted).unwrap()).await;
    let manifest = read_manifest(directory.path());
    for projection in ["views", "counts", "search"] {
        // The first, two that were made anew, and one for the comparison.
        assert_eq!(manifest[projection], json!({ "live": 3, "building": null, "last": 4 }), "{projection}");
    }
    let databases = std::fs::read_dir(directory.path().join("projections")).unwrap();
    let databases =
        databases.filter(|file| file.as_ref().unwrap().path().extension().is_some_and(|end| end == "sqlite"));
    assert_eq!(databases.count(), 3, "former generations are deleted");
    tally.stop();
}

/// Whenever the process is killed, the next rebuild goes on, and its result is right.
#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_that_was_killed_goes_on_after_the_restart() {
    let directory = TempDir::new().unwrap();
    let mut tally = Tally::start(directory.path());
    let chat = fill(&tally.api).await;
    for _ in 0..2 {
        let before = read_manifest(directory.path());
        let path = directory.path().to_owned();
        let rebuilding = tokio::spawn(async move { run(&path, &["rebuild"]).await });
        eventually("a begun generation", async || {
            let manifest = read_manifest(directory.path());
            if manifest != before || rebuilding.is_finished() { Ok(()) } else { Err(manifest) }
        })
        .await;
        tally.kill();
        // It was cut off, or has come to its end before.
        rebuilding.await.unwrap();
        tally = Tally::start(directory.path());
        tally.api.wait_for_messages(&chat, MESSAGES).await;
    }
    let (code, output, error) = run(directory.path(), &["rebuild"]).await;
    assert_eq!(code, Some(0), "{output}{error}");
    let (code, output, error) = run(directory.path(), &["verify"]).await;
    assert_eq!(code, Some(0), "{output}{error}");
    tally.api.wait_for_messages(&chat, MESSAGES).await;
    tally.stop();
}

/// Overwrites a part of a database.
fn overwrite(database: &Path, part: impl FnOnce(usize) -> Range<usize>) {
    let mut bytes = std::fs::read(database).unwrap();
    let part = part(bytes.len());
    bytes[part].fill(0xa5);
    let mut file = std::fs::File::options().write(true).open(database).unwrap();
    std::io::Write::write_all(&mut file, &bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_mends_damage_without_a_restart() {
    let directory = TempDir::new().unwrap();
    let tally = Tally::start(directory.path());
    let chat = fill(&tally.api).await;
    tally.stop();
    // The pages behind the first have the messages; without the first page nothing can be read.
    for part in [|length| 4_096..length, |_| 0..4_096] as [fn(usize) -> Range<usize>; 2] {
        let tally = Tally::start(directory.path());
        tally.api.wait_until_ready(Port::Read).await;
        let live = &read_manifest(directory.path())["views"]["live"];
        overwrite(&directory.path().join(format!("projections/views-{live}.sqlite")), part);
        tally.api.read_until(&format!("{chat}/messages"), |answer| answer.status == 503).await;
        tally.api.read_until("/health/ready", |answer| answer.status == 503).await;
        let (code, output, error) = run(directory.path(), &["rebuild", "views"]).await;
        assert_eq!(code, Some(0), "{output}{error}");
        tally.api.wait_until_ready(Port::Read).await;
        tally.api.wait_for_messages(&chat, MESSAGES).await;
        tally.stop();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verification_that_finds_a_damaged_record_ends_the_readiness_of_the_write_port() {
    let directory = TempDir::new().unwrap();
    let tally = Tally::start(directory.path());
    fill(&tally.api).await;
    let log = rusqlite::Connection::open(directory.path().join("log.sqlite")).unwrap();
    log.busy_timeout(tally::DEADLINE).unwrap();
    log.execute("UPDATE events SET data = CAST('{}' AS BLOB) WHERE log_offset = 5", ()).unwrap();
    let (code, output, _) = run(directory.path(), &["verify"]).await;
    assert_eq!(code, Some(3), "{output}");
    eventually(
        "the end of readiness",
        async || {
            if tally.api.is_ready(Port::Write).await { Err("it is ready") } else { Ok(()) }
        },
    )
    .await;
    tally.api.wait_until_ready(Port::Read).await;
    let (code, output, error) = run(directory.path(), &["rebuild"]).await;
    assert!(code == Some(1) && error.contains("restore the data directory from a copy"), "{output}{error}");
    tally.stop();
}

/// A web page can send a form to any address of its visitor's machine, but no JSON.
#[tokio::test(flavor = "multi_thread")]
async fn the_operators_port_takes_the_key_json_only_and_one_operation_at_a_time() {
    let directory = TempDir::new().unwrap();
    let tally = Tally::start(directory.path());
    fill(&tally.api).await;
    let lock = std::fs::read_to_string(directory.path().join("tally.lock")).unwrap();
    let [_, address, key] = lock.lines().collect::<Vec<_>>()[..] else { panic!("{lock}") };
    let (operator, bearer) = (format!("http://{address}"), format!("Bearer {key}"));
    let operator = Api::new(&operator, &operator);
    let credential = [("authorization", bearer.as_str())];
    assert_eq!(operator.read_with("/operation", &credential).await.status, 404);
    let wrong = format!("Bearer {}", uuid::Uuid::nil());
    for wrong in [&[][..], &[("authorization", wrong.as_str())], &[("authorization", key)]] {
        assert_eq!(operator.read_with("/operation", wrong).await.status, 401);
        assert_eq!(operator.write_with(Method::POST, "/operation", wrong, &json!({})).await.status, 401);
    }
    let rebuild = json!({ "operation": { "rebuild": { "target": "all", "keep_ms": 0 } } });
    let verify = json!({ "operation": { "verify": { "target": "all", "swap": false, "keep_ms": 0 } } });
    for content_type in ["text/plain", "application/x-www-form-urlencoded"] {
        let headers = [credential[0], ("content-type", content_type)];
        let answer = operator.write_with(Method::POST, "/operation", &headers, &rebuild).await;
        assert_eq!(answer.status, 415, "{answer:?}");
    }
    for body in [json!({}), json!({ "operation": { "rebuild": { "target": "nothing", "keep_ms": 0 } } })] {
        assert_eq!(operator.write_with(Method::POST, "/operation", &credential, &body).await.status, 422, "{body}");
    }
    let started = operator.write_with(Method::POST, "/operation", &credential, &rebuild).await;
    assert_eq!((started.status, &started.json["operation"]), (202, &rebuild["operation"]));
    let joined = operator.write_with(Method::POST, "/operation", &credential, &rebuild).await;
    let other = operator.write_with(Method::POST, "/operation", &credential, &verify).await;
    // The rebuild may have ended meanwhile.
    assert!(joined.status == 202 && [202, 409].contains(&other.status), "{joined:?} {other:?}");
    let ended = eventually("the end of the operation", async || {
        let answer = operator.read_with("/operation", &credential).await;
        if answer.json["outcome"].is_null() { Err(answer) } else { Ok(answer) }
    });
    let ended = ended.await;
    assert!(ended.json["outcome"]["done"]["is_good"] == true, "{ended:?}");
    tally.stop();
}

/// Takes from `views` what the release before did not write.
const MAKE_VERSION_2: &str = "DROP TABLE feed; DROP TABLE feed_blocks; DROP TABLE feed_applications; DROP TABLE feed_names; \
                              DROP TABLE views_version; PRAGMA user_version = 2;";

/// Nobody has to ask for it.
#[tokio::test(flavor = "multi_thread")]
async fn views_of_the_release_before_are_made_anew_while_people_read() {
    let directory = TempDir::new().unwrap();
    let tally = Tally::start(directory.path());
    let chat = fill(&tally.api).await;
    tally.stop();
    let database = directory.path().join("projections/views-1.sqlite");
    rusqlite::Connection::open(database).unwrap().execute_batch(MAKE_VERSION_2).unwrap();
    let tally = Tally::start(directory.path());
    let stop = CancellationToken::new();
    let reading = tokio::spawn(read_until(tally.api.clone(), chat.clone(), stop.clone()));
    eventually("views of this release", async || {
        let manifest = read_manifest(directory.path());
        if manifest["views"]["live"] == 2 { Ok(()) } else { Err(manifest) }
    })
    .await;
    stop.cancel();
    reading.await.unwrap();
    let (code, output, error) = run(directory.path(), &["verify"]).await;
    assert_eq!(code, Some(0), "{output}{error}");
    assert_eq!(read_manifest(directory.path())["counts"]["live"], 1, "the others are as they were");
    tally.stop();
}
