//! Connections and their bounds.
//!
//! Whatever was given up halfway – by a bound, or because nobody waits for the answer any more – leaves its connection in
//! a state that nobody knows: answers may still come that nobody asked for. So a connection is used again only if
//! whoever had it says that they are done with it, and is closed otherwise.

use std::io;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use sqlx::mysql::{MySql, MySqlArguments, MySqlConnectOptions, MySqlPool, MySqlPoolOptions, MySqlRow};
use sqlx::pool::PoolConnection;
use sqlx::query::Query;
use sqlx::{Connection, Executor, MySqlConnection};

/// A statement with its values.
pub(super) type Statement = Query<'static, MySql, MySqlArguments>;

/// Reads that run at once; more wait for a connection.
const READERS: u32 = 16;
/// Batches that are applied at once, one a partition.
const WRITERS: u32 = 12;
/// Longest wait for a connection, a new one included.
const ACQUIRE_WAIT: Duration = Duration::from_secs(2);
/// Longest read, the wait for a connection included. The server gives up a little sooner, see [`READER_SETTINGS`]; this is
/// for one that says nothing any more.
pub(super) const READ_WAIT: Duration = Duration::from_secs(8);
/// Longest application of a batch, for a server that says nothing any more: more than the largest batch takes, with waits
/// for locks.
pub(super) const APPLY_WAIT: Duration = Duration::from_secs(30);
/// Connections that nobody uses are closed after this time, or after twice as long: the pool looks for them that often. Shorter
/// than wait_timeout even so, so that it is rarely the server who closes them.
const IDLE: Duration = Duration::from_secs(3);
/// A connection that was not used for so long is asked whether it is still there.
const TRUSTED: Duration = Duration::from_secs(1);
/// Longest wait for that answer, and for the one that a connection is asked for when it is given back.
const PING_WAIT: Duration = Duration::from_millis(500);
/// What every writing connection is set to. A process that is frozen in the middle of a transaction is cut off, and lets go
/// of its locks, when nothing was heard of it for wait_timeout seconds, be it between two statements or within one.
/// What does not fit its column is an error, however the server is set up: it would be cut or changed without a word.
const WRITER_SETTINGS: &str = "SET SESSION transaction_isolation = 'READ-COMMITTED', \
                               SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', \
                               SESSION innodb_lock_wait_timeout = 5, SESSION wait_timeout = 8";
/// What every reading connection is set to: no statement takes longer than max_execution_time, in milliseconds.
const READER_SETTINGS: &str = "SET SESSION transaction_isolation = 'READ-COMMITTED', \
                               SESSION max_execution_time = 6000";

/// The connections of one kind to one database.
#[derive(Debug, Clone)]
pub(super) struct Connections {
    pool: MySqlPool,
}

/// A connection for several statements. Dropped, it is closed, and with it the transaction that it was in.
#[derive(Debug)]
pub(super) struct Lease {
    connection: PoolConnection<MySql>,
    is_given_back: bool,
}

impl Connections {
    /// For reads. Connects to nothing yet; must be called in a tokio runtime.
    pub(super) fn readers(options: &MySqlConnectOptions) -> Self {
        Self::new(options, READERS, READER_SETTINGS)
    }

    /// For batches. Connects to nothing yet; must be called in a tokio runtime.
    pub(super) fn writers(options: &MySqlConnectOptions) -> Self {
        Self::new(options, WRITERS, WRITER_SETTINGS)
    }

    fn new(options: &MySqlConnectOptions, max: u32, settings: &'static str) -> Self {
        let pool = MySqlPoolOptions::new()
            .max_connections(max)
            .acquire_timeout(ACQUIRE_WAIT)
            .idle_timeout(IDLE)
            // One that was used a moment ago is there, or whoever gets it is told: a round trip less for most reads.
            .test_before_acquire(false)
            .before_acquire(|connection, meta| {
                Box::pin(async move {
                    if meta.idle_for >= TRUSTED {
                        within(PING_WAIT, connection.ping()).await?;
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

    /// The first row, of a statement that gives one at most.
    pub(super) async fn fetch_optional(&self, statement: Statement) -> Result<Option<MySqlRow>, sqlx::Error> {
        Ok(self.fetch_all(statement).await?.into_iter().next())
    }
}

impl Lease {
    /// Every statement was run to its end, and there is no transaction.
    pub(super) fn give_back(mut self) {
        // sqlx asks the server whether the connection is alive, and would wait for ever for one that keeps silent.
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

/// Gives up on what takes longer than `wait`.
pub(super) async fn within<T>(
    wait: Duration,
    work: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    let Ok(outcome) = tokio::time::timeout(wait, work).await else {
        let reason = format!("MySQL did not answer within {} ms", wait.as_millis());
        return Err(sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, reason)));
    };
    outcome
}
