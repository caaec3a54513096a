//! The SQL that writes keys and voided users: a part of the projection `views`.

use std::collections::{HashMap, HashSet};

use events::{ApplicationToken, KeyNumber, PartitionId};
use read_model::{KeyEvent, KeyRow, RevokedKey, VoidedUser};
use rusqlite::{Connection, OptionalExtension, Result, params};

use crate::sqlite::{decode_number, prepare};

pub(super) fn load_last_keys(
    connection: &Connection,
    tokens: &[ApplicationToken],
) -> Result<HashMap<ApplicationToken, KeyNumber>> {
    let mut statement =
        prepare(connection, "SELECT number FROM access_keys WHERE token = ? ORDER BY number DESC LIMIT 1")?;
    let mut last = HashMap::with_capacity(tokens.len());
    for token in tokens {
        let number = statement.query_row([token.as_bytes()], |row| decode_number(row, 0)).optional()?;
        last.extend(number.map(|number| (*token, KeyNumber(number))));
    }
    Ok(last)
}

pub(super) fn load_issued_keys(connection: &Connection, events: &[KeyEvent]) -> Result<HashSet<KeyEvent>> {
    let mut statement = prepare(connection, "SELECT 1 FROM access_keys WHERE token = ? AND event_id = ?")?;
    let mut stored = HashSet::new();
    for (token, event) in events {
        if statement.exists((token.as_bytes(), event.0.as_bytes()))? {
            stored.insert((*token, *event));
        }
    }
    Ok(stored)
}

pub(super) fn insert_keys(connection: &Connection, partition: PartitionId, keys: &[KeyRow<'_>]) -> Result<()> {
    let mut statement = prepare(
        connection,
        "INSERT INTO access_keys (token, number, event_id, partition, log_offset, created_at_ms, expires_at_ms, hash, scopes, \
         request_values, listed_number, name) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )?;
    for KeyRow { number, key } in keys {
        let content = key.content.as_ref();
        statement.execute(params![
            key.token.as_bytes(),
            number.get(),
            key.source.event_id.0.as_bytes(),
            partition.0,
            key.source.offset.0.cast_signed(),
            key.created_at.0.cast_signed(),
            content.and_then(|content| content.expires_at).map(|at| at.0.cast_signed()),
            content.map(|content| content.hash.0),
            content.map(|content| content.scopes.to_string()),
            key.request_values,
            content.map(|_| number.get()),
            content.map(|content| content.name.as_str()),
        ])?;
    }
    Ok(())
}

pub(super) fn revoke_keys(connection: &Connection, revoked: &[RevokedKey]) -> Result<()> {
    let mut statement = prepare(
        connection,
        "UPDATE access_keys SET revoked_offset = ?, listed_number = NULL \
         WHERE token = ? AND number = ? AND revoked_offset IS NULL",
    )?;
    for RevokedKey { token, number, source } in revoked {
        statement.execute((source.offset.0.cast_signed(), token.as_bytes(), number.get()))?;
    }
    Ok(())
}

pub(super) fn void_users(connection: &Connection, partition: PartitionId, voided: &[&VoidedUser]) -> Result<()> {
    let mut statement = prepare(
        connection,
        "INSERT INTO voided_users (token, user_id, partition, log_offset) VALUES (?, ?, ?, ?) \
         ON CONFLICT (token, user_id) DO UPDATE SET partition = excluded.partition, log_offset = excluded.log_offset",
    )?;
    for VoidedUser { token, user, source } in voided {
        statement.execute((token.as_bytes(), user.as_str(), partition.0, source.offset.0.cast_signed()))?;
    }
    Ok(())
}
