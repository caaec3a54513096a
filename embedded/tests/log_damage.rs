//! Damage of the log is noticed: a record that was changed or is missing is reported with its offset, and never shown. A check
//! of the log finds it, and finds tables that contradict the records.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::time::Duration;

use embedded::log::LogFault;
use embedded::log::check::{Contradiction, LogReport};
use embedded::{DataDir, SqliteLog, SqliteSequencer};
use event_log::{EventLog, LogBatch, ReadLimit, ReserveError, Sequencer};
use events::{
    ApplicationToken, ChatApplicationCreated, ChatCreated, ChatNumber, Epoch, Event, EventId, MessageNumber,
    MessagePosted, Offset, PartitionId, Record, RequestKey, UnixMillis,
};
use rusqlite::Connection;
use tempfile::TempDir;
use uuid::Uuid;

const TOKEN: ApplicationToken = ApplicationToken::from_bytes([7; ApplicationToken::BYTES]);

/// Changes of one row's columns that leave every column readable.
const CHANGES: [&str; 14] = [
    "event_id = CAST(x'00112233445566778899aabbccddeeff' AS BLOB)",
    "event_type = 'MessagePosted'",
    "version = 2",
    "occurred_at_ms = occurred_at_ms + 1",
    "stream = (SELECT stream FROM events WHERE log_offset = 0)",
    "number = number + 1",
    "request_key = request_values, request_values = request_key",
    "epoch = 8",
    "traceparent = NULL",
    "data = CAST(replace(CAST(data AS TEXT), '2', '3') AS BLOB)",
    "actor = 'key:4'",
    "actor = NULL",
    "checksum = checksum + 1",
    "checksum = NULL",
];

fn request() -> RequestKey {
    RequestKey::new(&["chats"], "key", &[])
}

fn record(number: u32) -> Record {
    let event = Event::ChatCreated(ChatCreated { token: TOKEN, number: ChatNumber::new(number).unwrap() });
    let record = Record::encode(&event, EventId(Uuid::now_v7()), UnixMillis(1)).unwrap();
    Record {
        request: Some(request()),
        epoch: Some(Epoch(7)),
        trace: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".parse().unwrap()),
        actor: Some("key:3".parse().unwrap()),
        ..record
    }
}

/// Appends two records, and changes the second one with SQL.
async fn damage(directory: &TempDir, change: &str) {
    let data_dir = DataDir::open(directory.path()).unwrap();
    let log = data_dir.open_log().unwrap();
    let application = Record { stream: TOKEN.into(), ..record(1) };
    log.append(Record { request: None, ..application }).await.unwrap();
    log.append(record(2)).await.unwrap();
    log.close().await;
    let connection = Connection::open(data_dir.log_path()).unwrap();
    let sql = format!("UPDATE events SET {change} WHERE log_offset = 1");
    assert_eq!(connection.execute(&sql, ()).unwrap(), 1, "{change}");
}

async fn read(log: &impl EventLog) -> LogBatch {
    let limit = ReadLimit { records: 10, wait: Duration::ZERO };
    log.read(PartitionId(0), Offset::START, limit).await.unwrap()
}

#[tokio::test]
async fn a_record_with_a_changed_column_is_reported_with_its_offset() {
    for change in CHANGES {
        let directory = TempDir::new().unwrap();
        damage(&directory, change).await;
        let log = DataDir::open(directory.path()).unwrap().open_log().unwrap();
        let batch = read(&log).await;
        assert_eq!(batch.events.len(), 1, "{change}: the undamaged record is read");
        let offsets: Vec<_> = batch.unreadable.iter().map(|unreadable| unreadable.offset).collect();
        assert_eq!(offsets, [Offset(1)], "{change}");
        assert_eq!(batch.next, Offset(2), "{change}: reading goes on");
        assert!(matches!(log.check_writable(), Err(LogFault::Damaged)), "{change}: nobody is told");
        log.close().await;
    }
}

