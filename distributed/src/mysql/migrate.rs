//! Bringing the tables up to date.

use std::time::Duration;

use sqlx::migrate::{MigrateError as SqlxMigrateError, Migrator};
use sqlx::mysql::MySqlConnectOptions;
use sqlx::{ConnectOptions, Connection, Executor, MySqlConnection};

use super::ClientError;
use super::connections::within;

/// The lock that one at a time migrates under is sqlx's own.
static MIGRATIONS: Migrator = sqlx::migrate!("../migrations/mysql");

/// Longest wait for a connection.
const CONNECT_WAIT: Duration = Duration::from_secs(3);
/// Longest wait for others that migrate, and for the migrations themselves.
pub const MIGRATE_WAIT: Duration = Duration::from_secs(60);
/// A process that is frozen while it migrates is cut off after wait_timeout seconds, so that another can go on. Tables that
/// somebody uses are waited for by the server no longer than by us.
const SETTINGS: &str = "SET SESSION wait_timeout = 30, SESSION lock_wait_timeout = 30";
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
        matches!(self, Self::Url(_) | Self::Version { .. } | Self::OtherTally(_) | Self::CutOff { .. })
    }
}

/// Brings the tables up to date, one process at a time.
pub(super) async fn migrate(options: &MySqlConnectOptions, wait: Duration) -> Result<(), MigrateError> {
    // A connection and not a pool: a pool would wait for the end of a statement that was given up.
    let mut connection = within(CONNECT_WAIT, options.connect()).await.map_err(MigrateError::Unavailable)?;
    tokio::time::timeout(wait, run(&mut connection)).await.map_err(|_| MigrateError::Slow { within: wait })??;
    // What was done is done, whatever becomes of the connection.
    drop(tokio::time::timeout(CONNECT_WAIT, connection.close()).await);
    Ok(())
}

async fn run(connection: &mut MySqlConnection) -> Result<(), MigrateError> {
    connection.execute(SETTINGS).await.map_err(MigrateError::Unavailable)?;
    let found: String = sqlx::query_scalar("SELECT CAST(version() AS CHAR)")
        .fetch_one(&mut *connection)
        .await
        .map_err(MigrateError::Unavailable)?;
    if !is_new_enough(&found) {
        return Err(MigrateError::Version { found });
    }
    // Not `run`, whose future is not `Send` for whoever boxes it: see sqlx's own remark at `run_direct`.
    MIGRATIONS.run_direct(None, connection, false).await.map_err(|error| match error {
        SqlxMigrateError::Execute(error) => MigrateError::Unavailable(error),
        SqlxMigrateError::Dirty(version) => MigrateError::CutOff { version },
        error @ (SqlxMigrateError::VersionMissing(_)
        | SqlxMigrateError::VersionMismatch(_)
        | SqlxMigrateError::VersionTooNew(..)) => MigrateError::OtherTally(error),
        error => MigrateError::Failed(error),
    })
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
