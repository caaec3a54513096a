//! Brings the schema of a database up to date.

use std::cmp::Ordering;

use read_model::Projection;
use rusqlite::{Connection, OptionalExtension, Result, Transaction};
use rusqlite_migration::{Error, HookError, M, Migrations};

use crate::log::requests;
use crate::open_error::{Advice, Advised};

/// The migrations of `log.sqlite`, oldest first.
pub(crate) fn log_migrations() -> Vec<M<'static>> {
    vec![
        M::up(include_str!("../../migrations/sqlite-log/0001_events.sql")),
        M::up(include_str!("../../migrations/sqlite-log/0002_epochs.sql")),
        M::up(include_str!("../../migrations/sqlite-log/0003_traces.sql")),
        M::up(include_str!("../../migrations/sqlite-log/0004_checksums.sql")),
        M::up_with_hook(include_str!("../../migrations/sqlite-log/0005_key_clock.sql"), |transaction: &Transaction| {
            requests::fill(transaction).map_err(HookError::RusqliteError)
        }),
        M::up(include_str!("../../migrations/sqlite-log/0006_import_marks.sql")),
        M::up(include_str!("../../migrations/sqlite-log/0007_markers.sql")),
        M::up(include_str!("../../migrations/sqlite-log/0008_actors.sql")),
    ]
}

/// The migrations of a projection's database, oldest first.
pub(crate) fn projection_migrations(projection: Projection) -> Vec<M<'static>> {
    match projection {
        Projection::Views => vec![
            M::up(include_str!("../../migrations/sqlite-views/0001_views.sql")),
            M::up(include_str!("../../migrations/sqlite-views/0002_access.sql")),
            M::up(include_str!("../../migrations/sqlite-views/0003_feed.sql")),
        ],
        Projection::Counts => vec![M::up(include_str!("../../migrations/sqlite-counts/0001_counts.sql"))],
        Projection::Search => vec![M::up(include_str!("../../migrations/sqlite-search/0001_search.sql"))],
    }
}

/// Why a schema cannot be brought up to date.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MigrateError {
    /// The file has a migration that this program does not know.
    #[error("its schema has version {found}, and this program knows versions up to {known}")]
    Newer { found: usize, known: usize },
    /// The file lacks a migration, and may not be changed.
    #[error("its schema has version {found}, and this program uses version {known}")]
    Older { found: usize, known: usize },
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// A migration failed, and changed nothing.
    #[error("a migration of its schema failed")]
    Failed(#[source] Error),
}

impl MigrateError {
    /// SQLite's error, if there is one.
    pub(crate) const fn sqlite(&self) -> Option<&rusqlite::Error> {
        match self {
            Self::Sqlite(error) | Self::Failed(Error::RusqliteError { err: error, .. }) => Some(error),
            Self::Newer { .. } | Self::Older { .. } | Self::Failed(_) => None,
        }
    }
}

impl Advised for MigrateError {
    fn advice(&self) -> Advice {
        self.sqlite().map_or(Advice::None, Advised::advice)
    }
}

/// Runs the migrations that the database does not have yet.
pub(crate) fn migrate(connection: &mut Connection, migrations: Vec<M<'static>>) -> Result<(), MigrateError> {
    let known = migrations.len();
    let found = count_applied(connection)?;
    if found.total() > known {
        return Err(MigrateError::Newer { found: found.total(), known });
    }
    if let Applied::InTable(count) = found {
        connection.pragma_update(None, "user_version", count)?;
    }
    Migrations::new(migrations).to_latest(connection).map_err(MigrateError::Failed)
}

/// Checks that a database has exactly these migrations.
pub(crate) fn require_current(connection: &Connection, migrations: &[M<'static>]) -> Result<(), MigrateError> {
    let (found, known) = (count_applied(connection)?.total(), migrations.len());
    match found.cmp(&known) {
        Ordering::Less => Err(MigrateError::Older { found, known }),
        Ordering::Equal => Ok(()),
        Ordering::Greater => Err(MigrateError::Newer { found, known }),
    }
}

/// The number of migrations that a database has.
enum Applied {
    /// SQLite keeps the count in `user_version`.
    InUserVersion(u32),
    /// The first releases kept a table of migrations, which stays in the database.
    InTable(u32),
}

impl Applied {
    fn total(&self) -> usize {
        match self {
            Self::InUserVersion(count) | Self::InTable(count) => *count as usize,
        }
    }
}

fn count_applied(connection: &Connection) -> Result<Applied> {
    let count: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let table = "SELECT 1 FROM sqlite_schema WHERE name = '_sqlx_migrations'";
    if count > 0 || connection.query_row(table, (), |_| Ok(())).optional()?.is_none() {
        return Ok(Applied::InUserVersion(count));
    }
    let newest = "SELECT coalesce(max(version), 0) FROM _sqlx_migrations";
    connection.query_row(newest, (), |row| row.get(0)).map(Applied::InTable)
}
