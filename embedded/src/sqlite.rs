//! Connections, transactions and statements of SQLite; the log and the projections both use them.
//!
//! A call of SQLite blocks its thread. A statement that reads a few rows by key takes microseconds, less than a switch to
//! another thread, so the caller runs it where it is. Everything longer belongs on another thread.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use events::{ApplicationToken, EventId, Number};
use metrics::Histogram;
use parking_lot::Mutex;
use rusqlite::config::DbConfig;
use rusqlite::types::Type;
use rusqlite::{CachedStatement, Connection, ErrorCode, OpenFlags, Result, Row, ffi};
use tokio::runtime::{Handle, RuntimeFlavor};
use uuid::Uuid;

use crate::damage::{Damage, locate};

/// Longest wait for a lock that another connection holds.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Once the write-ahead log has this many pages, SQLite copies them into the database.
const AUTOCHECKPOINT_PAGES: u32 = 4_000;
/// Page cache of a connection that writes. SQLite reads a negative number as KiB, a positive one as pages.
const WRITER_CACHE_KIB: i32 = -4_000;
/// Page cache of a connection that reads. A commit by another connection empties it, so a large one gains little.
const READER_CACHE_KIB: i32 = -1_000;
/// Prepared statements that a connection keeps; more than the crate has for one file.
const CACHED_STATEMENTS: usize = 64;
/// Reading connections that wait for the next read. A further one is closed after its read.
const MAX_IDLE_READERS: usize = 8;

/// What a commit survives.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Durability {
    /// A loss of power. For the event log.
    PowerLoss,
    /// A crash of this process. A loss of power may undo the last commits, so this is for data that can be rebuilt.
    Crash,
}

/// A database and how to connect to it.
#[derive(Debug, Clone)]
pub(crate) struct Database {
    path: PathBuf,
    durability: Durability,
    /// Further databases that a connection attaches, with their names.
    attached: Vec<(&'static str, PathBuf)>,
}

impl Database {
    pub(crate) fn new(path: impl Into<PathBuf>, durability: Durability) -> Self {
        Self { path: path.into(), durability, attached: Vec::new() }
    }

    /// Attaches existing databases to every connection, for statements that read several.
    pub(crate) fn attach(mut self, databases: impl IntoIterator<Item = (&'static str, PathBuf)>) -> Self {
        self.attached.extend(databases);
        self
    }

    /// Opens a connection that writes; creates the file if it is missing.
    pub(crate) fn connect(&self) -> Result<Connection> {
        self.connect_with(OpenFlags::SQLITE_OPEN_CREATE, WRITER_CACHE_KIB)
    }

    /// Opens a connection to an existing file that may have temporary tables.
    pub(crate) fn connect_to_existing(&self) -> Result<Connection> {
        self.connect_with(OpenFlags::empty(), READER_CACHE_KIB)
    }

    /// Opens a connection to an existing file that only reads.
    pub(crate) fn connect_reader(&self) -> Result<Connection> {
        let connection = self.connect_with(OpenFlags::empty(), READER_CACHE_KIB)?;
        connection.pragma_update(None, "query_only", true)?;
        Ok(connection)
    }

    fn connect_with(&self, flags: OpenFlags, cache_kib: i32) -> Result<Connection> {
        // Without SQLITE_OPEN_URI, so that a path that begins with `file:` is a path.
        let flags = flags | OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        // Otherwise SQLite prepares a statement again whenever the parameter of its LIMIT is bound.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        connection.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
        connection.pragma_update(None, "journal_mode", "wal")?;
        let synchronous = match self.durability {
            Durability::PowerLoss => "full",
            Durability::Crash => "normal",
        };
        connection.pragma_update(None, "synchronous", synchronous)?;
        // On macOS fsync leaves data in the drive's cache; these make SQLite use F_FULLFSYNC. Other systems ignore them.
        connection.pragma_update(None, "fullfsync", true)?;
        connection.pragma_update(None, "checkpoint_fullfsync", true)?;
        connection.pragma_update(None, "wal_autocheckpoint", AUTOCHECKPOINT_PAGES)?;
        connection.pragma_update(None, "cache_size", cache_kib)?;
        for (name, path) in &self.attached {
            attach(&connection, name, path)?;
            connection.pragma_update(Some(*name), "cache_size", cache_kib)?;
        }
        Ok(connection)
    }
}

/// Attaches a database. A path need not be UTF-8, so SQLite gets its bytes.
fn attach(connection: &Connection, name: &str, path: &Path) -> Result<()> {
    let path = path.as_os_str().as_encoded_bytes();
    connection.execute("ATTACH DATABASE CAST(? AS TEXT) AS ?", (path, name)).map(drop)
}

/// The connections that read a database.
#[derive(Debug)]
pub(crate) struct Readers {
    database: Database,
    /// Each database's.
    damage: Vec<Arc<Damage>>,
    /// In the order in which they were last used. `None` once they are closed.
    idle: Mutex<Option<Vec<Idle>>>,
}

/// A connection that waits for its next use.
#[derive(Debug)]
struct Idle {
    connection: Connection,
    since: Instant,
}

impl Idle {
    fn new(connection: Connection) -> Self {
        Self { connection, since: Instant::now() }
    }
}

impl Readers {
    pub(crate) fn new(database: Database, damage: &[&Arc<Damage>]) -> Self {
        let damage = damage.iter().copied().map(Arc::clone).collect();
        Self { database, damage, idle: Mutex::new(Some(Vec::new())) }
    }

