//! Tells a selection of the feed from a position on: first its history, page by page, then what happens.
//!
//! **The joint.** A page that was read to its end is near the live end. The follower then begins to listen, and learns the position behind
//! which it is told everything. It reads on until its own position covers that one. So nothing lies between both. What lies in both is in
//! the queue before the follower's position, and is passed over.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use events::{LogMark, Position};
use read_model::{FeedError, FeedEvent, FeedPage, FeedSelection};
use tokio::task::JoinError;
use tokio_util::task::AbortOnDropHandle;

use super::reader::FeedReader;
use super::sse;
use super::subscription::{Closed, LiveEvent};
use super::tail::Registration;
use crate::queries::QueryError;

/// Events of a page of history.
pub(super) const PAGE_EVENTS: u32 = 250;
/// Longest wait until `views` is as far as the tail was. It is, unless another server of the database, which is behind, has taken over.
const MAX_JOIN_WAIT: Duration = Duration::from_secs(1);

/// Follows a selection.
pub(super) struct Follower {
    reader: FeedReader,
    selection: FeedSelection,
    /// Everything that is selected and lies before it was told.
    position: Arc<Position>,
    stage: Stage,
    reading: Option<Reading>,
}

/// The read of a page behind the position. It is a task: it goes on when a call of [`Follower::next`] is given up, as for a comment, and it
/// gives back its turn even if the client reads nothing meanwhile.
type Reading = AbortOnDropHandle<Result<FeedPage, QueryError>>;

enum Stage {
    /// This page was read and is yet to be told. The position covers it then.
    Read(FeedPage),
    /// There is more history.
    History,
    /// History was read to its end.
    NearEnd,
    /// Listens, and reads what lies before that.
    Joining(Registration),
    Live(Registration),
}

/// What a follower tells.
#[derive(Debug)]
pub(super) enum Told {
    Page(ToldPage),
    Live(Arc<LiveEvent>),
    /// An event before which this follower has told more than the tail had.
    Ahead(Arc<LiveEvent>, Arc<Position>),
}

/// A page of history.
#[derive(Debug)]
pub(super) struct ToldPage {
    /// Everything before it was told earlier.
    after: Position,
    events: Vec<FeedEvent>,
}

/// A follower cannot go on.
#[derive(Debug)]
pub(super) enum FollowError {
    TooSlow,
    Query(QueryError),
}

impl From<Closed> for FollowError {
    fn from(closed: Closed) -> Self {
        let what = "the live end of the feed";
        match closed {
            Closed::TooSlow => Self::TooSlow,
            Closed::Unreadable => {
                Self::Query(QueryError::Feed(FeedError::Backend { what, source: "no read has succeeded".into() }))
            }
            Closed::BeingMade => Self::Query(QueryError::Feed(FeedError::BeingMade)),
        }
    }
}

impl Follower {
    /// Goes on with a page that was read behind `after` and is yet to be told.
    pub(super) fn new(reader: FeedReader, selection: FeedSelection, after: Position, page: FeedPage) -> Self {
        Self { reader, selection, position: Arc::new(after), stage: Stage::Read(page), reading: None }
    }

    /// Everything that is selected and lies before it was told.
    pub(super) fn position(&self) -> &Position {
        &self.position
    }

    /// The next events; waits for one if there is none. A call that is given up has told nothing.
    pub(super) async fn next(&mut self) -> Result<Told, FollowError> {
        loop {
            match &self.stage {
                Stage::Read(_) => {
                    if let Some(told) = self.tell_page() {
                        return Ok(Told::Page(told));
                    }
                }
                Stage::History => self.stage = Stage::Read(self.read().await?),
                Stage::NearEnd => {
                    let registration = self.reader.tail.listen(self.selection.clone()).await;
                    let registration = registration.map_err(QueryError::Feed).map_err(FollowError::Query)?;
                    self.stage = Stage::Joining(registration);
                }
                Stage::Joining(_) => {
                    if let Some(told) = self.join().await? {
                        return Ok(Told::Page(told));
                    }
                }
                Stage::Live(registration) => {
                    let live = registration.subscription().next().await?;
                    if let Some(told) = self.tell_live(live) {
                        return Ok(told);
                    }
                }
            }
        }
    }

