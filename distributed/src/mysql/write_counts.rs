//! The SQL that loads and writes the projection `counts`.

use std::collections::{HashMap, HashSet};

use event_log::KeyClock;
use events::{ChatKey, Offset, PartitionId, UnixMillis};
use read_model::{AnsweredRequest, ChatCounts, CountsChanges};
use sqlx::mysql::MySqlRow;
use sqlx::{MySqlConnection, Row};

use super::checkpoint_tx::Generation;
use super::columns::{decode_chat, decode_error};
use super::connections::Connections;
use super::multi_row::{insert_rows, select_in};

/// The most forgotten requests that one batch deletes: more than a batch inserts, so that they do not accumulate.
const MAX_DELETED_PER_BATCH: u32 = 2_000;

/// Loads the counts of chats.
pub(super) async fn load(
    connections: &Connections,
    generation: Generation,
    chats: &[ChatKey],
) -> Result<HashMap<ChatKey, ChatCounts>, sqlx::Error> {
    let mut lease = connections.lease().await?;
    let head = "SELECT token, number, created, last_number, gaps, \
                IF(placed_count = messages_count, log_offset, NULL) FROM chat_counts \
                WHERE (generation, token, number) IN";
    let rows = select_in(&mut lease, head, chats, |tuple, chat| {
        tuple.push_bind(generation.0).push_bind(chat.token.as_bytes().as_slice()).push_bind(chat.number.get());
    });
    let rows = rows.await?;
    lease.give_back();
    rows.iter().map(|row| Ok((decode_chat(row, 0, 1)?, decode_chat_counts(row)?))).collect()
}

fn decode_chat_counts(row: &MySqlRow) -> Result<ChatCounts, sqlx::Error> {
    let counts = ChatCounts::from_parts(row.try_get(2)?, row.try_get(3)?, row.try_get(4)?);
    let mut counts = counts.map_err(|error| decode_error(4, error))?;
    counts.last_event = row.try_get::<Option<u64>, _>(5)?.map(Offset);
    Ok(counts)
}

/// Writes a batch in its transaction.
pub(super) async fn write(
    connection: &mut MySqlConnection,
    generation: Generation,
    partition: PartitionId,
    changes: &CountsChanges,
) -> Result<(), sqlx::Error> {
    write_chats(connection, generation, changes).await?;
    write_requests(connection, generation, partition, &changes.requests).await?;
    // Last, because other partitions write the same rows: so the batch holds these locks only for a moment.
    add_to_applications(connection, generation, changes).await
}

async fn write_chats(
    connection: &mut MySqlConnection,
    generation: Generation,
    changes: &CountsChanges,
) -> Result<(), sqlx::Error> {
    let chats: Vec<_> = changes.chats.iter().collect();
    insert_rows(
        connection,
        "INSERT INTO chat_counts (generation, token, number, created, last_number, gaps, messages_count, log_offset, \
         placed_count) ",
        " AS new ON DUPLICATE KEY UPDATE created = new.created, last_number = new.last_number, gaps = new.gaps, \
         messages_count = new.messages_count, log_offset = new.log_offset, placed_count = new.placed_count",
        &chats,
        |row, (chat, counts)| {
            row.push_bind(generation.0)
                .push_bind(chat.token.as_bytes().as_slice())
                .push_bind(chat.number.get())
                .push_bind(counts.created)
                .push_bind(counts.last())
                .push_bind(counts.gaps_text())
                .push_bind(counts.messages_count())
                .push_bind(counts.last_event.map(|offset| offset.0))
                .push_bind(counts.last_event.map(|_| counts.messages_count()));
        },
    )
    .await
}

/// Writes the rows in the order of their tokens, so that deadlocks between two partitions are rare.
async fn add_to_applications(
    connection: &mut MySqlConnection,
    generation: Generation,
    changes: &CountsChanges,
) -> Result<(), sqlx::Error> {
    let applications: Vec<_> = changes.applications.iter().collect();
    insert_rows(
        connection,
        "INSERT INTO application_counts (generation, token, created, chats_count, last_chat) ",
        " AS new ON DUPLICATE KEY UPDATE created = application_counts.created OR new.created, \
         chats_count = application_counts.chats_count + new.chats_count, \
         last_chat = greatest(application_counts.last_chat, new.last_chat)",
        &applications,
        |row, (token, delta)| {
            row.push_bind(generation.0)
                .push_bind(token.as_bytes().as_slice())
                .push_bind(delta.created)
                .push_bind(delta.chats)
                .push_bind(delta.last_chat);
        },
    )
    .await
}

