//! The SQL that writes the projection `views`.

use std::collections::{HashMap, HashSet};

use events::{ChatKey, EventId, Offset, PartitionId};
use read_model::{
    ApplicationRow, Applied, ChatRow, CheckpointMove, DeadLetter, MessageKey, MessageRow, NameChange, Projection,
    Rename, SourceEvent, ViewsChanges, ViewsTransaction, write_views,
};
use sqlx::{Row, SqliteConnection};

use super::SqliteProjections;
use super::ordinals::{OrdinalTable, assign_ordinals};
use crate::sqlite::{decode_chat, decode_event_id, decode_token, insert_rows, select_chats, select_in};

const CHATS: OrdinalTable = OrdinalTable {
    select: "SELECT ordinal, token, number FROM chats WHERE (token, number) IN",
    insert: "INSERT INTO chats (token, number) ",
};

pub(super) async fn apply(
    projections: &SqliteProjections,
    checkpoint_move: CheckpointMove,
    changes: &ViewsChanges,
) -> Result<Applied, sqlx::Error> {
    let Some(mut transaction) = projections.begin(Projection::Views, checkpoint_move).await? else {
        return Ok(Applied::Superseded);
    };
    let mut tables = ViewsTables { connection: transaction.connection() };
    write_views(&mut tables, checkpoint_move.partition, changes).await?;
    projections.commit(transaction, Projection::Views, checkpoint_move).await
}

struct ViewsTables<'a> {
    connection: &'a mut SqliteConnection,
}

