//! Batches that compete for locks.

use std::sync::Arc;

use distributed::mysql::MySqlCounts;
use distributed::ports::CountsReader;
use events::PartitionId;
use read_model::{ApplicationCountsDelta, Applied, CheckpointMove, CountsChanges, ProjectionStore, ViewsChanges};

use super::fixture::{chat, checkpoint_move, messages, one_more_chat, source_event, token};
use super::server::Database;

/// Another transaction locks the rows of two applications in the other order. It has written more than the batch, so MySQL
/// resolves the deadlock by rolling the batch back. The store applies the batch again.
async fn a_batch_that_a_deadlock_rolled_back_is_applied_again() {
    let database = Database::new().await;
    let store = database.projections();
    let tokens = [token(1), token(2)];
    store.apply_counts(checkpoint_move(0, 1), one_more_chat(&tokens)).await.unwrap();
    let mut other = database.connect().await;
    for statement in [
        // At this level the transaction locks only the rows that it changes.
        "SET SESSION transaction_isolation = 'READ-COMMITTED'",
        "START TRANSACTION",
        "INSERT INTO chats (generation, token, number, created_event) \
         WITH RECURSIVE numbers (number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM numbers WHERE number < 1000) \
         SELECT 99, token, number, token FROM numbers JOIN application_counts",
        "UPDATE application_counts SET chats_count = chats_count + 100 \
         WHERE generation = 1 AND token = REPEAT(CHAR(2), 16)",
    ] {
        sqlx::raw_sql(statement).execute(&mut other).await.unwrap();
    }
    let batch = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.apply_counts(checkpoint_move(1, 2), one_more_chat(&tokens)).await }
    });
    database.wait_for_a_lock_wait().await;
    // This succeeds only because MySQL has rolled the batch back.
    let first = "UPDATE application_counts SET chats_count = chats_count + 100 \
                 WHERE generation = 1 AND token = REPEAT(CHAR(1), 16)";
    sqlx::raw_sql(first).execute(&mut other).await.unwrap();
    sqlx::raw_sql("COMMIT").execute(&mut other).await.unwrap();
    assert_eq!(batch.await.unwrap().unwrap(), Applied::Done);
    let counts: Vec<u32> = sqlx::query_scalar("SELECT chats_count FROM application_counts ORDER BY token")
        .fetch_all(&mut other)
        .await
        .unwrap();
    assert_eq!(counts, [102, 102]);
}

/// Many owners begin many partitions concurrently. Each first batch is applied once, by one of them.
async fn of_many_first_owners_one_begins_each_partition() {
    let database = Database::new().await;
    const PARTITIONS: u16 = 12;
    let stores: Vec<_> = (0..4).map(|_| database.projections()).collect();
    let mut owners = Vec::new();
    for partition in 0..PARTITIONS {
        for store in &stores {
            let (store, checkpoint_move) =
                (Arc::clone(store), CheckpointMove { partition: PartitionId(partition), ..checkpoint_move(0, 1) });
            let changes = messages(chat(partition.try_into().unwrap()), &["once".to_owned()]);
            owners.push(tokio::spawn(async move { store.apply_views(checkpoint_move, changes).await.unwrap() }));
        }
    }
    let mut done = 0;
    for owner in owners {
        done += u16::from(owner.await.unwrap() == Applied::Done);
    }
    assert_eq!(done, PARTITIONS);
    for partition in 0..PARTITIONS {
        assert_eq!(stores[0].dead_letters(PartitionId(partition), 10).await.unwrap(), []);
    }
}

/// A connection whose batch failed is not used again, and nothing of the batch is written.
async fn a_batch_that_fails_leaves_nothing() {
    let database = Database::new().await;
    let store = database.projections();
    // Two dead letters at one place violate the primary key, so the last statement of the batch fails.
    let letter = read_model::DeadLetter { source: source_event(0), reason: "twice".to_owned() };
    let broken = ViewsChanges { dead_letters: vec![letter.clone(), letter], ..messages(chat(1), &["x".to_owned()]) };
    assert!(store.apply_views(checkpoint_move(0, 1), broken).await.is_err());
    assert_eq!(
        store.apply_views(checkpoint_move(0, 1), messages(chat(2), &["x".to_owned()])).await.unwrap(),
        Applied::Done
    );
    let mut connection = database.connect().await;
    let chats: Vec<Vec<u8>> = sqlx::query_scalar("SELECT token FROM chats").fetch_all(&mut connection).await.unwrap();
    assert_eq!(chats, [token(2).as_bytes().to_vec()]);
}

/// An application whose counts are all zero, and that was not created, does not exist.
async fn an_application_without_creation_and_chats_is_none() {
    let database = Database::new().await;
    let (store, counts) = (database.projections(), MySqlCounts::new(&database.url()).unwrap());
    let nothing = CountsChanges {
        applications: [(token(1), ApplicationCountsDelta::default())].into(),
        ..CountsChanges::default()
    };
    store.apply_counts(checkpoint_move(0, 1), nothing).await.unwrap();
    assert_eq!(counts.last_chat(token(1)).await.unwrap().value, None);
    let early = ApplicationCountsDelta { created: false, chats: 1, last_chat: 3 };
    let changes = CountsChanges { applications: [(token(1), early)].into(), ..CountsChanges::default() };
    store.apply_counts(checkpoint_move(1, 2), changes).await.unwrap();
    assert_eq!(counts.last_chat(token(1)).await.unwrap().value, Some(3), "its chats came before it");
}

/// Several partitions add to the same applications concurrently, in batches of many rows.
async fn partitions_that_share_applications_do_not_block_each_other() {
    const ROUNDS: u64 = 30;
    let database = Database::new().await;
    let applications = |created| {
        let delta = ApplicationCountsDelta { created, chats: 1, last_chat: 1 };
        (0..200).map(|byte| (token(byte), delta)).collect()
    };
    let partitions = (0..4).map(|partition| {
        let store = database.projections();
        tokio::spawn(async move {
            for round in 0..ROUNDS {
                let changes = CountsChanges { applications: applications(round == 0), ..CountsChanges::default() };
                let checkpoint_move =
                    CheckpointMove { partition: PartitionId(partition), ..checkpoint_move(round, round + 1) };
                assert_eq!(store.apply_counts(checkpoint_move, changes).await.unwrap(), Applied::Done);
            }
        })
    });
    for partition in partitions.collect::<Vec<_>>() {
        partition.await.unwrap();
    }
    let counts = MySqlCounts::new(&database.url()).unwrap();
    assert_eq!(counts.last_chat(token(7)).await.unwrap().value, Some(1));
    let mut connection = database.connect().await;
    let total: u64 = sqlx::query_scalar("SELECT CAST(sum(chats_count) AS UNSIGNED) FROM application_counts")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(total, 200 * 4 * ROUNDS);
}

tests!(
    a_batch_that_a_deadlock_rolled_back_is_applied_again,
    of_many_first_owners_one_begins_each_partition,
    a_batch_that_fails_leaves_nothing,
    an_application_without_creation_and_chats_is_none,
    partitions_that_share_applications_do_not_block_each_other,
);
