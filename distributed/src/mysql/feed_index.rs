//! The rows of the feed, from the index that fits what is asked for.

use std::collections::BTreeMap;

use events::{ApplicationToken, ChatKey, ChatNumber, MessageNumber, Offset, PartitionId, Place, Position, UnixMillis};
use read_model::{FeedEntry, FeedRange, MessageKey};
use sqlx::mysql::{MySql, MySqlRow};
use sqlx::{MySqlConnection, QueryBuilder, Row};

use super::checkpoint_tx::Generation;
use super::columns::{decode_error, decode_token};
use super::feed_kind::FeedKind;

/// The most ranges of one statement.
const RANGES_PER_STATEMENT: usize = 64;

/// A row of the feed, without its text.
#[derive(Debug, Clone, Copy)]
pub(super) struct StoredRow {
    pub(super) place: Place,
    pub(super) created_at: UnixMillis,
    pub(super) token: ApplicationToken,
    pub(super) kind: FeedKind,
    /// `None` for an event of the application itself.
    pub(super) chat: Option<ChatNumber>,
    /// `None` unless it is a message.
    number: Option<MessageNumber>,
}

impl StoredRow {
    pub(super) fn message(&self) -> Option<MessageKey> {
        let (chat, number) = (self.chat?, self.number?);
        Some((ChatKey { token: self.token, number: chat }, number))
    }
}

/// Where the rows of a page are.
pub(super) enum Source {
    /// Anywhere.
    Everything,
    /// In the index by application: all of its events, or those of its chats alone.
    Application { token: ApplicationToken, own: bool },
    /// In the index by chat: the streams of each partition, by the number of their chat. 0 stands for the application's own.
    Streams(ApplicationToken, BTreeMap<PartitionId, Vec<u32>>),
}

/// A part of the index that a statement reads.
pub(super) struct StreamRange {
    range: FeedRange,
    /// The chat, in the index by chat.
    chat: Option<u32>,
}

impl Source {
    /// The partitions that may have rows.
    pub(super) fn partitions(&self, end: &Position) -> Vec<PartitionId> {
        match self {
            Self::Everything | Self::Application { .. } => end.bounds().map(|(partition, _)| partition).collect(),
            Self::Streams(_, streams) => streams.keys().copied().collect(),
        }
    }

    /// The parts of the index that have the rows of a range. Each is asked for one row more than its share, to show whether there are
    /// more.
    pub(super) fn split(&self, range: FeedRange) -> Vec<StreamRange> {
        let one_more = |limit: u32| FeedRange { limit: limit.saturating_add(1), ..range };
        match self {
            Self::Everything | Self::Application { .. } => {
                vec![StreamRange { range: one_more(range.limit), chat: None }]
            }
            Self::Streams(_, streams) => {
                let chats = streams.get(&range.partition).map(Vec::as_slice).unwrap_or_default();
                let share = range.limit.div_ceil(u32::try_from(chats.len()).unwrap_or(u32::MAX).max(1));
                chats.iter().map(|chat| StreamRange { range: one_more(share), chat: Some(*chat) }).collect()
            }
        }
    }
}

/// The rows of a partition, from one or several parts of the index.
#[derive(Default)]
pub(super) struct FoundRows {
    entries: Vec<FeedEntry<StoredRow>>,
    /// A row before which all parts were read. `None` if they were read to their ends.
    read_to: Option<Offset>,
}

impl FoundRows {
    /// Adds the rows of one part, which was asked for `limit`.
    fn add(&mut self, rows: Vec<FeedEntry<StoredRow>>, limit: u32) {
        if let Some(last) = rows.iter().map(|row| row.offset).max()
            && rows.len() >= limit as usize
        {
            self.read_to = Some(self.read_to.map_or(last, |read_to| read_to.min(last)));
        }
        self.entries.extend(rows);
    }

    /// The first rows in log order, `limit` at most, and whether there are more.
    pub(super) fn finish(mut self, limit: u32) -> (Vec<FeedEntry<StoredRow>>, bool) {
        self.entries.sort_unstable_by_key(|entry| entry.offset);
        if let Some(read_to) = self.read_to {
            self.entries.retain(|entry| entry.offset < read_to);
        }
        let has_more = self.read_to.is_some() || self.entries.len() > limit as usize;
        self.entries.truncate(limit as usize);
        (self.entries, has_more)
    }
}

