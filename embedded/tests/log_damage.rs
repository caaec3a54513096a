//! Every record of the log has a checksum: a record with a changed column is reported with its offset, and never shown.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::time::Duration;

use embedded::{DataDir, SqliteSequencer};
use event_log::{EventLog, LogBatch, ReadLimit, ReserveError, Sequencer};
use events::{
    ApplicationToken, ChatCreated, ChatNumber, Epoch, Event, EventId, Offset, PartitionId, Record, RequestKey,
    UnixMillis,
};
use rusqlite::Connection;
use tempfile::TempDir;
use uuid::Uuid;

const TOKEN: ApplicationToken = ApplicationToken::from_bytes([7; ApplicationToken::BYTES]);

/// Changes of one row's columns that leave every column readable.
const CHANGES: [&str; 12] = [
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
        log.close().await;
    }
}

#[tokio::test]
async fn a_request_whose_event_is_damaged_is_not_answered_from_it() {
    let directory = TempDir::new().unwrap();
    damage(&directory, "number = 5").await;
    let log = DataDir::open(directory.path()).unwrap().open_log().unwrap();
    let refused = SqliteSequencer::new(&log).reserve(TOKEN.into(), Some(&with_recent_row(&directory))).await;
    let Err(ReserveError::Unavailable(error)) = refused else {
        panic!("a damaged record was used");
    };
    assert!(error.to_string().contains("offset 1"), "{error}");
    log.close().await;
}

/// Makes the request recent, so that it is remembered, and returns it.
fn with_recent_row(directory: &TempDir) -> RequestKey {
    let connection = Connection::open(directory.path().join("log.sqlite")).unwrap();
    connection.execute("UPDATE requests SET occurred_at_ms = 9000000000000", ()).unwrap();
    request()
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
