//! [`Access`]: the SQL that reads keys and voided users.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use events::{ApplicationToken, EventId, KeyHash, KeyNumber, Offset, PartitionId, Place, Position, UnixMillis, UserId};
use read_model::access::MAX_CHANGES;
use read_model::{Access, AccessChange, AccessChanges, AccessError, AccessKey, Cursor, Page, Projection, Shown, Slice};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Params, Result, Row};

use super::SqliteProjections;
use super::read_chats::find_application_or_chat;
use super::read_views::{decode_checkpoints, read_slice};
use crate::sqlite::{decode_error, decode_number, decode_token, prepare};

/// Selects keys that can be read, with the rest of the statement.
macro_rules! select_keys {
    ($rest:literal) => {
        concat!(
            "SELECT token, number, scopes, created_at_ms, expires_at_ms, revoked_offset, partition, log_offset, \
             request_values, name, hash FROM access_keys WHERE hash IS NOT NULL AND ",
            $rest
        )
    };
}

fn read_key(connection: &Connection, sql: &'static str, params: impl Params) -> Result<Option<AccessKey>> {
    prepare(connection, sql)?.query_row(params, decode_key).optional()
}

fn decode_key(row: &Row) -> Result<AccessKey> {
    let scopes = row.get_ref(2)?.as_str()?.parse().map_err(|error| decode_error(2, Type::Text, error))?;
    Ok(AccessKey {
        token: decode_token(row, 0)?,
        number: KeyNumber(decode_number(row, 1)?),
        name: row.get(9)?,
        hash: KeyHash(row.get(10)?),
        scopes,
        created_at: UnixMillis(row.get::<_, i64>(3)?.cast_unsigned()),
        expires_at: row.get::<_, Option<i64>>(4)?.map(|at| UnixMillis(at.cast_unsigned())),
        revoked: row.get::<_, Option<i64>>(5)?.is_some(),
        place: decode_place(row, 6)?,
        request_values: row.get(8)?,
    })
}

/// Decodes the columns of a partition and an offset; `column` is the index of the first.
fn decode_place(row: &Row, column: usize) -> Result<Place> {
    let offset = Offset(row.get::<_, i64>(column + 1)?.cast_unsigned());
    Ok(Place { partition: PartitionId(row.get(column)?), offset })
}

/// Reads the checkpoints after the rows: they cover whatever the rows show, and the revocations of what they do not show.
fn read_keys(
    connection: &Connection,
    token: ApplicationToken,
    page: Page<KeyNumber>,
) -> Result<Option<Shown<Slice<AccessKey>>>> {
    let (above, below) = match page.cursor {
        Cursor::First | Cursor::Last => (0, i64::MAX),
        Cursor::After(number) => (i64::from(number.get()), i64::MAX),
        Cursor::Before(number) => (0, number.get().into()),
    };
    let sql = if page.cursor.descends() {
        select_keys!("token = ? AND listed_number > ? AND listed_number < ? ORDER BY listed_number DESC LIMIT ?")
    } else {
        select_keys!("token = ? AND listed_number > ? AND listed_number < ? ORDER BY listed_number LIMIT ?")
    };
    let params = (token.as_bytes(), above, below, page.limit + 1);
    let keys = read_slice(connection, sql, params, page.limit, |row, _| {
        let key = decode_key(row)?;
        let text_bytes = key.name.len();
        Ok((key, text_bytes))
    })?;
    if keys.value.items.is_empty() && find_application_or_chat(connection, token)?.is_none() {
        return Ok(None);
    }
    Ok(Some(keys.and(&read_position(connection)?)))
}

/// Reads the checkpoints of `views`.
pub(super) fn read_position(connection: &Connection) -> Result<Position> {
    let sql = "SELECT (SELECT group_concat(partition || ':' || next_offset, '.') FROM main.checkpoints)";
    prepare(connection, sql)?.query_row((), |row| decode_checkpoints(row, 0))
}

fn read_voided(connection: &Connection, token: ApplicationToken, user: &UserId) -> Result<Option<Place>> {
    let sql = "SELECT partition, log_offset FROM voided_users WHERE token = ? AND user_id = ?";
    let key = (token.as_bytes(), user.as_str());
    prepare(connection, sql)?.query_row(key, |row| decode_place(row, 0)).optional()
}

/// Reads the checkpoints before the changes. What a batch adds in between lies beyond them, and the next call finds it again.
fn read_changes(connection: &Connection, since: &Position) -> Result<AccessChanges> {
    let mut next = since.clone();
    next.merge(&read_position(connection)?);
    let mut changes = Vec::new();
    for (partition, _) in next.clone().bounds() {
        let limit = MAX_CHANGES as usize - changes.len();
        let mut found = read_changes_of(connection, partition, since.bound(partition))?;
        if found.len() > limit {
            let rest = found[limit].0;
            found.truncate(limit);
            changes.extend(found.into_iter().map(|(_, change)| change));
            return Ok(AccessChanges {
                changes,
                next: rest_of(since, &next, partition, rest),
                more: true,
                reached: BTreeMap::new(),
            });
        }
        changes.extend(found.into_iter().map(|(_, change)| change));
    }
    Ok(AccessChanges { changes, next, more: false, reached: BTreeMap::new() })
}

