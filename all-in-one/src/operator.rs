//! The operator's commands on a stopped data directory: status, verify, rebuild.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use embedded::SqliteLog;
use embedded::log::check::{CheckError, Contradiction, LogReport};
use event_log::{EventLog, Unreadable};
use events::Offset;
use projector::Feed;
use projector::feed::FeedError;
use projector::rebuild::{self, RebuildError};
use read_model::{Difference, Projection, ProjectionStore, StoreError};
use serde::Serialize;

use crate::data::{Data, DataError};
use crate::progress;

/// The most dead letters that are counted in a partition. A count of this many stands for this many or more.
const MAX_DEAD_LETTERS: u32 = 1_000;

/// Why a command could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// The data directory cannot be used.
    #[error(transparent)]
    Data(DataError),
    /// How far a projection is could not be read.
    #[error("the checkpoints of a projection could not be read")]
    Feed(#[source] FeedError),
    /// The dead letters could not be read.
    #[error("the dead letters could not be read")]
    DeadLetters(#[source] StoreError),
    /// The log could not be checked.
    #[error(transparent)]
    CheckLog(CheckError),
    /// Records of the log are damaged.
    #[error(
        "{records} records of the event log are damaged, and the projections may still show what they said, so the projections \
         stay as they are; tally verify names the records; restore the data directory from a copy"
    )]
    Damaged {
        /// How many.
        records: u64,
    },
    /// A projection could not be made anew, or not be compared with the live one.
    #[error(transparent)]
    Rebuild(RebuildError),
    /// The size of a file could not be read.
    #[error("the size of {} could not be read", .path.display())]
    Size {
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
}

/// The numbers of events in the log and in every projection, and the sizes of the files.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Events in the log.
    pub events: u64,
    /// Size of the log in bytes.
    pub log_bytes: u64,
    /// Size of all projections in bytes.
    pub projections_bytes: u64,
    /// Events that no view could show; 1,000 stands for that many or more.
    pub dead_letters: usize,
    /// The progress of each projection.
    pub projections: Vec<ProjectionStatus>,
}

/// How far a projection has applied a partition.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct ProjectionStatus {
    /// Its name.
    pub name: &'static str,
    /// The partition that feeds it.
    pub partition: u16,
    /// The offset of the next event that it applies.
    pub position: u64,
    /// Events that it has not applied yet.
    pub lag: u64,
}

/// The result of a verification.
#[derive(Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Events in the log.
    pub events: u64,
    /// What is wrong with the log.
    pub log: LogReport,
    /// Tables that differ from the rebuilt ones.
    pub differences: Vec<Difference>,
    /// Events that no view could show.
    pub dead_letters: usize,
}

/// Reads the status of a stopped tally.
///
/// # Errors
/// [`OperatorError`].
pub async fn status(path: &Path) -> Result<Status, OperatorError> {
    let data = Data::open_existing(path).await.map_err(OperatorError::Data)?;
    let feeds = data.feeds().await.map_err(OperatorError::Data)?;
    let mut projections = Vec::new();
    for feed in &feeds {
        let position = feed.checkpoint().await.map_err(OperatorError::Feed)?.next.0;
        let end = feed.end().await.map_err(OperatorError::Feed)?.0;
        let name = feed.projection().name();
        let partition = feed.partition.0;
        projections.push(ProjectionStatus { name, partition, position, lag: end - position });
    }
    let status = Status {
        events: count_events(&data.log).await?,
        log_bytes: read_size(&data.directory.log_path())?,
        projections_bytes: data.projections.paths().iter().map(|path| read_size(path)).sum::<Result<_, _>>()?,
        dead_letters: count_dead_letters(&data, &feeds).await?,
        projections,
    };
    data.close().await;
    Ok(status)
}

/// Makes projections of a stopped tally anew, and the log's counters and keys if they contradict its records. Returns the
/// number of events.
///
/// # Errors
/// [`OperatorError`].
pub async fn rebuild(path: &Path, projections: &[Projection]) -> Result<u64, OperatorError> {
    let data = Data::open_to_rebuild(path).await.map_err(OperatorError::Data)?;
    let report = check_log(&data.log, "checking the log", |on_progress| data.log.remake_tables(on_progress)).await?;
    if report.damaged > 0 {
        return Err(OperatorError::Damaged { records: report.damaged });
    }
    for projection in projections {
        let rebuild = |progress| {
            let (log, generations) = (Arc::clone(&data.log) as _, Arc::clone(&data.projections) as _);
            async move { rebuild::rebuild(log, generations, *projection, Duration::ZERO, &progress).await }
        };
        progress::show(*projection, rebuild).await.map_err(OperatorError::Rebuild)?;
    }
    let events = count_events(&data.log).await?;
    data.close().await;
    Ok(events)
}

