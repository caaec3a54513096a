//! How a batch is applied to the projection `views`.

use std::collections::{HashMap, HashSet};

use events::{ApplicationToken, Offset, PartitionId};
use read_model::changes::{Rename, settle, settle_names};
use read_model::{
    ApplicationRow, Applied, ChatRow, CheckpointMove, DeadLetter, MessageRow, NameChange, NameOrigin, Projection,
    SourceEvent, ViewsChanges, dead_letter,
};
use sqlx::{Row, SqliteConnection};

use super::SqliteProjections;
use super::ordinals::{self, OrdinalTable};
use crate::sqlite::{chat_of, event_id_of, insert_rows, rows_in, rows_of_chats, token_of};

const CHATS: OrdinalTable = OrdinalTable {
    select: "SELECT ordinal, token, number FROM chats WHERE (token, number) IN",
    insert: "INSERT INTO chats (token, number) ",
};

pub(super) async fn apply(
    projections: &SqliteProjections,
    checkpoint_move: CheckpointMove,
    changes: ViewsChanges,
) -> Result<Applied, sqlx::Error> {
    let Some(mut transaction) = projections.begin(Projection::Views, checkpoint_move).await? else {
        return Ok(Applied::Superseded);
    };
    let connection = transaction.connection();
    let mut dead_letters = changes.dead_letters;
    change_names(connection, &changes.names, &mut dead_letters).await?;
    insert_chats(connection, changes.chats, &mut dead_letters).await?;
    insert_messages(connection, changes.messages, &mut dead_letters).await?;
    insert_dead_letters(connection, checkpoint_move.partition, &dead_letters).await?;
    dead_letter::parking(checkpoint_move.partition, &dead_letters);
    projections.commit(transaction, Projection::Views, checkpoint_move).await
}

async fn change_names(
    connection: &mut SqliteConnection,
    changes: &[NameChange],
    dead_letters: &mut Vec<DeadLetter>,
) -> Result<(), sqlx::Error> {
    let applications = load_applications(connection, changes).await?;
    let known = load_renames(connection, changes).await?;
    let settled = settle_names(changes, applications, &known, dead_letters);
    let (applications, renames): (Vec<_>, Vec<_>) =
        (settled.applications.into_iter().collect(), settled.renames.into_iter().collect());
    insert_rows(
        connection,
        "INSERT INTO applications (token, created_event, name, name_rank) ",
        " ON CONFLICT (token) DO UPDATE SET created_event = excluded.created_event, name = excluded.name, \
         name_rank = excluded.name_rank",
        &applications,
        |row, (token, application)| {
            row.push_bind(token.as_bytes().as_slice())
                .push_bind(application.created_event.as_ref().map(|event| event.0.as_bytes().as_slice()))
                .push_bind(application.name.as_str())
                .push_bind(application.name_rank.cast_signed());
        },
    )
    .await?;
    insert_rows(connection, "INSERT INTO renames (token, event_id) ", "", &renames, |row, (token, event)| {
        row.push_bind(token.as_bytes().as_slice()).push_bind(event.0.as_bytes().as_slice());
    })
    .await?;
    Ok(())
}

async fn load_applications(
    connection: &mut SqliteConnection,
    changes: &[NameChange],
) -> Result<HashMap<ApplicationToken, ApplicationRow>, sqlx::Error> {
    let head = "SELECT token, created_event, name, name_rank FROM applications WHERE token IN";
    let rows = rows_in(connection, head, changes, |row, change| {
        row.push_bind(change.token.as_bytes().as_slice());
    });
    let mut applications = HashMap::new();
    for row in rows.await? {
        let created_event = match row.try_get::<Option<&[u8]>, _>(1)? {
            Some(_) => Some(event_id_of(&row, 1)?),
            None => None,
        };
        let name_rank = row.try_get::<i64, _>(3)?.cast_unsigned();
        applications.insert(token_of(&row, 0)?, ApplicationRow { created_event, name: row.try_get(2)?, name_rank });
    }
    Ok(applications)
}

