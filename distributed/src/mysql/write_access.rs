//! The SQL that writes keys and voided users: a part of the projection `views`.

use std::collections::{HashMap, HashSet};

use events::{ApplicationToken, KeyNumber, PartitionId};
use read_model::{KeyEvent, KeyRow, RevokedKey, VoidedUser};
use sqlx::MySqlConnection;

use super::checkpoint_tx::Generation;
use super::columns::{decode_event_id, decode_number, decode_token};
use super::multi_row::{insert_rows, select_in, split_by_text};

/// Keys are rare, so each application has a statement of its own.
pub(super) async fn load_last_keys(
    connection: &mut MySqlConnection,
    generation: Generation,
    tokens: &[ApplicationToken],
) -> Result<HashMap<ApplicationToken, KeyNumber>, sqlx::Error> {
    let mut last = HashMap::with_capacity(tokens.len());
    for token in tokens {
        let row = sqlx::query(
            "SELECT number FROM access_keys WHERE generation = ? AND token = ? ORDER BY number DESC LIMIT 1",
        )
        .bind(generation.0)
        .bind(token.as_bytes().as_slice())
        .fetch_optional(&mut *connection)
        .await?;
        if let Some(row) = row {
            last.insert(*token, KeyNumber(decode_number(&row, 0)?));
        }
    }
    Ok(last)
}

pub(super) async fn load_issued_keys(
    connection: &mut MySqlConnection,
    generation: Generation,
    events: &[KeyEvent],
) -> Result<HashSet<KeyEvent>, sqlx::Error> {
    let head = "SELECT token, event_id FROM access_keys WHERE (generation, token, event_id) IN";
    let rows = select_in(connection, head, events, |tuple, (token, event)| {
        tuple.push_bind(generation.0).push_bind(token.as_bytes().as_slice()).push_bind(event.0.as_bytes().as_slice());
    });
    rows.await?.iter().map(|row| Ok((decode_token(row, 0)?, decode_event_id(row, 1)?))).collect()
}

pub(super) async fn insert_keys(
    connection: &mut MySqlConnection,
    generation: Generation,
    partition: PartitionId,
    keys: &[KeyRow<'_>],
) -> Result<(), sqlx::Error> {
    for run in split_by_text(keys, |row| row.key.content.as_ref().map_or(0, |content| content.name.len())) {
        insert_rows(
            connection,
            "INSERT INTO access_keys (generation, token, number, event_id, partition_id, log_offset, created_at_ms, \
             expires_at_ms, hash, scopes, request_values, listed_number, name) ",
            "",
            run,
            |row, KeyRow { number, key }| {
                let content = key.content.as_ref();
                row.push_bind(generation.0)
                    .push_bind(key.token.as_bytes().as_slice())
                    .push_bind(number.get())
                    .push_bind(key.source.event_id.0.as_bytes().as_slice())
                    .push_bind(partition.0)
                    .push_bind(key.source.offset.0)
                    .push_bind(key.created_at.0)
                    .push_bind(content.and_then(|content| content.expires_at).map(|at| at.0))
                    .push_bind(content.map(|content| content.hash.0.as_slice()))
                    .push_bind(content.map(|content| content.scopes.to_string()))
                    .push_bind(key.request_values.as_ref().map(<[u8; 32]>::as_slice))
                    .push_bind(content.map(|_| number.get()))
                    .push_bind(content.map(|content| content.name.as_str()));
            },
        )
        .await?;
    }
    Ok(())
}

/// Revocations are rare, so each has a statement of its own.
pub(super) async fn revoke_keys(
    connection: &mut MySqlConnection,
    generation: Generation,
    revoked: &[RevokedKey],
) -> Result<(), sqlx::Error> {
    for RevokedKey { token, number, source } in revoked {
        sqlx::query(
            "UPDATE access_keys SET revoked_offset = ?, listed_number = NULL \
             WHERE generation = ? AND token = ? AND number = ? AND revoked_offset IS NULL",
        )
        .bind(source.offset.0)
        .bind(generation.0)
        .bind(token.as_bytes().as_slice())
        .bind(number.get())
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

pub(super) async fn void_users(
    connection: &mut MySqlConnection,
    generation: Generation,
    partition: PartitionId,
    voided: &[&VoidedUser],
) -> Result<(), sqlx::Error> {
    let head = "INSERT INTO voided_users (generation, token, user_id, partition_id, log_offset) ";
    let tail = " AS new ON DUPLICATE KEY UPDATE partition_id = new.partition_id, log_offset = new.log_offset";
    insert_rows(connection, head, tail, voided, |row, VoidedUser { token, user, source }| {
        row.push_bind(generation.0)
            .push_bind(token.as_bytes().as_slice())
            .push_bind(user.as_str())
            .push_bind(partition.0)
            .push_bind(source.offset.0);
    })
    .await
}