    /// Runs `read` with an idle connection, or with a new one if none is idle. Blocks the thread meanwhile. Fails after
    /// [`Readers::close`].
    pub(crate) fn read<T>(&self, read: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let idle = self.idle.lock().as_mut().ok_or_else(closed)?.pop();
        let connection = idle.map_or_else(|| self.database.connect_reader(), |idle| Ok(idle.connection));
        let connection = connection.inspect_err(|error| self.note(error))?;
        let outcome = read(&connection).inspect_err(|error| self.note(error));
        if let Some(idle) = &mut *self.idle.lock()
            && idle.len() < MAX_IDLE_READERS
        {
            idle.push(Idle::new(connection));
        }
        outcome
    }

    /// Closes the connections that nobody has used for this time. Opening another takes less than a millisecond.
    pub(crate) fn close_unused(&self, unused_for: Duration) {
        let unused: Vec<_> = match &mut *self.idle.lock() {
            Some(idle) => {
                let used = idle.partition_point(|idle| idle.since.elapsed() >= unused_for);
                idle.drain(..used).collect()
            }
            None => return,
        };
        // Closed without the lock, which reads need.
        drop(unused);
    }

    fn note(&self, error: &rusqlite::Error) {
        match &*self.damage {
            [damage] => damage.note(error),
            databases => locate(databases, error),
        }
    }

    /// Opens a connection that belongs to the caller, and can have temporary tables. Fails after [`Readers::close`].
    pub(crate) fn connect(&self) -> Result<Connection> {
        if self.idle.lock().is_none() { Err(closed()) } else { self.database.connect() }
    }

    /// Closes the idle connections, and the others after their reads. Refuses further reads, which would open the file again.
    pub(crate) fn close(&self) {
        drop(self.idle.lock().take());
    }
}

/// The one connection that writes to a database.
///
/// A connection whose transaction was not committed is thrown away, because its state is unknown. The next transaction
/// begins on a new connection.
#[derive(Debug)]
pub(crate) struct Writer {
    database: Database,
    damage: Arc<Damage>,
    /// Records how long a commit takes.
    commit_seconds: Histogram,
    state: Mutex<WriterState>,
}

#[derive(Debug, Default)]
struct WriterState {
    /// The connection, if the last transaction was committed.
    idle: Option<Idle>,
    is_closed: bool,
}

impl Writer {
    pub(crate) fn new(database: Database, damage: &Arc<Damage>) -> Self {
        Self { database, damage: Arc::clone(damage), commit_seconds: Histogram::noop(), state: Mutex::default() }
    }

    /// Records the time of each commit, with the sync of the disk that it waits for.
    pub(crate) fn recording_commits(self, commit_seconds: Histogram) -> Self {
        Self { commit_seconds, ..self }
    }

    /// Runs `write` in a transaction, after the previous transaction has ended. Commits if `write` returns a value, and
    /// rolls back if it returns `None` or an error. Blocks the thread meanwhile. Fails after [`Writer::close`].
    pub(crate) fn transact<T>(&self, write: impl FnOnce(&mut Connection) -> Result<Option<T>>) -> Result<Option<T>> {
        self.write(write).inspect_err(|error| self.damage.note(error))
    }

