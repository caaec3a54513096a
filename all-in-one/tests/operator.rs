//! The operator's commands on a stopped data directory: status, verify, rebuild, and shell completions.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::fs::File;
use std::path::Path;
use std::process::{Command, Output};

use all_in_one::Process;
use all_in_one::cli::Cli;
use all_in_one::data::Data;
use clap::Parser;
use event_log::EventLog;
use events::{
    ChatApplicationCreated, ChatKey, ChatNumber, Event, KnownRecord, MessageNumber, Record, RecordId, StreamKey,
};
use projector::Fatal;
use read_model::{ChatCounts, Checkpoint, CheckpointMove, CountsChanges, Projection, ProjectionStore, ViewsChanges};
use reqwest::Method;
use serde_json::Value;
use tempfile::TempDir;
use testkit::histories::{record, token};
use testkit::polling::eventually;
use testkit::scenarios::{Api, BASE, Port};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const VIEWS: &str = "projections/views-1.sqlite";
const COUNTS: &str = "projections/counts-1.sqlite";
const SEARCH: &str = "projections/search-1.sqlite";

/// Copies a stopped data directory.
fn copy_data(original: &Path) -> TempDir {
    let directory = TempDir::new().unwrap();
    std::fs::create_dir(directory.path().join("projections")).unwrap();
    for file in ["log.sqlite", VIEWS, COUNTS, SEARCH, "projections/generations.json"] {
        std::fs::copy(original.join(file), directory.path().join(file)).unwrap();
    }
    directory
}

