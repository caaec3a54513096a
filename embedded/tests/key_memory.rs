//! How long a request with a key is remembered.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use embedded::{DataDir, SqliteLog, SqliteSequencer};
use event_log::{EventLog, Sequencer};
use events::{
    ApplicationToken, ChatApplicationCreated, ChatCreated, ChatNumber, Event, EventId, Record, RequestKey, UnixMillis,
};
use tempfile::TempDir;
use uuid::Uuid;

const TOKEN: ApplicationToken = ApplicationToken::from_bytes([7; ApplicationToken::BYTES]);
const HOUR: Duration = Duration::from_secs(3_600);
const YEAR: Duration = Duration::from_secs(365 * 24 * 3_600);

fn request(key: &str) -> RequestKey {
    RequestKey::new(&["chats"], key, &[])
}

/// Appends the creation of an application.
async fn append_application(log: &SqliteLog) {
    let created = Event::ChatApplicationCreated(ChatApplicationCreated { token: TOKEN, name: "app".into() });
    log.append(Record::encode(&created, EventId(Uuid::now_v7()), UnixMillis(0)).unwrap()).await.unwrap();
}

/// Appends the creation of a chat by a request, at this time.
async fn append_chat(log: &SqliteLog, number: u32, key: &str, at: Duration) {
    let event = Event::ChatCreated(ChatCreated { token: TOKEN, number: ChatNumber::new(number).unwrap() });
    let at = UnixMillis(at.as_millis().try_into().unwrap());
    let record = Record::encode(&event, EventId(Uuid::now_v7()), at).unwrap();
    log.append(Record { request: Some(request(key)), ..record }).await.unwrap();
}

/// Appends a chat each hour, from `first` hours ago until now. Each key says how long ago; the numbers follow `last_number`.
async fn append_hourly(log: &SqliteLog, first: u32, last_number: u32) {
    let now = now();
    for (number, ago) in (last_number + 1..).zip((0..=first).rev()) {
        append_chat(log, number, &format!("{ago} hours ago"), now - ago * HOUR).await;
    }
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
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
    append_application(&log).await;
    append_hourly(&log, 26, 0).await;
    log.close().await;
    drop((log, data_dir));

    let (_data_dir, log) = open(&directory).await;
    assert_eq!(reserve_chat(&log, "0 hours ago").await, (27, true));
    assert_eq!(reserve_chat(&log, "23 hours ago").await, (4, true));
    assert_eq!(reserve_chat(&log, "25 hours ago").await, (28, false));
}

#[tokio::test]
async fn a_key_that_was_forgotten_can_be_used_again() {
    let directory = TempDir::new().unwrap();
    let (_data_dir, log) = open(&directory).await;
    append_hourly(&log, 26, 0).await;
    append_chat(&log, 28, "26 hours ago", now()).await;
    assert_eq!(reserve_chat(&log, "26 hours ago").await, (28, true));
}

/// A clock that was wrong for a while makes no key old: neither those before it, nor those of its own time, nor those after.
#[tokio::test]
async fn keys_are_remembered_although_a_clock_was_years_off_for_a_while() {
    for wrong in [now() + 10 * YEAR, Duration::ZERO] {
        let directory = TempDir::new().unwrap();
        let (_data_dir, log) = open(&directory).await;
        append_application(&log).await;
        append_hourly(&log, 3, 0).await;
        for number in 5..100 {
            append_chat(&log, number, &format!("wrong {number}"), wrong + number * Duration::from_secs(1)).await;
        }
        assert_eq!(reserve_chat(&log, "3 hours ago").await, (1, true), "while the clock is wrong");
        append_chat(&log, 100, "after", now()).await;
        append_chat(&log, 101, "later", now() + HOUR).await;
        for (key, number) in [("3 hours ago", 1), ("0 hours ago", 4), ("wrong 5", 5), ("wrong 99", 99), ("after", 100)]
        {
            assert_eq!(reserve_chat(&log, key).await, (number, true), "{key}");
        }
        log.close().await;
    }
}

/// Otherwise the table of keys would grow for ever.
#[tokio::test]
async fn keys_are_forgotten_although_a_clock_was_years_off_once() {
    let directory = TempDir::new().unwrap();
    let (_data_dir, log) = open(&directory).await;
    append_application(&log).await;
    append_chat(&log, 1, "wrong", now() + 10 * YEAR).await;
    // The clock stands still for a day.
    let hours = 24 + 26;
    append_hourly(&log, hours, 1).await;
    let next = hours + 3;
    assert_eq!(reserve_chat(&log, "wrong").await, (next, false));
    assert_eq!(reserve_chat(&log, &format!("{hours} hours ago")).await, (next, false));
    assert_eq!(reserve_chat(&log, "22 hours ago").await, (next - 23, true));
}
