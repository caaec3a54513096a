//! Files whose lines are as they were written, and whose first line is not true: an import never ends with one.

use std::sync::Arc;

use event_log::ImportLog;
use events::{EventId, ImportPhase, LogDigest, Position, Record};
use projector::export_file::{Block, ExportFileError, ExportInput, ExportReader, ExportWriter, Header, HeaderMismatch};
use projector::import::{ImportError, Imported};
use uuid::Uuid;

use super::memory_log::MemoryLog;
use super::{Files, filled, posted};

/// What an export has.
#[derive(Clone)]
struct Crafted {
    header: Header,
    records: Vec<Record>,
    repeats: u64,
}

impl Crafted {
    fn read(files: &Files, name: &str) -> Self {
        let input = ExportInput::new(Some(files.path(name))).open().unwrap();
        let (header, _) = ExportReader::open(input).unwrap();
        Self { header, records: files.read(name), repeats: 0 }
    }

    /// Writes a file with these members and with hashes that fit.
    fn write(&self, files: &Files, name: &str) {
        let mut writer = ExportWriter::begin(Vec::new(), self.header.clone()).unwrap();
        for records in self.records.chunks(100) {
            let mut block = Block::default();
            records.iter().for_each(|record| block.add(record).unwrap());
            writer.write(&block).unwrap();
        }
        let (bytes, _) = writer.end(self.repeats).unwrap();
        std::fs::write(files.path(name), bytes).unwrap();
    }
}

/// Imports a file with this change. Says whether the import has begun, and how it was refused.
async fn import(original: &Crafted, change: impl FnOnce(&mut Crafted)) -> (bool, Result<Imported, HeaderMismatch>) {
    let (files, log) = (Files::new(), Arc::new(MemoryLog::new()));
    let mut crafted = original.clone();
    change(&mut crafted);
    crafted.write(&files, "crafted");
    let imported = files.import("crafted", &log).await;
    let last = log.last_import().await.unwrap();
    let imported = imported.map_err(|error| match error {
        ImportError::File(ExportFileError::Contradictory(contradiction)) => contradiction,
        other => panic!("{other}"),
    });
    let has_ended = last.as_ref().is_some_and(|last| last.mark.phase == ImportPhase::Ended);
    assert_eq!(has_ended, imported.is_ok(), "an import ends with a file that is whole");
    (last.is_some(), imported)
}

fn other_digest() -> LogDigest {
    LogDigest::from_bytes([7; LogDigest::BYTES])
}

fn position(text: &str) -> Position {
    text.parse().unwrap()
}

async fn exported() -> Crafted {
    let files = Files::new();
    files.export("whole", &filled(100), None).await.unwrap();
    Crafted::read(&files, "whole")
}

/// What is changed, in words, and the change.
type Change<T> = (&'static str, fn(&mut T));

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_not_changed_is_imported() {
    let (_, imported) = import(&exported().await, |_| {}).await;
    assert!(matches!(imported, Ok(Imported::Done { events: 809, .. })), "{imported:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_line_that_contradicts_itself_is_refused_before_anything_is_imported() {
    let whole = exported().await;
    let changes: [Change<Header>; 7] = [
        ("more events than offsets", |header| header.events = 1_000_000),
        ("offsets without end", |header| header.events = u64::MAX),
        ("no events of another log", |header| header.events = 0),
        ("it ends where it begins", |header| header.through = header.before),
        ("it ends before it begins", |header| header.since = Some(position("0:9000"))),
        ("a beginning that is not that of the log", |header| header.before = other_digest()),
        ("a partition is missing", |header| header.until = position("0:900.2:900")),
    ];
    for (what, change) in changes {
        let (has_begun, refused) = import(&whole, |crafted| change(&mut crafted.header)).await;
        assert_eq!((has_begun, refused), (false, Err(HeaderMismatch::FirstLine)), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_from_which_events_were_taken_does_not_end_an_import() {
    let whole = exported().await;
    let (has_begun, refused) = import(&whole, |crafted| drop(crafted.records.remove(700))).await;
    assert_eq!((has_begun, refused), (true, Err(HeaderMismatch::Count { found: 808, promised: 809 })));
    let (_, refused) = import(&whole, |crafted| crafted.records.push(posted(9_000, 9_000, 1, 101))).await;
    assert_eq!(refused, Err(HeaderMismatch::Count { found: 810, promised: 809 }));
    let cut = |crafted: &mut Crafted| {
        crafted.records.truncate(400);
        crafted.header.events = 400;
    };
    assert_eq!(import(&whole, cut).await.1, Err(HeaderMismatch::OtherEvents));
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_are_not_those_of_the_log_that_the_first_line_names_do_not_end_an_import() {
    let whole = exported().await;
    let changes: [Change<Crafted>; 3] = [
        ("the digest of another log", |crafted| crafted.header.through = other_digest()),
        ("another event", |crafted| crafted.records[700].event_id = EventId(Uuid::from_u128(9_000))),
        ("another order in a partition", |crafted| crafted.records.swap(700, 708)),
    ];
    for (what, change) in changes {
        assert_eq!(import(&whole, change).await.1, Err(HeaderMismatch::OtherEvents), "{what}");
    }
}

/// Of a log that has events twice, and of a later part, the digest cannot be computed from the file. The numbers are compared.
#[tokio::test(flavor = "multi_thread")]
async fn files_whose_digest_is_not_known_have_as_many_events_as_their_first_line_promises() {
    let (files, log) = (Files::new(), filled(10));
    log.put_event(posted(9_000, 9_000, 1, 11));
    log.put_event(posted(9_000, 9_000, 1, 11));
    let first = files.export("first", &log, None).await.unwrap();
    log.put_event(posted(9_001, 9_001, 1, 12));
    log.put_event(posted(9_000, 9_000, 1, 11));
    log.put_event(posted(9_002, 9_002, 1, 13));
    files.export("next", &log, Some(&first.until)).await.unwrap();
    let imported = Arc::new(MemoryLog::new());
    for (name, events) in [("first", 90), ("next", 2)] {
        let imported = files.import(name, &imported).await.unwrap();
        assert!(matches!(imported, Imported::Done { events: found, .. } if found == events), "{name}: {imported:?}");
    }
    let first = Crafted { repeats: 1, ..Crafted::read(&files, "first") };
    assert!(import(&first, |_| {}).await.1.is_ok());
    let (_, refused) = import(&first, |crafted| drop(crafted.records.pop())).await;
    assert_eq!(refused, Err(HeaderMismatch::Count { found: 89, promised: 91 }));
    let next = Crafted { repeats: 1, ..Crafted::read(&files, "next") };
    let imported = Arc::new(MemoryLog::new());
    files.import("first", &imported).await.unwrap();
    let crafted = Crafted { records: next.records[..1].to_vec(), ..next };
    crafted.write(&files, "cut");
    let refused = files.import("cut", &imported).await.unwrap_err();
    let is_noticed = matches!(refused, ImportError::File(ExportFileError::Contradictory(HeaderMismatch::Count { .. })));
    assert!(is_noticed, "{refused}");
    files.import("next", &imported).await.unwrap();
}

/// A part cannot have more events of a partition than there are offsets.
#[tokio::test(flavor = "multi_thread")]
async fn events_have_room_between_the_beginning_and_the_end_of_their_partition() {
    let whole = exported().await;
    let (_, refused) = import(&whole, |crafted| crafted.header.until = position("0:1.1:1.2:900")).await;
    assert!(matches!(refused, Err(HeaderMismatch::Partition(_))), "{refused:?}");
}
