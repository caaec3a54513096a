//! Reads pages of the feed, each application in its turn.

use std::sync::Arc;

use events::{ApplicationToken, ChatKey, LogMark, Position};
use read_model::{Feed, FeedPage, FeedSelection, Views};
use service::turns::{TurnBounds, Turns};
use tokio_util::sync::CancellationToken;

use super::tail::Tail;
use crate::known_log::KnownLog;
use crate::queries::{APPLICATION, CHAT, QueryError};

/// Requests that wait for their turn. They have slots of the port meanwhile, so they leave most of these to other requests.
pub(super) const MAX_WAITING_REQUESTS: usize = 256;
/// Followers that wait for their turn: all streams of a process, which may come back at once. They have no slots.
const MAX_WAITING_FOLLOWERS: usize = service::streams::MAX_STREAMS;

/// Reads the feed. Clones share the turns and the tail.
///
/// Requests and followers have turns of their own, half of the pages that the feed reads at once each. So a request does not wait behind
/// thousands of followers.
#[derive(Clone)]
pub(super) struct FeedReader {
    pub(super) feed: Arc<dyn Feed>,
    pub(super) tail: Tail,
    views: Arc<dyn Views>,
    known_log: KnownLog,
    requests: Turns<ApplicationToken>,
    followers: Turns<ApplicationToken>,
}

/// Half of the pages, and half of these for one application, so that whoever reads all history delays his own. A feed that reads two pages
/// at once has one turn of a kind, which applications take in rotation.
fn bound_reads(feed: &dyn Feed, max_waiting: usize) -> TurnBounds {
    let max_running = (feed.concurrent_pages() / 2).max(1);
    TurnBounds { max_running, max_running_of_key: (max_running / 2).max(1), max_waiting }
}

impl FeedReader {
    /// `known_log` is the log of `feed`, and `views` are those that it tells of. `stop` ends the tail.
    pub(super) fn new(
        feed: Arc<dyn Feed>,
        views: Arc<dyn Views>,
        known_log: KnownLog,
        stop: CancellationToken,
    ) -> Self {
        let tail = Tail::new(Arc::clone(&feed), known_log.clone(), stop);
        let requests = Turns::new(bound_reads(&*feed, MAX_WAITING_REQUESTS)).with_gauges("events");
        let followers = Turns::new(bound_reads(&*feed, MAX_WAITING_FOLLOWERS)).with_gauges("followed-events");
        Self { feed, tail, views, known_log, requests, followers }
    }

    /// The first page of a request: its events behind `after`. A chat that the request names and that does not exist is unknown, as it is on
    /// other routes.
    pub(super) async fn read_first(
        &self,
        selection: &FeedSelection,
        after: &Position,
        limit: u32,
    ) -> Result<FeedPage, QueryError> {
        let _turn = self.requests.take(selection.token).await.map_err(QueryError::TooManyFeedReads)?;
        self.find_named_chats(selection).await?;
        self.page(selection, after, limit).await
    }

    /// A further page of a request, whose chats exist.
    pub(super) async fn read_again(
        &self,
        selection: &FeedSelection,
        after: &Position,
        limit: u32,
    ) -> Result<FeedPage, QueryError> {
        let _turn = self.requests.take(selection.token).await.map_err(QueryError::TooManyFeedReads)?;
        self.page(selection, after, limit).await
    }

    /// A further page of a follower.
    pub(super) async fn read_on(
        &self,
        selection: &FeedSelection,
        after: &Position,
        limit: u32,
    ) -> Result<FeedPage, QueryError> {
        let _turn = self.followers.take(selection.token).await.map_err(QueryError::TooManyFeedReads)?;
        self.page(selection, after, limit).await
    }

    async fn page(&self, selection: &FeedSelection, after: &Position, limit: u32) -> Result<FeedPage, QueryError> {
        let page = self.feed.page(selection, after, limit).await.map_err(QueryError::Feed)?;
        page.ok_or(APPLICATION)
    }

    /// Looks up one chat after another, so that a turn has one connection at a time.
    async fn find_named_chats(&self, selection: &FeedSelection) -> Result<(), QueryError> {
        // What a credential sees of an application is not named by the request.
        if selection.application {
            return Ok(());
        }
        for number in selection.chats.iter().flatten() {
            let chat = ChatKey { token: selection.token, number: *number };
            self.views.find_chat(chat).await.map_err(QueryError::Views)?.ok_or(CHAT)?;
        }
        Ok(())
    }

    /// What positions are marked with. Call this after a read.
    pub(super) async fn log_mark(&self) -> Result<Option<LogMark>, QueryError> {
        self.known_log.log_mark().await.map_err(QueryError::Views)
    }
}
