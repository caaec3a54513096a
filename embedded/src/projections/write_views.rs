//! The SQL that writes the projection `views`.

use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;

use events::{ApplicationToken, Author, ChatKey, EventId, KeyNumber, Offset, PartitionId, UnixMillis};
use read_model::{
    ApplicationRow, ChatRow, CheckpointMove, DeadLetter, FeedRow, KeyEvent, KeyRow, MAX_COUNTED_LETTERS, MessageKey,
    MessageRow, NameChange, Rename, RevokedKey, SourceEvent, StoredLetter, ViewsChanges, ViewsTransaction, VoidedUser,
    write_views,
};
use rusqlite::{Connection, OptionalExtension, Result, params};
use tokio::runtime::Handle;

use super::ordinals::assign_ordinals;
use super::{write_access, write_feed};
use crate::sqlite::{decode_event_id, prepare};

/// The generation that is written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target {
    /// Whether readers use it.
    pub(super) is_live: bool,
    /// The version of its rows.
    pub(super) version: u32,
}

/// Writes a batch. Must be called on a blocking thread of the runtime.
pub(super) fn write(
    connection: &mut Connection,
    target: Target,
    checkpoint_move: CheckpointMove,
    changes: &ViewsChanges,
) -> Result<()> {
    let mut tables = ViewsTables { connection, target, partition: checkpoint_move.partition };
    // The methods of `ViewsTables` never wait, so neither does this.
    Handle::current().block_on(write_views(&mut tables, checkpoint_move.partition, changes))
}

struct ViewsTables<'a> {
    connection: &'a mut Connection,
    target: Target,
    /// The partition of the batch, and so of all of its rows.
    partition: PartitionId,
}

