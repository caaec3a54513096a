//! The errors of opening a data directory, with advice for the operator.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;

use rusqlite::ErrorCode;

/// A data directory or a file in it cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory cannot be created or written.
    #[error("the data directory {} cannot be written{advice}", .path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the operator can do.
        advice: Advice,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// There is no log, and the command does not create one.
    #[error("there is no event log in {}; name the data directory of a tally with --data", .path.display())]
    NoLog {
        /// The directory.
        path: PathBuf,
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
    #[error("the event log {} cannot be opened and stays unchanged{advice}", .path.display())]
    Log {
        /// The file.
        path: PathBuf,
        /// What the operator can do.
        advice: Advice,
        /// SQLite's error, or the system's.
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
    #[error("the projections {} cannot be opened{advice}", .path.display())]
    Projections {
        /// The file.
        path: PathBuf,
        /// What the operator can do.
        advice: Advice,
        /// SQLite's error, or the system's.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// There are no projections that belong to the log, and the command does not make them.
    #[error("the projections {} cannot be used; tally rebuild makes them from the log", .path.display())]
    ProjectionsUnusable {
        /// The file.
        path: PathBuf,
        /// The reason.
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
        source: io::Error,
    },
}

/// What an operator can do about an error of SQLite or of the system. Its text continues a sentence.
///
/// A restore loses what was written after the copy was made. So only damage, which nothing else mends, gets that advice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advice {
    /// The file is damaged, or no database.
    Restore,
    /// The disk is full.
    FreeSpace,
    /// This user may not use the file.
    Permissions,
    /// Another process uses the file.
    StopOther,
    /// The path cannot be used.
    ChoosePath,
    /// The system could not read or write.
    CheckDisk,
    /// Nothing is known beyond the error.
    None,
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Restore => "; it is damaged or no database: restore the data directory from a copy",
            Self::FreeSpace => "; the disk is full: free some space and start again",
            Self::Permissions => {
                "; give this user permission to read and write it, or choose another directory with --data"
            }
            Self::StopOther => "; another process uses it: stop that process and start again",
            Self::ChoosePath => "; choose another directory with --data",
            Self::CheckDisk => "; the system could not read or write: look for disk errors in the system's log",
            Self::None => "",
        })
    }
}

/// An error that an operator gets advice on.
pub(crate) trait Advised {
    fn advice(&self) -> Advice;
}

/// Returns the advice on an error.
pub(crate) fn advise(error: &impl Advised) -> Advice {
    error.advice()
}

impl Advised for io::Error {
    fn advice(&self) -> Advice {
        match self.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Advice::FreeSpace,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Advice::Permissions,
            io::ErrorKind::NotADirectory
            | io::ErrorKind::AlreadyExists
            | io::ErrorKind::IsADirectory
            | io::ErrorKind::InvalidFilename
            | io::ErrorKind::InvalidInput
            | io::ErrorKind::NotFound => Advice::ChoosePath,
            _ => Advice::CheckDisk,
        }
    }
}

impl Advised for rusqlite::Error {
    fn advice(&self) -> Advice {
        match self.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Advice::Restore,
            Some(ErrorCode::DiskFull) => Advice::FreeSpace,
            Some(ErrorCode::PermissionDenied | ErrorCode::ReadOnly | ErrorCode::CannotOpen) => Advice::Permissions,
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Advice::StopOther,
            Some(ErrorCode::SystemIoFailure) => Advice::CheckDisk,
            _ => Advice::None,
        }
    }
}
