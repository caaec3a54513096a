//! Connections, with a bound on every wait.
//!
//! A statement that was cancelled, by a timeout or because its caller went away, leaves its connection in an unknown
//! state: the answer may still arrive. So the pool reuses a connection only if its user has given it back, and closes
//! it otherwise.

use std::io;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use metrics::Gauge;
use sqlx::mysql::{MySql, MySqlArguments, MySqlConnectOptions, MySqlPool, MySqlPoolOptions, MySqlRow};
use sqlx::pool::PoolConnection;
use sqlx::query::Query;
use sqlx::{Connection, Executor, MySqlConnection};

/// A statement with its values.
pub(super) type Statement = Query<'static, MySql, MySqlArguments>;

const IN_USE: &str = "tally_mysql_connections_in_use";
const MAX: &str = "tally_mysql_connections_max";
/// Counts what met the locks of others.
pub(super) const RETRIES: &str = "tally_mysql_retries_total";
/// Connections for reads. Further reads wait for one.
const READERS: u32 = 16;
/// Connections for the one task of a process that reads the changes of keys. However many reads there are, it gets its own.
const KEY_CHANGES: u32 = 2;
/// Connections for the end of the feed: one for the poll of a process, one for its tail. However many reads there are, they get theirs:
/// nothing that a request asks for is read with them.
const TAILS: u32 = 2;
/// Connections for batches. A partition applies one batch at a time.
const WRITERS: u32 = 12;
/// Connections that begin, swap and delete generations, for one projection at a time.
const KEEPERS: u32 = 4;
/// Connections that compare generations, for one projection at a time.
const COMPARERS: u32 = 1;
/// Longest wait for a connection, a new one included.
const ACQUIRE_WAIT: Duration = Duration::from_secs(2);
/// Longest wait for a connection that reads the changes of keys. It is shorter than the time for one look at them, so whoever waits longer for a
/// connection learns that the server cannot be reached, and not that the look was slow.
const KEY_CHANGES_ACQUIRE_WAIT: Duration = Duration::from_secs(1);
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
    /// How many of them somebody uses.
    in_use: Gauge,
}

/// A connection for several statements. A drop closes it, and so ends its transaction.
#[derive(Debug)]
pub(super) struct Lease {
    connection: PoolConnection<MySql>,
    is_given_back: bool,
    in_use: Gauge,
}

/// Longest comparison of a table of two generations, in one statement. That of the largest takes a few minutes.
pub(super) const COMPARE_WAIT: Duration = Duration::from_secs(60 * 60);
/// The settings of every connection that compares generations: all statements of a transaction read what was there at its
/// beginning.
const COMPARER_SETTINGS: &str = "SET SESSION transaction_isolation = 'REPEATABLE-READ'";

impl Connections {
    /// Connections for reads. Does not connect yet. Must be called in a tokio runtime.
    pub(super) fn readers(options: &MySqlConnectOptions) -> Self {
        Self::new(options, "readers", READERS, ACQUIRE_WAIT, READER_SETTINGS)
    }

    /// Connections that read the changes of keys. Does not connect yet. Must be called in a tokio runtime.
    pub(super) fn key_changes(options: &MySqlConnectOptions) -> Self {
        Self::new(options, "key-changes", KEY_CHANGES, KEY_CHANGES_ACQUIRE_WAIT, READER_SETTINGS)
    }

    /// Connections that follow the end of the feed. Does not connect yet. Must be called in a tokio runtime.
    pub(super) fn tails(options: &MySqlConnectOptions) -> Self {
        Self::new(options, "tails", TAILS, ACQUIRE_WAIT, READER_SETTINGS)
    }

    /// Connections with which the write API reads counts, beside its [`Connections::readers`]. Does not connect yet. Must be called
    /// in a tokio runtime.
    pub(super) fn counts_readers(options: &MySqlConnectOptions) -> Self {
        Self::new(options, "counts-readers", READERS, ACQUIRE_WAIT, READER_SETTINGS)
    }

    /// Connections for batches. Does not connect yet. Must be called in a tokio runtime.
    pub(super) fn writers(options: &MySqlConnectOptions) -> Self {
        Self::new(options, "writers", WRITERS, ACQUIRE_WAIT, WRITER_SETTINGS)
    }

    /// Connections that begin, swap and delete generations. Does not connect yet. Must be called in a tokio runtime.
    pub(super) fn keepers(options: &MySqlConnectOptions) -> Self {
        Self::new(options, "keepers", KEEPERS, ACQUIRE_WAIT, KEEPER_SETTINGS)
    }

    /// Connections that compare generations. Does not connect yet. Must be called in a tokio runtime.
    pub(super) fn comparers(options: &MySqlConnectOptions) -> Self {
        Self::new(options, "comparers", COMPARERS, ACQUIRE_WAIT, COMPARER_SETTINGS)
    }

    fn new(
        options: &MySqlConnectOptions,
        name: &'static str,
        max: u32,
        acquire_wait: Duration,
        settings: &'static str,
    ) -> Self {
        let pool = MySqlPoolOptions::new()
            .max_connections(max)
            .acquire_timeout(acquire_wait)
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
        metrics::describe_gauge!(MAX, "Connections to MySQL that the process may have, by their use.");
        metrics::gauge!(MAX, "pool" => name).set(f64::from(max));
        metrics::describe_gauge!(IN_USE, "Connections to MySQL that somebody uses.");
        metrics::describe_counter!(RETRIES, "Batches that met the locks of others, and were applied again.");
        Self { pool, in_use: metrics::gauge!(IN_USE, "pool" => name) }
    }

    pub(super) async fn lease(&self) -> Result<Lease, sqlx::Error> {
        let connection = self.pool.acquire().await?;
        self.in_use.increment(1.0);
        Ok(Lease { connection, is_given_back: false, in_use: self.in_use.clone() })
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
        self.in_use.decrement(1.0);
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

/// Whether nobody reaches the server: a connection is refused or lost. A statement that takes too long is no such error, and neither is a
/// refusal by the server.
pub(super) fn is_unreachable(error: &sqlx::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(error, sqlx::Error::Io(error) if matches!(
        error.kind(),
        Kind::ConnectionRefused
            | Kind::ConnectionReset
            | Kind::ConnectionAborted
            | Kind::NotConnected
            | Kind::BrokenPipe
            | Kind::UnexpectedEof
            | Kind::HostUnreachable
            | Kind::NetworkUnreachable
            | Kind::NetworkDown
    ))
}

/// The same for the connections of [`Connections::key_changes`]. Nobody else takes them, so who waits in vain for one cannot connect.
pub(super) fn is_unreachable_for_key_changes(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::PoolTimedOut) || is_unreachable(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_slow_or_refuses_is_reached() {
        let io = |kind| sqlx::Error::Io(io::Error::from(kind));
        for kind in [io::ErrorKind::ConnectionRefused, io::ErrorKind::ConnectionReset, io::ErrorKind::UnexpectedEof] {
            assert!(is_unreachable(&io(kind)) && is_unreachable_for_key_changes(&io(kind)), "{kind}");
        }
        for error in [io(io::ErrorKind::TimedOut), sqlx::Error::Protocol("x".to_owned()), sqlx::Error::RowNotFound] {
            assert!(!is_unreachable(&error) && !is_unreachable_for_key_changes(&error), "{error}");
        }
        // Other reads may have all connections of the readers.
        assert!(
            !is_unreachable(&sqlx::Error::PoolTimedOut) && is_unreachable_for_key_changes(&sqlx::Error::PoolTimedOut)
        );
    }
}