#[tokio::test]
async fn a_missing_record_is_reported_as_a_damaged_one_is() {
    let directory = TempDir::new().unwrap();
    let log = open_changed(&directory, "DELETE FROM events WHERE log_offset BETWEEN 1 AND 3").await;
    for records in [1, 2, 3, 10] {
        let (mut missing, mut read, mut next) = (Vec::new(), Vec::new(), Offset::START);
        while next < Offset(6) {
            let batch = log.read(PartitionId(0), next, ReadLimit { records, wait: Duration::ZERO }).await.unwrap();
            assert!(batch.next > next, "reading goes on behind {next}");
            assert!(batch.events.len() + batch.unreadable.len() <= records as usize, "{batch:?}");
            next = batch.next;
            assert!(batch.unreadable.iter().all(|unreadable| unreadable.reason.contains("missing")), "{batch:?}");
            missing.extend(batch.unreadable.iter().map(|unreadable| unreadable.offset));
            read.extend(batch.events.iter().map(|recorded| recorded.offset));
        }
        assert_eq!(
            (missing, read),
            ([1, 2, 3].map(Offset).into(), [0, 4, 5].map(Offset).into()),
            "{records} at a time"
        );
    }
    log.close().await;
}

#[tokio::test]
async fn a_trace_that_no_release_writes_is_damage() {
    let directory = TempDir::new().unwrap();
    let change = "UPDATE events SET traceparent = '00-00-00-00', checksum = NULL WHERE log_offset = 1; \
                  UPDATE checksums SET first_offset = 6";
    let log = open_changed(&directory, change).await;
    let offsets: Vec<_> = read(&log).await.unreadable.into_iter().map(|unreadable| unreadable.offset).collect();
    assert_eq!(offsets, [Offset(1)]);
    log.close().await;
}

/// Writes a log with an application, a chat and three messages, of which two have keys, and another chat. Changes it with
/// SQL, and opens it again.
async fn open_changed(directory: &TempDir, sql: &str) -> SqliteLog {
    let data_dir = DataDir::open(directory.path()).unwrap();
    let log = data_dir.open_log().unwrap();
    for (key, event) in [
        (None, Event::ChatApplicationCreated(ChatApplicationCreated { token: TOKEN, name: "app".into() })),
        (None, Event::ChatCreated(ChatCreated { token: TOKEN, number: chat(1) })),
        (Some("one"), message(1)),
        (None, message(2)),
        (Some("three"), message(3)),
        (None, Event::ChatCreated(ChatCreated { token: TOKEN, number: chat(2) })),
    ] {
        let record = Record::encode(&event, EventId(Uuid::now_v7()), UnixMillis::now()).unwrap();
        let request = key.map(|key| RequestKey::new(&["messages"], key, &[]));
        log.append(Record { request, ..record }).await.unwrap();
    }
    log.close().await;
    Connection::open(data_dir.log_path()).unwrap().execute_batch(sql).unwrap();
    data_dir.open_log().unwrap()
}

fn chat(number: u32) -> ChatNumber {
    ChatNumber::new(number).unwrap()
}

fn message(number: u32) -> Event {
    let number = MessageNumber::new(number).unwrap();
    Event::MessagePosted(MessagePosted {
        token: TOKEN,
        chat_number: chat(1),
        number,
        body: "hello".into(),
        author: None,
    })
}

async fn check(log: &SqliteLog) -> LogReport {
    log.check(|_| {}).await.unwrap()
}

#[tokio::test]
async fn a_check_of_an_undamaged_log_finds_nothing() {
    let directory = TempDir::new().unwrap();
    let log = open_changed(&directory, "").await;
    assert_eq!(check(&log).await, LogReport::default());
    log.close().await;
}

#[tokio::test]
async fn a_check_names_the_records_that_are_damaged_or_missing() {
    for (sql, offset) in [
        ("UPDATE events SET data = CAST('{}' AS BLOB) WHERE log_offset = 2", 2),
        ("UPDATE events SET log_offset = 9 WHERE log_offset = 5", 5),
        ("DELETE FROM events WHERE log_offset = 0", 0),
    ] {
        let directory = TempDir::new().unwrap();
        let log = open_changed(&directory, sql).await;
        let report = check(&log).await;
        assert!(!report.is_good(), "{sql}");
        assert_eq!(report.first_damaged[0].offset, Offset(offset), "{sql}");
        log.close().await;
    }
}

