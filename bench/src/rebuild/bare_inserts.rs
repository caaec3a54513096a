//! The rows of a projection's database, written into a new one by cached statements and nothing else.

use std::path::Path;
use std::time::Instant;

use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, Result, params_from_iter};

use super::find_database;
use crate::error::BenchError;

/// Rows of a transaction: the most events that Tally has in one.
const ROWS_PER_COMMIT: usize = 1_024;
/// Messages that Tally's index has in one document.
const MESSAGES_PER_DOCUMENT: usize = 8;

/// Copies the rows of a projection. Returns how many seconds the inserts took; reads of the rows are among them.
pub(super) fn time(projections: &Path, projection: &str, scratch: &Path) -> Result<f64, BenchError> {
    let directory = tempfile::tempdir_in(scratch).map_err(BenchError::file(scratch))?;
    let target = directory.path().join("bare.sqlite");
    let source = find_database(projections, projection)?;
    let views = find_database(projections, "views")?;
    let copied = match projection {
        // An index without contents cannot be read back, so the texts come from views.
        "search" => index_texts(&views, &source, &target),
        _ => copy_tables(&source, &target),
    };
    copied.map_err(BenchError::database(source))
}

fn copy_tables(source: &Path, target: &Path) -> Result<f64> {
    let (source, target) = (open_source(source)?, open_target(target)?);
    let tables = "SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'";
    let mut tables = source.prepare(tables)?;
    let tables: Vec<(String, String)> =
        tables.query_map((), |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_>>()?;
    let began = Instant::now();
    for (table, schema) in tables {
        target.execute_batch(&schema)?;
        copy_table(&source, &target, &table)?;
    }
    Ok(began.elapsed().as_secs_f64())
}

fn copy_table(source: &Connection, target: &Connection, table: &str) -> Result<()> {
    let mut read = source.prepare(&format!("SELECT * FROM \"{table}\""))?;
    let columns = read.column_count();
    let places = vec!["?"; columns].join(", ");
    let mut insert = target.prepare(&format!("INSERT INTO \"{table}\" VALUES ({places})"))?;
    let mut rows = read.query(())?;
    let mut commits = Commits::begin(target)?;
    while let Some(row) = rows.next()? {
        let values = (0..columns).map(|column| row.get::<_, Value>(column)).collect::<Result<Vec<_>>>()?;
        insert.execute(params_from_iter(values))?;
        commits.count(1)?;
    }
    commits.end()
}

/// Writes the bodies of all messages into an index of the same kind as Tally's.
fn index_texts(views: &Path, search: &Path, target: &Path) -> Result<f64> {
    let (views, search, target) = (open_source(views)?, open_source(search)?, open_target(target)?);
    let schema = "SELECT sql FROM sqlite_schema WHERE name = 'search_trigrams'";
    let schema: String = search.query_row(schema, (), |row| row.get(0))?;
    target.execute_batch(&schema)?;
    let mut read = views.prepare("SELECT body FROM messages ORDER BY id")?;
    let mut insert = target.prepare("INSERT INTO search_trigrams (rowid, folded, chat) VALUES (?, ?, 'abc')")?;
    let began = Instant::now();
    let (mut rows, mut document, mut texts) = (read.query(())?, 1, Vec::new());
    let mut commits = Commits::begin(&target)?;
    while let Some(row) = rows.next()? {
        texts.push(row.get::<_, String>(0)?);
        if texts.len() == MESSAGES_PER_DOCUMENT {
            insert.execute((document, texts.join("\n")))?;
            document += 1;
            commits.count(texts.len())?;
            texts.clear();
        }
    }
    commits.end()?;
    Ok(began.elapsed().as_secs_f64())
}

fn open_source(path: &Path) -> Result<Connection> {
    Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
}

/// With the settings of Tally's projections.
fn open_target(path: &Path) -> Result<Connection> {
    let connection = Connection::open(path)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "normal")?;
    connection.pragma_update(None, "wal_autocheckpoint", 4_000)?;
    connection.pragma_update(None, "cache_size", -4_000)?;
    Ok(connection)
}

/// Transactions of [`ROWS_PER_COMMIT`] rows.
struct Commits<'c> {
    connection: &'c Connection,
    rows: usize,
}

impl<'c> Commits<'c> {
    fn begin(connection: &'c Connection) -> Result<Self> {
        connection.execute_batch("BEGIN")?;
        Ok(Self { connection, rows: 0 })
    }

    fn count(&mut self, rows: usize) -> Result<()> {
        self.rows += rows;
        if self.rows >= ROWS_PER_COMMIT {
            self.connection.execute_batch("COMMIT; BEGIN")?;
            self.rows = 0;
        }
        Ok(())
    }

    fn end(self) -> Result<()> {
        self.connection.execute_batch("COMMIT")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: u32 = 2_500;

    fn count(path: &Path, table: &str) -> u32 {
        open_source(path).unwrap().query_row(&format!("SELECT count(*) FROM {table}"), (), |row| row.get(0)).unwrap()
    }

    #[test]
    fn every_row_and_every_whole_document_is_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let views = Connection::open(path("views")).unwrap();
        views.execute_batch("CREATE TABLE messages (id INTEGER PRIMARY KEY, body TEXT NOT NULL)").unwrap();
        views.execute_batch("BEGIN").unwrap();
        for id in 0..ROWS {
            views.execute("INSERT INTO messages VALUES (?, 'hello world')", [id]).unwrap();
        }
        views.execute_batch("COMMIT").unwrap();
        let search = Connection::open(path("search")).unwrap();
        let schema =
            "CREATE VIRTUAL TABLE search_trigrams USING fts5 (folded, chat, content = '', tokenize = 'trigram')";
        search.execute_batch(schema).unwrap();
        copy_tables(&path("views"), &path("copy")).unwrap();
        assert_eq!(count(&path("copy"), "messages"), ROWS);
        index_texts(&path("views"), &path("search"), &path("index")).unwrap();
        let found = open_source(&path("index")).unwrap().query_row(
            "SELECT count(*) FROM search_trigrams WHERE search_trigrams MATCH 'world'",
            (),
            |row| row.get::<_, u32>(0),
        );
        assert_eq!(found, Ok(ROWS / MESSAGES_PER_DOCUMENT as u32));
    }
}