async fn write_requests(
    connection: &mut MySqlConnection,
    generation: Generation,
    partition: PartitionId,
    requests: &[AnsweredRequest],
) -> Result<(), sqlx::Error> {
    let new_requests = select_new(connection, generation, requests).await?;
    if new_requests.is_empty() {
        return Ok(());
    }
    let mut clock = load_clock(connection, generation, partition).await?;
    let timed: Vec<_> = new_requests
        .into_iter()
        .map(|answered| {
            clock = clock.advance(answered.occurred_at);
            (answered, clock)
        })
        .collect();
    insert_rows(
        connection,
        "INSERT INTO answered_requests (generation, request_key, event_id, request_values, stream, number, \
         partition_id, log_offset, occurred_at_ms, elapsed_ms, latest_ms) ",
        // Another partition may have written the same event since: its row stays as it is, and the assignment changes nothing.
        " ON DUPLICATE KEY UPDATE log_offset = answered_requests.log_offset",
        &timed,
        |row, (answered, clock)| {
            row.push_bind(generation.0)
                .push_bind(answered.request.key.to_vec())
                .push_bind(answered.source.event_id.0.as_bytes().to_vec())
                .push_bind(answered.request.values.to_vec())
                .push_bind(answered.stream.to_text())
                .push_bind(answered.number.map(events::Number::get))
                .push_bind(partition.0)
                .push_bind(answered.source.offset.0)
                .push_bind(answered.occurred_at.0)
                .push_bind(clock.elapsed_ms)
                .push_bind(clock.latest.0);
        },
    )
    .await?;
    sqlx::query("DELETE FROM answered_requests WHERE generation = ? AND partition_id = ? AND elapsed_ms < ? LIMIT ?")
        .bind(generation.0)
        .bind(partition.0)
        .bind(clock.forgotten_before_ms())
        .bind(MAX_DELETED_PER_BATCH)
        .execute(connection)
        .await?;
    Ok(())
}

/// Selects the requests whose events have no row yet, each event once. An event that comes again must not move the clock:
/// nothing would be stored of the move, so the clock would depend on where a batch ends.
async fn select_new<'r>(
    connection: &mut MySqlConnection,
    generation: Generation,
    requests: &'r [AnsweredRequest],
) -> Result<Vec<&'r AnsweredRequest>, sqlx::Error> {
    let head = "SELECT request_key, event_id FROM answered_requests WHERE (generation, request_key, event_id) IN";
    let rows = select_in(connection, head, requests, |tuple, answered| {
        tuple
            .push_bind(generation.0)
            .push_bind(answered.request.key.to_vec())
            .push_bind(answered.source.event_id.0.as_bytes().to_vec());
    });
    let mut seen = HashSet::new();
    for row in rows.await? {
        seen.insert((row.try_get::<Vec<u8>, _>(0)?, row.try_get::<Vec<u8>, _>(1)?));
    }
    let mut is_new = |answered: &&AnsweredRequest| {
        seen.insert((answered.request.key.to_vec(), answered.source.event_id.0.as_bytes().to_vec()))
    };
    Ok(requests.iter().filter(|answered| is_new(answered)).collect())
}

/// Loads the state of a partition's clock after its newest request, which is never deleted. Rows of a release without the
/// clock have zeros, as if all of them had come at its start.
async fn load_clock(
    connection: &mut MySqlConnection,
    generation: Generation,
    partition: PartitionId,
) -> Result<KeyClock, sqlx::Error> {
    let newest = sqlx::query(
        "SELECT elapsed_ms, latest_ms FROM answered_requests WHERE generation = ? AND partition_id = ? \
         ORDER BY elapsed_ms DESC, log_offset DESC LIMIT 1",
    )
    .bind(generation.0)
    .bind(partition.0)
    .fetch_optional(connection)
    .await?;
    newest.map_or(Ok(KeyClock::default()), |row| {
        Ok(KeyClock { elapsed_ms: row.try_get(0)?, latest: UnixMillis(row.try_get(1)?) })
    })
}
