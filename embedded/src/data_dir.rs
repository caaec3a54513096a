//! The data directory: who owns it and what lies in it.

use std::fs::{File, TryLockError};
use std::io::{ErrorKind, Read, Seek, Write};
use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::clean_close::{CLEAN_SUFFIX, is_as_closed};
use crate::file_format::{beside, missing_pages};
use crate::log::SqliteLog;
use crate::open_error::OpenError;
use crate::projections::{Check, SqliteProjections};

const LOCK_FILE: &str = "tally.lock";
const LOG_FILE: &str = "log.sqlite";
const PROJECTIONS_FILE: &str = "views.sqlite";
/// Made beside the projections to compare them with, and deleted afterwards.
const REFERENCE_FILE: &str = "reference.sqlite";

/// A data directory that belongs to this process as long as the value lives.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    /// Locked; the system unlocks it when the process ends, however it ends.
    lock: File,
}

impl Drop for DataDir {
    /// Closing the file would do, but for a process that is being started at this moment: until it runs its program it has
    /// a copy of every open file, and the lock with it.
    fn drop(&mut self) {
        // What cannot be unlocked is unlocked by closing it.
        drop(self.lock.unlock());
    }
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
        Ok(Self { path, lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the log, which is made if it is missing.
    ///
    /// # Errors
    /// [`OpenError::Log`], [`OpenError::LogCut`], [`OpenError::LogLost`] or [`OpenError::LogVersion`]; the file is left as
    /// it is.
    pub async fn open_log(&self) -> Result<SqliteLog, OpenError> {
        let path = self.log_path();
        // Asked before SQLite is: it opens what is left of a file without a word.
        match missing_pages(&path) {
            Ok(0) => SqliteLog::open(path, &self.projections_path()).await,
            Ok(missing) => Err(OpenError::LogCut { path, missing }),
            Err(source) => Err(OpenError::Log { path, source: source.into() }),
        }
    }

    /// Where the log is.
    pub fn log_path(&self) -> PathBuf {
        self.path.join(LOG_FILE)
    }

    /// Where the projections are.
    pub fn projections_path(&self) -> PathBuf {
        self.path.join(PROJECTIONS_FILE)
    }

    /// Where [`DataDir::open_reference`] is.
    pub fn reference_path(&self) -> PathBuf {
        self.path.join(REFERENCE_FILE)
    }

    /// Deletes the projections; the next opening makes them anew.
    ///
    /// # Errors
    /// [`OpenError::DeleteProjections`].
    pub fn delete_projections(&self) -> Result<(), OpenError> {
        delete_database(&self.projections_path())
    }

    /// Deletes what [`DataDir::open_reference`] has made.
    ///
    /// # Errors
    /// [`OpenError::DeleteProjections`].
    pub fn delete_reference(&self) -> Result<(), OpenError> {
        delete_database(&self.reference_path())
    }

    /// Opens empty projections beside the real ones, to compare these with.
    ///
    /// # Errors
    /// [`OpenError::Projections`] or [`OpenError::DeleteProjections`].
    pub async fn open_reference(&self, log_id: Uuid) -> Result<SqliteProjections, OpenError> {
        self.delete_reference()?;
        open_anew(self.reference_path(), log_id).await
    }

    /// Opens the projections of the log `log_id`. A file that is missing, damaged, of another version or of another log
    /// is made anew; a replay of the log fills it.
    ///
    /// # Errors
    /// [`OpenError::Projections`] or [`OpenError::DeleteProjections`].
    pub async fn open_projections(&self, log_id: Uuid) -> Result<SqliteProjections, OpenError> {
        let path = self.projections_path();
        if path.exists() {
            match open_as_left(&path, log_id).await {
                Ok(Some(projections)) => return Ok(projections),
                Ok(None) => tracing::warn!("the projections are of another log; they are rebuilt"),
                Err(error) => tracing::warn!(%error, "the projections are of no use; they are rebuilt from the log"),
            }
        }
        delete_database(&path)?;
        open_anew(path, log_id).await
    }
}

/// Opens a file of projections that is not there yet.
async fn open_anew(path: PathBuf, log_id: Uuid) -> Result<SqliteProjections, OpenError> {
    let anew = SqliteProjections::open(&path, log_id, Check::No).await;
    anew.map_err(|source| OpenError::Projections { path: path.clone(), source })?
        .ok_or_else(|| OpenError::Projections { path, source: sqlx::Error::RowNotFound })
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
    for suffix in ["", "-wal", "-shm", CLEAN_SUFFIX] {
        let file = beside(path, suffix);
        match std::fs::remove_file(&file) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(source) => return Err(OpenError::DeleteProjections { path: file, source }),
        }
    }
    Ok(())
}

/// Opens the projections that an earlier process has left, and looks first at what SQLite would not notice.
///
/// A file that was cut is told by its length alone. Pages that were overwritten only a walk through the whole file can
/// find (`PRAGMA quick_check`: seconds a gigabyte), and a clean start must not take that long. So whoever closes the
/// projections cleanly notes the file's length and time of change; as long as these are the same nobody has touched it, and
/// it is opened as it is. After a crash, or when somebody else has written to it or copied it, it is walked through.
async fn open_as_left(path: &Path, log_id: Uuid) -> Result<Option<SqliteProjections>, sqlx::Error> {
    let missing = missing_pages(path)?;
    if missing > 0 {
        return Err(std::io::Error::new(ErrorKind::UnexpectedEof, format!("{missing} pages of it are missing")).into());
    }
    let check = if is_as_closed(path)? { Check::No } else { Check::Quick };
    SqliteProjections::open(path, log_id, check).await
}
