//! Why a data directory or a file in it cannot be used, and what to do.

use std::path::PathBuf;

use sqlx::migrate::MigrateError;

/// Why a data directory or a file in it cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory cannot be made or written.
    #[error("the data directory {} cannot be written; make it writable for this user or choose another with --data", .path.display())]
    Directory {
        /// Which directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Another process has it.
    #[error(
        "the data directory {} is in use by another tally{}; stop that one or choose another directory with --data",
        .path.display(), .owner.map(|pid| format!(" (process {pid})")).unwrap_or_default()
    )]
    InUse {
        /// Which directory.
        path: PathBuf,
        /// Id of the owning process, as it wrote it down.
        owner: Option<u32>,
    },
    /// The log cannot be opened.
    #[error(
        "the event log {} cannot be opened; it is left as it is: if it is damaged, restore the data directory from a copy",
        .path.display()
    )]
    Log {
        /// Which file.
        path: PathBuf,
        /// What SQLite said.
        #[source]
        source: sqlx::Error,
    },
    /// A part of the log's file is not there.
    #[error(
        "the event log {} has been cut: {missing} of its pages are missing; it is left as it is: restore the data \
         directory from a copy",
        .path.display()
    )]
    LogCut {
        /// Which file.
        path: PathBuf,
        /// How many pages.
        missing: u64,
    },
    /// The log is empty although projections were made from one.
    #[error(
        "the event log {} is empty, but the projections beside it have seen {seen} events: the log was lost; restore the \
         data directory from a copy, or, to begin anew without those events, delete views.sqlite in it",
        .path.display()
    )]
    LogLost {
        /// Which file.
        path: PathBuf,
        /// How many events are missing at least.
        seen: u64,
    },
    /// The log is not of this version.
    #[error("the event log {} was written by another version of Tally; use that version or a newer one", .path.display())]
    LogVersion {
        /// Which file.
        path: PathBuf,
        /// What differs.
        #[source]
        source: MigrateError,
    },
    /// The projections cannot be opened, not even made anew.
    #[error("the projections {} cannot be opened; stop tally and delete the file, it is rebuilt from the log", .path.display())]
    Projections {
        /// Which file.
        path: PathBuf,
        /// What SQLite said.
        #[source]
        source: sqlx::Error,
    },
    /// Projections that are of no use cannot be deleted.
    #[error("the outdated projections {} cannot be deleted; delete them by hand, they are rebuilt from the log", .path.display())]
    DeleteProjections {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}
