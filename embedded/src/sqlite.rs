//! Opens, writes and reads SQLite databases; the log and the projections both use it.

use std::path::Path;
use std::time::Duration;

use events::{ApplicationToken, ChatKey, ChatNumber, EventId, Number};
use sqlx::query_builder::{QueryBuilder, Separated};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow,
    SqliteSynchronous,
};
use sqlx::{Connection, Row, Sqlite};
use tokio::sync::{Mutex, MutexGuard};
use uuid::Uuid;

/// Longest wait for a lock that another connection of this process holds.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait for a reading connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// Once the write-ahead log has this many pages, SQLite copies them into the database.
const AUTOCHECKPOINT_PAGES: &str = "4000";
/// Page cache of one connection. SQLite reads a negative number as KiB, a positive one as pages.
const CACHE_KIB: &str = "-16000";
/// A statement has one of these numbers of rows, so that SQLite prepares few different statements.
const ROWS_PER_STATEMENT: [usize; 3] = [128, 16, 1];

/// What a commit survives.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Durability {
    /// A loss of power. For the event log.
    PowerLoss,
    /// A crash of this process. A loss of power may undo the last commits, so this is for data that can be rebuilt.
    Crash,
}

/// Options for the connection that writes.
pub(crate) fn connect_options(path: &Path, durability: Durability) -> SqliteConnectOptions {
    let synchronous = match durability {
        Durability::PowerLoss => SqliteSynchronous::Full,
        Durability::Crash => SqliteSynchronous::Normal,
    };
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(synchronous)
        // On macOS fsync leaves data in the drive's cache; these make SQLite use F_FULLFSYNC. Other systems ignore them.
        .pragma("fullfsync", "1")
        .pragma("checkpoint_fullfsync", "1")
        .pragma("wal_autocheckpoint", AUTOCHECKPOINT_PAGES)
        .pragma("cache_size", CACHE_KIB)
        .busy_timeout(BUSY_TIMEOUT)
}

/// Opens connections that only read.
pub(crate) async fn connect_readers(
    options: &SqliteConnectOptions,
    connections: u32,
) -> Result<SqlitePool, sqlx::Error> {
    SqlitePoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .test_before_acquire(false)
        .connect_with(options.clone().pragma("query_only", "1"))
        .await
}

/// The one connection that writes to a database.
///
/// A connection whose transaction was not committed is thrown away, because its state is unknown. The next transaction
/// begins on a new connection.
#[derive(Debug)]
pub(crate) struct Writer {
    options: SqliteConnectOptions,
    idle: Mutex<Option<SqliteConnection>>,
}

/// A transaction on the writing connection. Dropping it rolls it back.
pub(crate) struct WriteTransaction<'a> {
    /// Gets the connection back at the commit. Holding its lock makes the next transaction wait.
    idle: MutexGuard<'a, Option<SqliteConnection>>,
    connection: SqliteConnection,
}

impl Writer {
    pub(crate) fn new(options: SqliteConnectOptions) -> Self {
        Self { options, idle: Mutex::new(None) }
    }

    /// Begins a transaction, after the previous one has ended.
    pub(crate) async fn begin(&self) -> Result<WriteTransaction<'_>, sqlx::Error> {
        let mut idle = self.idle.lock().await;
        let mut connection = match idle.take() {
            Some(connection) => connection,
            None => SqliteConnection::connect_with(&self.options).await?,
        };
        sqlx::query("BEGIN IMMEDIATE").execute(&mut connection).await?;
        Ok(WriteTransaction { idle, connection })
    }

    /// Closes the connection, after the running transaction has ended.
    pub(crate) async fn close(&self) -> Result<(), sqlx::Error> {
        match self.idle.lock().await.take() {
            Some(connection) => connection.close().await,
            None => Ok(()),
        }
    }
}

