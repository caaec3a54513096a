//! [`Access`]: the SQL that reads keys and voided users.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use events::{ApplicationToken, EventId, KeyHash, KeyNumber, Offset, PartitionId, Place, Position, UnixMillis, UserId};
use read_model::access::MAX_CHANGES;
use read_model::{Access, AccessChange, AccessChanges, AccessError, AccessKey, Page, Projection, Shown, Slice};
use sqlx::mysql::{MySql, MySqlRow};
use sqlx::{QueryBuilder, Row};

use super::MySqlProjections;
use super::checkpoint_tx::{Generation, load_live_generation};
use super::columns::{decode_error, decode_number, decode_token};
use super::connections::{READ_WAIT, Statement, is_unreachable, is_unreachable_for_key_changes, with_timeout};
use super::coverage::{Coverage, load_checkpoints};
use super::log_ends;
use super::read_views::numbers_between;

/// Selects keys that can be read, with the rest of the statement; in the live generation if no other is said.
macro_rules! select_keys {
    ($rest:literal) => {
        select_keys!("(SELECT generation FROM projections WHERE name = 'views')", $rest)
    };
    ($generation:literal, $rest:literal) => {
        concat!(
            "SELECT token, number, scopes, created_at_ms, expires_at_ms, revoked_offset, partition_id, log_offset, \
             request_values, name, hash FROM access_keys WHERE generation = ",
            $generation,
            " AND hash IS NOT NULL AND ",
            $rest
        )
    };
}

impl MySqlProjections {
    async fn read_key(&self, statement: Statement) -> Result<Option<AccessKey>, AccessError> {
        let read = async { self.readers.fetch_optional(statement).await?.as_ref().map(decode_key).transpose() };
        with_timeout(READ_WAIT, read).await.map_err(wrap_error("the key"))
    }

    /// Reads the checkpoints after the rows: they cover whatever the rows show, and the revocations of what they do not show.
    async fn read_keys(
        &self,
        token: ApplicationToken,
        page: Page<KeyNumber>,
    ) -> Result<Option<Shown<Slice<AccessKey>>>, sqlx::Error> {
        let generation = load_live_generation(&self.readers, Projection::Views).await?;
        let (above, below) = numbers_between(page.cursor, KeyNumber::get);
        let query = if page.cursor.descends() {
            select_keys!(
                "?",
                "token = ? AND listed_number > ? AND listed_number < ? ORDER BY listed_number DESC LIMIT ?"
            )
        } else {
            select_keys!("?", "token = ? AND listed_number > ? AND listed_number < ? ORDER BY listed_number LIMIT ?")
        };
        let query = sqlx::query(query).bind(generation.0).bind(token.as_bytes().to_vec());
        let query = query.bind(above).bind(below).bind(page.limit + 1);
        let decode = |row: &MySqlRow, _: &mut Coverage| {
            let key = decode_key(row)?;
            let text_bytes = key.name.len();
            Ok((key, text_bytes))
        };
        let value = self.read_slice(page.limit, query, &mut Coverage::default(), decode).await?;
        if value.items.is_empty() && !self.find_application_or_chat(generation, token, &mut Coverage::default()).await?
        {
            return Ok(None);
        }
        Ok(Some(Shown { value, position: load_checkpoints(&self.readers, Projection::Views, generation).await? }))
    }

    async fn read_voided(&self, token: ApplicationToken, user: &UserId) -> Result<Option<Place>, sqlx::Error> {
        let statement = sqlx::query(
            "SELECT partition_id, log_offset FROM voided_users \
             WHERE generation = (SELECT generation FROM projections WHERE name = 'views') AND token = ? AND user_id = ?",
        );
        let statement = statement.bind(token.as_bytes().to_vec()).bind(user.as_str().to_owned());
        self.readers.fetch_optional(statement).await?.map(|row| decode_place(&row, 0)).transpose()
    }

    async fn read_position(&self) -> Result<Position, sqlx::Error> {
        let generation = load_live_generation(&self.readers, Projection::Views).await?;
        load_checkpoints(&self.readers, Projection::Views, generation).await
    }

