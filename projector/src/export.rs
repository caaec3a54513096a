//! Exports the events of a log.
//!
//! An export has each event that any release may show: not the void ones, not a record of an event that is there already, and no
//! markers. It reads the log twice, each time from the start: first to find ids that are there twice and to compute the digests
//! of the log (`scan`), then to write the events in the order of their times (`merge`).
//! docs/adr/0016-exports-and-imports.md says why.
//!
//! | module | holds |
//! |---|---|
//! | `valid_events` | reads a partition without void events |
//! | `repeats` | finds ids that may be there twice, in little memory |
//! | `scan` | the first reading |
//! | `merge` | the second reading: the events of all partitions in one order |

mod merge;
mod repeats;
mod scan;
mod valid_events;

use std::io;
use std::sync::Arc;

use event_log::{EventLog, ReadError};
use events::{ClientPosition, EventId, Offset, PartitionId, Position};
use tokio::sync::{mpsc, watch};

use self::merge::{Merge, Merged};
use self::repeats::MAX_REPEATED;
use self::scan::{Scan, scan};
use crate::export_file::{AddError, Block, ExportOutput, ExportWriter, FinishError, Header};
use crate::progress::show_while;
use crate::rebuild::Progress;

/// Blocks that wait to be written.
const QUEUED_BLOCKS: usize = 4;

/// What to export.
#[derive(Debug, Clone, Default)]
pub struct ExportOptions {
    /// Where to begin: where an earlier export has ended. `None` for the beginning of the log.
    pub since: Option<Position>,
    /// Leave out records that are no events, instead of failing.
    pub skip_unreadable: bool,
}

/// An export that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// The number of events.
    pub events: u64,
    /// Where it ends, and the next one begins.
    pub until: Position,
    /// The number of records that were left out because they are no events.
    pub unreadable: u64,
}

