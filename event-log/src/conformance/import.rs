//! The checks of an [`ImportLog`]. Each needs a log that nobody else uses.

use std::sync::Arc;
use std::time::Duration;

use events::{
    ChatNumber, ImportMark, ImportPhase, LogDigest, Offset, PartitionId, Position, Record, RecordedEvent, StreamKey,
};

use super::{application_created, chat_created, fresh_token, message_posted, message_posted_to};
use crate::import_log::{ImportLog, LastImport};
use crate::log::ReadLimit;

/// Longest wait for records that are in the log.
const WAIT: Duration = Duration::from_secs(30);

/// Calls a macro with the arguments, the path of the suite, and every check of an [`ImportLog`](crate::ImportLog). Each check is
/// listed with the part of the adapter that it takes, `import`, and the [`ImportFault`](crate::conformance::ImportFault) that it
/// must find.
#[macro_export]
macro_rules! import_conformance {
    ($callback:ident $(, $($arguments:tt)*)?) => {
        $callback! { $($($arguments)*)?; $crate::conformance;
            imported_events_keep_their_order_and_their_members(import) => ReversesEvents,
            imported_events_are_in_the_partition_of_their_stream(import) => MisplacesStreams,
            imported_numbers_may_descend_and_come_twice(import) => RefusesTakenNumbers,
            the_position_of_an_import_covers_its_events(import) => EndLagsBehind,
            the_last_mark_is_found(import) => ForgetsTheLastMark,
            readers_pass_over_marks(import) => ShowsMarks,
            a_log_that_an_import_begins_marks_its_positions(import) => MarksNoPositions,
        }
    };
}

/// Events of many streams come back as they were appended, and those of a stream in their order.
pub async fn imported_events_keep_their_order_and_their_members(log: Arc<dyn ImportLog>) {
    let token = fresh_token();
    let chats: Vec<_> = (1..=8).filter_map(ChatNumber::new).collect();
    let mut records = vec![application_created(token)];
    records.extend(chats.iter().map(|chat| chat_created(token, *chat)));
    for number in 1..=40 {
        records.extend(chats.iter().map(|chat| message_posted_to(token, *chat, number, "imported")));
    }
    for block in records.chunks(100) {
        log.append_imported(block.to_vec()).await.unwrap();
    }
    let read = read_all(&log).await;
    assert_eq!(read.len(), records.len());
    let of_stream =
        |stream: StreamKey| records.iter().filter(move |record| record.stream == stream).collect::<Vec<_>>();
    for stream in chats.iter().map(|chat| chat_created(token, *chat).stream).chain([token.into()]) {
        let found = read.iter().map(|recorded| &recorded.record).filter(|record| record.stream == stream);
        assert_eq!(found.collect::<Vec<_>>(), of_stream(stream));
    }
}

/// The adapter says truly in which partition it puts a stream.
pub async fn imported_events_are_in_the_partition_of_their_stream(log: Arc<dyn ImportLog>) {
    let records: Vec<_> = (0..20).map(|_| application_created(fresh_token())).collect();
    log.append_imported(records).await.unwrap();
    let read = read_all(&log).await;
    assert_eq!(read.len(), 20);
    for RecordedEvent { partition, record, .. } in read {
        assert_eq!(partition, log.partition_of(&record.stream));
    }
}

/// Concurrent posts may lie in the exported log in another order than their numbers, and damage may have given one twice.
pub async fn imported_numbers_may_descend_and_come_twice(log: Arc<dyn ImportLog>) {
    let token = fresh_token();
    let numbers = [2, 1, 3, 3, 5, 4];
    let records: Vec<_> = numbers.iter().map(|number| message_posted(token, *number, "in any order")).collect();
    log.append_imported(records).await.unwrap();
    let read: Vec<_> =
        read_all(&log).await.iter().map(|read| read.record.number.map_or(0, events::Number::get)).collect();
    assert_eq!(read, numbers);
}

