//! The errors of opening a data directory, with advice for the operator.

use std::error::Error;
use std::fmt;
use std::fs::File;
use std::io;
use std::path::PathBuf;

use rusqlite::ErrorCode;

use crate::lock::Owner;

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
        .path.display(), .owner.process.map(|pid| format!(" (process {pid})")).unwrap_or_default()
    )]
    InUse {
        /// The directory.
        path: PathBuf,
        /// What the owning process has written to the lock file.
        owner: Owner,
    },
    /// The directory cannot be locked, so another process might use it at the same time.
    #[error("the data directory {} cannot be locked; choose a directory on a local disk with --data", .path.display())]
    Lock {
        /// The directory.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
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
    /// An import into the log has begun, and has not ended.
    #[error(
        "the event log {} has only a part of what is imported into it; run the same import again, which goes on where it was; or, \
         to start without these events, delete the data directory",
        .path.display()
    )]
    ImportUnfinished {
        /// The file.
        path: PathBuf,
    },
    /// The log is empty, but the projections were made from a log with events.
    #[error(
        "the event log {} is empty, but the projections beside it have applied {applied} events, so the log was lost; restore the \
         data directory from a copy; to start again without those events, delete the directory projections in it, and views.sqlite if an earlier release has left it",
        .path.display()
    )]
    LogLost {
        /// The file.
        path: PathBuf,
        /// The least number of lost events.
        applied: u64,
    },
    /// The log is empty, and the projections that show whether it was lost cannot be read.
    #[error(
        "the event log {} is empty, and whether it has lost events cannot be told, because the projections beside it cannot \
         be read{advice}; to start without events, delete the directory projections beside it, and views.sqlite if an earlier release has left it",
        .path.display()
    )]
    LogPerhapsLost {
        /// The file of the log.
        path: PathBuf,
        /// What the operator can do.
        advice: Advice,
        /// SQLite's error on the projections.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// A migration of the log failed.
    #[error(
        "the event log {} could not be brought to the form of this version{advice}; the versions before this one can still \
         open it",
        .path.display()
    )]
    LogMigration {
        /// The file.
        path: PathBuf,
        /// What the operator can do.
        advice: Advice,
        /// The failure.
        #[source]
        source: Box<dyn Error + Send + Sync>,
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
    /// There are no projections, as after an import, and the command does not make them.
    #[error("there are no projections in {} yet; start tally, which makes them from the log, or run tally rebuild", .path.display())]
    NoProjections {
        /// The directory of all.
        path: PathBuf,
    },
    /// There are no projections that belong to the log, and the command does not make them.
    #[error("the projections {} cannot be used; tally rebuild makes them from the log", .path.display())]
    ProjectionsUnusable {
        /// The file, or the directory of all.
        path: PathBuf,
        /// The reason.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// Projections that nothing uses any more have applied events that the log does not have.
    #[error(
        "{} has applied {ahead} more events than the event log holds: a part of the log was lost; restore the data directory \
         from a copy, or, to go on without those events, delete that file", .path.display()
    )]
    LogShortened {
        /// The file.
        path: PathBuf,
        /// How many events are missing, at least.
        ahead: u64,
    },
    /// Projections that cannot be used cannot be deleted either.
    #[error("the outdated projections {} cannot be deleted; delete them by hand: nothing uses them", .path.display())]
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
    /// The process or the system has too many open files.
    RaiseFileLimit,
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
            Self::RaiseFileLimit => "; too many files are open: raise the limit (ulimit -n) and start again",
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

/// The system's error numbers for too many open files, of the system and of the process: the same on all Unixes.
const TOO_MANY_OPEN_FILES: [i32; 2] = [23, 24];

impl Advised for io::Error {
    fn advice(&self) -> Advice {
        if cfg!(unix) && self.raw_os_error().is_some_and(|number| TOO_MANY_OPEN_FILES.contains(&number)) {
            return Advice::RaiseFileLimit;
        }
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
            Some(ErrorCode::PermissionDenied | ErrorCode::ReadOnly) => Advice::Permissions,
            Some(ErrorCode::CannotOpen) => advise_cannot_open(),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Advice::StopOther,
            Some(ErrorCode::SystemIoFailure) => Advice::CheckDisk,
            _ => Advice::None,
        }
    }
}

/// The most files that SQLite has open at once for a connection: the database, two files beside it, and their directory.
const FILES_OF_A_CONNECTION: usize = 4;

/// SQLite says only that it cannot open a file, and has closed the others by now. If so many files cannot be opened at all,
/// then permissions are not the reason.
fn advise_cannot_open() -> Advice {
    let opened: io::Result<Vec<File>> = (0..FILES_OF_A_CONNECTION).map(|_| File::open("/dev/null")).collect();
    match opened {
        Err(error) if error.advice() == Advice::RaiseFileLimit => Advice::RaiseFileLimit,
        _ => Advice::Permissions,
    }
}
