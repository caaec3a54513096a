//! The errors of opening a data directory, with advice for the operator.

use std::error::Error;
use std::path::PathBuf;

/// A data directory or a file in it cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory cannot be created or written.
    #[error("the data directory {} cannot be written; make it writable for this user or choose another with --data", .path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// Another process owns the directory.
    #[error(
        "the data directory {} is in use by another tally{}; stop that process or choose another directory with --data",
        .path.display(), .owner.map(|pid| format!(" (process {pid})")).unwrap_or_default()
    )]
    InUse {
        /// The directory.
        path: PathBuf,
        /// The id that the owning process has written to the lock file.
        owner: Option<u32>,
    },
    /// The log cannot be opened.
    #[error(
        "the event log {} cannot be opened and stays unchanged; if it is damaged, restore the data directory from a copy",
        .path.display()
    )]
    Log {
        /// The file.
        path: PathBuf,
        /// SQLite's error.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The log's file was truncated.
    #[error(
        "the event log {} has been cut: {missing} of its pages are missing; it stays unchanged; restore the data \
         directory from a copy",
        .path.display()
    )]
    LogCut {
        /// The file.
        path: PathBuf,
        /// The number of missing pages.
        missing: u64,
    },
    /// The log is empty, but the projections were made from a log with events.
    #[error(
        "the event log {} is empty, but the projections beside it have applied {applied} events, so the log was lost; restore the \
         data directory from a copy; to start again without those events, delete views.sqlite in it",
        .path.display()
    )]
    LogLost {
        /// The file.
        path: PathBuf,
        /// The least number of lost events.
        applied: u64,
    },
    /// Another version of Tally wrote the log.
    #[error("the event log {} was written by another version of Tally; use that version or a newer one", .path.display())]
    LogVersion {
        /// The file.
        path: PathBuf,
        /// The difference.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The projections can neither be opened nor created.
    #[error("the projections {} cannot be opened; stop tally and delete the file: tally rebuilds it from the log", .path.display())]
    Projections {
        /// The file.
        path: PathBuf,
        /// SQLite's error.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// Projections that cannot be used cannot be deleted either.
    #[error("the outdated projections {} cannot be deleted; delete them by hand: tally rebuilds them from the log", .path.display())]
    DeleteProjections {
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
}
