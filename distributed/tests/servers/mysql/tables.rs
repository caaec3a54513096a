//! Missing tables.

use std::sync::Arc;

use read_model::{Projection, ProjectionStore, ViewsChanges};
use sqlx::{AssertSqlSafe, Connection};

use super::fixture::{PARTITION, checkpoint_move};
use super::server::Database;

/// Every table that readers need.
const READ: [&str; 12] = [
    "projections",
    "checkpoints",
    "stops",
    "applications",
    "chats",
    "messages",
    "feed",
    "access_keys",
    "voided_users",
    "log_ends",
    "application_counts",
    "chat_counts",
];

async fn readers_are_ready_only_with_every_table() {
    let database = Database::new().await;
    let (store, mut connection) = (database.projections(), database.connect().await);
    Arc::clone(&store).check().await.unwrap();
    for table in READ {
        let rename = |from, to| AssertSqlSafe(format!("RENAME TABLE {from} TO {to}"));
        sqlx::raw_sql(rename(table, "elsewhere")).execute(&mut connection).await.unwrap();
        assert!(Arc::clone(&store).check().await.is_err(), "{table} is not checked");
        sqlx::raw_sql(rename("elsewhere", table)).execute(&mut connection).await.unwrap();
        Arc::clone(&store).check().await.unwrap();
    }
    database.run("DELETE FROM projections WHERE name = 'counts'").await;
    assert!(Arc::clone(&store).check().await.is_err(), "counts has no live generation");
    connection.close().await.unwrap();
}

async fn the_projection_search_is_not_in_mysql() {
    let database = Database::new().await;
    let store = database.projections();
    store.apply_views(checkpoint_move(0, 1), ViewsChanges::default()).await.unwrap();
    let refused = store.checkpoint(Projection::Search, PARTITION).await.unwrap_err();
    let reason = std::error::Error::source(&refused).unwrap().to_string();
    assert!(reason.contains("search is not kept in MySQL"), "{reason}");
}

tests!(readers_are_ready_only_with_every_table, the_projection_search_is_not_in_mysql);
