//! Connections, with a bound on every wait.
//!
//! A statement that was cancelled, by a timeout or because its caller went away, leaves its connection in an unknown
//! state: the answer may still arrive. So the pool reuses a connection only if its user has given it back, and closes
//! it otherwise.

use std::io;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use sqlx::mysql::{MySql, MySqlArguments, MySqlConnectOptions, MySqlPool, MySqlPoolOptions, MySqlRow};
use sqlx::pool::PoolConnection;
use sqlx::query::Query;
use sqlx::{Connection, Executor, MySqlConnection};

/// A statement with its values.
pub(super) type Statement = Query<'static, MySql, MySqlArguments>;

/// Connections for reads. Further reads wait for one.
const READERS: u32 = 16;
/// Connections for batches. A partition applies one batch at a time.
const WRITERS: u32 = 12;
/// Connections that begin, swap and delete generations, for one projection at a time.
const KEEPERS: u32 = 4;
/// Connections that compare generations, for one projection at a time.
const COMPARERS: u32 = 1;
/// Longest wait for a connection, a new one included.
const ACQUIRE_WAIT: Duration = Duration::from_secs(2);
/// Longest read, including the wait for a connection. The server ends a read earlier, see [`READER_SETTINGS`]; this
/// bound is for a server that does not answer any more.
pub(super) const READ_WAIT: Duration = Duration::from_secs(8);
/// Longest application of a batch, for a server that does not answer any more. The largest batch takes less, including
/// waits for locks.
pub(super) const APPLY_WAIT: Duration = Duration::from_secs(30);
/// The pool closes connections that were idle for this time, or up to twice as long, because it checks at this
/// interval. Even twice as long is shorter than wait_timeout, so that the server rarely closes a connection first.
const IDLE_TIMEOUT: Duration = Duration::from_secs(3);
/// A connection that was idle for this time is pinged before it is used.
const PING_AFTER: Duration = Duration::from_secs(1);
/// Longest wait for the answer to a ping, before a connection is used and when it is given back.
const PING_WAIT: Duration = Duration::from_millis(500);
/// The settings of every connection for batches. wait_timeout, in seconds, is for a process that freezes inside a
/// transaction, between two statements or within one: the server closes its connection and so releases its locks.
/// sql_mode makes a value that does not fit its column an error; with other settings of the server it would be changed
/// silently.
const WRITER_SETTINGS: &str = "SET SESSION transaction_isolation = 'READ-COMMITTED', \
                               SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', \
                               SESSION innodb_lock_wait_timeout = 5, SESSION wait_timeout = 8";
/// The settings of every connection that begins, swaps and deletes generations. A swap waits for batches for a second, because
/// further batches wait meanwhile.
const KEEPER_SETTINGS: &str = "SET SESSION transaction_isolation = 'READ-COMMITTED', \
                               SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', \
                               SESSION innodb_lock_wait_timeout = 1, SESSION wait_timeout = 8";
/// The settings of every connection for reads: the server ends a statement after max_execution_time, in milliseconds.
const READER_SETTINGS: &str = "SET SESSION transaction_isolation = 'READ-COMMITTED', \
                               SESSION max_execution_time = 6000";

/// The connections of one kind to one database.
#[derive(Debug, Clone)]
pub(super) struct Connections {
    pool: MySqlPool,
}

/// A connection for several statements. A drop closes it, and so ends its transaction.
#[derive(Debug)]
pub(super) struct Lease {
    connection: PoolConnection<MySql>,
    is_given_back: bool,
}

/// Longest comparison of a table of two generations, in one statement. That of the largest takes a few minutes.
pub(super) const COMPARE_WAIT: Duration = Duration::from_secs(60 * 60);
/// The settings of every connection that compares generations: all statements of a transaction read what was there at its
/// beginning.
const COMPARER_SETTINGS: &str = "SET SESSION transaction_isolation = 'REPEATABLE-READ'";

impl Connections {
    /// Connections for reads. Does not connect yet. Must be called in a tokio runtime.
    pub(super) fn readers(options: &MySqlConnectOptions) -> Self {
        Self::new(options, READERS, READER_SETTINGS)
    }

    /// Connections for batches. Does not connect yet. Must be called in a tokio runtime.
    pub(super) fn writers(options: &MySqlConnectOptions) -> Self {
        Self::new(options, WRITERS, WRITER_SETTINGS)
    }

    /// Connections that begin, swap and delete generations. Does not connect yet. Must be called in a tokio runtime.
    pub(super) fn keepers(options: &MySqlConnectOptions) -> Self {
        Self::new(options, KEEPERS, KEEPER_SETTINGS)
    }

    /// Connections that compare generations. Does not connect yet. Must be called in a tokio runtime.
    pub(super) fn comparers(options: &MySqlConnectOptions) -> Self {
        Self::new(options, COMPARERS, COMPARER_SETTINGS)
    }

    fn new(options: &MySqlConnectOptions, max: u32, settings: &'static str) -> Self {
        let pool = MySqlPoolOptions::new()
            .max_connections(max)
            .acquire_timeout(ACQUIRE_WAIT)
            .idle_timeout(IDLE_TIMEOUT)
            // Only idle connections are pinged, below. That saves most reads a round trip.
            .test_before_acquire(false)
            .before_acquire(|connection, meta| {
                Box::pin(async move {
                    if meta.idle_for >= PING_AFTER {
                        with_timeout(PING_WAIT, connection.ping()).await?;
                    }
                    Ok(true)
                })
            })
            .after_connect(move |connection, _| Box::pin(async move { connection.execute(settings).await.map(drop) }))
            .connect_lazy_with(options.clone());
        Self { pool }
    }

    pub(super) async fn lease(&self) -> Result<Lease, sqlx::Error> {
        Ok(Lease { connection: self.pool.acquire().await?, is_given_back: false })
    }

    pub(super) async fn fetch_all(&self, statement: Statement) -> Result<Vec<MySqlRow>, sqlx::Error> {
        let mut lease = self.lease().await?;
        let rows = statement.fetch_all(&mut *lease).await?;
        lease.give_back();
        Ok(rows)
    }

    /// Runs a statement, and returns how many rows it has changed.
    pub(super) async fn execute(&self, statement: Statement) -> Result<u64, sqlx::Error> {
        let mut lease = self.lease().await?;
        let done = statement.execute(&mut *lease).await?;
        lease.give_back();
        Ok(done.rows_affected())
    }

    /// The row of a statement that selects at most one.
    pub(super) async fn fetch_optional(&self, statement: Statement) -> Result<Option<MySqlRow>, sqlx::Error> {
        Ok(self.fetch_all(statement).await?.into_iter().next())
    }
}

impl Lease {
    /// Returns the connection to the pool. Call it only after every statement has ended and outside of a transaction.
    pub(super) fn give_back(mut self) {
        // sqlx pings the server first, without a bound on the wait for the answer.
        tokio::spawn(tokio::time::timeout(PING_WAIT, self.connection.return_to_pool()));
        self.is_given_back = true;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.is_given_back {
            self.connection.close_on_drop();
        }
    }
}

impl Deref for Lease {
    type Target = MySqlConnection;

    fn deref(&self) -> &MySqlConnection {
        &self.connection
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut MySqlConnection {
        &mut self.connection
    }
}

/// Runs `work` for `wait` at most.
pub(super) async fn with_timeout<T>(
    wait: Duration,
    work: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    let Ok(outcome) = tokio::time::timeout(wait, work).await else {
        let reason = format!("MySQL did not answer within {} ms", wait.as_millis());
        return Err(sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, reason)));
    };
    outcome
}
