//! Generations that change during reads and writes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use distributed::mysql::MySqlCounts;
use distributed::mysql::comparison::compared_columns;
use distributed::ports::CountsReader;
use events::{Offset, Position, UnixMillis};
use read_model::generations::SWAP_TIMEOUT;
use read_model::{
    Applied, BackendError, CatchUp, Checkpoint, LastMessage, NameChange, NameOrigin, Page, Projection, ProjectionStore,
    Swap, Views, ViewsChanges,
};
use sqlx::{AssertSqlSafe, Connection, MySqlConnection};

use super::fixture::{PARTITION, chat, checkpoint_move, messages, one_more_chat, source_event, token};
use super::server::Database;

/// All messages of a page are of one generation while the pointer moves back and forth.
async fn each_call_reads_one_generation() {
    let database = Database::new().await;
    for generation in ["one", "two"] {
        let bodies = vec![generation.to_owned(); 200];
        let name = NameChange {
            token: token(1),
            name: generation.to_owned(),
            origin: NameOrigin::Created,
            source: source_event(201),
            occurred_at: UnixMillis(0),
        };
        let changes = ViewsChanges { names: vec![name], ..messages(chat(1), &bodies) };
        let store = database.projections();
        if generation == "two" {
            database.run("UPDATE projections SET generation = 2 WHERE name = 'views'").await;
        }
        store.apply_views(checkpoint_move(0, 1), changes).await.unwrap();
    }
    let (readers, stop) = (database.projections(), Arc::new(AtomicBool::new(false)));
    let swapping = tokio::spawn({
        let (mut connection, stop) = (database.connect().await, Arc::clone(&stop));
        async move {
            while !stop.load(Ordering::SeqCst) {
                let swap = "UPDATE projections SET generation = 3 - generation WHERE name = 'views'";
                sqlx::query(swap).execute(&mut connection).await.unwrap();
            }
        }
    });
    let mut pages = [0_u32; 2];
    for _ in 0..300 {
        let page = readers.messages(chat(1), Page::FIRST).await.unwrap().unwrap().value;
        assert_eq!(page.items.len(), 200);
        assert!(page.items.iter().all(|message| message.body == page.items[0].body), "two generations on one page");
        pages[usize::from(page.items[0].body == "two")] += 1;
        assert_eq!(
            readers.chats(token(1), Page::FIRST, LastMessage::Skip).await.unwrap().unwrap().value.items.len(),
            1
        );
        assert_eq!(readers.applications(Page::FIRST).await.unwrap().value.items.len(), 1);
    }
    stop.store(true, Ordering::SeqCst);
    swapping.await.unwrap();
    assert!(pages.iter().all(|count| *count > 0), "the pointer did not move: {pages:?}");
}

/// A writer that was open before the pointer moved writes nothing to its former generation, and goes on with the live one.
async fn writers_and_readers_follow_the_pointer() {
    let database = Database::new().await;
    let (writer, readers) = (database.projections(), database.projections());
    let named = |name: &str, offset| {
        let change = NameChange {
            token: token(1),
            name: name.into(),
            origin: NameOrigin::Renamed,
            source: source_event(offset),
            occurred_at: UnixMillis(0),
        };
        ViewsChanges { names: vec![change], ..ViewsChanges::default() }
    };
    writer.apply_views(checkpoint_move(0, 1), named("former", 0)).await.unwrap();
    database.run("UPDATE projections SET generation = 2 WHERE name = 'views'").await;
    assert_eq!(readers.applications(Page::FIRST).await.unwrap().value.items, []);
    assert!(!readers.reached(Projection::Views, &Position::up_to(PARTITION, Offset(1)), Duration::ZERO).await.unwrap());
    let late = writer.apply_views(checkpoint_move(1, 2), named("late", 1)).await.unwrap();
    assert_eq!(late, Applied::Superseded);
    assert_eq!(writer.checkpoint(Projection::Views, PARTITION).await.unwrap(), Checkpoint::START);
    assert_eq!(writer.apply_views(checkpoint_move(0, 1), named("live", 0)).await.unwrap(), Applied::Done);
    assert_eq!(readers.application(token(1)).await.unwrap().unwrap().value.name, "live");
    database.run("UPDATE projections SET generation = 1 WHERE name = 'views'").await;
    assert_eq!(readers.application(token(1)).await.unwrap().unwrap().value.name, "former");
}

