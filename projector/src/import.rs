//! Imports exports into a log that has nothing else.
//!
//! An import begins and ends with a mark in the log. An import that was stopped goes on where it was: it compares the file with
//! what the log has behind the mark, and appends the rest. So the log alone says how far an import is.
//! docs/adr/0016-exports-and-imports.md says why.
//!
//! | module | holds |
//! |---|---|
//! | `opened` | a file that was opened and is an export, and the thread that reads it |
//! | `progressed` | what the log has already of a file |

mod opened;
mod progressed;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use event_log::{AppendError, ImportLog, LastImport, ReadError};
use events::{ImportMark, ImportPhase, LogDigest, Offset, PartitionId, Position, Record};
use tokio::sync::watch;

use self::opened::Blocks;
use self::progressed::Progressed;
use crate::export_file::{ExportFileError, Header};
use crate::progress::show_while;
use crate::rebuild::Progress;

pub use self::opened::OpenedExport;

/// An import that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Imported {
    /// All events of the file are in the log now.
    Done {
        /// The number of events in the file.
        events: u64,
        /// How many of them an earlier import of the file had appended.
        already: u64,
        /// Where the exported log goes on; the next part begins there.
        until: Position,
    },
    /// An earlier import had ended.
    WasThere,
}

/// Why an export was not imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file cannot be opened, or there is no thread to read it.
    #[error("the export cannot be opened")]
    Open(#[source] io::Error),
    /// The file is no whole export.
    #[error(transparent)]
    File(ExportFileError),
    /// The log cannot be read.
    #[error("the event log cannot be read")]
    Read(#[source] ReadError),
    /// The log did not take the events.
    #[error("the event log did not take all events; run the same import again: it goes on where it was")]
    Append(#[source] AppendError),
    /// The log has events, and no import has brought them.
    #[error("the system has events already, so nothing is imported into it; import into a new, empty one")]
    NotEmpty,
    /// The log has grown since the last import.
    #[error(
        "the system has got other events since the last import, so nothing more is imported into it; import all parts before it is used"
    )]
    WrittenSince,
    /// Another file has begun.
    #[error(
        "the import of another export has begun here, and has not ended; run that import again, or begin with a new, empty system"
    )]
    AnotherBegun,
    /// The file is no first part.
    #[error("this export begins in the middle of a log, at {since}; import the parts before it first")]
    NotTheFirstPart {
        /// Where it begins.
        since: Position,
    },
    /// The file does not follow the last one.
    #[error(
        "this export does not begin where the last one that was imported ends; import the parts of one log in order, each with --since \
         the position at which the one before has ended"
    )]
    NotTheNextPart,
    /// The log has something else than the file.
    #[error(
        "offset {offset} of partition {partition} is something else than the export has there: somebody else has written to the log, or an \
         append of an earlier attempt was lost; begin with a new, empty system"
    )]
    OtherEvent {
        /// The partition.
        partition: PartitionId,
        /// The offset.
        offset: Offset,
    },
    /// Something was appended beside the import.
    #[error(
        "somebody else writes to partition {0} of the log; stop every command-api, and begin with a new, empty system"
    )]
    OtherWriter(PartitionId),
}

/// Imports an export into `log`, and shows the progress. Goes on with an import that was stopped.
///
/// # Errors
/// [`ImportError`].
pub async fn import(log: Arc<dyn ImportLog>, export: OpenedExport) -> Result<Imported, ImportError> {
    let OpenedExport { header, mut blocks } = export;
    show_while("importing", async |progress| import_blocks(&log, &header, &mut blocks, progress).await).await
}

async fn import_blocks(
    log: &Arc<dyn ImportLog>,
    header: &Header,
    blocks: &mut Blocks,
    progress: &watch::Sender<Progress>,
) -> Result<Imported, ImportError> {
    progress.send_replace(Progress { applied: 0, end: header.events });
    let Some(mut import) = Import::begin(log, header).await? else {
        return Ok(Imported::WasThere);
    };
    let (mut events, mut already) = (0, 0);
    while let Some(records) = blocks.next().await? {
        events += records.len() as u64;
        already += import.append(records).await?;
        progress.send_modify(|progress| progress.applied = events);
    }
    import.end(header).await?;
    Ok(Imported::Done { events, already, until: header.until.clone() })
}

/// An import that runs.
struct Import<'a> {
    log: &'a Arc<dyn ImportLog>,
    progressed: Progressed,
    /// Where the log ends if nobody else writes to it.
    end: Position,
}

/// How an import begins.
#[derive(Debug, PartialEq, Eq)]
enum Start {
    /// With a mark.
    New,
    /// Behind the mark of an earlier attempt.
    GoOn(Position),
    /// Not at all: an earlier import has ended.
    WasThere,
}

/// Decides whether a file may be imported into a log that ends at `end`.
fn decide(header: &Header, end: &Position, last: Option<LastImport>) -> Result<Start, ImportError> {
    let Some(LastImport { mark, next }) = last else {
        return if end.bounds().any(|(_, end)| end > Offset::START) {
            Err(ImportError::NotEmpty)
        } else if header.before != LogDigest::of_nothing() {
            Err(ImportError::NotTheFirstPart { since: header.since.clone().unwrap_or_default() })
        } else {
            Ok(Start::New)
        };
    };
    match mark.phase {
        ImportPhase::Began if (mark.before, mark.through) == (header.before, header.through) => Ok(Start::GoOn(next)),
        ImportPhase::Began => Err(ImportError::AnotherBegun),
        ImportPhase::Ended if mark.through == header.through => Ok(Start::WasThere),
        ImportPhase::Ended if *end != next => Err(ImportError::WrittenSince),
        ImportPhase::Ended if mark.through != header.before => Err(ImportError::NotTheNextPart),
        ImportPhase::Ended => Ok(Start::New),
    }
}

