//! Deletes the rows of a generation that nobody reads any more, in small steps.

use read_model::Projection;

use super::checkpoint_tx::Generation;
use super::connections::{APPLY_WAIT, Connections, Statement, with_timeout};

/// Rows of one step: few enough for the server to delete them in a moment, whatever their texts.
const ROWS_PER_STEP: u32 = 500;

macro_rules! delete_from {
    ($($table:literal),+) => {
        &[$(concat!("DELETE FROM ", $table, " WHERE generation = ? LIMIT ?")),+]
    };
}

/// Deletes from the tables of `views`.
const VIEWS: &[&str] = delete_from!(
    "feed",
    "messages",
    "chats",
    "renames",
    "applications",
    "access_keys",
    "voided_users",
    "log_ends",
    "dead_letters"
);
/// Deletes from the tables of `counts`.
const COUNTS: &[&str] = delete_from!("answered_requests", "chat_counts", "application_counts");
/// Deletes from the tables that all projections share. The last one goes last: without its row nobody would go on.
const SHARED: &[&str] = &[
    "DELETE FROM stops WHERE projection = ? AND generation = ? LIMIT ?",
    "DELETE FROM checkpoints WHERE projection = ? AND generation = ? LIMIT ?",
    "DELETE FROM generations WHERE projection = ? AND generation = ? LIMIT ?",
];

/// Deletes everything of a generation that is not live. Stopped anywhere, another call goes on.
pub(super) async fn delete(
    keepers: &Connections,
    projection: Projection,
    generation: Generation,
) -> Result<(), sqlx::Error> {
    let tables = match projection {
        Projection::Views => VIEWS,
        Projection::Counts => COUNTS,
        Projection::Search => &[],
    };
    for statement in tables {
        repeat(keepers, || sqlx::query(*statement).bind(generation.0)).await?;
    }
    for statement in SHARED {
        repeat(keepers, || sqlx::query(*statement).bind(projection.name()).bind(generation.0)).await?;
    }
    Ok(())
}

/// Repeats a statement until it deletes fewer rows than it may: as often as there are rows, since nobody writes more. A pause as
/// long as each step leaves half of the time to others.
async fn repeat(keepers: &Connections, statement: impl Fn() -> Statement) -> Result<(), sqlx::Error> {
    loop {
        let began = tokio::time::Instant::now();
        let step = with_timeout(APPLY_WAIT, keepers.execute(statement().bind(ROWS_PER_STEP)));
        // Of a DELETE this number does not depend on the options of the connection.
        if step.await? < u64::from(ROWS_PER_STEP) {
            return Ok(());
        }
        tokio::time::sleep(began.elapsed()).await;
    }
}
