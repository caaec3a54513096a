//! The queries of the read side, one method each.

use std::sync::Arc;

use event_log::{EventLog, ReadError};
use events::{ApplicationToken, ChatKey, ChatNumber, ClientPosition, MessageNumber};
use read_model::{
    AccessError, ApplicationView, ChatView, FeedError, LastMessage, MessageView, Page, Projection, SearchError,
    SearchIndex, SearchPage, SearchText, Shown, Slice, Views, ViewsError,
};
use service::turns::{Turn, TurnBounds, Turns};
use service::wait_limit::{Displaced, WaitLimit};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::answer::Answer;
use crate::await_position::AwaitPosition;
use crate::known_log::{KnownLog, Recognition};

/// Most queries that wait for a position at once, so that they leave room for those that need not wait.
pub const MAX_WAITS: usize = 512;
/// Searches that one application may have at the index at once, at least: also for an index with few threads, so that none of them waits
/// while a search begins.
const MIN_SEARCHES_OF_APPLICATION: usize = 4;
/// Searches that wait for their turn, so that they leave room for other queries.
const MAX_WAITING_SEARCHES: usize = 256;

/// One application may have as many searches at the index as that runs at once, and all together twice as many: so none of its threads
/// waits for a search, and the searches of one application leave turns to others.
fn bound_searches(index: &dyn SearchIndex) -> TurnBounds {
    let max_running_of_key = index.concurrent_searches().max(MIN_SEARCHES_OF_APPLICATION);
    TurnBounds { max_running: 2 * max_running_of_key, max_running_of_key, max_waiting: MAX_WAITING_SEARCHES }
}

/// Answers queries from the projections.
#[derive(Clone)]
pub struct Queries {
    pub(crate) views: Arc<dyn Views>,
    search: Arc<dyn SearchIndex>,
    /// The log, if this process can ask it for its end at once.
    log: Option<Arc<dyn EventLog>>,
    /// The log that `views` is made from.
    pub(crate) known_log: KnownLog,
    /// Bounds the waits for positions.
    waits: WaitLimit,
    /// Gives applications their turns to search. A search that runs is never given up for another: under a flood of searches
    /// none would end.
    searches: Turns<ApplicationToken>,
    /// Cancelled when the process stops.
    stop: CancellationToken,
}

