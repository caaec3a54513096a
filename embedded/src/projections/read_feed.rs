//! [`Feed`]: the SQL that reads the feed.
//!
//! A read goes through the blocks in which what it wants has events, and in each block through the places of the application.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

use async_trait::async_trait;
use events::{ChatKey, Position};
use read_model::page::MAX_BYTES;
use read_model::{
    FIRST_VERSION_WITH_FEED, Feed, FeedEntry, FeedError, FeedEvent, FeedPage, FeedPageBuilder, FeedRange,
    FeedSelection, Projection,
};
use rusqlite::{Connection, Result};

use super::feed_contents::{Contents, StoredRow, decode_row};
use super::feed_streams::{Block, FeedApplication, RowPlace, StreamId, find_application, places};
use super::ordinals::{Ordinal, find_chat};
use super::read_access::read_position;
use super::read_chats::find_application_or_chat;
use super::{CONCURRENT_PAGES, SqliteProjections};
use crate::sqlite::prepare;

/// Blocks of each stream that a read looks for at a time.
const BLOCKS_PER_STEP: u32 = 64;
/// Half of the threads, so that lists, look-ups and the tail have the others.
const CONCURRENT_FEED_PAGES: usize = CONCURRENT_PAGES / 2;

/// The rows of a page that a read looks for.
enum Wanted {
    /// Those of all applications.
    Everything,
    /// Those of an application.
    Application { application: FeedApplication, streams: Vec<StreamId>, selected: Selected },
}

/// Which rows of an application are told.
enum Selected {
    All,
    /// Those of chats alone, or of the application itself alone.
    Some {
        own: bool,
        chats: Option<BTreeSet<i64>>,
    },
}

impl Selected {
    fn selects(&self, row: &StoredRow) -> bool {
        match (self, row.chat) {
            (Self::All, _) | (Self::Some { chats: None, .. }, Some(_)) => true,
            (Self::Some { own, .. }, None) => *own,
            (Self::Some { chats: Some(chats), .. }, Some(chat)) => chats.contains(&chat.0),
        }
    }
}

impl Wanted {
    fn find(connection: &Connection, selection: &FeedSelection) -> Result<Option<Self>> {
        let Some(application) = find_application(connection, selection.token)? else {
            return Ok(None);
        };
        let all = vec![StreamId::all_of(application)];
        Ok(Some(match &selection.chats {
            None if selection.application => Self::Application { application, streams: all, selected: Selected::All },
            None => {
                let selected = Selected::Some { own: false, chats: None };
                Self::Application { application, streams: all, selected }
            }
            Some(chats) => {
                let mut ordinals = BTreeSet::new();
                for number in chats {
                    let found = find_chat(connection, ChatKey { token: selection.token, number: *number })?;
                    ordinals.extend(found.map(|chat| chat.ordinal.0));
                }
                let mut streams: Vec<_> = ordinals.iter().map(|ordinal| StreamId::of_chat(Ordinal(*ordinal))).collect();
                streams.extend(selection.application.then(|| StreamId::own_of(application)));
                let selected = Selected::Some { own: selection.application, chats: Some(ordinals) };
                Self::Application { application, streams, selected }
            }
        }))
    }
}

/// Reads the events of a range until it has as many as are asked for, or as much text as fits into a page.
struct RangeRead<'a> {
    contents: &'a mut Contents,
    limit: usize,
    entries: Vec<FeedEntry<FeedEvent>>,
    bytes: usize,
    has_more: bool,
}

impl RangeRead<'_> {
    /// Adds a row; false if there is no room for it, or for any further one.
    fn add(&mut self, connection: &Connection, row: StoredRow) -> Result<bool> {
        if self.entries.len() >= self.limit || self.bytes >= MAX_BYTES {
            self.has_more = true;
            return Ok(false);
        }
        let (event, text_bytes) = self.contents.load(connection, row)?;
        self.bytes = self.bytes.saturating_add(text_bytes);
        let entry = FeedEntry { offset: row.place.offset(), created_at: event.created_at, text_bytes, event };
        self.entries.push(entry);
        Ok(true)
    }
}

/// Reads the rows of a range. The page begins with them.
fn read_range(
    connection: &Connection,
    wanted: &Wanted,
    contents: &mut Contents,
    range: &FeedRange,
) -> Result<(Vec<FeedEntry<FeedEvent>>, bool)> {
    let limit = range.limit as usize;
    let mut read = RangeRead { contents, limit, entries: Vec::new(), bytes: 0, has_more: false };
    let places = places(range);
    match wanted {
        Wanted::Everything => read_everything(connection, &places, &mut read)?,
        Wanted::Application { application, streams, selected } => {
            read_blocks(connection, streams, &places, &mut |within| {
                read_application(connection, *application, selected, within, &mut read)
            })?;
        }
    }
    Ok((read.entries, read.has_more))
}

fn read_everything(connection: &Connection, places: &Range<RowPlace>, read: &mut RangeRead) -> Result<()> {
    let mut statement = prepare(
        connection,
        "SELECT place, application, chat, number FROM feed WHERE place >= ? AND place < ? ORDER BY place",
    )?;
    let mut rows = statement.query((places.start.0, places.end.0))?;
    while let Some(row) = rows.next()? {
        if !read.add(connection, decode_row(row)?)? {
            break;
        }
    }
    Ok(())
}

