//! The SQL that writes the projection `views`.

use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;

use events::{ApplicationToken, Author, ChatKey, EventId, KeyNumber, MessageNumber, Offset, PartitionId, UnixMillis};
use read_model::{
    ApplicationRow, ChatRow, DeadLetter, FeedRow, KeyEvent, KeyRow, MAX_COUNTED_LETTERS, MessageKey, MessageRow,
    NameChange, Rename, RevokedKey, SourceEvent, StoredLetter, ViewsChanges, ViewsTransaction, VoidedUser, write_views,
};
use sqlx::mysql::MySqlRow;
use sqlx::{MySqlConnection, Row};

use super::checkpoint_tx::Generation;
use super::columns::{decode_chat, decode_event_id, decode_number, decode_token};
use super::connections::Connections;
use super::multi_row::{insert_rows, select_in, split_by_text};
use super::{write_access, write_feed};

/// The generation that is written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target {
    pub(super) generation: Generation,
    /// Whether readers use it.
    pub(super) is_live: bool,
    /// Whether it has a feed without a gap.
    pub(super) has_feed: bool,
}

/// Writes a batch in its transaction.
pub(super) async fn write(
    connection: &mut MySqlConnection,
    target: Target,
    partition: PartitionId,
    changes: &ViewsChanges,
) -> Result<(), sqlx::Error> {
    let Target { generation, is_live, has_feed } = target;
    write_views(&mut ViewsTables { connection, generation, is_live, has_feed, partition }, partition, changes).await
}

/// The tables of one generation. The generation is the first column of every key.
struct ViewsTables<'a> {
    connection: &'a mut MySqlConnection,
    generation: Generation,
    is_live: bool,
    has_feed: bool,
    /// The partition of the batch, and so of all of its rows.
    partition: PartitionId,
}

