//! How the feed of `views` is laid out: places, blocks of places, and the streams that have events in them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Range;

use events::{ApplicationToken, Offset, PartitionId};
use read_model::FeedRange;
use rusqlite::{Connection, OptionalExtension, Result};

use super::ordinals::Ordinal;
use crate::sqlite::prepare;

/// The bits of an offset in a place. The embedded log has one partition; a place of partition 0 is its offset.
const OFFSET_BITS: u32 = 47;
/// The bits of a place within its block.
const BLOCK_BITS: u32 = 8;

/// A place in the log, as one integer in the order of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RowPlace(pub i64);

impl RowPlace {
    pub(super) fn new(partition: PartitionId, offset: Offset) -> Self {
        // No log has as many events as fit into the bits.
        Self(i64::from(partition.0) << OFFSET_BITS | offset.0.min((1 << OFFSET_BITS) - 1).cast_signed())
    }

    pub(super) const fn offset(self) -> Offset {
        Offset((self.0 & ((1 << OFFSET_BITS) - 1)).cast_unsigned())
    }

    pub(super) const fn partition(self) -> PartitionId {
        // The sign bit is never set.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "16 bits are left")]
        PartitionId((self.0 >> OFFSET_BITS) as u16)
    }

    pub(super) const fn block(self) -> Block {
        Block(self.0 >> BLOCK_BITS)
    }
}

/// The places of a range of a partition.
pub(super) fn places(range: &FeedRange) -> Range<RowPlace> {
    RowPlace::new(range.partition, range.from)..RowPlace::new(range.partition, range.end)
}

/// 256 places that follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Block(pub i64);

impl Block {
    pub(super) const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The places that are both of the block and of the range.
    pub(super) fn places_within(self, range: &Range<RowPlace>) -> Range<RowPlace> {
        let own = RowPlace(self.0 << BLOCK_BITS)..RowPlace((self.0 + 1) << BLOCK_BITS);
        own.start.max(range.start)..own.end.min(range.end)
    }
}

/// The integer of an application in the feed: 1, 2, 3 …
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct FeedApplication(pub i64);

/// Events that are read together, as an integer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct StreamId(pub i64);

impl StreamId {
    /// All events of an application and of its chats.
    pub(super) const fn all_of(application: FeedApplication) -> Self {
        Self(-2 * application.0)
    }

    /// The events of an application itself.
    pub(super) const fn own_of(application: FeedApplication) -> Self {
        Self(-2 * application.0 - 1)
    }

    /// The events of a chat.
    pub(super) const fn of_chat(chat: Ordinal) -> Self {
        Self(chat.0)
    }
}

/// Finds the integer of an application; `None` if the feed tells nothing of it.
pub(super) fn find_application(connection: &Connection, token: ApplicationToken) -> Result<Option<FeedApplication>> {
    let mut select = prepare(connection, "SELECT ordinal FROM feed_applications WHERE token = ?")?;
    select.query_row([token.as_bytes()], |row| row.get(0).map(FeedApplication)).optional()
}

/// The integers of the applications of a batch. An application without one gets the next.
#[derive(Default)]
pub(super) struct FeedApplications(HashMap<ApplicationToken, FeedApplication>);

impl FeedApplications {
    pub(super) fn assign(&mut self, connection: &Connection, token: ApplicationToken) -> Result<FeedApplication> {
        Ok(match self.0.entry(token) {
            Entry::Occupied(entry) => *entry.get(),
            Entry::Vacant(entry) => *entry.insert(assign_application(connection, token)?),
        })
    }
}

fn assign_application(connection: &Connection, token: ApplicationToken) -> Result<FeedApplication> {
    if let Some(found) = find_application(connection, token)? {
        return Ok(found);
    }
    let mut insert = prepare(connection, "INSERT INTO feed_applications (token) VALUES (?) RETURNING ordinal")?;
    insert.query_row([token.as_bytes()], |row| row.get(0)).map(FeedApplication)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_in_the_order_of_partitions_and_offsets() {
        let last = PartitionId(u16::MAX);
        for (partition, offset) in [(PartitionId(0), 0), (PartitionId(1), 7), (last, 1 << 40)] {
            let place = RowPlace::new(partition, Offset(offset));
            assert_eq!((place.partition(), place.offset()), (partition, Offset(offset)));
        }
        assert!(RowPlace::new(PartitionId(0), Offset(u64::MAX)) < RowPlace::new(PartitionId(1), Offset(0)));
        assert!(RowPlace::new(last, Offset(u64::MAX)).0 > 0);
    }

    #[test]
    fn a_block_has_the_places_that_lead_to_it() {
        let range = RowPlace::new(PartitionId(1), Offset(300))..RowPlace::new(PartitionId(1), Offset(700));
        let block = range.start.block();
        let within = block.places_within(&range);
        assert_eq!((within.start, within.end.0 - within.start.0), (range.start, 512 - 300));
        assert_eq!(block.next().places_within(&range).end, range.end);
    }
}