/// Reads the rows of an application in one block; false if the read has enough.
fn read_application(
    connection: &Connection,
    application: FeedApplication,
    selected: &Selected,
    places: &Range<RowPlace>,
    read: &mut RangeRead,
) -> Result<bool> {
    let mut statement = prepare(
        connection,
        "SELECT place, application, chat, number FROM feed WHERE place >= ? AND place < ? AND application = ? \
         ORDER BY place",
    )?;
    let mut rows = statement.query((places.start.0, places.end.0, application.0))?;
    while let Some(row) = rows.next()? {
        let row = decode_row(row)?;
        if selected.selects(&row) && !read.add(connection, row)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Calls `read_block` for each block of the range in which one of the streams has events, in order, until it returns false.
fn read_blocks(
    connection: &Connection,
    streams: &[StreamId],
    places: &Range<RowPlace>,
    read_block: &mut impl FnMut(&Range<RowPlace>) -> Result<bool>,
) -> Result<()> {
    let (mut from, end) = (places.start.block(), RowPlace(places.end.0 - 1).block().next());
    while from < end {
        let (blocks, rest) = find_blocks(connection, streams, from, end)?;
        for block in blocks {
            if !read_block(&block.places_within(places))? {
                return Ok(());
            }
        }
        from = rest;
    }
    Ok(())
}

/// The next blocks of the streams in order, and where the search goes on: all blocks before it are among these.
fn find_blocks(
    connection: &Connection,
    streams: &[StreamId],
    from: Block,
    end: Block,
) -> Result<(BTreeSet<Block>, Block)> {
    let mut statement = prepare(
        connection,
        "SELECT block FROM feed_blocks WHERE stream = ? AND block >= ? AND block < ? ORDER BY block LIMIT ?",
    )?;
    let (mut found, mut rest) = (BTreeSet::new(), end);
    for stream in streams {
        let blocks = statement.query_map((stream.0, from.0, rest.0, BLOCKS_PER_STEP), |row| row.get(0).map(Block))?;
        let blocks: Vec<Block> = blocks.collect::<Result<_>>()?;
        if blocks.len() == BLOCKS_PER_STEP as usize
            && let Some(last) = blocks.last()
        {
            rest = rest.min(last.next());
        }
        found.extend(blocks);
    }
    found.retain(|block| *block < rest);
    Ok((found, rest))
}

/// The checkpoints. Whoever reads them before anything else of a page reads one state: no row before them changes or comes later.
struct End(Position);

impl End {
    fn read(connection: &Connection) -> Result<Self> {
        read_position(connection).map(Self)
    }
}

fn read_page(
    connection: &Connection,
    End(end): &End,
    wanted: Option<&Wanted>,
    after: &Position,
    limit: u32,
) -> Result<FeedPage> {
    let partitions = end.bounds().map(|(partition, _)| partition).filter(|_| wanted.is_some());
    let mut page = FeedPageBuilder::new(after, end, partitions, limit);
    let mut contents = Contents::default();
    if let Some(wanted) = wanted {
        loop {
            let ranges = page.next_ranges();
            if ranges.is_empty() {
                break;
            }
            for range in ranges {
                let (entries, has_more) = read_range(connection, wanted, &mut contents, &range)?;
                page.add(range.partition, entries, has_more);
            }
        }
    }
    let slice = page.finish();
    Ok(FeedPage { events: slice.events, next: slice.next, more: slice.more })
}

fn read_selection(
    connection: &Connection,
    selection: &FeedSelection,
    after: &Position,
    limit: u32,
) -> Result<Option<FeedPage>> {
    if find_application_or_chat(connection, selection.token)?.is_none() {
        return Ok(None);
    }
    // A chat that is created after this is not found, and not covered either.
    let end = End::read(connection)?;
    let wanted = Wanted::find(connection, selection)?;
    read_page(connection, &end, wanted.as_ref(), after, limit).map(Some)
}

/// Wraps an error of reading `what`.
fn wrap_error(what: &'static str) -> impl Fn(rusqlite::Error) -> FeedError {
    move |error| FeedError::Backend { what, source: error.into() }
}

impl SqliteProjections {
    /// Fails while the live generation has no feed.
    fn check_has_feed(&self) -> Result<(), FeedError> {
        if self.live().get(Projection::Views).version() < FIRST_VERSION_WITH_FEED {
            return Err(FeedError::BeingMade);
        }
        Ok(())
    }
}

#[async_trait]
impl Feed for SqliteProjections {
    fn concurrent_pages(&self) -> usize {
        CONCURRENT_FEED_PAGES
    }

    async fn page(
        &self,
        selection: &FeedSelection,
        after: &Position,
        limit: u32,
    ) -> Result<Option<FeedPage>, FeedError> {
        self.check_has_feed()?;
        let (selection, after) = (selection.clone(), after.clone());
        self.read_on(&self.pages, move |connection| read_selection(connection, &selection, &after, limit))
            .await
            .map_err(wrap_error("the feed"))
    }

    async fn tail(&self, after: &Position, limit: u32) -> Result<FeedPage, FeedError> {
        self.check_has_feed()?;
        let after = after.clone();
        let read = move |connection: &Connection| {
            read_page(connection, &End::read(connection)?, Some(&Wanted::Everything), &after, limit)
        };
        self.read_on(&self.pages, read).await.map_err(wrap_error("the feed"))
    }

    async fn end(&self) -> Result<Position, FeedError> {
        self.check_has_feed()?;
        Ok(self.progress.position(Projection::Views))
    }

    async fn passed(&self, seen: &Position, within: Duration) -> Result<Position, FeedError> {
        self.check_has_feed()?;
        Ok(self.progress.wait_until_passed(Projection::Views, seen, within).await)
    }
}