#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    #[error("there is no such {0}")]
    Unknown(&'static str),
    /// The projection did not reach the awaited position in time.
    #[error(
        "the projection {} is behind the awaited position; if this goes on, the position may be of another log", .0.name()
    )]
    ProjectionBehind(Projection),
    /// The position that the client has sent is of another log, or beyond the end of this one, which may have lost its end.
    #[error("the log does not have this position; forget it, list again and follow from there")]
    PositionUnknown,
    #[error("the end of the log cannot be read")]
    Log(#[source] ReadError),
    #[error("too many reads wait for a position; the oldest, this one, was given up; try again")]
    TooManyWaits(#[source] Displaced),
    #[error(
        "too many searches wait for their turn; the oldest of the application that has the most, this one, was given up; try again"
    )]
    TooManySearches(#[source] Displaced),
    #[error(
        "too many reads of the feed wait for their turn; the oldest of the application that has the most, this one, was given up; try again"
    )]
    TooManyFeedReads(#[source] Displaced),
    #[error("the feed cannot be read")]
    Feed(#[source] FeedError),
    /// The process stopped while the query waited for a projection, or for a turn to search.
    #[error("this process is stopping; try again")]
    Draining,
    #[error("the views cannot be read")]
    Views(#[source] ViewsError),
    #[error("the keys cannot be read")]
    Access(#[source] AccessError),
    #[error("the search index cannot be read")]
    Search(#[source] SearchError),
}

/// The projections behind answers without counts.
pub(crate) const VIEWS: [Projection; 1] = [Projection::Views];
/// The projections behind answers with counts.
pub(crate) const VIEWS_AND_COUNTS: [Projection; 2] = [Projection::Views, Projection::Counts];

pub(crate) const APPLICATION: QueryError = QueryError::Unknown("application");
pub(crate) const CHAT: QueryError = QueryError::Unknown("chat");
const MESSAGE: QueryError = QueryError::Unknown("message");

impl Queries {
    /// `stop` ends the waits for projections and for turns to search.
    pub fn new(views: Arc<dyn Views>, search: Arc<dyn SearchIndex>, stop: CancellationToken) -> Self {
        let waits = WaitLimit::new(MAX_WAITS).with_gauge("positions");
        let searches = Turns::new(bound_searches(&*search)).with_gauges("searches");
        let known_log = KnownLog::new(Arc::clone(&views));
        Self { views, search, log: None, known_log, waits, searches, stop }
    }

    /// Refuses to wait for positions beyond the end of `log`, which answers at once.
    #[must_use]
    pub fn with_log(self, log: Arc<dyn EventLog>) -> Self {
        Self { log: Some(log), ..self }
    }

    pub async fn application(
        &self,
        wait: &AwaitPosition,
        token: ApplicationToken,
    ) -> Result<Answer<ApplicationView>, QueryError> {
        self.await_projections(&VIEWS_AND_COUNTS, wait).await?;
        self.answer_if_found(wait, self.views.application(token).await, APPLICATION).await
    }

    pub async fn applications(
        &self,
        wait: &AwaitPosition,
        page: Page<ApplicationToken>,
    ) -> Result<Answer<Slice<ApplicationView>>, QueryError> {
        self.await_projections(&VIEWS_AND_COUNTS, wait).await?;
        self.answer(wait, self.views.applications(page).await.map_err(QueryError::Views)?).await
    }

    pub async fn chat(
        &self,
        wait: &AwaitPosition,
        chat: ChatKey,
        last_message: LastMessage,
    ) -> Result<Answer<ChatView>, QueryError> {
        self.await_projections(&VIEWS_AND_COUNTS, wait).await?;
        self.answer_if_found(wait, self.views.chat(chat, last_message).await, CHAT).await
    }

    pub async fn chats(
        &self,
        wait: &AwaitPosition,
        token: ApplicationToken,
        page: Page<ChatNumber>,
        last_message: LastMessage,
    ) -> Result<Answer<Slice<ChatView>>, QueryError> {
        self.await_projections(&VIEWS_AND_COUNTS, wait).await?;
        self.answer_if_found(wait, self.views.chats(token, page, last_message).await, APPLICATION).await
    }

    pub async fn message(
        &self,
        wait: &AwaitPosition,
        chat: ChatKey,
        number: MessageNumber,
    ) -> Result<Answer<MessageView>, QueryError> {
        self.await_projections(&VIEWS, wait).await?;
        self.answer_if_found(wait, self.views.message(chat, number).await, MESSAGE).await
    }

    pub async fn messages(
        &self,
        wait: &AwaitPosition,
        chat: ChatKey,
        page: Page<MessageNumber>,
    ) -> Result<Answer<Slice<MessageView>>, QueryError> {
        self.await_projections(&VIEWS, wait).await?;
        self.answer_if_found(wait, self.views.messages(chat, page).await, CHAT).await
    }

    /// Returns the messages of a chat that contain a text, by number.
    pub async fn search(
        &self,
        wait: &AwaitPosition,
        chat: ChatKey,
        text: &SearchText,
        page: Page<MessageNumber>,
    ) -> Result<Answer<SearchPage>, QueryError> {
        let started = Instant::now();
        self.await_projections(&VIEWS, wait).await?;
        if let Some(ClientPosition { position, .. }) = &wait.position {
            let timeout = wait.timeout.saturating_sub(started.elapsed());
            if !self.wait(self.search.reached(position, timeout)).await?.map_err(QueryError::Search)? {
                return Err(QueryError::ProjectionBehind(Projection::Search));
            }
        }
        let _turn = self.take_turn(chat.token).await?;
        let created = self.views.find_chat(chat).await.map_err(QueryError::Views)?.ok_or(CHAT)?;
        let found = self.search.search(chat, text, page).await.map_err(QueryError::Search)?;
        self.answer(wait, found.and(&created)).await
    }

    /// Waits until these projections have reached the awaited position. All of them share one timeout.
    pub(crate) async fn await_projections(
        &self,
        projections: &[Projection],
        wait: &AwaitPosition,
    ) -> Result<(), QueryError> {
        let Some(awaited) = &wait.position else {
            return Ok(());
        };
        let position = &awaited.position;
        let is_recognised = self.recognise(awaited).await?;
        if let Some(log) = &self.log
            && !log.end().await.map_err(QueryError::Log)?.covers(position)
        {
            return Err(QueryError::PositionUnknown);
        }
        let started = Instant::now();
        for projection in projections {
            let timeout = wait.timeout.saturating_sub(started.elapsed());
            let reached = self.views.reached(*projection, position, timeout);
            if !self.wait(reached).await?.map_err(QueryError::Views)? {
                return Err(QueryError::ProjectionBehind(*projection));
            }
        }
        // Now the views know their log, unless the release before has written all that they have. Its logs have no marks.
        if !is_recognised && !self.recognise(awaited).await? && awaited.mark.is_some() {
            return Err(QueryError::ProjectionBehind(Projection::Views));
        }
        Ok(())
    }

    /// Whether a position is of the log; false if the views do not know their log yet.
    ///
    /// # Errors
    /// [`QueryError::PositionUnknown`] if it is of another log.
    async fn recognise(&self, position: &ClientPosition) -> Result<bool, QueryError> {
        match self.known_log.recognise(position).await.map_err(QueryError::Views)? {
            Recognition::Own => Ok(true),
            Recognition::Unknown => Ok(false),
            Recognition::Other => Err(QueryError::PositionUnknown),
        }
    }

    /// What a read has shown becomes the answer to a reader who has awaited a position. The answer covers that position too, so whoever
    /// keeps the position of the last answer has those of all that came before.
    pub(crate) async fn answer<T>(
        &self,
        wait: &AwaitPosition,
        Shown { value, mut position }: Shown<T>,
    ) -> Result<Answer<T>, QueryError> {
        if let Some(awaited) = &wait.position {
            position.merge(&awaited.position);
        }
        Ok(Answer { value, position: self.known_log.mark(position).await.map_err(QueryError::Views)? })
    }

    async fn answer_if_found<T>(
        &self,
        wait: &AwaitPosition,
        read: Result<Option<Shown<T>>, ViewsError>,
        absent: QueryError,
    ) -> Result<Answer<T>, QueryError> {
        self.answer(wait, read.map_err(QueryError::Views)?.ok_or(absent)?).await
    }

    /// Waits for a turn to search, until the process stops at most. Those that have one are answered.
    async fn take_turn(&self, token: ApplicationToken) -> Result<Turn<ApplicationToken>, QueryError> {
        tokio::select! {
            biased;
            turn = self.searches.take(token) => turn.map_err(QueryError::TooManySearches),
            () = self.stop.cancelled() => Err(QueryError::Draining),
        }
    }

    /// Waits until the process stops at most, so that waiting queries do not hold up the stop, and only while few others wait.
    async fn wait<T>(&self, waiting: impl Future<Output = T>) -> Result<T, QueryError> {
        tokio::select! {
            biased;
            outcome = self.waits.run(waiting) => outcome.map_err(QueryError::TooManyWaits),
            () = self.stop.cancelled() => Err(QueryError::Draining),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
