//! How a batch is applied to the projection `views`.

use std::collections::{HashMap, HashSet};

use events::{ApplicationToken, Offset, PartitionId};
use read_model::changes::{Rename, settle, settle_names};
use read_model::{
    ApplicationRow, Applied, ChatRow, CheckpointMove, DeadLetter, MessageRow, NameChange, NameOrigin, Projection,
    SourceEvent, ViewsChanges, dead_letter,
};
use sqlx::{MySqlConnection, Row};

use super::MySqlProjections;
use super::checkpoint_tx::{Batch, Generation};
use super::columns::{chat_of, event_id_of, number_of, token_of};
use super::multi_row::{insert_rows, rows_in, runs};

pub(super) async fn apply(
    projections: &MySqlProjections,
    checkpoint_move: CheckpointMove,
    changes: &ViewsChanges,
) -> Result<Applied, sqlx::Error> {
    let generation = projections.generation(Projection::Views).await?;
    let Some(mut batch) = Batch::begin(&projections.writers, Projection::Views, generation, checkpoint_move).await?
    else {
        return Ok(Applied::Superseded);
    };
    let connection = batch.connection();
    let mut dead_letters = changes.dead_letters.clone();
    change_names(connection, generation, &changes.names, &mut dead_letters).await?;
    insert_chats(connection, generation, &changes.chats, &mut dead_letters).await?;
    insert_messages(connection, generation, &changes.messages, &mut dead_letters).await?;
    insert_dead_letters(connection, generation, checkpoint_move.partition, &dead_letters).await?;
    dead_letter::parking(checkpoint_move.partition, &dead_letters);
    batch.commit().await?;
    Ok(Applied::Done)
}

async fn change_names(
    connection: &mut MySqlConnection,
    generation: Generation,
    changes: &[NameChange],
    dead_letters: &mut Vec<DeadLetter>,
) -> Result<(), sqlx::Error> {
    if changes.is_empty() {
        return Ok(());
    }
    let applications = load_applications(connection, generation, changes).await?;
    let known = load_renames(connection, generation, changes).await?;
    let settled = settle_names(changes, applications, &known, dead_letters);
    write_applications(connection, generation, &settled.applications.into_iter().collect::<Vec<_>>()).await?;
    let renames: Vec<_> = settled.renames.into_iter().collect();
    insert_rows(
        connection,
        "INSERT INTO renames (generation, token, event_id) ",
        "",
        &renames,
        |row, (token, event)| {
            row.push_bind(generation.0).push_bind(token.as_bytes().as_slice()).push_bind(event.0.as_bytes().as_slice());
        },
    )
    .await
}

async fn write_applications(
    connection: &mut MySqlConnection,
    generation: Generation,
    applications: &[(ApplicationToken, ApplicationRow)],
) -> Result<(), sqlx::Error> {
    for run in runs(applications, |(_, application)| application.name.len()) {
        insert_rows(
            connection,
            "INSERT INTO applications (generation, token, created_event, name, name_rank) ",
            " AS new ON DUPLICATE KEY UPDATE created_event = new.created_event, name = new.name, \
             name_rank = new.name_rank",
            run,
            |row, (token, application)| {
                row.push_bind(generation.0)
                    .push_bind(token.as_bytes().as_slice())
                    .push_bind(application.created_event.as_ref().map(|event| event.0.as_bytes().as_slice()))
                    .push_bind(application.name.as_str())
                    .push_bind(application.name_rank);
            },
        )
        .await?;
    }
    Ok(())
}

async fn load_applications(
    connection: &mut MySqlConnection,
    generation: Generation,
    changes: &[NameChange],
) -> Result<HashMap<ApplicationToken, ApplicationRow>, sqlx::Error> {
    let head = "SELECT token, created_event, name, name_rank FROM applications WHERE (generation, token) IN";
    let rows = rows_in(connection, head, changes, |tuple, change| {
        tuple.push_bind(generation.0).push_bind(change.token.as_bytes().as_slice());
    });
    let mut applications = HashMap::new();
    for row in rows.await? {
        let created_event = match row.try_get::<Option<&[u8]>, _>(1)? {
            Some(_) => Some(event_id_of(&row, 1)?),
            None => None,
        };
        let application = ApplicationRow { created_event, name: row.try_get(2)?, name_rank: row.try_get(3)? };
        applications.insert(token_of(&row, 0)?, application);
    }
    Ok(applications)
}

