//! The SQL that writes the feed: a part of the projection `views`.

use std::collections::HashSet;

use events::PartitionId;
use read_model::{FeedRow, NameOrigin, Told};
use rusqlite::{Connection, Result};

use super::feed_streams::{Block, FeedApplications, RowPlace, StreamId};
use super::ordinals::{Ordinal, assign_ordinals};
use crate::sqlite::prepare;

pub(super) fn insert_feed(connection: &Connection, partition: PartitionId, rows: &[FeedRow<'_>]) -> Result<()> {
    let chats = assign_ordinals(connection, partition, rows.iter().filter_map(|row| row.told.chat()))?;
    let mut applications = FeedApplications::default();
    let mut blocks = HashSet::new();
    let mut insert = prepare(connection, "INSERT INTO feed (place, application, chat, number) VALUES (?, ?, ?, ?)")?;
    for row in rows {
        let place = RowPlace::new(partition, row.offset);
        let application = applications.assign(connection, row.told.token())?;
        let chat: Option<Ordinal> = row.told.chat().map(|chat| chats[&chat]);
        let number = match row.told {
            Told::Message { number, .. } => Some(number.get()),
            Told::Name { .. } | Told::Chat(_) => None,
        };
        insert.execute((place.0, application.0, chat.map(|chat| chat.0), number))?;
        if let Told::Name { origin, name, .. } = row.told {
            let mut insert = prepare(
                connection,
                "INSERT INTO feed_names (place, is_creation, created_at_ms, name) VALUES (?, ?, ?, ?)",
            )?;
            insert.execute((place.0, origin == NameOrigin::Created, row.created_at.0.cast_signed(), name))?;
        }
        let own = chat.map_or_else(|| StreamId::own_of(application), StreamId::of_chat);
        blocks.extend([(StreamId::all_of(application), place.block()), (own, place.block())]);
    }
    insert_blocks(connection, blocks)
}

/// Notes which streams have events in which blocks. A batch usually goes on in blocks that are noted already.
fn insert_blocks(connection: &Connection, blocks: HashSet<(StreamId, Block)>) -> Result<()> {
    let mut insert =
        prepare(connection, "INSERT INTO feed_blocks (stream, block) VALUES (?, ?) ON CONFLICT DO NOTHING")?;
    for (stream, block) in blocks {
        insert.execute((stream.0, block.0))?;
    }
    Ok(())
}
