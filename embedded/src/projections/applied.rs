//! How many events databases have applied, whatever their state: those of projections, and those that earlier releases have left.

use std::path::Path;

use uuid::Uuid;

use super::{OpenProjectionsError, manifest};
use crate::file_format::count_missing_pages;
use crate::sqlite::{Database, Durability};

/// Counts the events that the projections in this directory have applied, or those in a file of the first releases. `None` if
/// there are none, or nothing in them.
pub(crate) fn count_applied_events(directory: &Path, old_file: &Path) -> Result<Option<u64>, OpenProjectionsError> {
    let mut databases = manifest::list_all_databases(directory)?;
    if old_file.try_exists()? {
        databases.push(old_file.to_owned());
    }
    let mut applied = None;
    for path in databases {
        applied = applied.max(count_applied_by(&path)?);
    }
    Ok(applied)
}

fn count_applied_by(path: &Path) -> Result<Option<u64>, OpenProjectionsError> {
    let connection = Database::new(path, Durability::Crash).connect_reader()?;
    let has_table = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'checkpoints')";
    if !connection.query_row(has_table, (), |row| row.get(0))? {
        return Ok(None);
    }
    let applied: Option<i64> =
        connection.query_row("SELECT max(next_offset) FROM checkpoints", (), |row| row.get(0))?;
    Ok(applied.map(i64::cast_unsigned).filter(|applied| *applied > 0))
}

/// The same for one database, if it was made from the log `log_id`.
pub(crate) fn count_applied_of(path: &Path, log_id: Uuid) -> Result<Option<u64>, OpenProjectionsError> {
    if !path.try_exists()? || count_missing_pages(path)? > 0 {
        return Ok(None);
    }
    let has_source = {
        let connection = Database::new(path, Durability::Crash).connect_reader()?;
        let source = "SELECT EXISTS (SELECT 1 FROM source WHERE log_id = ?)";
        connection.query_row(source, [log_id.as_bytes()], |row| row.get(0))?
    };
    if has_source { count_applied_by(path) } else { Ok(None) }
}
