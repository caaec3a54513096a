//! Bringing the tables up to date.

use std::time::Duration;

use sqlx::migrate::{Migrate, MigrateError as SqlxMigrateError, Migrator};
use sqlx::mysql::MySqlConnectOptions;
use sqlx::{ConnectOptions, Connection, Executor, MySqlConnection};

use super::ClientError;
use super::connections::within;
use super::multi_row::SMALLEST_PACKET_BYTES;

/// The lock that one at a time migrates under is sqlx's own.
static MIGRATIONS: Migrator = sqlx::migrate!("../migrations/mysql");

/// Longest wait for a connection, and for what it says of the server.
const CONNECT_WAIT: Duration = Duration::from_secs(3);
/// Longest wait for others that migrate, of somebody who migrates and does nothing else.
pub const OTHERS_WAIT: Duration = Duration::from_secs(60);
/// The same in an attempt of many: short, because an attempt is waited for when the process is to stop.
pub(super) const ATTEMPT_WAIT: Duration = Duration::from_secs(5);
/// Longest wait for the migrations themselves, for a server that says nothing any more: more than a change of the largest
/// table takes. To give one up leaves it cut off.
const MIGRATIONS_WAIT: Duration = Duration::from_secs(10 * 60);
/// A process that is frozen while it migrates is cut off after wait_timeout seconds, so that another can go on. Tables that
/// somebody uses are waited for by the server for lock_wait_timeout seconds. What does not fit a column that is changed is
/// an error.
const SETTINGS: &str = "SET SESSION wait_timeout = 30, SESSION lock_wait_timeout = 30, \
                        SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'";
/// The oldest version that knows `INSERT … AS new ON DUPLICATE KEY UPDATE`.
const OLDEST: [u32; 3] = [8, 0, 19];

