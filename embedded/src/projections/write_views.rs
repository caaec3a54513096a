//! The SQL that writes the projection `views`.

use std::collections::{HashMap, HashSet};

use events::{ChatKey, EventId, Offset, PartitionId, UnixMillis};
use read_model::{
    ApplicationRow, ChatRow, CheckpointMove, DeadLetter, MessageKey, MessageRow, NameChange, Rename, SourceEvent,
    ViewsChanges, ViewsTransaction, write_views,
};
use rusqlite::{Connection, OptionalExtension, Result, params};
use tokio::runtime::Handle;

use super::ordinals::assign_ordinals;
use crate::sqlite::{decode_event_id, prepare};

/// Writes a batch. Must be called on a blocking thread of the runtime.
pub(super) fn write(
    connection: &mut Connection,
    checkpoint_move: CheckpointMove,
    changes: &ViewsChanges,
) -> Result<()> {
    let mut tables = ViewsTables { connection, partition: checkpoint_move.partition };
    // The methods of `ViewsTables` never wait, so neither does this.
    Handle::current().block_on(write_views(&mut tables, checkpoint_move.partition, changes))
}

struct ViewsTables<'a> {
    connection: &'a mut Connection,
    /// The partition of the batch, and so of all of its rows.
    partition: PartitionId,
}

impl ViewsTransaction for ViewsTables<'_> {
    type Error = rusqlite::Error;

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

    async fn load_chats(&mut self, chats: &[ChatRow]) -> Result<HashMap<ChatKey, EventId>> {
        // A row without an event only gives the chat its ordinal: insert_messages inserts it for an early message.
        let mut statement = prepare(
            self.connection,
            "SELECT created_event FROM chats WHERE token = ? AND number = ? AND created_event IS NOT NULL",
        )?;
        let mut stored = HashMap::new();
        for ChatRow { chat, .. } in chats {
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
            "INSERT INTO messages (id, event_id, log_offset, created_at_ms, body) VALUES (?, ?, ?, ?, ?) \
             ON CONFLICT (id) DO NOTHING",
        )?;
        let mut holders = HashMap::new();
        for message in messages {
            let id = ordinals[&message.chat].row_id(message.number);
            let (event_id, offset) = (message.source.event_id.0.as_bytes(), message.source.offset.0.cast_signed());
            if insert.execute((id, event_id, offset, message.created_at.0.cast_signed(), &message.body))? == 0 {
                let mut select = prepare(self.connection, "SELECT event_id FROM messages WHERE id = ?")?;
                let holder = select.query_row([id], |row| decode_event_id(row, 0))?;
                holders.insert((message.chat, message.number), holder);
            }
        }
        Ok(holders)
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
