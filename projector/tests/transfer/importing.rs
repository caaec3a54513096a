//! What an import brings into a log.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::process::Command;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use embedded::DataDir;
use event_log::{EventLog, ImportLog};
use events::{Epoch, PartitionId, Record, StreamKey};
use projector::export::ExportOptions;
use projector::export_file::ExportInput;
use projector::import::{ImportError, Imported, OpenedExport, import};
use tempfile::TempDir;

use super::memory_log::{Entry, MemoryLog};
use super::{Files, filled, posted};

/// The events of each stream in their order, without what an export leaves out.
fn by_stream(records: Vec<Record>) -> BTreeMap<StreamKey, Vec<Record>> {
    let mut streams = BTreeMap::<_, Vec<_>>::new();
    for record in records {
        let events = streams.entry(record.stream).or_default();
        if events.iter().all(|event: &Record| event.event_id != record.event_id) {
            events.push(Record { epoch: None, ..record });
        }
    }
    streams
}

fn done(imported: Result<Imported, ImportError>) -> (u64, u64) {
    match imported.unwrap() {
        Imported::Done { events, already, .. } => (events, already),
        Imported::WasThere => panic!("it was there"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_the_same_over_both_kinds_of_log_and_back() {
    let (files, log, directory) = (Files::new(), filled(300), TempDir::new().unwrap());
    // Concurrent posts in another order, and a number that was given twice.
    for (id, number) in [(9_001, 302), (9_002, 301), (9_003, 301)] {
        log.put_event(posted(id, 9_000, 3, number));
    }
    files.export("partitions", &log, None).await.unwrap();
    let embedded = Arc::new(DataDir::open(directory.path()).unwrap().open_log_to_import().unwrap());
    let input = ExportInput::new(Some(files.path("partitions")));
    let export = OpenedExport::open(input).await.unwrap();
    assert_eq!(done(import(Arc::clone(&embedded) as _, export).await), (2_412, 0));
    files.export_with("one", Arc::clone(&embedded) as _, ExportOptions::default()).await.unwrap();
    let again = Arc::new(MemoryLog::new());
    assert_eq!(done(files.import("one", &again).await), (2_412, 0));
    assert_eq!(by_stream(again.events()), by_stream(log.events()));
    assert_eq!(embedded.check(|_| {}).await.unwrap().contradictions, []);
    embedded.close().await;
}

/// Wherever it is stopped, and however much of a block has reached the log.
#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_fails_goes_on_where_it_was() {
    let (files, log) = (Files::new(), filled(300));
    files.export("all", &log, None).await.unwrap();
    let imported = Arc::new(MemoryLog::new());
    let mut last = 0;
    for blocks in [0, 1, 2, 0] {
        imported.fail_after(blocks);
        let failed = files.import("all", &imported).await.unwrap_err();
        assert!(matches!(failed, ImportError::Append(_)), "{failed}");
        let events = imported.events().len();
        assert!(events > last, "{events} events after {last}");
        last = events;
    }
    assert_eq!(done(files.import("all", &imported).await), (2_409, u64::try_from(last).unwrap()));
    assert_eq!(by_stream(imported.events()), by_stream(log.events()));
    assert_eq!(imported.events().len(), 2_409, "no event is there twice");
    assert_eq!(files.import("all", &imported).await.unwrap(), Imported::WasThere);
}

/// The log alone knows how far the import is, so the export may have been made again.
#[tokio::test(flavor = "multi_thread")]
async fn the_same_part_of_the_same_log_goes_on_and_no_other_does() {
    let (files, log) = (Files::new(), filled(100));
    let first = files.export("first", &log, None).await.unwrap();
    files.export("again.zst", &log, None).await.unwrap();
    log.put_event(posted(9_000, 9_000, 1, 101));
    files.export("longer", &log, None).await.unwrap();
    files.export("next", &log, Some(&first.until)).await.unwrap();
    let imported = Arc::new(MemoryLog::new());
    imported.fail_after(1);
    files.import("first", &imported).await.unwrap_err();
    for other in ["longer", "next"] {
        let refused = files.import(other, &imported).await.unwrap_err();
        assert!(matches!(refused, ImportError::AnotherBegun), "{other}: {refused}");
    }
    done(files.import("again.zst", &imported).await);
    assert_eq!(imported.events().len(), 809);
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_are_taken_in_order() {
    let (files, log) = (Files::new(), filled(3));
    let first = files.export("1", &log, None).await.unwrap();
    log.put_event(posted(9_000, 9_000, 1, 4));
    let second = files.export("2", &log, Some(&first.until)).await.unwrap();
    log.put_event(posted(9_001, 9_001, 2, 4));
    files.export("3", &log, Some(&second.until)).await.unwrap();
    let imported = Arc::new(MemoryLog::new());
    let refused = files.import("2", &imported).await.unwrap_err();
    assert!(matches!(refused, ImportError::NotTheFirstPart { .. }), "{refused}");
    assert_eq!(imported.end().await.unwrap(), MemoryLog::new().end().await.unwrap(), "nothing was written");
    done(files.import("1", &imported).await);
    let refused = files.import("3", &imported).await.unwrap_err();
    assert!(matches!(refused, ImportError::NotTheNextPart), "{refused}");
    done(files.import("2", &imported).await);
    done(files.import("3", &imported).await);
    let refused = files.import("1", &imported).await.unwrap_err();
    assert!(matches!(refused, ImportError::NotTheNextPart), "{refused}");
    assert_eq!(by_stream(imported.events()), by_stream(log.events()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_system_with_other_events_takes_none() {
    let (files, log) = (Files::new(), filled(3));
    let first = files.export("1", &log, None).await.unwrap();
    log.put_event(posted(9_000, 9_000, 1, 4));
    files.export("2", &log, Some(&first.until)).await.unwrap();
    let used = Arc::new(MemoryLog::new());
    used.put(PartitionId(1), Entry::EpochStarted(Epoch(1)));
    assert!(matches!(files.import("1", &used).await, Err(ImportError::NotEmpty)));
    let imported = Arc::new(MemoryLog::new());
    done(files.import("1", &imported).await);
    imported.put(PartitionId(1), Entry::EpochStarted(Epoch(1)));
    assert!(matches!(files.import("2", &imported).await, Err(ImportError::WrittenSince)));
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_who_writes_beside_an_import_is_noticed() {
    let (files, log) = (Files::new(), filled(300));
    files.export("all", &log, None).await.unwrap();
    let imported = Arc::new(MemoryLog::new());
    imported.disturb_after(1);
    let refused = files.import("all", &imported).await.unwrap_err();
    assert!(matches!(refused, ImportError::OtherWriter(_)), "{refused}");
    let refused = files.import("all", &imported).await.unwrap_err();
    assert!(matches!(refused, ImportError::OtherEvent { .. }), "{refused}");
}

/// Between the look at the empty log and the mark, in the partition of the mark or in another one.
#[tokio::test(flavor = "multi_thread")]
async fn somebody_who_writes_while_an_import_begins_is_noticed() {
    let (files, log) = (Files::new(), filled(3));
    files.export("all", &log, None).await.unwrap();
    for partition in [PartitionId(0), PartitionId(1)] {
        let imported = Arc::new(MemoryLog::new());
        imported.disturb_before_mark(partition);
        let refused = files.import("all", &imported).await.unwrap_err();
        let is_noticed = matches!(refused, ImportError::OtherEvent { partition: found, .. } if found == partition);
        assert!(is_noticed, "partition {partition}: {refused}");
        assert_eq!(imported.events(), [], "partition {partition}");
    }
}

/// Between the last event and the mark behind it. The next part does not follow then.
#[tokio::test(flavor = "multi_thread")]
async fn somebody_who_writes_while_an_import_ends_is_noticed_by_the_next_part() {
    let (files, log) = (Files::new(), filled(3));
    let first = files.export("1", &log, None).await.unwrap();
    log.put_event(posted(9_000, 9_000, 1, 4));
    files.export("2", &log, Some(&first.until)).await.unwrap();
    for partition in [PartitionId(0), PartitionId(1)] {
        let imported = Arc::new(MemoryLog::new());
        imported.fail_after(0);
        files.import("1", &imported).await.unwrap_err();
        imported.disturb_before_mark(partition);
        done(files.import("1", &imported).await);
        let refused = files.import("2", &imported).await.unwrap_err();
        assert!(matches!(refused, ImportError::WrittenSince), "partition {partition}: {refused}");
    }
}

/// The file need not be read to its end, nor be whole, to say that nothing is imported.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_told_although_the_rest_of_the_file_is_cut_off() {
    let (files, log) = (Files::new(), filled(300));
    files.export("all", &log, None).await.unwrap();
    write_first_lines(&files, File::create(files.path("cut")).unwrap());
    let refused = files.import("cut", &log).await.unwrap_err();
    assert!(matches!(refused, ImportError::NotEmpty), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_told_while_the_pipe_is_open() {
    let (files, log) = (Arc::new(Files::new()), filled(300));
    files.export("all", &log, None).await.unwrap();
    let path = files.path("pipe");
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    let (told, writer_waits) = mpsc::channel::<()>();
    let writer = thread::spawn({
        let files = Arc::clone(&files);
        move || {
            let _pipe = write_first_lines(&files, OpenOptions::new().write(true).open(path).unwrap());
            // It ends when the sender is dropped.
            writer_waits.recv().unwrap_err();
        }
    });
    let refused = tokio::time::timeout(Duration::from_secs(30), files.import("pipe", &log)).await;
    drop(told);
    writer.join().unwrap();
    let refused = refused.unwrap().unwrap_err();
    assert!(matches!(refused, ImportError::NotEmpty), "{refused}");
}

/// Writes the first block of the export `all`, and the beginning of the second one.
fn write_first_lines(files: &Files, mut to: File) -> File {
    let text = std::fs::read_to_string(files.path("all")).unwrap();
    let lines = text.split_inclusive('\n').take(600).collect::<String>();
    to.write_all(lines.as_bytes()).unwrap();
    to
}

/// While the import was stopped, or behind its last event.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_not_in_the_export_is_noticed() {
    let (files, log) = (Files::new(), filled(300));
    files.export("all", &log, None).await.unwrap();
    for blocks in [1, usize::MAX] {
        let imported = Arc::new(MemoryLog::new());
        imported.fail_after(blocks.min(2));
        files.import("all", &imported).await.unwrap_err();
        if blocks == usize::MAX {
            for record in files.read("all").into_iter().skip(imported.events().len()) {
                imported.put_event(record);
            }
        }
        imported.put_event(posted(9_000, 9_000, 1, 301));
        let refused = files.import("all", &imported).await.unwrap_err();
        assert!(matches!(refused, ImportError::OtherEvent { .. }), "{refused}");
    }
}

/// An append that was given up may reach the log after it was sent again.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_an_import_has_sent_twice_is_passed_over() {
    let (files, log) = (Files::new(), filled(300));
    files.export("all", &log, None).await.unwrap();
    let imported = Arc::new(MemoryLog::new());
    imported.fail_after(1);
    files.import("all", &imported).await.unwrap_err();
    let partition = imported.partition_of(&posted(1, 1, 1, 1).stream);
    let of_partition = |record: &Record| imported.partition_of(&record.stream) == partition;
    let last = imported.events().into_iter().rfind(of_partition).unwrap();
    imported.put_event(last);
    done(files.import("all", &imported).await);
    assert_eq!(by_stream(imported.events()), by_stream(log.events()));
}
