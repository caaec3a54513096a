//! The data directory: who owns it and what lies in it.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use sqlx::migrate::MigrateError;
use uuid::Uuid;

use crate::log::SqliteLog;
use crate::projections::SqliteProjections;

const LOCK_FILE: &str = "tally.lock";
const LOG_FILE: &str = "log.sqlite";
const PROJECTIONS_FILE: &str = "views.sqlite";

/// A data directory that belongs to this process as long as the value lives.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    /// Locked; the system unlocks it when the process ends, however it ends.
    _lock: File,
}

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
    #[error("the event log {} cannot be opened; it is left as it is", .path.display())]
    Log {
        /// Which file.
        path: PathBuf,
        /// What SQLite said.
        #[source]
        source: sqlx::Error,
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

impl DataDir {
    /// Takes possession of the directory, which is made if it is missing.
    ///
    /// # Errors
    /// [`OpenError::Directory`] if it cannot be written, [`OpenError::InUse`] if another process has it.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, OpenError> {
        let path = path.into();
        let unusable = |source| OpenError::Directory { path: path.clone(), source };
        std::fs::create_dir_all(&path).map_err(unusable)?;
        let mut lock = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path.join(LOCK_FILE))
            .map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(OpenError::InUse { owner: read_owner(&mut lock), path });
            }
            Err(TryLockError::Error(source)) => return Err(unusable(source)),
        }
        write_owner(&mut lock).map_err(unusable)?;
        Ok(Self { path, _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the log, which is made if it is missing.
    ///
    /// # Errors
    /// [`OpenError::Log`] or [`OpenError::LogVersion`]; the file is left as it is.
    pub async fn open_log(&self) -> Result<SqliteLog, OpenError> {
        SqliteLog::open(self.path.join(LOG_FILE)).await
    }

    /// Opens the projections of the log `log_id`. A file that is missing, damaged, of another version or of another log
    /// is made anew; a replay of the log fills it.
    ///
    /// # Errors
    /// [`OpenError::Projections`] or [`OpenError::DeleteProjections`].
    pub async fn open_projections(&self, log_id: Uuid) -> Result<SqliteProjections, OpenError> {
        let path = self.path.join(PROJECTIONS_FILE);
        match SqliteProjections::open(&path, log_id).await {
            Ok(Some(projections)) => return Ok(projections),
            Ok(None) => tracing::warn!("the projections are of another log; they are rebuilt"),
            Err(error) => tracing::warn!(%error, "the projections are of no use; they are rebuilt from the log"),
        }
        delete_database(&path)?;
        let anew = SqliteProjections::open(&path, log_id).await;
        anew.map_err(|source| OpenError::Projections { path: path.clone(), source })?
            .ok_or_else(|| OpenError::Projections { path, source: sqlx::Error::RowNotFound })
    }
}

fn read_owner(lock: &mut File) -> Option<u32> {
    let mut text = String::new();
    lock.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn write_owner(lock: &mut File) -> std::io::Result<()> {
    lock.set_len(0)?;
    lock.rewind()?;
    writeln!(lock, "{}", std::process::id())
}

/// Deletes a database with the files that SQLite keeps beside it.
fn delete_database(path: &Path) -> Result<(), OpenError> {
    for suffix in ["", "-wal", "-shm"] {
        let mut file = path.as_os_str().to_owned();
        file.push(suffix);
        match std::fs::remove_file(&file) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => return Err(OpenError::DeleteProjections { path: file.into(), source }),
        }
    }
    Ok(())
}
