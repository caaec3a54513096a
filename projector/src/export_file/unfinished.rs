//! A file that gets its name once it is whole, so that nobody takes a part of it for all.

use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// What the name of the file ends with until it is whole.
const SUFFIX: &str = ".incomplete";
/// How often a file is opened that another process gives its name meanwhile.
const MAX_OPENINGS: usize = 10;

/// A file that is being written, beside the place where it will be. A drop deletes it. What a killed process has left is overwritten by
/// the next attempt.
#[derive(Debug)]
pub(super) struct UnfinishedFile {
    file: File,
    /// Where it is; `None` once it has its name.
    written_to: Option<PathBuf>,
    path: PathBuf,
}

/// A file could not be ended.
#[derive(Debug, thiserror::Error)]
pub enum FinishError {
    /// No file has the name.
    #[error("no file has its name")]
    Incomplete(#[source] io::Error),
    /// The file is whole and has its name. A loss of power may take the name away.
    #[error("the file is whole and has its name, but its directory is not known to be on the disk")]
    Directory(#[source] io::Error),
}

impl UnfinishedFile {
    /// Begins a file that only this user may read. Fails if there is one of its name, or if another process writes it.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        refuse_existing(path)?;
        let mut written_to = OsString::from(path);
        written_to.push(SUFFIX);
        let written_to = PathBuf::from(written_to);
        let file = open_locked(&written_to)?;
        // Whoever had the lock may have given another file the name meanwhile.
        refuse_existing(path)?;
        file.set_len(0)?;
        Ok(Self { file, written_to: Some(written_to), path: path.to_owned() })
    }

    /// Syncs the file and gives it its name, unless somebody has taken that meanwhile.
    pub(super) fn finish(mut self) -> Result<(), FinishError> {
        self.file.sync_all().map_err(FinishError::Incomplete)?;
        if let Some(written_to) = &self.written_to {
            name(written_to, &self.path).map_err(FinishError::Incomplete)?;
        }
        self.written_to = None;
        sync_directory_of(&self.path).map_err(FinishError::Directory)
    }
}

impl Write for UnfinishedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for UnfinishedFile {
    fn drop(&mut self) {
        if let Some(path) = &self.written_to
            && let Err(error) = fs::remove_file(path)
        {
            tracing::warn!(%error, "{} is incomplete, and could not be deleted", path.display());
        }
    }
}

/// Opens a file that this process alone writes.
fn open_locked(path: &Path) -> io::Result<File> {
    let mut options = private_files::private_file();
    options.create(true).truncate(false);
    for _ in 0..MAX_OPENINGS {
        let file = options.open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => break,
            Err(TryLockError::Error(error)) => {
                tracing::warn!(%error, "this file system has no locks: let nobody else write {}", path.display());
            }
        }
        // Between the opening and the lock, whoever had the lock may have ended the file: then it is a whole one now, under its name.
        if is_at(&file, path)? {
            return Ok(file);
        }
    }
    Err(io::Error::new(ErrorKind::AlreadyExists, format!("another process writes {}", path.display())))
}

/// Whether a path still leads to an open file.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    match fs::symlink_metadata(path) {
        Ok(found) => Ok(identity(found) == identity(file.metadata()?)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(not(unix))]
fn is_at(_: &File, path: &Path) -> io::Result<bool> {
    path.try_exists()
}

/// Gives a file another name, which nobody has. A link refuses a name that somebody has, and a renaming does not: that is only for file
/// systems without links.
fn name(written_to: &Path, path: &Path) -> io::Result<()> {
    match fs::hard_link(written_to, path) {
        Ok(()) => {
            if let Err(error) = fs::remove_file(written_to) {
                tracing::warn!(%error, "{} is whole; its former name {} could not be deleted", path.display(), written_to.display());
            }
            Ok(())
        }
        Err(error) if matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::PermissionDenied) => {
            refuse_existing(path)?;
            fs::rename(written_to, path)
        }
        Err(error) => Err(error),
    }
}

/// Also a link that leads nowhere is there.
fn refuse_existing(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(_) => Err(io::Error::new(ErrorKind::AlreadyExists, format!("{} exists", path.display()))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Lets the name survive a loss of power.
#[cfg(unix)]
fn sync_directory_of(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    File::open(directory)?.sync_all()
}

#[cfg(not(unix))]
fn sync_directory_of(_path: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn a_name_that_somebody_has_taken_stays_theirs() {
        let directory = TempDir::new().unwrap();
        let (written_to, path) = (directory.path().join("all.incomplete"), directory.path().join("all"));
        fs::write(&written_to, "ours").unwrap();
        fs::write(&path, "theirs").unwrap();
        assert_eq!(name(&written_to, &path).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"theirs");
        fs::remove_file(&path).unwrap();
        name(&written_to, &path).unwrap();
        assert_eq!((fs::read(&path).unwrap(), written_to.exists()), (b"ours".to_vec(), false));
    }

    /// Its lock is that of a whole file then, which must not be emptied.
    #[cfg(unix)]
    #[test]
    fn a_file_that_was_named_after_its_opening_is_noticed() {
        let directory = TempDir::new().unwrap();
        let (written_to, path) = (directory.path().join("all.incomplete"), directory.path().join("all"));
        let file = File::create(&written_to).unwrap();
        assert!(is_at(&file, &written_to).unwrap());
        name(&written_to, &path).unwrap();
        assert!(!is_at(&file, &written_to).unwrap());
        File::create(&written_to).unwrap();
        assert!(!is_at(&file, &written_to).unwrap(), "another file has the name");
    }
}