/// Checks the whole log of a stopped tally. Then makes each projection anew beside the live one, up to its checkpoint, and compares
/// the two.
///
/// # Errors
/// [`OperatorError`].
pub async fn verify(path: &Path) -> Result<Verdict, OperatorError> {
    let data = Data::open_existing(path).await.map_err(OperatorError::Data)?;
    let feeds = data.feeds().await.map_err(OperatorError::Data)?;
    let log = check_log(&data.log, "verifying log", |on_progress| data.log.check(on_progress)).await?;
    let mut differences = Vec::new();
    for projection in Projection::ALL {
        let verify = |progress| {
            let (log, generations) = (Arc::clone(&data.log) as _, Arc::clone(&data.projections) as _);
            async move { rebuild::verify(log, generations, projection, &progress).await }
        };
        let found = progress::show(projection, verify).await;
        differences.extend(found.map_err(OperatorError::Rebuild)?);
    }
    let events = count_events(&data.log).await?;
    let dead_letters = count_dead_letters(&data, &feeds).await?;
    data.close().await;
    Ok(Verdict { events, log, differences, dead_letters })
}

impl Verdict {
    /// Whether the log is good, no table differs from its rebuilt copy, and there are no dead letters.
    pub fn is_good(&self) -> bool {
        self.log.is_good() && self.differences.is_empty() && self.dead_letters == 0
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_log_report(f, &self.log)?;
        for Difference { projection, table, missing, unexpected } in &self.differences {
            let projection = projection.name();
            writeln!(f, "{projection}: {table} lacks {missing} rows and has {unexpected} that it should not have")?;
        }
        if self.dead_letters > 0 {
            writeln!(f, "views: {} events could not be shown (table dead_letters says why)", self.dead_letters)?;
        }
        let verdict =
            if self.is_good() { "every projection is what the log makes of it" } else { "not as it should be" };
        write!(f, "{} events: {verdict}", self.events)
    }
}

fn write_log_report(f: &mut fmt::Formatter<'_>, report: &LogReport) -> fmt::Result {
    for Unreadable { offset, reason, .. } in &report.first_damaged {
        writeln!(f, "log: the record at offset {offset} is damaged: {reason}")?;
    }
    let unnamed = report.damaged - report.first_damaged.len() as u64;
    if unnamed > 0 {
        writeln!(f, "log: {unnamed} more records are damaged")?;
    }
    for Contradiction { table, what, rows } in &report.contradictions {
        writeln!(f, "log: table {table} contradicts the records: {rows} rows {what}")?;
    }
    if report.can_be_remade() {
        writeln!(f, "log: every record is good: tally rebuild makes these tables again from the records")?;
    } else if !report.is_good() {
        writeln!(
            f,
            "log: nothing can mend the log, because everything else is made from it: restore the data directory from a copy"
        )?;
    }
    if report.without_checksum > 0 {
        let records = report.without_checksum;
        writeln!(f, "log: {records} records of older releases have no checksum: a change of them is not noticed")?;
    }
    Ok(())
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<12} {:>9} {:>12} {:>12}", "", "partition", "position", "lag")?;
        for ProjectionStatus { name, partition, position, lag } in &self.projections {
            writeln!(f, "{name:<12} {partition:>9} {position:>12} {lag:>12}")?;
        }
        writeln!(f, "events {}, dead letters {}", self.events, self.dead_letters)?;
        write!(f, "log {} bytes, projections {} bytes", self.log_bytes, self.projections_bytes)
    }
}

/// Tells how far a check of the log is.
type OnProgress = Box<dyn Fn(Offset) + Send>;

/// Runs a check of the whole log with a progress bar.
async fn check_log<F: Future<Output = Result<LogReport, CheckError>>>(
    log: &SqliteLog,
    action: &'static str,
    check: impl FnOnce(OnProgress) -> F,
) -> Result<LogReport, OperatorError> {
    let bar = progress::start_bar(action.to_owned(), count_events(log).await?);
    let shown = bar.clone();
    let checking = check(Box::new(move |next| shown.set_position(next.0)));
    let report = checking.await.map_err(OperatorError::CheckLog)?;
    bar.finish_and_clear();
    Ok(report)
}

async fn count_events(log: &SqliteLog) -> Result<u64, OperatorError> {
    let end = log.end().await.map_err(|error| OperatorError::Data(DataError::Log(error)))?;
    Ok(end.bounds().map(|(_, end)| end.0).sum())
}

async fn count_dead_letters(data: &Data, feeds: &[Feed]) -> Result<usize, OperatorError> {
    let mut partitions: Vec<_> = feeds.iter().map(|feed| feed.partition).collect();
    partitions.dedup();
    let mut count = 0;
    for partition in partitions {
        let letters = data.projections.dead_letters(partition, MAX_DEAD_LETTERS).await;
        count += letters.map_err(OperatorError::DeadLetters)?.len();
    }
    Ok(count)
}

fn read_size(path: &Path) -> Result<u64, OperatorError> {
    let metadata = std::fs::metadata(path);
    Ok(metadata.map_err(|source| OperatorError::Size { path: path.to_owned(), source })?.len())
}