    fn write<T>(&self, write: impl FnOnce(&mut Connection) -> Result<Option<T>>) -> Result<Option<T>> {
        let mut state = self.state.lock();
        if state.is_closed {
            return Err(closed());
        }
        let mut connection = state.idle.take().map_or_else(|| self.database.connect(), |idle| Ok(idle.connection))?;
        prepare(&connection, "BEGIN IMMEDIATE")?.execute(())?;
        let Some(value) = write(&mut connection)? else {
            return Ok(None);
        };
        let began_at = Instant::now();
        prepare(&connection, "COMMIT")?.execute(())?;
        self.commit_seconds.record(began_at.elapsed());
        state.idle = Some(Idle::new(connection));
        Ok(Some(value))
    }

    /// Frees the page cache of a connection that has written nothing for this time.
    pub(crate) fn free_unused_memory(&self, unused_for: Duration) -> Result<()> {
        let state = self.state.lock();
        match &state.idle {
            Some(idle) if idle.since.elapsed() >= unused_for => idle.connection.execute_batch("PRAGMA shrink_memory"),
            _ => Ok(()),
        }
    }

    /// Closes the connection, after the running transaction has ended, and refuses further transactions.
    pub(crate) fn close(&self) -> Result<()> {
        let mut state = self.state.lock();
        state.is_closed = true;
        state.idle.take().map_or(Ok(()), |idle| idle.connection.close().map_err(|(_, error)| error))
    }
}

fn closed() -> rusqlite::Error {
    interrupted("the database is closed")
}

/// Runs work that is longer than a few rows on a blocking thread.
pub(crate) async fn run_blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Only a runtime that is being shut down cancels blocking work.
            Err(_) => Err(interrupted("the process is stopping")),
        },
    }
}

/// Runs work that blocks this thread for a while, and that a caller that is dropped must not leave half done. Meanwhile other threads
/// of the runtime, if it has some, take over the tasks of this one.
pub(crate) fn run_in_place<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}

fn interrupted(reason: &str) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_INTERRUPT), Some(reason.to_owned()))
}

/// Prepares a statement, or takes it from the connection's cache. Every statement that runs after the start is prepared here, so that a
/// test can check how SQLite executes it.
pub(crate) fn prepare<'c>(connection: &'c Connection, sql: &'static str) -> Result<CachedStatement<'c>> {
    #[cfg(test)]
    crate::query_plans::record(connection, sql);
    connection.prepare_cached(sql)
}

/// Whether an error shows that the file is damaged, or is no database: <https://www.sqlite.org/rescode.html>.
pub(crate) fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

/// Whether an error shows that a column holds a value that no release writes.
pub(crate) fn is_malformed(error: &rusqlite::Error) -> bool {
    matches!(
        error,
        rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::Utf8Error(..)
    )
}

pub(crate) fn decode_token(row: &Row, column: usize) -> Result<ApplicationToken> {
    Ok(ApplicationToken::from_bytes(row.get(column)?))
}

pub(crate) fn decode_number(row: &Row, column: usize) -> Result<Number> {
    let number = Number::new(row.get(column)?);
    number.ok_or_else(|| decode_error(column, Type::Integer, "not a number of a chat or a message"))
}

pub(crate) fn decode_event_id(row: &Row, column: usize) -> Result<EventId> {
    Ok(EventId(Uuid::from_bytes(row.get(column)?)))
}

/// Makes the error for a column with a value that no release writes.
pub(crate) fn decode_error(
    column: usize,
    found: Type,
    reason: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, found, reason.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_nobody_uses_is_closed_and_the_next_read_opens_another() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("test.sqlite");
        let database = Database::new(&path, Durability::Crash);
        database.connect().expect("a file");
        let readers = Readers::new(database, &[&Damage::new(&path, crate::damage::Content::Projections)]);
        let mark = |connection: &Connection| connection.pragma_update(None, "query_only", false);
        let is_marked =
            |connection: &Connection| connection.pragma_query_value(None, "query_only", |row| row.get::<_, i64>(0));
        readers.read(mark).expect("a read");
        readers.close_unused(Duration::from_secs(60));
        assert_eq!(readers.read(is_marked), Ok(0), "the connection was in use a moment ago");
        readers.close_unused(Duration::ZERO);
        assert_eq!(readers.read(is_marked), Ok(1), "a new connection");
    }
}
