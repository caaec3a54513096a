//! `tally` as a process: it starts, stops, refuses to start, and shows the same data after a restart.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

#[expect(dead_code, reason = "tests/crashes.rs uses the rest")]
mod tally;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use all_in_one::data::Data;
use event_log::EventLog;
use events::{ApplicationToken, ChatApplicationCreated, Event, EventId, Record, UnixMillis};
use reqwest::Method;
use serde_json::{Value, json};
use tally::{Tally, command, expect_exit, expect_refusal};
use tempfile::TempDir;
use testkit::scenarios::{Api, BASE, Port, search_path};

/// Reads everything about one chat.
async fn read_all(api: &Api, application: &str, chat: &str) -> Vec<Value> {
    let mut shown = Vec::new();
    for path in [
        BASE.to_owned(),
        application.to_owned(),
        chat.to_owned(),
        format!("{chat}/messages"),
        search_path(chat, "ssa"),
        search_path(chat, "ä"),
    ] {
        shown.push(api.read(&path).await.json);
    }
    shown
}

#[tokio::test(flavor = "multi_thread")]
async fn one_line_says_where_writes_and_reads_are_answered_and_where_the_data_is() {
    let directory = TempDir::new().unwrap();
    let tally = Tally::start(directory.path());
    assert!(tally.up_line.contains(directory.path().to_str().unwrap()), "{}", tally.up_line);
    assert_eq!(tally.api.read("/health").await.status, 200);
    tally.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_there_after_a_restart_and_after_the_views_were_deleted() {
    let directory = TempDir::new().unwrap();
    let tally = Tally::start(directory.path());
    let application = tally.api.application("kept").await;
    let chat = tally.api.chat(&application).await;
    tally.api.post_all(&chat, &["first message", "Mässage", "third"]).await;
    tally.api.read_until(&application, |answer| answer.json["chats_count"] == 1).await;
    let before = read_all(&tally.api, &application, &chat).await;
    tally.stop();

    let tally = Tally::start(directory.path());
    assert_eq!(read_all(&tally.api, &application, &chat).await, before);
    tally.stop();

    std::fs::remove_dir_all(directory.path().join("projections")).unwrap();
    let tally = Tally::start(directory.path());
    tally.api.read_until_json("/health/ready", json!({ "status": "ok" })).await;
    assert_eq!(read_all(&tally.api, &application, &chat).await, before, "a replay has changed the views");
    assert_eq!(tally.api.post(&chat, "numbers go on").await, 4);
    tally.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_after_a_restart_gets_the_first_answer() {
    let directory = TempDir::new().unwrap();
    let key = [("idempotency-key", "0123456789abcdef0123456789abcdef")];
    let created = json!({ "chat_application": { "name": "once" } });
    let message = json!({ "message": { "body": "once" } });
    let tally = Tally::start(directory.path());
    let application = tally.api.write_with(Method::POST, BASE, &key, &created).await;
    let chat = tally.api.chat(&format!("{BASE}/{}", application.json["token"].as_str().unwrap())).await;
    let messages = format!("{chat}/messages");
    let posted = tally.api.write_with(Method::POST, &messages, &key, &message).await;
    tally.stop();
    let tally = Tally::start(directory.path());
    assert_eq!(tally.api.write_with(Method::POST, BASE, &key, &created).await.json, application.json);
    let again = tally.api.write_with(Method::POST, &messages, &key, &message).await;
    assert_eq!((again.status, &again.json), (201, &posted.json));
    assert_eq!(again.header("log-position"), posted.header("log-position"));
    assert_eq!(tally.api.post(&chat, "next").await, 2);
    tally.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_log_cannot_be_written_posts_are_refused_and_only_reads_are_ready() {
    let directory = TempDir::new().unwrap();
    let tally = Tally::start(directory.path());
    let chat = tally.api.chat(&tally.api.application("stuck").await).await;
    assert_eq!(tally.api.post(&chat, "one").await, 1);
    let messages = format!("{chat}/messages");
    let message = json!({ "message": { "body": "x" } });
    let post = || tally.api.write_with(Method::POST, &messages, &[], &message);

    // Another process that writes to the log makes every write of tally fail, as a full disk does.
    let other = rusqlite::Connection::open(directory.path().join("log.sqlite")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(post().await.status, 503);
    let started = Instant::now();
    let refused = post().await;
    assert_eq!((refused.status, &refused.json["code"]), (503, &json!("log-unavailable")), "{}", refused.json);
    assert!(started.elapsed() < Duration::from_secs(1), "nobody waits for a log that is known to be away");
    wait_until_writes_are_not_ready(&tally.api).await;
    assert!(tally.api.is_ready(Port::Read).await);

    other.execute_batch("ROLLBACK").unwrap();
    tally.api.wait_until_ready(Port::Write).await;
    // The post that failed has used the number 2. The ones that were refused have used none.
    assert_eq!(tally.api.post(&chat, "three").await, 3);
    tally.stop();
}

/// Polls until the write port is not ready.
async fn wait_until_writes_are_not_ready(api: &Api) {
    const DEADLINE: Duration = Duration::from_secs(30);
    let started = Instant::now();
    while api.is_ready(Port::Write).await {
        assert!(started.elapsed() < DEADLINE, "the write port is ready");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_when_it_is_stopped_under_load() {
    let directory = TempDir::new().unwrap();
    let tally = Tally::start(directory.path());
    let chat = tally.api.chat(&tally.api.application("busy").await).await;
    let clients: Vec<_> = (0..8)
        .map(|client| {
            let (api, path) = (tally.api.clone(), format!("{chat}/messages"));
            tokio::spawn(async move { post_until_refused(&api, &path, client).await })
        })
        .collect();
    tally.api.read_until(&chat, |answer| answer.json["messages_count"].as_u64() > Some(100)).await;
    tally.stop();
    let mut acknowledged = Vec::new();
    for client in clients {
        acknowledged.extend(client.await.unwrap());
    }

    let tally = Tally::start(directory.path());
    tally.api.read_until_json("/health/ready", json!({ "status": "ok" })).await;
    let pages = tally.api.pages(&format!("{chat}/messages")).await;
    let kept: Vec<_> = pages.into_iter().flatten().collect();
    for message in &acknowledged {
        assert!(kept.contains(message), "{message} was acknowledged and is lost");
    }
    assert!(kept.len() >= acknowledged.len() && acknowledged.len() > 100);
    tally.stop();
}

/// Posts until the process refuses. Returns the acknowledged messages.
async fn post_until_refused(api: &Api, path: &str, client: u32) -> Vec<Value> {
    let mut acknowledged = Vec::new();
    for index in 0..1_000_000 {
        let body = format!("message {index} of client {client}");
        match api.try_write(path, &[], &json!({ "message": { "body": body } })).await {
            Some(answer) if answer.status == 201 => {
                acknowledged.push(json!({ "number": answer.json["number"], "body": body }));
            }
            _ => break,
        }
    }
    acknowledged
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_the_same_data_is_refused() {
    let directory = TempDir::new().unwrap();
    let tally = Tally::start(directory.path());
    let error = expect_refusal(directory.path(), &[]);
    assert!(error.contains("is in use by another tally") && error.contains(&tally.process.id().to_string()), "{error}");
    std::fs::remove_file(directory.path().join("tally.lock")).unwrap();
    let error = expect_refusal(directory.path(), &[]);
    assert!(error.contains("is in use by another tally"), "{error}");
    tally.stop();
}

#[test]
fn a_port_in_use_is_refused() {
    let (directory, taken) = (TempDir::new().unwrap(), std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let address = taken.local_addr().unwrap().to_string();
    let variables = ["TALLY_WRITE_ADDR", "TALLY_READ_ADDR", "TALLY_OPERATOR_ADDR"];
    for flag in variables {
        let free = variables.map(|name| (name, "127.0.0.1:0"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_tally"));
        let data = directory.path().join("data");
        let output = command.envs(free).env(flag, &address).env("TALLY_DATA", &data).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.contains(&format!("{address} is in use")) && error.contains("-addr"), "{error}");
        assert!(!data.exists(), "{error}");
    }
}

#[test]
fn data_that_cannot_be_written_is_refused() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = expect_refusal(&file.path().join("data"), &[]);
    assert!(error.contains("cannot be written") && error.contains("--data"), "{error}");
}

#[test]
fn a_misspelt_variable_or_flag_is_refused() {
    let directory = TempDir::new().unwrap();
    for variable in ["TALLY_REED_ADDR", "TALLY_DATTA"] {
        let error = expect_exit(command(directory.path(), &[]).env(variable, "127.0.0.1:1"), 2);
        assert!(error.contains(variable), "{error}");
    }
    for arguments in [
        &["--reed-addr", "x"][..],
        &["--public-read-url", "localhost"],
        &["--log", "no=such=filter"],
        &["--log", "verbose="],
        &["--log", "verbose"],
        &["--log-format", "xml"],
        &["--cors-origins", "x"],
        &["--idle-timeout", "0"],
    ] {
        let error = expect_exit(&mut command(directory.path(), arguments), 2);
        assert!(error.contains(arguments[0]), "{arguments:?}: {error}");
    }
    expect_exit(command(directory.path(), &[]).env("TALLY_LOG", "verbose="), 2);
}

#[test]
fn one_address_for_two_ports_is_refused_as_that_before_anything_is_made() {
    let parent = TempDir::new().unwrap();
    let data = parent.path().join("data");
    for (writes, reads, operator) in
        [("127.0.0.1:18080", "localhost:18080", "0"), ("0.0.0.0:18080", "18080", "0"), ("0", "18080", ":18080")]
    {
        let mut tally = Command::new(env!("CARGO_BIN_EXE_tally"));
        let arguments = ["--write-addr", writes, "--read-addr", reads, "--operator-addr", operator];
        let error = expect_exit(tally.args(arguments).arg("--data").arg(&data), 2);
        assert!(error.contains("cannot both listen on 127.0.0.1:18080"), "{error}");
    }
    assert!(!data.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_variable_is_the_default() {
    let directory = TempDir::new().unwrap();
    let names = ["LOG", "CORS_ORIGINS", "HOSTS", "IDLE_TIMEOUT", "PUBLIC_READ_URL", "WRITE_ADDR", "READ_ADDR", "DATA"];
    let empty = names.map(|name| (format!("TALLY_{name}"), ""));
    let tally = Tally::start_with(command(directory.path(), &[]).envs(empty));
    assert_eq!(tally.api.read("/health").await.status, 200);
    tally.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_location_leads_to_the_read_port_wherever_that_is() {
    let directory = TempDir::new().unwrap();
    let tally = Tally::start(directory.path());
    let created = tally.api.write(Method::POST, BASE, &json!({ "chat_application": { "name": "found" } })).await;
    let reads = tally.up_line.split("reads on ").nth(1).unwrap().split(',').next().unwrap();
    let location = created.header("location");
    assert_eq!(location, format!("{reads}{BASE}/{}", created.json["token"].as_str().unwrap()));
    assert!(location.starts_with("http://127.0.0.1:"), "{location}");
    tally.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_has_lost_its_end_is_refused() {
    let directory = TempDir::new().unwrap();
    let (log, copy) = (directory.path().join("log.sqlite"), directory.path().join("copy"));
    let tally = Tally::start(directory.path());
    tally.api.application("kept").await;
    tally.stop();
    std::fs::copy(&log, &copy).unwrap();
    let tally = Tally::start(directory.path());
    let application = tally.api.application("lost").await;
    tally.api.read_until(&application, |answer| answer.status == 200).await;
    tally.stop();
    std::fs::rename(&copy, &log).unwrap();
    let error = expect_refusal(directory.path(), &[]);
    assert!(
        error.contains("1 more events than the event log holds") && error.contains("delete the directory projections"),
        "{error}"
    );
    std::fs::remove_dir_all(directory.path().join("projections")).unwrap();
    let tally = Tally::start(directory.path());
    assert_eq!(tally.api.read(&application).await.status, 404);
    tally.stop();
}

/// Projections that nothing refers to may be the last to have what the log has lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_has_lost_its_end_is_refused_before_former_projections_are_deleted() {
    let directory = TempDir::new().unwrap();
    let file = |name: &str| directory.path().join(name);
    let tally = Tally::start(directory.path());
    tally.api.application("kept").await;
    tally.stop();
    std::fs::copy(file("log.sqlite"), file("copy")).unwrap();
    let tally = Tally::start(directory.path());
    let application = tally.api.application("lost").await;
    tally.api.read_until(&application, |answer| answer.status == 200).await;
    tally.stop();
    std::fs::copy(file("copy"), file("log.sqlite")).unwrap();
    let keep_one = |place: &str| {
        std::fs::rename(file("projections/views-1.sqlite"), file("kept")).unwrap();
        std::fs::remove_dir_all(file("projections")).unwrap();
        std::fs::create_dir(file("projections")).unwrap();
        std::fs::rename(file("kept"), file(place)).unwrap();
    };
    // The file of the first releases, and a generation of which the lost list of generations says nothing.
    for former in ["views.sqlite", "projections/views-1.sqlite"] {
        keep_one(former);
        for _ in 0..2 {
            let error = expect_refusal(directory.path(), &[]);
            let says_what = error.contains("1 more events than the event log holds") && error.contains(former);
            assert!(says_what && file(former).exists(), "{error}");
        }
        std::fs::rename(file(former), file("projections/views-1.sqlite")).unwrap();
    }
    std::fs::remove_file(file("projections/views-1.sqlite")).unwrap();
    Tally::start(directory.path()).stop();
}

/// Puts a record into a new log that stops every projection.
async fn append_record_of_newer_version(directory: &Path) {
    let data = Data::open(directory).await.unwrap();
    let token = ApplicationToken::from_bytes([7; ApplicationToken::BYTES]);
    let created = Event::ChatApplicationCreated(ChatApplicationCreated { token, name: "newer".into() });
    let record = Record::encode(&created, EventId::NONE, UnixMillis(0)).unwrap();
    data.log.append(Record { version: u16::MAX, ..record }).await.unwrap();
    data.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_waits_is_refused_at_once_at_the_stop() {
    let directory = TempDir::new().unwrap();
    append_record_of_newer_version(directory.path()).await;
    let tally = Tally::start(directory.path());
    let address = tally.up_line.split("reads on http://").nth(1).unwrap().split(',').next().unwrap();
    let mut client = TcpStream::connect(address).unwrap();
    let awaited = "await-position: 0:1\r\nprefer: wait=10";
    write!(client, "GET {BASE} HTTP/1.1\r\nhost: localhost\r\n{awaited}\r\n\r\n").unwrap();
    // Connections are accepted in order: once a later one is answered, the server has this one.
    assert_eq!(tally.api.read("/health").await.status, 200);
    let stopping = Instant::now();
    tally.stop();
    assert!(stopping.elapsed() < Duration::from_secs(5), "{:?}", stopping.elapsed());
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("\"draining\""), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn projections_that_cannot_go_on_do_not_keep_the_write_port_from_being_ready() {
    let directory = TempDir::new().unwrap();
    append_record_of_newer_version(directory.path()).await;
    let tally = Tally::start(directory.path());
    let unready =
        tally.api.read_until("/health/ready", |answer| answer.json["parts"].to_string().contains("newer")).await;
    assert_eq!((unready.status, &unready.json["code"]), (503, &json!("not-ready")));
    let ready = tally.api.plain(Port::Write, Method::GET, "/health/ready").await;
    assert_eq!((ready.status, &ready.json), (200, &json!({ "status": "ok" })));
    let application = tally.api.application("written all the same").await;
    assert!(!application.is_empty());
    for port in [Port::Write, Port::Read] {
        let health = tally.api.plain(port, Method::GET, "/health").await;
        assert_eq!((health.status, &health.json["status"]), (200, &json!("ok")));
        // Counts read headers, which every version can read.
        for projection in ["views", "search"] {
            assert!(health.json["parts"][projection].is_string(), "{projection}: {health:?}");
        }
    }
    tally.stop();
}

/// Runs the check that containers run, which finds the ports in variables. Returns its code, what it prints, and its errors.
fn check_health(tally: &Tally) -> (Option<i32>, String, String) {
    let address = |before: &str| tally.up_line.split(before).nth(1).unwrap().split(',').next().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tally"));
    command.env("TALLY_WRITE_ADDR", address("writes on http://")).env("TALLY_READ_ADDR", address("reads on http://"));
    let output = command.arg("healthcheck").output().unwrap();
    let [printed, error] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    (output.status.code(), printed, error)
}

#[test]
fn a_health_check_that_finds_no_tally_says_how_to_name_its_ports() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tally"));
    let output = command.args(["healthcheck", "--write-addr", "127.0.0.1:1"]).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && error.contains("--write-addr and --read-addr"), "{error}");
    assert!(error.contains("nothing listens on 127.0.0.1:1"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_health_check_passes_while_both_ports_are_ready() {
    let directory = TempDir::new().unwrap();
    let tally = Tally::start(directory.path());
    tally.api.read_until_json("/health/ready", json!({ "status": "ok" })).await;
    let (code, printed, error) = check_health(&tally);
    assert!(
        code == Some(0) && printed.starts_with("tally is ready: writes on http://") && error.is_empty(),
        "{printed}{error}"
    );
    let other = rusqlite::Connection::open(directory.path().join("log.sqlite")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let created = json!({ "chat_application": { "name": "not written" } });
    assert_eq!(tally.api.write_with(Method::POST, BASE, &[], &created).await.status, 503);
    wait_until_writes_are_not_ready(&tally.api).await;
    let (code, _, error) = check_health(&tally);
    assert!(code == Some(1) && error.contains("log.sqlite"), "{error}");
    other.execute_batch("ROLLBACK").unwrap();
    tally.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_health_check_says_what_the_read_port_lacks() {
    let directory = TempDir::new().unwrap();
    append_record_of_newer_version(directory.path()).await;
    let tally = Tally::start(directory.path());
    tally.api.read_until("/health/ready", |answer| answer.json["parts"].to_string().contains("newer")).await;
    let (code, _, error) = check_health(&tally);
    assert!(code == Some(1) && error.contains("views"), "{error}");
    tally.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_web_page_cannot_reach_a_tally_on_loopback_through_a_name_of_its_own() {
    let directory = TempDir::new().unwrap();
    let tally = Tally::start_with(&mut command(directory.path(), &["--hosts", "chat.example.com"]));
    for (host, status) in [("chat.example.com", 200), ("localhost:3000", 200), ("evil.example:3000", 421)] {
        assert_eq!(tally.api.read_with("/health", &[("host", host)]).await.status, status, "{host}");
    }
    tally.stop();
    let tally = Tally::start(directory.path());
    tally.api.read_with(BASE, &[("host", "chat.example.com")]).await.assert_problem(421, "unknown-host");
    let created = json!({ "chat_application": { "name": "x" } });
    let answer = tally.api.write_with(Method::POST, BASE, &[("host", "evil.example")], &created).await;
    answer.assert_problem(421, "unknown-host");
    tally.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_beyond_the_log_is_409_at_once() {
    let directory = TempDir::new().unwrap();
    let tally = Tally::start(directory.path());
    let application = tally.api.application("app").await;
    let asked = Instant::now();
    for position in ["0:1000", "7:1"] {
        let headers = [("await-position", position), ("prefer", "wait=10")];
        tally.api.read_with(&application, &headers).await.assert_problem(409, "position-unknown");
    }
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    tally.stop();
}

/// The command, under these limits of open files.
fn with_open_files(data: &Path, soft: u32, hard: u32) -> Command {
    let tally = command(data, &[]);
    let mut limited = Command::new("sh");
    let limits = format!("ulimit -Sn {soft} && ulimit -Hn {hard} && exec \"$@\"");
    limited.arg("-c").arg(limits).arg("sh").arg(tally.get_program()).args(tally.get_args());
    for (name, value) in tally.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    limited.stderr(std::process::Stdio::piped()).stdout(std::process::Stdio::null());
    limited
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn the_limit_of_open_files_is_raised() {
    let directory = TempDir::new().unwrap();
    let tally = Tally::start_with(&mut with_open_files(directory.path(), 200, 900));
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", tally.process.id())).unwrap();
    let open_files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(open_files.split_whitespace().nth(3), Some("900"), "{open_files}");
    tally.stop();
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn idle_clients_keep_nobody_out_however_few_files_may_be_open() {
    const FILES: u32 = 200;
    let directory = TempDir::new().unwrap();
    let tally = Tally::start_with(&mut with_open_files(directory.path(), FILES, FILES));
    let chat = tally.api.chat(&tally.api.application("crowded").await).await;
    let address = |before: &str| tally.up_line.split(before).nth(1).unwrap().split(',').next().unwrap();
    let addresses = ["writes on http://", "reads on http://"].map(address);
    let connect = || addresses.map(|address| TcpStream::connect(address).unwrap());
    let idle: Vec<_> = (0..FILES).map(|_| connect()).collect();
    let [write_url, read_url] = addresses.map(|address| format!("http://{address}"));
    // A client of its own opens connections of its own.
    let newcomer = Api::new(&write_url, &read_url);
    let began = Instant::now();
    for number in 1..=20 {
        assert_eq!(newcomer.post(&chat, "there is room").await, number);
    }
    newcomer.read_until(&chat, |answer| answer.json["messages_count"] == 20).await;
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    drop(idle);
    tally.stop();
}
