//! Files of releases that kept their migrations in a table are brought up to date.

use std::time::Duration;

use embedded::{DataDir, OpenError, SqliteSequencer};
use event_log::{EventLog, ReadLimit, Sequencer};
use events::{
    Actor, ApplicationToken, ChatApplicationCreated, Event, EventId, Offset, PartitionId, Record, RequestKey,
    UnixMillis,
};
use rusqlite::Connection;
use tempfile::TempDir;
use uuid::Uuid;

/// A log as release 0.1.0 left it: with its table of migrations, and with one record without a checksum.
const OLD_LOG: &str = concat!(
    include_str!("../../migrations/sqlite-log/0001_events.sql"),
    include_str!("../../migrations/sqlite-log/0002_epochs.sql"),
    include_str!("../../migrations/sqlite-log/0003_traces.sql"),
    "CREATE TABLE _sqlx_migrations (version BIGINT PRIMARY KEY, description TEXT NOT NULL, success BOOLEAN NOT NULL);
     INSERT INTO _sqlx_migrations VALUES (1, 'events', 1), (2, 'epochs', 1), (3, 'traces', 1);
     INSERT INTO identity VALUES (zeroblob(16));
     INSERT INTO events (log_offset, event_id, event_type, version, occurred_at_ms, stream, data) VALUES
         (0, zeroblob(16), 'ChatApplicationCreated', 1, 0, '07070707070707070707070707070707', x'7b7d');"
);

#[tokio::test]
async fn a_log_of_an_old_release_keeps_its_records_and_its_identity() {
    let directory = TempDir::new().unwrap();
    Connection::open(directory.path().join("log.sqlite")).unwrap().execute_batch(OLD_LOG).unwrap();
    for _ in 0..2 {
        let data_dir = DataDir::open(directory.path()).unwrap();
        let log = data_dir.open_log().unwrap();
        assert!(log.log_id().is_nil());
        let limit = ReadLimit { records: 10, wait: Duration::ZERO };
        assert_eq!(log.read(PartitionId(0), Offset::START, limit).await.unwrap().events.len(), 1);
        log.close().await;
    }
}

/// It may belong to a tally of that release, which serves it.
#[test]
fn a_log_of_an_old_release_is_not_changed_to_be_read() {
    let directory = TempDir::new().unwrap();
    Connection::open(directory.path().join("log.sqlite")).unwrap().execute_batch(OLD_LOG).unwrap();
    let refused = DataDir::open_log_read_only(directory.path()).unwrap_err();
    assert!(matches!(refused, OpenError::LogVersion { .. }), "{refused:?}");
    let missing = DataDir::open_log_read_only(&directory.path().join("none")).unwrap_err();
    assert!(matches!(missing, OpenError::NoLog { .. }), "{missing:?}");
}

/// A log of the release before the clock of keys: with keys that are remembered, and an index of their times.
#[tokio::test]
async fn keys_of_an_old_release_are_remembered() {
    let directory = TempDir::new().unwrap();
    let key = RequestKey::new(&["chats"], "key", &[]);
    let connection = Connection::open(directory.path().join("log.sqlite")).unwrap();
    connection.execute_batch(OLD_LOG).unwrap();
    let keyed = "INSERT INTO events (log_offset, event_id, event_type, version, occurred_at_ms, stream, number, \
                 request_key, request_values, data) VALUES \
                 (1, zeroblob(16), 'ChatCreated', 1, 0, '07070707070707070707070707070707:1', 1, ?, ?, x'7b7d')";
    connection.execute(keyed, (key.key, key.values)).unwrap();
    let counter = "INSERT INTO counters VALUES ('07070707070707070707070707070707', 1), \
                   ('07070707070707070707070707070707:1', 0)";
    connection.execute(counter, ()).unwrap();
    drop(connection);
    let data_dir = DataDir::open(directory.path()).unwrap();
    let log = data_dir.open_log().unwrap();
    assert_eq!(log.check(|_| {}).await.unwrap().contradictions, []);
    let parent = ApplicationToken::from_bytes([7; ApplicationToken::BYTES]);
    let again = SqliteSequencer::new(&log).reserve(parent.into(), Some(&key)).await.unwrap();
    assert_eq!((again.value().get(), again.position().is_some()), (1, true));
    log.close().await;
}

/// A log of the release before actors: its rows have a checksum, and no column for an actor.
#[tokio::test]
async fn records_without_a_column_for_actors_keep_their_checksums() {
    let directory = TempDir::new().unwrap();
    let data_dir = DataDir::open(directory.path()).unwrap();
    let created = ChatApplicationCreated { token: ApplicationToken::from_bytes([7; 16]), name: "one".into() };
    let event = Event::ChatApplicationCreated(created);
    let record = Record::encode(&event, EventId(Uuid::now_v7()), UnixMillis(0)).unwrap();
    let log = data_dir.open_log().unwrap();
    log.append(record.clone()).await.unwrap();
    log.close().await;
    let before_actors = "ALTER TABLE events DROP COLUMN actor; PRAGMA user_version = 7;";
    Connection::open(data_dir.log_path()).unwrap().execute_batch(before_actors).unwrap();
    let log = data_dir.open_log().unwrap();
    log.append(Record { event_id: EventId(Uuid::now_v7()), actor: Some(Actor::Root), ..record.clone() }).await.unwrap();
    assert!(log.check(|_| {}).await.unwrap().is_good());
    let limit = ReadLimit { records: 10, wait: Duration::ZERO };
    let batch = log.read(PartitionId(0), Offset::START, limit).await.unwrap();
    let actors: Vec<_> = batch.events.into_iter().map(|event| event.record.actor).collect();
    assert_eq!(actors, [None, Some(Actor::Root)]);
    log.close().await;
}

#[tokio::test]
async fn a_migration_that_fails_is_not_told_as_another_version() {
    let directory = TempDir::new().unwrap();
    let connection = Connection::open(directory.path().join("log.sqlite")).unwrap();
    connection.execute_batch(OLD_LOG).unwrap();
    connection.execute("CREATE TABLE checksums (something_else TEXT)", ()).unwrap();
    drop(connection);
    let refused = DataDir::open(directory.path()).unwrap().open_log().unwrap_err();
    assert!(matches!(refused, OpenError::LogMigration { .. }), "{refused:?}");
    let message = refused.to_string();
    assert!(!message.contains("another version"), "{message}");
}
