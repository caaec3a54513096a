//! The SQL that writes the feed: a part of `views`.

use events::PartitionId;
use read_model::{FeedRow, NameOrigin, Told};
use sqlx::MySqlConnection;

use super::checkpoint_tx::Generation;
use super::feed_kind::FeedKind;
use super::multi_row::{insert_rows, split_by_text};

pub(super) async fn insert_feed(
    connection: &mut MySqlConnection,
    generation: Generation,
    partition: PartitionId,
    rows: &[FeedRow<'_>],
) -> Result<(), sqlx::Error> {
    for run in split_by_text(rows, |row| name_of(&row.told).map_or(0, str::len)) {
        insert_rows(
            connection,
            "INSERT INTO feed (generation, partition_id, log_offset, token, chat_number, number, kind, created_at_ms, \
             text_bytes, name) ",
            "",
            run,
            |values, row| {
                let number = match row.told {
                    Told::Message { number, .. } => number.get(),
                    Told::Name { .. } | Told::Chat(_) => 0,
                };
                values
                    .push_bind(generation.0)
                    .push_bind(partition.0)
                    .push_bind(row.offset.0)
                    .push_bind(row.told.token().as_bytes().to_vec())
                    .push_bind(row.told.chat().map_or(0, |chat| chat.number.get()))
                    .push_bind(number)
                    .push_bind(kind_of(&row.told).code())
                    .push_bind(row.created_at.0)
                    .push_bind(u32::try_from(row.told.text_bytes()).unwrap_or(u32::MAX))
                    .push_bind(name_of(&row.told).map(str::to_owned));
            },
        )
        .await?;
    }
    Ok(())
}

const fn kind_of(told: &Told) -> FeedKind {
    match told {
        Told::Name { origin: NameOrigin::Created, .. } => FeedKind::ApplicationCreated,
        Told::Name { origin: NameOrigin::Renamed, .. } => FeedKind::ApplicationRenamed,
        Told::Chat(_) => FeedKind::ChatCreated,
        Told::Message { .. } => FeedKind::MessageCreated,
    }
}

const fn name_of<'a>(told: &Told<'a>) -> Option<&'a str> {
    match told {
        Told::Name { name, .. } => Some(name),
        Told::Chat(_) | Told::Message { .. } => None,
    }
}