/// Looks how far the log is, and decides. Returns the log's end, too.
async fn look(log: &Arc<dyn ImportLog>, header: &Header) -> Result<(Start, Position), ImportError> {
    let end = log.end().await.map_err(ImportError::Read)?;
    let last = log.last_import().await.map_err(ImportError::Read)?;
    Ok((decide(header, &end, last)?, end))
}

impl<'a> Import<'a> {
    /// Begins, or goes on where an import of the same file was stopped; `None` if one has ended.
    async fn begin(log: &'a Arc<dyn ImportLog>, header: &Header) -> Result<Option<Self>, ImportError> {
        let (mut start, mut end) = look(log, header).await?;
        if start == Start::New {
            append_mark(log, header, ImportPhase::Began, end).await?;
            // Whoever has written meanwhile is noticed as if the import had been stopped here.
            (start, end) = look(log, header).await?;
        }
        match start {
            Start::WasThere => Ok(None),
            Start::GoOn(begin) => {
                let progressed = Progressed::new(Arc::clone(log), &begin, &end);
                Ok(Some(Self { log, progressed, end }))
            }
            // The mark is not the last one any more.
            Start::New => Err(ImportError::AnotherBegun),
        }
    }

    /// Appends those events that the log does not have. Returns how many it has.
    async fn append(&mut self, records: Vec<Record>) -> Result<u64, ImportError> {
        let mut missing = Vec::with_capacity(records.len());
        let mut already = 0;
        for record in records {
            if self.progressed.has(&record).await? {
                already += 1;
            } else {
                missing.push(record);
            }
        }
        if missing.is_empty() {
            return Ok(already);
        }
        let mut expected = BTreeMap::<PartitionId, u64>::new();
        for record in &missing {
            let partition = self.log.partition_of(&record.stream);
            *expected.entry(partition).or_insert_with(|| self.end.bound(partition).0) += 1;
        }
        let position = self.log.append_imported(missing).await.map_err(ImportError::Append)?;
        for (partition, end) in expected {
            if position.bound(partition) != Offset(end) {
                return Err(ImportError::OtherWriter(partition));
            }
        }
        self.end.merge(&position);
        Ok(already)
    }

    /// Checks that the log has nothing else, and ends the import.
    async fn end(mut self, header: &Header) -> Result<(), ImportError> {
        self.progressed.expect_nothing_more().await?;
        let end = self.log.end().await.map_err(ImportError::Read)?;
        if let Some((partition, _)) = end.bounds().find(|(partition, end)| *end != self.end.bound(*partition)) {
            return Err(ImportError::OtherWriter(partition));
        }
        append_mark(self.log, header, ImportPhase::Ended, end).await
    }
}

async fn append_mark(
    log: &Arc<dyn ImportLog>,
    header: &Header,
    phase: ImportPhase,
    end: Position,
) -> Result<(), ImportError> {
    let mark = ImportMark { phase, before: header.before, through: header.through, end };
    log.append_import_mark(mark).await.map_err(ImportError::Append)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(byte: u8) -> LogDigest {
        if byte == 0 { LogDigest::of_nothing() } else { LogDigest::from_bytes([byte; LogDigest::BYTES]) }
    }

    /// The part of a log between two digests.
    fn part(before: u8, through: u8) -> Header {
        let (before, through) = (digest(before), digest(through));
        Header { since: None, until: position(7), before, through, events: 7 }
    }

    fn position(end: u64) -> Position {
        Position::up_to(PartitionId(0), Offset(end))
    }

    /// Decides on a file for a log whose last mark, behind which it ends at 5, says this.
    fn decide_after(file: &Header, last: Option<(ImportPhase, u8, u8)>, end: u64) -> Result<Start, ImportError> {
        let last = last.map(|(phase, before, through)| {
            let mark = ImportMark { phase, before: digest(before), through: digest(through), end: position(4) };
            LastImport { mark, next: position(5) }
        });
        decide(file, &position(end), last)
    }

    #[test]
    fn only_the_first_part_begins_in_an_empty_log() {
        assert_eq!(decide_after(&part(0, 1), None, 0).unwrap(), Start::New);
        assert!(matches!(decide_after(&part(1, 2), None, 0), Err(ImportError::NotTheFirstPart { .. })));
        assert!(matches!(decide_after(&part(0, 1), None, 1), Err(ImportError::NotEmpty)));
    }

    #[test]
    fn an_import_that_was_stopped_goes_on_with_the_same_export_alone() {
        let began = Some((ImportPhase::Began, 0, 1));
        assert_eq!(decide_after(&part(0, 1), began, 9).unwrap(), Start::GoOn(position(5)));
        for other in [part(0, 2), part(1, 2)] {
            assert!(matches!(decide_after(&other, began, 9), Err(ImportError::AnotherBegun)));
        }
    }

    #[test]
    fn parts_come_in_order_and_nothing_between_them() {
        let ended = Some((ImportPhase::Ended, 0, 1));
        assert_eq!(decide_after(&part(1, 2), ended, 5).unwrap(), Start::New);
        assert_eq!(decide_after(&part(0, 1), ended, 5).unwrap(), Start::WasThere);
        assert!(matches!(decide_after(&part(1, 2), ended, 6), Err(ImportError::WrittenSince)));
        for other in [part(2, 3), part(0, 3)] {
            assert!(matches!(decide_after(&other, ended, 5), Err(ImportError::NotTheNextPart)));
        }
    }
}