/// The position of an import covers each of its events, and the log's end covers it.
pub async fn the_position_of_an_import_covers_its_events(log: Arc<dyn ImportLog>) {
    let token = fresh_token();
    let mut numbers = 1..;
    for _ in 0..3 {
        let records: Vec<_> = (&mut numbers).take(5).map(|number| message_posted(token, number, "covered")).collect();
        let partition = log.partition_of(&records[0].stream);
        let before = log.end().await.unwrap();
        let position = log.append_imported(records).await.unwrap();
        assert_eq!(position.bound(partition).0, before.bound(partition).0 + 5);
        assert!(log.end().await.unwrap().covers(&position));
    }
}

/// A log has no mark at first. Afterwards the last one is found, and where the log goes on behind it.
pub async fn the_last_mark_is_found(log: Arc<dyn ImportLog>) {
    assert_eq!(log.last_import().await.unwrap(), None);
    let token = fresh_token();
    let mut number = 0;
    for (phase, before, through) in [
        (ImportPhase::Began, LogDigest::of_nothing(), digest(1)),
        (ImportPhase::Ended, LogDigest::of_nothing(), digest(1)),
        (ImportPhase::Began, digest(1), digest(2)),
    ] {
        let mark = ImportMark { phase, before, through, end: log.end().await.unwrap() };
        log.append_import_mark(mark.clone()).await.unwrap();
        let next = log.end().await.unwrap();
        let expected = Some(LastImport { mark, next });
        assert_eq!(log.last_import().await.unwrap(), expected);
        number += 1;
        log.append_imported(vec![message_posted(token, number, "behind it")]).await.unwrap();
        assert_eq!(log.last_import().await.unwrap(), expected);
    }
}

/// A mark is neither an event nor a record that cannot be read.
pub async fn readers_pass_over_marks(log: Arc<dyn ImportLog>) {
    let token = fresh_token();
    let mut records = Vec::new();
    for number in 1..=3 {
        let end = log.end().await.unwrap();
        let (before, through) = (LogDigest::of_nothing(), digest(7));
        log.append_import_mark(ImportMark { phase: ImportPhase::Began, before, through, end }).await.unwrap();
        records.push(message_posted(token, number, "between marks"));
        log.append_imported(vec![records[records.len() - 1].clone()]).await.unwrap();
    }
    let read: Vec<Record> = read_all(&log).await.into_iter().map(|recorded| recorded.record).collect();
    assert_eq!(read, records);
}

/// Its identity says so, and stays as it is when further parts are imported.
pub async fn a_log_that_an_import_begins_marks_its_positions(log: Arc<dyn ImportLog>) {
    let (token, mut id) = (fresh_token(), None);
    for part in 1..=2 {
        for phase in ImportPhase::ALL {
            let (before, through, end) = (digest(part - 1), digest(part), log.end().await.unwrap());
            log.append_import_mark(ImportMark { phase, before, through, end }).await.unwrap();
            let found = log.id().await.unwrap().unwrap();
            assert!(found.mark().is_some(), "{found}");
            assert_eq!(*id.get_or_insert(found), found);
            log.append_imported(vec![application_created(token)]).await.unwrap();
        }
    }
}

fn digest(byte: u8) -> LogDigest {
    LogDigest::from_bytes([byte; LogDigest::BYTES])
}

async fn read_all(log: &Arc<dyn ImportLog>) -> Vec<RecordedEvent> {
    let end: Position = log.end().await.unwrap();
    let mut events = Vec::new();
    for (partition, end) in end.bounds() {
        let mut from = Offset::START;
        while from < end {
            from = read_some(log, partition, from, &mut events).await;
        }
    }
    events
}

async fn read_some(
    log: &Arc<dyn ImportLog>,
    partition: PartitionId,
    from: Offset,
    events: &mut Vec<RecordedEvent>,
) -> Offset {
    let read = log.read(partition, from, ReadLimit { records: 100, wait: WAIT }).await.unwrap();
    assert_eq!(read.unreadable, []);
    assert!(read.next > from, "nothing came from {from} on");
    events.extend(read.events);
    read.next
}
