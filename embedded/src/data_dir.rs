//! The data directory, its lock and its files.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use thiserror_ext::AsReport;
use uuid::Uuid;

use crate::file_format::{count_missing_pages, with_suffix};
use crate::file_modes::{create_private, create_private_directory, make_private};
use crate::lock::{DirectoryLock, LOCK_FILE, LockError};
use crate::log::SqliteLog;
use crate::notes::{CLEAN_SUFFIX, DAMAGED_SUFFIX, is_damage_noted, take_clean_note};
use crate::open_error::{Advice, OpenError, advise};
use crate::projections::{OpenProjectionsError, SqliteProjections};

const LOG_FILE: &str = "log.sqlite";
const PROJECTIONS_FILE: &str = "views.sqlite";
/// Projections that are rebuilt for a comparison with the real ones, and deleted afterwards.
const REFERENCE_FILE: &str = "reference.sqlite";

/// A data directory. This process owns the directory as long as the value lives.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: DirectoryLock,
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
        let data_dir = Self { path, _lock: lock };
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
        // A verify that was interrupted leaves its projections behind.
        let databases = [self.log_path(), self.projections_path(), self.reference_path()];
        let beside = ["", "-wal", "-shm", CLEAN_SUFFIX, DAMAGED_SUFFIX];
        let files = databases.iter().flat_map(|database| beside.map(|suffix| with_suffix(database, suffix)));
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

    /// Opens the log; creates it if it is missing.
    ///
    /// # Errors
    /// [`OpenError::Log`], [`OpenError::LogCut`], [`OpenError::LogLost`], [`OpenError::LogPerhapsLost`],
    /// [`OpenError::LogVersion`] or [`OpenError::LogMigration`]. The file stays unchanged.
    pub fn open_log(&self) -> Result<SqliteLog, OpenError> {
        let path = self.log_path();
        // Checked first, because SQLite opens a truncated file without an error.
        match count_missing_pages(&path) {
            Ok(0) => self.open_whole_log(path),
            Ok(missing) => Err(OpenError::LogCut { path, missing }),
            Err(source) => Err(OpenError::Log { advice: advise(&source), path, source: source.into() }),
        }
    }

    /// Opens a log that has all its pages. They are checked beside the requests unless the log was closed cleanly.
    fn open_whole_log(&self, path: PathBuf) -> Result<SqliteLog, OpenError> {
        let is_clean = take_clean_note(&path).unwrap_or_else(|error| {
            tracing::warn!(%error, "the event log is checked for damage, because it is unknown whether its end was clean");
            false
        });
        let log = SqliteLog::open(path, &self.projections_path())?;
        if !is_clean && let Err(error) = log.check_beside() {
            tracing::warn!(%error, "the event log is not checked for damage; the next start tries again");
        }
        Ok(log)
    }

    /// The path of the log.
    pub fn log_path(&self) -> PathBuf {
        self.path.join(LOG_FILE)
    }

    /// The path of the projections.
    pub fn projections_path(&self) -> PathBuf {
        self.path.join(PROJECTIONS_FILE)
    }

    /// The path of the file of [`DataDir::open_reference`].
    pub fn reference_path(&self) -> PathBuf {
        self.path.join(REFERENCE_FILE)
    }

    /// Deletes the projections; the next [`DataDir::open_projections`] creates them again.
    ///
    /// # Errors
    /// [`OpenError::DeleteProjections`].
    pub fn delete_projections(&self) -> Result<(), OpenError> {
        delete_database(&self.projections_path())
    }

    /// Deletes the file of [`DataDir::open_reference`].
    ///
    /// # Errors
    /// [`OpenError::DeleteProjections`].
    pub fn delete_reference(&self) -> Result<(), OpenError> {
        delete_database(&self.reference_path())
    }

    /// Opens the existing projections of the log `log_id`, and migrates older ones. Creates and deletes no file.
    ///
    /// # Errors
    /// [`OpenError::ProjectionsUnusable`] if they are missing, damaged, or of another log or version.
    pub fn open_existing_projections(&self, log_id: Uuid) -> Result<SqliteProjections, OpenError> {
        let path = self.projections_path();
        let opened = match path.try_exists() {
            Ok(true) => open_existing(&path, log_id),
            Ok(false) => Err(OpenProjectionsError::Missing),
            Err(error) => Err(error.into()),
        };
        match opened {
            Ok(Some(projections)) => Ok(projections),
            Ok(None) => Err(OpenError::ProjectionsUnusable { path, source: OpenProjectionsError::OtherLog.into() }),
            Err(source) => Err(OpenError::ProjectionsUnusable { path, source: source.into() }),
        }
    }

    /// Creates empty projections beside the real ones, for a comparison with them.
    ///
    /// # Errors
    /// [`OpenError::Projections`] or [`OpenError::DeleteProjections`].
    pub fn open_reference(&self, log_id: Uuid) -> Result<SqliteProjections, OpenError> {
        self.delete_reference()?;
        create_projections(self.reference_path(), log_id)
    }

    /// Opens the projections of the log `log_id`. A file that is missing, of a newer version or of another log, or that is
    /// known to be damaged, is created again; a replay of the log fills it.
    ///
    /// # Errors
    /// [`OpenError::Projections`] or [`OpenError::DeleteProjections`].
    pub fn open_projections(&self, log_id: Uuid) -> Result<SqliteProjections, OpenError> {
        let path = self.projections_path();
        if path.exists() {
            match open_existing(&path, log_id) {
                Ok(Some(projections)) => return Ok(projections),
                Ok(None) => tracing::warn!("the projections are of another log; they are rebuilt"),
                Err(source) if !source.is_lasting() => {
                    return Err(OpenError::Projections { advice: advise(&source), path, source: source.into() });
                }
                Err(error) => tracing::warn!(
                    error = %error.as_report(),
                    "the projections cannot be used; they are rebuilt from the log"
                ),
            }
        }
        delete_database(&path)?;
        create_projections(path, log_id)
    }
}