async fn load_renames(
    connection: &mut SqliteConnection,
    changes: &[NameChange],
) -> Result<HashSet<Rename>, sqlx::Error> {
    let head = "SELECT token, event_id FROM renames WHERE (token, event_id) IN";
    let renames: Vec<_> = changes.iter().filter(|change| change.origin == NameOrigin::Renamed).collect();
    let rows = rows_in(connection, head, &renames, |row, change| {
        row.push_bind(change.token.as_bytes().as_slice()).push_bind(change.source.event_id.0.as_bytes().as_slice());
    });
    rows.await?.iter().map(|row| Ok((token_of(row, 0)?, event_id_of(row, 1)?))).collect()
}

async fn insert_chats(
    connection: &mut SqliteConnection,
    chats: Vec<ChatRow>,
    dead_letters: &mut Vec<DeadLetter>,
) -> Result<(), sqlx::Error> {
    let keys: Vec<_> = chats.iter().map(|row| row.chat).collect();
    let head = "SELECT token, number, created_event FROM chats WHERE (token, number) IN";
    let mut taken = HashMap::new();
    for row in rows_of_chats(connection, head, &keys).await? {
        if row.try_get::<Option<&[u8]>, _>(2)?.is_some() {
            taken.insert(chat_of(&row, 0, 1)?, event_id_of(&row, 2)?);
        }
    }
    let new = settle(chats, &taken, dead_letters);
    insert_rows(
        connection,
        "INSERT INTO chats (token, number, created_event) ",
        " ON CONFLICT (token, number) DO UPDATE SET created_event = excluded.created_event",
        &new,
        |row, ChatRow { chat, source }| {
            row.push_bind(chat.token.as_bytes().as_slice())
                .push_bind(i64::from(chat.number.get()))
                .push_bind(source.event_id.0.as_bytes().as_slice());
        },
    )
    .await?;
    Ok(())
}

async fn insert_messages(
    connection: &mut SqliteConnection,
    messages: Vec<MessageRow>,
    dead_letters: &mut Vec<DeadLetter>,
) -> Result<(), sqlx::Error> {
    // Within the batch each number is there once; what the table has already is found by what it does not return.
    let messages = settle(messages, &HashMap::new(), dead_letters);
    let ordinals = ordinals::of_chats(connection, &CHATS, messages.iter().map(|row| row.chat)).await?;
    let rows: Vec<_> = messages.into_iter().map(|row| (ordinals[&row.chat].row_id(row.number), row)).collect();
    let written = insert_rows(
        connection,
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
    if written.len() == rows.len() {
        return Ok(());
    }
    let written = written.iter().map(|row| row.try_get(0)).collect::<Result<Vec<i64>, _>>()?;
    for (id, message) in rows.into_iter().filter(|(id, _)| !written.contains(id)) {
        let first = sqlx::query("SELECT event_id FROM messages WHERE id = ?").bind(id).fetch_one(&mut *connection);
        let taken = HashMap::from([((message.chat, message.number), event_id_of(&first.await?, 0)?)]);
        settle(vec![message], &taken, dead_letters);
    }
    Ok(())
}

async fn insert_dead_letters(
    connection: &mut SqliteConnection,
    partition: PartitionId,
    dead_letters: &[DeadLetter],
) -> Result<(), sqlx::Error> {
    insert_rows(
        connection,
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

pub(super) async fn dead_letters(
    projections: &SqliteProjections,
    partition: PartitionId,
    limit: u32,
) -> Result<Vec<DeadLetter>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT log_offset, event_id, reason FROM dead_letters WHERE partition = ? ORDER BY log_offset LIMIT ?",
    )
    .bind(i64::from(partition.0))
    .bind(limit)
    .fetch_all(&projections.readers)
    .await?;
    rows.iter()
        .map(|row| {
            let offset = Offset(row.try_get::<i64, _>(0)?.cast_unsigned());
            Ok(DeadLetter { source: SourceEvent { event_id: event_id_of(row, 1)?, offset }, reason: row.try_get(2)? })
        })
        .collect()
}
