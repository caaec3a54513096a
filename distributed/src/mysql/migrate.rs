//! Bringing the tables up to date.

use std::time::Duration;

use sqlx::migrate::{MigrateError as SqlxMigrateError, Migrator};
use sqlx::mysql::{MySqlConnectOptions, MySqlPool, MySqlPoolOptions};

use super::ClientError;

/// The lock that one at a time migrates under is sqlx's own.
static MIGRATIONS: Migrator = sqlx::migrate!("../migrations/mysql");

/// Longest wait for a connection.
const CONNECT_WAIT: Duration = Duration::from_secs(3);
/// Longest wait for others that migrate, and for the migrations themselves.
const MIGRATE_WAIT: Duration = Duration::from_secs(60);
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
    /// It did not become ready in time.
    #[error("the tables were not brought up to date within {} s", MIGRATE_WAIT.as_secs())]
    Slow,
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
        matches!(self, Self::Url(_) | Self::Version { .. } | Self::OtherTally(_))
    }
}

/// Brings the tables up to date, one process at a time.
pub(super) async fn migrate(options: &MySqlConnectOptions) -> Result<(), MigrateError> {
    let pool = MySqlPoolOptions::new().max_connections(1).acquire_timeout(CONNECT_WAIT);
    let pool = pool.connect_lazy_with(options.clone());
    let migrated = tokio::time::timeout(MIGRATE_WAIT, run(&pool)).await;
    pool.close().await;
    migrated.map_err(|_| MigrateError::Slow)?
}

async fn run(pool: &MySqlPool) -> Result<(), MigrateError> {
    let found: String = sqlx::query_scalar("SELECT CAST(version() AS CHAR)")
        .fetch_one(pool)
        .await
        .map_err(MigrateError::Unavailable)?;
    if !is_new_enough(&found) {
        return Err(MigrateError::Version { found });
    }
    MIGRATIONS.run(pool).await.map_err(|error| match error {
        SqlxMigrateError::Execute(error) => MigrateError::Unavailable(error),
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