/// Creates a file of projections.
fn create_projections(path: PathBuf, log_id: Uuid) -> Result<SqliteProjections, OpenError> {
    let created = create_private(&path).map_err(OpenProjectionsError::from);
    match created.and_then(|()| SqliteProjections::open(&path, log_id)) {
        Ok(Some(projections)) => Ok(projections),
        // Cannot happen: a new file gets the id of this log.
        Ok(None) => {
            Err(OpenError::Projections { advice: Advice::None, path, source: OpenProjectionsError::OtherLog.into() })
        }
        Err(source) => Err(OpenError::Projections { advice: advise(&source), path, source: source.into() }),
    }
}

/// Deletes a database with the files that SQLite keeps beside it.
fn delete_database(path: &Path) -> Result<(), OpenError> {
    for suffix in ["", "-wal", "-shm", CLEAN_SUFFIX, DAMAGED_SUFFIX] {
        let file = with_suffix(path, suffix);
        match std::fs::remove_file(&file) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(source) => return Err(OpenError::DeleteProjections { path: file, source }),
        }
    }
    Ok(())
}

/// Opens the projections of an earlier process. `None` if the file holds those of another log.
///
/// The length of the file shows at once whether it was truncated. Overwritten pages show only in a read of the whole file,
/// which takes seconds for a gigabyte. A start does not wait for that: SQLite reports a page with a broken structure when it
/// reads it, and a check of the whole file runs beside the requests. A clean close notes the file's length and time of change, and a start
/// skips the check if both are unchanged.
fn open_existing(path: &Path, log_id: Uuid) -> Result<Option<SqliteProjections>, OpenProjectionsError> {
    let missing = count_missing_pages(path)?;
    if missing > 0 {
        return Err(OpenProjectionsError::Cut { missing });
    }
    if is_damage_noted(path)? {
        return Err(OpenProjectionsError::Damaged);
    }
    let is_clean = take_clean_note(path)?;
    let projections = SqliteProjections::open(path, log_id)?;
    if let Some(projections) = &projections
        && !is_clean
        && let Err(error) = projections.check_beside()
    {
        tracing::warn!(%error, "the projections are not checked for damage; the next start tries again");
    }
    Ok(projections)
}