/// The position of a page that ends in `partition` before `rest`: of earlier partitions it has everything, of later ones nothing.
fn rest_of(since: &Position, end: &Position, partition: PartitionId, rest: Offset) -> Position {
    let mut next = since.clone();
    for (passed, bound) in end.bounds().filter(|(passed, _)| *passed < partition) {
        next.extend(passed, bound);
    }
    next.extend(partition, rest);
    next
}

/// The first changes of a partition in log order, one more than fit into a page.
fn read_changes_of(
    connection: &Connection,
    partition: PartitionId,
    from: Offset,
) -> Result<Vec<(Offset, AccessChange)>> {
    let range = (partition.0, from.0.cast_signed(), MAX_CHANGES + 1);
    let mut revoked = prepare(
        connection,
        "SELECT token, partition, revoked_offset, number FROM access_keys \
         WHERE partition = ? AND revoked_offset >= ? ORDER BY revoked_offset LIMIT ?",
    )?;
    let revoked = revoked.query_map(range, |row| {
        let (token, place, number) = (decode_token(row, 0)?, decode_place(row, 1)?, KeyNumber(decode_number(row, 3)?));
        Ok((place.offset, AccessChange::KeyRevoked { token, number, place }))
    })?;
    let mut changes = revoked.collect::<Result<Vec<_>>>()?;
    let mut voided = prepare(
        connection,
        "SELECT token, partition, log_offset, user_id FROM voided_users \
         WHERE partition = ? AND log_offset >= ? ORDER BY log_offset LIMIT ?",
    )?;
    let voided = voided.query_map(range, |row| {
        let user = UserId::new(row.get(3)?).map_err(|error| decode_error(3, Type::Text, error))?;
        let (token, place) = (decode_token(row, 0)?, decode_place(row, 1)?);
        Ok((place.offset, AccessChange::UserTokensVoided { token, user, place }))
    })?;
    for change in voided {
        changes.push(change?);
    }
    changes.sort_unstable_by_key(|(offset, _)| *offset);
    changes.truncate(MAX_CHANGES as usize + 1);
    Ok(changes)
}

/// Wraps an error of reading `what`. A database of this process is always reached.
fn wrap_error(what: &'static str) -> impl Fn(rusqlite::Error) -> AccessError {
    move |error| AccessError { what, is_unreachable: false, source: error.into() }
}

#[async_trait]
impl Access for SqliteProjections {
    async fn find_key(&self, hash: &KeyHash) -> Result<Option<AccessKey>, AccessError> {
        let sql = select_keys!("hash = ? ORDER BY token, number LIMIT 1");
        self.read(|connection| read_key(connection, sql, [hash.0])).map_err(wrap_error("the key"))
    }

    async fn key(&self, token: ApplicationToken, number: KeyNumber) -> Result<Option<AccessKey>, AccessError> {
        let sql = select_keys!("token = ? AND number = ?");
        let key = (*token.as_bytes(), number.get());
        self.read(|connection| read_key(connection, sql, key)).map_err(wrap_error("the key"))
    }

    async fn issued(&self, token: ApplicationToken, event: EventId) -> Result<Option<AccessKey>, AccessError> {
        let sql = select_keys!("token = ? AND event_id = ?");
        let key = (*token.as_bytes(), event.0.into_bytes());
        self.read(|connection| read_key(connection, sql, key)).map_err(wrap_error("the key"))
    }

    async fn keys(
        &self,
        token: ApplicationToken,
        page: Page<KeyNumber>,
    ) -> Result<Option<Shown<Slice<AccessKey>>>, AccessError> {
        self.read_on(&self.pages, move |connection| read_keys(connection, token, page))
            .await
            .map_err(wrap_error("the list of keys"))
    }

    async fn voided(&self, token: ApplicationToken, user: &UserId) -> Result<Option<Place>, AccessError> {
        self.read(|connection| read_voided(connection, token, user)).map_err(wrap_error("the user"))
    }

    async fn position(&self) -> Result<Position, AccessError> {
        Ok(self.progress.position(Projection::Views))
    }

    async fn reached(&self, position: &Position, within: Duration) -> Result<bool, AccessError> {
        Ok(self.progress.wait_until_reached(Projection::Views, position, within).await)
    }

    /// Reads the notes before the changes: what `views` had then is among them.
    async fn changes(&self, since: &Position) -> Result<AccessChanges, AccessError> {
        let reached = self.log_ends.since();
        let since = since.clone();
        let read = self.read_on(&self.pages, move |connection| read_changes(connection, &since)).await;
        let changes = read.map_err(wrap_error("the changes of keys and users"))?;
        Ok(AccessChanges { reached, ..changes })
    }
}
