//! How long a request with a key is remembered.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use embedded::{DataDir, SqliteLog, SqliteSequencer};
use event_log::{EventLog, KEY_MEMORY, Sequencer};
use events::{
    ApplicationToken, ChatApplicationCreated, ChatCreated, ChatNumber, Event, EventId, Record, RequestKey, UnixMillis,
};
use tempfile::TempDir;
use uuid::Uuid;

const TOKEN: ApplicationToken = ApplicationToken::from_bytes([7; ApplicationToken::BYTES]);
const HOUR: Duration = Duration::from_secs(3_600);

fn request(key: &str) -> RequestKey {
    RequestKey::new(&["chats"], key, &[])
}

/// Appends the creation of a chat by a request, at a time that lies this long ago.
async fn append_chat(log: &SqliteLog, number: u32, key: &str, ago: Duration) {
    let event = Event::ChatCreated(ChatCreated { token: TOKEN, number: ChatNumber::new(number).unwrap() });
    let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() - ago;
    let at = UnixMillis(at.as_millis().try_into().unwrap());
    let record = Record::encode(&event, EventId(Uuid::now_v7()), at).unwrap();
    log.append(Record { request: Some(request(key)), ..record }).await.unwrap();
}

/// Reserves a chat number for a request. Returns the number, and whether the log already has the request.
async fn reserve_chat(log: &SqliteLog, key: &str) -> (u32, bool) {
    let reservation = SqliteSequencer::new(log).reserve(TOKEN.into(), Some(&request(key))).await.unwrap();
    (reservation.value().get(), reservation.position().is_some())
}

async fn open(directory: &TempDir) -> (DataDir, SqliteLog) {
    let data_dir = DataDir::open(directory.path()).unwrap();
    let log = data_dir.open_log().unwrap();
    (data_dir, log)
}

#[tokio::test]
async fn a_request_is_remembered_for_a_day_and_over_a_restart() {
    let directory = TempDir::new().unwrap();
    let (data_dir, log) = open(&directory).await;
    let created = Event::ChatApplicationCreated(ChatApplicationCreated { token: TOKEN, name: "app".into() });
    log.append(Record::encode(&created, EventId(Uuid::now_v7()), UnixMillis(0)).unwrap()).await.unwrap();
    append_chat(&log, 1, "expired", KEY_MEMORY + HOUR).await;
    append_chat(&log, 2, "old", KEY_MEMORY - HOUR).await;
    append_chat(&log, 3, "new", Duration::ZERO).await;
    log.close().await;
    drop((log, data_dir));

    let (_data_dir, log) = open(&directory).await;
    assert_eq!(reserve_chat(&log, "new").await, (3, true));
    assert_eq!(reserve_chat(&log, "old").await, (2, true));
    assert_eq!(reserve_chat(&log, "expired").await, (4, false));
}

#[tokio::test]
async fn a_key_that_was_forgotten_can_be_used_again() {
    let directory = TempDir::new().unwrap();
    let (_data_dir, log) = open(&directory).await;
    append_chat(&log, 1, "key", KEY_MEMORY + HOUR).await;
    append_chat(&log, 2, "key", Duration::ZERO).await;
    assert_eq!(reserve_chat(&log, "key").await, (2, true));
}