    /// Reads the notes and the checkpoints before the changes. What a batch adds in between lies beyond them, and the next call finds it
    /// again.
    async fn read_changes(&self, since: &Position) -> Result<AccessChanges, sqlx::Error> {
        let generation = load_live_generation(&self.key_changes, Projection::Views).await?;
        let reached = log_ends::load(&self.key_changes, generation).await?;
        let mut next = since.clone();
        next.merge(&load_checkpoints(&self.key_changes, Projection::Views, generation).await?);
        let mut found = self.find_changes(generation, since, &next).await?;
        if found.len() <= MAX_CHANGES as usize {
            let changes = found.into_iter().map(|(_, change)| change).collect();
            return Ok(AccessChanges { changes, next, more: false, reached });
        }
        let (rest, _) = found[MAX_CHANGES as usize];
        found.truncate(MAX_CHANGES as usize);
        let changes = found.into_iter().map(|(_, change)| change).collect();
        Ok(AccessChanges { changes, next: rest_of(since, &next, rest), more: true, reached: BTreeMap::new() })
    }

    /// The first changes in the order of their places, one more than fit into a page. `partitions` names those that may have rows.
    async fn find_changes(
        &self,
        generation: Generation,
        since: &Position,
        partitions: &Position,
    ) -> Result<Vec<(Place, AccessChange)>, sqlx::Error> {
        let bounds: Vec<_> = partitions.bounds().map(|(partition, _)| (partition, since.bound(partition))).collect();
        let mut changes = Vec::new();
        for row in self.select_since(&REVOKED_KEYS, generation, &bounds).await? {
            let (token, place, number) = (decode_token(&row, 0)?, decode_place(&row, 1)?, decode_number(&row, 3)?);
            changes.push((place, AccessChange::KeyRevoked { token, number: KeyNumber(number), place }));
        }
        for row in self.select_since(&VOIDED_USERS, generation, &bounds).await? {
            let (token, place) = (decode_token(&row, 0)?, decode_place(&row, 1)?);
            let user = UserId::new(row.try_get(3)?).map_err(|error| decode_error(3, error))?;
            changes.push((place, AccessChange::UserTokensVoided { token, user, place }));
        }
        changes.sort_unstable_by_key(|(place, _)| *place);
        changes.truncate(MAX_CHANGES as usize + 1);
        Ok(changes)
    }

    /// Selects rows at or behind the bound of their partition.
    async fn select_since(
        &self,
        select: &SelectSince,
        generation: Generation,
        bounds: &[(PartitionId, Offset)],
    ) -> Result<Vec<MySqlRow>, sqlx::Error> {
        let mut statement = QueryBuilder::<MySql>::new(select.head);
        statement.push_bind(generation.0);
        for (index, (partition, bound)) in bounds.iter().enumerate() {
            statement.push(if index == 0 { " AND ((partition_id = " } else { ") OR (partition_id = " });
            statement.push_bind(partition.0).push(select.at_or_behind).push_bind(bound.0);
        }
        if bounds.is_empty() {
            return Ok(Vec::new());
        }
        statement.push(select.tail).push_bind(MAX_CHANGES + 1);
        let mut lease = self.key_changes.lease().await?;
        let rows = statement.build().fetch_all(&mut *lease).await?;
        lease.give_back();
        Ok(rows)
    }
}

/// The parts of a statement between its values: the generation, for each partition its number and the first offset, and the limit.
struct SelectSince {
    head: &'static str,
    at_or_behind: &'static str,
    tail: &'static str,
}

const REVOKED_KEYS: SelectSince = SelectSince {
    head: "SELECT token, partition_id, revoked_offset, number FROM access_keys WHERE generation = ",
    at_or_behind: " AND revoked_offset >= ",
    tail: ")) ORDER BY partition_id, revoked_offset LIMIT ",
};

const VOIDED_USERS: SelectSince = SelectSince {
    head: "SELECT token, partition_id, log_offset, user_id FROM voided_users WHERE generation = ",
    at_or_behind: " AND log_offset >= ",
    tail: ")) ORDER BY partition_id, log_offset LIMIT ",
};

/// The position of a page that ends before `rest`: of earlier partitions it has everything up to `end`, of later ones nothing.
fn rest_of(since: &Position, end: &Position, rest: Place) -> Position {
    let mut next = since.clone();
    for (partition, bound) in end.bounds().filter(|(partition, _)| *partition < rest.partition) {
        next.extend(partition, bound);
    }
    next.extend(rest.partition, rest.offset);
    next
}

