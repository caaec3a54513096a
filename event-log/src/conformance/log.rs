//! The checks of an [`EventLog`].

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use events::{
    ApplicationToken, ChatNumber, Epoch, Offset, PartitionId, Position, Record, RecordedEvent, RequestKey, StreamKey,
};

use super::{application_created, fresh_token, message_posted, message_posted_to};
use crate::log::{EventLog, Identified, ReadError, ReadLimit};

/// Longest wait for an event that must happen.
const DEADLINE: Duration = Duration::from_secs(30);
/// How long a read at the end waits where nothing is appended.
const SHORT_WAIT: Duration = Duration::from_millis(50);
const WRITERS: u32 = 16;
const RECORDS_A_WRITER: u32 = 25;

/// Calls a macro with the arguments, the path of the suite, and every check of an [`EventLog`](crate::EventLog). Each check
/// is listed with the parts of the adapter that it takes, and the [`LogFault`](crate::conformance::LogFault) that it must
/// find. The parts are `log`, the log, and `spoil`, a function that appends an unreadable record to a partition.
#[macro_export]
macro_rules! log_conformance {
    ($callback:ident $(, $($arguments:tt)*)?) => {
        $callback! { $($($arguments)*)?; $crate::conformance;
            records_are_read_unaltered(log) => DropsTheTime,
            reading_starts_at_the_requested_offset(log) => ReadsFromTheStart,
            the_number_of_records_is_bounded(log) => IgnoresTheLimit,
            end_covers_every_answered_append(log) => EndLagsBehind,
            a_read_at_the_end_is_woken_by_a_record(log) => NeverWaits,
            the_wait_at_the_end_is_bounded(log) => NeverWaits,
            reading_beyond_the_end_is_refused(log) => ReadsNothingBeyondTheEnd,
            unreadable_records_are_reported_and_skipped(log, spoil) => HidesUnreadableRecords,
            the_log_and_its_records_keep_their_identities(log, spoil) => GivesNewIdentities,
            concurrent_appends_are_each_in_the_log_once(log) => LosesAnAppend,
            sequential_appends_keep_their_order(log) => SwapsNeighbours,
            concurrent_readers_see_one_order(log) => ChangesRecords,
        }
    };
}

/// Every member of a record comes back as it was appended, and so do bodies of any characters and any size.
pub async fn records_are_read_unaltered(log: Arc<dyn EventLog>) {
    let token = fresh_token();
    let long = "🚀".repeat(16_384);
    let bodies = ["plain", "", "\u{1}\u{7f}\u{fffd}\u{10ffff}", "e\u{301} ﬁ Ｆ", "'; DROP TABLE events; --", &long];
    let mut appended = vec![application_created(token)];
    appended.extend((1..).zip(bodies).map(|(number, body)| message_posted(token, number, body)));
    appended[1].request = Some(RequestKey::new(&["route"], "key", &["plain"]));
    appended[1].epoch = Some(Epoch(7));
    appended[1].trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".parse().ok();
    appended[1].actor = "user:tenant:7/ålice".parse().ok();
    assert!(appended[1].trace.is_some() && appended[1].actor.is_some());
    for record in &appended {
        append(&log, record.clone()).await;
    }
    assert_eq!(read_records_of_application(&log, token).await, sort_by_event_id(appended));
}

/// The position of an append covers its record and nothing that is appended after it.
pub async fn reading_starts_at_the_requested_offset(log: Arc<dyn EventLog>) {
    let token = fresh_token();
    let (first, second) = (message_posted(token, 1, "first"), message_posted(token, 2, "second"));
    let after_first = append(&log, first).await;
    append(&log, second.clone()).await;
    let (partition, from) = only_bound(&after_first);
    let events = read_to_end(&log, partition, from).await;
    assert!(events.iter().all(|recorded| recorded.partition == partition && recorded.offset >= from));
    assert_eq!(
        filter_by_application(&events, token),
        [second],
        "reading at an append's position gives what came after it"
    );
}

/// One read returns at most as many records as the limit allows, beginning with the first.
pub async fn the_number_of_records_is_bounded(log: Arc<dyn EventLog>) {
    let token = fresh_token();
    let positions = append_messages(&log, token, 5).await;
    let (partition, after_first) = only_bound(&positions[0]);
    let limit = ReadLimit { records: 2, wait: Duration::ZERO };
    let read = log.read(partition, after_first, limit).await.unwrap();
    assert_eq!(read.events.len(), 2);
    assert_eq!(read.events[0].offset, after_first, "the read begins with the next record");
}

/// The end covers every append that was acknowledged before the call.
pub async fn end_covers_every_answered_append(log: Arc<dyn EventLog>) {
    let token = fresh_token();
    for number in 1..=5 {
        let position = append(&log, message_posted(token, number, "x")).await;
        let end = log.end().await.unwrap();
        assert!(end.covers(&position), "{end} does not cover {position}");
    }
}