/// Why a log could not be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The log could not be read.
    #[error("the event log cannot be read to its end")]
    Read(#[source] ReadError),
    /// The log has no such position.
    #[error(
        "the log has no position {since}: it ends at {end}; give --since the position at which an export of this log has ended"
    )]
    UnknownPosition {
        /// The position.
        since: Position,
        /// The log's end.
        end: Position,
    },
    /// The position is of another log.
    #[error("{since} is no position of this log; give --since the position at which an export of this log has ended")]
    OtherLog {
        /// The position.
        since: ClientPosition,
    },
    /// A record is no event.
    #[error(
        "offset {offset} of partition {partition} is no event: {reason}; if that is no damage that a copy of the log mends, \
         --skip-unreadable leaves such records out"
    )]
    Unreadable {
        /// The partition.
        partition: PartitionId,
        /// The offset.
        offset: Offset,
        /// The defect.
        reason: String,
    },
    /// A newer release has written an event.
    #[error("offset {offset} of partition {partition} cannot be exported by this release")]
    Newer {
        /// The partition.
        partition: PartitionId,
        /// The offset.
        offset: Offset,
        /// What is newer.
        #[source]
        source: events::DecodeError,
    },
    /// An event cannot be written.
    #[error("the event {} cannot be exported", .event_id.0)]
    Event {
        /// The event.
        event_id: EventId,
        /// The reason.
        #[source]
        source: AddError,
    },
    /// More events than fit in memory may be there twice.
    #[error(
        "more than {MAX_REPEATED} events of partition {0} may be there twice, which is more than an export can tell apart"
    )]
    TooManyRepeats(PartitionId),
    /// The two readings of the log do not agree, so an import would refuse the file.
    #[error("the log gave {second} events at its second reading and {first} at its first one; export it again")]
    Unsteady {
        /// At the first reading.
        first: u64,
        /// At the second one.
        second: u64,
    },
    /// The export could not be written.
    #[error("the export cannot be written, so it is incomplete")]
    Write(#[source] io::Error),
    /// The file is whole and has its name, which a loss of power may take away.
    #[error("the export is whole and has its name, but its directory is not known to be on the disk; copy it")]
    SyncDirectory(#[source] io::Error),
}

/// Writes an export of `log` as it is now, and shows the progress.
///
/// # Errors
/// [`ExportError`]. What was written until then is no export: an import notices that.
pub async fn export(
    log: Arc<dyn EventLog>,
    options: &ExportOptions,
    output: ExportOutput,
) -> Result<Exported, ExportError> {
    let end = log.end().await.map_err(ExportError::Read)?;
    let since = options.since.clone().unwrap_or_default();
    if !end.covers(&since) {
        return Err(ExportError::UnknownPosition { since, end });
    }
    let scanned = show_while("reading the log", async |progress| {
        scan(&log, &since, &end, options.skip_unreadable, progress).await
    });
    let scanned = scanned.await?;
    let header = Header {
        since: options.since.clone(),
        until: end.clone(),
        before: scanned.before,
        through: scanned.through,
        events: scanned.events,
    };
    let unreadable = scanned.unreadable;
    let events = show_while("exporting", async |progress| write_blocks(log, scanned, header, output, progress).await);
    let events = events.await?;
    Ok(Exported { events, until: end, unreadable })
}

/// Writes the events on a thread that may block. Returns how many there were.
async fn write_blocks(
    log: Arc<dyn EventLog>,
    scanned: Scan,
    header: Header,
    output: ExportOutput,
    progress: &watch::Sender<Progress>,
) -> Result<u64, ExportError> {
    let first = header.events;
    progress.send_replace(Progress { applied: 0, end: first });
    let (sender, blocks) = mpsc::channel(QUEUED_BLOCKS);
    let writing = tokio::task::spawn_blocking(move || write(output, header, blocks));
    let read = send_blocks(Merge::new(&log, scanned), &sender, progress).await;
    let read = read.and_then(|merged| match merged {
        Some(Merged { events, repeats }) if events + repeats != first => {
            Err(ExportError::Unsteady { first, second: events + repeats })
        }
        merged => Ok(merged),
    });
    if let Ok(Some(Merged { repeats, .. })) = read {
        // The writer may have failed; its own error says so.
        drop(sender.send(Part::End { repeats }).await);
    }
    drop(sender);
    let written = match writing.await {
        Ok(written) => written,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    };
    read?;
    written.map_err(|error| match error {
        FinishError::Incomplete(source) => ExportError::Write(source),
        FinishError::Directory(source) => ExportError::SyncDirectory(source),
    })
}

/// What is written next.
enum Part {
    Block(Block),
    /// Nothing follows. Without it the writer takes the export for incomplete.
    End {
        repeats: u64,
    },
}

/// Sends all blocks; `None` if the writer has failed.
async fn send_blocks(
    mut merge: Merge,
    sender: &mpsc::Sender<Part>,
    progress: &watch::Sender<Progress>,
) -> Result<Option<Merged>, ExportError> {
    let (mut block, mut events) = (Block::default(), 0);
    while let Some(record) = merge.next().await? {
        let event_id = record.event_id;
        block.add(&record).map_err(|source| ExportError::Event { event_id, source })?;
        events += 1;
        progress.send_modify(|progress| progress.applied += 1);
        if block.is_full() && sender.send(Part::Block(std::mem::take(&mut block))).await.is_err() {
            return Ok(None);
        }
    }
    let is_sent = block.is_empty() || sender.send(Part::Block(block)).await.is_ok();
    Ok(is_sent.then(|| Merged { events, repeats: merge.count_left_out() }))
}

/// Writes all parts. Returns the number of events.
fn write(output: ExportOutput, header: Header, mut parts: mpsc::Receiver<Part>) -> Result<u64, FinishError> {
    let mut writer = ExportWriter::begin(output, header).map_err(FinishError::Incomplete)?;
    while let Some(part) = parts.blocking_recv() {
        match part {
            Part::Block(block) => writer.write(&block).map_err(FinishError::Incomplete)?,
            Part::End { repeats } => {
                let (output, events) = writer.end(repeats).map_err(FinishError::Incomplete)?;
                output.finish()?;
                return Ok(events);
            }
        }
    }
    Err(FinishError::Incomplete(io::ErrorKind::Interrupted.into()))
}