/// A writer follows the pointer also if its first call after the move is a read of a checkpoint, as in a partition without new
/// events. Each projection has a pointer of its own.
async fn a_read_of_a_checkpoint_follows_the_pointer() {
    let database = Database::new().await;
    let (store, counts) = (database.projections(), MySqlCounts::new(&database.url()).unwrap());
    store.apply_counts(checkpoint_move(0, 1), one_more_chat(&[token(1)])).await.unwrap();
    store.apply_views(checkpoint_move(0, 1), ViewsChanges::default()).await.unwrap();
    database.run("UPDATE projections SET generation = 2 WHERE name = 'counts'").await;
    assert_eq!(counts.last_chat(token(1)).await.unwrap().value, None);
    assert!(counts.checkpoints().await.unwrap().is_empty());
    assert_eq!(store.checkpoint(Projection::Counts, PARTITION).await.unwrap(), Checkpoint::START);
    assert_eq!(store.apply_counts(checkpoint_move(0, 1), one_more_chat(&[token(1)])).await.unwrap(), Applied::Done);
    assert_eq!(counts.last_chat(token(1)).await.unwrap().value, Some(1));
    assert_eq!(store.checkpoint(Projection::Views, PARTITION).await.unwrap().next, Offset(1));
}

/// While a batch has the pointer's lock, a swap gives up after a second, and does not stand in the way of others.
async fn a_swap_gives_up_on_a_batch_that_does_not_end() {
    let database = Database::new().await;
    let (store, generations) = (database.projections(), database.generations());
    let build = generations.begin(Projection::Views).await.unwrap();
    let mut frozen = database.connect().await;
    for statement in ["START TRANSACTION", "SELECT * FROM projections WHERE name = 'views' FOR SHARE"] {
        sqlx::raw_sql(statement).execute(&mut frozen).await.unwrap();
    }
    let began = Instant::now();
    let rest = NothingLeft::default();
    assert_eq!(generations.swap(&build, &rest).await.unwrap(), Swap::Behind);
    assert!(began.elapsed() < 3 * SWAP_TIMEOUT, "{:?}", began.elapsed());
    assert!(!rest.was_asked.load(Ordering::SeqCst), "it caught up without the locks");
    assert_eq!(store.apply_views(checkpoint_move(0, 1), ViewsChanges::default()).await.unwrap(), Applied::Done);
    sqlx::raw_sql("ROLLBACK").execute(&mut frozen).await.unwrap();
}

/// Records whether a swap asked for the rest.
#[derive(Default)]
struct NothingLeft {
    was_asked: AtomicBool,
}

#[async_trait]
impl CatchUp for NothingLeft {
    async fn catch_up(&self, _position: &Position) -> Result<(), BackendError> {
        self.was_asked.store(true, Ordering::SeqCst);
        Ok(())
    }

    async fn catch_up_to_end(&self) -> Result<(), BackendError> {
        Ok(())
    }
}

/// No column is forgotten when a table gets another one. The tables that all projections share are no rows of readers, and neither are
/// notes of the log's end, which no replay makes again.
async fn a_comparison_compares_every_column() {
    let database = Database::new().await;
    let columns: Vec<String> = sqlx::query_scalar(
        "SELECT CAST(concat(table_name, '.', column_name) AS CHAR) FROM information_schema.columns \
         WHERE table_schema = database() AND table_name IN (SELECT table_name FROM information_schema.columns \
         WHERE table_schema = database() AND column_name = 'generation') \
         AND table_name NOT IN ('projections', 'generations', 'checkpoints', 'stops', 'log_ends')",
    )
    .fetch_all(&mut database.connect().await)
    .await
    .unwrap();
    let (mut columns, mut compared) = (columns, compared_columns());
    columns.sort_unstable();
    compared.sort_unstable();
    assert_eq!(columns, compared);
}