impl ViewsTransaction for ViewsTables<'_> {
    type Error = rusqlite::Error;

    fn is_live(&self) -> bool {
        self.target.is_live
    }

    async fn load_applications(&mut self, changes: &[NameChange]) -> Result<Vec<ApplicationRow>> {
        let mut statement = prepare(
            self.connection,
            "SELECT created_event, name, name_rank, log_offset, created_at_ms FROM applications WHERE token = ?",
        )?;
        let mut applications = Vec::new();
        let tokens: HashSet<_> = changes.iter().map(|change| change.token).collect();
        for token in tokens {
            let row = statement.query_row([token.as_bytes()], |row| {
                let is_created = row.get_ref(0)?.as_blob_or_null()?.is_some();
                Ok(ApplicationRow {
                    token,
                    created_event: is_created.then(|| decode_event_id(row, 0)).transpose()?,
                    name: row.get(1)?,
                    name_rank: row.get::<_, i64>(2)?.cast_unsigned(),
                    last_event: Some(Offset(row.get::<_, i64>(3)?.cast_unsigned())),
                    created_at: row.get::<_, Option<i64>>(4)?.map(|at| UnixMillis(at.cast_unsigned())),
                })
            });
            applications.extend(row.optional()?);
        }
        Ok(applications)
    }

    async fn load_renames(&mut self, renames: &[Rename]) -> Result<HashSet<Rename>> {
        let mut statement = prepare(self.connection, "SELECT 1 FROM renames WHERE token = ? AND event_id = ?")?;
        let mut stored = HashSet::new();
        for (token, event) in renames {
            if statement.exists((token.as_bytes(), event.0.as_bytes()))? {
                stored.insert((*token, *event));
            }
        }
        Ok(stored)
    }

    async fn upsert_applications(&mut self, applications: &[ApplicationRow]) -> Result<()> {
        let mut statement = prepare(
            self.connection,
            "INSERT INTO applications (token, created_event, name, name_rank, partition, log_offset, created_at_ms) \
             VALUES (?, ?, ?, ?, ?, ?, ?) \
             ON CONFLICT (token) DO UPDATE SET created_event = excluded.created_event, name = excluded.name, \
             name_rank = excluded.name_rank, partition = excluded.partition, log_offset = excluded.log_offset, \
             created_at_ms = excluded.created_at_ms",
        )?;
        for application in applications {
            statement.execute(params![
                application.token.as_bytes(),
                application.created_event.as_ref().map(|event| event.0.as_bytes()),
                application.name,
                application.name_rank.cast_signed(),
                self.partition.0,
                application.last_event.map(|offset| offset.0.cast_signed()),
                application.created_at.map(|at| at.0.cast_signed()),
            ])?;
        }
        Ok(())
    }

    async fn insert_renames(&mut self, renames: &[Rename]) -> Result<()> {
        let mut statement = prepare(self.connection, "INSERT INTO renames (token, event_id) VALUES (?, ?)")?;
        for (token, event) in renames {
            statement.execute((token.as_bytes(), event.0.as_bytes()))?;
        }
        Ok(())
    }

    async fn load_chats(&mut self, chats: &[ChatKey]) -> Result<HashMap<ChatKey, EventId>> {
        // A row without an event only gives the chat its ordinal: insert_messages inserts it for an early message.
        let mut statement = prepare(
            self.connection,
            "SELECT created_event FROM chats WHERE token = ? AND number = ? AND created_event IS NOT NULL",
        )?;
        let mut stored = HashMap::new();
        for chat in chats {
            let key = (chat.token.as_bytes(), chat.number.get());
            if let Some(event) = statement.query_row(key, |row| decode_event_id(row, 0)).optional()? {
                stored.insert(*chat, event);
            }
        }
        Ok(stored)
    }

    async fn insert_chats(&mut self, chats: &[&ChatRow]) -> Result<()> {
        let mut statement = prepare(
            self.connection,
            "INSERT INTO chats (token, number, created_event, partition, log_offset, created_at_ms) VALUES (?, ?, ?, ?, ?, ?) \
             ON CONFLICT (token, number) DO UPDATE SET created_event = excluded.created_event, \
             partition = excluded.partition, log_offset = excluded.log_offset, created_at_ms = excluded.created_at_ms",
        )?;
        for ChatRow { chat, source, created_at } in chats {
            statement.execute(params![
                chat.token.as_bytes(),
                chat.number.get(),
                source.event_id.0.as_bytes(),
                self.partition.0,
                source.offset.0.cast_signed(),
                created_at.0.cast_signed(),
            ])?;
        }
        Ok(())
    }

    /// Reads only the rows that the insert skipped: usually none.
    async fn insert_messages(&mut self, messages: &[&MessageRow]) -> Result<HashMap<MessageKey, EventId>> {
        let ordinals = assign_ordinals(self.connection, self.partition, messages.iter().map(|row| row.chat))?;
        let mut insert = prepare(
            self.connection,
            "INSERT INTO messages (id, event_id, log_offset, created_at_ms, author, body) VALUES (?, ?, ?, ?, ?, ?) \
             ON CONFLICT (id) DO NOTHING",
        )?;
        let mut holders = HashMap::new();
        for message in messages {
            let id = ordinals[&message.chat].row_id(message.number);
            let (event_id, offset) = (message.source.event_id.0.as_bytes(), message.source.offset.0.cast_signed());
            let author = message.author.as_ref().map(Author::as_str);
            let row = (id, event_id, offset, message.created_at.0.cast_signed(), author, &message.body);
            if insert.execute(row)? == 0 {
                let mut select = prepare(self.connection, "SELECT event_id FROM messages WHERE id = ?")?;
                let holder = select.query_row([id], |row| decode_event_id(row, 0))?;
                holders.insert((message.chat, message.number), holder);
            }
        }
        Ok(holders)
    }

    async fn insert_feed(&mut self, rows: &[FeedRow<'_>]) -> Result<()> {
        if self.target.version < read_model::FIRST_VERSION_WITH_FEED {
            return Ok(());
        }
        write_feed::insert_feed(self.connection, self.partition, rows)
    }

    async fn load_last_keys(&mut self, tokens: &[ApplicationToken]) -> Result<HashMap<ApplicationToken, KeyNumber>> {
        write_access::load_last_keys(self.connection, tokens)
    }

    async fn load_issued_keys(&mut self, events: &[KeyEvent]) -> Result<HashSet<KeyEvent>> {
        write_access::load_issued_keys(self.connection, events)
    }

    async fn insert_keys(&mut self, keys: &[KeyRow<'_>]) -> Result<()> {
        write_access::insert_keys(self.connection, self.partition, keys)
    }

    async fn revoke_keys(&mut self, revoked: &[RevokedKey]) -> Result<()> {
        write_access::revoke_keys(self.connection, revoked)
    }

    async fn void_users(&mut self, voided: &[&VoidedUser]) -> Result<()> {
        write_access::void_users(self.connection, self.partition, voided)
    }

    async fn insert_dead_letters(&mut self, partition: PartitionId, dead_letters: &[DeadLetter]) -> Result<()> {
        let mut statement = prepare(
            self.connection,
            "INSERT INTO dead_letters (partition, log_offset, event_id, reason) VALUES (?, ?, ?, ?)",
        )?;
        for DeadLetter { source, reason } in dead_letters {
            let offset = source.offset.0.cast_signed();
            statement.execute((partition.0, offset, source.event_id.0.as_bytes(), reason))?;
        }
        Ok(())
    }

    async fn discard_dead_letters(&mut self, partition: PartitionId, discarded: &[Offset]) -> Result<()> {
        let mut statement =
            prepare(self.connection, "UPDATE dead_letters SET discarded = 1 WHERE partition = ? AND log_offset = ?")?;
        for offset in discarded {
            statement.execute((partition.0, offset.0.cast_signed()))?;
        }
        Ok(())
    }
}

/// Loads the dead letter at an offset, and whether it is discarded.
pub(super) fn find_dead_letter(
    connection: &Connection,
    partition: PartitionId,
    offset: Offset,
) -> Result<Option<StoredLetter>> {
    let mut statement = prepare(
        connection,
        "SELECT event_id, reason, discarded IS NOT NULL FROM dead_letters WHERE partition = ? AND log_offset = ?",
    )?;
    let found = statement.query_row((partition.0, offset.0.cast_signed()), |row| {
        let source = SourceEvent { event_id: decode_event_id(row, 0)?, offset };
        Ok(StoredLetter { letter: DeadLetter { source, reason: row.get(1)? }, is_discarded: row.get(2)? })
    });
    found.optional()
}

/// Counts the dead letters of some partitions that are not discarded, [`MAX_COUNTED_LETTERS`] at most.
pub(super) fn count_dead_letters(connection: &Connection, partitions: RangeInclusive<PartitionId>) -> Result<u64> {
    let mut statement = prepare(
        connection,
        "SELECT 1 FROM dead_letters WHERE partition BETWEEN ? AND ? AND discarded IS NULL LIMIT ?",
    )?;
    let mut rows = statement.query((partitions.start().0, partitions.end().0, MAX_COUNTED_LETTERS))?;
    let mut count = 0;
    while rows.next()?.is_some() {
        count += 1;
    }
    Ok(count)
}

pub(super) fn load_dead_letters(
    connection: &Connection,
    partition: PartitionId,
    limit: u32,
) -> Result<Vec<DeadLetter>> {
    let mut statement = prepare(
        connection,
        "SELECT log_offset, event_id, reason FROM dead_letters WHERE partition = ? AND discarded IS NULL \
         ORDER BY log_offset LIMIT ?",
    )?;
    let rows = statement.query_map((partition.0, limit), |row| {
        let offset = Offset(row.get::<_, i64>(0)?.cast_unsigned());
        let source = SourceEvent { event_id: decode_event_id(row, 1)?, offset };
        Ok(DeadLetter { source, reason: row.get(2)? })
    })?;
    rows.collect()
}
