//! Files beside a database that tell the next start one thing: the last close was clean, so it skips the check; or the
//! database is damaged, so it makes a new one.

use std::io::ErrorKind;
use std::path::Path;
use std::time::UNIX_EPOCH;

use crate::file_format::{WAL_SUFFIX, with_suffix};
use crate::file_modes::write_private;

/// Suffix of the file name of the note of a clean close.
pub(crate) const CLEAN_SUFFIX: &str = "-clean";
/// Suffix of the file name of the note of damage.
pub(crate) const DAMAGED_SUFFIX: &str = "-damaged";

/// Writes the note: the length and the time of change of the database. Writes none if the write-ahead
/// log is not empty, because then the close was not clean.
pub(crate) fn note_clean_close(path: &Path) -> std::io::Result<()> {
    if is_empty_or_missing(&with_suffix(path, WAL_SUFFIX))? {
        write_private(&with_suffix(path, CLEAN_SUFFIX), &fingerprint(path)?)?;
    }
    Ok(())
}

/// Whether a database is unchanged since [`note_clean_close`]. Deletes the note, because the database changes from now
/// on.
pub(crate) fn take_clean_note(path: &Path) -> std::io::Result<bool> {
    let note_path = with_suffix(path, CLEAN_SUFFIX);
    let note = match std::fs::read_to_string(&note_path) {
        Ok(note) => note,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidData) => return Ok(false),
        Err(error) => return Err(error),
    };
    std::fs::remove_file(&note_path)?;
    Ok(note == fingerprint(path)? && is_empty_or_missing(&with_suffix(path, WAL_SUFFIX))?)
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
    let changed_at = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(format!("{} bytes, changed at {} ns\n", metadata.len(), changed_at.as_nanos()))
}

/// Notes that the database is damaged.
pub(crate) fn note_damage(path: &Path) -> std::io::Result<()> {
    write_private(&with_suffix(path, DAMAGED_SUFFIX), "")
}

/// Whether there is a note of damage.
pub(crate) fn is_damage_noted(path: &Path) -> std::io::Result<bool> {
    with_suffix(path, DAMAGED_SUFFIX).try_exists()
}
