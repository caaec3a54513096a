//! What both databases have in common: how they are opened, written and read.

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
/// A write-ahead log of this many pages is copied into its database.
const CHECKPOINT_PAGES: &str = "4000";
/// Page cache of one connection in KiB; SQLite wants it negative.
const CACHE_KIB: &str = "-16000";
/// Rows of one statement: few different sizes, so that the prepared statements stay few.
const ROWS_A_STATEMENT: [usize; 3] = [128, 16, 1];

/// What a commit survives.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Durability {
    /// The loss of power: for the truth.
    PowerLoss,
    /// The crash of this process; the loss of power may undo the last commits: for what can be made again.
    Crash,
}

/// How a database is opened for writing.
pub(crate) fn options(path: &Path, durability: Durability) -> SqliteConnectOptions {
    let synchronous = match durability {
        Durability::PowerLoss => SqliteSynchronous::Full,
        Durability::Crash => SqliteSynchronous::Normal,
    };
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(synchronous)
        // fsync of macOS leaves data in the drive's cache; these make it F_FULLFSYNC, and nothing elsewhere.
        .pragma("fullfsync", "1")
        .pragma("checkpoint_fullfsync", "1")
        .pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
        .pragma("cache_size", CACHE_KIB)
        .busy_timeout(BUSY_TIMEOUT)
}

/// Connections that only read.
pub(crate) async fn readers(options: &SqliteConnectOptions, connections: u32) -> Result<SqlitePool, sqlx::Error> {
    SqlitePoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .test_before_acquire(false)
        .connect_with(options.clone().pragma("query_only", "1"))
        .await
}

/// The one connection that writes to a database.
///
/// A connection whose transaction was not committed is thrown away, whatever the reason: what state it is in need not
/// be known, and the next transaction begins on a new one.
#[derive(Debug)]
pub(crate) struct Writer {
    options: SqliteConnectOptions,
    idle: Mutex<Option<SqliteConnection>>,
}

/// A transaction on the writing connection. Dropped, it is rolled back.
pub(crate) struct WriteTransaction<'a> {
    idle: MutexGuard<'a, Option<SqliteConnection>>,
    connection: SqliteConnection,
}

impl Writer {
    pub(crate) fn new(options: SqliteConnectOptions) -> Self {
        Self { options, idle: Mutex::new(None) }
    }

    /// Begins a transaction; it waits for the one before to end.
    pub(crate) async fn begin(&self) -> Result<WriteTransaction<'_>, sqlx::Error> {
        let mut idle = self.idle.lock().await;
        let mut connection = match idle.take() {
            Some(connection) => connection,
            None => SqliteConnection::connect_with(&self.options).await?,
        };
        sqlx::query("BEGIN IMMEDIATE").execute(&mut connection).await?;
        Ok(WriteTransaction { idle, connection })
    }

    /// Closes the connection after the transaction that runs.
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

/// Writes rows by `head VALUES (…), (…) tail`, as many a statement as [`ROWS_A_STATEMENT`] says. No rows, no statement.
///
/// The answer is what a RETURNING clause in `tail` gives, in no order.
pub(crate) async fn insert_rows<R>(
    connection: &mut SqliteConnection,
    head: &'static str,
    tail: &'static str,
    mut rows: &[R],
    bind: impl Fn(&mut Separated<'_, Sqlite, &'static str>, &R),
) -> Result<Vec<SqliteRow>, sqlx::Error> {
    let mut returned = Vec::new();
    for size in ROWS_A_STATEMENT {
        while let Some((chunk, rest)) = rows.split_at_checked(size) {
            let mut statement = QueryBuilder::<Sqlite>::new(head);
            statement.push_values(chunk, |mut row, values| bind(&mut row, values));
            returned.extend(statement.push(tail).build().fetch_all(&mut *connection).await?);
            rows = rest;
        }
    }
    Ok(returned)
}

/// Rows by `head (VALUES (…), (…))`, where head ends with columns and IN: those that one of `keys` names. In no order.
pub(crate) async fn rows_in<K>(
    connection: &mut SqliteConnection,
    head: &'static str,
    mut keys: &[K],
    bind: impl Fn(&mut Separated<'_, Sqlite, &'static str>, &K),
) -> Result<Vec<SqliteRow>, sqlx::Error> {
    let mut rows = Vec::new();
    for size in ROWS_A_STATEMENT {
        while let Some((chunk, rest)) = keys.split_at_checked(size) {
            let mut statement = QueryBuilder::<Sqlite>::new(head);
            statement.push(" (").push_values(chunk, |mut row, key| bind(&mut row, key));
            rows.extend(statement.push(")").build().fetch_all(&mut *connection).await?);
            keys = rest;
        }
    }
    Ok(rows)
}

/// The same where the columns are `token` and `number`.
pub(crate) async fn rows_of_chats(
    connection: &mut SqliteConnection,
    head: &'static str,
    chats: &[ChatKey],
) -> Result<Vec<SqliteRow>, sqlx::Error> {
    rows_in(connection, head, chats, |row, chat| {
        row.push_bind(chat.token.as_bytes().as_slice()).push_bind(i64::from(chat.number.get()));
    })
    .await
}

/// The chat that columns `token` and `number`, at these places of a row, name.
pub(crate) fn chat_of(row: &SqliteRow, token: usize, number: usize) -> Result<ChatKey, sqlx::Error> {
    Ok(ChatKey { token: token_of(row, token)?, number: ChatNumber(number_of(row, number)?) })
}

pub(crate) fn token_of(row: &SqliteRow, column: usize) -> Result<ApplicationToken, sqlx::Error> {
    let bytes: &[u8] = row.try_get(column)?;
    bytes.try_into().map(ApplicationToken::from_bytes).map_err(|error| undecodable(column, error))
}

pub(crate) fn number_of(row: &SqliteRow, column: usize) -> Result<Number, sqlx::Error> {
    let number: i64 = row.try_get(column)?;
    let number = u32::try_from(number).ok().and_then(Number::new);
    number.ok_or_else(|| undecodable(column, "not a number of a chat or a message"))
}

pub(crate) fn event_id_of(row: &SqliteRow, column: usize) -> Result<EventId, sqlx::Error> {
    Uuid::from_slice(row.try_get(column)?).map(EventId).map_err(|error| undecodable(column, error))
}

/// What is in a column is not what this program writes there.
pub(crate) fn undecodable(column: usize, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> sqlx::Error {
    sqlx::Error::ColumnDecode { index: column.to_string(), source: source.into() }
}
