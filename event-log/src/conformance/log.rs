//! What every [`EventLog`] does.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use events::{ApplicationToken, Epoch, Offset, PartitionId, Position, Record, RecordedEvent, RequestKey, StreamKey};

use super::{application_created, fresh_token, message_posted};
use crate::log::{EventLog, ReadError, ReadLimit};

/// Longest that a check waits for something that must come.
const DEADLINE: Duration = Duration::from_secs(30);
/// How long a check lets an adapter wait for something that must not come.
const SHORT_WAIT: Duration = Duration::from_millis(50);
const WRITERS: u32 = 16;
const RECORDS_A_WRITER: u32 = 25;

/// Every member of a record, and bodies of any characters and sizes, come back as they were appended.
pub async fn records_come_back_to_the_byte(log: Arc<dyn EventLog>) {
    let token = fresh_token();
    let long = "🚀".repeat(16_384);
    let bodies = ["plain", "", "\u{1}\u{7f}\u{fffd}\u{10ffff}", "e\u{301} ﬁ Ｆ", "'; DROP TABLE events; --", &long];
    let mut appended = vec![application_created(token)];
    appended.extend((1..).zip(bodies).map(|(number, body)| message_posted(token, number, body)));
    appended[1].request = Some(RequestKey::new(&["route"], "key", &["plain"]));
    appended[1].epoch = Some(Epoch(7));
    appended[1].trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".parse().ok();
    assert!(appended[1].trace.is_some());
    for record in &appended {
        append(&log, record.clone()).await;
    }
    assert_eq!(records_of(&log, token).await, sorted(appended));
}

/// The position of an append covers its record and nothing that is appended after it.
pub async fn reading_starts_where_it_is_asked_to(log: Arc<dyn EventLog>) {
    let token = fresh_token();
    let (first, second) = (message_posted(token, 1, "first"), message_posted(token, 2, "second"));
    let after_first = append(&log, first).await;
    append(&log, second.clone()).await;
    let (partition, from) = only_bound(&after_first);
    let read = read_to_end(&log, partition, from).await;
    assert!(read.iter().all(|recorded| recorded.partition == partition && recorded.offset >= from));
    assert_eq!(of(&read, token), [second], "reading at an append's position gives what came after it");
}

/// One read gives no more records than asked for, and the first ones.
pub async fn the_number_of_records_is_bounded(log: Arc<dyn EventLog>) {
    let token = fresh_token();
    let positions = append_messages(&log, token, 5).await;
    let (partition, after_first) = only_bound(&positions[0]);
    let limit = ReadLimit { records: 2, wait: Duration::ZERO };
    let read = log.read(partition, after_first, limit).await.unwrap_or_else(|error| panic!("read: {error}"));
    assert_eq!(read.events.len(), 2);
    assert_eq!(read.events[0].offset, after_first, "the read begins with the next record");
}

/// The end covers each append that was answered before it was asked for.
pub async fn end_covers_every_answered_append(log: Arc<dyn EventLog>) {
    let token = fresh_token();
    for number in 1..=5 {
        let position = append(&log, message_posted(token, number, "x")).await;
        let end = log.end().await.unwrap_or_else(|error| panic!("end: {error}"));
        assert!(end.covers(&position), "{end} does not cover {position}");
    }
}

/// At the end a read waits and is woken by the next record.
pub async fn the_end_is_waited_at_and_left_when_a_record_comes(log: Arc<dyn EventLog>) {
    let token = fresh_token();
    let (partition, end) = only_bound(&append(&log, message_posted(token, 1, "before")).await);
    let mut reader = log.read(partition, end, ReadLimit { records: 1, wait: DEADLINE });
    let waits = poll_fn(|context| Poll::Ready(reader.as_mut().poll(context).is_pending())).await;
    assert!(waits, "the read did not wait");
    append(&log, message_posted(token, 2, "after")).await;
    let woken = tokio::time::timeout(DEADLINE / 2, reader).await;
    let read = woken.unwrap_or_else(|_| panic!("the reader was not woken"));
    assert_eq!(read.unwrap_or_else(|error| panic!("read: {error}")).events.len(), 1);
}

