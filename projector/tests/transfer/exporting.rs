//! What an export has.

use std::io::ErrorKind;
use std::sync::Arc;

use event_log::{EventLog, ImportLog};
use events::{ClientPosition, Epoch, LogId, Offset, PartitionId, Position, Record};
use projector::export::{ExportError, ExportOptions};
use projector::export_file::ExportOutput;
use projector::transfer::{ExportArgs, ExportCommandError};
use testkit::histories::token;

use super::memory_log::{Entry, MemoryLog};
use super::{Files, chat_created, created, filled, ids, posted};

fn in_epoch(epoch: u64, record: Record) -> Record {
    Record { epoch: Some(Epoch(epoch)), ..record }
}

fn chat_partition(log: &MemoryLog, chat: u32) -> PartitionId {
    log.partition_of(&posted(1, 1, chat, 1).stream)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_has_each_valid_event_once_and_no_epochs() {
    let (files, log) = (Files::new(), Arc::new(MemoryLog::new()));
    let partition = chat_partition(&log, 1);
    log.put_event(chat_created(1, 1, 1));
    log.put_event(posted(2, 2, 1, 1));
    log.put_event(posted(2, 3, 1, 1));
    log.put(partition, Entry::EpochStarted(Epoch(7)));
    log.put_event(in_epoch(6, posted(3, 4, 1, 2)));
    log.put_event(in_epoch(7, posted(4, 5, 1, 2)));
    // The same event, valid in a later epoch.
    log.put_event(in_epoch(7, posted(3, 6, 1, 3)));
    // Whether it can be shown is for projections to decide, of whatever release.
    log.put_event(posted(5, 7, 1, 1));
    log.put_event(Record { data: b"broken".to_vec(), ..posted(6, 8, 1, 4) });
    let exported = files.export("all", &log, None).await.unwrap();
    let records = files.read("all");
    assert_eq!(ids(&records), [1, 2, 4, 3, 5, 6]);
    assert_eq!((exported.events, exported.unreadable), (6, 0));
    assert!(records.iter().all(|record| record.epoch.is_none()));
    assert_eq!(records[1].occurred_at.0, 2, "the first of two records counts");
    assert_eq!(records[5].data, b"broken");
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_are_merged_by_time_and_each_keeps_its_order() {
    let (files, log) = (Files::new(), Arc::new(MemoryLog::new()));
    let others: Vec<_> = (1..100).filter(|chat| chat_partition(&log, *chat) != chat_partition(&log, 1)).collect();
    log.put_event(posted(1, 10, 1, 1));
    log.put_event(posted(2, 5, 1, 2));
    log.put_event(posted(3, 30, 1, 3));
    log.put_event(posted(4, 20, others[0], 1));
    log.put_event(posted(5, 40, others[0], 2));
    files.export("merged", &log, None).await.unwrap();
    assert_eq!(ids(&files.read("merged")), [1, 2, 4, 3, 5]);
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_have_together_what_the_whole_has() {
    let (files, log) = (Files::new(), filled(40));
    let twice = posted(9_000, 9_000, 1, 41);
    let partition = chat_partition(&log, 1);
    log.put(partition, Entry::EpochStarted(Epoch(7)));
    log.put_event(in_epoch(7, twice.clone()));
    let first = files.export("part1", &log, None).await.unwrap();
    // Void, because of an epoch that started in the part before, and a record of an event that is there.
    log.put_event(in_epoch(6, posted(9_001, 9_001, 1, 42)));
    log.put_event(in_epoch(7, twice));
    log.put_event(posted(9_002, 9_002, 1, 42));
    log.put_event(posted(9_003, 9_003, 2, 41));
    let second = files.export("part2", &log, Some(&first.until)).await.unwrap();
    assert_eq!(ids(&files.read("part2")), [9_002, 9_003]);
    let none = files.export("part3", &log, Some(&second.until)).await.unwrap();
    assert_eq!((none.events, none.until), (0, second.until));
    files.export("whole", &log, None).await.unwrap();
    let parts = [files.read("part1"), files.read("part2"), files.read("part3")].concat();
    assert_eq!(parts, files.read("whole"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_epoch_that_started_before_a_part_makes_events_in_it_void() {
    let (files, log) = (Files::new(), filled(2));
    log.put(chat_partition(&log, 1), Entry::EpochStarted(Epoch(7)));
    let first = files.export("part1", &log, None).await.unwrap();
    log.put_event(in_epoch(6, posted(9_001, 9_001, 1, 3)));
    log.put_event(in_epoch(7, posted(9_002, 9_002, 1, 3)));
    files.export("part2", &log, Some(&first.until)).await.unwrap();
    assert_eq!(ids(&files.read("part2")), [9_002]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_exports_of_the_same_events_are_the_same_file() {
    let (files, log) = (Files::new(), filled(200));
    for name in ["one", "other", "one.zst"] {
        files.export(name, &log, None).await.unwrap();
    }
    let read = |name| std::fs::read(files.path(name)).unwrap();
    assert!(read("one") == read("other"), "the files differ");
    assert!(read("one.zst").len() < read("one").len() / 4, "{} bytes compressed", read("one.zst").len());
    assert_eq!(files.read("one.zst"), files.read("one"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_log_makes_an_export_without_events() {
    let files = Files::new();
    let exported = files.export("empty", &Arc::new(MemoryLog::new()), None).await.unwrap();
    assert_eq!((exported.events, files.read("empty")), (0, Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_event_is_left_out_only_on_request() {
    let (files, log) = (Files::new(), filled(1));
    log.put(PartitionId(2), Entry::Foreign);
    let refused = files.export("refused", &log, None).await.unwrap_err();
    assert!(matches!(refused, ExportError::Unreadable { partition: PartitionId(2), .. }), "{refused}");
    let options = ExportOptions { skip_unreadable: true, ..ExportOptions::default() };
    let exported = files.export_with("skipped", Arc::clone(&log) as _, options).await.unwrap();
    assert_eq!((exported.events, exported.unreadable), (17, 1));
    // It was told with the part that has it.
    let since = log.end().await.unwrap();
    assert_eq!(files.export("next", &log, Some(&since)).await.unwrap().unreadable, 0);
}

/// A part of an export under its name would be taken for a backup.
#[tokio::test(flavor = "multi_thread")]
async fn an_export_that_fails_leaves_no_file() {
    let (files, log) = (Files::new(), filled(1));
    log.put(PartitionId(2), Entry::Foreign);
    files.export("refused", &log, None).await.unwrap_err();
    assert_eq!(files.names(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_has_its_name_once_it_is_whole_and_only_if_nobody_else_has() {
    let files = Files::new();
    let create = || ExportOutput::create(Some(&files.path("all")), false);
    let being_written = create().unwrap();
    assert_eq!(files.names(), ["all.incomplete"]);
    let another = create().err().unwrap();
    assert_eq!(another.kind(), ErrorKind::AlreadyExists, "{another}");
    being_written.finish().unwrap();
    assert_eq!(files.names(), ["all"]);
    let existing = create().err().unwrap();
    assert_eq!(existing.kind(), ErrorKind::AlreadyExists, "{existing}");
    assert_eq!(files.names(), ["all"]);
    std::fs::remove_file(files.path("all")).unwrap();
    let being_written = create().unwrap();
    std::fs::write(files.path("all"), "of somebody else").unwrap();
    being_written.finish().unwrap_err();
    assert_eq!(std::fs::read(files.path("all")).unwrap(), b"of somebody else");
    assert_eq!(files.names(), ["all"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_export_has_left_is_overwritten() {
    let (files, log) = (Files::new(), filled(1));
    std::fs::write(files.path("all.incomplete"), "x".repeat(1_000_000)).unwrap();
    files.export("all", &log, None).await.unwrap();
    assert_eq!(files.names(), ["all"]);
    assert_eq!(files.read("all").len(), 17);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_a_newer_release_is_not_exported() {
    let (files, log) = (Files::new(), filled(1));
    log.put_event(Record { version: 9, ..posted(9_000, 9_000, 1, 2) });
    let refused = files.export("refused", &log, None).await.unwrap_err();
    assert!(matches!(refused, ExportError::Newer { .. }), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_that_the_log_does_not_have_is_refused() {
    let (files, log) = (Files::new(), filled(1));
    log.put_event(created(9_000, 9_000, token(2)));
    for unknown in [Position::up_to(PartitionId(0), Offset(1_000)), Position::up_to(PartitionId(9), Offset(1))] {
        let refused = files.export(&format!("{unknown}"), &log, Some(&unknown)).await.unwrap_err();
        assert!(matches!(refused, ExportError::UnknownPosition { .. }), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_begins_at_a_position_with_the_mark_of_its_log_or_without_one() {
    let (files, log, copy) = (Files::new(), filled(1), Arc::new(MemoryLog::new()));
    files.export("all", &log, None).await.unwrap();
    files.import("all", &copy).await.unwrap();
    let own = copy.id().await.unwrap().and_then(LogId::mark);
    let other = LogId::of_marked_log([7; 16]).mark();
    assert!(own.is_some() && own != other, "{own:?}");
    let position = copy.end().await.unwrap();
    for (name, mark, is_own) in [("marked", own, true), ("unmarked", None, true), ("other", other, false)] {
        let since = Some(ClientPosition { mark, position: position.clone() });
        let args = ExportArgs { file: Some(files.path(name)), since, zstd: false, skip_unreadable: false };
        let outcome = args.run(Arc::clone(&copy) as _).await;
        let is_refused = matches!(outcome, Err(ExportCommandError::Export(ExportError::OtherLog { .. })));
        assert_eq!((outcome.is_ok(), is_refused), (is_own, !is_own), "{name}: {outcome:?}");
    }
    assert_eq!(files.names(), ["all", "marked", "unmarked"]);
}
