//! Bytes on disk for each message.

use std::fs::DirEntry;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use crate::error::BenchError;
use crate::results::Value;

/// Tables below this part of all bytes are left out.
const LEAST_PART: f64 = 0.01;

/// Measures the files of a stopped Tally: all of them, and their tables.
pub(super) fn measure(data: &Path, messages: u64) -> Result<Vec<Value>, BenchError> {
    let files = list(data)?;
    let mut bytes = 0;
    let mut tables = Vec::new();
    for path in &files {
        bytes += path.metadata().map_err(BenchError::file(path))?.len();
        if path.extension().is_some_and(|extension| extension == "sqlite") {
            tables.extend(table_bytes(path).map_err(BenchError::database(path))?);
        }
    }
    tables.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    tables.retain(|(_, of_table)| *of_table as f64 >= LEAST_PART * bytes as f64);
    let value = |what: &str, bytes: u64| super::value(what, "bytes", 0, vec![bytes as f64 / messages as f64]);
    let all = value(&format!("on disk for each of {messages} messages"), bytes);
    let of_tables = tables.iter().map(|(name, bytes)| value(&format!("of these `{name}`"), *bytes));
    Ok([all].into_iter().chain(of_tables).collect())
}

fn list(directory: &Path) -> Result<Vec<PathBuf>, BenchError> {
    let entries = std::fs::read_dir(directory).map_err(BenchError::file(directory))?;
    let entries = entries.collect::<Result<Vec<DirEntry>, _>>().map_err(BenchError::file(directory))?;
    let mut files = Vec::new();
    for path in entries.iter().map(DirEntry::path) {
        if path.is_dir() { files.extend(list(&path)?) } else { files.push(path) }
    }
    Ok(files)
}

fn table_bytes(path: &Path) -> Result<Vec<(String, u64)>, rusqlite::Error> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let mut statement = connection.prepare("SELECT name, pgsize FROM dbstat WHERE aggregate = TRUE")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?.cast_unsigned())))?;
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_of_all_files_and_of_each_table() {
        let directory = tempfile::tempdir().unwrap();
        let connection = Connection::open(directory.path().join("a.sqlite")).unwrap();
        connection.execute_batch("CREATE TABLE t (a); INSERT INTO t VALUES (zeroblob(8000))").unwrap();
        drop(connection);
        std::fs::create_dir(directory.path().join("sub")).unwrap();
        std::fs::write(directory.path().join("sub/file"), [0; 4_096]).unwrap();
        let values = measure(directory.path(), 2).unwrap();
        let text = |value: &Value| (value.what.clone(), value.rounds[0] as u64);
        // Two pages of the table, one of the schema, one of the file.
        assert_eq!(text(&values[0]), ("on disk for each of 2 messages".to_owned(), 4 * 4_096 / 2));
        assert_eq!(text(&values[1]), ("of these `t`".to_owned(), 2 * 4_096 / 2));
    }
}
