//! The files of a SQLite database: their names, and their headers, since SQLite does not notice a truncated file.
//!
//! Both formats: <https://www.sqlite.org/fileformat2.html>.

use std::collections::HashSet;
use std::fs::File;
use std::io::{ErrorKind, Read, Seek};
use std::path::{Path, PathBuf};

use crate::notes::{CLEAN_SUFFIX, DAMAGED_SUFFIX};

/// Suffix of the file name of a write-ahead log.
pub(crate) const WAL_SUFFIX: &str = "-wal";
/// Suffixes of a database's files: those that SQLite keeps beside it, notes, and the database's own, last.
pub(crate) const SUFFIXES: [&str; 5] = [WAL_SUFFIX, "-shm", CLEAN_SUFFIX, DAMAGED_SUFFIX, ""];

/// Counts the pages that a database should have, but that are neither in its file nor in its write-ahead log. Only a
/// truncated file misses pages: a crash during a checkpoint leaves every page in at least one of the two files.
pub(crate) fn count_missing_pages(path: &Path) -> std::io::Result<u64> {
    let wal = CommittedWal::read(&with_suffix(path, WAL_SUFFIX))?;
    let mut file = match File::open(path) {
        Ok(file) => file,
        // SQLite creates the database before its write-ahead log, so a log without a database means a lost database.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(wal.database_pages),
        Err(error) => return Err(error),
    };
    let length = file.metadata()?.len();
    if length == 0 {
        return Ok(wal.database_pages);
    }
    let mut header = [0; 100];
    if !fill_buffer(&mut file, &mut header)? || !header.starts_with(b"SQLite format 3\0") {
        // Not a database. SQLite reports that itself.
        return Ok(0);
    }
    let page_size = match u16::from_be_bytes([header[16], header[17]]) {
        1 => 65_536,
        page_size => u64::from(page_size.max(512)),
    };
    // The size in the header is valid only if it was written together with the change counter.
    let header_pages = if header[24..28] == header[92..96] { read_u32(&header, 28) } else { 0 };
    let pages = if wal.database_pages > 0 { wal.database_pages } else { header_pages };
    // SQLite never writes the page at 1 GiB, which it uses for locks.
    let lock_page = 0x4000_0000 / page_size + 1;
    let is_missing = |page: &u64| *page != lock_page && !wal.pages.contains(page);
    Ok((length / page_size + 1..=pages).filter(is_missing).count() as u64)
}

/// The committed part of a write-ahead log.
#[derive(Debug, Default)]
struct CommittedWal {
    /// The numbers of its pages.
    pages: HashSet<u64>,
    /// The size of the database after the last commit, in pages; 0 without a commit.
    database_pages: u64,
}

impl CommittedWal {
    /// Reads the headers of the frames without their checksums: a truncated frame ends early, and a stale frame has
    /// other salts.
    fn read(path: &Path) -> std::io::Result<Self> {
        let mut wal = Self::default();
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(wal),
            Err(error) => return Err(error),
        };
        let mut header = [0; 32];
        if !fill_buffer(&mut file, &mut header)? {
            return Ok(wal);
        }
        let length = file.metadata()?.len();
        let page_size = read_u32(&header, 8);
        let mut frame = [0; 24];
        let mut uncommitted = Vec::new();
        while fill_buffer(&mut file, &mut frame)? && frame[8..16] == header[16..24] {
            if file.stream_position()? + page_size > length {
                break;
            }
            file.seek_relative(page_size.cast_signed())?;
            uncommitted.push(read_u32(&frame, 0));
            let database_pages = read_u32(&frame, 4);
            if database_pages > 0 {
                wal.pages.extend(uncommitted.drain(..));
                wal.database_pages = database_pages;
            }
        }
        Ok(wal)
    }
}

/// Fills the buffer; false if the file ends too early.
fn fill_buffer(file: &mut File, buffer: &mut [u8]) -> std::io::Result<bool> {
    match file.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// A big-endian 32-bit integer.
fn read_u32(bytes: &[u8], start: usize) -> u64 {
    bytes[start..start + 4].iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// Appends a suffix to a database's path: the path of a file beside the database.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut file = path.as_os_str().to_owned();
    file.push(suffix);
    file.into()
}

/// Deletes a database after the files beside it.
pub(crate) fn delete_database(path: &Path) -> std::io::Result<()> {
    for suffix in SUFFIXES {
        match std::fs::remove_file(with_suffix(path, suffix)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// The size of a database with its write-ahead log, in bytes; 0 if there is none.
///
/// # Errors
/// The system's error.
pub fn read_size(path: &Path) -> std::io::Result<u64> {
    let mut bytes = 0;
    for suffix in ["", WAL_SUFFIX] {
        bytes += match std::fs::metadata(with_suffix(path, suffix)) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
    }
    Ok(bytes)
}