/// A read at the end waits, and the next record wakes it.
pub async fn a_read_at_the_end_is_woken_by_a_record(log: Arc<dyn EventLog>) {
    let token = fresh_token();
    let (partition, end) = only_bound(&append(&log, message_posted(token, 1, "before")).await);
    let mut reader = log.read(partition, end, ReadLimit { records: 1, wait: DEADLINE });
    let waits = poll_fn(|context| Poll::Ready(reader.as_mut().poll(context).is_pending())).await;
    assert!(waits, "the read did not wait");
    append(&log, message_posted(token, 2, "after")).await;
    let read = tokio::time::timeout(DEADLINE / 2, reader).await.expect("the reader was not woken");
    assert_eq!(read.unwrap().events.len(), 1);
}

/// A read at the end waits for the time in its limit, and then returns nothing.
pub async fn the_wait_at_the_end_is_bounded(log: Arc<dyn EventLog>) {
    append(&log, application_created(fresh_token())).await;
    // Other checks may append at the same time. Then the next round waits at the new end.
    let deadline = Instant::now() + DEADLINE;
    loop {
        assert!(Instant::now() < deadline, "no read at the end came back empty");
        let (partition, end) = last_bound(&log.end().await.unwrap());
        let began = Instant::now();
        let read = log.read(partition, end, ReadLimit { records: 1, wait: SHORT_WAIT }).await;
        if read.unwrap().next == end {
            assert!(began.elapsed() >= SHORT_WAIT, "the read did not wait");
            return;
        }
    }
}

/// Reading beyond the end is an error, unlike reading at the end.
pub async fn reading_beyond_the_end_is_refused(log: Arc<dyn EventLog>) {
    append(&log, application_created(fresh_token())).await;
    let (partition, end) = last_bound(&log.end().await.unwrap());
    let beyond = Offset(end.0 + 1_000_000);
    let answer = log.read(partition, beyond, ReadLimit { records: 1, wait: Duration::ZERO }).await;
    assert!(matches!(answer, Err(ReadError::BeyondEnd { .. })), "{answer:?}");
}

/// An unreadable record is reported with its partition and offset, and the records after it are read. `spoil` appends an
/// unreadable record to the partition.
pub async fn unreadable_records_are_reported_and_skipped(log: Arc<dyn EventLog>, spoil: impl AsyncFnOnce(PartitionId)) {
    let token = fresh_token();
    let (partition, spoiled) = only_bound(&append(&log, message_posted(token, 1, "before")).await);
    spoil(partition).await;
    let after = message_posted(token, 2, "after");
    let (_, end) = only_bound(&append(&log, after.clone()).await);
    for records in [1, 100] {
        let mut events = Vec::new();
        let mut unreadable = Vec::new();
        let mut from = spoiled;
        while from < end {
            let read = log.read(partition, from, ReadLimit { records, wait: DEADLINE }).await.unwrap();
            assert!(read.next > from, "{from} is not passed");
            from = read.next;
            events.extend(read.events);
            unreadable.extend(read.unreadable);
        }
        assert_eq!(filter_by_application(&events, token), std::slice::from_ref(&after));
        let [one] = &unreadable[..] else { panic!("{unreadable:?}") };
        assert_eq!((one.partition, one.offset), (partition, spoiled));
        assert!(!one.reason.is_empty());
    }
}

/// The log has one identity, and every record has its own: that of the event, if it is one. An unreadable record has the same at each
/// read, if it has any.
pub async fn the_log_and_its_records_keep_their_identities(
    log: Arc<dyn EventLog>,
    spoil: impl AsyncFnOnce(PartitionId),
) {
    let token = fresh_token();
    let record = message_posted(token, 1, "before");
    let (partition, spoiled) = only_bound(&append(&log, record.clone()).await);
    spoil(partition).await;
    let (_, end) = only_bound(&append(&log, message_posted(token, 2, "after")).await);
    let id = log.id().await.unwrap();
    assert_eq!(log.id().await.unwrap(), id);
    let mut identified = Vec::new();
    for offset in [spoiled.0 - 1, spoiled.0, end.0 - 1].map(Offset) {
        let found = log.identify(partition, offset).await.unwrap();
        assert_eq!(log.identify(partition, offset).await.unwrap(), found);
        assert!(!identified.contains(&found), "two records have one identity");
        identified.push(found);
    }
    assert_eq!(identified[0], Identified::Record(record.event_id.into()));
    assert_ne!(identified[1], Identified::Nothing);
}

