//! [`Feed`]: the SQL that reads the feed.
//!
//! A page asks for the ends of the partitions, then for the rows of the feed, and then for the texts of those rows that it has. No row
//! before an end changes or comes later, so the three need no common transaction.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use async_trait::async_trait;
use events::{Author, MessageNumber, Offset, PartitionId, Place, Position};
use read_model::{Feed, FeedError, FeedEvent, FeedPage, FeedPageBuilder, FeedSelection, Happening, MessageKey};
use sqlx::mysql::MySqlRow;
use sqlx::{MySqlConnection, Row};

use super::MySqlProjections;
use super::checkpoint_tx::Generation;
use super::columns::{decode_author, decode_chat, decode_error, decode_number};
use super::connections::{Connections, READ_WAIT, with_timeout};
use super::coverage::Coverage;
use super::feed_index::{Source, StoredRow, read_ranges};
use super::feed_kind::FeedKind;
use super::multi_row::select_in;

/// Pause between two looks at the end of the feed while somebody waits for it. It is a part of the time from a post to its listeners.
pub(super) const POLL_PAUSE: Duration = Duration::from_millis(10);
/// Half of the connections for reads, so that other reads have the others.
const CONCURRENT_PAGES: usize = 8;

/// The end of the feed in the live generation.
#[derive(Debug, Clone, Default)]
pub(super) struct FeedEnd {
    generation: u32,
    position: Position,
    /// Whether programs of earlier releases have written to the generation, so that its feed has a gap.
    has_gap: bool,
}

impl FeedEnd {
    fn check(self) -> Result<Self, ReadFeedError> {
        if self.has_gap { Err(ReadFeedError::Gap) } else { Ok(self) }
    }
}

/// Why the feed could not be read.
enum ReadFeedError {
    /// It has a gap.
    Gap,
    Sql(sqlx::Error),
}

impl From<sqlx::Error> for ReadFeedError {
    fn from(error: sqlx::Error) -> Self {
        Self::Sql(error)
    }
}

/// Loads the end of the feed.
pub(super) async fn load_end(connections: Connections) -> Result<FeedEnd, sqlx::Error> {
    let statement = sqlx::query(
        "SELECT projections.generation, partition_id, next_offset, fed_offset FROM projections \
         LEFT JOIN checkpoints ON projection = name AND checkpoints.generation = projections.generation \
         WHERE name = 'views'",
    );
    let rows = with_timeout(READ_WAIT, connections.fetch_all(statement)).await?;
    let mut end =
        FeedEnd { generation: rows.first().ok_or(sqlx::Error::RowNotFound)?.try_get(0)?, ..FeedEnd::default() };
    for row in rows {
        // Before its first batch a projection has no checkpoint.
        if let Some(partition) = row.try_get(1)? {
            let (next, fed): (u64, Option<u64>) = (row.try_get(2)?, row.try_get(3)?);
            end.position.extend(PartitionId(partition), Offset(next));
            end.has_gap |= fed != Some(next);
        }
    }
    Ok(end)
}

impl MySqlProjections {
    /// Reads a page of the selected events.
    async fn read_selection(
        &self,
        selection: &FeedSelection,
        after: &Position,
        limit: u32,
    ) -> Result<Option<FeedPage>, ReadFeedError> {
        let end = load_end(self.readers.clone()).await?.check()?;
        let generation = Generation(end.generation);
        if !self.find_application_or_chat(generation, selection.token, &mut Coverage::default()).await? {
            return Ok(None);
        }
        let source = self.find_source(generation, selection).await?;
        read_page(&self.readers, &end, &source, after, limit).await.map(Some)
    }

    /// Finds where the selected rows are.
    async fn find_source(&self, generation: Generation, selection: &FeedSelection) -> Result<Source, sqlx::Error> {
        let token = selection.token;
        let Some(chats) = &selection.chats else {
            return Ok(Source::Application { token, own: selection.application });
        };
        let mut lease = self.readers.lease().await?;
        let head = "SELECT number, partition_id FROM chats WHERE (generation, token, number) IN";
        let rows = select_in(&mut lease, head, chats, |tuple, chat| {
            tuple.push_bind(generation.0).push_bind(token.as_bytes().to_vec()).push_bind(chat.get());
        })
        .await?;
        let mut streams: BTreeMap<PartitionId, Vec<u32>> = BTreeMap::new();
        for row in rows {
            streams.entry(PartitionId(row.try_get(1)?)).or_default().push(row.try_get(0)?);
        }
        if selection.application {
            let statement =
                sqlx::query_scalar("SELECT partition_id FROM applications WHERE generation = ? AND token = ?");
            let statement = statement.bind(generation.0).bind(token.as_bytes().to_vec());
            let partition: Option<u16> = statement.fetch_optional(&mut *lease).await?;
            if let Some(partition) = partition {
                streams.entry(PartitionId(partition)).or_default().push(0);
            }
        }
        lease.give_back();
        Ok(Source::Streams(token, streams))
    }
}

async fn read_page(
    connections: &Connections,
    end: &FeedEnd,
    source: &Source,
    after: &Position,
    limit: u32,
) -> Result<FeedPage, ReadFeedError> {
    let generation = Generation(end.generation);
    let mut page = FeedPageBuilder::new(after, &end.position, source.partitions(&end.position), limit);
    let mut lease = connections.lease().await?;
    loop {
        let ranges = page.next_ranges();
        if ranges.is_empty() {
            break;
        }
        let asked: Vec<_> = ranges.iter().flat_map(|range| source.split(*range)).collect();
        let mut found = read_ranges(&mut lease, generation, source, &asked).await?;
        for range in ranges {
            let (entries, has_more) = found.remove(&range.partition).unwrap_or_default().finish(range.limit);
            page.add(range.partition, entries, has_more);
        }
    }
    let slice = page.finish();
    let events = load_events(&mut lease, generation, slice.events).await?;
    lease.give_back();
    Ok(FeedPage { events, next: slice.next, more: slice.more })
}