async fn load_renames(
    connection: &mut MySqlConnection,
    generation: Generation,
    changes: &[NameChange],
) -> Result<HashSet<Rename>, sqlx::Error> {
    let head = "SELECT token, event_id FROM renames WHERE (generation, token, event_id) IN";
    let renames: Vec<_> = changes.iter().filter(|change| change.origin == NameOrigin::Renamed).collect();
    let rows = rows_in(connection, head, &renames, |tuple, change| {
        tuple
            .push_bind(generation.0)
            .push_bind(change.token.as_bytes().as_slice())
            .push_bind(change.source.event_id.0.as_bytes().as_slice());
    });
    rows.await?.iter().map(|row| Ok((token_of(row, 0)?, event_id_of(row, 1)?))).collect()
}

async fn insert_chats(
    connection: &mut MySqlConnection,
    generation: Generation,
    chats: &[ChatRow],
    dead_letters: &mut Vec<DeadLetter>,
) -> Result<(), sqlx::Error> {
    let head = "SELECT token, number, created_event FROM chats WHERE (generation, token, number) IN";
    let found = rows_in(connection, head, chats, |tuple, row| {
        tuple.push_bind(generation.0).push_bind(row.chat.token.as_bytes().as_slice()).push_bind(row.chat.number.get());
    });
    let mut taken = HashMap::new();
    for row in found.await? {
        taken.insert(chat_of(&row, 0, 1)?, event_id_of(&row, 2)?);
    }
    insert_rows(
        connection,
        "INSERT INTO chats (generation, token, number, created_event) ",
        "",
        &settle(chats.iter().collect(), &taken, dead_letters),
        |row, ChatRow { chat, source }| {
            row.push_bind(generation.0)
                .push_bind(chat.token.as_bytes().as_slice())
                .push_bind(chat.number.get())
                .push_bind(source.event_id.0.as_bytes().as_slice());
        },
    )
    .await
}

async fn insert_messages(
    connection: &mut MySqlConnection,
    generation: Generation,
    messages: &[MessageRow],
    dead_letters: &mut Vec<DeadLetter>,
) -> Result<(), sqlx::Error> {
    let head = "SELECT token, chat_number, number, event_id FROM messages \
                WHERE (generation, token, chat_number, number) IN";
    let found = rows_in(connection, head, messages, |tuple, row| {
        tuple
            .push_bind(generation.0)
            .push_bind(row.chat.token.as_bytes().as_slice())
            .push_bind(row.chat.number.get())
            .push_bind(row.number.get());
    });
    let mut taken = HashMap::new();
    for row in found.await? {
        taken.insert((chat_of(&row, 0, 1)?, events::MessageNumber(number_of(&row, 2)?)), event_id_of(&row, 3)?);
    }
    let new = settle(messages.iter().collect(), &taken, dead_letters);
    for run in runs(&new, |message| message.body.len()) {
        insert_rows(
            connection,
            "INSERT INTO messages (generation, token, chat_number, number, event_id, body) ",
            "",
            run,
            |row, MessageRow { chat, number, body, source }| {
                row.push_bind(generation.0)
                    .push_bind(chat.token.as_bytes().as_slice())
                    .push_bind(chat.number.get())
                    .push_bind(number.get())
                    .push_bind(source.event_id.0.as_bytes().as_slice())
                    .push_bind(body.as_str());
            },
        )
        .await?;
    }
    Ok(())
}

async fn insert_dead_letters(
    connection: &mut MySqlConnection,
    generation: Generation,
    partition: PartitionId,
    dead_letters: &[DeadLetter],
) -> Result<(), sqlx::Error> {
    insert_rows(
        connection,
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

pub(super) async fn dead_letters(
    projections: &MySqlProjections,
    partition: PartitionId,
    limit: u32,
) -> Result<Vec<DeadLetter>, sqlx::Error> {
    let statement = sqlx::query(
        "SELECT log_offset, event_id, reason FROM dead_letters \
         WHERE generation = (SELECT generation FROM projections WHERE name = 'views') AND partition_id = ? \
         ORDER BY log_offset LIMIT ?",
    )
    .bind(partition.0)
    .bind(limit);
    let rows = projections.readers.fetch_all(statement).await?;
    rows.iter()
        .map(|row| {
            let source = SourceEvent { event_id: event_id_of(row, 1)?, offset: Offset(row.try_get(0)?) };
            Ok(DeadLetter { source, reason: row.try_get(2)? })
        })
        .collect()
}