/// Why the tables are not up to date.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// There is no client.
    #[error(transparent)]
    Url(ClientError),
    /// MySQL cannot be asked.
    #[error("MySQL cannot be used")]
    Unavailable(#[source] sqlx::Error),
    /// It did not become ready in time, or somebody else did not with bringing them up to date.
    #[error("the tables were not brought up to date within {} s; another process may be at it", .within.as_secs())]
    Slow {
        /// How long it was waited.
        within: Duration,
    },
    /// An earlier one was cut off in the middle, and MySQL cannot take back what it had done by then.
    #[error(
        "migration {version} was cut off in the middle; stop every projector, drop the database and create it again: it is \
         filled from the log"
    )]
    CutOff {
        /// Which one.
        version: i64,
    },
    /// It is something else, or too old.
    #[error("the server is {found}; Tally needs MySQL 8.0.19 or later")]
    Version {
        /// What it says it is.
        found: String,
    },
    /// It would refuse the largest statements.
    #[error(
        "the server's max_allowed_packet is {found} bytes; Tally needs {SMALLEST_PACKET_BYTES} (16 MiB) or more: start mysqld with \
         --max-allowed-packet=64M, which is its default"
    )]
    SmallPackets {
        /// What it says.
        found: u64,
    },
    /// The tables are of another version of Tally.
    #[error(
        "the tables were made by another version of Tally; start a newer one, or name another database with \
         --mysql-url"
    )]
    OtherTally(#[source] SqlxMigrateError),
    /// A migration failed.
    #[error("a migration failed")]
    Failed(#[source] SqlxMigrateError),
}

impl MigrateError {
    /// Whether it stays until somebody changes something.
    pub const fn is_lasting(&self) -> bool {
        matches!(
            self,
            Self::Url(_) | Self::Version { .. } | Self::SmallPackets { .. } | Self::OtherTally(_) | Self::CutOff { .. }
        )
    }
}

/// Brings the tables up to date, one process at a time; `wait` is the longest wait for the others.
///
/// Given up while it waits, it leaves nothing behind. Given up later, it may leave a migration cut off.
pub(super) async fn migrate(options: &MySqlConnectOptions, wait: Duration) -> Result<(), MigrateError> {
    // A connection and not a pool: a pool would wait for the end of a statement that was given up.
    let mut connection = within(CONNECT_WAIT, options.connect()).await.map_err(MigrateError::Unavailable)?;
    look_at_server(&mut connection).await?;
    in_time(wait, async { connection.lock().await.map_err(told) }).await?;
    in_time(MIGRATIONS_WAIT, run(&mut connection)).await?;
    // What was done is done, whatever becomes of the connection.
    drop(tokio::time::timeout(CONNECT_WAIT, connection.close()).await);
    Ok(())
}

async fn in_time(within: Duration, work: impl Future<Output = Result<(), MigrateError>>) -> Result<(), MigrateError> {
    tokio::time::timeout(within, work).await.map_err(|_| MigrateError::Slow { within })?
}

/// Sets the connection up, unless the server will not do.
async fn look_at_server(connection: &mut MySqlConnection) -> Result<(), MigrateError> {
    let asked = async {
        connection.execute(SETTINGS).await?;
        let statement = sqlx::query_as("SELECT CAST(version() AS CHAR), CAST(@@max_allowed_packet AS UNSIGNED)");
        statement.fetch_one(connection).await
    };
    let (found, packet): (String, u64) = within(CONNECT_WAIT, asked).await.map_err(MigrateError::Unavailable)?;
    if !is_new_enough(&found) {
        return Err(MigrateError::Version { found });
    }
    if packet < SMALLEST_PACKET_BYTES {
        return Err(MigrateError::SmallPackets { found: packet });
    }
    Ok(())
}

async fn run(connection: &mut MySqlConnection) -> Result<(), MigrateError> {
    // Not `run`, whose future is not `Send` for whoever boxes it: see sqlx's own remark at `run_direct`.
    let migrated = MIGRATIONS.run_direct(None, connection, false).await;
    if let Err(SqlxMigrateError::ExecuteMigration(_, version)) = &migrated {
        take_mark_back(connection, *version).await?;
    }
    migrated.map_err(told)
}

/// A migration is marked as begun before its statement is run. One that the server has refused – because somebody used the
/// table for too long, say – has done nothing, since there is one statement to a migration: it is no cut off one.
async fn take_mark_back(connection: &mut MySqlConnection, version: i64) -> Result<(), MigrateError> {
    let statement = sqlx::query("DELETE FROM _sqlx_migrations WHERE version = ? AND NOT success").bind(version);
    statement.execute(connection).await.map(drop).map_err(MigrateError::Unavailable)
}

fn told(error: SqlxMigrateError) -> MigrateError {
    match error {
        SqlxMigrateError::Execute(error) => MigrateError::Unavailable(error),
        SqlxMigrateError::Dirty(version) => MigrateError::CutOff { version },
        error @ (SqlxMigrateError::VersionMissing(_)
        | SqlxMigrateError::VersionMismatch(_)
        | SqlxMigrateError::VersionTooNew(..)) => MigrateError::OtherTally(error),
        error => MigrateError::Failed(error),
    }
}

fn is_new_enough(version: &str) -> bool {
    let numbers = version.split(['-', ' ']).next().unwrap_or_default().split('.');
    let numbers: Vec<u32> = numbers.map_while(|number| number.parse().ok()).collect();
    !version.contains("MariaDB") && numbers.as_slice() >= OLDEST.as_slice()
}

#[cfg(test)]
mod tests {
    use super::is_new_enough;

    #[test]
    fn old_servers_and_other_servers_are_told_apart() {
        for version in ["8.0.19", "8.4.3", "9.7.4-2", "8.0.35-0ubuntu0.22.04.1"] {
            assert!(is_new_enough(version), "{version}");
        }
        for version in ["5.7.44", "8.0.18", "10.11.6-MariaDB-0+deb12u1", ""] {
            assert!(!is_new_enough(version), "{version}");
        }
    }
}
