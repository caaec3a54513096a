//! The SQL that loads and writes the projection `counts`.

use std::collections::HashMap;

use events::ChatKey;
use read_model::{Applied, ChatCounts, CheckpointMove, CountsChanges, Projection};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::SqliteProjections;
use crate::sqlite::{decode_chat, decode_error, insert_rows, select_chats};

pub(super) async fn load(
    projections: &SqliteProjections,
    chats: &[ChatKey],
) -> Result<HashMap<ChatKey, ChatCounts>, sqlx::Error> {
    let mut connection = projections.readers.acquire().await?;
    let head = "SELECT token, number, created, last_number, gaps FROM chat_counts WHERE (token, number) IN";
    let rows = select_chats(&mut connection, head, chats).await?;
    rows.iter().map(|row| Ok((decode_chat(row, 0, 1)?, decode_chat_counts(row)?))).collect()
}

fn decode_chat_counts(row: &SqliteRow) -> Result<ChatCounts, sqlx::Error> {
    let last = u32::try_from(row.try_get::<i64, _>(3)?).map_err(|error| decode_error(3, error))?;
    ChatCounts::from_parts(row.try_get(2)?, last, row.try_get(4)?).map_err(|error| decode_error(4, error))
}

pub(super) async fn apply(
    projections: &SqliteProjections,
    checkpoint_move: CheckpointMove,
    changes: CountsChanges,
) -> Result<Applied, sqlx::Error> {
    let Some(mut transaction) = projections.begin(Projection::Counts, checkpoint_move).await? else {
        return Ok(Applied::Superseded);
    };
    let chats: Vec<_> = changes.chats.into_iter().collect();
    insert_rows(
        transaction.connection(),
        "INSERT INTO chat_counts (token, number, created, last_number, gaps, messages_count) ",
        " ON CONFLICT (token, number) DO UPDATE SET created = excluded.created, last_number = excluded.last_number, \
         gaps = excluded.gaps, messages_count = excluded.messages_count",
        &chats,
        |row, (chat, counts)| {
            row.push_bind(chat.token.as_bytes().as_slice())
                .push_bind(i64::from(chat.number.get()))
                .push_bind(counts.created)
                .push_bind(i64::from(counts.last()))
                .push_bind(counts.gaps_text())
                .push_bind(i64::from(counts.messages_count()));
        },
    )
    .await?;
    // An application without chats needs no row: the log knows which applications exist.
    let applications: Vec<_> = changes.applications.into_iter().filter(|(_, delta)| delta.last_chat > 0).collect();
    insert_rows(
        transaction.connection(),
        "INSERT INTO application_counts (token, chats_count, last_chat) ",
        " ON CONFLICT (token) DO UPDATE SET chats_count = chats_count + excluded.chats_count, \
         last_chat = max(last_chat, excluded.last_chat)",
        &applications,
        |row, (token, delta)| {
            row.push_bind(token.as_bytes().as_slice())
                .push_bind(i64::from(delta.chats))
                .push_bind(i64::from(delta.last_chat));
        },
    )
    .await?;
    projections.commit(transaction, Projection::Counts, checkpoint_move).await
}
