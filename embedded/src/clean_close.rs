//! A note beside a database of how it was left, so that a start after a clean stop need not walk through the whole file.

use std::io::ErrorKind;
use std::path::Path;
use std::time::UNIX_EPOCH;

use crate::file_format::beside;

/// Ends the name of the note that [`note_clean_close`] makes.
pub(crate) const CLEAN_SUFFIX: &str = "-clean";

/// Notes how a database was left, so that the next start can tell whether it is still as it was.
pub(crate) fn note_clean_close(path: &Path) -> std::io::Result<()> {
    if is_empty_or_missing(&beside(path, "-wal"))? {
        std::fs::write(beside(path, CLEAN_SUFFIX), fingerprint(path)?)?;
    }
    Ok(())
}

/// Whether a database is as [`note_clean_close`] has seen it. The note is taken away: from now on the file changes.
pub(crate) fn is_as_closed(path: &Path) -> std::io::Result<bool> {
    let note = beside(path, CLEAN_SUFFIX);
    let noted = match std::fs::read_to_string(&note) {
        Ok(noted) => noted,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidData) => return Ok(false),
        Err(error) => return Err(error),
    };
    std::fs::remove_file(&note)?;
    Ok(noted == fingerprint(path)? && is_empty_or_missing(&beside(path, "-wal"))?)
}

fn is_empty_or_missing(path: &Path) -> std::io::Result<bool> {
    match std::fs::metadata(path) {
        Ok(metadata) => Ok(metadata.len() == 0),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

fn fingerprint(path: &Path) -> std::io::Result<String> {
    let metadata = std::fs::metadata(path)?;
    let changed = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(format!("{} bytes, changed at {} ns\n", metadata.len(), changed.as_nanos()))
}
