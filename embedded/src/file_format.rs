//! What the files of a SQLite database say of themselves, read without SQLite, which takes a file that was cut for a
//! shorter one.
//!
//! Both formats: <https://www.sqlite.org/fileformat2.html>.

use std::collections::HashSet;
use std::fs::File;
use std::io::{ErrorKind, Read, Seek};
use std::path::{Path, PathBuf};

/// How many pages a database says that it has, but neither its file nor its write-ahead log holds: more than none only if
/// the file was cut. A crash while the one is copied into the other leaves every page in at least one of them.
pub(crate) fn missing_pages(path: &Path) -> std::io::Result<u64> {
    let wal = CommittedWal::read(&beside(path, "-wal"))?;
    let mut file = match File::open(path) {
        Ok(file) => file,
        // SQLite deletes the write-ahead log of a database that is empty; it never makes the one before the other.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(wal.database_pages),
        Err(error) => return Err(error),
    };
    let length = file.metadata()?.len();
    if length == 0 {
        return Ok(wal.database_pages);
    }
    let mut header = [0; 100];
    if !read_whole(&mut file, &mut header)? || !header.starts_with(b"SQLite format 3\0") {
        // Not a database: SQLite will say so.
        return Ok(0);
    }
    let page_size = match u16::from_be_bytes([header[16], header[17]]) {
        1 => 65_536,
        page_size => u64::from(page_size.max(512)),
    };
    // The size in the header holds if it was written together with the change counter.
    let header_pages = if header[24..28] == header[92..96] { big_endian(&header, 28) } else { 0 };
    let pages = if wal.database_pages > 0 { wal.database_pages } else { header_pages };
    // The page at 1 GiB is for locks, and never written.
    let lock_page = 0x4000_0000 / page_size + 1;
    let is_missing = |page: &u64| *page != lock_page && !wal.pages.contains(page);
    Ok((length / page_size + 1..=pages).filter(is_missing).count() as u64)
}

/// What a write-ahead log has committed.
#[derive(Debug, Default)]
struct CommittedWal {
    /// Numbers of the pages in it.
    pages: HashSet<u64>,
    /// Pages of the database after the last commit; 0 if it has none.
    database_pages: u64,
}

impl CommittedWal {
    /// Reads the headers of the frames. Their checksums are not computed: what is cut or stale differs in its salts or ends.
    fn read(path: &Path) -> std::io::Result<Self> {
        let mut wal = Self::default();
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(wal),
            Err(error) => return Err(error),
        };
        let (mut header, mut frame) = ([0; 32], [0; 24]);
        if !read_whole(&mut file, &mut header)? {
            return Ok(wal);
        }
        let (length, page_size) = (file.metadata()?.len(), big_endian(&header, 8));
        let mut uncommitted = Vec::new();
        while read_whole(&mut file, &mut frame)? && frame[8..16] == header[16..24] {
            if file.stream_position()? + page_size > length {
                break;
            }
            file.seek_relative(page_size.cast_signed())?;
            uncommitted.push(big_endian(&frame, 0));
            let database_pages = big_endian(&frame, 4);
            if database_pages > 0 {
                wal.pages.extend(uncommitted.drain(..));
                wal.database_pages = database_pages;
            }
        }
        Ok(wal)
    }
}

/// Whether there was enough to fill the buffer.
fn read_whole(file: &mut File, buffer: &mut [u8]) -> std::io::Result<bool> {
    match file.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

fn big_endian(bytes: &[u8], at: usize) -> u64 {
    bytes[at..at + 4].iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// The file that is kept beside a database under its name and a suffix.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut file = path.as_os_str().to_owned();
    file.push(suffix);
    file.into()
}