/// At the end a read waits as long as it was told to, and answers with nothing.
pub async fn the_wait_at_the_end_is_bounded(log: Arc<dyn EventLog>) {
    append(&log, application_created(fresh_token())).await;
    // Other checks may append meanwhile: then there is a new end to wait at.
    let deadline = Instant::now() + DEADLINE;
    loop {
        assert!(Instant::now() < deadline, "a read at the end never came back empty");
        let (partition, end) = last_bound(&log.end().await.unwrap_or_else(|error| panic!("end: {error}")));
        let began = Instant::now();
        let read = log.read(partition, end, ReadLimit { records: 1, wait: SHORT_WAIT }).await;
        if read.unwrap_or_else(|error| panic!("read: {error}")).next == end {
            assert!(began.elapsed() >= SHORT_WAIT, "the read did not wait");
            return;
        }
    }
}

/// A place that the log does not have is refused, never taken for its end.
pub async fn reading_beyond_the_end_is_refused(log: Arc<dyn EventLog>) {
    append(&log, application_created(fresh_token())).await;
    let (partition, end) = last_bound(&log.end().await.unwrap_or_else(|error| panic!("end: {error}")));
    let beyond = Offset(end.0 + 1_000_000);
    let answer = log.read(partition, beyond, ReadLimit { records: 1, wait: Duration::ZERO }).await;
    assert!(matches!(answer, Err(ReadError::BeyondEnd { .. })), "{answer:?}");
}

/// What lies in the log and is no record is told with its place, and what comes after it is read. `spoil` puts such a thing
/// at the end of the partition.
pub async fn what_is_no_record_is_told_and_passed(log: Arc<dyn EventLog>, spoil: impl AsyncFnOnce(PartitionId)) {
    let token = fresh_token();
    let (partition, spoiled) = only_bound(&append(&log, message_posted(token, 1, "before")).await);
    spoil(partition).await;
    let after = message_posted(token, 2, "after");
    let (_, end) = only_bound(&append(&log, after.clone()).await);
    for records in [1, 100] {
        let (mut events, mut unreadable, mut from) = (Vec::new(), Vec::new(), spoiled);
        while from < end {
            let read = log.read(partition, from, ReadLimit { records, wait: DEADLINE }).await;
            let read = read.unwrap_or_else(|error| panic!("read: {error}"));
            assert!(read.next > from, "{from} is not passed");
            from = read.next;
            events.extend(read.events);
            unreadable.extend(read.unreadable);
        }
        assert_eq!(of(&events, token), std::slice::from_ref(&after));
        let [one] = &unreadable[..] else { panic!("{unreadable:?}") };
        assert_eq!((one.partition, one.offset), (partition, spoiled));
        assert!(!one.reason.is_empty());
    }
}

/// Records appended by many writers at once are all there, each once.
pub async fn appends_at_once_are_all_there_once(log: Arc<dyn EventLog>) {
    let token = fresh_token();
    let appended = append_at_once(&log, token).await;
    assert_eq!(records_of(&log, token).await, sorted(appended));
}

/// A record appended after another of its stream was answered lies after it.
pub async fn writers_in_turn_lie_in_turn(log: Arc<dyn EventLog>) {
    let token = fresh_token();
    append_messages(&log, token, 50).await;
    let numbers: Vec<_> = read_all(&log)
        .await
        .into_iter()
        .filter(|recorded| recorded.record.stream.token() == token)
        .filter_map(|recorded| recorded.record.number.map(events::Number::get))
        .collect();
    assert_eq!(numbers, (1..=50).collect::<Vec<_>>());
}