fn decode_key(row: &MySqlRow) -> Result<AccessKey, sqlx::Error> {
    let scopes: &str = row.try_get(2)?;
    let (request_values, hash): (Option<&[u8]>, &[u8]) = (row.try_get(8)?, row.try_get(10)?);
    Ok(AccessKey {
        token: decode_token(row, 0)?,
        number: KeyNumber(decode_number(row, 1)?),
        name: row.try_get(9)?,
        hash: KeyHash(hash.try_into().map_err(|error| decode_error(10, error))?),
        scopes: scopes.parse().map_err(|error| decode_error(2, error))?,
        created_at: UnixMillis(row.try_get(3)?),
        expires_at: row.try_get::<Option<u64>, _>(4)?.map(UnixMillis),
        revoked: row.try_get::<Option<u64>, _>(5)?.is_some(),
        place: decode_place(row, 6)?,
        request_values: request_values.map(TryInto::try_into).transpose().map_err(|error| decode_error(8, error))?,
    })
}

/// Decodes the columns of a partition and an offset; `column` is the index of the first.
fn decode_place(row: &MySqlRow, column: usize) -> Result<Place, sqlx::Error> {
    Ok(Place { partition: PartitionId(row.try_get(column)?), offset: Offset(row.try_get(column + 1)?) })
}

/// Wraps an error of reading `what`.
fn wrap_error(what: &'static str) -> impl Fn(sqlx::Error) -> AccessError {
    move |error| AccessError { what, is_unreachable: is_unreachable(&error), source: error.into() }
}

#[async_trait]
impl Access for MySqlProjections {
    async fn find_key(&self, hash: &KeyHash) -> Result<Option<AccessKey>, AccessError> {
        let statement = sqlx::query(select_keys!("hash = ? ORDER BY token, number LIMIT 1"));
        self.read_key(statement.bind(hash.0.to_vec())).await
    }

    async fn key(&self, token: ApplicationToken, number: KeyNumber) -> Result<Option<AccessKey>, AccessError> {
        let statement = sqlx::query(select_keys!("token = ? AND number = ?"));
        self.read_key(statement.bind(token.as_bytes().to_vec()).bind(number.get())).await
    }

    async fn issued(&self, token: ApplicationToken, event: EventId) -> Result<Option<AccessKey>, AccessError> {
        let statement = sqlx::query(select_keys!("token = ? AND event_id = ? LIMIT 1"));
        self.read_key(statement.bind(token.as_bytes().to_vec()).bind(event.0.as_bytes().to_vec())).await
    }

    async fn keys(
        &self,
        token: ApplicationToken,
        page: Page<KeyNumber>,
    ) -> Result<Option<Shown<Slice<AccessKey>>>, AccessError> {
        with_timeout(READ_WAIT, self.read_keys(token, page)).await.map_err(wrap_error("the list of keys"))
    }

    async fn voided(&self, token: ApplicationToken, user: &UserId) -> Result<Option<Place>, AccessError> {
        with_timeout(READ_WAIT, self.read_voided(token, user)).await.map_err(wrap_error("the user"))
    }

    async fn position(&self) -> Result<Position, AccessError> {
        with_timeout(READ_WAIT, self.read_position()).await.map_err(wrap_error("the checkpoints"))
    }

    async fn reached(&self, position: &Position, within: Duration) -> Result<bool, AccessError> {
        let reached = self.wait_until_reached(Projection::Views, position, within).await;
        reached.map_err(|source| AccessError { what: "the checkpoints", is_unreachable: false, source })
    }

    async fn changes(&self, since: &Position) -> Result<AccessChanges, AccessError> {
        with_timeout(READ_WAIT, self.read_changes(since)).await.map_err(|error| AccessError {
            what: "the changes of keys and users",
            is_unreachable: is_unreachable_for_key_changes(&error),
            source: error.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    async fn changes_at(address: std::net::SocketAddr) -> AccessError {
        let access = MySqlProjections::new(&format!("mysql://tally@{address}/tally")).unwrap();
        access.changes(&Position::default()).await.unwrap_err()
    }

    /// A process then lets known credentials go on. It learns of this soon enough to do so before what it knows is too old.
    #[tokio::test]
    async fn a_server_that_lets_nobody_connect_is_unreachable() {
        let refusing = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        for address in [refusing, silent.local_addr().unwrap()] {
            let error = tokio::time::timeout(Duration::from_millis(1_900), changes_at(address)).await.unwrap();
            assert!(error.is_unreachable, "{error:?}");
        }
    }
}
