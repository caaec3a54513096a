//! Concurrent migrations, and migrations that were cut off.

use std::time::{Duration, Instant};

use distributed::mysql::{MigrateError, migrate, migrate_within};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use service::health::Readiness;
use service::startup::retry_uninterrupted;
use sqlx::{AssertSqlSafe, Connection, MySqlConnection};
use tokio_util::sync::CancellationToken;

use super::server::{Database, until};

/// A migration that can be run again. It changes an existing table, so it waits for every transaction that uses the table.
const REPEATABLE_MIGRATION: i64 = 12;

/// The last migration that is no expansion. A higher one stops programs of earlier releases.
const LAST_CHANGE: i64 = 14;

/// A process waits for another's migration for its own limit and no longer.
async fn waiting_for_another_migration_ends_in_time() {
    let database = Database::new().await;
    let mut other = database.connect().await;
    // sqlx derives the name of its lock from the CRC-32 of the database's name.
    let lock = "SELECT CAST(get_lock(lower(hex(0x3d32ad9e * crc32(database()))), 0) AS SIGNED)";
    let is_held: i64 = sqlx::query_scalar(lock).fetch_one(&mut other).await.unwrap();
    assert_eq!(is_held, 1);
    let began = Instant::now();
    let error = migrate_within(&database.url(), Duration::from_millis(500)).await.unwrap_err();
    assert!(matches!(error, MigrateError::Slow { .. }) && !error.is_lasting(), "{error}");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    drop(other);
    // In a task, as the processes do it.
    let migrating: BoxFuture<'static, _> = Box::pin({
        let url = database.url();
        async move { migrate(&url).await }
    });
    tokio::spawn(migrating).await.unwrap().unwrap();
    until("the end of the attempt that took too long", async || database.connections("true").await == 0).await;
}

async fn a_migration_that_was_cut_off_is_refused_with_what_to_do() {
    let database = Database::new().await;
    database.run("UPDATE _sqlx_migrations SET success = FALSE WHERE version = 7").await;
    let refused = migrate(&database.url()).await.unwrap_err();
    assert!(matches!(refused, MigrateError::CutOff { version: 7 }) && refused.is_lasting(), "{refused}");
    assert!(refused.to_string().contains("drop the database"), "{refused}");
}

/// A database one of whose migrations is still to be run, and a connection whose transaction blocks the migration.
async fn with_a_blocked_migration() -> (Database, MySqlConnection) {
    let database = Database::new().await;
    let mut holder = database.connect().await;
    let undone = sqlx::query("DELETE FROM _sqlx_migrations WHERE version = ?").bind(REPEATABLE_MIGRATION);
    assert_eq!(undone.execute(&mut holder).await.unwrap().rows_affected(), 1);
    sqlx::raw_sql("START TRANSACTION").execute(&mut holder).await.unwrap();
    sqlx::raw_sql("SELECT * FROM applications").execute(&mut holder).await.unwrap();
    (database, holder)
}

/// The id of the connection that waits for a table, if there is one.
async fn waiting_connection(database: &Database, connection: &mut MySqlConnection) -> Option<u64> {
    let statement = sqlx::query_scalar(
        "SELECT processlist_id FROM performance_schema.threads \
         WHERE processlist_db = ? AND processlist_state = 'Waiting for table metadata lock'",
    );
    statement.bind(database.name()).fetch_optional(connection).await.unwrap()
}

async fn a_stop_in_the_middle_of_a_migration_does_not_cut_it_off() {
    let (database, mut holder) = with_a_blocked_migration().await;
    let (store, stop, readiness) = (database.projections(), CancellationToken::new(), Readiness::new());
    let part = readiness.part("tables");
    let migrating = retry_uninterrupted(&part, &stop, MigrateError::is_lasting, || store.migrate().boxed());
    let stopping = async {
        until("the migration", async || waiting_connection(&database, &mut holder).await.is_some()).await;
        stop.cancel();
        // Lets the stop take effect before the transaction ends.
        tokio::task::yield_now().await;
        sqlx::raw_sql("COMMIT").execute(&mut holder).await.unwrap();
    };
    let (migrated, ()) = tokio::join!(migrating, stopping);
    assert!(migrated.unwrap().is_none(), "it continued after the stop");
    let applied = sqlx::query_scalar::<_, bool>("SELECT success FROM _sqlx_migrations WHERE version = ?");
    assert!(applied.bind(REPEATABLE_MIGRATION).fetch_one(&mut holder).await.unwrap(), "it was cut off");
    migrate(&database.url()).await.unwrap();
    holder.close().await.unwrap();
}

/// A statement that the server refuses has changed nothing, so the migration can be tried again.
async fn a_migration_that_the_server_refuses_is_not_cut_off() {
    let (database, mut holder) = with_a_blocked_migration().await;
    let url = database.url();
    let migrating = tokio::spawn(async move { migrate(&url).await });
    let mut waiting = None;
    until("the migration", async || {
        waiting = waiting_connection(&database, &mut holder).await;
        waiting.is_some()
    })
    .await;
    let kill = AssertSqlSafe(format!("KILL QUERY {}", waiting.unwrap()));
    sqlx::raw_sql(kill).execute(&mut holder).await.unwrap();
    let refused = migrating.await.unwrap().unwrap_err();
    assert!(!refused.is_lasting(), "{refused}");
    sqlx::raw_sql("COMMIT").execute(&mut holder).await.unwrap();
    migrate(&database.url()).await.unwrap();
    holder.close().await.unwrap();
}

async fn any_number_may_migrate_at_once_and_again() {
    let database = Database::empty().await;
    let url = database.url();
    let migrating = (0..4).map(|_| migrate(&url));
    for migrated in futures_util::future::join_all(migrating).await {
        migrated.unwrap();
    }
    migrate(&database.url()).await.unwrap();
    database
        .run(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
             SELECT 99, 'newer', success, checksum, 0 FROM _sqlx_migrations WHERE version = 1",
        )
        .await;
    let refused = migrate(&database.url()).await.unwrap_err();
    assert!(matches!(refused, MigrateError::OtherTally(_)) && refused.is_lasting(), "{refused}");
}

/// A newer release that only added tables and columns does not stop this one, also when it restarts. A release without the list of
/// expansions finds exactly the migrations that it knows.
async fn expansions_of_another_release_stop_nobody() {
    let database = Database::new().await;
    database
        .run(
            "INSERT INTO _tally_expansions (version, description, success, checksum, execution_time) \
             SELECT 99, 'newer', success, checksum, 0 FROM _tally_expansions LIMIT 1",
        )
        .await;
    migrate(&database.url()).await.unwrap();
    let mut connection = database.connect().await;
    let known: Vec<i64> = sqlx::query_scalar("SELECT version FROM _sqlx_migrations ORDER BY version")
        .fetch_all(&mut connection)
        .await
        .unwrap();
    assert_eq!(known, (1..=LAST_CHANGE).collect::<Vec<_>>());
    database.run("UPDATE _tally_expansions SET success = FALSE WHERE version = 15").await;
    let refused = migrate(&database.url()).await.unwrap_err();
    assert!(matches!(refused, MigrateError::CutOff { version: 15 }), "{refused}");
    connection.close().await.unwrap();
}

tests!(
    waiting_for_another_migration_ends_in_time,
    a_migration_that_was_cut_off_is_refused_with_what_to_do,
    a_stop_in_the_middle_of_a_migration_does_not_cut_it_off,
    a_migration_that_the_server_refuses_is_not_cut_off,
    any_number_may_migrate_at_once_and_again,
    expansions_of_another_release_stop_nobody,
);
