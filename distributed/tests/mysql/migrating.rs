//! Migrations that meet each other, or were cut off.

use std::time::{Duration, Instant};

use distributed::mysql::{MigrateError, migrate, migrate_within};

use futures_util::future::BoxFuture;

use crate::server::{Database, until};

/// Somebody who migrates and does not come to an end holds others up for as long as they like, and no longer.
async fn who_waits_for_others_gives_up_in_time(database: Database) -> Database {
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
    database
}

async fn a_migration_that_was_cut_off_is_told_with_what_to_do(database: Database) -> Database {
    database.run("UPDATE _sqlx_migrations SET success = FALSE WHERE version = 7").await;
    let refused = migrate(&database.url()).await.unwrap_err();
    assert!(matches!(refused, MigrateError::CutOff { version: 7 }) && refused.is_lasting(), "{refused}");
    assert!(refused.to_string().contains("drop the database"), "{refused}");
    database
}

tests!(who_waits_for_others_gives_up_in_time, a_migration_that_was_cut_off_is_told_with_what_to_do);