/// Loads the texts of rows.
async fn load_events(
    connection: &mut MySqlConnection,
    generation: Generation,
    rows: Vec<StoredRow>,
) -> Result<Vec<FeedEvent>, sqlx::Error> {
    let keys: Vec<_> = rows.iter().filter_map(StoredRow::message).collect();
    let mut messages = load_messages(connection, generation, &keys).await?;
    let named: Vec<_> = rows.iter().filter(|row| row.chat.is_none()).map(|row| row.place).collect();
    let mut names = load_names(connection, generation, &named).await?;
    let event = |row: StoredRow| {
        let mut take_name = || names.remove(&row.place).ok_or(sqlx::Error::RowNotFound);
        let happening = match (row.kind, row.chat) {
            (FeedKind::ApplicationCreated, _) => Happening::ApplicationCreated { name: take_name()? },
            (FeedKind::ApplicationRenamed, _) => Happening::ApplicationRenamed { name: take_name()? },
            (FeedKind::ChatCreated, Some(chat)) => Happening::ChatCreated { chat },
            (FeedKind::MessageCreated, Some(chat)) => {
                let key = row.message().ok_or_else(|| decode_error(5, "a message without a number"))?;
                let (author, body) = messages.remove(&key).ok_or(sqlx::Error::RowNotFound)?;
                Happening::MessageCreated { chat, number: key.1, body, author }
            }
            (FeedKind::ChatCreated | FeedKind::MessageCreated, None) => {
                return Err(decode_error(4, "an event of a chat without a number"));
            }
        };
        Ok(FeedEvent { place: row.place, created_at: row.created_at, token: row.token, happening })
    };
    rows.into_iter().map(event).collect()
}

async fn load_messages(
    connection: &mut MySqlConnection,
    generation: Generation,
    keys: &[MessageKey],
) -> Result<HashMap<MessageKey, (Option<Author>, String)>, sqlx::Error> {
    let head = "SELECT token, chat_number, number, author, body FROM messages \
                WHERE (generation, token, chat_number, number) IN";
    let rows = select_in(connection, head, keys, |tuple, (chat, number)| {
        tuple
            .push_bind(generation.0)
            .push_bind(chat.token.as_bytes().to_vec())
            .push_bind(chat.number.get())
            .push_bind(number.get());
    })
    .await?;
    let decode = |row: &MySqlRow| {
        let key = (decode_chat(row, 0, 1)?, MessageNumber(decode_number(row, 2)?));
        Ok((key, (decode_author(row, 3)?, row.try_get(4)?)))
    };
    rows.iter().map(decode).collect()
}

async fn load_names(
    connection: &mut MySqlConnection,
    generation: Generation,
    places: &[Place],
) -> Result<HashMap<Place, String>, sqlx::Error> {
    let head = "SELECT partition_id, log_offset, name FROM feed WHERE (generation, partition_id, log_offset) IN";
    let rows = select_in(connection, head, places, |tuple, place| {
        tuple.push_bind(generation.0).push_bind(place.partition.0).push_bind(place.offset.0);
    })
    .await?;
    let decode = |row: &MySqlRow| {
        let place = Place { partition: PartitionId(row.try_get(0)?), offset: Offset(row.try_get(1)?) };
        Ok((place, row.try_get(2)?))
    };
    rows.iter().map(decode).collect()
}

/// Runs a read of `what`, with a bound on its time.
async fn read_within<T>(
    what: &'static str,
    read: impl Future<Output = Result<T, ReadFeedError>>,
) -> Result<T, FeedError> {
    let to_error = |error: sqlx::Error| FeedError::Backend { what, source: error.into() };
    let read = async {
        match read.await {
            Ok(value) => Ok(Ok(value)),
            Err(ReadFeedError::Gap) => Ok(Err(FeedError::BeingMade)),
            Err(ReadFeedError::Sql(error)) => Err(error),
        }
    };
    with_timeout(READ_WAIT, read).await.map_err(to_error)?
}

async fn read_end(connections: &Connections) -> Result<Position, FeedError> {
    read_within("the end of the feed", async { Ok(load_end(connections.clone()).await?.check()?.position) }).await
}

#[async_trait]
impl Feed for MySqlProjections {
    fn concurrent_pages(&self) -> usize {
        CONCURRENT_PAGES
    }

    async fn page(
        &self,
        selection: &FeedSelection,
        after: &Position,
        limit: u32,
    ) -> Result<Option<FeedPage>, FeedError> {
        read_within("the feed", self.read_selection(selection, after, limit)).await
    }

    async fn tail(&self, after: &Position, limit: u32) -> Result<FeedPage, FeedError> {
        read_within("the end of the feed", async {
            let end = load_end(self.tails.clone()).await?.check()?;
            read_page(&self.tails, &end, &Source::Everything, after, limit).await
        })
        .await
    }

    async fn end(&self) -> Result<Position, FeedError> {
        // Anybody may ask for it, as often as he opens a stream: not with the connections of the tail.
        read_end(&self.readers).await
    }

    async fn passed(&self, seen: &Position, within: Duration) -> Result<Position, FeedError> {
        let select = |end: &FeedEnd| (end.has_gap || !seen.covers(&end.position)).then(|| end.clone());
        let waited = self.feed_ends.wait_for(within, select).await;
        match waited.map_err(|source| FeedError::Backend { what: "the end of the feed", source: source.into() })? {
            Some(end) if end.has_gap => Err(FeedError::BeingMade),
            Some(end) => Ok(end.position),
            None => read_end(&self.tails).await,
        }
    }
}