/// Every record of many concurrent writers is in the log once.
pub async fn concurrent_appends_are_each_in_the_log_once(log: Arc<dyn EventLog>) {
    let token = fresh_token();
    let appended = append_concurrently(&log, token).await;
    assert_eq!(read_records_of_application(&log, token).await, sort_by_event_id(appended));
}

/// If an append begins after another append of its stream was acknowledged, its record follows the other's record.
pub async fn sequential_appends_keep_their_order(log: Arc<dyn EventLog>) {
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

/// Every read, during the appends and after them, finds each record unchanged at the same offset, and offsets ascend.
pub async fn concurrent_readers_see_one_order(log: Arc<dyn EventLog>) {
    let token = fresh_token();
    let begin = log.end().await.unwrap();
    let writing = tokio::spawn({
        let log = Arc::clone(&log);
        async move { append_concurrently(&log, token).await }
    });
    let deadline = Instant::now() + DEADLINE;
    let mut readings = Vec::new();
    while !writing.is_finished() {
        assert!(Instant::now() < deadline, "the writing does not end");
        readings.push(read_from(&log, &begin).await);
    }
    writing.await.unwrap();
    readings.push(read_from(&log, &begin).await);
    let last = read_from(&log, &begin).await;
    for reading in readings {
        assert!(reading.iter().all(|recorded| last.contains(recorded)), "a record that was read has moved or changed");
    }
}

async fn read_from(log: &Arc<dyn EventLog>, begin: &Position) -> Vec<RecordedEvent> {
    let mut events = Vec::new();
    for (partition, from) in begin.bounds() {
        let read = read_to_end(log, partition, from).await;
        assert!(read.windows(2).all(|pair| pair[0].offset < pair[1].offset), "offsets do not ascend");
        events.extend(read);
    }
    events
}

async fn append(log: &Arc<dyn EventLog>, record: Record) -> Position {
    log.append(record).await.unwrap()
}

async fn append_messages(log: &Arc<dyn EventLog>, token: ApplicationToken, count: u32) -> Vec<Position> {
    let mut positions = Vec::new();
    for number in 1..=count {
        positions.push(append(log, message_posted(token, number, "in turn")).await);
    }
    positions
}

async fn append_concurrently(log: &Arc<dyn EventLog>, token: ApplicationToken) -> Vec<Record> {
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let log = Arc::clone(log);
            // A chat of its own, because a log may refuse a number that is not above the last one of its chat.
            let chat = ChatNumber::new(writer + 1).unwrap();
            tokio::spawn(async move {
                let mut appended = Vec::new();
                for number in 1..=RECORDS_A_WRITER {
                    let record = message_posted_to(token, chat, number, "at once");
                    append(&log, record.clone()).await;
                    appended.push(record);
                }
                appended
            })
        })
        .collect();
    let mut appended = Vec::new();
    for writer in writers {
        appended.extend(writer.await.unwrap());
    }
    appended
}

async fn read_to_end(log: &Arc<dyn EventLog>, partition: PartitionId, mut from: Offset) -> Vec<RecordedEvent> {
    let mut events = Vec::new();
    let end = log.end().await.unwrap().bound(partition);
    while from < end {
        let limit = ReadLimit { records: 100, wait: DEADLINE };
        let read = log.read(partition, from, limit).await.unwrap();
        assert!(read.next > from, "nothing came from {from} before the end {end}");
        from = read.next;
        events.extend(read.events);
    }
    events
}

async fn read_all(log: &Arc<dyn EventLog>) -> Vec<RecordedEvent> {
    let end = log.end().await.unwrap();
    let mut begin = Position::default();
    for (partition, _) in end.bounds() {
        begin.merge(&Position::up_to(partition, Offset::START));
    }
    read_from(log, &begin).await
}

/// Reads all records of an application. Sorts them by event id, because two streams have no common order.
async fn read_records_of_application(log: &Arc<dyn EventLog>, token: ApplicationToken) -> Vec<Record> {
    sort_by_event_id(filter_by_application(&read_all(log).await, token))
}

fn filter_by_application(events: &[RecordedEvent], token: ApplicationToken) -> Vec<Record> {
    let own = events.iter().filter(|recorded| StreamKey::token(&recorded.record.stream) == token);
    own.map(|recorded| recorded.record.clone()).collect()
}

fn sort_by_event_id(mut records: Vec<Record>) -> Vec<Record> {
    records.sort_by_key(|record| record.event_id);
    records
}

fn only_bound(position: &Position) -> (PartitionId, Offset) {
    let bounds: Vec<_> = position.bounds().collect();
    assert_eq!(bounds.len(), 1, "an append's position names its record's partition alone: {position}");
    bounds[0]
}

fn last_bound(position: &Position) -> (PartitionId, Offset) {
    position.bounds().last().unwrap()
}