    /// Reads the next page, or awaits the read that runs.
    async fn read(&mut self) -> Result<FeedPage, FollowError> {
        let reading = self.reading.get_or_insert_with(|| {
            let (reader, selection, after) = (self.reader.clone(), self.selection.clone(), Arc::clone(&self.position));
            let read = async move { reader.read_on(&selection, &after, PAGE_EVENTS).await };
            AbortOnDropHandle::new(tokio::spawn(read))
        });
        let ended = reading.await;
        self.reading = None;
        match ended.map_err(JoinError::try_into_panic) {
            Ok(read) => read.map_err(FollowError::Query),
            Err(Ok(panic)) => std::panic::resume_unwind(panic),
            Err(Err(_cancelled)) => Err(FollowError::Query(QueryError::Draining)),
        }
    }

    /// Moves on behind the page that was read. `None` if it has no events.
    fn tell_page(&mut self) -> Option<ToldPage> {
        let Stage::Read(page) = std::mem::replace(&mut self.stage, Stage::History) else {
            return None;
        };
        if !page.more {
            self.stage = Stage::NearEnd;
        }
        self.cover(page)
    }

    /// Reads until the position covers that from which on the follower listens.
    async fn join(&mut self) -> Result<Option<ToldPage>, FollowError> {
        let Stage::Joining(registration) = &self.stage else {
            return Ok(None);
        };
        let since = registration.since.clone();
        if self.position.covers(&since) {
            if let Stage::Joining(registration) = std::mem::replace(&mut self.stage, Stage::NearEnd) {
                self.stage = Stage::Live(registration);
            }
            return Ok(None);
        }
        let page = self.read().await?;
        if page.events.is_empty() && !page.more && !page.next.covers(&since) {
            let passed = self.reader.feed.passed(&page.next, MAX_JOIN_WAIT).await;
            passed.map_err(QueryError::Feed).map_err(FollowError::Query)?;
        }
        Ok(self.cover(page))
    }

    fn cover(&mut self, page: FeedPage) -> Option<ToldPage> {
        let after = Position::clone(&self.position);
        let mut next = after.clone();
        next.merge(&page.next);
        self.position = Arc::new(next);
        let has_events = !page.events.is_empty();
        has_events.then_some(ToldPage { after, events: page.events })
    }

    /// Moves on behind an event. `None` if it was told in a page.
    fn tell_live(&mut self, live: Arc<LiveEvent>) -> Option<Told> {
        let place = live.event.place;
        if self.position.bound(place.partition) > place.offset {
            return None;
        }
        if live.position.covers(&self.position) {
            self.position = Arc::clone(&live.position);
            return Some(Told::Live(live));
        }
        let mut position = Position::clone(&self.position);
        position.extend(place.partition, place.offset.next());
        self.position = Arc::new(position);
        Some(Told::Ahead(live, Arc::clone(&self.position)))
    }
}

impl ToldPage {
    /// Events that were read behind `after`.
    pub(super) const fn new(after: Position, events: Vec<FeedEvent>) -> Self {
        Self { after, events }
    }

    /// Calls `tell` with each event and the position that covers it and what was told before.
    pub(super) fn each(&self, mut tell: impl FnMut(&FeedEvent, &Position)) {
        let mut position = self.after.clone();
        for event in &self.events {
            position.extend(event.place.partition, event.place.offset.next());
            tell(event, &position);
        }
    }
}

impl Told {
    /// The events as server-sent events, with the mark of their log.
    pub(super) fn frame(&self, mark: Option<LogMark>) -> Bytes {
        match self {
            Self::Page(page) => {
                let mut text = Vec::new();
                page.each(|event, position| sse::write_event(&mut text, event, mark, position));
                text.into()
            }
            Self::Live(live) => live.frame.clone(),
            Self::Ahead(live, position) => sse::event_frame(&live.event, mark, position),
        }
    }
}
