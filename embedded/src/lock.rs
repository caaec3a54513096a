//! The lock of a data directory: one process at a time owns it.
//!
//! The directory itself is locked. Nobody can delete it while it has files, whereas a lock file may be deleted by anybody who
//! takes it for a leftover. `log.sqlite` is not locked: closing any descriptor of that file would drop the locks that
//! SQLite has on it in this process. The system's lock of a whole file (`flock`), which the standard library uses, works on
//! directories on Linux and macOS.
//!
//! The lock file tells who the owner is. It is locked too, because earlier releases lock nothing else.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::net::SocketAddr;
use std::path::Path;

use private_files::private_file;
use uuid::Uuid;

/// More than what is written to the lock file.
const MAX_OWNER_BYTES: u64 = 1_000;
pub(crate) const LOCK_FILE: &str = "tally.lock";

/// The lock of a directory, as long as the value lives. The system unlocks it when the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct DirectoryLock {
    /// `None` on systems that cannot lock a directory.
    directory: Option<File>,
    owner_file: File,
}

/// The process that owns a directory, as far as its lock file can be read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Owner {
    /// The id of the process.
    pub process: Option<u32>,
    /// Where the process takes the operator's commands, and the key that they must bring.
    pub operator: Option<(SocketAddr, Uuid)>,
}

/// Why a directory was not locked.
#[derive(Debug)]
pub(crate) enum LockError {
    /// Another process owns the directory.
    Owned(Owner),
    /// The directory or the lock file cannot be opened, or the file not be written.
    File(io::Error),
    /// The system cannot lock the directory.
    Directory(io::Error),
}

impl Drop for DirectoryLock {
    /// Unlocks explicitly. Closing the files does not suffice while this process starts another one: until the new
    /// process runs its program, it has copies of all open files and so holds the locks.
    fn drop(&mut self) {
        // If this fails, closing the files unlocks them.
        drop(self.owner_file.unlock());
        drop(self.directory.as_ref().map(File::unlock));
    }
}

impl DirectoryLock {
    pub(crate) fn acquire(path: &Path) -> Result<Self, LockError> {
        let owner_path = path.join(LOCK_FILE);
        let directory = open_directory(path).map_err(LockError::File)?;
        match directory.as_ref().map_or(Ok(()), File::try_lock) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(LockError::Owned(read_owner(&owner_path))),
            Err(TryLockError::Error(source)) => return Err(LockError::Directory(source)),
        }
        let owner_file = private_file().create(true).truncate(false).open(&owner_path).map_err(LockError::File)?;
        match owner_file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(LockError::Owned(read_owner(&owner_path))),
            Err(TryLockError::Error(source)) => return Err(LockError::File(source)),
        }
        let lock = Self { directory, owner_file };
        lock.write_owner(None).map_err(LockError::File)?;
        Ok(lock)
    }

    /// Tells other processes who owns the directory, and where this process takes the operator's commands.
    pub(crate) fn write_owner(&self, operator: Option<(SocketAddr, Uuid)>) -> io::Result<()> {
        let mut file = &self.owner_file;
        file.set_len(0)?;
        file.rewind()?;
        let operator = operator.map(|(address, key)| format!("{address}\n{key}\n")).unwrap_or_default();
        write!(file, "{}\n{operator}", std::process::id())
    }
}

#[cfg(unix)]
fn open_directory(path: &Path) -> io::Result<Option<File>> {
    File::open(path).map(Some)
}

#[cfg(not(unix))]
fn open_directory(_: &Path) -> io::Result<Option<File>> {
    Ok(None)
}

fn read_owner(path: &Path) -> Owner {
    let mut text = String::new();
    // A file that cannot be read tells nothing; the directory is owned all the same.
    let read = File::open(path).and_then(|file| file.take(MAX_OWNER_BYTES).read_to_string(&mut text));
    let mut lines = read.is_ok().then(|| text.lines()).into_iter().flatten();
    let process = lines.next().and_then(|line| line.parse().ok());
    let address = lines.next().and_then(|line| line.parse().ok());
    let key = lines.next().and_then(|line| line.parse().ok());
    Owner { process, operator: address.zip(key) }
}