impl WriteTransaction<'_> {
    pub(crate) fn connection(&mut self) -> &mut SqliteConnection {
        &mut self.connection
    }

    pub(crate) async fn commit(mut self) -> Result<(), sqlx::Error> {
        sqlx::query("COMMIT").execute(&mut self.connection).await?;
        *self.idle = Some(self.connection);
        Ok(())
    }
}

/// Writes rows with `head VALUES (…), (…) tail`, in statements of [`ROWS_PER_STATEMENT`] rows. Without rows it runs no
/// statement.
///
/// Returns the rows of a RETURNING clause in `tail`, in no order.
pub(crate) async fn insert_rows<R>(
    connection: &mut SqliteConnection,
    head: &'static str,
    tail: &'static str,
    mut rows: &[R],
    bind: impl Fn(&mut Separated<'_, Sqlite, &'static str>, &R),
) -> Result<Vec<SqliteRow>, sqlx::Error> {
    let mut returned = Vec::new();
    for size in ROWS_PER_STATEMENT {
        while let Some((chunk, rest)) = rows.split_at_checked(size) {
            let mut statement = QueryBuilder::<Sqlite>::new(head);
            statement.push_values(chunk, |mut row, values| bind(&mut row, values));
            returned.extend(statement.push(tail).build().fetch_all(&mut *connection).await?);
            rows = rest;
        }
    }
    Ok(returned)
}

/// Selects the rows of `keys`, in no order, with `head (VALUES (…), (…))`; `head` ends with columns and `IN`.
pub(crate) async fn select_in<K>(
    connection: &mut SqliteConnection,
    head: &'static str,
    mut keys: &[K],
    bind: impl Fn(&mut Separated<'_, Sqlite, &'static str>, &K),
) -> Result<Vec<SqliteRow>, sqlx::Error> {
    let mut rows = Vec::new();
    for size in ROWS_PER_STATEMENT {
        while let Some((chunk, rest)) = keys.split_at_checked(size) {
            let mut statement = QueryBuilder::<Sqlite>::new(head);
            statement.push(" (").push_values(chunk, |mut row, key| bind(&mut row, key));
            rows.extend(statement.push(")").build().fetch_all(&mut *connection).await?);
            keys = rest;
        }
    }
    Ok(rows)
}

/// Selects the rows of chats; `head` ends with `(token, number) IN`.
pub(crate) async fn select_chats(
    connection: &mut SqliteConnection,
    head: &'static str,
    chats: &[ChatKey],
) -> Result<Vec<SqliteRow>, sqlx::Error> {
    select_in(connection, head, chats, |row, chat| {
        row.push_bind(chat.token.as_bytes().as_slice()).push_bind(i64::from(chat.number.get()));
    })
    .await
}

/// Decodes a chat from the columns with the indices `token` and `number`.
pub(crate) fn decode_chat(row: &SqliteRow, token: usize, number: usize) -> Result<ChatKey, sqlx::Error> {
    Ok(ChatKey { token: decode_token(row, token)?, number: ChatNumber(decode_number(row, number)?) })
}

pub(crate) fn decode_token(row: &SqliteRow, column: usize) -> Result<ApplicationToken, sqlx::Error> {
    let bytes: &[u8] = row.try_get(column)?;
    bytes.try_into().map(ApplicationToken::from_bytes).map_err(|error| decode_error(column, error))
}

pub(crate) fn decode_number(row: &SqliteRow, column: usize) -> Result<Number, sqlx::Error> {
    let number: i64 = row.try_get(column)?;
    let number = u32::try_from(number).ok().and_then(Number::new);
    number.ok_or_else(|| decode_error(column, "not a number of a chat or a message"))
}

pub(crate) fn decode_event_id(row: &SqliteRow, column: usize) -> Result<EventId, sqlx::Error> {
    Uuid::from_slice(row.try_get(column)?).map(EventId).map_err(|error| decode_error(column, error))
}

/// Makes the error for a column with a value that no release writes.
pub(crate) fn decode_error(column: usize, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> sqlx::Error {
    sqlx::Error::ColumnDecode { index: column.to_string(), source: source.into() }
}