impl ViewsTransaction for ViewsTables<'_> {
    type Error = sqlx::Error;

    async fn load_applications(&mut self, changes: &[NameChange]) -> Result<Vec<ApplicationRow>, sqlx::Error> {
        let head = "SELECT token, created_event, name, name_rank FROM applications WHERE token IN";
        let rows = select_in(self.connection, head, changes, |row, change| {
            row.push_bind(change.token.as_bytes().as_slice());
        });
        let rows = rows.await?;
        let rows = rows.iter().map(|row| {
            let is_created = row.try_get::<Option<&[u8]>, _>(1)?.is_some();
            Ok(ApplicationRow {
                token: decode_token(row, 0)?,
                created_event: is_created.then(|| decode_event_id(row, 1)).transpose()?,
                name: row.try_get(2)?,
                name_rank: row.try_get::<i64, _>(3)?.cast_unsigned(),
            })
        });
        rows.collect()
    }

    async fn load_renames(&mut self, renames: &[Rename]) -> Result<HashSet<Rename>, sqlx::Error> {
        let head = "SELECT token, event_id FROM renames WHERE (token, event_id) IN";
        let rows = select_in(self.connection, head, renames, |row, (token, event)| {
            row.push_bind(token.as_bytes().as_slice()).push_bind(event.0.as_bytes().as_slice());
        });
        rows.await?.iter().map(|row| Ok((decode_token(row, 0)?, decode_event_id(row, 1)?))).collect()
    }

    async fn upsert_applications(&mut self, applications: &[ApplicationRow]) -> Result<(), sqlx::Error> {
        insert_rows(
            self.connection,
            "INSERT INTO applications (token, created_event, name, name_rank) ",
            " ON CONFLICT (token) DO UPDATE SET created_event = excluded.created_event, name = excluded.name, \
             name_rank = excluded.name_rank",
            applications,
            |row, application| {
                row.push_bind(application.token.as_bytes().as_slice())
                    .push_bind(application.created_event.as_ref().map(|event| event.0.as_bytes().as_slice()))
                    .push_bind(application.name.as_str())
                    .push_bind(application.name_rank.cast_signed());
            },
        )
        .await?;
        Ok(())
    }

    async fn insert_renames(&mut self, renames: &[Rename]) -> Result<(), sqlx::Error> {
        insert_rows(self.connection, "INSERT INTO renames (token, event_id) ", "", renames, |row, (token, event)| {
            row.push_bind(token.as_bytes().as_slice()).push_bind(event.0.as_bytes().as_slice());
        })
        .await?;
        Ok(())
    }

    async fn load_chats(&mut self, chats: &[ChatRow]) -> Result<HashMap<ChatKey, EventId>, sqlx::Error> {
        let keys: Vec<_> = chats.iter().map(|row| row.chat).collect();
        // A row without an event only gives the chat its ordinal: insert_messages inserts it for an early message.
        let head =
            "SELECT token, number, created_event FROM chats WHERE created_event IS NOT NULL AND (token, number) IN";
        let rows = select_chats(self.connection, head, &keys).await?;
        rows.iter().map(|row| Ok((decode_chat(row, 0, 1)?, decode_event_id(row, 2)?))).collect()
    }

    async fn insert_chats(&mut self, chats: &[&ChatRow]) -> Result<(), sqlx::Error> {
        insert_rows(
            self.connection,
            "INSERT INTO chats (token, number, created_event) ",
            " ON CONFLICT (token, number) DO UPDATE SET created_event = excluded.created_event",
            chats,
            |row, ChatRow { chat, source }| {
                row.push_bind(chat.token.as_bytes().as_slice())
                    .push_bind(i64::from(chat.number.get()))
                    .push_bind(source.event_id.0.as_bytes().as_slice());
            },
        )
        .await?;
        Ok(())
    }

    /// Reads only the rows that the insert skipped: usually none.
    async fn insert_messages(&mut self, messages: &[&MessageRow]) -> Result<HashMap<MessageKey, EventId>, sqlx::Error> {
        let ordinals = assign_ordinals(self.connection, &CHATS, messages.iter().map(|row| row.chat)).await?;
        let rows: Vec<_> = messages.iter().map(|row| (ordinals[&row.chat].row_id(row.number), *row)).collect();
        let inserted = insert_rows(
            self.connection,
            "INSERT INTO messages (id, event_id, body) ",
            " ON CONFLICT (id) DO NOTHING RETURNING id",
            &rows,
            |row, (id, message)| {
                row.push_bind(id)
                    .push_bind(message.source.event_id.0.as_bytes().as_slice())
                    .push_bind(message.body.as_str());
            },
        )
        .await?;
        if inserted.len() == rows.len() {
            return Ok(HashMap::new());
        }
        let mut skipped: HashMap<_, _> = rows.iter().map(|(id, row)| (*id, (row.chat, row.number))).collect();
        for row in &inserted {
            skipped.remove(&row.try_get::<i64, _>(0)?);
        }
        let ids: Vec<_> = skipped.keys().copied().collect();
        let head = "SELECT id, event_id FROM messages WHERE id IN";
        let held = select_in(self.connection, head, &ids, |row, id| {
            row.push_bind(*id);
        });
        held.await?.iter().map(|row| Ok((skipped[&row.try_get::<i64, _>(0)?], decode_event_id(row, 1)?))).collect()
    }

    async fn insert_dead_letters(
        &mut self,
        partition: PartitionId,
        dead_letters: &[DeadLetter],
    ) -> Result<(), sqlx::Error> {
        insert_rows(
            self.connection,
            "INSERT INTO dead_letters (partition, log_offset, event_id, reason) ",
            "",
            dead_letters,
            |row, DeadLetter { source, reason }| {
                row.push_bind(i64::from(partition.0))
                    .push_bind(source.offset.0.cast_signed())
                    .push_bind(source.event_id.0.as_bytes().as_slice())
                    .push_bind(reason.as_str());
            },
        )
        .await?;
        Ok(())
    }
}

pub(super) async fn load_dead_letters(
    projections: &SqliteProjections,
    partition: PartitionId,
    limit: u32,
) -> Result<Vec<DeadLetter>, sqlx::Error> {
    let query = sqlx::query(
        "SELECT log_offset, event_id, reason FROM dead_letters WHERE partition = ? ORDER BY log_offset LIMIT ?",
    );
    let rows = projections.readers.fetch_all(query.bind(i64::from(partition.0)).bind(limit)).await?;
    rows.iter()
        .map(|row| {
            let offset = Offset(row.try_get::<i64, _>(0)?.cast_unsigned());
            let source = SourceEvent { event_id: decode_event_id(row, 1)?, offset };
            Ok(DeadLetter { source, reason: row.try_get(2)? })
        })
        .collect()
}