impl ViewsTransaction for ViewsTables<'_> {
    type Error = sqlx::Error;

    fn is_live(&self) -> bool {
        self.is_live
    }

    async fn load_applications(&mut self, changes: &[NameChange]) -> Result<Vec<ApplicationRow>, sqlx::Error> {
        let generation = self.generation;
        let head = "SELECT token, created_event, name, name_rank, log_offset, created_at_ms FROM applications \
                    WHERE (generation, token) IN";
        let rows = select_in(self.connection, head, changes, |tuple, change| {
            tuple.push_bind(generation.0).push_bind(change.token.as_bytes().as_slice());
        });
        let rows = rows.await?;
        let rows = rows.iter().map(|row| {
            let is_created = row.try_get::<Option<&[u8]>, _>(1)?.is_some();
            Ok(ApplicationRow {
                token: decode_token(row, 0)?,
                created_event: is_created.then(|| decode_event_id(row, 1)).transpose()?,
                name: row.try_get(2)?,
                name_rank: row.try_get(3)?,
                last_event: row.try_get::<Option<u64>, _>(4)?.map(Offset),
                created_at: row.try_get::<Option<u64>, _>(5)?.map(UnixMillis),
            })
        });
        rows.collect()
    }

    async fn load_renames(&mut self, renames: &[Rename]) -> Result<HashSet<Rename>, sqlx::Error> {
        let generation = self.generation;
        let head = "SELECT token, event_id FROM renames WHERE (generation, token, event_id) IN";
        let rows = select_in(self.connection, head, renames, |tuple, (token, event)| {
            tuple
                .push_bind(generation.0)
                .push_bind(token.as_bytes().as_slice())
                .push_bind(event.0.as_bytes().as_slice());
        });
        rows.await?.iter().map(|row| Ok((decode_token(row, 0)?, decode_event_id(row, 1)?))).collect()
    }

    async fn upsert_applications(&mut self, applications: &[ApplicationRow]) -> Result<(), sqlx::Error> {
        let (generation, partition) = (self.generation, self.partition);
        for run in split_by_text(applications, |application| application.name.len()) {
            insert_rows(
                self.connection,
                "INSERT INTO applications (generation, token, created_event, name, name_rank, partition_id, log_offset, \
                 created_at_ms) ",
                " AS new ON DUPLICATE KEY UPDATE created_event = new.created_event, name = new.name, \
                 name_rank = new.name_rank, partition_id = new.partition_id, log_offset = new.log_offset, \
                 created_at_ms = new.created_at_ms",
                run,
                |row, application| {
                    row.push_bind(generation.0)
                        .push_bind(application.token.as_bytes().as_slice())
                        .push_bind(application.created_event.as_ref().map(|event| event.0.as_bytes().as_slice()))
                        .push_bind(application.name.as_str())
                        .push_bind(application.name_rank)
                        .push_bind(partition.0)
                        .push_bind(application.last_event.map(|offset| offset.0))
                        .push_bind(application.created_at.map(|at| at.0));
                },
            )
            .await?;
        }
        Ok(())
    }

    async fn insert_renames(&mut self, renames: &[Rename]) -> Result<(), sqlx::Error> {
        let generation = self.generation;
        let head = "INSERT INTO renames (generation, token, event_id) ";
        insert_rows(self.connection, head, "", renames, |row, (token, event)| {
            row.push_bind(generation.0).push_bind(token.as_bytes().as_slice()).push_bind(event.0.as_bytes().as_slice());
        })
        .await
    }

    async fn load_chats(&mut self, chats: &[ChatKey]) -> Result<HashMap<ChatKey, EventId>, sqlx::Error> {
        let generation = self.generation;
        let head = "SELECT token, number, created_event FROM chats WHERE (generation, token, number) IN";
        let rows = select_in(self.connection, head, chats, |tuple, chat| {
            tuple.push_bind(generation.0).push_bind(chat.token.as_bytes().as_slice()).push_bind(chat.number.get());
        });
        rows.await?.iter().map(|row| Ok((decode_chat(row, 0, 1)?, decode_event_id(row, 2)?))).collect()
    }

    async fn insert_chats(&mut self, chats: &[&ChatRow]) -> Result<(), sqlx::Error> {
        let (generation, partition) = (self.generation, self.partition);
        let head =
            "INSERT INTO chats (generation, token, number, created_event, partition_id, log_offset, created_at_ms) ";
        insert_rows(self.connection, head, "", chats, |row, ChatRow { chat, source, created_at }| {
            row.push_bind(generation.0)
                .push_bind(chat.token.as_bytes().as_slice())
                .push_bind(chat.number.get())
                .push_bind(source.event_id.0.as_bytes().as_slice())
                .push_bind(partition.0)
                .push_bind(source.offset.0)
                .push_bind(created_at.0);
        })
        .await
    }

    /// Reads before it inserts, because MySQL cannot return the rows that an INSERT skips.
    async fn insert_messages(&mut self, messages: &[&MessageRow]) -> Result<HashMap<MessageKey, EventId>, sqlx::Error> {
        let generation = self.generation;
        let head = "SELECT token, chat_number, number, event_id FROM messages \
                    WHERE (generation, token, chat_number, number) IN";
        let rows = select_in(self.connection, head, messages, |tuple, MessageRow { chat, number, .. }| {
            tuple
                .push_bind(generation.0)
                .push_bind(chat.token.as_bytes().as_slice())
                .push_bind(chat.number.get())
                .push_bind(number.get());
        });
        let mut existing = HashMap::new();
        for row in &rows.await? {
            let key = (decode_chat(row, 0, 1)?, MessageNumber(decode_number(row, 2)?));
            existing.insert(key, decode_event_id(row, 3)?);
        }
        let new: Vec<_> = messages.iter().filter(|row| !existing.contains_key(&(row.chat, row.number))).collect();
        for run in split_by_text(&new, |message| message.body.len()) {
            insert_rows(
                self.connection,
                "INSERT INTO messages (generation, token, chat_number, number, event_id, body, log_offset, created_at_ms, \
                 author) ",
                "",
                run,
                |row, MessageRow { chat, number, body, author, source, created_at }| {
                    row.push_bind(generation.0)
                        .push_bind(chat.token.as_bytes().as_slice())
                        .push_bind(chat.number.get())
                        .push_bind(number.get())
                        .push_bind(source.event_id.0.as_bytes().as_slice())
                        .push_bind(body.as_str())
                        .push_bind(source.offset.0)
                        .push_bind(created_at.0)
                        .push_bind(author.as_ref().map(Author::as_str));
                },
            )
            .await?;
        }
        Ok(existing)
    }

    async fn insert_feed(&mut self, rows: &[FeedRow<'_>]) -> Result<(), sqlx::Error> {
        if !self.has_feed {
            return Ok(());
        }
        write_feed::insert_feed(self.connection, self.generation, self.partition, rows).await
    }

    async fn load_last_keys(
        &mut self,
        tokens: &[ApplicationToken],
    ) -> Result<HashMap<ApplicationToken, KeyNumber>, sqlx::Error> {
        write_access::load_last_keys(self.connection, self.generation, tokens).await
    }

    async fn load_issued_keys(&mut self, events: &[KeyEvent]) -> Result<HashSet<KeyEvent>, sqlx::Error> {
        write_access::load_issued_keys(self.connection, self.generation, events).await
    }

    async fn insert_keys(&mut self, keys: &[KeyRow<'_>]) -> Result<(), sqlx::Error> {
        write_access::insert_keys(self.connection, self.generation, self.partition, keys).await
    }

    async fn revoke_keys(&mut self, revoked: &[RevokedKey]) -> Result<(), sqlx::Error> {
        write_access::revoke_keys(self.connection, self.generation, revoked).await
    }

    async fn void_users(&mut self, voided: &[&VoidedUser]) -> Result<(), sqlx::Error> {
        write_access::void_users(self.connection, self.generation, self.partition, voided).await
    }

    async fn insert_dead_letters(
        &mut self,
        partition: PartitionId,
        dead_letters: &[DeadLetter],
    ) -> Result<(), sqlx::Error> {
        let generation = self.generation;
        insert_rows(
            self.connection,
            "INSERT INTO dead_letters (generation, partition_id, log_offset, event_id, reason) ",
            "",
            dead_letters,
            |row, DeadLetter { source, reason }| {
                row.push_bind(generation.0)
                    .push_bind(partition.0)
                    .push_bind(source.offset.0)
                    .push_bind(source.event_id.0.as_bytes().as_slice())
                    .push_bind(reason.as_str());
            },
        )
        .await
    }

    /// Discards are rare, so each has a statement of its own.
    async fn discard_dead_letters(&mut self, partition: PartitionId, discarded: &[Offset]) -> Result<(), sqlx::Error> {
        for offset in discarded {
            sqlx::query(
                "UPDATE dead_letters SET discarded = TRUE \
                 WHERE generation = ? AND partition_id = ? AND log_offset = ?",
            )
            .bind(self.generation.0)
            .bind(partition.0)
            .bind(offset.0)
            .execute(&mut *self.connection)
            .await?;
        }
        Ok(())
    }
}

/// Loads the dead letter at an offset, and whether it is discarded.
pub(super) async fn find_dead_letter(
    connections: &Connections,
    generation: Generation,
    partition: PartitionId,
    offset: Offset,
) -> Result<Option<StoredLetter>, sqlx::Error> {
    let statement = sqlx::query(
        "SELECT log_offset, event_id, reason, discarded IS NOT NULL FROM dead_letters \
         WHERE generation = ? AND partition_id = ? AND log_offset = ?",
    )
    .bind(generation.0)
    .bind(partition.0)
    .bind(offset.0);
    let found = connections.fetch_optional(statement).await?;
    let decode = |row: &MySqlRow| {
        Ok(StoredLetter { letter: decode_dead_letter(row)?, is_discarded: row.try_get::<i64, _>(3)? == 1 })
    };
    found.as_ref().map(decode).transpose()
}

/// Counts the dead letters of some partitions that are not discarded, [`MAX_COUNTED_LETTERS`] at most.
pub(super) async fn count_dead_letters(
    connections: &Connections,
    generation: Generation,
    partitions: RangeInclusive<PartitionId>,
) -> Result<u64, sqlx::Error> {
    let statement = sqlx::query(
        "SELECT count(*) FROM (SELECT 1 FROM dead_letters WHERE generation = ? AND partition_id BETWEEN ? AND ? \
         AND discarded IS NULL LIMIT ?) AS counted",
    )
    .bind(generation.0)
    .bind(partitions.start().0)
    .bind(partitions.end().0)
    .bind(MAX_COUNTED_LETTERS);
    let row = connections.fetch_optional(statement).await?.ok_or(sqlx::Error::RowNotFound)?;
    row.try_get::<i64, _>(0).map(i64::cast_unsigned)
}

/// Loads dead letters of a generation in log order.
pub(super) async fn load_dead_letters(
    connections: &Connections,
    generation: Generation,
    partition: PartitionId,
    limit: u32,
) -> Result<Vec<DeadLetter>, sqlx::Error> {
    let statement = sqlx::query(
        "SELECT log_offset, event_id, reason FROM dead_letters WHERE generation = ? AND partition_id = ? \
         AND discarded IS NULL ORDER BY log_offset LIMIT ?",
    )
    .bind(generation.0)
    .bind(partition.0)
    .bind(limit);
    connections.fetch_all(statement).await?.iter().map(decode_dead_letter).collect()
}

/// Loads the first dead letters of `generation` for events that the live one has passed and shows. Whether an event is a
/// dead letter depends on the log alone, so there are none unless the rows of the live one, or the program that wrote them, differ.
pub(super) async fn load_new_dead_letters(
    connection: &mut MySqlConnection,
    generation: Generation,
    limit: u32,
) -> Result<Vec<DeadLetter>, sqlx::Error> {
    let statement = sqlx::query(
        "SELECT letters.log_offset, letters.event_id, letters.reason FROM dead_letters AS letters \
         JOIN checkpoints AS passed ON passed.projection = 'views' \
         AND passed.generation = (SELECT generation FROM projections WHERE name = 'views') \
         AND passed.partition_id = letters.partition_id AND passed.next_offset > letters.log_offset \
         LEFT JOIN dead_letters AS live ON live.generation = passed.generation \
         AND live.partition_id = letters.partition_id AND live.log_offset = letters.log_offset \
         WHERE letters.generation = ? AND live.log_offset IS NULL \
         ORDER BY letters.partition_id, letters.log_offset LIMIT ?",
    )
    .bind(generation.0)
    .bind(limit);
    statement.fetch_all(connection).await?.iter().map(decode_dead_letter).collect()
}

fn decode_dead_letter(row: &MySqlRow) -> Result<DeadLetter, sqlx::Error> {
    let source = SourceEvent { event_id: decode_event_id(row, 1)?, offset: Offset(row.try_get(0)?) };
    Ok(DeadLetter { source, reason: row.try_get(2)? })
}
