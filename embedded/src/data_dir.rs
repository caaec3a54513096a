//! The data directory, its lock and its files.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use thiserror_ext::AsReport;
use uuid::Uuid;

use crate::file_format::{SUFFIXES, count_missing_pages, delete_database, with_suffix};
use crate::file_modes::{create_private_directory, make_private};
use crate::lock::{DirectoryLock, LOCK_FILE, LockError};
use crate::log::{Purpose, ReadOnlyLog, SqliteLog};
use crate::notes::take_clean_note;
use crate::open_error::{OpenError, advise};
use crate::projections::{OpenFailure, SqliteProjections, Unusable, count_applied_events, count_applied_of};

const LOG_FILE: &str = "log.sqlite";
const PROJECTIONS_DIRECTORY: &str = "projections";
/// The files in which the first releases kept all projections.
const OLD_PROJECTIONS_FILES: [&str; 2] = ["views.sqlite", "reference.sqlite"];

/// A data directory. This process owns the directory as long as the value lives.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    lock: DirectoryLock,
}

impl DataDir {
    /// Locks the directory; creates it if it is missing.
    ///
    /// # Errors
    /// [`OpenError::Directory`] if it cannot be written, [`OpenError::InUse`] if another process owns it,
    /// [`OpenError::Lock`] if it cannot be locked.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, OpenError> {
        let path = path.into();
        let unusable = |source| OpenError::Directory { path: path.clone(), advice: advise(&source), source };
        create_private_directory(&path).map_err(unusable)?;
        let lock = match DirectoryLock::acquire(&path) {
            Ok(lock) => lock,
            Err(LockError::Owned(owner)) => return Err(OpenError::InUse { path, owner }),
            Err(LockError::File(source)) => return Err(unusable(source)),
            Err(LockError::Directory(source)) => return Err(OpenError::Lock { path, source }),
        };
        let data_dir = Self { path, lock };
        data_dir.make_files_private();
        Ok(data_dir)
    }

    /// Locks a directory that has a log, and creates nothing but the lock.
    ///
    /// # Errors
    /// [`OpenError::NoLog`] if there is none, and the errors of [`DataDir::open`].
    pub fn open_existing(path: impl Into<PathBuf>) -> Result<Self, OpenError> {
        let path = path.into();
        match path.join(LOG_FILE).try_exists() {
            Ok(true) => Self::open(path),
            Ok(false) => Err(OpenError::NoLog { path }),
            Err(source) => Err(OpenError::Directory { advice: advise(&source), path, source }),
        }
    }

    /// Tightens the permissions of files of earlier releases. A failure is no reason not to start: the owner of the files
    /// may be another user, who has given this one access.
    fn make_files_private(&self) {
        let log_path = self.log_path();
        let files = SUFFIXES.iter().map(|suffix| with_suffix(&log_path, suffix));
        for file in files.chain([self.path.join(LOCK_FILE)]) {
            if let Err(error) = make_private(&file) {
                tracing::warn!(%error, "other users may be able to read {}", file.display());
            }
        }
    }

    /// The path of the directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Tells other processes, which find the directory locked, where this process takes the operator's commands, and with which key.
    ///
    /// # Errors
    /// [`OpenError::Directory`] if the lock file cannot be written.
    pub fn publish_operator(&self, operator: SocketAddr, key: Uuid) -> Result<(), OpenError> {
        let published = self.lock.write_owner(Some((operator, key)));
        published.map_err(|source| OpenError::Directory { path: self.path.clone(), advice: advise(&source), source })
    }

    /// Opens the log of a directory that another process owns, to read it.
    ///
    /// # Errors
    /// [`OpenError::NoLog`], [`OpenError::Log`], [`OpenError::LogVersion`] or [`OpenError::ImportUnfinished`].
    pub fn open_log_read_only(path: &Path) -> Result<ReadOnlyLog, OpenError> {
        match path.join(LOG_FILE).try_exists() {
            Ok(true) => ReadOnlyLog::open(&path.join(LOG_FILE)),
            Ok(false) => Err(OpenError::NoLog { path: path.to_owned() }),
            Err(source) => Err(OpenError::Directory { advice: advise(&source), path: path.to_owned(), source }),
        }
    }

    /// Opens the log; creates it if it is missing.
    ///
    /// # Errors
    /// [`OpenError::Log`], [`OpenError::LogCut`], [`OpenError::LogLost`], [`OpenError::LogPerhapsLost`],
    /// [`OpenError::ImportUnfinished`], [`OpenError::LogVersion`] or [`OpenError::LogMigration`]. The file stays unchanged.
    pub fn open_log(&self) -> Result<SqliteLog, OpenError> {
        self.open_log_for(Purpose::Use)
    }

    /// Opens the log to import into it; creates it if it is missing.
    ///
    /// # Errors
    /// Those of [`DataDir::open_log`], but for [`OpenError::ImportUnfinished`].
    pub fn open_log_to_import(&self) -> Result<SqliteLog, OpenError> {
        self.open_log_for(Purpose::Import)
    }

    fn open_log_for(&self, purpose: Purpose) -> Result<SqliteLog, OpenError> {
        let path = self.log_path();
        // Checked first, because SQLite opens a truncated file without an error.
        match count_missing_pages(&path) {
            Ok(0) => self.open_whole_log(path, purpose),
            Ok(missing) => Err(OpenError::LogCut { path, missing }),
            Err(source) => Err(OpenError::Log { advice: advise(&source), path, source: source.into() }),
        }
    }

    /// Opens a log that has all its pages. They are checked beside the requests unless the log was closed cleanly.
    fn open_whole_log(&self, path: PathBuf, purpose: Purpose) -> Result<SqliteLog, OpenError> {
        let is_clean = take_clean_note(&path).unwrap_or_else(|error| {
            tracing::warn!(%error, "the event log is checked for damage, because it is unknown whether its end was clean");
            false
        });
        let [old_file, _] = OLD_PROJECTIONS_FILES.map(|file| self.path.join(file));
        let log = SqliteLog::open(path, purpose, &|| count_applied_events(&self.projections_path(), &old_file))?;
        if !is_clean && let Err(error) = log.check_beside() {
            tracing::warn!(%error, "the event log is not checked for damage; the next start tries again");
        }
        Ok(log)
    }

    /// The path of the log.
    pub fn log_path(&self) -> PathBuf {
        self.path.join(LOG_FILE)
    }

    /// The directory of the projections.
    pub fn projections_path(&self) -> PathBuf {
        self.path.join(PROJECTIONS_DIRECTORY)
    }

    /// Opens the existing projections of the log `log_id`, and migrates older ones. Creates and deletes no file.
    ///
    /// # Errors
    /// [`OpenError::NoProjections`] before they were made. [`OpenError::ProjectionsUnusable`] if one is missing, damaged, or of another
    /// log or version.
    pub fn open_existing_projections(&self, log_id: Uuid) -> Result<SqliteProjections, OpenError> {
        let opened = SqliteProjections::open(&self.projections_path(), log_id, Unusable::Refuse);
        opened.map_err(|OpenFailure { path, source }| {
            if source.is_missing() && path == self.projections_path() {
                return OpenError::NoProjections { path };
            }
            OpenError::ProjectionsUnusable { path, source: source.into() }
        })
    }

    /// Opens the projections of the log `log_id`. One that is missing, of a newer version or of another log, or that is
    /// known to be damaged, is created again; a replay of the log fills it.
    ///
    /// # Errors
    /// [`OpenError::Projections`].
    pub fn open_projections(&self, log_id: Uuid) -> Result<SqliteProjections, OpenError> {
        let opened = SqliteProjections::open(&self.projections_path(), log_id, Unusable::Replace);
        opened.map_err(|OpenFailure { path, source }| OpenError::Projections {
            advice: advise(&source),
            path,
            source: source.into(),
        })
    }
    /// Deletes projections that nothing uses any more: those of the first releases, and generations that a killed process has left.
    ///
    /// # Errors
    /// [`OpenError::LogShortened`] if some of them have applied events that the log has lost, and may be the last to have; then all
    /// stay. [`OpenError::DeleteProjections`].
    pub fn delete_former_projections(&self, projections: &SqliteProjections, log: &SqliteLog) -> Result<(), OpenError> {
        let of_first_releases = OLD_PROJECTIONS_FILES.map(|file| self.path.join(file));
        let former: Vec<_> = of_first_releases.into_iter().chain(projections.list_leftovers()).collect();
        for path in &former {
            if let Some(ahead) = count_events_ahead(path, log) {
                return Err(OpenError::LogShortened { path: path.clone(), ahead });
            }
        }
        for path in former {
            delete_database(&path).map_err(|source| OpenError::DeleteProjections { path, source })?;
        }
        Ok(())
    }
}

/// Counts the events of this log that a database has applied and the log does not have. `None` if there are none, or if the
/// database cannot be read.
fn count_events_ahead(path: &Path, log: &SqliteLog) -> Option<u64> {
    let applied = count_applied_of(path, log.log_id()).unwrap_or_else(|error| {
        tracing::warn!(error = %error.as_report(), "{} is deleted, and cannot be read", path.display());
        None
    });
    applied?.checked_sub(log.end_offset().0).filter(|ahead| *ahead > 0)
}