#[tokio::test]
async fn a_check_counts_all_damaged_records_and_names_the_first_ones() {
    let directory = TempDir::new().unwrap();
    let log = open_changed(&directory, "UPDATE events SET log_offset = 10000 WHERE log_offset = 5").await;
    let report = check(&log).await;
    assert_eq!(report.damaged, 9_996);
    assert_eq!(report.first_damaged.len(), 20);
    log.close().await;
}

/// Changes of the tables beside the records, with the words that a check must find for each.
const CONTRADICTIONS: [(&str, &str, &str); 12] = [
    ("UPDATE counters SET last_number = 2 WHERE last_number = 3", "counters", "below"),
    ("UPDATE counters SET last_number = 4 WHERE last_number = 3", "counters", "above"),
    ("DELETE FROM counters WHERE last_number = 3", "counters", "missing"),
    ("INSERT INTO counters VALUES ('08080808080808080808080808080808', 1)", "counters", "does not have"),
    ("UPDATE requests SET log_offset = 3 WHERE log_offset = 4", "requests", "another record"),
    ("UPDATE requests SET elapsed_ms = elapsed_ms + 1 WHERE log_offset = 4", "requests", "another age"),
    ("DELETE FROM requests WHERE log_offset = 2", "requests", "missing"),
    (
        "INSERT INTO requests SELECT zeroblob(32), log_offset, elapsed_ms, latest_ms FROM requests LIMIT 1",
        "requests",
        "does not have",
    ),
    ("INSERT INTO identity VALUES (zeroblob(16))", "identity", "too many"),
    ("DELETE FROM checksums", "checksums", "missing"),
    ("UPDATE checksums SET first_offset = 3", "checksums", "beyond"),
    (
        "UPDATE checksums SET first_offset = 3; UPDATE events SET checksum = NULL WHERE log_offset = 1",
        "checksums",
        "beyond",
    ),
];

#[tokio::test]
async fn a_check_finds_rows_of_every_table_that_contradict_the_records() {
    for (sql, table, words) in CONTRADICTIONS {
        let directory = TempDir::new().unwrap();
        let log = open_changed(&directory, sql).await;
        let report = check(&log).await;
        let [Contradiction { table: found, what, rows: 1 }] = report.contradictions[..] else {
            panic!("{sql}: {report:?}")
        };
        assert_eq!((found, what.contains(words)), (table, true), "{sql}: {what}");
        assert!(!report.is_good() && report.damaged == 0, "{sql}");
        log.close().await;
    }
}

#[tokio::test]
async fn a_check_counts_records_without_checksums() {
    let directory = TempDir::new().unwrap();
    let old = "UPDATE events SET checksum = NULL WHERE log_offset < 2; UPDATE checksums SET first_offset = 2";
    let log = open_changed(&directory, old).await;
    let report = check(&log).await;
    assert_eq!((report.without_checksum, report.is_good()), (2, true));
    log.close().await;
}

#[tokio::test]
async fn a_request_whose_event_is_damaged_is_not_answered_from_it() {
    let directory = TempDir::new().unwrap();
    damage(&directory, "number = 5").await;
    let log = DataDir::open(directory.path()).unwrap().open_log().unwrap();
    let refused = SqliteSequencer::new(&log).reserve(TOKEN.into(), Some(&request())).await;
    let Err(ReserveError::Unavailable(error)) = refused else {
        panic!("a damaged record was used");
    };
    assert!(error.to_string().contains("offset 1"), "{error}");
    log.close().await;
}

#[tokio::test]
async fn records_of_releases_without_checksums_are_read() {
    let directory = TempDir::new().unwrap();
    damage(&directory, "checksum = NULL").await;
    let connection = Connection::open(directory.path().join("log.sqlite")).unwrap();
    connection.execute("UPDATE checksums SET first_offset = 2", ()).unwrap();
    drop(connection);
    let log = DataDir::open(directory.path()).unwrap().open_log().unwrap();
    assert_eq!(read(&log).await.events.len(), 2);
    log.close().await;
}