/// Runs `tally`. Returns its exit code, standard output and standard error.
fn tally(data: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tally"));
    let Output { status, stdout, stderr } = command.args(arguments).env("TALLY_DATA", data).output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// A stopped data directory with an application, two chats and three messages, and the path of the application.
async fn stopped_data() -> (TempDir, String) {
    let directory = TempDir::new().unwrap();
    let (api, stop, process) = start(directory.path()).await;
    let application = api.application("operated").await;
    let chat = api.chat(&application).await;
    api.chat(&application).await;
    api.post_all(&chat, &["one", "two", "three"]).await;
    api.read_until(&application, |answer| answer.json["chats_count"] == 2).await;
    stop.cancel();
    process.await.unwrap().unwrap();
    (directory, application)
}

async fn start(data: &Path) -> (Api, CancellationToken, tokio::task::JoinHandle<Result<(), Fatal>>) {
    let data = data.to_str().unwrap();
    let ports = ["--write-addr", "--read-addr", "--operator-addr"].into_iter().flat_map(|flag| [flag, "127.0.0.1:0"]);
    let arguments = ["tally", "serve", "--data", data].into_iter().chain(ports);
    let Some(all_in_one::cli::Command::Serve(config)) = Cli::parse_from(arguments).command else { panic!("not serve") };
    let stop = CancellationToken::new();
    let process = Process::start(&config, stop.clone()).await.unwrap();
    let api = Api::new(&format!("http://{}", process.write_addr()), &format!("http://{}", process.read_addr()));
    (api, stop, tokio::spawn(process.wait()))
}

/// Writes a row that no event explains.
async fn tamper(data: &Path, application: &str) {
    let data = Data::open(data).await.unwrap();
    let token = application.rsplit('/').next().unwrap().parse().unwrap();
    let chat = ChatKey { token, number: ChatNumber::new(1).unwrap() };
    let mut counts = ChatCounts::default();
    counts.see(MessageNumber::new(9).unwrap());
    for feed in data.feeds().await.unwrap() {
        if feed.projection() == Projection::Counts {
            let checkpoint = feed.checkpoint().await.unwrap();
            let checkpoint_move = CheckpointMove { partition: feed.partition, from: checkpoint.next, to: checkpoint };
            let chats = [(chat, counts.clone())].into();
            data.projections
                .apply_counts(checkpoint_move, CountsChanges { chats, ..CountsChanges::default() })
                .await
                .unwrap();
        }
    }
    data.close().await;
}

/// Makes a checkpoint of `views` tell another record than that of the log.
async fn replace_known_record(data: &Path) {
    let data = Data::open(data).await.unwrap();
    let feed = data.feeds().await.unwrap().into_iter().find(|feed| feed.projection() == Projection::Views).unwrap();
    let checkpoint = feed.checkpoint().await.unwrap();
    let record = checkpoint.record.map(|record| KnownRecord { id: RecordId(Uuid::now_v7()), ..record });
    let to = Checkpoint { record, ..checkpoint };
    let checkpoint_move = CheckpointMove { partition: feed.partition, from: checkpoint.next, to };
    data.projections.apply_views(checkpoint_move, ViewsChanges::default()).await.unwrap();
    data.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn projections_of_other_records_are_refused_until_a_rebuild() {
    let (directory, application) = stopped_data().await;
    replace_known_record(directory.path()).await;
    let ports = ["--write-addr", "127.0.0.1:0", "--read-addr", "127.0.0.1:0", "--operator-addr", "127.0.0.1:0"];
    let (code, _, error) = tally(directory.path(), &ports);
    assert_eq!(code, Some(1), "{error}");
    assert!(error.contains("tally rebuild") && error.contains("has another record"), "{error}");
    let (code, _, error) = tally(directory.path(), &["rebuild", "views"]);
    assert_eq!(code, Some(0), "{error}");
    let (api, stop, process) = start(directory.path()).await;
    api.read_until(&application, |answer| answer.json["chats_count"] == 2).await;
    stop.cancel();
    process.await.unwrap().unwrap();
}

/// Its rows are what they should be, and it is of no use nevertheless: tally does not start with it.
#[tokio::test(flavor = "multi_thread")]
async fn verify_names_a_projection_that_was_made_from_another_log_and_mends_it() {
    let (directory, _) = stopped_data().await;
    replace_known_record(directory.path()).await;
    let (code, found, error) = tally(directory.path(), &["verify"]);
    assert_eq!(code, Some(3), "{found}{error}");
    assert!(found.contains("views: offset 5 of partition 0 has another record"), "{found}");
    let (code, mended, error) = tally(directory.path(), &["verify", "--swap"]);
    assert_eq!(code, Some(3), "{mended}{error}");
    assert!(mended.contains("readers use it: views") && mended.contains("what differed is mended"), "{mended}");
    let (code, good, error) = tally(directory.path(), &["verify"]);
    assert_eq!(code, Some(0), "{good}{error}");
    Data::open(directory.path()).await.unwrap().close().await;
}

/// Appends what this release cannot read, and an event behind it.
async fn append_newer(data: &Path) {
    let data = Data::open(data).await.unwrap();
    let known =
        record(&Event::ChatApplicationCreated(ChatApplicationCreated { token: token(1), name: "Zoë 7".into() }));
    for version in [99, known.version] {
        data.log.append(Record { version, ..known.clone() }).await.unwrap();
    }
    data.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_of_a_newer_version_is_parked_and_discarded_under_a_running_tally() {
    let (directory, _) = stopped_data().await;
    append_newer(directory.path()).await;
    let run = |arguments: &[&str]| tally(directory.path(), &[&["dead-letters"], arguments].concat());
    let stands_still = "partition 0 offset 6: the views stand still, it is ChatApplicationCreated version 99\n";
    assert_eq!(run(&["list"]), (Some(0), stands_still.to_owned(), String::new()), "of a stopped tally");
    let (api, stop, process) = start(directory.path()).await;
    assert_eq!(run(&["list"]).1, stands_still);
    let (_, masked, _) = run(&["show", "0", "6", "--show", "masked"]);
    assert!(masked.contains("xxx x") && !masked.contains("Zoë"), "{masked}");
    assert!(run(&["show", "0", "6", "--show", "full"]).1.contains("Zoë 7"));
    assert!(!run(&["show", "0", "6"]).1.contains("xxx"));
    for (refused, reason) in [
        (["park", "0", "5"], "can read the record"),
        (["park", "0", "99"], "has no record"),
        (["discard", "0", "6"], "no dead letter"),
    ] {
        let (code, _, error) = run(&refused);
        assert!(code == Some(1) && error.contains(reason), "{refused:?}: {error}");
    }
    assert_eq!(run(&["park", "0", "6"]).0, Some(0));
    let events = || tally(directory.path(), &["status", "views", "--json"]).1;
    let log_end = || serde_json::from_str::<Value>(&events()).unwrap()["events"].clone();
    let expect_done_before = |command: &str| {
        let end = log_end();
        let (code, said, error) = run(&[command, "0", "6"]);
        assert!(code == Some(0) && said.contains("before") && said.contains("nothing was done"), "{said}{error}");
        assert_eq!(log_end(), end, "it was appended again");
    };
    expect_done_before("park");
    // The event behind it is applied.
    let application = format!("{BASE}/{}", StreamKey::from(token(1)).to_text());
    eventually("the application", async || {
        let answer = api.plain(Port::Read, Method::GET, &application).await;
        if answer.status == 200 { Ok(()) } else { Err(answer) }
    })
    .await;
    let (_, listed, _) = run(&["list", "--show", "full"]);
    assert!(listed.contains("offset 6: dead letter") && listed.contains("an operator has parked it"), "{listed}");
    assert_eq!(tally(directory.path(), &["verify"]).0, Some(3), "a dead letter");
    expect_done_before("park");
    assert_eq!(run(&["discard", "0", "6"]).0, Some(0));
    expect_done_before("discard");
    eventually("the end of the dead letter", async || {
        let (_, listed, _) = run(&["list"]);
        if listed == "no dead letters\n" { Ok(()) } else { Err(listed) }
    })
    .await;
    expect_done_before("discard");
    assert!(run(&["show", "0", "6", "--show", "full"]).1.contains("discarded dead letter: "));
    // A replay comes to the same.
    assert_eq!(tally(directory.path(), &["verify"]).0, Some(0));
    stop.cancel();
    process.await.unwrap().unwrap();
    // Nobody is alarmed again by what was decided.
    for command in ["verify", "rebuild"] {
        let (code, _, logged) = tally(directory.path(), &[command]);
        assert!(code == Some(0) && !logged.contains("dead letter"), "{command}: {logged}");
    }
    assert_eq!(run(&["list"]).1, "no dead letters\n");
}

/// Also before the views have read the first decision, as while they are paused.
#[tokio::test(flavor = "multi_thread")]
async fn a_decision_that_the_views_have_not_read_yet_is_not_made_twice() {
    let (directory, _) = stopped_data().await;
    append_newer(directory.path()).await;
    let run = |arguments: &[&str]| tally(directory.path(), &[&["dead-letters"], arguments].concat());
    let park = || run(&["park", "0", "6"]);
    assert!(park().1.contains("is parked (marker at offset 8)"));
    assert!(park().1.contains("was parked before (marker at offset 8)"));
    let (_, stop, process) = start(directory.path()).await;
    eventually("the dead letter", async || {
        let (_, listed, _) = run(&["list"]);
        if listed.contains("offset 6: dead letter") { Ok(()) } else { Err(listed) }
    })
    .await;
    assert_eq!(tally(directory.path(), &["pause", "views"]).0, Some(0));
    let discard = || run(&["discard", "0", "6"]);
    assert!(discard().1.contains("is discarded (marker at offset 9)"));
    assert!(discard().1.contains("was discarded before (marker at offset 9"));
    assert_eq!(tally(directory.path(), &["resume", "views"]).0, Some(0));
    stop.cancel();
    process.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn status_shows_positions_and_sizes() {
    let (directory, _) = stopped_data().await;
    let (code, table, _) = tally(directory.path(), &["status"]);
    assert_eq!(code, Some(0));
    for name in ["views", "counts", "search", "events 6, dead letters 0"] {
        assert!(table.contains(name), "{table}");
    }
    let (code, json, _) = tally(directory.path(), &["status", "--json"]);
    let status: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((code, &status["events"]), (Some(0), &6.into()));
    assert_eq!(status["projections"].as_array().unwrap().len(), 3);
    assert_eq!(
        status["projections"][0],
        serde_json::json!({
            "name": "views", "version": 3, "generation": 1, "is_paused": false, "dead_letters": 0, "lag": 0, "lag_seconds": 0.0,
            "partitions": [{ "partition": 0, "position": 6, "end": 6, "lag": 0, "lag_seconds": 0.0 }]
        })
    );
    let (_, json, _) = tally(directory.path(), &["status", "counts", "--json"]);
    let one: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((one["projections"].as_array().unwrap().len(), &one["projections"][0]["name"]), (1, &"counts".into()));
    assert!(status["log_bytes"].as_u64() > Some(0) && status["projections_bytes"].as_u64() > Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_accepts_projections_of_the_log() {
    let (directory, _) = stopped_data().await;
    let (code, output, error) = tally(directory.path(), &["verify"]);
    assert_eq!((code, output.trim()), (Some(0), "6 events: every projection is what the log makes of it"), "{error}");
    let files: Vec<_> = std::fs::read_dir(directory.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert!(!files.iter().any(|name| name.to_string_lossy().contains("reference")), "{files:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_finds_a_row_that_no_event_explains_and_rebuild_repairs_it() {
    let (directory, application) = stopped_data().await;
    tamper(directory.path(), &application).await;
    let (code, output, error) = tally(directory.path(), &["verify"]);
    assert_eq!(code, Some(3), "{output} {error}");
    assert!(output.contains("counts: chat_counts lacks 1 rows and has 1 that it should not have"), "{output}");

    let (code, output, error) = tally(directory.path(), &["rebuild"]);
    assert_eq!((code, output.trim()), (Some(0), "made views, counts, search anew from 6 events"), "{error}");
    assert_eq!(tally(directory.path(), &["verify"]).0, Some(0));
    let (api, stop, process) = start(directory.path()).await;
    assert_eq!(api.read(&format!("{application}/chats/1")).await.json["messages_count"], 3);
    assert_eq!(api.read(&format!("{application}/chats/1/messages")).await.json.as_array().map(Vec::len), Some(3));
    assert_eq!(api.read(BASE).await.json.as_array().map(Vec::len), Some(1));
    stop.cancel();
    process.await.unwrap().unwrap();
}

/// It finds the difference as without `--swap`, and readers see the projection as it was made anew.
#[tokio::test(flavor = "multi_thread")]
async fn verify_with_swap_mends_what_differs_and_only_that() {
    let (directory, application) = stopped_data().await;
    tamper(directory.path(), &application).await;
    let (code, output, error) = tally(directory.path(), &["verify", "--swap"]);
    assert_eq!(code, Some(3), "{output}{error}");
    assert!(output.contains("chat_counts lacks 1 rows") && output.contains("readers use it: counts"), "{output}");
    assert!(output.contains("6 events: what differed is mended") && !output.contains("should be"), "{output}");
    let (_, json, _) = tally(directory.path(), &["status", "--json"]);
    let status: Value = serde_json::from_str(&json).unwrap();
    let generations: Vec<_> =
        status["projections"].as_array().unwrap().iter().map(|it| it["generation"].clone()).collect();
    assert_eq!(generations, [1, 2, 1], "{json}");
    let (code, output, error) = tally(directory.path(), &["verify", "--swap"]);
    assert_eq!(
        (code, output.trim_end()),
        (Some(0), "6 events: every projection is what the log makes of it"),
        "{error}"
    );
}

/// Changes of the projections, with the table in which `tally verify` must find each.
const CHANGED_PROJECTIONS: [(&str, &str, &str); 11] = [
    (VIEWS, "applications", "UPDATE applications SET name = 'other'"),
    (VIEWS, "renames", "INSERT INTO renames SELECT token, zeroblob(16) FROM applications"),
    (VIEWS, "chats", "UPDATE chats SET created_event = zeroblob(16) WHERE number = 1"),
    (VIEWS, "messages", "UPDATE messages SET body = 'other' WHERE body = 'two'"),
    (VIEWS, "messages", "DELETE FROM messages WHERE body = 'two'"),
    (
        VIEWS,
        "messages",
        "INSERT INTO messages (id, event_id, log_offset, created_at_ms, body) VALUES ((99 << 32) + 1, zeroblob(16), 9, 0, 'in no chat')",
    ),
    (VIEWS, "dead_letters", "INSERT INTO dead_letters VALUES (0, 3, zeroblob(16), 'no reason', NULL)"),
    (COUNTS, "chat_counts", "UPDATE chat_counts SET messages_count = 2 WHERE messages_count = 3"),
    (COUNTS, "application_counts", "UPDATE application_counts SET chats_count = 1"),
    (SEARCH, "search_extents", "UPDATE search_extents SET part = 1"),
    (SEARCH, "search_trigrams", "INSERT INTO search_trigrams (rowid, folded, chat) VALUES (9000, 'otherwise', 'xyz')"),
];

#[tokio::test(flavor = "multi_thread")]
async fn verify_finds_a_changed_row_of_every_table_of_the_projections() {
    let (original, _) = stopped_data().await;
    for (file, table, sql) in CHANGED_PROJECTIONS {
        let directory = copy_data(original.path());
        let (code, output) = verify_changed(directory.path(), file, sql);
        assert_eq!(code, Some(3), "{sql}: {output}");
        assert!(output.contains(&format!(": {table} lacks ")), "{sql}: {output}");
    }
}

/// The projections are the last copy of what lost events said.
#[tokio::test(flavor = "multi_thread")]
async fn rebuild_leaves_the_projections_of_a_log_that_has_lost_events() {
    let (original, _) = stopped_data().await;
    let other = TempDir::new().unwrap();
    Data::open(other.path()).await.unwrap().close().await;
    for lose in [
        &|log: &Path| std::fs::write(log, "").unwrap(),
        &|log: &Path| {
            let connection = rusqlite::Connection::open(log).unwrap();
            connection.execute_batch("DELETE FROM events WHERE log_offset > 3").unwrap();
        },
        &|log: &Path| {
            std::fs::copy(other.path().join("log.sqlite"), log).unwrap();
        },
    ] as [&dyn Fn(&Path); 3]
    {
        let directory = copy_data(original.path());
        lose(&directory.path().join("log.sqlite"));
        let (code, output, error) = tally(directory.path(), &["rebuild"]);
        assert_eq!(code, Some(1), "{output}{error}");
        assert!(error.contains("lost; restore the data directory from a copy"), "{error}");
        let views = rusqlite::Connection::open(directory.path().join(VIEWS)).unwrap();
        let messages: u32 = views.query_row("SELECT count(*) FROM messages", (), |row| row.get(0)).unwrap();
        assert_eq!(messages, 3);
    }
}

/// Changes a file with SQL; returns the exit code of `tally verify` and what it prints.
fn verify_changed(data: &Path, file: &str, sql: &str) -> (Option<i32>, String) {
    rusqlite::Connection::open(data.join(file)).unwrap().execute_batch(sql).unwrap();
    let (code, output, error) = tally(data, &["verify"]);
    // Only dead letters and damage are logged beside the report.
    let is_known = |line: &str| line.contains("it is a dead letter") || line.contains("the event log is damaged");
    assert!(error.lines().all(is_known), "{sql}: {error}");
    (code, output)
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_says_where_the_log_is_wrong() {
    for (sql, words) in [
        (
            "UPDATE events SET data = CAST('{}' AS BLOB) WHERE log_offset = 3",
            "log: the record at offset 3 is damaged: its columns do not have its checksum",
        ),
        ("DELETE FROM events WHERE log_offset = 3", "log: the record at offset 3 is damaged: it is missing"),
        (
            "UPDATE counters SET last_number = 1 WHERE last_number = 3",
            "log: table counters contradicts the records: 1 rows below the last number in the log",
        ),
        (
            "INSERT INTO requests (request_key, log_offset, elapsed_ms, latest_ms) VALUES (zeroblob(32), 3, 0, 0)",
            "log: table requests contradicts the records: 1 rows of a key that the log does not have",
        ),
    ] {
        let (directory, _) = stopped_data().await;
        let (code, output) = verify_changed(directory.path(), "log.sqlite", sql);
        assert_eq!(code, Some(3), "{sql}: {output}");
        assert!(output.contains(words), "{output}");
        assert!(output.contains("6 events: not as it should be"), "{output}");
        let is_damaged = sql.contains(" events ");
        assert_eq!(output.contains("restore the data directory from a copy"), is_damaged, "{output}");
        assert_eq!(output.contains("tally rebuild makes these tables again"), !is_damaged, "{output}");
        assert_eq!(tally(directory.path(), &["rebuild"]).0, Some(i32::from(is_damaged)));
        let verified = tally(directory.path(), &["verify"]);
        assert_eq!(verified.0, Some(if is_damaged { 3 } else { 0 }), "{verified:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_counts_records_without_checksums_and_accepts_them() {
    let (directory, _) = stopped_data().await;
    let old = "UPDATE events SET checksum = NULL WHERE log_offset < 2; UPDATE checksums SET first_offset = 2";
    let (code, output) = verify_changed(directory.path(), "log.sqlite", old);
    assert_eq!(code, Some(0), "{output}");
    assert!(output.contains("log: 2 records of older releases have no checksum"), "{output}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_tally_carries_the_commands_out() {
    let (directory, _) = stopped_data().await;
    let (_, stop, process) = start(directory.path()).await;
    let (code, status, _) = tally(directory.path(), &["status", "--json"]);
    let status: Value = serde_json::from_str(&status).unwrap();
    assert_eq!((code, &status["events"], &status["projections"][0]["lag"]), (Some(0), &6.into(), &0.into()));
    let (code, output, error) = tally(directory.path(), &["rebuild", "views"]);
    assert_eq!((code, output.trim_end()), (Some(0), "made views anew from 6 events"), "{error}");
    let (code, output, error) = tally(directory.path(), &["verify"]);
    assert_eq!(
        (code, output.trim_end()),
        (Some(0), "6 events: every projection is what the log makes of it"),
        "{error}"
    );
    stop.cancel();
    process.await.unwrap().unwrap();
}

/// A process that owns the directory, but has no operator's port yet, or is of an earlier release.
#[tokio::test(flavor = "multi_thread")]
async fn a_directory_whose_owner_takes_no_commands_is_left_alone() {
    let (directory, _) = stopped_data().await;
    let owner = Data::open(directory.path()).await.unwrap();
    for command in ["status", "verify", "rebuild"] {
        let (code, _, error) = tally(directory.path(), &[command]);
        assert_eq!(code, Some(1), "{command}");
        assert!(error.contains("is in use by another tally"), "{error}");
    }
    owner.close().await;
}

#[test]
fn completions_and_usage_need_no_data() {
    let nowhere = Path::new("/proc/nowhere");
    let (code, script, _) = tally(nowhere, &["completions", "bash"]);
    assert_eq!(code, Some(0));
    assert!(script.contains("rebuild") && script.contains("--public-read-url"), "{script}");
    let (code, help, _) = tally(nowhere, &["--help"]);
    assert_eq!(code, Some(0));
    assert!(help.contains("Exit codes") && help.contains("verify"), "{help}");
    assert_eq!(tally(nowhere, &["no-such-command"]).0, Some(2));
    assert_eq!(tally(nowhere, &["status", "--no-such-flag"]).0, Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn flags_may_stand_before_the_command() {
    let (directory, _) = stopped_data().await;
    let data = directory.path().to_str().unwrap();
    let nowhere = Path::new("/proc/nowhere");
    for arguments in [["--data", data, "status"], ["status", "--data", data]] {
        let (code, table, error) = tally(nowhere, &arguments);
        assert_eq!(code, Some(0), "{error}");
        assert!(table.contains("events 6"), "{table}");
    }
    let (code, _, error) = tally(directory.path(), &["--write-addr", "8080", "status"]);
    assert_eq!(code, Some(2), "{error}");
    assert!(error.contains("--write-addr"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_pipe_ends_a_command_quietly() {
    let (directory, _) = stopped_data().await;
    for (arguments, code) in [(&["status"][..], 0), (&["verify"], 0), (&["completions", "bash"], 0), (&["--help"], 0)] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = Command::new(env!("CARGO_BIN_EXE_tally"));
        let output = command.args(arguments).env("TALLY_DATA", directory.path()).stdout(writer).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), error.as_str()), (Some(code), ""), "{arguments:?}");
    }
}

#[test]
fn the_commands_make_no_data_directory() {
    let directory = TempDir::new().unwrap();
    let missing = directory.path().join("misspelt");
    for command in ["status", "verify", "rebuild"] {
        let (code, _, error) = tally(&missing, &[command]);
        assert_eq!(code, Some(1), "{command}");
        assert!(error.contains("there is no event log in") && error.contains("--data"), "{command}: {error}");
        assert!(!missing.exists(), "{command} made a directory");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn status_and_verify_neither_make_nor_replace_projections() {
    let damages: [fn(&Path); 3] = [
        |views| std::fs::remove_file(views).unwrap(),
        |views| std::fs::write(views, "not a database at all, but a text of some length").unwrap(),
        |views| File::options().write(true).open(views).unwrap().set_len(4_096).unwrap(),
    ];
    for damage in damages {
        let (directory, _) = stopped_data().await;
        let views = directory.path().join(VIEWS);
        damage(&views);
        let before = std::fs::read(&views).ok();
        for command in ["status", "verify"] {
            let (code, _, error) = tally(directory.path(), &[command]);
            assert_eq!(code, Some(1), "{command}");
            assert!(error.contains("views-1.sqlite") && error.contains("tally rebuild"), "{command}: {error}");
            assert!(std::fs::read(&views).ok() == before, "{command} changed the projections");
        }
        assert_eq!(tally(directory.path(), &["rebuild"]).0, Some(0));
        assert_eq!(tally(directory.path(), &["verify"]).0, Some(0));
    }
}

/// Whatever the file is that cannot be opened any more, permissions are not the reason.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn too_many_open_files_are_not_told_as_permissions() {
    let (directory, _) = stopped_data().await;
    let mut messages = String::new();
    for limit in 4..24 {
        let script = format!("ulimit -n {limit} && exec \"$0\" status");
        let mut command = Command::new("sh");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_tally")]).env("TALLY_DATA", directory.path());
        let output = command.output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!error.contains("permission"), "{limit}: {error}");
        messages.push_str(&error);
    }
    assert!(messages.contains("too many files are open: raise the limit"), "{messages}");
}