/// Every table that has generations is emptied of a former one, and the live one keeps its rows.
async fn nothing_is_left_of_a_former_generation() {
    let database = Database::new().await;
    let (generations, mut connection) = (database.generations(), database.connect().await);
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT CAST(table_name AS CHAR) FROM information_schema.columns \
         WHERE table_schema = database() AND column_name = 'generation' ORDER BY 1",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    assert!(tables.len() > 10, "{tables:?}");
    for projection in [Projection::Views, Projection::Counts] {
        let build = generations.begin(projection).await.unwrap();
        assert_eq!(generations.swap(&build, &NothingLeft::default()).await.unwrap(), Swap::Done);
    }
    let rows_of = async |connection: &mut MySqlConnection, table: &str, generation: u32| -> i64 {
        let count = AssertSqlSafe(format!("SELECT count(*) FROM {table} WHERE generation = ?"));
        sqlx::query_scalar(count).bind(generation).fetch_one(connection).await.unwrap()
    };
    for table in tables.iter().filter(|table| !["projections", "generations"].contains(&table.as_str())) {
        for generation in [1, 2] {
            insert_rows(&mut connection, table, generation).await;
        }
        assert!(rows_of(&mut connection, table, 1).await > 500, "{table}");
    }
    for projection in [Projection::Views, Projection::Counts] {
        generations.delete_former(projection, Duration::from_secs(3_600)).await.unwrap();
    }
    for table in &tables {
        assert!(
            table == "projections" || rows_of(&mut connection, table, 1).await > 0,
            "{table} was kept for too short"
        );
    }
    for projection in [Projection::Views, Projection::Counts] {
        generations.delete_former(projection, Duration::ZERO).await.unwrap();
    }
    for table in &tables {
        assert_eq!(rows_of(&mut connection, table, 1).await, 0, "{table}");
        assert!(rows_of(&mut connection, table, 2).await > 0, "{table}");
    }
    connection.close().await.unwrap();
}

/// Fills a table with more rows of a generation than one step deletes. Every column but the generation and the projection gets a
/// value of its own.
async fn insert_rows(connection: &mut MySqlConnection, table: &str, generation: u32) {
    let columns: Vec<(String, String)> = sqlx::query_as(
        "SELECT CAST(column_name AS CHAR), CAST(data_type AS CHAR) FROM information_schema.columns \
         WHERE table_schema = database() AND table_name = ? ORDER BY ordinal_position",
    )
    .bind(table)
    .fetch_all(&mut *connection)
    .await
    .unwrap();
    let values = columns.iter().map(|(name, kind)| match (name.as_str(), kind.as_str()) {
        ("generation", _) => generation.to_string(),
        ("projection", _) => "IF(n % 2, 'views', 'counts')".to_owned(),
        (_, "binary") => "CAST(lpad(n, 16, '0') AS BINARY)".to_owned(),
        (_, "datetime") => "UTC_TIMESTAMP(6)".to_owned(),
        (_, "tinyint") => "1".to_owned(),
        _ => "n".to_owned(),
    });
    let values: Vec<_> = values.collect();
    let statement = AssertSqlSafe(format!(
        "INSERT INTO {table} \
         WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 999) \
         SELECT {} FROM numbers",
        values.join(", ")
    ));
    sqlx::raw_sql(statement).execute(connection).await.unwrap();
}

tests!(
    a_comparison_compares_every_column,
    each_call_reads_one_generation,
    writers_and_readers_follow_the_pointer,
    a_read_of_a_checkpoint_follows_the_pointer,
    a_swap_gives_up_on_a_batch_that_does_not_end,
    nothing_is_left_of_a_former_generation,
);
