//! How a batch is applied to the projection `views`.

use std::collections::HashMap;

use events::{Offset, PartitionId};
use read_model::changes::settle;
use read_model::{
    Applied, ChatRow, DeadLetter, LogPlace, MessageRow, NameChange, NameOrigin, Projection, Step, ViewsChanges, alarm,
};
use sqlx::{Row, SqliteConnection};

use super::SqliteProjections;
use super::ordinals::{self, OrdinalTable};
use crate::sqlite::{chat_of, event_id_of, insert_rows, rows_of_chats};

const CHATS: OrdinalTable =
    OrdinalTable { select: "SELECT ordinal, token, number FROM chats", insert: "INSERT INTO chats (token, number) " };

pub(super) async fn apply(
    projections: &SqliteProjections,
    step: Step,
    changes: ViewsChanges,
) -> Result<Applied, sqlx::Error> {
    let Some(mut transaction) = projections.begin(Projection::Views, step).await? else {
        return Ok(Applied::Superseded);
    };
    let connection = transaction.connection();
    let mut dead_letters = changes.dead_letters;
    for change in &changes.names {
        change_name(connection, change, &mut dead_letters).await?;
    }
    insert_chats(connection, changes.chats, &mut dead_letters).await?;
    insert_messages(connection, changes.messages, &mut dead_letters).await?;
    insert_dead_letters(connection, step.partition, &dead_letters).await?;
    alarm::parking(step.partition, &dead_letters);
    projections.commit(transaction, Projection::Views, step).await
}

async fn change_name(
    connection: &mut SqliteConnection,
    change: &NameChange,
    dead_letters: &mut Vec<DeadLetter>,
) -> Result<(), sqlx::Error> {
    match change.origin {
        NameOrigin::Created => create_application(connection, change, dead_letters).await,
        NameOrigin::Renamed => rename_application(connection, change).await,
    }
}

async fn create_application(
    connection: &mut SqliteConnection,
    change: &NameChange,
    dead_letters: &mut Vec<DeadLetter>,
) -> Result<(), sqlx::Error> {
    let event_id = change.place.event_id.0.as_bytes().as_slice();
    let creators: Vec<Vec<u8>> = sqlx::query_scalar(
        "INSERT INTO applications (token, created_event, name, name_rank) VALUES (?, ?, ?, 0) \
         ON CONFLICT (token) DO UPDATE SET created_event = coalesce(created_event, excluded.created_event) \
         RETURNING created_event",
    )
    .bind(change.token.as_bytes().as_slice())
    .bind(event_id)
    .bind(&change.name)
    .fetch_all(connection)
    .await?;
    if creators.iter().any(|creator| creator != event_id) {
        let reason = format!("another event has created application {:?} already", change.token);
        dead_letters.push(DeadLetter { place: change.place, reason });
    }
    Ok(())
}

async fn rename_application(connection: &mut SqliteConnection, change: &NameChange) -> Result<(), sqlx::Error> {
    let token = change.token.as_bytes().as_slice();
    let new = sqlx::query("INSERT INTO renames (token, event_id) VALUES (?, ?) ON CONFLICT DO NOTHING RETURNING 1")
        .bind(token)
        .bind(change.place.event_id.0.as_bytes().as_slice())
        .fetch_optional(&mut *connection)
        .await?;
    if new.is_none() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO applications (token, name, name_rank) VALUES (?, ?, ?) \
         ON CONFLICT (token) DO UPDATE SET name = excluded.name, name_rank = excluded.name_rank \
         WHERE excluded.name_rank > name_rank",
    )
    .bind(token)
    .bind(&change.name)
    .bind(change.place.offset.next().0.cast_signed())
    .execute(connection)
    .await?;
    Ok(())
}

async fn insert_chats(
    connection: &mut SqliteConnection,
    chats: Vec<ChatRow>,
    dead_letters: &mut Vec<DeadLetter>,
) -> Result<(), sqlx::Error> {
    let keys: Vec<_> = chats.iter().map(|row| row.chat).collect();
    let head = "SELECT token, number, created_event FROM chats";
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
        |row, ChatRow { chat, place }| {
            row.push_bind(chat.token.as_bytes().as_slice())
                .push_bind(i64::from(chat.number.get()))
                .push_bind(place.event_id.0.as_bytes().as_slice());
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
                .push_bind(message.place.event_id.0.as_bytes().as_slice())
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
        |row, DeadLetter { place, reason }| {
            row.push_bind(i64::from(partition.0))
                .push_bind(place.offset.0.cast_signed())
                .push_bind(place.event_id.0.as_bytes().as_slice())
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
            Ok(DeadLetter { place: LogPlace { event_id: event_id_of(row, 1)?, offset }, reason: row.try_get(2)? })
        })
        .collect()
}
