//! A feed in memory, with several partitions, that tests fill and break.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use events::{ApplicationToken, ChatNumber, MessageNumber, Offset, PartitionId, Place, Position, UnixMillis};
use parking_lot::Mutex;
use read_model::{Feed, FeedError, FeedEvent, FeedPage, FeedSelection, Happening, Views};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::feed::reader::FeedReader;
use crate::known_log::KnownLog;
use crate::queries::tests::SlowProjections;

pub(super) const PARTITIONS: u16 = 3;

pub(super) const fn token(byte: u8) -> ApplicationToken {
    ApplicationToken::from_bytes([byte; 16])
}

pub(super) const fn everything(byte: u8) -> FeedSelection {
    FeedSelection { token: token(byte), application: true, chats: None }
}

/// A reader of the feed, whose log has no mark.
pub(super) fn reader_of(feed: &Arc<MemoryFeed>, stop: CancellationToken) -> FeedReader {
    let views: Arc<dyn Views> = Arc::new(SlowProjections::new(Duration::ZERO));
    FeedReader::new(Arc::clone(feed) as _, Arc::clone(&views), KnownLog::new(views), stop)
}

/// The events of a chat are in one partition, as in a log.
pub(super) struct MemoryFeed {
    state: Mutex<State>,
    moved: watch::Sender<()>,
    /// Calls of [`Feed::page`], of [`Feed::tail`] and of [`Feed::passed`].
    pub(super) page_reads: AtomicUsize,
    pub(super) tail_reads: AtomicUsize,
    pub(super) waits: AtomicUsize,
}

#[derive(Default)]
struct State {
    events: BTreeMap<PartitionId, Vec<FeedEvent>>,
    is_broken: bool,
    /// How long the read of a page takes.
    page_time: Duration,
}

impl MemoryFeed {
    pub(super) fn new() -> Arc<Self> {
        let none = || AtomicUsize::new(0);
        let (page_reads, tail_reads, waits) = (none(), none(), none());
        Arc::new(Self { state: Mutex::default(), moved: watch::Sender::new(()), page_reads, tail_reads, waits })
    }

    /// Adds a message to a chat of an application. Returns its place.
    pub(super) fn post(&self, byte: u8, chat: u32, body: &str) -> Place {
        let partition = PartitionId(u16::try_from(chat).unwrap() % PARTITIONS);
        let mut state = self.state.lock();
        let events = state.events.entry(partition).or_default();
        let place = Place { partition, offset: Offset(events.len() as u64) };
        let number = MessageNumber::new(u32::try_from(events.len()).unwrap() + 1).unwrap();
        let chat = ChatNumber::new(chat).unwrap();
        let happening = Happening::MessageCreated { chat, number, body: body.to_owned(), author: None };
        events.push(FeedEvent { place, created_at: UnixMillis(0), token: token(byte), happening });
        drop(state);
        self.moved.send_replace(());
        place
    }

    pub(super) fn set_broken(&self, is_broken: bool) {
        self.state.lock().is_broken = is_broken;
        self.moved.send_replace(());
    }

    pub(super) fn set_page_time(&self, page_time: Duration) {
        self.state.lock().page_time = page_time;
    }

    /// The places of the events of a selection behind a position, by partition.
    pub(super) fn places(&self, selection: &FeedSelection, after: &Position) -> Vec<Place> {
        let state = self.state.lock();
        let selected = state.events.values().flatten().filter(|event| selection.selects(event));
        selected.map(|event| event.place).filter(|place| place.offset >= after.bound(place.partition)).collect()
    }

    fn read(&self, after: &Position, limit: u32, selects: impl Fn(&FeedEvent) -> bool) -> Result<FeedPage, FeedError> {
        let state = self.state.lock();
        state.check()?;
        let mut page = FeedPage { events: Vec::new(), next: after.clone(), more: false };
        // A fair share for each partition.
        let share = (limit as usize).div_ceil(PARTITIONS.into());
        for (partition, events) in &state.events {
            let behind = events.iter().filter(|event| event.place.offset >= after.bound(*partition) && selects(event));
            let mut behind: Vec<_> = behind.cloned().collect();
            let room = share.min(limit as usize - page.events.len());
            let next = if behind.len() > room {
                page.more = true;
                behind.truncate(room);
                behind.last().map_or(after.bound(*partition), |last| last.place.offset.next())
            } else {
                Offset(events.len() as u64)
            };
            page.next.extend(*partition, next);
            page.events.extend(behind);
        }
        Ok(page)
    }
}

impl State {
    fn check(&self) -> Result<(), FeedError> {
        if self.is_broken { Err(FeedError::Backend { what: "the feed", source: "broken".into() }) } else { Ok(()) }
    }

    fn end(&self) -> Position {
        let mut end = Position::default();
        for (partition, events) in &self.events {
            end.extend(*partition, Offset(events.len() as u64));
        }
        end
    }
}

#[async_trait]
impl Feed for MemoryFeed {
    async fn page(
        &self,
        selection: &FeedSelection,
        after: &Position,
        limit: u32,
    ) -> Result<Option<FeedPage>, FeedError> {
        self.page_reads.fetch_add(1, Ordering::SeqCst);
        let page_time = self.state.lock().page_time;
        if page_time.is_zero() {
            tokio::task::yield_now().await;
        } else {
            tokio::time::sleep(page_time).await;
        }
        let page = self.read(after, limit, |event| selection.selects(event))?;
        tokio::task::yield_now().await;
        let is_known = self.state.lock().events.values().flatten().any(|event| event.token == selection.token);
        Ok(is_known.then_some(page))
    }

    async fn tail(&self, after: &Position, limit: u32) -> Result<FeedPage, FeedError> {
        self.tail_reads.fetch_add(1, Ordering::SeqCst);
        tokio::task::yield_now().await;
        self.read(after, limit, |_| true)
    }

    async fn end(&self) -> Result<Position, FeedError> {
        tokio::task::yield_now().await;
        let state = self.state.lock();
        state.check().map(|()| state.end())
    }

    async fn passed(&self, seen: &Position, within: Duration) -> Result<Position, FeedError> {
        self.waits.fetch_add(1, Ordering::SeqCst);
        let mut moved = self.moved.subscribe();
        let passing = async {
            loop {
                let end = {
                    let state = self.state.lock();
                    state.check()?;
                    state.end()
                };
                if !seen.covers(&end) {
                    return Ok(end);
                }
                drop(moved.changed().await);
            }
        };
        tokio::time::timeout(within, passing).await.unwrap_or_else(|_elapsed| Ok(seen.clone()))
    }

    fn concurrent_pages(&self) -> usize {
        4
    }
}