/// Reads parts of the index, and joins those of each partition.
pub(super) async fn read_ranges(
    connection: &mut MySqlConnection,
    generation: Generation,
    source: &Source,
    asked: &[StreamRange],
) -> Result<BTreeMap<PartitionId, FoundRows>, sqlx::Error> {
    let mut found: BTreeMap<PartitionId, FoundRows> = BTreeMap::new();
    for asked in asked.chunks(RANGES_PER_STATEMENT) {
        let mut statement = QueryBuilder::<MySql>::new("");
        for (index, part) in asked.iter().enumerate() {
            statement.push(if index == 0 { "(" } else { " UNION ALL (" });
            push_select(&mut statement, generation, source, part, index);
            statement.push(")");
        }
        let mut parts: Vec<Vec<FeedEntry<StoredRow>>> = asked.iter().map(|_| Vec::new()).collect();
        for row in statement.build().fetch_all(&mut *connection).await? {
            let index = usize::try_from(row.try_get::<i64, _>(0)?).map_err(|error| decode_error(0, error))?;
            let part = parts.get_mut(index).ok_or_else(|| decode_error(0, "no such part of the statement"))?;
            part.push(decode_row(&row)?);
        }
        for (part, rows) in asked.iter().zip(parts) {
            found.entry(part.range.partition).or_default().add(rows, part.range.limit);
        }
    }
    Ok(found)
}

/// Adds the statement that reads one part of the index, in log order. Each names its index: for a common application the server would
/// otherwise rather read all rows of the partition.
fn push_select(
    statement: &mut QueryBuilder<MySql>,
    generation: Generation,
    source: &Source,
    part: &StreamRange,
    index: usize,
) {
    statement.push("SELECT ").push(index);
    statement.push(
        ", partition_id, log_offset, token, chat_number, number, kind, created_at_ms, text_bytes FROM feed FORCE INDEX (",
    );
    statement.push(match source {
        Source::Everything => "PRIMARY",
        Source::Application { .. } => "feed_by_application",
        Source::Streams(..) => "feed_by_chat",
    });
    statement.push(") WHERE generation = ").push_bind(generation.0);
    if let Source::Application { token, .. } | Source::Streams(token, _) = source {
        statement.push(" AND token = ").push_bind(token.as_bytes().to_vec());
    }
    if let Source::Application { own: false, .. } = source {
        statement.push(" AND chat_number > 0");
    }
    if let Some(chat) = part.chat {
        statement.push(" AND chat_number = ").push_bind(chat);
    }
    statement.push(" AND partition_id = ").push_bind(part.range.partition.0);
    statement.push(" AND log_offset >= ").push_bind(part.range.from.0);
    statement.push(" AND log_offset < ").push_bind(part.range.end.0);
    statement.push(" ORDER BY log_offset LIMIT ").push_bind(part.range.limit);
}

fn decode_row(row: &MySqlRow) -> Result<FeedEntry<StoredRow>, sqlx::Error> {
    let place = Place { partition: PartitionId(row.try_get(1)?), offset: Offset(row.try_get(2)?) };
    let kind = FeedKind::from_code(row.try_get(6)?).ok_or_else(|| decode_error(6, "no kind of an event"))?;
    let created_at = UnixMillis(row.try_get(7)?);
    let stored = StoredRow {
        place,
        created_at,
        token: decode_token(row, 3)?,
        kind,
        chat: ChatNumber::new(row.try_get(4)?),
        number: MessageNumber::new(row.try_get(5)?),
    };
    let text_bytes = row.try_get::<u32, _>(8)? as usize;
    Ok(FeedEntry { offset: place.offset, created_at, text_bytes, event: stored })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(offset: u64) -> FeedEntry<StoredRow> {
        let place = Place { partition: PartitionId(0), offset: Offset(offset) };
        let token = ApplicationToken::from_bytes([1; 16]);
        let stored = StoredRow {
            place,
            created_at: UnixMillis(0),
            token,
            kind: FeedKind::ChatCreated,
            chat: ChatNumber::new(1),
            number: None,
        };
        FeedEntry { offset: Offset(offset), created_at: UnixMillis(0), text_bytes: 0, event: stored }
    }

    /// Joins parts of an index that were read with this limit each.
    fn join(parts: &[&[u64]], part_limit: u32, limit: u32) -> (Vec<u64>, bool) {
        let mut found = FoundRows::default();
        for part in parts {
            found.add(part.iter().map(|offset| entry(*offset)).collect(), part_limit);
        }
        let (entries, has_more) = found.finish(limit);
        (entries.iter().map(|entry| entry.offset.0).collect(), has_more)
    }

    #[test]
    fn rows_of_several_chats_are_joined_as_far_as_all_were_read() {
        assert_eq!(join(&[&[1, 5], &[2]], 3, 9), (vec![1, 2, 5], false));
        assert_eq!(join(&[&[1, 5, 7], &[2, 9]], 3, 9), (vec![1, 2, 5], true), "the first may have more before 9");
        assert_eq!(join(&[&[1, 5, 7]], 3, 2), (vec![1, 5], true));
        assert_eq!(join(&[&[1, 2], &[3, 4]], 3, 3), (vec![1, 2, 3], true));
        assert_eq!(join(&[], 3, 3), (vec![], false));
    }
}
