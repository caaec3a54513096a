//! Brings the tables up to date.
//!
//! There are two lists of migrations, each with its own table of what has been run. `migrations/mysql` changes tables: a
//! release refuses a database with a migration of it that it does not know. `migrations/mysql-expansions` only adds tables and
//! columns that may be empty, so that programs of earlier releases go on beside them: they may have any of these migrations.

use std::sync::LazyLock;
use std::time::Duration;

use sqlx::migrate::{Migrate, MigrateError as SqlxMigrateError, Migrator};
use sqlx::mysql::MySqlConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, MySqlConnection};

use super::ClientError;
use super::connections::with_timeout;
use super::multi_row::SMALLEST_PACKET_BYTES;

/// sqlx's lock lets one process at a time migrate.
static MIGRATIONS: Migrator = sqlx::migrate!("../migrations/mysql");
/// Run after [`MIGRATIONS`]. The releases before this list existed do not look at its table, and later ones pass over what they
/// do not know.
static EXPANSIONS: LazyLock<Migrator> = LazyLock::new(|| {
    let mut expansions = sqlx::migrate!("../migrations/mysql-expansions");
    expansions.dangerous_set_table_name("_tally_expansions");
    expansions.set_ignore_missing(true);
    expansions
});

/// Longest wait for a connection, and for the server's version and settings.
const CONNECT_WAIT: Duration = Duration::from_secs(3);
/// Longest wait for other processes that migrate, in a command that only migrates.
pub const OTHERS_WAIT: Duration = Duration::from_secs(60);
/// The same in a running service, which tries again. Short, because a service that stops waits for the current attempt.
pub(super) const ATTEMPT_WAIT: Duration = Duration::from_secs(5);
/// Longest run of the migrations, for a server that does not answer any more. A change of the largest table takes less.
/// Giving up interrupts a migration.
const MIGRATIONS_WAIT: Duration = Duration::from_secs(10 * 60);
/// The settings of the connection, in seconds. wait_timeout: the server disconnects a frozen process, so that another
/// can migrate. lock_wait_timeout: the server waits for a table that is in use. sql_mode: a value that does not fit a
/// changed column is an error.
const SETTINGS: &str = "SET SESSION wait_timeout = 30, SESSION lock_wait_timeout = 30, \
                        SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'";
/// The oldest version that supports `INSERT … AS new ON DUPLICATE KEY UPDATE`.
const OLDEST: [u32; 3] = [8, 0, 19];

/// Why the tables are not up to date.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The URL cannot be used.
    #[error(transparent)]
    Url(ClientError),
    /// MySQL does not answer, or refuses a statement.
    #[error("MySQL cannot be used")]
    Unavailable(#[source] sqlx::Error),
    /// The migrations, or those of another process, took too long.
    #[error("the tables were not brought up to date within {} s; another process may be migrating them", .within.as_secs())]
    Slow {
        /// The bound on the wait.
        within: Duration,
    },
    /// An earlier migration was interrupted, and MySQL cannot roll back a change of a table.
    #[error(
        "migration {version} was interrupted; stop every projector, drop the database and create it again: the projectors fill \
         it from the log"
    )]
    CutOff {
        /// The migration.
        version: i64,
    },
    /// The server is not MySQL, or too old.
    #[error("the server is {found}; Tally needs MySQL 8.0.19 or later")]
    Version {
        /// The version that the server reports.
        found: String,
    },
    /// The server would refuse the largest statements.
    #[error(
        "the server's max_allowed_packet is {found} bytes; Tally needs {SMALLEST_PACKET_BYTES} (16 MiB) or more: start mysqld with \
         --max-allowed-packet=64M, which is its default"
    )]
    SmallPackets {
        /// The server's setting.
        found: u64,
    },
    /// Another version of Tally made the tables.
    #[error(
        "the tables were made by another version of Tally; start a newer version, or name another database with \
         --mysql-url"
    )]
    OtherTally(#[source] SqlxMigrateError),
    /// A migration failed.
    #[error("a migration failed")]
    Failed(#[source] SqlxMigrateError),
}

impl MigrateError {
    /// Whether a retry cannot help until an operator changes something.
    pub const fn is_lasting(&self) -> bool {
        matches!(
            self,
            Self::Url(_) | Self::Version { .. } | Self::SmallPackets { .. } | Self::OtherTally(_) | Self::CutOff { .. }
        )
    }
}

/// Brings the tables up to date, one process at a time; `wait` bounds the wait for other processes.
///
/// Cancelled during that wait, it changes nothing. Cancelled later, it may interrupt a migration.
pub(super) async fn migrate(options: &MySqlConnectOptions, wait: Duration) -> Result<(), MigrateError> {
    // A connection without a pool, because a pool would wait for the end of a cancelled statement.
    let mut connection = with_timeout(CONNECT_WAIT, options.connect()).await.map_err(MigrateError::Unavailable)?;
    check_server(&mut connection).await?;
    limit(wait, async { connection.lock().await.map_err(classify) }).await?;
    limit(MIGRATIONS_WAIT, run(&mut connection)).await?;
    // The tables are up to date, even if the connection does not close cleanly.
    drop(tokio::time::timeout(CONNECT_WAIT, connection.close()).await);
    Ok(())
}

async fn limit(within: Duration, work: impl Future<Output = Result<(), MigrateError>>) -> Result<(), MigrateError> {
    tokio::time::timeout(within, work).await.map_err(|_| MigrateError::Slow { within })?
}

/// Sets the connection up, and checks the server's version and settings.
async fn check_server(connection: &mut MySqlConnection) -> Result<(), MigrateError> {
    let query = async {
        connection.execute(SETTINGS).await?;
        let statement = sqlx::query_as("SELECT CAST(version() AS CHAR), CAST(@@max_allowed_packet AS UNSIGNED)");
        statement.fetch_one(connection).await
    };
    let (found, packet): (String, u64) = with_timeout(CONNECT_WAIT, query).await.map_err(MigrateError::Unavailable)?;
    if !is_new_enough(&found) {
        return Err(MigrateError::Version { found });
    }
    if packet < SMALLEST_PACKET_BYTES {
        return Err(MigrateError::SmallPackets { found: packet });
    }
    Ok(())
}

async fn run(connection: &mut MySqlConnection) -> Result<(), MigrateError> {
    for migrations in [&MIGRATIONS, &EXPANSIONS] {
        // Not `run`, because its future is not `Send`; see the documentation of sqlx's `run_direct`.
        let migrated = migrations.run_direct(None, connection, false).await;
        if let Err(SqlxMigrateError::ExecuteMigration(_, version)) = &migrated {
            unmark_refused(connection, &migrations.table_name, *version).await?;
        }
        migrated.map_err(classify)?;
    }
    Ok(())
}

/// Removes the mark of a migration that the server refused, for example because its table was in use for too long. sqlx
/// marks a migration as begun before it runs the statement. Each migration has one statement, so a refused one has
/// changed nothing and was not interrupted.
async fn unmark_refused(connection: &mut MySqlConnection, table: &str, version: i64) -> Result<(), MigrateError> {
    // The name of the table is a constant of this module.
    let statement = AssertSqlSafe(format!("DELETE FROM {table} WHERE version = ? AND NOT success"));
    sqlx::query(statement).bind(version).execute(connection).await.map(drop).map_err(MigrateError::Unavailable)
}

fn classify(error: SqlxMigrateError) -> MigrateError {
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
