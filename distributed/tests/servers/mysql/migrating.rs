//! Migrations that meet each other, or were cut off.

use std::time::{Duration, Instant};

use distributed::mysql::{MigrateError, migrate, migrate_within};

use futures_util::future::BoxFuture;

use super::server::{Database, until};

/// Somebody who migrates and does not come to an end holds others up for as long as they like, and no longer.
async fn who_waits_for_others_gives_up_in_time() {
    let database = Database::new().await;
    let mut other = database.connect().await;
    // The name that sqlx gives to its lock: from the CRC-32 of the database's name.
    let lock = "SELECT CAST(get_lock(lower(hex(0x3d32ad9e * crc32(database()))), 0) AS SIGNED)";
    let is_held: i64 = sqlx::query_scalar(lock).fetch_one(&mut other).await.unwrap();
    assert_eq!(is_held, 1);
    let began = Instant::now();
    let given_up = migrate_within(&database.url(), Duration::from_millis(500)).await.unwrap_err();
    assert!(matches!(given_up, MigrateError::Slow { .. }) && !given_up.is_lasting(), "{given_up}");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    drop(other);
    // In a task, as the processes do it.
    let (url, boxed) =
        (database.url(), |url: String| -> BoxFuture<'static, _> { Box::pin(async move { migrate(&url).await }) });
    tokio::spawn(boxed(url)).await.unwrap().unwrap();
    until("the end of the one that was given up", async || database.connections("true").await == 0).await;
}

async fn a_migration_that_was_cut_off_is_told_with_what_to_do() {
    let database = Database::new().await;
    database.run("UPDATE _sqlx_migrations SET success = FALSE WHERE version = 7").await;
    let refused = migrate(&database.url()).await.unwrap_err();
    assert!(matches!(refused, MigrateError::CutOff { version: 7 }) && refused.is_lasting(), "{refused}");
    assert!(refused.to_string().contains("drop the database"), "{refused}");
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

tests!(
    who_waits_for_others_gives_up_in_time,
    a_migration_that_was_cut_off_is_told_with_what_to_do,
    any_number_may_migrate_at_once_and_again,
);