/// Whenever it is read, a record is the same and at the same place, and offsets ascend: during the writing and after it.
pub async fn concurrent_readers_see_one_order(log: Arc<dyn EventLog>) {
    let token = fresh_token();
    let begin = log.end().await.unwrap_or_else(|error| panic!("end: {error}"));
    let writing = tokio::spawn({
        let log = Arc::clone(&log);
        async move { append_at_once(&log, token).await }
    });
    let deadline = Instant::now() + DEADLINE;
    let mut readings = Vec::new();
    while !writing.is_finished() {
        assert!(Instant::now() < deadline, "the writing does not end");
        readings.push(read_from(&log, &begin).await);
    }
    writing.await.unwrap_or_else(|error| panic!("{error}"));
    readings.push(read_from(&log, &begin).await);
    let last = read_from(&log, &begin).await;
    for reading in readings {
        assert!(reading.iter().all(|recorded| last.contains(recorded)), "a record that was read has moved or changed");
    }
}

async fn read_from(log: &Arc<dyn EventLog>, begin: &Position) -> Vec<RecordedEvent> {
    let mut all = Vec::new();
    for (partition, from) in begin.bounds() {
        let read = read_to_end(log, partition, from).await;
        assert!(read.windows(2).all(|pair| pair[0].offset < pair[1].offset), "offsets do not ascend");
        all.extend(read);
    }
    all
}

async fn append(log: &Arc<dyn EventLog>, record: Record) -> Position {
    log.append(record).await.unwrap_or_else(|error| panic!("append: {error}"))
}

async fn append_messages(log: &Arc<dyn EventLog>, token: ApplicationToken, count: u32) -> Vec<Position> {
    let mut positions = Vec::new();
    for number in 1..=count {
        positions.push(append(log, message_posted(token, number, "in turn")).await);
    }
    positions
}

async fn append_at_once(log: &Arc<dyn EventLog>, token: ApplicationToken) -> Vec<Record> {
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let log = Arc::clone(log);
            tokio::spawn(async move {
                let mut appended = Vec::new();
                for index in 0..RECORDS_A_WRITER {
                    let record = message_posted(token, writer * RECORDS_A_WRITER + index + 1, "at once");
                    append(&log, record.clone()).await;
                    appended.push(record);
                }
                appended
            })
        })
        .collect();
    let mut appended = Vec::new();
    for writer in writers {
        appended.extend(writer.await.unwrap_or_else(|error| panic!("{error}")));
    }
    appended
}

async fn read_to_end(log: &Arc<dyn EventLog>, partition: PartitionId, mut from: Offset) -> Vec<RecordedEvent> {
    let mut all = Vec::new();
    let end = log.end().await.unwrap_or_else(|error| panic!("end: {error}")).bound(partition);
    while from < end {
        let limit = ReadLimit { records: 100, wait: DEADLINE };
        let read = log.read(partition, from, limit).await.unwrap_or_else(|error| panic!("read: {error}"));
        assert!(read.next > from, "nothing came from {from} before the end {end}");
        from = read.next;
        all.extend(read.events);
    }
    all
}

async fn read_all(log: &Arc<dyn EventLog>) -> Vec<RecordedEvent> {
    let end = log.end().await.unwrap_or_else(|error| panic!("end: {error}"));
    let mut begin = Position::default();
    for (partition, _) in end.bounds() {
        begin.merge(&Position::up_to(partition, Offset::START));
    }
    read_from(log, &begin).await
}

/// The records of an application from all of the log, sorted by identity (two streams have no common order).
async fn records_of(log: &Arc<dyn EventLog>, token: ApplicationToken) -> Vec<Record> {
    sorted(of(&read_all(log).await, token))
}

fn of(read: &[RecordedEvent], token: ApplicationToken) -> Vec<Record> {
    let own = read.iter().filter(|recorded| StreamKey::token(&recorded.record.stream) == token);
    own.map(|recorded| recorded.record.clone()).collect()
}

fn sorted(mut records: Vec<Record>) -> Vec<Record> {
    records.sort_by_key(|record| record.event_id);
    records
}

fn only_bound(position: &Position) -> (PartitionId, Offset) {
    let bounds: Vec<_> = position.bounds().collect();
    assert_eq!(bounds.len(), 1, "an append's position names its record's partition alone: {position}");
    bounds[0]
}

fn last_bound(position: &Position) -> (PartitionId, Offset) {
    position.bounds().last().unwrap_or_else(|| panic!("the log has no partition"))
}
